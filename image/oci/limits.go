package oci

import (
	"context"
	"io"

	holt "github.com/holt-ide/holt"
)

// Limits bound what one image may contain. A zero field means the default.
type Limits struct {
	Bytes     int64 // content of all files of all layers; 20 GiB
	FileBytes int64 // content of one file; 10 GiB
	Entries   int64 // entries of all layers; 2,000,000
	NameBytes int64 // all names and link targets together; 256 MiB
	Ratio     int64 // uncompressed over compressed bytes of a layer, once it exceeds RatioFrom; 200
	RatioFrom int64 // uncompressed bytes of a layer below which any ratio is fine; 1 GiB
}

func (l Limits) withDefaults() Limits {
	for _, f := range []struct {
		field *int64
		value int64
	}{
		{&l.Bytes, 20 * holt.GiB}, {&l.FileBytes, 10 * holt.GiB}, {&l.Entries, 2_000_000},
		{&l.NameBytes, 256 * holt.MiB}, {&l.Ratio, 200}, {&l.RatioFrom, holt.GiB},
	} {
		if *f.field == 0 {
			*f.field = f.value
		}
	}
	return l
}

// countingReader counts bytes as they arrive and ends with its context.
type countingReader struct {
	ctx  context.Context
	r    io.Reader
	n    int64
	seen func(n int64)
}

func (c *countingReader) Read(p []byte) (int, error) {
	if err := c.ctx.Err(); err != nil {
		return 0, err
	}
	n, err := c.r.Read(p)
	c.n += int64(n)
	c.seen(c.n)
	return n, err
}

// ratioReader refuses a layer that expands beyond reason.
type ratioReader struct {
	r   io.Reader
	in  *countingReader
	n   int64
	lim Limits
}

func (d *ratioReader) Read(p []byte) (int, error) {
	n, err := d.r.Read(p)
	d.n += int64(n)
	if d.n > d.lim.RatioFrom && d.n/d.lim.Ratio > d.in.n {
		return n, holt.Errorf(holt.KindInvalid, "it expands to more than %d times its size (over %s): this looks like a compression bomb", d.lim.Ratio, holt.FormatSize(d.lim.RatioFrom))
	}
	// Headers and padding come on top of file content.
	if most := d.lim.Bytes + d.lim.Entries*1024 + 2*d.lim.NameBytes + maxPadding; d.n > most {
		return n, holt.Errorf(holt.KindInvalid, "it expands to more than %s", holt.FormatSize(most))
	}
	return n, err
}
