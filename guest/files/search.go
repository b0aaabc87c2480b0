package files

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"io"
	"os"
	"strings"
	"syscall"

	"github.com/holt-ide/holt"
	"github.com/holt-ide/holt/guest/process"
	"github.com/holt-ide/holt/wire/guest"
)

const (
	defaultMatches = 1000
	maxMatches     = 20_000
	maxLine        = 1 << 10   // bytes of a matching line that are told
	maxRecord      = 256 << 10 // bytes of one record of ripgrep; longer ones are skipped
	maxPattern     = 4 << 10
	maxGlobs       = 64
)

// Search runs ripgrep with the user's rights and gives each matching line to
// send, which is called from one goroutine. It reports whether the result was
// cut. When ctx ends or send fails the search is killed.
func (f *Files) Search(ctx context.Context, s guestwire.Search, send func(guestwire.SearchMatch) error) (truncated bool, err error) {
	path := s.Path
	if path == "" {
		path = "."
	}
	if path, err = f.resolve("path", path); err != nil {
		return false, err
	}
	if err := checkSearch(&s); err != nil {
		return false, err
	}
	if _, err := f.Stat(path); err != nil {
		return false, err
	}
	run, err := f.ripgrep(searchArgs(s, path))
	if err != nil {
		return false, err
	}
	stop := context.AfterFunc(ctx, run.kill)
	defer stop()
	truncated, err = run.matches(s.Max, send)
	// Killing a search that has ended does nothing.
	run.kill()
	status, text := run.wait()
	switch {
	case ctx.Err() != nil:
		return false, ctx.Err()
	case err != nil || truncated:
		return truncated, err
	case status.Code > 1 && text != "": // 1 means no match; 2 without a word, that something was unreadable
		return false, holt.Invalidf("q", "search: %s", text)
	}
	return false, nil
}

func checkSearch(s *guestwire.Search) error {
	switch {
	case s.Query == "":
		return holt.Invalid("q", "q is missing: give what to search for")
	case len(s.Query) > maxPattern || strings.ContainsAny(s.Query, "\x00\n"):
		return holt.Invalidf("q", "q has at most %d bytes and one line", maxPattern)
	case s.Max < 0 || s.Max > maxMatches:
		return holt.Invalidf("max", "max is at most %d", maxMatches)
	case s.Max == 0:
		s.Max = defaultMatches
	}
	return checkGlobs(s.Globs)
}

func checkGlobs(globs []string) error {
	if len(globs) > maxGlobs {
		return holt.Invalidf("glob", "at most %d globs", maxGlobs)
	}
	for _, g := range globs {
		if len(g) > maxPattern || strings.ContainsRune(g, 0) {
			return holt.Invalidf("glob", "a glob has at most %d bytes", maxPattern)
		}
	}
	return nil
}

type search struct {
	proc     *process.Process
	out, err *os.File
}

func searchArgs(s guestwire.Search, path string) []string {
	args := []string{"rg", "--json", "--no-config", "--hidden", "--glob=!.git", "--max-filesize=16M", "--no-messages"}
	if !s.Regex {
		args = append(args, "--fixed-strings")
	}
	switch {
	case s.Case:
		args = append(args, "--case-sensitive")
	case s.AnyCase:
		args = append(args, "--ignore-case")
	default:
		args = append(args, "--smart-case")
	}
	if s.Word {
		args = append(args, "--word-regexp")
	}
	if s.All {
		args = append(args, "--no-ignore")
	}
	for _, g := range s.Globs {
		args = append(args, "--glob="+g)
	}
	return append(args, "--", s.Query, path)
}

// ripgrep starts rg with the user's rights.
func (f *Files) ripgrep(args []string) (*search, error) {
	env := f.Account.Env(nil)
	rg, err := process.Look("rg", env, "/")
	if errors.Is(err, process.ErrNotFound) {
		return nil, holt.Errorf(holt.KindUnsupported, "search needs ripgrep (rg), which is not in this image; install it")
	}
	if err != nil {
		return nil, err
	}
	run := &search{}
	null, err := os.Open(os.DevNull)
	if err != nil {
		return nil, err
	}
	defer null.Close()
	outR, outW, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	defer outW.Close()
	errR, errW, err := os.Pipe()
	if err != nil {
		outR.Close()
		return nil, err
	}
	defer errW.Close()
	run.out, run.err = outR, errR
	run.proc, err = f.Processes.Start(process.Spec{
		Path: rg, Args: args, Env: env, Dir: "/", Files: []*os.File{null, outW, errW}, Cred: f.Account.Credential(),
	})
	if err != nil {
		outR.Close()
		errR.Close()
		return nil, process.Explain("rg", "/", err)
	}
	return run, nil
}

func (s *search) kill() { _ = s.proc.SignalGroup(syscall.SIGKILL) }

// wait returns how ripgrep ended and the first line of what it complained about.
func (s *search) wait() (process.Status, string) {
	defer s.out.Close()
	defer s.err.Close()
	status := s.proc.Status()
	text, _ := io.ReadAll(io.LimitReader(s.err, 4<<10))
	return status, strings.TrimSpace(string(text))
}

// record is what we read of ripgrep's JSON.
type record struct {
	Type string `json:"type"`
	Data struct {
		Path  text `json:"path"`
		Lines text `json:"lines"`
		Line  int  `json:"line_number"`
		Sub   []struct {
			Start int `json:"start"`
			End   int `json:"end"`
		} `json:"submatches"`
	} `json:"data"`
}

// text is UTF-8, or base64 where it is not.
type text struct {
	Text  string `json:"text"`
	Bytes []byte `json:"bytes"`
}

func (t text) String() string {
	if t.Bytes != nil {
		return strings.ToValidUTF8(string(t.Bytes), "\uFFFD")
	}
	return t.Text
}

func (s *search) matches(most int, send func(guestwire.SearchMatch) error) (truncated bool, err error) {
	r := bufio.NewReaderSize(s.out, maxRecord)
	for n := 0; ; {
		line, err := r.ReadSlice('\n')
		for errors.Is(err, bufio.ErrBufferFull) {
			line = nil
			_, err = r.ReadSlice('\n')
		}
		if err != nil {
			return false, nil // its exit code tells whether this is the end
		}
		var rec record
		if json.Unmarshal(line, &rec) != nil || rec.Type != "match" {
			continue
		}
		if n++; n > most {
			return true, nil
		}
		if err := send(rec.match()); err != nil {
			return false, err
		}
	}
}

func (r *record) match() guestwire.SearchMatch {
	line := strings.TrimRight(r.Data.Lines.String(), "\r\n")
	m := guestwire.SearchMatch{Path: r.Data.Path.String(), Line: r.Data.Line}
	m.Text = strings.ToValidUTF8(line[:min(len(line), maxLine)], "")
	for _, sub := range r.Data.Sub {
		if sub.End <= len(m.Text) {
			m.Ranges = append(m.Ranges, [2]int{sub.Start, sub.End})
		}
	}
	return m
}
