package bench

import (
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"text/tabwriter"
	"time"

	"github.com/holt-ide/holt/image/imagetest"
	"github.com/holt-ide/holt/object/local"
	"github.com/holt-ide/holt/snapshot/chunk"
)

// machine is what a developer's machine has in its memory: an interpreter with a
// web framework's worth of modules, and a Node process that has parsed and built
// something.
const machine = `
python3 -c "
import asyncio,email,http.server,json,logging,sqlite3,ssl,unittest,urllib.request,xml.dom.minidom,multiprocessing,decimal,argparse,csv,typing,dataclasses
rows=[{'id':i,'name':'user-%d'%i,'tags':['a','b',str(i%7)]} for i in range(60000)]
text=json.dumps(rows); open('/tmp/python','w').write('x')
import time; time.sleep(1e6)" &
node -e "
const m=new Map(); for(let i=0;i<120000;i++) m.set('key'+i,{i,s:'value '+i,a:[i,i+1]});
const src=[...m.values()].map(v=>'function f'+v.i+'(x){return x+'+v.i+'}').slice(0,20000).join('\n'); globalThis.f=new Function(src); globalThis.m=m;
require('fs').writeFileSync('/tmp/node','x'); setInterval(()=>{},1e6)" &
wait`

// cpu returns the processor time of this process and, of one that has ended, its.
func cpu() time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		return 0
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// TestBenchStore prints what the chunk store makes of a real checkpoint of a
// machine with Python and Node, beside compressing the whole image. Processor time
// is printed as well as time: it is what a busy machine does not change.
func TestBenchStore(t *testing.T) {
	if os.Getenv("HOLT_BENCH") == "" {
		t.Skip("measures for minutes; run `make bench`")
	}
	first, second := checkpoints(t)
	fmt.Printf("chunk store; load before: %s\n\n", load())
	tw := tabwriter.NewWriter(os.Stdout, 0, 0, 2, ' ', 0)
	fmt.Fprintln(tw, "python + node, gVisor checkpoint\tMiB\tzero\tduplicate\tcodec\tstored/whole\twrite MiB/s\twrite CPU s/GiB\tread MiB/s\tread CPU s/GiB\tindex KiB\tsecond: new MiB\tstored MiB")
	for _, codec := range []chunk.Codec{chunk.None, chunk.LZ4, chunk.Zstd} {
		for _, size := range []int{4 << 10, 8 << 10, 16 << 10, 64 << 10} {
			measure(t, tw, codec, size, first, second)
		}
	}
	tw.Flush()
	fmt.Println()
	tw = tabwriter.NewWriter(os.Stdout, 0, 0, 2, ' ', 0)
	fmt.Fprintln(tw, "the whole image\tstored/whole\tCPU s/GiB")
	for _, args := range [][]string{{"zstd", "-1", "-q", "-c"}, {"lz4", "-1", "-q", "-c"}} {
		whole(t, tw, first, args)
	}
	tw.Flush()
	fmt.Printf("load after: %s\n", load())
}

// checkpoints returns two checkpoints of one machine, which worked a little in
// between.
func checkpoints(t *testing.T) (first, second string) {
	t.Helper()
	dir, err := os.MkdirTemp("", "holt-bench-store-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	b := newBare(t, dir, imagetest.Default(t).Path)
	c := b.make(t, "", "/bin/sh", "-c", machine)
	c.start()
	for deadline := time.Now().Add(2 * time.Minute); ; time.Sleep(200 * time.Millisecond) {
		if out := c.exec("/bin/sh", "-c", "ls /tmp"); strings.Contains(out, "python") && strings.Contains(out, "node") {
			break
		}
		if time.Now().After(deadline) {
			t.Fatal("the machine did not fill its memory")
		}
	}
	first, second = filepath.Join(dir, "first"), filepath.Join(dir, "second")
	c.checkpoint(first, "--leave-running")
	c.exec("/bin/sh", "-c", "python3 -c 'import json,http.server; print(len(json.dumps(list(range(100000)))))'")
	c.checkpoint(second)
	c.end()
	return first, second
}

// add writes the files of a directory as a snapshot.
func add(t *testing.T, s *chunk.Store, n chunk.New, dir string) *chunk.Manifest {
	t.Helper()
	ctx := context.Background()
	w, err := s.Begin(ctx, n)
	if err != nil {
		t.Fatal(err)
	}
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		f, err := os.Open(filepath.Join(dir, e.Name()))
		if err != nil {
			t.Fatal(err)
		}
		info, err := f.Stat()
		if err != nil {
			t.Fatal(err)
		}
		if err := w.Add(ctx, e.Name(), f, info.Size()); err != nil {
			t.Fatal(err)
		}
		f.Close()
	}
	m, err := w.Commit(ctx)
	if err != nil {
		t.Fatal(err)
	}
	return m
}

