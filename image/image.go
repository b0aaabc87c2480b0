// Package image keeps the read-only base file systems that sandboxes start
// from: EROFS files named by the SHA-256 of their bytes.
//
// A [Store] is one directory. Images come into it by [Store.Build] from a
// recipe (package images holds ours), by [Store.Import] from any directory tree
// (package image/oci pulls and flattens container images), or by [Store.Adopt]
// from another store on the same host, such as the build cache.
//
// Guarantees:
//   - An image, once listed, never changes: its ID is the hash of its bytes and
//     its path is stable for as long as it is stored. A snapshot may name it.
//   - The same tree (names, contents, owners, modes, modification times, hard
//     links) gives the same ID with the same mkfs.erofs. Extended attributes
//     are not stored: gVisor refuses EROFS inodes that have any.
//   - A crash at any moment leaves each image either whole or absent.
//
// The package does not know who uses an image; [Store.Remove] is called only
// after somebody else has checked that. Building and importing need root,
// because file ownership is part of an image.
package image

import (
	"time"

	holt "github.com/holt-ide/holt"
)

// Image is one stored base file system.
type Image struct {
	ID      holt.ImageID
	Names   []string  // sorted; empty after its last name moved to another image
	Path    string    // absolute path of the EROFS file, mode 0444
	Size    int64     // bytes of the EROFS file
	Created time.Time // when it entered the store it was first made in, UTC
	Source  Source
	Config  Config
}

// Source says where an image came from.
type Source struct {
	Kind   string // "recipe", "oci" or "tree"
	Ref    string // name of the recipe or reference of the container image
	Digest string // hash of the recipe or digest of the container image: same digest, same input
}

// The kinds of [Source].
const (
	FromRecipe = "recipe"
	FromOCI    = "oci"
	FromTree   = "tree"
)

// Config is what an image says about the processes started from it.
type Config struct {
	Env     []string // "KEY=value", in order
	User    string   // user or uid[:gid] the image's author meant; workspaces use uid 1000 anyway
	WorkDir string   // absolute, "" means /workspace
	Labels  map[string]string
}

// Event is one step of a long operation, for a progress display.
type Event struct {
	Phase  string        // "packages", "setup", "pack", "hash", "layer 2/7", ...
	Detail string        // what is being worked on, may be ""
	Done   int64         // units done so far
	Total  int64         // units in all, 0 while unknown
	Bytes  bool          // the unit is bytes, not things
	Took   time.Duration // since the phase began
	End    bool          // the phase is complete
}

// Progress receives events, from one goroutine at a time, often: it must be
// quick. A nil Progress is legal wherever one is accepted.
type Progress func(Event)

// Phase starts a phase and returns functions to report within it and to end it.
func (p Progress) Phase(name string) *Phase {
	ph := &Phase{report: p, started: time.Now(), ev: Event{Phase: name}}
	ph.send()
	return ph
}

// Phase is one timed part of a long operation. It is not safe for concurrent
// use.
type Phase struct {
	report  Progress
	started time.Time
	last    time.Time
	ev      Event
}

// progressEvery is the least time between two reports within a phase.
const progressEvery = 100 * time.Millisecond

// Step reports done of total units (bytes or things), at most ten times a
// second.
func (p *Phase) Step(done, total int64, bytes bool, detail string) {
	p.ev.Done, p.ev.Total, p.ev.Bytes, p.ev.Detail = done, total, bytes, detail
	if now := time.Now(); now.Sub(p.last) >= progressEvery {
		p.last = now
		p.send()
	}
}

// End reports the phase as complete.
func (p *Phase) End() {
	p.ev.End, p.ev.Done = true, p.ev.Total
	p.send()
}

func (p *Phase) send() {
	if p.report == nil {
		return
	}
	p.ev.Took = time.Since(p.started)
	p.report(p.ev)
}
