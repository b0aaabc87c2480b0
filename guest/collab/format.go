package collab

import (
	"bytes"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/holt-ide/holt"
	"github.com/holt-ide/holt/guest/collab/diff"
	"github.com/holt-ide/holt/wire/guest"
)

var bom = []byte("\xEF\xBB\xBF")

// format is what a file has and its text has not.
type format struct {
	bom bool
	eol guestwire.EOL
	cr  []bool // with mixed ends of line: which lines end with CR LF
}

// refuse names the reason for which a file is not edited together.
func refuse(reason guestwire.DocumentReason, path, text string) error {
	return &holt.Error{Kind: holt.KindUnsupported, Field: "path", Limit: string(reason), Text: path + " " + text + "; edit it as an ordinary file"}
}

// decode returns the text of a file's content, with LF only, and the rest.
func decode(path string, raw []byte) (text string, f format, err error) {
	raw, f.bom = bytes.CutPrefix(raw, bom)
	switch {
	case bytes.IndexByte(raw, 0) >= 0:
		return "", f, refuse(guestwire.ReasonBinary, path, "is binary")
	case !utf8.Valid(raw):
		return "", f, refuse(guestwire.ReasonEncoding, path, "is not UTF-8")
	}
	crlf := bytes.Count(raw, []byte("\r\n"))
	if bytes.Count(raw, []byte("\r")) != crlf {
		return "", f, refuse(guestwire.ReasonEOL, path, "has carriage returns within lines")
	}
	text = string(raw)
	f.eol = guestwire.LF
	lines := bytes.Count(raw, []byte("\n"))
	switch crlf {
	case 0:
		return text, f, nil
	case lines:
		f.eol = guestwire.CRLF
	default:
		f.eol = guestwire.Mixed
		for line := range bytes.Lines(raw) {
			f.cr = append(f.cr, bytes.HasSuffix(line, []byte("\r\n")))
		}
		f.cr = f.cr[:lines]
	}
	return strings.ReplaceAll(text, "\r\n", "\n"), f, nil
}

// encode returns the content of a file with a text, and the format it then has.
// With mixed ends of line those of base, which the format is of, stay as they are
// and new ones are as most.
func (f format) encode(base, text string) ([]byte, format) {
	var b bytes.Buffer
	b.Grow(len(text) + len(text)/16)
	if f.bom {
		b.Write(bom)
	}
	switch f.eol {
	case guestwire.CRLF:
		b.WriteString(strings.ReplaceAll(text, "\n", "\r\n"))
	case guestwire.Mixed:
		f.cr = f.carry(base, text)
		i := 0
		for line := range strings.Lines(text) {
			if i < len(f.cr) && f.cr[i] {
				line = strings.TrimSuffix(line, "\n") + "\r\n"
			}
			b.WriteString(line)
			i++
		}
	default:
		b.WriteString(text)
	}
	return b.Bytes(), f
}

// carry moves the ends of lines of base to text.
func (f format) carry(base, text string) []bool {
	with := 0
	for _, cr := range f.cr {
		if cr {
			with++
		}
	}
	most := with*2 > len(f.cr)
	var out []bool
	line := 0 // of base
	at := 0
	for _, e := range append(diff.Between(base, text), diff.Edit{At: len(base)}) {
		kept := strings.Count(base[at:e.At], "\n")
		out = append(out, f.cr[line:line+kept]...)
		line += kept + strings.Count(base[e.At:e.At+e.Delete], "\n")
		out = append(out, slices.Repeat([]bool{most}, strings.Count(e.Insert, "\n"))...)
		at = e.At + e.Delete
	}
	return out
}
