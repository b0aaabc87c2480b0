package image

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"os/exec"
	"strings"
	"sync"
	"time"

	holt "github.com/holt-ide/holt"
)

// toolPath is where the system's tools are, whatever the caller's PATH says:
// sbin is missing in many shells.
const toolPath = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

// toolPackages names the Debian package of each program this package runs.
var toolPackages = map[string]string{
	"mkfs.erofs": "erofs-utils",
	"mmdebstrap": "mmdebstrap",
	"apt-config": "apt",
	"dpkg":       "dpkg",
}

// lookTool finds a program or says which package to install.
func lookTool(name string) (string, error) {
	for dir := range strings.SplitSeq(toolPath, ":") {
		if path, err := exec.LookPath(dir + "/" + name); err == nil {
			return path, nil
		}
	}
	return "", holt.Errorf(holt.KindUnsupported, "%s is missing on this machine: install the package %s, on Debian with `apt-get install %s`",
		name, toolPackages[name], toolPackages[name])
}

// toolTail is how many bytes of a failed program's last output are kept.
const toolTail = 4 << 10

// run runs cmd, calls tick about five times a second while it runs and line for
// each line it prints; both may be nil and are never called concurrently. The
// returned tail is the last output, also part of the error.
func run(cmd *exec.Cmd, tick func(), line func(string)) (tail string, err error) {
	pr, pw := io.Pipe()
	cmd.Stdout, cmd.Stderr = pw, pw
	cmd.WaitDelay = 5 * time.Second // a grandchild that keeps the pipe open
	if err := cmd.Start(); err != nil {
		return "", err
	}
	ended := make(chan error, 1)
	go func() {
		err := cmd.Wait()
		_ = pw.Close() // an io.Pipe's Close never fails
		ended <- err
	}()
	var mu sync.Mutex // tick and line take turns
	stop := make(chan struct{})
	var ticking sync.WaitGroup
	if tick != nil {
		ticking.Go(func() { every(stop, 200*time.Millisecond, &mu, tick) })
	}
	last := readLines(pr, func(s string) {
		if line != nil {
			mu.Lock()
			defer mu.Unlock()
			line(s)
		}
	})
	err = <-ended
	close(stop)
	ticking.Wait()
	if err != nil {
		return last, errors.Join(err, fmt.Errorf("it said: %s", last))
	}
	return last, nil
}

func every(stop <-chan struct{}, d time.Duration, mu *sync.Mutex, f func()) {
	t := time.NewTicker(d)
	defer t.Stop()
	for {
		select {
		case <-stop:
			return
		case <-t.C:
			mu.Lock()
			f()
			mu.Unlock()
		}
	}
}

// readLines calls line for each line of r, cut at 4 KiB, and returns the last
// [toolTail] bytes.
func readLines(r io.Reader, line func(string)) string {
	br := bufio.NewReaderSize(r, toolTail)
	var tail bytes.Buffer
	for {
		b, more, err := br.ReadLine()
		if err != nil {
			return strings.TrimSpace(tail.String())
		}
		if !more {
			line(string(b))
		}
		tail.Write(b)
		tail.WriteByte('\n')
		if over := tail.Len() - toolTail; over > 0 {
			tail.Next(over)
		}
	}
}
