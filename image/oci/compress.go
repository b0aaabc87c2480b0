package oci

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/klauspost/compress/zstd"

	holt "github.com/holt-ide/holt"
)

// maxWindow is the most memory that a zstd stream may ask for.
const maxWindow = 128 << 20

// decompress returns the plain content of r, going by its first bytes: media
// types in manifests are often wrong.
func decompress(r io.Reader) (io.ReadCloser, error) {
	br := bufio.NewReaderSize(r, 64<<10)
	magic, err := br.Peek(6)
	if err != nil && !errors.Is(err, io.EOF) {
		return nil, fetchError(err)
	}
	switch {
	case bytes.HasPrefix(magic, []byte{0x1f, 0x8b}):
		z, err := gzip.NewReader(br)
		if err != nil {
			return nil, holt.Wrap(holt.KindInvalid, err, "it is not a gzip file")
		}
		return z, nil
	case bytes.HasPrefix(magic, []byte{0x28, 0xb5, 0x2f, 0xfd}):
		z, err := zstd.NewReader(br, zstd.WithDecoderConcurrency(1), zstd.WithDecoderLowmem(true), zstd.WithDecoderMaxWindow(maxWindow))
		if err != nil {
			return nil, holt.Wrap(holt.KindInvalid, err, "it is not a zstd file")
		}
		return z.IOReadCloser(), nil
	case bytes.HasPrefix(magic, []byte("BZh")), bytes.HasPrefix(magic, []byte("\xfd7zXZ\x00")):
		return nil, holt.Errorf(holt.KindUnsupported, "it is compressed with bzip2 or xz: use gzip, zstd or no compression")
	}
	return io.NopCloser(br), nil
}

// digestReader hashes what passes through it.
type digestReader struct {
	r    io.Reader
	h    hash.Hash
	want v1.Hash
}

func newDigestReader(r io.Reader, want v1.Hash) (*digestReader, error) {
	if want.Algorithm != "sha256" {
		return nil, holt.Errorf(holt.KindUnsupported, "digest %q: only sha256 is supported", want.String())
	}
	return &digestReader{r: r, h: sha256.New(), want: want}, nil
}

func (d *digestReader) Read(p []byte) (int, error) {
	n, err := d.r.Read(p)
	d.h.Write(p[:n])
	return n, err
}

// verify compares the digest of everything read.
func (d *digestReader) verify() error {
	if got := hex.EncodeToString(d.h.Sum(nil)); got != d.want.Hex {
		return holt.Wrap(holt.KindCorrupt, fmt.Errorf("want %s, got sha256:%s: %w", d.want, got, errDigest), "the layer is damaged: fetch it again")
	}
	return nil
}
