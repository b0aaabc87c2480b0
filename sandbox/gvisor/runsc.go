package gvisor

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/holt-ide/holt"
)

// runsc runs one build of the runtime. Its methods are the runtime's verbs.
type runsc struct {
	bin     string
	root    string
	overlay string // directory of the writable layer's file
	logFile string
}

// errNoContainer is returned for a container that the runtime does not know.
var errNoContainer = errors.New("no such container")

// callPatience is a generous last resort against a call that hangs.
const callPatience = 2 * time.Minute

// unhurried returns a context for a call. A call is not bound to a cancelled
// context by being killed half way: the runtime's verbs are short, and a killed
// create leaves more behind than a finished one.
func unhurried(ctx context.Context) (context.Context, context.CancelFunc) {
	return context.WithTimeout(context.WithoutCancel(ctx), callPatience)
}

// command prepares a call, which is killed when ctx ends.
func (r runsc) command(ctx context.Context, args ...string) *exec.Cmd {
	flags := []string{
		"--root=" + r.root, "--platform=systrap", "--network=sandbox", "--allow-suid",
		"--restore-spec-validation=ignore", "--host-settings=ignore", "--file-access-mounts=shared",
	}
	if r.overlay != "" {
		flags = append(flags, "--overlay2=root:dir="+r.overlay)
	}
	if r.logFile != "" {
		flags = append(flags, "--log="+r.logFile)
	}
	cmd := exec.CommandContext(ctx, r.bin, append(flags, args...)...)
	cmd.Env = []string{"PATH=/usr/sbin:/usr/bin:/sbin:/bin"}
	cmd.WaitDelay = time.Second
	return cmd
}

// run makes a call and returns what it printed.
func (r runsc) run(ctx context.Context, args ...string) ([]byte, error) {
	if err := ctx.Err(); err != nil {
		return nil, fmt.Errorf("runsc %s: %w", args[0], context.Cause(ctx))
	}
	ctx, cancel := unhurried(ctx)
	defer cancel()
	cmd := r.command(ctx, args...)
	var out, words bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &words
	if err := cmd.Run(); err != nil {
		return nil, r.explain(args[0], err, words.String())
	}
	return out.Bytes(), nil
}

// explain turns a failed call into an error with the runtime's last word.
func (r runsc) explain(verb string, err error, words string) error {
	// Some errors dump an object before they come to the point.
	full := strings.Contains(words, unix.ENOSPC.Error())
	words = lastWord(words)
	switch {
	case strings.Contains(words, "file does not exist") || strings.Contains(words, "container does not exist"):
		return fmt.Errorf("runsc %s: %w", verb, errNoContainer)
	case full:
		return holt.Wrap(holt.KindNoSpace, fmt.Errorf("runsc %s: %s", verb, words), "the disk is full")
	}
	return fmt.Errorf("runsc %s: %w: %s", verb, err, words)
}

// lastWord returns the last line of what the runtime said, without the stack
// that some of its errors carry, and not too much of it.
func lastWord(words string) string {
	words, _, _ = strings.Cut(words, "\ngoroutine ")
	words = strings.TrimSpace(words)
	words = words[strings.LastIndexByte(words, '\n')+1:]
	return words[:min(len(words), 512)]
}

func (r runsc) version(ctx context.Context) (string, error) {
	out, err := r.run(ctx, "--version")
	if err != nil {
		return "", err
	}
	first, _, _ := strings.Cut(string(out), "\n")
	return strings.TrimPrefix(first, "runsc version "), nil
}

// start makes the container and starts its first process, in one call: every
// start of the runtime costs the user some ten milliseconds.
func (r runsc) start(ctx context.Context, id holt.SandboxID, dir string) error {
	return r.launch(ctx, id, dir, "run", "--detach")
}

// restore makes the container from a checkpoint.
func (r runsc) restore(ctx context.Context, id holt.SandboxID, dir, image string) error {
	return r.launch(ctx, id, dir, "restore", "--detach", "--background", "--image-path", image)
}

// create makes the container without anything in it.
func (r runsc) create(ctx context.Context, id holt.SandboxID, dir string) error {
	return r.launch(ctx, id, dir, "create")
}

