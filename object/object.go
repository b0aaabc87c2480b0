// Package object is the contract of object storage: whole values under keys, as in
// S3. It declares; local (a directory) and s3 implement; retry and cache wrap an
// implementation in the same contract; objecttest is the suite that each of them
// passes.
//
// # Guarantees
//
// A Put that returns nil is durable and visible to every later call of every
// client: there is no eventual consistency. An object changes as a whole or not at
// all; a reader sees one Put's body, never a mixture of two. Listing is the
// exception that callers have to expect from caches and proxies in between: a key
// that was put or deleted a moment ago may be missing or still there, so nothing
// that must not be lost may be decided by List alone.
//
// Conditions are checked and applied in one step: of any number of concurrent
// conditional puts that expect the same state exactly one succeeds.
//
// Bodies are byte slices of at most [MaxSize] bytes, because everything that is
// kept here is cut into pieces of that order, a body must be sendable twice, and
// it is checked by its reader before a byte of it is used.
//
// # Errors
//
// Errors are [holt.Error] values:
//
//	KindNotFound      there is no such object
//	KindConflict      a condition does not hold
//	KindInvalid       a bad key, a body too large, a range behind the end
//	KindForbidden     the credentials do not allow it
//	KindUnavailable   not now: the store is away, slow or cut an answer short
//	KindNoSpace       the disk or bucket is full
//	KindCorrupt       the store itself noticed that stored bytes are damaged
//
// After KindUnavailable, KindTimeout or a cancelled context a Put or Delete may
// have happened or may still happen.
//
// The package knows the root package only.
package object

import (
	"context"
	"fmt"
	"iter"
	"regexp"
	"strings"
	"time"

	"github.com/holt-ide/holt"
)

// MaxSize is the largest body in bytes.
const MaxSize = 64 << 20

// Bounds of a key in bytes.
const (
	MaxKey     = 512 // the whole
	MaxSegment = 128 // between two slashes
)

// Key names an object: segments of [A-Za-z0-9._-] separated by single slashes, none
// of which starts with a dot. A key must not continue another one with a slash
// ("a" beside "a/b"): directories cannot keep both.
type Key string

// ETag stands for an object's content at one moment, as the store gives it: opaque,
// equal for equal tags only. The same content put again may have the same tag.
type ETag string

// Info describes an object.
type Info struct {
	Key      Key
	Size     int64     // bytes of the whole body
	ETag     ETag      // "" from List
	Modified time.Time // by the store's clock, to the second at least
}

// Object is an object's description and the part of its body that was asked for.
type Object struct {
	Info
	Body []byte
}

// Range is a part of a body. The zero value is all of it.
type Range struct {
	Offset int64 // of the first byte
	Length int64 // at most; 0 means up to the end
}

// Condition says what a Put expects to find. The zero value expects nothing.
type Condition struct {
	Absent bool // there is no such object
	Match  ETag // the object has this tag
}

// IfAbsent is the condition that the object does not exist yet.
var IfAbsent = Condition{Absent: true}

// IfMatch is the condition that the object still has the tag.
func IfMatch(tag ETag) Condition { return Condition{Match: tag} }

// Store keeps objects. All methods may be called concurrently.
type Store interface {
	// Put makes body the content of key, durably, and returns its tag. It does
	// not keep body.
	Put(ctx context.Context, key Key, body []byte, cond Condition) (ETag, error)

	// Get returns a part of an object. A range that reaches beyond the end is cut
	// there; one that starts at or behind the end of a body that is not empty is
	// KindInvalid. The body is the caller's.
	Get(ctx context.Context, key Key, r Range) (Object, error)

	// Stat describes an object.
	Stat(ctx context.Context, key Key) (Info, error)

	// List yields the objects whose keys start with prefix, in the order of their
	// keys' bytes. It ends after the first error.
	List(ctx context.Context, prefix string) iter.Seq2[Info, error]

	// Delete removes an object. One that does not exist is no error.
	Delete(ctx context.Context, key Key) error
}

var segmentRE = regexp.MustCompile(`^[A-Za-z0-9_-][A-Za-z0-9._-]*$`)

// CheckKey reports why key cannot name an object, as KindInvalid.
func CheckKey(key Key) error {
	if key == "" || len(key) > MaxKey {
		return &holt.Error{Kind: holt.KindInvalid, Field: "key", Limit: fmt.Sprint(MaxKey),
			Text: fmt.Sprintf("an object's key has 1 to %d bytes, this one has %d", MaxKey, len(key))}
	}
	for segment := range strings.SplitSeq(string(key), "/") {
		if len(segment) > MaxSegment || !segmentRE.MatchString(segment) {
			return holt.Invalidf("key", "%q cannot be an object's key: %.40q is not 1 to %d of A-Z a-z 0-9 . _ -, without a dot in front", key, segment, MaxSegment)
		}
	}
	return nil
}

// CheckPrefix reports why prefix cannot start a key, as KindInvalid. "" starts every key.
func CheckPrefix(prefix string) error {
	if whole := strings.TrimSuffix(prefix, "/"); whole != "" || prefix != "" {
		return CheckKey(Key(whole))
	}
	return nil
}

// CheckPut is what every implementation refuses of a Put.
func CheckPut(key Key, body []byte, cond Condition) error {
	if err := CheckKey(key); err != nil {
		return err
	}
	if len(body) > MaxSize {
		return &holt.Error{Kind: holt.KindInvalid, Field: "body", Limit: fmt.Sprint(MaxSize),
			Text: fmt.Sprintf("an object has at most %d bytes, %s would have %d", MaxSize, key, len(body))}
	}
	if cond.Absent && cond.Match != "" {
		return holt.Invalidf("condition", "%s cannot be absent and have a tag", key)
	}
	return nil
}

// Clip returns the part of a body of size bytes that r means: its first byte and its
// length. It is KindInvalid for a range that no such body has.
func (r Range) Clip(key Key, size int64) (offset, length int64, err error) {
	if r.Offset < 0 || r.Length < 0 || (r.Offset >= size && r.Offset > 0) {
		return 0, 0, holt.Invalidf("range", "%s has %d bytes: there is no range of %d from %d", key, size, r.Length, r.Offset)
	}
	length = size - r.Offset
	if r.Length > 0 {
		length = min(length, r.Length)
	}
	return r.Offset, length, nil
}

// NotFound is the error for an object that does not exist.
func NotFound(key Key) error {
	return holt.Errorf(holt.KindNotFound, "there is no object %s", key)
}

// Conflict is the error for a condition that does not hold.
func Conflict(key Key, cond Condition) error {
	if cond.Absent {
		return holt.Errorf(holt.KindConflict, "object %s exists already", key)
	}
	return holt.Errorf(holt.KindConflict, "object %s has changed in the meantime", key)
}
