package chunk

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"runtime"
	"strings"
	"time"

	"github.com/holt-ide/holt"
	"github.com/holt-ide/holt/fault"
	"github.com/holt-ide/holt/object"
)

// Config says where a tenant's snapshots are and how new ones are written.
type Config struct {
	// Objects keeps the snapshots. Origin is the same without a cache in front:
	// what must be as it is now, and not as it was, is read from it. Nil means
	// that Objects has no cache.
	Objects, Origin object.Store

	// Tenant owns the chunks: they are shared between its snapshots and with
	// nobody else's. 1 to 64 characters that can be in an object's key.
	Tenant string

	// Owner names this process among those that write for the tenant, the same
	// after a restart: the node's ID.
	Owner string

	ChunkSize   int   // bytes, a power of two; 0 means [DefaultChunkSize]
	SegmentSize int   // bytes after which a segment is written; 0 means [DefaultSegmentSize]
	Codec       Codec // 0 means [DefaultCodec]

	Workers int // goroutines that compress or verify; 0 means one per core
	Uploads int // segments in memory on their way; 0 means 4

	// BaseSegments bounds how many segments of older snapshots a writer looks
	// for duplicates in, beyond those of the parent; 0 means 512. Each costs
	// one read of its table.
	BaseSegments int

	// Patience is how long a writer may take before [Store.Collect] gives it up;
	// 0 means a day.
	Patience time.Duration

	Fault fault.Func // nil means [fault.Point]
}

// Defaults, chosen by measurement: docs/decisions/0008-chunks-and-codec.md.
const (
	DefaultChunkSize   = 16 << 10
	DefaultSegmentSize = 4 << 20
	DefaultCodec       = Zstd
)

// Store is the snapshots of one tenant. Its methods may be called concurrently, by
// any number of processes on any number of hosts.
type Store struct {
	cfg             Config
	objects, origin object.Store
	tenant          string
}

// Open prepares a tenant's store. KindCorrupt says that its catalog is lost or
// damaged; [Repair] makes it anew.
func Open(ctx context.Context, cfg Config) (*Store, error) {
	s, err := configure(cfg)
	if err != nil {
		return nil, err
	}
	if _, err := s.origin.Stat(ctx, s.key("format")); err == nil {
		_, _, err := s.load(ctx)
		return s, err
	} else if !holt.IsKind(err, holt.KindNotFound) {
		return nil, fmt.Errorf("open snapshots of tenant %s: %w", s.tenant, err)
	}
	// Only now may a missing catalog be a new one. The mark comes last, so that a
	// catalog that is lost later is not taken for one that never was.
	if err := s.swap(ctx, &catalog{Tenant: s.tenant}, object.IfAbsent); err != nil && !holt.IsKind(err, holt.KindConflict) {
		return nil, err
	}
	if _, err := s.origin.Put(ctx, s.key("format"), []byte("holt-chunks 1\n"), object.Condition{}); err != nil {
		return nil, fmt.Errorf("mark snapshots of tenant %s: %w", s.tenant, err)
	}
	_, _, err = s.load(ctx)
	return s, err
}

func configure(cfg Config) (*Store, error) {
	if err := object.CheckKey(object.Key(cfg.Tenant)); err != nil || len(cfg.Tenant) > 64 || strings.Contains(cfg.Tenant, "/") {
		return nil, holt.Invalidf("tenant", "%.70q cannot name a tenant", cfg.Tenant)
	}
	if cfg.Owner == "" {
		return nil, holt.Invalid("owner", "who writes snapshots needs a name, to know its own unfinished ones after a crash")
	}
	if cfg.ChunkSize == 0 {
		cfg.ChunkSize = DefaultChunkSize
	}
	if cfg.SegmentSize == 0 {
		cfg.SegmentSize = DefaultSegmentSize
	}
	if cfg.Codec == 0 {
		cfg.Codec = DefaultCodec
	}
	if cfg.Codec > Zstd {
		return nil, holt.Invalidf("codec", "there is no %v", cfg.Codec)
	}
	if !validChunkSize(cfg.ChunkSize) || cfg.SegmentSize < cfg.ChunkSize || cfg.SegmentSize > object.MaxSize/2 {
		return nil, holt.Invalidf("chunk size", "chunks have a power of two from %d to %d bytes, segments not less and at most %d", MinChunkSize, MaxChunkSize, object.MaxSize/2)
	}
	if cfg.Workers == 0 {
		cfg.Workers = runtime.GOMAXPROCS(0)
	}
	if cfg.Uploads == 0 {
		cfg.Uploads = 4
	}
	if cfg.BaseSegments == 0 {
		cfg.BaseSegments = 512
	}
	if cfg.Patience == 0 {
		cfg.Patience = 24 * time.Hour
	}
	if cfg.Fault == nil {
		cfg.Fault = fault.Point
	}
	if cfg.Origin == nil {
		cfg.Origin = cfg.Objects
	}
	return &Store{cfg: cfg, objects: cfg.Objects, origin: cfg.Origin, tenant: cfg.Tenant}, nil
}

