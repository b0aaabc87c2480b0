package collab

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"path/filepath"

	"github.com/holt-ide/holt"
	"github.com/holt-ide/holt/guest/collab/diff"
	"github.com/holt-ide/holt/wire/guest"
)

// kept is the state of a document between rooms. Its file is one line of JSON and
// the update that makes the document.
//
//	version  change
//	1        first version
type kept struct {
	Version int    `json:"version"`
	Path    string `json:"path"`
	Epoch   string `json:"epoch"`
	// Base is what the file had before the text of the update was written to it;
	// nil where that is the same.
	Base *string `json:"base,omitempty"`
	// Sure: others changed the file from the base, whatever it is nearer to.
	Sure bool `json:"sure,omitempty"`

	update []byte
}

const stateVersion = 1

// maxBase is the longest base that is kept, in bytes. A longer one is compared with
// the text of the document alone.
const maxBase = 1 << 20

// state is what is kept now, before the text is written. mu is held.
func (r *Room) state() kept {
	k := kept{Version: stateVersion, Path: r.path, Epoch: r.epoch, update: r.doc.Encode()}
	if base := r.base; !r.dirty.IsZero() && len(base) <= maxBase {
		k.Base = &base
	}
	return k
}

// ancestor is the text from which the file was changed while no room was open: of
// the document, when that had been written, else the base. Which of them is told
// by what the file is nearer to.
func (k *kept) ancestor(text, file string) string {
	if k.Base == nil || *k.Base == text {
		return text
	}
	if k.Sure || *k.Base == file || diff.Size(diff.Between(*k.Base, file)) < diff.Size(diff.Between(text, file)) {
		return *k.Base
	}
	return text
}

func (m *Rooms) statePath(path string) string {
	sum := sha256.Sum256([]byte(path))
	return filepath.Join(m.opt.Dir, hex.EncodeToString(sum[:16]))
}

// loadState returns nil without an error where there is none.
func (m *Rooms) loadState(path string) (*kept, error) {
	file, _, err := m.opt.Files.Open(m.statePath(path))
	if holt.IsKind(err, holt.KindNotFound) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	defer file.Close()
	// The update, and a base in JSON, which may make six bytes of one.
	most := int64(m.opt.Document.Update) + 7*maxBase
	raw, err := io.ReadAll(io.LimitReader(file, most))
	if err != nil {
		return nil, fmt.Errorf("read state: %w", err)
	}
	return decodeState(raw, path)
}

func (m *Rooms) saveState(ctx context.Context, path string, k kept) error {
	body, err := k.encode()
	if err != nil {
		return err
	}
	write := func() error {
		_, err := m.opt.Files.Write(ctx, m.statePath(path), bytes.NewReader(body), guestwire.WriteOptions{Mode: 0o600})
		return err
	}
	err = write()
	if holt.IsKind(err, holt.KindNotFound) {
		if err = m.opt.Files.Mkdir(guestwire.Mkdir{Path: m.opt.Dir, Parents: true}); err == nil {
			err = write()
		}
	}
	return err
}
