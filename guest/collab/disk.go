package collab

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/coder/websocket"

	"github.com/holt-ide/holt"
	"github.com/holt-ide/holt/guest/collab/diff"
	"github.com/holt-ide/holt/wire/guest"
)

const (
	// settle is how old a change must be to be read: many programs empty a file and
	// then fill it.
	settle = 50 * time.Millisecond
	// settleEmpty is the same for a file that is empty.
	settleEmpty = 500 * time.Millisecond
	// recall: a program that wrote the file may have read it so long before, and not
	// know what was written in between.
	recall = 2 * time.Second
	// maxPast is how many texts of that time are remembered.
	maxPast = 3
)

// content is a file as it was read.
type content struct {
	text    string
	format  format
	etag    string
	changed time.Time
}

// settled returns how long to wait before c is taken for the whole file.
func (c *content) settled() time.Duration {
	need := settle
	if c.text == "" {
		need = settleEmpty
	}
	if age := time.Since(c.changed); age >= 0 && age < need {
		return need - age
	}
	return 0
}

// read reads the file.
func (r *Room) read() (content, error) {
	file, info, err := r.m.opt.Files.Open(r.path)
	if err != nil {
		return content{}, err
	}
	defer file.Close()
	raw, err := io.ReadAll(io.LimitReader(file, r.m.opt.FileBytes+1))
	if err != nil {
		return content{}, fmt.Errorf("read %s: %w", r.path, err)
	}
	if int64(len(raw)) > r.m.opt.FileBytes {
		return content{}, refuse(guestwire.ReasonLarge, r.path, "has more than "+holt.FormatSize(r.m.opt.FileBytes))
	}
	text, f, err := decode(r.path, raw)
	return content{text, f, info.ETag, info.ModTime}, err
}

