package mux

import (
	"errors"
	"io"
	"path"
	"slices"
	"time"

	"github.com/holt-ide/holt"
	"github.com/holt-ide/holt/wire/guest"
)

// maxPortsTold bounds the ports in one item.
const maxPortsTold = 256

// maxRanges bounds the matches told of one line.
const maxRanges = 256

// op serves a request and returns its result.
type op func(*stream, guestwire.MuxRequest) (any, error)

var (
	reads = map[guestwire.MuxOp]op{
		guestwire.MuxStat: (*stream).stat, guestwire.MuxList: (*stream).list, guestwire.MuxRead: (*stream).read,
		guestwire.MuxWatch: (*stream).watch, guestwire.MuxSearch: (*stream).search, guestwire.MuxIndex: (*stream).index,
		guestwire.MuxPorts: (*stream).ports,
	}
	writes = map[guestwire.MuxOp]op{
		guestwire.MuxPut: (*stream).write, guestwire.MuxMkdir: (*stream).mkdir, guestwire.MuxDelete: (*stream).remove,
		guestwire.MuxRename: (*stream).rename,
	}
)

func (st *stream) serve(r guestwire.MuxRequest) (any, error) {
	if do := reads[r.Op]; do != nil {
		return do(st, r)
	}
	do := writes[r.Op]
	switch {
	case do == nil:
		return nil, holt.Invalidf("op", "there is no operation %.40q", string(r.Op))
	case st.readOnly:
		return nil, &holt.Error{Kind: holt.KindForbidden, Field: "path", Text: "you may look at this workspace and not change it"}
	}
	return do(st, r)
}

func (st *stream) stat(r guestwire.MuxRequest) (any, error) {
	info, err := st.Files.Stat(r.Path)
	if err != nil || info.Type != guestwire.TypeSymlink || info.Points == "" {
		return entryOf(info), err
	}
	// A page edits what a link leads to: it needs the version of that.
	real, err := st.Files.Real(r.Path)
	if err != nil {
		return nil, err
	}
	target, err := st.Files.Stat(real)
	e := entryOf(target)
	e.Name, e.Link = info.Name, true
	return e, err
}

func (st *stream) list(r guestwire.MuxRequest) (any, error) {
	b := newBatch(entrySize, func(e []guestwire.Entry) error { return st.item(guestwire.MuxItem{Entries: e}) })
	for after := ""; ; {
		page, err := st.Files.List(r.Path, after, 0)
		if err != nil {
			return nil, errors.Join(err, b.close())
		}
		for _, info := range page.Entries {
			if err := b.add(entryOf(info)); err != nil {
				return nil, errors.Join(err, b.close())
			}
		}
		if after = page.Next; after == "" {
			return nil, b.close()
		}
	}
}

func (st *stream) read(r guestwire.MuxRequest) (any, error) {
	if r.Offset < 0 || r.Length < 0 {
		return nil, holt.Invalid("offset", "offset and length are not negative")
	}
	f, info, err := st.Files.Open(r.Path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	e := entryOf(info)
	if err := st.item(guestwire.MuxItem{Entry: &e}); err != nil {
		return nil, err
	}
	// A file that grows while it is read is told as long as it was.
	n := max(info.Size-r.Offset, 0)
	if r.Length > 0 {
		n = min(n, r.Length)
	}
	// The buffer, and not the file, gives the size of the packets.
	_, err = io.CopyBuffer(onlyWriter{st}, io.NewSectionReader(f, r.Offset, n), make([]byte, guestwire.MaxChunk))
	return nil, err
}

type onlyWriter struct{ io.Writer }

func (st *stream) write(r guestwire.MuxRequest) (any, error) {
	info, err := st.Files.Write(st.ctx, r.Path, st, guestwire.WriteOptions{IfMatch: r.IfMatch, New: r.New})
	if err == nil {
		st.Saved(r.Path)
	}
	return entryOf(info), err
}

func (st *stream) mkdir(r guestwire.MuxRequest) (any, error) {
	return nil, st.Files.Mkdir(guestwire.Mkdir{Path: r.Path, Parents: true})
}

func (st *stream) remove(r guestwire.MuxRequest) (any, error) {
	return nil, st.Files.Remove(r.Path, r.Recursive)
}

func (st *stream) rename(r guestwire.MuxRequest) (any, error) {
	return nil, st.Files.Rename(guestwire.Rename{From: r.Path, To: r.To, Overwrite: r.Overwrite})
}

func (st *stream) watch(r guestwire.MuxRequest) (any, error) {
	st.Watches(1)
	defer st.Watches(-1)
	b := newBatch(eventSize, func(e []guestwire.WatchEvent) error { return st.item(guestwire.MuxItem{Events: e}) })
	err := st.Files.Watch(st.ctx, r.Path, r.Ignore, func(e guestwire.WatchEvent) error {
		if st.Files.Temporary(path.Base(e.Path)) {
			return nil
		}
		return b.add(e)
	})
	return nil, errors.Join(err, b.close())
}

func (st *stream) search(r guestwire.MuxRequest) (any, error) {
	b := newBatch(matchSize, func(m []guestwire.SearchMatch) error { return st.item(guestwire.MuxItem{Matches: m}) })
	s := guestwire.Search{
		Path: r.Path, Query: r.Query, Globs: r.Globs, Regex: r.Regex, Word: r.Word, Case: r.Case, AnyCase: !r.Case, All: r.All, Max: r.Max,
	}
	cut, err := st.Files.Search(st.ctx, s, func(m guestwire.SearchMatch) error {
		m.Ranges = m.Ranges[:min(len(m.Ranges), maxRanges)]
		return b.add(m)
	})
	if err = errors.Join(err, b.close()); err != nil {
		return nil, err
	}
	return guestwire.MuxResult{Truncated: cut}, nil
}

func (st *stream) index(r guestwire.MuxRequest) (any, error) {
	b := newBatch(pathSize, func(p []string) error { return st.item(guestwire.MuxItem{Paths: p}) })
	cut, err := st.Files.Index(st.ctx, guestwire.Search{Path: r.Path, Globs: r.Globs, All: r.All, Max: r.Max}, b.add)
	if err = errors.Join(err, b.close()); err != nil {
		return nil, err
	}
	return guestwire.MuxResult{Truncated: cut}, nil
}

// ports tells the listening ports, and again whenever they change.
func (st *stream) ports(guestwire.MuxRequest) (any, error) {
	tick := time.NewTicker(portsEvery)
	defer tick.Stop()
	var told []guestwire.Port
	for first := true; ; first = false {
		now, err := st.Ports()
		if err != nil {
			return nil, err
		}
		now = now[:min(len(now), maxPortsTold)]
		if first || !slices.Equal(now, told) {
			if err := st.item(guestwire.MuxItem{Ports: &now}); err != nil {
				return nil, err
			}
			told = now
		}
		select {
		case <-tick.C:
		case <-st.ctx.Done():
			return nil, st.ctx.Err()
		}
	}
}

// entryOf returns the short form; a link has the type of what it leads to.
func entryOf(i guestwire.FileInfo) guestwire.Entry {
	e := guestwire.Entry{
		Name: i.Name, Type: i.Type, Size: i.Size, Mode: i.Mode, ETag: i.ETag,
		MTime: float64(i.ModTime.UnixMicro()) / 1000,
	}
	if i.Type == guestwire.TypeSymlink {
		e.Link = true
		if i.Points != "" {
			e.Type = i.Points
		}
	}
	return e
}
