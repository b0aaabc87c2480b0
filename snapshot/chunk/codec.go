package chunk

import (
	"fmt"
	"sync"

	"github.com/klauspost/compress/zstd"
	"github.com/pierrec/lz4/v4"

	"github.com/holt-ide/holt"
)

// Codec says how a chunk is compressed.
type Codec byte

// The codecs, as they are written in segments. Zero is none of them: in a [Config]
// it means [DefaultCodec].
const (
	None Codec = 1
	LZ4  Codec = 2 // a block, without a frame
	Zstd Codec = 3 // a frame without checksum, fastest level
)

// String returns the codec's name.
func (c Codec) String() string {
	switch c {
	case None:
		return "none"
	case LZ4:
		return "lz4"
	case Zstd:
		return "zstd"
	}
	return fmt.Sprintf("codec %d", byte(c))
}

// compressor compresses chunks of up to size bytes. It is used by one goroutine.
type compressor struct {
	codec Codec
	lz4   lz4.Compressor
	zstd  *zstd.Encoder
	buf   []byte
}

func newCompressor(codec Codec, size int) (*compressor, error) {
	c := &compressor{codec: codec, buf: make([]byte, lz4.CompressBlockBound(size))}
	switch codec {
	case None, LZ4:
	case Zstd:
		var err error
		c.zstd, err = zstd.NewWriter(nil, zstd.WithEncoderLevel(zstd.SpeedFastest), zstd.WithEncoderConcurrency(1),
			zstd.WithEncoderCRC(false), zstd.WithSingleSegment(true), zstd.WithWindowSize(max(size, zstd.MinWindowSize)), zstd.WithLowerEncoderMem(true))
		if err != nil {
			return nil, fmt.Errorf("make compressor: %w", err)
		}
	default:
		return nil, holt.Invalidf("codec", "there is no %v", codec)
	}
	return c, nil
}

// compress returns the stored form of plain and its codec. What does not become
// smaller by a sixteenth stays as it is: reading it back is then free. The result
// is valid until the next call.
func (c *compressor) compress(plain []byte) ([]byte, Codec) {
	var out []byte
	switch c.codec {
	case LZ4:
		// Zero without an error means that it cannot be compressed.
		if n, err := c.lz4.CompressBlock(plain, c.buf); err == nil {
			out = c.buf[:n]
		}
	case Zstd:
		out = c.zstd.EncodeAll(plain, c.buf[:0])
	}
	if len(out) == 0 || len(out) > len(plain)-len(plain)/16 {
		return plain, None
	}
	return out, c.codec
}

// decoders are shared: DecodeAll keeps no state between calls.
var decoder = sync.OnceValues(func() (*zstd.Decoder, error) {
	return zstd.NewReader(nil, zstd.WithDecoderConcurrency(0), zstd.WithDecoderLowmem(true), zstd.WithDecodeAllCapLimit(true), zstd.WithDecoderMaxWindow(MaxChunkSize))
})

// decompress fills plain from its stored form. It never writes beyond plain, and
// fails unless all of plain is filled.
func decompress(plain, stored []byte, codec Codec) error {
	var n int
	switch codec {
	case None:
		if n = len(stored); n == len(plain) {
			copy(plain, stored)
		}
	case LZ4:
		var err error
		if n, err = lz4.UncompressBlock(stored, plain); err != nil {
			return fmt.Errorf("decompress: %w", err)
		}
	case Zstd:
		d, err := decoder()
		if err != nil {
			return fmt.Errorf("make decompressor: %w", err)
		}
		out, err := d.DecodeAll(stored, plain[:0:len(plain)])
		if err != nil {
			return fmt.Errorf("decompress: %w", err)
		}
		n = len(out)
	default:
		return fmt.Errorf("there is no %v", codec)
	}
	if n != len(plain) {
		return fmt.Errorf("%v chunk has %d bytes, want %d", codec, n, len(plain))
	}
	return nil
}
