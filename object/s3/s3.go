// Package s3 keeps objects in a bucket of any server that speaks S3 with conditional
// writes: If-None-Match and If-Match on PutObject, and strong consistency.
//
// It tries everything once: package retry decides about second attempts, because
// only it knows how to tell its own lost success from somebody else's.
package s3

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"iter"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/smithy-go"
	smithyhttp "github.com/aws/smithy-go/transport/http"

	"github.com/holt-ide/holt"
	"github.com/holt-ide/holt/object"
)

// Config says where the bucket is and who asks.
type Config struct {
	Endpoint string // "https://s3.example.org"; "" means Amazon's for the region
	Region   string // "" means us-east-1, which servers that have none accept
	Bucket   string
	Prefix   string // of every key in the bucket: "" or a path that ends in a slash

	AccessKey, SecretKey string
	SessionToken         string // of temporary credentials, or ""

	// PathStyle puts the bucket into the path and not into the host name, as
	// self-hosted servers expect it.
	PathStyle bool

	// PageSize is how many keys a request of List asks for; 0 means 1000.
	PageSize int32

	// Client carries the requests; nil means one of its own, with 30 s for the
	// first byte of an answer.
	Client *http.Client
}

// Store is a bucket, or what is under a prefix of it.
type Store struct {
	client *s3.Client
	cfg    Config
}

var _ object.Store = (*Store)(nil)

// Open checks that the bucket can be reached. KindInvalid, KindNotFound or
// KindForbidden say what is wrong with the configuration.
func Open(ctx context.Context, cfg Config) (*Store, error) {
	if cfg.Bucket == "" {
		return nil, holt.Invalid("bucket", "an S3 store needs a bucket")
	}
	if err := object.CheckPrefix(cfg.Prefix); err != nil || cfg.Prefix != "" && !strings.HasSuffix(cfg.Prefix, "/") {
		return nil, holt.Invalidf("prefix", "%q cannot be the prefix of a bucket's keys: it is a path that ends in a slash", cfg.Prefix)
	}
	if cfg.Region == "" {
		cfg.Region = "us-east-1"
	}
	if cfg.PageSize == 0 {
		cfg.PageSize = 1000
	}
	if cfg.Client == nil {
		t := http.DefaultTransport.(*http.Transport).Clone()
		t.ResponseHeaderTimeout, t.MaxIdleConnsPerHost = 30*time.Second, 32
		cfg.Client = &http.Client{Transport: t}
	}
	options := s3.Options{
		Region: cfg.Region, UsePathStyle: cfg.PathStyle, HTTPClient: cfg.Client, Retryer: aws.NopRetryer{},
		Credentials: credentials.NewStaticCredentialsProvider(cfg.AccessKey, cfg.SecretKey, cfg.SessionToken),
	}
	if cfg.Endpoint != "" {
		options.BaseEndpoint = &cfg.Endpoint
	}
	s := &Store{client: s3.New(options), cfg: cfg}
	if _, err := s.client.HeadBucket(ctx, &s3.HeadBucketInput{Bucket: &cfg.Bucket}); err != nil {
		if status(err) == http.StatusNotFound {
			return nil, holt.Wrap(holt.KindNotFound, err, fmt.Sprintf("there is no bucket %q", cfg.Bucket))
		}
		return nil, fail("open bucket", object.Key(cfg.Bucket), err)
	}
	return s, nil
}

func (s *Store) key(key object.Key) *string { return aws.String(s.cfg.Prefix + string(key)) }

// Put implements [object.Store].
func (s *Store) Put(ctx context.Context, key object.Key, body []byte, cond object.Condition) (object.ETag, error) {
	if err := object.CheckPut(key, body, cond); err != nil {
		return "", err
	}
	in := &s3.PutObjectInput{Bucket: &s.cfg.Bucket, Key: s.key(key), Body: bytes.NewReader(body), ContentLength: aws.Int64(int64(len(body)))}
	if cond.Absent {
		in.IfNoneMatch = aws.String("*")
	} else if cond.Match != "" {
		in.IfMatch = aws.String(string(cond.Match))
	}
	out, err := s.client.PutObject(ctx, in)
	if err != nil {
		code := errorCode(err)
		// Of an object that is not there no tag matches.
		if cond != (object.Condition{}) && (status(err) == http.StatusPreconditionFailed || code == "NoSuchKey" || code == "PreconditionFailed") {
			return "", object.Conflict(key, cond)
		}
		return "", fail("put", key, err)
	}
	return object.ETag(aws.ToString(out.ETag)), nil
}

