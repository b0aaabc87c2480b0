package guestwire

import "github.com/coder/websocket"

// EOL is how the lines of a file end. A document's text has LF only.
type EOL string

// The ends of line.
const (
	LF    EOL = "lf"
	CRLF  EOL = "crlf"
	Mixed EOL = "mixed"
)

// DocumentReason is why a file cannot be edited together. It is the Limit of the
// error, and in an answer the header [ReasonHeader].
type DocumentReason string

// The reasons.
const (
	ReasonBinary   DocumentReason = "binary"
	ReasonEncoding DocumentReason = "encoding" // not UTF-8
	ReasonEOL      DocumentReason = "eol"      // carriage returns within lines
	ReasonLarge    DocumentReason = "large"
)

// ReasonHeader is the header with a [DocumentReason].
const ReasonHeader = "Holt-Reason"

// DocumentStatus is what a peer of a document is told when it connects, and when
// something of it changes.
type DocumentStatus struct {
	Epoch    string `json:"epoch"`           // of the state; see [StatusEpoch]
	ReadOnly bool   `json:"read_only"`       // edits of this peer are ignored
	EOL      EOL    `json:"eol"`             // of the file
	BOM      bool   `json:"bom"`             // the file begins with a byte order mark
	Saved    bool   `json:"saved"`           // the file has the text
	Gone     bool   `json:"gone"`            // the file was removed; an edit makes it again
	Error    string `json:"error,omitempty"` // why it could not be written
	// Journal: edits are also written down outside the sandbox, and how far that
	// has come is said in messages of its own.
	Journal bool `json:"journal"`
}

// Close codes of a document's socket, beside those of WebSocket.
const (
	// StatusEpoch: the peer holds state of another epoch, or did not name the epoch
	// of what it holds. It drops that and connects again.
	StatusEpoch websocket.StatusCode = 4409
	// StatusDocumentLimit: an edit would make the document too large.
	StatusDocumentLimit websocket.StatusCode = 4413
	// StatusSlow: the peer fell too far behind. It connects again.
	StatusSlow websocket.StatusCode = 4429
)

// MaxDocumentMessage is the largest message of a document's socket that the agent
// accepts, in bytes. Those it sends may be larger, as the first has the whole
// document.
const MaxDocumentMessage = 8 << 20
