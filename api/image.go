package api

import "time"

// Image is a read-only root file system that machines start from.
type Image struct {
	ID        string    `json:"id" doc:"Content hash"`
	Names     []string  `json:"names" doc:"Names that mean this image"`
	Bytes     int64     `json:"bytes" doc:"Size on disk"`
	Source    string    `json:"source,omitempty" doc:"Recipe or reference it was made from"`
	CreatedAt time.Time `json:"created_at"`
}

// ImageList is all images of the server.
type ImageList struct {
	Items []Image `json:"items"`
}

// BuildImage asks for an image to be built from one of the server's recipes.
type BuildImage struct {
	Recipe string `json:"recipe,omitempty" doc:"Name of the recipe; absent: default" example:"default"`
	Name   string `json:"name,omitempty" doc:"Name of the image; absent: that of the recipe"`
}

// PullImage asks for an image from a registry.
type PullImage struct {
	Reference string `json:"reference" doc:"OCI reference, such as docker.io/library/debian:12"`
	Name      string `json:"name,omitempty" doc:"A further name for the image"`
}

// MaxImageArchive is the largest archive in bytes that a load takes.
const MaxImageArchive = 20 << 30

// ArchiveType is the media type of an archive of an image, which may be
// compressed as well.
const ArchiveType = "application/x-tar"

// Progress is one line of the answer to a build, pull or load, which is a stream
// of JSON objects, one a line. The last line has Image or Problem.
type Progress struct {
	Phase   string   `json:"phase,omitempty" doc:"What is being done"`
	Done    int64    `json:"done,omitempty" doc:"Units done in this phase"`
	Total   int64    `json:"total,omitempty" doc:"Units in this phase; absent: unknown"`
	Bytes   bool     `json:"bytes,omitempty" doc:"The units are bytes"`
	Text    string   `json:"text,omitempty" doc:"A line for people"`
	Image   *Image   `json:"image,omitempty" doc:"The finished image, on the last line"`
	Problem *Problem `json:"problem,omitempty" doc:"What went wrong, on the last line"`
}
