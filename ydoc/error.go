package ydoc

import (
	"errors"
	"fmt"

	"github.com/holt-ide/holt/ydoc/lib0"
)

// ErrMalformed is matched by the error of every update, state vector or relative
// position that is not in the format. [FormatError] says where and why.
var ErrMalformed = lib0.ErrFormat

// FormatError is the error of a value that is not in the format.
type FormatError = lib0.FormatError

// ErrLimit is matched by the error of everything that one of [Limits] refuses.
var ErrLimit = errors.New("document limit")

// LimitError says which of [Limits] was passed.
type LimitError struct {
	What  string // what was counted, such as "bytes of one update"
	Limit int
}

func (e *LimitError) Error() string {
	return fmt.Sprintf("%v: more than %d %s", ErrLimit, e.Limit, e.What)
}

// Unwrap returns [ErrLimit].
func (e *LimitError) Unwrap() error { return ErrLimit }

// ErrRange is returned by local edits outside of the text.
var ErrRange = errors.New("position outside of the text")

// Limits bounds what a document takes. A field that is zero has its default. A
// refused update leaves the document as it was.
type Limits struct {
	// Update is the most bytes of one update; 32 MiB.
	Update int
	// Content is the most bytes of content, that of deleted text included until
	// it is collected; 64 MiB.
	Content int
	// Structs is the most structs of a document, deleted ones included; 2 million.
	Structs int
	// Pending is the most structs and ranges of deletions that wait for updates
	// which have not come; 65,536.
	Pending int
	// PendingBytes is the most bytes of content in structs that wait; 16 MiB.
	PendingBytes int
}

func (l Limits) withDefaults() Limits {
	set := func(v *int, def int) {
		if *v == 0 {
			*v = def
		}
	}
	set(&l.Update, 32<<20)
	set(&l.Content, 64<<20)
	set(&l.Structs, 2_000_000)
	set(&l.Pending, 1<<16)
	set(&l.PendingBytes, 16<<20)
	return l
}
