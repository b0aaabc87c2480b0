package api

import "time"

// Durability is how far the files of a workspace are on their way to the store.
type Durability struct {
	State    string    `json:"state" enum:"durable,journalled" doc:"durable: all that is known is in the revision; journalled: something newer is on the node's disk alone"`
	Revision int64     `json:"revision,omitempty" doc:"Number of the latest revision; absent if there is none yet"`
	At       time.Time `json:"at,omitzero" doc:"The moment of the latest revision"`
	Since    time.Time `json:"since,omitzero" doc:"Since when something is not durable; absent if all is"`
	Seen     time.Time `json:"seen,omitzero" doc:"All that was there at this moment is durable; absent where that is not known"`
	Flushing bool      `json:"flushing,omitempty" doc:"A revision is being made"`
	Trouble  string    `json:"trouble,omitempty" doc:"Why files could not be kept the last time"`
}

// Revision is a durable state of a workspace's files.
type Revision struct {
	Number      int64          `json:"number" doc:"Grows with each revision of the workspace"`
	At          time.Time      `json:"at" doc:"The moment that it holds"`
	Reason      string         `json:"reason" doc:"Why it was made" example:"save"`
	Name        string         `json:"name,omitempty" doc:"Given by a person; it is kept for as long as it has it"`
	Files       int64          `json:"files" doc:"Files, links and folders"`
	Bytes       int64          `json:"bytes" doc:"Size of its files"`
	StoredBytes int64          `json:"stored_bytes" doc:"Bytes that it added to the store"`
	Torn        int64          `json:"torn,omitempty" doc:"Files that changed while they were read"`
	Skipped     int64          `json:"skipped,omitempty" doc:"What cannot be kept, such as sockets"`
	Damage      string         `json:"damage,omitempty" doc:"What was found damaged in the store"`
	Entry       *RevisionEntry `json:"entry,omitempty" doc:"The path that was asked for, in a history of it; absent where it was removed"`
}

// RevisionList is revisions of a workspace, the latest first.
type RevisionList struct {
	Items []Revision `json:"items"`
	Next  int64      `json:"next,omitempty" doc:"Give it as before to get the next ones; absent at the end"`
}

// RevisionEntry is a file, folder or link in a revision.
type RevisionEntry struct {
	Path       string    `json:"path" doc:"As the workspace sees it" example:"/workspace/src/main.go"`
	Type       string    `json:"type" enum:"file,folder,link"`
	Mode       string    `json:"mode" doc:"Permissions, octal" example:"0644"`
	Size       int64     `json:"size" doc:"Bytes; of a folder, of all files in it"`
	ModifiedAt time.Time `json:"modified_at"`
	Target     string    `json:"target,omitempty" doc:"Of a link"`
	Torn       bool      `json:"torn,omitempty" doc:"It changed while it was read"`
}

// RevisionEntryList is what is in a folder of a revision.
type RevisionEntryList struct {
	Items []RevisionEntry `json:"items"`
}

// RevisionChange is a path that differs between two revisions.
type RevisionChange struct {
	Path   string         `json:"path"`
	Kind   string         `json:"kind" enum:"added,removed,modified,touched" doc:"touched: mode or time alone"`
	Before *RevisionEntry `json:"before,omitempty"`
	After  *RevisionEntry `json:"after,omitempty"`
}

// RevisionDiff is what differs between two revisions, in the order of paths.
type RevisionDiff struct {
	From  int64            `json:"from"`
	To    int64            `json:"to"`
	Items []RevisionChange `json:"items"`
	More  bool             `json:"more,omitempty" doc:"There is more than is told: ask for a path"`
}

// RestoreRevision asks for files of a revision to come back.
type RestoreRevision struct {
	Revision int64    `json:"revision" minimum:"1"`
	Paths    []string `json:"paths,omitempty" maxItems:"1000" doc:"Files and folders as the workspace sees them; absent: everything"`
	Exact    bool     `json:"exact,omitempty" doc:"Also remove what the revision does not have in them"`
}

// RestoredRevision is what came back.
type RestoredRevision struct {
	Before  int64 `json:"before" doc:"Number of the revision of the files as they were: restore it to undo this"`
	Files   int64 `json:"files" doc:"Files and links that were written"`
	Same    int64 `json:"same" doc:"Files that were as they should be"`
	Removed int64 `json:"removed"`
	Bytes   int64 `json:"bytes"`
}

// NameRevision gives a revision a name, or takes it.
type NameRevision struct {
	Name string `json:"name" maxLength:"64" doc:"It keeps the revision from being thinned out; empty takes it"`
}