// Get implements [object.Store].
func (s *Store) Get(ctx context.Context, key object.Key, r object.Range) (object.Object, error) {
	if err := object.CheckKey(key); err != nil {
		return object.Object{}, err
	}
	if r.Offset < 0 || r.Length < 0 {
		return object.Object{}, holt.Invalidf("range", "%s: there is no range of %d from %d", key, r.Length, r.Offset)
	}
	in := &s3.GetObjectInput{Bucket: &s.cfg.Bucket, Key: s.key(key)}
	switch {
	case r.Length > 0:
		in.Range = aws.String(fmt.Sprintf("bytes=%d-%d", r.Offset, r.Offset+r.Length-1))
	case r.Offset > 0:
		in.Range = aws.String(fmt.Sprintf("bytes=%d-", r.Offset))
	}
	out, err := s.client.GetObject(ctx, in)
	if err != nil {
		if in.Range != nil && r.Offset == 0 && errorCode(err) == "InvalidRange" {
			return s.Get(ctx, key, object.Range{}) // an empty object has no first byte to ask for
		}
		return object.Object{}, fail("get", key, err)
	}
	defer out.Body.Close()
	info := object.Info{Key: key, Size: aws.ToInt64(out.ContentLength), ETag: object.ETag(aws.ToString(out.ETag)), Modified: aws.ToTime(out.LastModified)}
	if in.Range != nil {
		if info.Size, err = totalSize(aws.ToString(out.ContentRange)); err != nil {
			return object.Object{}, holt.Wrap(holt.KindUnavailable, err, fmt.Sprintf("the object store answered badly about %s", key))
		}
	}
	_, length, err := r.Clip(key, info.Size)
	if err != nil {
		return object.Object{}, err
	}
	if length > object.MaxSize {
		return object.Object{}, holt.Errorf(holt.KindInvalid, "object %s has %d bytes, which is more than is read", key, length)
	}
	body := make([]byte, length)
	if n, err := io.ReadFull(out.Body, body); err != nil {
		return object.Object{}, holt.Wrap(holt.KindUnavailable, err, fmt.Sprintf("the object store cut %s short after %d of %d bytes", key, n, length))
	}
	return object.Object{Info: info, Body: body}, nil
}

// totalSize reads what is behind the slash of "bytes 0-4/100".
func totalSize(contentRange string) (int64, error) {
	_, total, _ := strings.Cut(contentRange, "/")
	size, err := strconv.ParseInt(total, 10, 64)
	if err != nil || size < 0 {
		return 0, fmt.Errorf("Content-Range %q has no size", contentRange)
	}
	return size, nil
}

// Stat implements [object.Store].
func (s *Store) Stat(ctx context.Context, key object.Key) (object.Info, error) {
	if err := object.CheckKey(key); err != nil {
		return object.Info{}, err
	}
	out, err := s.client.HeadObject(ctx, &s3.HeadObjectInput{Bucket: &s.cfg.Bucket, Key: s.key(key)})
	if err != nil {
		return object.Info{}, fail("stat", key, err)
	}
	return object.Info{Key: key, Size: aws.ToInt64(out.ContentLength), ETag: object.ETag(aws.ToString(out.ETag)), Modified: aws.ToTime(out.LastModified)}, nil
}

// List implements [object.Store].
func (s *Store) List(ctx context.Context, prefix string) iter.Seq2[object.Info, error] {
	return func(yield func(object.Info, error) bool) {
		if err := object.CheckPrefix(prefix); err != nil {
			yield(object.Info{}, err)
			return
		}
		pages := s3.NewListObjectsV2Paginator(s.client, &s3.ListObjectsV2Input{
			Bucket: &s.cfg.Bucket, Prefix: aws.String(s.cfg.Prefix + prefix), MaxKeys: &s.cfg.PageSize,
		})
		for pages.HasMorePages() {
			page, err := pages.NextPage(ctx)
			if err != nil {
				yield(object.Info{}, fail("list", object.Key(prefix), err))
				return
			}
			for _, o := range page.Contents {
				key := object.Key(strings.TrimPrefix(aws.ToString(o.Key), s.cfg.Prefix))
				if object.CheckKey(key) != nil {
					continue // not ours: a directory's marker, or somebody else's object
				}
				if !yield(object.Info{Key: key, Size: aws.ToInt64(o.Size), Modified: aws.ToTime(o.LastModified)}, nil) {
					return
				}
			}
		}
	}
}

// Delete implements [object.Store].
func (s *Store) Delete(ctx context.Context, key object.Key) error {
	if err := object.CheckKey(key); err != nil {
		return err
	}
	_, err := s.client.DeleteObject(ctx, &s3.DeleteObjectInput{Bucket: &s.cfg.Bucket, Key: s.key(key)})
	if err != nil && errorCode(err) != "NoSuchKey" {
		return fail("delete", key, err)
	}
	return nil
}

func status(err error) int {
	if e, ok := errors.AsType[*smithyhttp.ResponseError](err); ok {
		return e.HTTPStatusCode()
	}
	return 0
}

func errorCode(err error) string {
	if e, ok := errors.AsType[smithy.APIError](err); ok {
		return e.ErrorCode()
	}
	return ""
}

// fail gives an error of the client its kind. What is neither an answer nor the
// caller's doing is the network's: unavailable.
func fail(verb string, key object.Key, err error) error {
	cause := fmt.Errorf("%s %s: %w", verb, key, err)
	if errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded) {
		return cause
	}
	code, status := errorCode(err), status(err)
	switch {
	case code == "NoSuchBucket":
		return holt.Wrap(holt.KindUnavailable, cause, "the bucket of the object store is gone")
	case code == "InvalidRange" || status == http.StatusRequestedRangeNotSatisfiable:
		return holt.Wrap(holt.KindInvalid, cause, fmt.Sprintf("%s has no such range", key))
	case code == "QuotaExceeded" || status == http.StatusInsufficientStorage:
		return holt.Wrap(holt.KindNoSpace, cause, "the object store is full")
	case status == http.StatusNotFound:
		return object.NotFound(key)
	case status == http.StatusUnauthorized || status == http.StatusForbidden:
		return holt.Wrap(holt.KindForbidden, cause, "the object store does not allow this with these credentials")
	case status == http.StatusTooManyRequests, status == http.StatusConflict, status >= 500, status == 0, status < 300:
		return holt.Wrap(holt.KindUnavailable, cause, "the object store does not answer as it should")
	}
	return cause
}
