package guest_test

import (
	"bytes"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/holt-ide/holt/wire/guest"
	"github.com/holt-ide/holt/ydoc/difftest"
)

// TestDocumentsWithYjs lets real Yjs clients edit over real sockets.
func TestDocumentsWithYjs(t *testing.T) {
	modules, err := difftest.Modules(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	s := serve(t)
	path := filepath.Join(s.dir, "a file.txt")
	if err := os.WriteFile(path, []byte("\xEF\xBB\xBFone\r\ntwo 😀\r\n"), 0o640); err != nil {
		t.Fatal(err)
	}
	if err := os.Chown(path, s.cfg.UID, s.cfg.GID); err != nil {
		t.Fatal(err)
	}
	var errs bytes.Buffer
	cmd := exec.CommandContext(within(t), "node", "testdata/documents.mjs", modules, "ws://"+s.addr+"/v1/document?path=a+file.txt", testSecret)
	cmd.Stderr = &errs
	text, err := cmd.Output()
	if err != nil {
		t.Fatalf("%v: %s", err, errs.String())
	}
	want := "\xEF\xBB\xBF" + strings.ReplaceAll(string(text), "\n", "\r\n")
	eventually(t, "the file has the text", func() bool {
		raw, err := os.ReadFile(path)
		return err == nil && string(raw) == want
	})
	if st, err := os.Stat(path); err != nil || st.Mode().Perm() != 0o640 {
		t.Errorf("mode is %v, %v", st.Mode(), err)
	}
}

// TestPublishedTests runs the tests of y-protocols with our server between the two
// sides, once with a document and once where people meet.
func TestPublishedTests(t *testing.T) {
	modules, err := difftest.Modules(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	s := serve(t)
	if err := os.WriteFile(filepath.Join(s.dir, "a.txt"), []byte("text"), 0o644); err != nil {
		t.Fatal(err)
	}
	for _, route := range []string{"/v1/document?path=a.txt", "/v1/presence"} {
		out, err := exec.CommandContext(within(t), "node", "testdata/published.mjs", modules, "ws://"+s.addr+route, testSecret).CombinedOutput()
		if err != nil || !strings.Contains(string(out), "passed testAwareness") {
			t.Errorf("%s: %v: %s", route, err, out)
		}
		t.Logf("%s: %s", route, out)
	}
}

func TestDocumentsThatCannotBe(t *testing.T) {
	s := serve(t)
	for name, c := range map[string]struct {
		content string
		status  int
		reason  guestwire.DocumentReason
	}{
		"binary":  {"a\x00b", http.StatusNotImplemented, guestwire.ReasonBinary},
		"latin1":  {"caf\xe9", http.StatusNotImplemented, guestwire.ReasonEncoding},
		"missing": {"", http.StatusNotFound, ""},
		"secret":  {"text", http.StatusForbidden, ""},
	} {
		path := filepath.Join(s.dir, name)
		if c.content != "" {
			if err := os.WriteFile(path, []byte(c.content), 0o644); err != nil {
				t.Fatal(err)
			}
		}
		if name == "secret" {
			if os.Geteuid() != 0 {
				continue // it is one's own
			}
			if err := os.Chmod(path, 0o600); err != nil { // root's
				t.Fatal(err)
			}
		}
		req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://"+s.addr+"/v1/document?path="+name, nil)
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set(guestwire.SecretHeader, testSecret)
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
		if resp.StatusCode != c.status || resp.Header.Get(guestwire.ReasonHeader) != string(c.reason) {
			t.Errorf("%s: status %d, reason %q", name, resp.StatusCode, resp.Header.Get(guestwire.ReasonHeader))
		}
	}
	http.DefaultClient.CloseIdleConnections()
}
