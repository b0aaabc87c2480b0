package main

import (
	"context"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/holt-ide/holt"
	"github.com/holt-ide/holt/durable"
	"github.com/holt-ide/holt/node/depot"
	"github.com/holt-ide/holt/object"
	"github.com/holt-ide/holt/object/cache"
	"github.com/holt-ide/holt/object/local"
	"github.com/holt-ide/holt/object/retry"
	"github.com/holt-ide/holt/object/s3"
	"github.com/holt-ide/holt/snapshot/chunk"
)

// storeConfig says where snapshots are kept outside the node.
type storeConfig struct {
	at        string // as the flag says
	dir       string // of a local one; "" with a bucket
	bucket    string
	prefix    string // of keys in the bucket; ends in a slash unless it is ""
	endpoint  string
	region    string
	cacheSize int64

	environment func(string) string // os.Getenv
}

// parseStore understands the flag: "none", a directory, or s3://bucket/prefix.
// "" means a directory in the data directory.
func parseStore(at string) (c storeConfig, err error) {
	c.at = at
	rest, bucket := strings.CutPrefix(at, "s3://")
	switch {
	case at == "" || at == "none":
		return c, nil
	case bucket:
		c.bucket, c.prefix, _ = strings.Cut(rest, "/")
		if c.prefix = strings.Trim(c.prefix, "/"); c.prefix != "" {
			c.prefix += "/"
		}
		if c.bucket == "" || object.CheckPrefix(c.prefix) != nil {
			return c, holt.Invalidf("store", "--store %q: use s3://BUCKET or s3://BUCKET/PREFIX with letters, digits, dots, hyphens and underscores", at)
		}
		return c, nil
	case strings.Contains(at, "://"):
		return c, holt.Invalidf("store", "--store %q: use a directory, s3://BUCKET/PREFIX, or none", at)
	}
	c.dir = at
	return c, nil
}

// checkEndpoint refuses what no S3 server has as an address.
func (c *storeConfig) checkEndpoint() error {
	if c.endpoint == "" {
		return nil
	}
	if c.bucket == "" {
		return holt.Invalid("store-endpoint", "--store-endpoint is that of an S3 server: it needs --store s3://BUCKET/PREFIX")
	}
	u, err := url.Parse(c.endpoint)
	if err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https" {
		return holt.Invalidf("store-endpoint", "--store-endpoint %q: use http://HOST:PORT or https://HOST", c.endpoint)
	}
	return nil
}

// storeMark is what a store holds to tell what it is. Its name has no room for a
// tenant's.
const (
	storeMark    = object.Key("holt-store")
	storeVersion = 1
)

// storePolicy gives up sooner than a client would: whoever waits has the raw files to
// fall back on.
var storePolicy = retry.Policy{Attempts: 4, Attempt: 20 * time.Second}

// connector returns what reaches the store, or nil for none. What it opened is closed
// with the process.
func (c storeConfig) connector(dataDir string) func(ctx context.Context) (depot.Objects, error) {
	if c.at == "none" {
		return nil
	}
	if c.at == "" {
		c.dir = filepath.Join(dataDir, "store")
	}
	return func(ctx context.Context) (depot.Objects, error) {
		plain, err := c.open(ctx)
		if err != nil {
			return depot.Objects{}, err
		}
		origin := retry.New(plain, storePolicy)
		if err := checkStore(ctx, origin, c.where()); err != nil {
			return depot.Objects{}, err
		}
		if c.dir != "" { // the disk is as near as a cache would be
			return depot.Objects{Store: origin, Origin: origin}, nil
		}
		near, err := cache.Open(origin, cache.Config{Dir: filepath.Join(dataDir, "store-cache"), Limit: c.cacheSize, Immutable: chunk.Immutable})
		if err != nil {
			return depot.Objects{}, fmt.Errorf("open cache of the store: %w", err)
		}
		shrink := func() { near.SetLimit(max(near.Stats().Bytes/2, 64<<20)) }
		return depot.Objects{Store: near, Origin: origin, Shrink: shrink}, nil
	}
}

func (c storeConfig) open(ctx context.Context) (object.Store, error) {
	if c.dir != "" {
		if err := checkStoreDir(c.dir); err != nil {
			return nil, err
		}
		s, err := local.Open(c.dir)
		if err != nil {
			return nil, holt.Wrap(holt.KindInvalid, err, "the store "+c.dir+" cannot be opened")
		}
		return s, nil
	}
	env := c.environment
	if env == nil {
		env = os.Getenv
	}
	first := func(values ...string) string {
		i := slices.IndexFunc(values, func(v string) bool { return v != "" })
		return append(values, "")[max(i, 0)]
	}
	endpoint := first(c.endpoint, env("AWS_ENDPOINT_URL_S3"), env("AWS_ENDPOINT_URL"))
	if env("AWS_ACCESS_KEY_ID") == "" || env("AWS_SECRET_ACCESS_KEY") == "" {
		return nil, holt.Errorf(holt.KindForbidden, "the store %s needs credentials: set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY", c.where())
	}
	return s3.Open(ctx, s3.Config{
		Endpoint: endpoint, Region: first(c.region, env("AWS_REGION"), env("AWS_DEFAULT_REGION")),
		Bucket: c.bucket, Prefix: c.prefix, PathStyle: endpoint != "",
		AccessKey: env("AWS_ACCESS_KEY_ID"), SecretKey: env("AWS_SECRET_ACCESS_KEY"), SessionToken: env("AWS_SESSION_TOKEN"),
	})
}

