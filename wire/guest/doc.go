// Package guestwire is the private protocol between a node and the guest agent
// (cmd/holt-guest), and, for the routes marked public, between a browser or the
// CLI and the agent through the gateway's relay.
//
// It holds the route table ([Routes], [Public]), the JSON types, the WebSocket
// frame codecs and a typed [Client]. It does no work of its own in the guest.
// The agent (package guest), the node, the gateway and the CLI may import it.
//
// Both ends treat each other as hostile: every frame and every JSON body is
// bounded ([MaxFrame], [MaxJSON]), and a decoder never panics nor allocates more
// than what it was given.
//
// # Transport
//
// HTTP/1.1 over any byte stream. Every request carries the header [SecretHeader];
// without the current secret the answer is 401. Errors are a JSON [ErrorBody]
// with the status of [Status]. Paths never contain an escape: a path with % is
// not a route.
//
// # Frames
//
// A frame is one binary WebSocket message: a type byte and a payload. Integers
// are big endian. Unknown types are refused by [Decode]. One numbering serves
// both sessions, so that a type means the same everywhere.
//
//	type  name        direction      session         payload
//	0x01  output      agent→viewer   terminal        seq u64, bytes (1..)
//	0x02  input       viewer→agent   terminal        bytes
//	0x03  resize      both           terminal, exec  cols u16, rows u16
//	0x04  ack         viewer→agent   terminal        seq u64: output before seq was consumed
//	                  agent→client   exec            seq u64: stdin before seq was consumed
//	0x05  exit        agent→viewer   terminal, exec  code i32, signal name (0..16 bytes, "" = exited)
//	0x06  hello       agent→viewer   terminal        version u8, flags u8 (1 = truncated), first u64, next u64, cols u16, rows u16
//	0x07  error       agent→viewer   terminal, exec  text (UTF-8)
//	0x08  presence    agent→viewer   terminal        viewers u16
//	0x10  stdin       client→agent   exec            bytes
//	0x11  stdin-close client→agent   exec            none
//	0x12  signal      client→agent   exec            number u8 (1..64)
//	0x13  stdout      agent→client   exec            bytes
//	0x14  stderr      agent→client   exec            bytes
//
// # Terminal session
//
// The agent numbers the bytes of a terminal's output from 0. After the upgrade
// it sends hello: first is the number of the first byte it will replay (the
// since parameter, or later when the ring has dropped it; then truncated is
// set), next the number of the byte that follows what it holds now. Output
// frames then follow without gap or overlap from first. A second hello in the
// same session is a resync: the viewer fell so far behind that the ring moved
// on; it clears its screen and goes on at the new first. A viewer acknowledges
// what it consumed; the agent sends at most [Window] bytes beyond the last
// acknowledgement. exit is the last frame, sent after the last byte of output.
//
// # Exec session
//
// The first message is text: a JSON [Exec]. The agent answers with stdout and
// stderr frames and one exit frame, which is the last. For output the socket is
// the flow control. Input is acknowledged: a client has at most [Window] bytes
// of stdin unacknowledged, so that signals and a lost connection never wait
// behind input that the command does not read. A command that is not found exits with 127, one that cannot
// be executed with 126, each after an error frame that says why.
//
// # Document session
//
// GET /v1/document?path=PATH: a file that several people edit. The socket speaks the
// sync and awareness protocols of y-protocols, and a message of our own with a
// [DocumentStatus]; see package collab. The text is the root type "text". With
// readonly=1 edits are ignored. A client that holds state of the document gives its
// epoch=EPOCH. A file that cannot be edited so is answered 501 with the reason in
// [ReasonHeader].
//
// # Presence session
//
// GET /v1/presence: who is in the workspace. The socket speaks the awareness protocol of
// y-protocols alone; see package collab. What a page tells of itself is an object, to which
// the agent adds the field user with the [User] of [UserHeader]. Pages tell with
// path the file that they show, with cursor its relative positions of Yjs (anchor,
// head), and with terminal the one in which somebody types.
//
// # Mux session
//
// GET /v1/mux: one socket for all that a page asks of the files: see [MuxOp]. A
// packet is one binary message: a type byte, the number of a stream (u32) and a
// payload. Stream 0 is the session itself. Unknown types are refused.
//
//	type  name     direction    payload
//	0x20  open     page→agent   JSON MuxRequest: begins the stream; its number is not in use
//	0x21  data     both         bytes (1..)
//	0x22  end      both         none: no more data this way
//	0x23  cancel   page→agent   none: what is under way stops, and nothing more is sent but fail
//	0x24  credit   both         u32: so many more payload bytes of data and item may be sent
//	0x25  item     agent→page   JSON MuxItem
//	0x26  result   agent→page   JSON: the last packet of a stream that worked
//	0x27  fail     agent→page   JSON ErrorBody: the last packet of one that did not
//	0x28  ping     page→agent   8 bytes
//	0x29  pong     agent→page   the same 8 bytes
//	0x2a  welcome  agent→page   JSON MuxWelcome: the first packet
//
// Flow control is per stream and direction: a sender begins with [Window] bytes and
// gets more by credit, so that a stream whose reader is slow holds up no other. What
// is sent beyond that ends the session. A write that was cancelled, or whose
// connection broke before its end, changes nothing. With readonly=1 every operation that
// writes is refused. A client that hears nothing for long asks with ping; the agent
// drops a session that said nothing for five minutes.
//
// # Journal session
//
// GET /v1/journal, for the node alone: a WebSocket on which the agent sends what
// happens to documents ([JournalEntry], one to a message, numbered from 1), and the
// node up to which number that is on its disk ([JournalAck]). A new session takes
// the place of the one before, and begins with the state of each open document:
// nothing has to be remembered from one to the next. An edit counts as journalled
// when its entry, or a later state of its document, is acknowledged. That somebody
// wrote a file by a request comes in the same way, as a hint, with no data.
//
// POST /v1/journal brings it back into a machine that has lost its memory: for each
// entry a uvarint with the length of its encoding, and the encoding. Those of one
// document follow each other, the first of them is a state. The answer is a
// [JournalResult]. With ?restored=true the files come from a revision, because the
// volume was lost too.
//
// # Version history
//
//	1  first version
package guestwire

// Version is the protocol version that both ends of this source speak.
const Version = 1

// Bounds of the protocol.
const (
	// MaxFrame is the largest WebSocket message either end accepts, in bytes.
	MaxFrame = 64<<10 + 16
	// MaxChunk is the most data bytes in one output, input, stdin, stdout or
	// stderr frame.
	MaxChunk = 32 << 10
	// MaxJSON is the largest JSON request body or first exec message, in bytes.
	MaxJSON = 1 << 20
	// Window is how many bytes of terminal output a viewer, or of stdin an
	// agent, may leave unacknowledged.
	Window = 256 << 10
)

// SecretHeader is the request header that carries the agent's secret.
const SecretHeader = "Holt-Secret"

// MinSecret is the fewest characters of a secret.
const MinSecret = 16

// ErrorTrailer is the trailer with the [ErrorBody] of a stream that broke after
// its status was sent.
const ErrorTrailer = "Holt-Error"

// ConfigEnv is the environment variable that holds the agent's [Config] as JSON,
// or "@" and the path of a file that does. The agent removes the variable before
// it starts any other process.
const ConfigEnv = "HOLT_AGENT"

// UpgradeTCP is the protocol name in the Upgrade header of a port's dial route.
const UpgradeTCP = "holt-tcp"
