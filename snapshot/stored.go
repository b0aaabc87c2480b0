package snapshot

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"

	"github.com/holt-ide/holt"
	"github.com/holt-ide/holt/durable"
	"github.com/holt-ide/holt/fault"
)

// Names of the marks beside a snapshot's files.
const (
	storedName  = "stored"
	evictedName = "evicted"
)

// Place says where else a snapshot is kept.
type Place struct {
	Tenant string    `json:"tenant"` // of package chunk
	At     time.Time `json:"at"`     // when it had been read back from there
}

// MarkStored notes, durably, that a snapshot is kept elsewhere as well.
func (s *Store) MarkStored(id holt.SnapshotID, p Place) error {
	body, err := json.Marshal(p)
	if err != nil {
		return fmt.Errorf("encode place: %w", err)
	}
	if err := durable.WriteFile(filepath.Join(s.path(id), storedName), body, 0o600); err != nil {
		return diskError(fmt.Errorf("mark snapshot as stored: %w", err))
	}
	return nil
}

// Stored returns where else a snapshot is kept, and whether it is. A mark that cannot
// be read is as good as none: the snapshot is stored again.
func (s *Store) Stored(id holt.SnapshotID) (Place, bool) {
	var p Place
	body, err := os.ReadFile(filepath.Join(s.path(id), storedName))
	if err != nil || json.Unmarshal(body, &p) != nil || p.Tenant == "" {
		return Place{}, false
	}
	return p, true
}

// Evicted reports whether the files of a snapshot are kept elsewhere only. Its
// manifest is here all the same.
func (s *Store) Evicted(id holt.SnapshotID) bool {
	_, err := os.Lstat(filepath.Join(s.path(id), evictedName))
	return err == nil
}

// Evict removes the files of a snapshot that is kept elsewhere as well; its manifest
// stays. KindConflict if it is not. Nobody may be using the files.
func (s *Store) Evict(id holt.SnapshotID) error {
	if _, ok := s.Stored(id); !ok {
		return holt.Errorf(holt.KindConflict, "snapshot %s is kept nowhere else: its files stay", id)
	}
	// The mark comes first: files that a crash leaves are never taken for whole.
	if err := durable.WriteFile(filepath.Join(s.path(id), evictedName), nil, 0o600); err != nil {
		return diskError(fmt.Errorf("mark snapshot as evicted: %w", err))
	}
	fault.Point("snapshot.evicting")
	return s.clear(id)
}

// clear removes the files of an evicted snapshot.
func (s *Store) clear(id holt.SnapshotID) error {
	entries, err := os.ReadDir(s.path(id))
	if err != nil {
		return fmt.Errorf("list evicted snapshot: %w", err)
	}
	for _, e := range entries {
		switch e.Name() {
		case manifestName, storedName, evictedName:
			continue
		}
		if err := os.Remove(filepath.Join(s.path(id), e.Name())); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("evict snapshot: %w", err)
		}
	}
	return nil
}

// Adopt makes a snapshot known that is kept elsewhere only, from its encoded
// manifest, which names it id from now on. KindConflict if there is one of the name.
func (s *Store) Adopt(id holt.SnapshotID, encoded []byte, p Place) (*Manifest, error) {
	m, err := decode(encoded)
	if err != nil {
		return nil, err
	}
	if _, err := s.Get(id); err == nil {
		return nil, holt.Errorf(holt.KindConflict, "there is a snapshot %s already", id)
	}
	m.ID = id
	body, err := m.encode()
	if err != nil {
		return nil, err
	}
	place, err := json.Marshal(p)
	if err != nil {
		return nil, fmt.Errorf("encode place: %w", err)
	}
	d, err := s.Begin(id)
	if err != nil {
		return nil, err
	}
	defer d.Abort() //nolint:errcheck // what stays is removed by Open
	for name, data := range map[string][]byte{storedName: place, evictedName: nil} {
		if err := durable.WriteFile(filepath.Join(d.dir, name), data, 0o600); err != nil {
			return nil, diskError(fmt.Errorf("adopt snapshot: %w", err))
		}
	}
	if err := d.describe(body); err != nil {
		return nil, diskError(fmt.Errorf("write manifest: %w", err))
	}
	if err := durable.Rename(d.dir, s.path(id)); err != nil {
		return nil, diskError(fmt.Errorf("name snapshot: %w", err))
	}
	d.dir = ""
	return m, nil
}

// Encoded returns a snapshot's manifest as it is on the disk, for [Store.Adopt].
func (s *Store) Encoded(id holt.SnapshotID) ([]byte, error) {
	body, err := os.ReadFile(filepath.Join(s.path(id), manifestName))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, holt.Errorf(holt.KindNotFound, "there is no snapshot %s", id)
	} else if err != nil {
		return nil, fmt.Errorf("read manifest: %w", err)
	}
	return body, nil
}

// Usage returns the bytes that the files of a snapshot take on the disk. Blocks
// that are shared with other files count.
func (s *Store) Usage(id holt.SnapshotID) (int64, error) {
	entries, err := os.ReadDir(s.path(id))
	if err != nil {
		return 0, fmt.Errorf("measure snapshot: %w", err)
	}
	var sum int64
	for _, e := range entries {
		var st unix.Stat_t
		if err := unix.Lstat(filepath.Join(s.path(id), e.Name()), &st); err == nil {
			sum += st.Blocks * 512
		}
	}
	return sum, nil
}
