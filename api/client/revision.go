package client

import (
	"context"
	"io"
	"net/url"
	"strconv"

	"github.com/holt-ide/holt/api"
)

func revisionPath(nameOrID string, number int64) string {
	return workspacePath(nameOrID) + "/revisions/" + strconv.FormatInt(number, 10)
}

// Durability tells how far the files of a workspace are on their way to the store.
func (c *Client) Durability(ctx context.Context, nameOrID string) (api.Durability, error) {
	var out api.Durability
	err := c.do(ctx, call{method: "GET", path: workspacePath(nameOrID) + "/durability", safe: true}, &out)
	return out, err
}

// Sync returns when all that the files of a workspace are now is durable.
func (c *Client) Sync(ctx context.Context, nameOrID string) (api.Revision, error) {
	var out api.Revision
	err := c.do(ctx, call{method: "POST", path: workspacePath(nameOrID) + "/sync", safe: true}, &out)
	return out, err
}

// Revisions returns a page of the revisions of a workspace with numbers below before, the
// latest first, and what to give as before for the next page; 0 begins and ends. With a
// path only those in which it changed.
func (c *Client) Revisions(ctx context.Context, nameOrID, path string, before int64) (api.RevisionList, error) {
	q := url.Values{}
	if path != "" {
		q.Set("path", path)
	}
	if before != 0 {
		q.Set("before", strconv.FormatInt(before, 10))
	}
	var out api.RevisionList
	err := c.do(ctx, call{method: "GET", path: workspacePath(nameOrID) + "/revisions", query: q, safe: true}, &out)
	return out, err
}

// Revision returns one, the latest for number 0.
func (c *Client) Revision(ctx context.Context, nameOrID string, number int64) (api.Revision, error) {
	var out api.Revision
	err := c.do(ctx, call{method: "GET", path: revisionPath(nameOrID, number), safe: true}, &out)
	return out, err
}

// ListRevision returns what is in a folder of a revision.
func (c *Client) ListRevision(ctx context.Context, nameOrID string, number int64, path string) ([]api.RevisionEntry, error) {
	var out api.RevisionEntryList
	err := c.do(ctx, call{method: "GET", path: revisionPath(nameOrID, number) + "/files", query: url.Values{"path": {path}}, safe: true}, &out)
	return out.Items, err
}

// ReadRevision returns the content of a file in a revision; the caller closes it.
func (c *Client) ReadRevision(ctx context.Context, nameOrID string, number int64, path string) (io.ReadCloser, error) {
	resp, err := c.send(ctx, call{method: "GET", path: revisionPath(nameOrID, number) + "/content", query: url.Values{"path": {path}}, safe: true})
	if err != nil {
		return nil, err
	}
	return resp.Body, nil
}

// DiffRevisions compares two revisions, below a path if that is not "". Number 0 of
// from means the one before to, of to the latest.
func (c *Client) DiffRevisions(ctx context.Context, nameOrID string, from, to int64, path string) (api.RevisionDiff, error) {
	q := url.Values{}
	if from != 0 {
		q.Set("from", strconv.FormatInt(from, 10))
	}
	if path != "" {
		q.Set("path", path)
	}
	var out api.RevisionDiff
	err := c.do(ctx, call{method: "GET", path: revisionPath(nameOrID, to) + "/diff", query: q, safe: true}, &out)
	return out, err
}

// RestoreRevision brings files of a revision back, and wakes the workspace for it.
func (c *Client) RestoreRevision(ctx context.Context, nameOrID string, r api.RestoreRevision) (api.RestoredRevision, error) {
	var out api.RestoredRevision
	err := c.do(ctx, call{method: "POST", path: workspacePath(nameOrID) + "/restore", body: r}, &out)
	return out, err
}

// NameRevision gives a revision a name, which keeps it; "" takes it.
func (c *Client) NameRevision(ctx context.Context, nameOrID string, number int64, name string) (api.Revision, error) {
	var out api.Revision
	err := c.do(ctx, call{method: "PUT", path: revisionPath(nameOrID, number) + "/name", body: api.NameRevision{Name: name}, safe: true}, &out)
	return out, err
}