// open makes the document from its kept state, or from the file where there is
// none, and brings both together.
func (r *Room) open(ctx context.Context) error {
	c, err := r.read()
	if err != nil {
		return err
	}
	kept, err := r.m.loadState(r.path)
	if err != nil {
		r.m.opt.Log.Warn("the state of a document is lost, it starts anew", "path", r.path, "err", err)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.doc = r.newDoc()
	r.text = r.doc.Text(root)
	if kept != nil {
		if err := r.doc.Apply(kept.update); err != nil {
			r.m.opt.Log.Warn("the state of a document does not load, it starts anew", "path", r.path, "err", err)
			kept = nil
			r.doc = r.newDoc()
			r.text = r.doc.Text(root)
		}
	}
	r.base, r.format, r.etag = c.text, c.format, c.etag
	if kept == nil {
		if err := r.text.Insert(0, c.text); err != nil {
			return err
		}
		r.epoch = holt.NewID()
		return r.m.saveState(ctx, r.path, r.state())
	}
	text := r.text.String()
	r.epoch = kept.Epoch
	if c.text == text {
		return nil
	}
	if err := r.mergeOthers(ctx, kept.ancestor(text, c.text), c.text); err != nil {
		return err
	}
	r.compare()
	return nil
}

// mergeOthers is merge for a document that has peers. They get the edits only when
// those are kept: made again from the same text by a later room, they would be
// there twice. mu is held, and the disk is waited for.
func (r *Room) mergeOthers(ctx context.Context, base, text string) error {
	r.hold = true
	err := r.merge(base, text)
	r.hold = false
	if len(r.held) > 0 {
		if kerr := r.m.saveState(ctx, r.path, r.state()); kerr != nil {
			r.report(kerr)
		}
	}
	for _, m := range r.held {
		r.broadcast(m, nil)
	}
	r.held = nil
	return err
}

// merge brings what was changed from base to text into the document. mu is held.
func (r *Room) merge(base, text string) error {
	edits := diff.Between(base, text)
	now := r.text.String()
	if now != base {
		edits = diff.Rebase(edits, diff.Between(base, now))
	}
	return r.edit(now, edits)
}

// look reads the file if it is not as it was left, and merges what is new. When it
// is being written it returns how long to wait for the rest.
func (r *Room) look(ctx context.Context) (again time.Duration) {
	info, err := r.m.opt.Files.Stat(r.path)
	r.mu.Lock()
	same := err == nil && info.ETag == r.etag && !r.gone
	r.mu.Unlock()
	if same {
		return 0
	}
	c, err := r.read()
	r.mu.Lock()
	defer r.mu.Unlock()
	switch {
	case holt.IsKind(err, holt.KindNotFound):
		if !r.gone {
			r.gone, r.etag = true, ""
			r.settled() // whoever removed it does not want it back
			r.tellAll()
		}
	case holt.IsKind(err, holt.KindUnsupported), holt.IsKind(err, holt.KindInvalid):
		// It is no text any more. What is not written is nowhere else.
		r.m.opt.Log.Warn("a document ends: its file is no text any more", "path", r.path, "err", err)
		r.end(Closed{websocket.StatusPolicyViolation, "the file is no text any more"})
		r.dirty = time.Time{}
		signal(r.wake)
	case err != nil:
		r.report(err)
	case c.text != r.base && c.settled() > 0:
		return c.settled()
	default:
		r.take(ctx, c)
	}
	return 0
}

// take makes c, which somebody else has written, the base. mu is held.
func (r *Room) take(ctx context.Context, c content) {
	base := r.ancestor(c)
	told := r.gone || r.format.eol != c.format.eol || r.format.bom != c.format.bom
	r.base, r.format, r.etag, r.gone = c.text, c.format, c.etag, false
	r.past = nil // a program that writes twice knows what it wrote
	if base != c.text || r.text.String() != c.text {
		r.wanted = true // the journal learns what the file has with the edits, or not at all
		if err := r.mergeOthers(ctx, base, c.text); err != nil {
			r.report(err)
			return
		}
	}
	if r.compare() || told {
		r.tellAll()
	}
}

// ancestor is the text from which others made c: what the file had last, or, when the
// room wrote while they were at it, what it had before. That is told by what c is
// nearer to. mu is held.
func (r *Room) ancestor(c content) string {
	best := r.base
	if len(r.past) == 0 || best == c.text {
		return best
	}
	size := diff.Size(diff.Between(best, c.text))
	for i := len(r.past) - 1; i >= 0; i-- {
		p := r.past[i]
		if c.changed.Sub(p.until) > recall {
			break
		}
		if n := diff.Size(diff.Between(p.text, c.text)); n < size {
			best, size = p.text, n
		}
	}
	return best
}

// remember notes what the file had before it was written. mu is held.
func (r *Room) remember(text string) {
	if len(r.past) == maxPast {
		r.past = r.past[1:]
	}
	r.past = append(r.past, past{text, time.Now()})
}

// compare marks the document as written if it has the text of the file, else as not
// written. It reports whether that is news. mu is held.
func (r *Room) compare() bool {
	was := r.dirty.IsZero()
	if r.text.String() == r.base {
		r.dirty = time.Time{}
	} else if was {
		r.dirty = time.Now()
	}
	return was != r.dirty.IsZero()
}

// report tells the peers of an error. mu is held.
func (r *Room) report(err error) {
	r.problems++
	if text := err.Error(); r.problem != text {
		r.problem = text
		r.m.opt.Log.Warn("a document", "path", r.path, "err", err)
		r.tellAll()
	}
}

// save writes state and file, if there is something to write.
func (r *Room) save(ctx context.Context) {
	for range 3 {
		r.mu.Lock()
		r.urgent = false
		asked := map[*Peer]uint64{}
		for p := range r.peers {
			asked[p] = p.asked
		}
		if r.dirty.IsZero() {
			answer(asked)
			r.mu.Unlock()
			return
		}
		text, edited := r.text.String(), r.edited
		raw, f := r.format.encode(r.base, text)
		kept := r.state()
		o := guestwire.WriteOptions{IfMatch: r.etag, New: r.gone}
		r.queue(guestwire.JournalMark, nil)
		r.mu.Unlock()

		var info guestwire.FileInfo
		err := r.m.saveState(ctx, r.path, kept)
		if err == nil {
			info, err = r.m.opt.Files.Write(ctx, r.path, strings.NewReader(string(raw)), o)
		}
		if errors.Is(err, guestwire.ErrPrecondition) {
			if again := r.look(ctx); again > 0 {
				r.mu.Lock()
				r.later = time.Now().Add(again)
				r.mu.Unlock()
				signal(r.check)
				return
			}
			continue
		}
		r.mu.Lock()
		if err != nil {
			r.report(err)
		} else {
			r.remember(r.base)
			r.base, r.format, r.etag, r.gone = text, f, info.ETag, false
			r.problem, r.problems = "", 0
			if r.edited.Equal(edited) {
				r.dirty = time.Time{}
			} else {
				r.dirty = r.edited
			}
			r.tellAll()
			answer(asked)
		}
		r.mu.Unlock()
		return
	}
}

// answer tells peers that the file has what they asked to be written. mu is held.
func answer(asked map[*Peer]uint64) {
	for p, request := range asked {
		p.answered(request)
	}
}

// due is when the file is to be written; zero for never. mu is held.
func (r *Room) due() time.Time {
	if r.dirty.IsZero() {
		return time.Time{}
	}
	o := &r.m.opt
	if r.urgent {
		return time.Now()
	}
	if r.problems > 0 {
		return time.Now().Add(min(time.Duration(r.problems)*o.SaveMost, time.Minute))
	}
	at := r.edited.Add(o.SaveDelay)
	if most := r.dirty.Add(o.SaveMost); most.Before(at) {
		at = most
	}
	if at.Before(r.later) {
		at = r.later
	}
	return at
}

// run writes the file when edits call for it, and merges what others write, until
// nobody has been here for a while or ctx ends.
func (r *Room) run(ctx context.Context) {
	tick := time.NewTicker(r.m.opt.Check)
	defer tick.Stop()
	var settled <-chan time.Time // rings when to look again
	look := func() {
		settled = nil
		if again := r.look(ctx); again > 0 {
			settled = time.After(again)
		}
	}
	for {
		r.queueState()
		timer := r.timer()
		select {
		case <-ctx.Done():
			r.close()
			return
		case <-r.wake:
		case flushed := <-r.flush:
			r.save(ctx)
			close(flushed)
		case <-r.check:
			look()
		case <-settled:
			look()
		case <-tick.C:
			r.mu.Lock()
			r.past = slices.DeleteFunc(r.past, func(p past) bool { return time.Since(p.until) > recall })
			r.mu.Unlock()
			r.m.watch.add(r.path) // its directory may be another one now
			look()
		case <-timer.C:
			r.mu.Lock()
			due := r.due()
			r.mu.Unlock()
			if !due.IsZero() {
				r.save(ctx)
			}
		}
		timer.Stop()
		if r.finished() {
			r.close()
			return
		}
	}
}

// timer rings when there is something to do.
func (r *Room) timer() *time.Timer {
	r.mu.Lock()
	defer r.mu.Unlock()
	wait := time.Hour
	if due := r.due(); !due.IsZero() {
		wait = time.Until(due)
	}
	if len(r.peers) == 0 {
		wait = min(wait, time.Until(r.empty.Add(r.m.opt.Linger)))
	}
	return time.NewTimer(max(wait, 0))
}

// finished reports whether the room is over, and makes it so when nobody has been
// here for a while and the file is written or cannot be.
func (r *Room) finished() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	written := r.dirty.IsZero() || r.problems > 0 // it is in the state anyway
	if !r.over && len(r.peers) == 0 && written && time.Since(r.empty) >= r.m.opt.Linger {
		r.end(Closed{websocket.StatusGoingAway, "the document was closed"})
	}
	return r.over
}

// close ends the room: what is not written is written now.
func (r *Room) close() {
	r.mu.Lock()
	r.end(Closed{websocket.StatusGoingAway, "the agent is ending"})
	r.mu.Unlock()
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	r.save(ctx)
	r.mu.Lock()
	r.settled()
	r.mu.Unlock()
	r.m.forget(r)
	close(r.done)
}