// startCreated starts the first process of a container that create made.
func (r runsc) startCreated(ctx context.Context, id holt.SandboxID) error {
	_, err := r.run(ctx, "start", string(id))
	return err
}

// restoreCreated fills a container that create made.
func (r runsc) restoreCreated(ctx context.Context, id holt.SandboxID, image string) error {
	_, err := r.run(ctx, "restore", "--detach", "--background", "--image-path", image, string(id))
	return err
}

// pidName is the file in a sandbox's folder that holds its process ID.
const pidName = "pid"

// launch makes a container from the bundle in dir. Its standard streams are
// files: a detached container that inherited a pipe would keep the pipe's reader
// waiting for ever.
func (r runsc) launch(ctx context.Context, id holt.SandboxID, dir string, verb ...string) error {
	console, err := os.OpenFile(filepath.Join(dir, "console"), os.O_CREATE|os.O_RDWR|os.O_APPEND, 0o600)
	if err != nil {
		return fmt.Errorf("open console: %w", err)
	}
	defer console.Close()
	if err := ctx.Err(); err != nil {
		return fmt.Errorf("runsc %s: %w", verb[0], context.Cause(ctx))
	}
	args := append([]string{"--pod-init-config=" + filepath.Join(dir, traceFile)}, verb...)
	args = append(args, "--pid-file", filepath.Join(dir, pidName), "--bundle", filepath.Join(dir, "bundle"), string(id))
	ctx, cancel := unhurried(ctx)
	defer cancel()
	cmd := r.command(ctx, args...)
	cmd.Stdout, cmd.Stderr = console, console
	if err := cmd.Run(); err != nil {
		words, _ := os.ReadFile(console.Name()) // the explanation is worth a try only
		return r.explain(verb[0], err, string(words))
	}
	return nil
}

// trace adds a trace session to a container, or puts it in the place of another.
func (r runsc) trace(ctx context.Context, id holt.SandboxID, session string) error {
	_, err := r.run(ctx, "trace", "create", "--force", "--config", session, string(id))
	return err
}

func (r runsc) checkpoint(ctx context.Context, id holt.SandboxID, image string) error {
	_, err := r.run(ctx, "checkpoint", "--leave-running", "--compression=none", "--exclude-committed-zero-pages",
		"--image-path", image, string(id))
	return err
}

func (r runsc) pause(ctx context.Context, id holt.SandboxID) error {
	_, err := r.run(ctx, "pause", string(id))
	return err
}

func (r runsc) resume(ctx context.Context, id holt.SandboxID) error {
	_, err := r.run(ctx, "resume", string(id))
	return err
}

// delete ends the container whatever its state. An unknown one is no error.
func (r runsc) delete(ctx context.Context, id holt.SandboxID) error {
	_, err := r.run(ctx, "delete", "--force", string(id))
	if errors.Is(err, errNoContainer) {
		return nil
	}
	return err
}

// state is the part of the runtime's state that we use.
type state struct {
	Status string `json:"status"` // creating, created, running, paused, stopped
	PID    int    `json:"pid"`    // of the sandbox process
}

func (r runsc) state(ctx context.Context, id holt.SandboxID) (state, error) {
	out, err := r.run(ctx, "state", string(id))
	if err != nil {
		return state{}, err
	}
	var s state
	if err := json.Unmarshal(out, &s); err != nil {
		return state{}, fmt.Errorf("decode runsc state: %w", err)
	}
	return s, nil
}

// gofer returns the process that serves the container's files, which only the
// runtime's own record tells.
func (r runsc) gofer(id holt.SandboxID) (pid int, err error) {
	body, err := os.ReadFile(filepath.Join(r.root, fmt.Sprintf("%[1]s_sandbox:%[1]s.state", id)))
	if err != nil {
		return 0, fmt.Errorf("read runtime record: %w", err)
	}
	var s struct {
		Gofer int `json:"goferPid"`
	}
	if err := json.Unmarshal(body, &s); err != nil {
		return 0, fmt.Errorf("decode runtime record: %w", err)
	}
	if s.Gofer <= 0 {
		return 0, errors.New("the runtime's record names no gofer")
	}
	return s.Gofer, nil
}
