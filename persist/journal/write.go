package journal

import (
	"errors"
	"fmt"
	"io"
	"os"

	"golang.org/x/sys/unix"

	"github.com/holt-ide/holt"
	"github.com/holt-ide/holt/durable"
	"github.com/holt-ide/holt/fault"
)

// rewriteShare: a log is rewritten when it is so many times as large as what of it
// is of use.
const rewriteShare = 4

// run writes batch after batch. While one is being flushed the next one gathers.
func (j *Journal) run() {
	defer close(j.ended)
	for {
		j.mu.Lock()
		for j.queue == nil && !j.closing {
			j.ready.Wait()
		}
		b := j.queue
		j.queue = nil
		j.mu.Unlock()
		if b == nil {
			return
		}
		b.err = j.flush(b.records)
		close(b.done)
	}
}

// flush puts records on the disk.
func (j *Journal) flush(records []record) error {
	j.state.Lock()
	defer j.state.Unlock()
	if j.bad || j.size > j.opt.Slack && j.size > rewriteShare*j.live {
		if err := j.rewrite(); err != nil {
			return spaceError(err)
		}
	}
	var b []byte
	for i := range records {
		b = records[i].append(b)
	}
	fault.Point("journal.before-write")
	_, err := j.file.WriteAt(b, j.size)
	fault.Point("journal.before-flush")
	if err == nil {
		err = unix.Fdatasync(int(j.file.Fd()))
	}
	if err != nil {
		j.bad = true
		return spaceError(fmt.Errorf("write journal: %w", err))
	}
	for i := range records {
		j.note(records[i], j.size)
		j.size += records[i].size()
	}
	return nil
}

func spaceError(err error) error {
	if errors.Is(err, unix.ENOSPC) || errors.Is(err, unix.EDQUOT) {
		return holt.Wrap(holt.KindNoSpace, err, "the server's disk is full")
	}
	return err
}

// rewrite makes the next log of what is of use in this one, if there is one. state
// is held.
func (j *Journal) rewrite() error {
	next, err := durable.Create(j.path(j.num+1), 0o600)
	if err != nil {
		return fmt.Errorf("make journal: %w", err)
	}
	defer next.Abort()
	at, err := io.WriteString(next, magic)
	if err != nil {
		return fmt.Errorf("make journal: %w", err)
	}
	size := int64(at)
	moved := map[*document][]place{}
	for _, w := range j.index {
		for _, d := range w.documents {
			list := make([]place, len(d.entries))
			for i, p := range d.entries {
				if _, err := io.Copy(next, io.NewSectionReader(j.file, p.at, int64(p.size))); err != nil {
					return fmt.Errorf("move journal: %w", err)
				}
				list[i] = place{size, p.size}
				size += int64(p.size)
			}
			moved[d] = list
		}
	}
	fault.Point("journal.before-rename")
	if err := next.Commit(); err != nil {
		return fmt.Errorf("make journal: %w", err)
	}
	file, err := os.OpenFile(j.path(j.num+1), os.O_RDWR, 0)
	if err != nil {
		return fmt.Errorf("open journal: %w", err)
	}
	for d, list := range moved {
		d.entries = list
	}
	if j.file != nil {
		j.file.Close()
		os.Remove(j.path(j.num))
	}
	j.file, j.num, j.size, j.bad = file, j.num+1, size, false
	return nil
}
