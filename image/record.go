package image

import (
	"encoding/json"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	holt "github.com/holt-ide/holt"
	"github.com/holt-ide/holt/durable"
)

// The files of a store directory, version 1:
//
//	lock                  flock()ed by the process that has the store open
//	names.json            {"version":1,"names":{"default":"sha256-HEX"}}
//	sha256-HEX.erofs      the image; HEX is the SHA-256 of its bytes
//	sha256-HEX.json       its record, below; written after the image
//	.NAME.tmp-RANDOM      half-written, removed by Open
//	.tree-RANDOM/         a tree that is being built, removed by Open
const (
	formatVersion = 1
	namesFile     = "names.json"
	lockFile      = "lock"
	imageExt      = ".erofs"
	recordExt     = ".json"
	treePrefix    = ".tree-"
	maxRecordSize = 1 << 20 // bytes of one JSON file; labels are bounded well below
)

// record is the stored form of an image's description.
type record struct {
	Version int       `json:"version"`
	ID      string    `json:"id"`
	Size    int64     `json:"size"`
	Created time.Time `json:"created"`
	Source  struct {
		Kind   string `json:"kind"`
		Ref    string `json:"ref,omitempty"`
		Digest string `json:"digest,omitempty"`
	} `json:"source"`
	Config struct {
		Env     []string          `json:"env,omitempty"`
		User    string            `json:"user,omitempty"`
		WorkDir string            `json:"work_dir,omitempty"`
		Labels  map[string]string `json:"labels,omitempty"`
	} `json:"config"`
}

type nameTable struct {
	Version int               `json:"version"`
	Names   map[string]string `json:"names"`
}

func toRecord(im Image) record {
	r := record{Version: formatVersion, ID: string(im.ID), Size: im.Size, Created: im.Created.UTC()}
	r.Source.Kind, r.Source.Ref, r.Source.Digest = im.Source.Kind, im.Source.Ref, im.Source.Digest
	r.Config.Env, r.Config.User, r.Config.WorkDir, r.Config.Labels = im.Config.Env, im.Config.User, im.Config.WorkDir, im.Config.Labels
	return r
}

func (r record) image(dir string) Image {
	return Image{
		ID: holt.ImageID(r.ID), Path: filepath.Join(dir, r.ID+imageExt), Size: r.Size, Created: r.Created,
		Source: Source{Kind: r.Source.Kind, Ref: r.Source.Ref, Digest: r.Source.Digest},
		Config: Config{Env: r.Config.Env, User: r.Config.User, WorkDir: r.Config.WorkDir, Labels: r.Config.Labels},
	}
}

// readJSON reads a bounded JSON file whose version must be ours.
func readJSON(path string, into any, version *int) error {
	f, err := os.Open(path)
	if err != nil {
		return fmt.Errorf("open %s: %w", filepath.Base(path), err)
	}
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f, maxRecordSize+1))
	if err != nil {
		return fmt.Errorf("read %s: %w", filepath.Base(path), err)
	}
	if len(b) > maxRecordSize {
		return holt.Errorf(holt.KindCorrupt, "%s is larger than %s", path, holt.FormatSize(maxRecordSize))
	}
	if err := json.Unmarshal(b, into); err != nil {
		return holt.Wrap(holt.KindCorrupt, err, path+" is damaged")
	}
	if *version > formatVersion {
		return holt.Errorf(holt.KindUnsupported, "%s has format %d, this Holt knows up to %d: use the Holt that wrote it, or a newer one", path, *version, formatVersion)
	}
	if *version < 1 {
		return holt.Errorf(holt.KindCorrupt, "%s is damaged: no format version", path)
	}
	return nil
}

func writeJSON(path string, v any, perm fs.FileMode) error {
	b, err := json.MarshalIndent(v, "", "  ")
	if err != nil {
		return fmt.Errorf("encode %s: %w", filepath.Base(path), err)
	}
	if len(b) >= maxRecordSize {
		return holt.Errorf(holt.KindInvalid, "the description of the image is larger than %s", holt.FormatSize(maxRecordSize))
	}
	if err := durable.WriteFile(path, append(b, '\n'), perm); err != nil {
		return fmt.Errorf("write %s: %w", filepath.Base(path), noSpace(err))
	}
	return nil
}