func measure(t *testing.T, w io.Writer, codec chunk.Codec, size int, first, second string) {
	t.Helper()
	dir := t.TempDir()
	objects, err := local.Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	s, err := chunk.Open(t.Context(), chunk.Config{Objects: objects, Tenant: "bench", Owner: "bench", Codec: codec, ChunkSize: size})
	if err != nil {
		t.Fatal(err)
	}
	begin, used := time.Now(), cpu()
	m := add(t, s, chunk.New{ID: "first", Workspace: "bench"}, first)
	wrote, wroteCPU := time.Since(begin), cpu()-used
	v, err := s.View(t.Context(), m.ID)
	if err != nil {
		t.Fatal(err)
	}
	defer v.Close()
	begin, used = time.Now(), cpu()
	for _, f := range m.Files {
		file, err := v.Open(f.Name)
		if err != nil {
			t.Fatal(err)
		}
		// As FUSE asks for it.
		buf := make([]byte, 128<<10)
		for at := int64(0); at < f.Size; at += int64(len(buf)) {
			if _, err := file.ReadAt(buf, at); err != nil && at+int64(len(buf)) < f.Size {
				t.Fatal(err)
			}
		}
	}
	read, readCPU := time.Since(begin), cpu()-used
	next := add(t, s, chunk.New{ID: "second", Workspace: "bench", Parent: "first"}, second)
	const mib = 1 << 20
	plain := float64(m.Stats.Plain)
	perGiB := func(d time.Duration) float64 { return d.Seconds() * (1 << 30) / plain }
	fmt.Fprintf(w, "%v, %d KiB\t%.0f\t%.1f%%\t%.1f%%\t%.3f\t%.3f\t%.0f\t%.2f\t%.0f\t%.2f\t%.0f\t%.1f\t%.1f\n", codec, size>>10, plain/mib,
		100*float64(m.Stats.Zero)/plain, 100*float64(m.Stats.Duplicate)/plain, float64(m.Stats.Stored)/float64(max(m.Stats.New, 1)), float64(m.Stats.Stored)/plain,
		plain/mib/wrote.Seconds(), perGiB(wroteCPU), plain/mib/read.Seconds(), perGiB(readCPU), float64(m.IndexSize)/1024,
		float64(next.Stats.New)/mib, float64(next.Stats.Stored)/mib)
}

// whole compresses all files of a directory at once.
func whole(t *testing.T, w io.Writer, dir string, args []string) {
	t.Helper()
	var plain, stored int64
	var used time.Duration
	files, err := filepath.Glob(filepath.Join(dir, "*"))
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range files {
		f, err := os.Open(name)
		if err != nil {
			t.Fatal(err)
		}
		info, err := f.Stat()
		if err != nil {
			t.Fatal(err)
		}
		var count counter
		cmd := exec.Command(args[0], args[1:]...)
		cmd.Stdin, cmd.Stdout = f, &count
		if err := cmd.Run(); err != nil {
			t.Fatalf("%s: %v", args[0], err)
		}
		f.Close()
		plain, stored = plain+info.Size(), stored+int64(count)
		used += cmd.ProcessState.UserTime() + cmd.ProcessState.SystemTime()
	}
	fmt.Fprintf(w, "%s\t%.3f\t%.2f\n", strings.Join(args[:2], " "), float64(stored)/float64(plain), used.Seconds()*(1<<30)/float64(plain))
}

// counter counts what is written to it.
type counter int64

func (c *counter) Write(p []byte) (int, error) {
	*c += counter(len(p))
	return len(p), nil
}
