package bench

import (
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/holt-ide/holt"
	"github.com/holt-ide/holt/persist/journal"
)

// TestBenchJournal prints how long an edit takes until it is on the disk of the
// server, for one who types and for many, beside the bare write and flush.
func TestBenchJournal(t *testing.T) {
	if os.Getenv("HOLT_BENCH") == "" {
		t.Skip("measures; run `make bench-ydoc`")
	}
	const each = 400
	update := make([]byte, 40) // about what one typed character takes
	fmt.Printf("load before: %s\n", load())
	bare := &series{name: "write + fdatasync"}
	file, err := os.Create(filepath.Join(t.TempDir(), "file"))
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	write := func() {
		begin := time.Now()
		if _, err := file.Write(update); err != nil {
			t.Error(err)
		}
		if err := unix.Fdatasync(int(file.Fd())); err != nil {
			t.Error(err)
		}
		bare.add(time.Since(begin))
	}
	var rows table
	for _, writers := range []int{1, 32} {
		j, err := journal.Open(t.TempDir(), journal.Options{}, slog.New(slog.NewTextHandler(io.Discard, nil)))
		if err != nil {
			t.Fatal(err)
		}
		ours := &series{name: fmt.Sprintf("journal append, %d at once", writers)}
		var mu sync.Mutex
		var wg sync.WaitGroup
		for w := range writers {
			wg.Go(func() {
				ws := holt.WorkspaceID(fmt.Sprintf("ws-%d", w))
				for range each {
					if writers == 1 {
						write() // in turns
					}
					begin := time.Now()
					if err := j.Append(ws, []journal.Entry{{Document: "/workspace/a.go", Kind: journal.Update, Data: update}}); err != nil {
						t.Error(err)
						return
					}
					took := time.Since(begin)
					mu.Lock()
					ours.add(took)
					mu.Unlock()
				}
			})
		}
		wg.Wait()
		if err := j.Close(); err != nil {
			t.Error(err)
		}
		rows = append(rows, row{ours: ours, peer: bare})
	}
	rows.print(os.Stdout)
	fmt.Printf("load after: %s\n", load())
}
