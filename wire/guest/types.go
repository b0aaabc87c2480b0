package guestwire

import (
	"time"

	"github.com/holt-ide/holt"
)

// Config is what the agent is told at boot, as JSON in the variable [ConfigEnv].
type Config struct {
	Listen      string           `json:"listen"`       // TCP address, such as ":7077"
	Secret      string           `json:"secret"`       // required in [SecretHeader] until the first thaw
	WorkspaceID holt.WorkspaceID `json:"workspace_id"` // for health and the environment
	Name        string           `json:"name"`         // the workspace's name: HOLT_WORKSPACE
	User        string           `json:"user"`         // name of the user that owns the workspace
	UID         int              `json:"uid"`
	GID         int              `json:"gid"`
	Home        string           `json:"home"`      // absolute
	Dir         string           `json:"dir"`       // absolute: where commands start and relative paths begin
	Processes   int64            `json:"processes"` // most processes and threads of the user; 0 sets no limit
	Memory      int64            `json:"memory"`    // bytes for processes and tmpfs; 0 is all that the machine shows
}

// ErrorBody is the JSON body of every answer with an error status, and the
// "error" line of a stream that broke after its status was sent.
type ErrorBody struct {
	Kind  holt.Kind `json:"kind"`
	Field string    `json:"field,omitempty"`
	Text  string    `json:"text"`
}

// NewTerminal asks for a terminal. Every field is optional.
type NewTerminal struct {
	ID   holt.TerminalID   `json:"id,omitempty"`   // "" lets the agent count: "t1", "t2", …
	Name string            `json:"name,omitempty"` // shown to people, at most 64 bytes
	Cols uint16            `json:"cols,omitempty"` // 0 means 80
	Rows uint16            `json:"rows,omitempty"` // 0 means 24
	Cwd  string            `json:"cwd,omitempty"`  // "" means the workspace's directory
	Cmd  []string          `json:"cmd,omitempty"`  // empty means the user's login shell
	Env  map[string]string `json:"env,omitempty"`  // added to the user's environment
}

// Terminal describes one terminal, living or exited.
type Terminal struct {
	ID        holt.TerminalID `json:"id"`
	Name      string          `json:"name,omitempty"`
	Cmd       []string        `json:"cmd"`
	PID       int             `json:"pid"`
	Cols      uint16          `json:"cols"`
	Rows      uint16          `json:"rows"`
	Viewers   int             `json:"viewers"`
	First     uint64          `json:"first"` // number of the oldest byte held
	Next      uint64          `json:"next"`  // number of the next byte of output
	CreatedAt time.Time       `json:"created_at"`
	Exit      *Exit           `json:"exit,omitempty"` // nil while it lives
}

// Exit is how a process ended.
type Exit struct {
	Code   int       `json:"code"`             // 128 + number when a signal ended it
	Signal string    `json:"signal,omitempty"` // such as "SIGKILL"
	At     time.Time `json:"at"`
}

// Exec is the first message of an exec session.
type Exec struct {
	Cmd    []string          `json:"cmd"`
	Cwd    string            `json:"cwd,omitempty"`  // "" means the workspace's directory
	Env    map[string]string `json:"env,omitempty"`  // added to the user's environment
	User   string            `json:"user,omitempty"` // "" means the workspace's user; "root" is the guest's root
	TTY    bool              `json:"tty,omitempty"`
	Cols   uint16            `json:"cols,omitempty"` // with TTY; 0 means 80
	Rows   uint16            `json:"rows,omitempty"` // with TTY; 0 means 24
	Stdin  bool              `json:"stdin,omitempty"`
	Detach bool              `json:"detach,omitempty"` // keep running when the connection goes away
}

// FileType is what a directory entry is.
type FileType string

// The file types.
const (
	TypeFile    FileType = "file"
	TypeDir     FileType = "dir"
	TypeSymlink FileType = "symlink"
	TypeOther   FileType = "other" // devices, FIFOs, sockets
)

// FileInfo describes one path. For a symbolic link it describes the link.
type FileInfo struct {
	Path    string    `json:"path"` // absolute
	Name    string    `json:"name"`
	Type    FileType  `json:"type"`
	Size    int64     `json:"size"`
	Mode    uint32    `json:"mode"` // permission, setuid, setgid and sticky bits as in chmod(2)
	ModTime time.Time `json:"mtime"`
	UID     uint32    `json:"uid"`
	GID     uint32    `json:"gid"`
	Target  string    `json:"target,omitempty"`    // a link's text
	Points  FileType  `json:"points_to,omitempty"` // what a link leads to; "" when it dangles
	ETag    string    `json:"etag,omitempty"`      // of a regular file, for If-Match
}

// FileList is one page of a directory, sorted by name.
type FileList struct {
	Path    string     `json:"path"`
	Entries []FileInfo `json:"entries"`
	Next    string     `json:"next,omitempty"` // give it as after= for the next page; "" at the end
}

// Rename asks to move a path. Without Overwrite an existing target is a conflict.
type Rename struct {
	From      string `json:"from"`
	To        string `json:"to"`
	Overwrite bool   `json:"overwrite,omitempty"`
}

// Mkdir asks for a directory. With Parents missing parents are made and an
// existing directory is no error.
type Mkdir struct {
	Path    string `json:"path"`
	Parents bool   `json:"parents,omitempty"`
}

// Chmod asks for new permission bits (setuid, setgid and sticky included).
type Chmod struct {
	Path string `json:"path"`
	Mode uint32 `json:"mode"`
}

// WatchOp is what happened to a watched path.
type WatchOp string

// The operations. After a rescan the receiver reads the tree again: events were
// lost, or there are more directories than can be watched.
const (
	OpReady  WatchOp = "ready" // sent once: the watch is complete, events flow
	OpCreate WatchOp = "create"
	OpWrite  WatchOp = "write"
	OpRemove WatchOp = "remove"
	OpChmod  WatchOp = "chmod"
	OpRescan WatchOp = "rescan"
)

// WatchEvent is one text message of a watch session. A rename is a remove and a
// create.
type WatchEvent struct {
	Op   WatchOp `json:"op"`
	Path string  `json:"path,omitempty"`
	Text string  `json:"text,omitempty"` // why, with rescan
}

// SearchMatch is one line of a search's answer.
type SearchMatch struct {
	Path   string   `json:"path,omitempty"`
	Line   int      `json:"line,omitempty"`   // from 1
	Text   string   `json:"text,omitempty"`   // the line, cut at 1 KiB
	Ranges [][2]int `json:"ranges,omitempty"` // byte offsets of the matches in Text
	// Done ends the stream; Truncated says that max was reached.
	Done      bool       `json:"done,omitempty"`
	Truncated bool       `json:"truncated,omitempty"`
	Error     *ErrorBody `json:"error,omitempty"` // the search broke here
}

// Port is one listening TCP port.
type Port struct {
	Port    uint16 `json:"port"`
	Address string `json:"address"`           // what it is bound to, such as "127.0.0.1" or "::"
	PID     int    `json:"pid,omitempty"`     // 0 where it cannot be found
	Process string `json:"process,omitempty"` // its command name
}
