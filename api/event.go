package api

import "time"

// The types of [Event].
const (
	EventState = "state" // the state or goal of a workspace changed
	EventLog   = "log"   // something its owner should know
)

// Event is one thing that happened to one workspace. On a stream it is a
// server-sent event whose id is Seq, so that a reader continues where it
// stopped with Last-Event-ID or ?since=.
type Event struct {
	Seq         int64     `json:"seq" doc:"Numbers all events of the server, growing"`
	Type        string    `json:"type" enum:"state,log"`
	At          time.Time `json:"at"`
	WorkspaceID string    `json:"workspace_id"`
	Workspace   string    `json:"workspace" doc:"Name of the workspace at that time"`
	From        string    `json:"from,omitempty" doc:"State before"`
	State       string    `json:"state,omitempty" doc:"State after"`
	Goal        string    `json:"goal,omitempty" doc:"Goal after"`
	Name        string    `json:"name,omitempty" doc:"Of a log line: what happened, such as memory-limit; of a change: its reason"`
	Text        string    `json:"text,omitempty" doc:"One sentence for people"`
}

// Log is the events of one workspace, oldest first.
type Log struct {
	Items []Event `json:"items"`
}
