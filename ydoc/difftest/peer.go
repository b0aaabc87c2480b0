package difftest

import (
	"bufio"
	"context"
	_ "embed"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/exec"
)

//go:embed peer.mjs
var program string

// Peer is a node process that runs scenarios.
type Peer struct {
	cmd *exec.Cmd
	in  io.WriteCloser
	out *bufio.Reader

	// fault breaks answers, for the test of these tests; nil does not.
	fault func(request, [][]byte) [][]byte
}

// Start starts node with the packages in a directory that [Modules] returned. The
// caller closes the peer.
func Start(ctx context.Context, modules string) (*Peer, error) {
	// node stops reading a program from standard input only at its end, so it is
	// given as an argument.
	cmd := exec.CommandContext(ctx, "node", "--input-type=module", "--eval", program, "--", modules)
	cmd.Stderr = os.Stderr
	in, err := cmd.StdinPipe()
	if err != nil {
		return nil, err
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := cmd.Start(); err != nil {
		return nil, fmt.Errorf("start node: %w", err)
	}
	return &Peer{cmd: cmd, in: in, out: bufio.NewReaderSize(out, 1<<20)}, nil
}

// Close ends the process.
func (p *Peer) Close() error {
	p.in.Close()
	return p.cmd.Wait()
}

// Outcome is how one run of a scenario ended.
type Outcome struct {
	Fail string   `json:"fail"` // what was wrong; "" for nothing
	Was  []string `json:"was"`  // the two values that should be equal
	Text string   `json:"text"`
	Size int      `json:"size"` // bytes of the full state
}

// Result is a scenario with the Go server and with the control.
type Result struct {
	Ours    Outcome `json:"ours"`
	Control Outcome `json:"control"`
}

// Beyond reports a failure that the control does not have.
func (r Result) Beyond() bool { return r.Ours.Fail != "" && r.Control.Fail == "" }

// message is a line from node.
type message struct {
	Ask  []request `json:"ask"`
	Done []Result  `json:"done"`
}

// answer is what one request gets.
type answer struct {
	Out   [][]byte `json:"out"`
	Error string   `json:"error,omitempty"`
}

// Run runs a batch of scenarios, step by step together, and returns their results
// in order.
func (p *Peer) Run(batch []Scenario) ([]Result, error) {
	if err := p.tell(map[string]any{"run": batch}); err != nil {
		return nil, err
	}
	servers := make([]*server, len(batch))
	for i, s := range batch {
		servers[i] = newServer(s.Keep)
	}
	for {
		line, err := p.out.ReadBytes('\n')
		if err != nil {
			return nil, fmt.Errorf("read from node: %w", err)
		}
		var m message
		if err := json.Unmarshal(line, &m); err != nil {
			return nil, fmt.Errorf("decode a line from node: %w", err)
		}
		if m.Done != nil {
			return m.Done, nil
		}
		answers := make([]answer, len(m.Ask))
		for i, q := range m.Ask {
			out, err := servers[q.Scenario].handle(q)
			if p.fault != nil {
				out = p.fault(q, out)
			}
			answers[i].Out = out
			if err != nil {
				answers[i].Error = "the Go server: " + err.Error()
			}
		}
		if err := p.tell(map[string]any{"answer": answers}); err != nil {
			return nil, err
		}
	}
}

func (p *Peer) tell(v any) error {
	b, err := json.Marshal(v)
	if err != nil {
		return fmt.Errorf("encode: %w", err)
	}
	if _, err := p.in.Write(append(b, '\n')); err != nil {
		return fmt.Errorf("write to node: %w", err)
	}
	return nil
}
