package bench

import (
	"compress/gzip"
	"encoding/json"
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"
)

// patch is one edit of a trace: at a position, so many units deleted, then a text
// inserted.
type patch struct {
	At, Delete int
	Insert     string
}

func (p patch) MarshalJSON() ([]byte, error) { return json.Marshal([]any{p.At, p.Delete, p.Insert}) }

func (p *patch) UnmarshalJSON(b []byte) error {
	return json.Unmarshal(b, &[]any{&p.At, &p.Delete, &p.Insert})
}

// loadTrace returns the editing trace of a paper, known as B4: 259,778 keystrokes.
// It is automerge-paper.json.gz in the directory HOLT_TRACES, from
// https://github.com/josephg/editing-traces. Without it, a trace of the same size
// and sort is made.
func loadTrace(t *testing.T) (name string, edits []patch) {
	t.Helper()
	dir := os.Getenv("HOLT_TRACES")
	if dir == "" {
		return "generated", generateTrace()
	}
	f, err := os.Open(filepath.Join(dir, "automerge-paper.json.gz"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	z, err := gzip.NewReader(f)
	if err != nil {
		t.Fatal(err)
	}
	var trace struct {
		Txns []struct{ Patches []patch }
	}
	if err := json.NewDecoder(z).Decode(&trace); err != nil {
		t.Fatal(err)
	}
	for _, x := range trace.Txns {
		edits = append(edits, x.Patches...)
	}
	return "B4", edits
}

// generateTrace writes and rewrites: runs of letters at a place, some of them
// taken back, then another place, near more often than far. It has as many edits,
// deletions and places as B4.
func generateTrace() []patch {
	r := rand.New(rand.NewPCG(4, 4))
	var edits []patch
	length, at := 0, 0
	for len(edits) < 259_778 {
		if r.IntN(4) == 0 {
			at = r.IntN(length + 1)
		} else {
			at = min(max(at+r.IntN(200)-100, 0), length)
		}
		for range 1 + r.IntN(60) {
			if r.IntN(100) < 30 && at > 0 {
				at--
				length--
				edits = append(edits, patch{At: at, Delete: 1})
			} else {
				edits = append(edits, patch{At: at, Insert: string(rune('a' + r.IntN(26)))})
				at++
				length++
			}
		}
	}
	return edits[:259_778]
}
