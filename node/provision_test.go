package node

import (
	"sync"
	"testing"
)

// Machines of one image share its environment; none may write into it. A lost
// copy once gave a machine its neighbour's secret.
func TestBaseEnvIsACopy(t *testing.T) {
	shared := make([]string, 1, 8)
	shared[0] = "PATH=/bin"
	var wg sync.WaitGroup
	got := make([][]string, 8)
	for i := range got {
		wg.Go(func() { got[i] = append(baseEnv(shared), string(rune('a'+i))) })
	}
	wg.Wait()
	for i, env := range got {
		if env[len(env)-1] != string(rune('a'+i)) {
			t.Errorf("machine %d has %q", i, env)
		}
	}
	if env := baseEnv(nil); len(env) != 1 {
		t.Errorf("without a search path: %q", env)
	}
}
