package fault

import (
	"testing"
	"time"

	"github.com/holt-ide/holt/api"
	"github.com/holt-ide/holt/api/client"

	"github.com/holt-ide/holt/test/server"
)

// TestCreateRepeated: a create that is cut off by a crash, whether it had
// happened or not, is repeated by the client and answered with the one workspace
// that it made.
func TestCreateRepeated(t *testing.T) {
	t.Parallel()
	s := server.New(t, "--pool-size", "3g")
	s.Flags = append(s.Flags, "--listen", freeAddress(t)) // the same after each start
	s.Start(t)
	s.TinyImage(t)
	w := newWitness(s)
	for _, point := range []string{"create.before-write", "create.after-write"} {
		t.Run(point, func(t *testing.T) {
			s.Kill(t)
			s.Holtd, s.Env = faulty(t), []string{"HOLT_FAULT=" + point}
			s.Start(t)
			c, err := client.New(client.Config{URL: s.URL, Token: s.Token, Patience: time.Minute})
			if err != nil {
				t.Fatal(err)
			}
			if _, err := c.List(t.Context()); err != nil { // it is patient only with a server that has answered
				t.Fatal(err)
			}
			type answer struct {
				w   api.Workspace
				err error
			}
			answered := make(chan answer, 1)
			name := "main-" + point[len("create."):]
			go func() {
				got, err := c.Create(t.Context(), api.CreateWorkspace{Name: name, Image: "tiny"})
				answered <- answer{got, err}
			}()
			s.AwaitExit(t, 30*time.Second)
			s.Holtd, s.Env = "", nil
			s.Start(t)
			a := <-answered
			if a.err != nil {
				t.Fatalf("the repeated create: %v", a.err)
			}
			if got := w.settle(t)[name]; got.ID != a.w.ID {
				t.Errorf("the answer names %s, there is %s", a.w.ID, got.ID)
			}
			s.Sh(t, name, "true")
		})
	}
}