// checkStoreDir refuses a directory with other things in it than a local store has.
func checkStoreDir(dir string) error {
	entries, err := os.ReadDir(dir)
	if os.IsNotExist(err) {
		return nil
	} else if err != nil {
		return holt.Wrap(holt.KindInvalid, err, "the store "+dir+" cannot be opened")
	}
	for _, e := range entries {
		if e.Name() != "data" && e.Name() != "lock" {
			return holt.Errorf(holt.KindConflict, "%s has other things in it (%s) and is no Holt store: choose an empty directory with --store", dir, e.Name())
		}
	}
	return nil
}

// where names the store for people.
func (c storeConfig) where() string {
	if c.dir != "" {
		return c.dir
	}
	return c.at
}

// checkStore makes an empty store ours, and refuses one that is somebody else's or of
// a later version.
func checkStore(ctx context.Context, s object.Store, where string) error {
	o, err := s.Get(ctx, storeMark, object.Range{})
	if holt.IsKind(err, holt.KindNotFound) {
		for info, err := range s.List(ctx, "") {
			if err != nil {
				return fmt.Errorf("look into store %s: %w", where, err)
			}
			if info.Key != storeMark {
				return holt.Errorf(holt.KindConflict, "%s has other things in it (%s) and no mark of a Holt store: choose an empty place with --store", where, info.Key)
			}
		}
		if _, err := s.Put(ctx, storeMark, fmt.Appendf(nil, "%d\n", storeVersion), object.IfAbsent); err == nil {
			return nil
		} else if !holt.IsKind(err, holt.KindConflict) {
			return fmt.Errorf("mark store %s: %w", where, err)
		}
		o, err = s.Get(ctx, storeMark, object.Range{}) // another server was faster
	}
	if err != nil {
		return fmt.Errorf("look into store %s: %w", where, err)
	}
	v, err := strconv.Atoi(strings.TrimSpace(string(o.Body)))
	switch {
	case err != nil || v < 1:
		return holt.Errorf(holt.KindCorrupt, "the mark of the store %s is damaged: it says %.20q instead of a version", where, o.Body)
	case v > storeVersion:
		return holt.Errorf(holt.KindUnsupported, "the store %s has version %d, this holtd knows up to %d: it was used by a newer holtd", where, v, storeVersion)
	}
	return nil
}

// tryStore reaches for the store at the start. Only what no waiting will mend is an
// error: a server whose store is away works without it until it is back.
func tryStore(ctx context.Context, connect func(context.Context) (depot.Objects, error)) (func(context.Context) (depot.Objects, error), error) {
	if connect == nil {
		return nil, nil
	}
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	first, err := connect(ctx)
	switch holt.KindOf(err) {
	case holt.KindConflict, holt.KindUnsupported, holt.KindCorrupt, holt.KindInvalid, holt.KindNotFound, holt.KindForbidden:
		if err != nil {
			return nil, fmt.Errorf("open store of snapshots: %w", err)
		}
	}
	reached := err == nil
	return func(ctx context.Context) (depot.Objects, error) {
		if reached { // the caller serialises
			reached = false
			return first, nil
		}
		return connect(ctx)
	}, nil
}

// checkPlace refuses another store than the one that the data directory's snapshots
// are in: what only that one has would be lost from sight, and what is thought to be
// there would be removed here.
func (c storeConfig) checkPlace(dataDir string) error {
	where := c.at
	if c.dir != "" {
		abs, err := filepath.Abs(c.dir)
		if err != nil {
			return fmt.Errorf("locate store: %w", err)
		}
		where = abs
	} else if where == "" {
		where = "default"
	}
	path := filepath.Join(dataDir, "store-location")
	body, err := os.ReadFile(path)
	switch was := strings.TrimSpace(string(body)); {
	case err == nil && was == where:
		return nil
	case err == nil && was != "none":
		return holt.Errorf(holt.KindConflict, "the snapshots of data directory %s are in the store %q, not in %q: use that one with --store; or copy everything from there, and then remove %s", dataDir, was, where, path)
	case err != nil && !os.IsNotExist(err):
		return fmt.Errorf("read location of the store: %w", err)
	}
	if err := durable.WriteFile(path, []byte(where+"\n"), 0o600); err != nil {
		return fmt.Errorf("write location of the store: %w", err)
	}
	return nil
}

// storeOwner names this server's unfinished writes in a store that others may share.
func storeOwner(dataDir string) (string, error) {
	path := filepath.Join(dataDir, "store-owner")
	body, err := os.ReadFile(path)
	if name := strings.TrimSpace(string(body)); err == nil && name != "" {
		return name, nil
	} else if err != nil && !os.IsNotExist(err) {
		return "", fmt.Errorf("read name among the store's writers: %w", err)
	}
	name := holt.NewID()
	if err := durable.WriteFile(path, []byte(name+"\n"), 0o600); err != nil {
		return "", fmt.Errorf("write name among the store's writers: %w", err)
	}
	return name, nil
}
