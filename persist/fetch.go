package persist

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"golang.org/x/sync/errgroup"

	"github.com/holt-ide/holt"
	"github.com/holt-ide/holt/meta"
	"github.com/holt-ide/holt/object"
)

// How blobs are fetched.
const (
	fetchSpan    = 8 << 20   // bytes of a pack in one request, at most
	fetchGap     = 128 << 10 // bytes between two blobs that are fetched with them rather than asked for apart
	fetchWorkers = 6
)

// span is a part of a pack that is fetched at once.
type span struct {
	pack     string
	from, to int64
	blobs    []meta.Blob
}

// spans arranges blobs so that they come with few requests.
func spans(blobs []meta.Blob) []span {
	slices.SortFunc(blobs, func(a, b meta.Blob) int {
		if c := strings.Compare(a.Pack, b.Pack); c != 0 {
			return c
		}
		return int(a.Offset - b.Offset)
	})
	var list []span
	for _, b := range blobs {
		if n := len(list); n > 0 {
			l := &list[n-1]
			if l.pack == b.Pack && b.Offset <= l.to+fetchGap && b.Offset+b.Length-l.from <= fetchSpan {
				l.to = max(l.to, b.Offset+b.Length)
				l.blobs = append(l.blobs, b)
				continue
			}
		}
		list = append(list, span{b.Pack, b.Offset, b.Offset + b.Length, []meta.Blob{b}})
	}
	return list
}

// read calls f with the verified bytes of each of the blobs, once, in any order,
// from several goroutines if there are many. The first error ends it.
func (s *Store) read(ctx context.Context, tenant holt.UserID, ids []meta.BlobID, f func(meta.BlobID, []byte) error) error {
	return s.readAll(ctx, tenant, ids, f, func(_ []meta.BlobID, err error) error { return err })
}

// readAll is read, but asks bad what to do about what cannot be had: nil goes on.
func (s *Store) readAll(ctx context.Context, tenant holt.UserID, ids []meta.BlobID, f func(meta.BlobID, []byte) error, bad func([]meta.BlobID, error) error) error {
	ids = slices.Clone(ids)
	slices.SortFunc(ids, compareIDs)
	ids = slices.Compact(ids)
	for again := range 3 {
		found, err := s.locate(ctx, tenant, ids)
		if err != nil {
			return err
		}
		var blobs []meta.Blob
		var lost []meta.BlobID
		for _, id := range ids {
			if b, ok := found[id]; ok {
				blobs = append(blobs, b)
			} else {
				lost = append(lost, id)
			}
		}
		if len(lost) > 0 {
			if err := bad(lost, holt.Errorf(holt.KindCorrupt, "blob %x is missing", lost[0][:8])); err != nil {
				return err
			}
		}
		ids = nil
		moved := make(chan []meta.BlobID, len(blobs))
		g, gctx := errgroup.WithContext(ctx)
		g.SetLimit(fetchWorkers)
		for _, sp := range spans(blobs) {
			g.Go(func() error {
				if err := gctx.Err(); err != nil {
					return err
				}
				err := s.readSpan(gctx, tenant, sp, f, bad)
				if holt.IsKind(err, holt.KindNotFound) {
					// It was moved to another pack meanwhile, or is lost.
					if again < 2 {
						moved <- sp.ids()
						return nil
					}
					return bad(sp.ids(), holt.Wrap(holt.KindCorrupt, err, fmt.Sprintf("pack %s is missing in the store", sp.pack)))
				}
				return err
			})
		}
		if err := g.Wait(); err != nil {
			return err
		}
		close(moved)
		for list := range moved {
			ids = append(ids, list...)
		}
		if len(ids) == 0 {
			return nil
		}
	}
	return nil
}

func compareIDs(a, b meta.BlobID) int { return slices.Compare(a[:], b[:]) }

func (sp *span) ids() []meta.BlobID {
	ids := make([]meta.BlobID, len(sp.blobs))
	for i := range sp.blobs {
		ids[i] = sp.blobs[i].ID
	}
	return ids
}

// errShort reports a pack that ends too early.
var errShort = errors.New("the pack is too short")

func (s *Store) readSpan(ctx context.Context, tenant holt.UserID, sp span, f func(meta.BlobID, []byte) error, bad func([]meta.BlobID, error) error) error {
	body, err := s.get(ctx, tenant, sp.pack, object.Range{Offset: sp.from, Length: sp.to - sp.from})
	if holt.IsKind(err, holt.KindInvalid) { // the range lies behind the end
		err = holt.Wrap(holt.KindCorrupt, err, fmt.Sprintf("pack %s is cut short", sp.pack))
	}
	if holt.IsKind(err, holt.KindCorrupt) {
		return bad(sp.ids(), err)
	} else if err != nil {
		return fmt.Errorf("read pack: %w", err)
	}
	for _, b := range sp.blobs {
		from, to := b.Offset-sp.from, b.Offset-sp.from+b.Length
		var plain []byte
		if to > int64(len(body)) {
			err = holt.Wrap(holt.KindCorrupt, errShort, fmt.Sprintf("blob %x in pack %s is damaged", b.ID[:8], b.Pack))
		} else {
			plain, err = unpack(b, body[from:to])
		}
		if err != nil {
			if err := bad([]meta.BlobID{b.ID}, err); err != nil {
				return err
			}
			continue
		}
		if err := f(b.ID, plain); err != nil {
			return err
		}
	}
	return nil
}