// Immutable reports whether an object of a store never changes once it exists: what
// a cache may keep.
func Immutable(key object.Key) bool {
	_, rest, _ := strings.Cut(string(key), "/")
	kind, _, ok := strings.Cut(rest, "/")
	return ok && (kind == "segment" || kind == "index" || kind == "manifest")
}

func (s *Store) key(rest string) object.Key     { return object.Key(s.tenant + "/" + rest) }
func (s *Store) catalogKey() object.Key         { return s.key("catalog") }
func (s *Store) manifestKey(t txnID) object.Key { return s.key("manifest/" + string(t)) }
func (s *Store) indexKey(t txnID) object.Key    { return s.key("index/" + string(t)) }
func (s *Store) segmentKey(id segmentID) object.Key {
	return s.key("segment/" + id.String())
}
func (s *Store) traceKey(id holt.SnapshotID) object.Key { return s.key("trace/" + string(id)) }

func sumOf(data []byte) string {
	sum := sha256.Sum256(data)
	return hex.EncodeToString(sum[:])
}

// Manifest reads and verifies a snapshot's manifest. KindNotFound if the catalog
// has no such snapshot.
func (s *Store) Manifest(ctx context.Context, id holt.SnapshotID) (*Manifest, error) {
	c, _, err := s.load(ctx)
	if err != nil {
		return nil, err
	}
	e := c.find(id)
	if e == nil {
		return nil, holt.Errorf(holt.KindNotFound, "there is no snapshot %s", id)
	}
	return s.readManifest(ctx, s.objects, e)
}

func (s *Store) readManifest(ctx context.Context, from object.Store, e *Entry) (*Manifest, error) {
	data, err := s.whole(ctx, from, s.manifestKey(e.Txn), "the manifest", e.ID)
	if err != nil {
		return nil, err
	}
	if sumOf(data) != e.ManifestSum {
		return nil, holt.Errorf(holt.KindCorrupt, "snapshot %s: the manifest is damaged: its checksum does not match", e.ID)
	}
	m, err := decodeManifest(data)
	if err == nil && (m.ID != e.ID || m.Txn != e.Txn || m.Tenant != s.tenant) {
		err = fmt.Errorf("it is that of snapshot %s of tenant %s", m.ID, m.Tenant)
	}
	if err != nil {
		return nil, corrupt(err, fmt.Sprintf("snapshot %s: the manifest is damaged", e.ID))
	}
	return m, nil
}

func (s *Store) readIndex(ctx context.Context, from object.Store, m *Manifest) (*index, error) {
	data, err := s.whole(ctx, from, s.indexKey(m.Txn), "the index", m.ID)
	if err != nil {
		return nil, err
	}
	if int64(len(data)) != m.IndexSize || sumOf(data) != m.IndexSum {
		return nil, holt.Errorf(holt.KindCorrupt, "snapshot %s: the index is damaged: its checksum does not match", m.ID)
	}
	x, err := decodeIndex(data)
	if err == nil {
		err = x.fits(m)
	}
	if err != nil {
		return nil, corrupt(err, fmt.Sprintf("snapshot %s: the index is damaged", m.ID))
	}
	return x, nil
}

// fits reports why an index is not that of a manifest.
func (x *index) fits(m *Manifest) error {
	if len(x.files) != len(m.Files) || len(x.segments) != len(m.Segments) {
		return fmt.Errorf("it has %d files and %d segments, the manifest %d and %d", len(x.files), len(x.segments), len(m.Files), len(m.Segments))
	}
	for i, f := range m.Files {
		if x.files[i].name != f.Name || x.files[i].size != f.Size {
			return fmt.Errorf("its file %s is not the manifest's", x.files[i].name)
		}
	}
	for _, ref := range x.segments {
		if !m.Segments.has(ref.id) {
			return fmt.Errorf("its segment %s is not the manifest's", ref.id)
		}
	}
	return nil
}

// whole reads an object that a snapshot cannot do without.
func (s *Store) whole(ctx context.Context, from object.Store, key object.Key, what string, id holt.SnapshotID) ([]byte, error) {
	o, err := from.Get(ctx, key, object.Range{})
	switch {
	case holt.IsKind(err, holt.KindNotFound):
		return nil, holt.Errorf(holt.KindCorrupt, "snapshot %s: %s is missing (object %s)", id, what, key)
	case holt.IsKind(err, holt.KindCorrupt):
		return nil, holt.Wrap(holt.KindCorrupt, err, fmt.Sprintf("snapshot %s: %s is damaged", id, what))
	case err != nil:
		return nil, fmt.Errorf("read %s of snapshot %s: %w", what, id, err)
	}
	return o.Body, nil
}
