package bench

import (
	"encoding/binary"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"testing"

	"github.com/holt-ide/holt/ydoc"
	"github.com/holt-ide/holt/ydoc/difftest"
)

// documentCost is what one engine needs for a trace: CPU milliseconds and bytes.
type documentCost struct {
	Local, Apply, Load, Encode float64
	Heap, Size                 int
	Text                       string
}

// TestBenchYdoc prints what package ydoc needs for an editing trace beside Yjs in
// node, in the same run. CPU time counts all threads, the garbage collector's too.
func TestBenchYdoc(t *testing.T) {
	if os.Getenv("HOLT_BENCH") == "" {
		t.Skip("measures for minutes; run `make bench-ydoc`")
	}
	name, edits := loadTrace(t)
	modules, err := difftest.Modules(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	fmt.Printf("%s trace, %d edits; load before: %s\n", name, len(edits), load())
	yjs, updates := benchYjs(t, modules, edits)
	ours := benchYdoc(t, edits, updates, yjs.Text)
	fmt.Println("what                                   ydoc      Yjs    ratio   target")
	line := func(what string, a, b float64, unit, target string) {
		fmt.Printf("%-32s %10.2f %8.2f %8.3f   %s (%s)\n", what, a, b, a/b, target, unit)
	}
	line("apply each update, relay", ours.Apply, yjs.Apply, "CPU ms", "<= 0.25")
	line("edit locally, make updates", ours.Local, yjs.Local, "CPU ms", "<= 0.25")
	line("load the full state", ours.Load, yjs.Load, "CPU ms", "<= 0.25")
	line("encode the full state", ours.Encode, yjs.Encode, "CPU ms", "<= 0.25")
	line("full state", float64(ours.Size)/1024, float64(yjs.Size)/1024, "KiB", "<= 1.02")
	line("heap of the loaded document", float64(ours.Heap)/1024, float64(yjs.Heap)/1024, "KiB", "-")
	fmt.Printf("load after: %s\n", load())
}

func benchYjs(t *testing.T, modules string, edits []patch) (cost documentCost, updates [][]byte) {
	t.Helper()
	dir := t.TempDir()
	raw, err := json.Marshal(edits)
	if err != nil {
		t.Fatal(err)
	}
	trace, file := filepath.Join(dir, "trace.json"), filepath.Join(dir, "updates")
	if err := os.WriteFile(trace, raw, 0o600); err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), "node", "--expose-gc", "ydoc.mjs", modules, trace, file)
	cmd.Stderr = os.Stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(out, &cost); err != nil {
		t.Fatal(err)
	}
	if raw, err = os.ReadFile(file); err != nil {
		t.Fatal(err)
	}
	for len(raw) > 0 {
		n := binary.BigEndian.Uint32(raw)
		updates = append(updates, raw[4:4+n:4+n])
		raw = raw[4+n:]
	}
	return cost, updates
}

func benchYdoc(t *testing.T, edits []patch, updates [][]byte, text string) (cost documentCost) {
	t.Helper()
	expect := func(d *ydoc.Doc) {
		if d.Text("text").String() != text {
			t.Fatal("the text is not that of Yjs")
		}
	}
	var d *ydoc.Doc
	relayed := 0
	cost.Apply = cpuOf(func() {
		d = ydoc.New(ydoc.Options{OnUpdate: func(u []byte) { relayed += len(u) }})
		for _, u := range updates {
			if err := d.Apply(u); err != nil {
				t.Fatal(err)
			}
		}
	})
	expect(d)
	cost.Local = cpuOf(func() {
		d = ydoc.New(ydoc.Options{OnUpdate: func(u []byte) { relayed += len(u) }})
		text := d.Text("text")
		for _, e := range edits {
			if err := text.Delete(e.At, e.Delete); err != nil {
				t.Fatal(err)
			}
			if err := text.Insert(e.At, e.Insert); err != nil {
				t.Fatal(err)
			}
		}
	})
	expect(d)
	state := d.Encode()
	cost.Size = len(state)
	const loads = 20
	cost.Load = cpuOf(func() {
		for range loads {
			d = ydoc.New(ydoc.Options{})
			if err := d.Apply(state); err != nil {
				t.Fatal(err)
			}
		}
	}) / loads
	expect(d)
	cost.Encode = cpuOf(func() {
		for range loads {
			state = d.Encode()
		}
	}) / loads
	d = nil
	before := heap()
	d = ydoc.New(ydoc.Options{})
	if err := d.Apply(state); err != nil {
		t.Fatal(err)
	}
	cost.Heap = int(heap() - before)
	expect(d)
	return cost
}

// cpuOf is the CPU time that f takes, in milliseconds.
func cpuOf(f func()) float64 {
	runtime.GC()
	before := cpu()
	f()
	return float64((cpu() - before).Microseconds()) / 1000
}

func heap() int64 {
	runtime.GC()
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}
