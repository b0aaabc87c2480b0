package gateway_test

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"

	"github.com/holt-ide/holt"
	"github.com/holt-ide/holt/api"
	"github.com/holt-ide/holt/gateway"
	"github.com/holt-ide/holt/test/stand"
)

// picky is a store that looks at the first bytes of an archive.
type picky struct {
	gateway.Images
	refs []string
}

func (p *picky) Load(_ context.Context, name string, archive io.Reader, size int64, progress func(api.Progress)) (api.Image, error) {
	head := make([]byte, 5)
	if _, err := io.ReadFull(archive, head); err != nil {
		return api.Image{}, err
	}
	if string(head) != "image" {
		return api.Image{}, holt.Invalid("image", "this is not an archive")
	}
	progress(api.Progress{Phase: "read", Done: 5, Total: size, Bytes: true})
	n, err := io.Copy(io.Discard, archive)
	return api.Image{ID: "sha256-1", Names: []string{name}, Bytes: n + 5}, err
}

func (p *picky) Remove(_ context.Context, ref string) error {
	p.refs = append(p.refs, ref)
	return nil
}

func withPicky(t *testing.T) (*stand.Stand, *picky) {
	p := &picky{}
	return stand.New(t, func(cfg *gateway.Config) { p.Images = cfg.Images; cfg.Images = p }), p
}

// endless never ends.
type endless struct{}

func (endless) Read(p []byte) (int, error) { return len(p), nil }

func TestLoadImage(t *testing.T) {
	s, _ := withPicky(t)
	ctx, c := within(t), s.Client(t)
	large := append([]byte("image"), make([]byte, 8<<20)...) // more than any buffer on the way
	for _, size := range []int64{0, int64(len(large))} {
		var seen []api.Progress
		img, err := c.LoadImage(ctx, "team/app:1", bytes.NewReader(large), size, func(p api.Progress) { seen = append(seen, p) })
		if err != nil || img.Bytes != int64(len(large)) || img.Names[0] != "team/app:1" {
			t.Errorf("load: %+v, %v", img, err)
		}
		if len(seen) != 1 || seen[0].Total != size || !seen[0].Bytes {
			t.Errorf("progress: %+v", seen)
		}
	}
	// A refusal arrives although the archive never ends.
	if _, err := c.LoadImage(ctx, "app", endless{}, 0, nil); !holt.IsKind(err, holt.KindInvalid) || !strings.Contains(err.Error(), "not an archive") {
		t.Errorf("garbage: %v", err)
	}
	if _, err := c.LoadImage(ctx, "app", strings.NewReader(""), 0, nil); !holt.IsKind(err, holt.KindInvalid) || !strings.Contains(err.Error(), "empty") {
		t.Errorf("nothing: %v", err)
	}
	if _, err := c.LoadImage(ctx, "", strings.NewReader("image"), 0, nil); !holt.IsKind(err, holt.KindInvalid) || !strings.Contains(err.Error(), "name") {
		t.Errorf("no name: %v", err)
	}
	broken := errors.New("the disk fell out")
	half := io.MultiReader(bytes.NewReader(large), errReader{broken})
	if _, err := c.LoadImage(ctx, "app", half, 0, nil); !errors.Is(err, broken) {
		t.Errorf("a source that breaks: %v", err)
	}
}

type errReader struct{ err error }

func (r errReader) Read([]byte) (int, error) { return 0, r.err }

// A sender that asks first and may not load sends nothing.
func TestRefusedUploadIsNotSent(t *testing.T) {
	s, _ := withPicky(t)
	for _, c := range []struct {
		name, token, query string
		status             int
	}{
		{"no token", "", "name=a", http.StatusUnauthorized},
		{"read token", s.Read, "name=a", http.StatusForbidden},
		{"no name", s.Admin, "", http.StatusBadRequest},
		{"unknown parameter", s.Admin, "name=a&tag=b", http.StatusBadRequest},
	} {
		conn, err := net.Dial("tcp", s.Addr)
		if err != nil {
			t.Fatal(err)
		}
		fmt.Fprintf(conn, "POST %s/images/load?%s HTTP/1.1\r\nHost: %s\r\nAuthorization: Bearer %s\r\nContent-Length: 1000000\r\nExpect: 100-continue\r\n\r\n",
			api.Prefix, c.query, s.Addr, c.token)
		resp, err := http.ReadResponse(bufio.NewReader(conn), nil)
		if err != nil {
			t.Fatal(err)
		}
		if resp.StatusCode != c.status {
			t.Errorf("%s: %s, want %d", c.name, resp.Status, c.status)
		}
		resp.Body.Close()
		conn.Close()
	}
}

// A sender that is cut off is told apart from an archive that ends too early.
func TestUploadBreaksOff(t *testing.T) {
	s, _ := withPicky(t)
	conn, err := net.Dial("tcp", s.Addr)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	fmt.Fprintf(conn, "POST %s/images/load?name=a HTTP/1.1\r\nHost: %s\r\nAuthorization: Bearer %s\r\nContent-Length: 1000000\r\n\r\nimage", api.Prefix, s.Addr, s.Admin)
	if err := conn.(*net.TCPConn).CloseWrite(); err != nil {
		t.Fatal(err)
	}
	resp, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	var last api.Progress
	for dec := json.NewDecoder(resp.Body); ; {
		if err := dec.Decode(&last); err != nil {
			break
		}
	}
	if last.Problem == nil || last.Problem.Kind != string(holt.KindUnavailable) || !strings.Contains(last.Problem.Detail, "broke off") {
		t.Errorf("got %+v", last.Problem)
	}
}

func TestRemoveImage(t *testing.T) {
	s, p := withPicky(t)
	ctx, c := within(t), s.Client(t)
	refs := []string{"default", "registry.test:5000/team/app:1", "app@sha256:" + strings.Repeat("0", 64), "a b&ref=c"}
	for _, ref := range refs {
		if err := c.RemoveImage(ctx, ref); err != nil {
			t.Errorf("%s: %v", ref, err)
		}
	}
	if strings.Join(p.refs, "\n") != strings.Join(refs, "\n") {
		t.Errorf("removed %q, want %q", p.refs, refs)
	}
	if resp := send(t, s, "DELETE", "/images", ""); resp.StatusCode != 400 || problem(t, resp).Field != "ref" {
		t.Errorf("no reference: %d", resp.StatusCode)
	}
}
