package client

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/url"

	"github.com/holt-ide/holt"
	"github.com/holt-ide/holt/api"
)

// Version returns what the server is.
func (c *Client) Version(ctx context.Context) (api.Version, error) {
	var v api.Version
	err := c.do(ctx, call{method: "GET", path: "/version", safe: true}, &v)
	return v, err
}

// Me returns whom the client's token belongs to.
func (c *Client) Me(ctx context.Context) (api.Me, error) {
	var m api.Me
	err := c.do(ctx, call{method: "GET", path: "/me", safe: true}, &m)
	return m, err
}

// Tokens returns one's own API tokens, or those of all users.
func (c *Client) Tokens(ctx context.Context, all bool) ([]api.Token, error) {
	var l api.TokenList
	q := url.Values{}
	if all {
		q.Set("all", "true")
	}
	err := c.do(ctx, call{method: "GET", path: "/tokens", query: q, safe: true}, &l)
	return l.Items, err
}

// CreateToken makes a token; its secret is in the answer and never again.
func (c *Client) CreateToken(ctx context.Context, req api.CreateToken) (api.NewToken, error) {
	var t api.NewToken
	err := c.do(ctx, call{method: "POST", path: "/tokens", body: req}, &t)
	return t, err
}

// RevokeToken ends the token with that ID at once.
func (c *Client) RevokeToken(ctx context.Context, id string) error {
	return c.do(ctx, call{method: "DELETE", path: "/tokens/" + url.PathEscape(id), safe: true}, nil)
}

// Login makes a link that signs one browser in, once, with the rights of the
// client's token, and shows a workspace unless that is "".
func (c *Client) Login(ctx context.Context, workspace string) (api.Login, error) {
	var l api.Login
	err := c.do(ctx, call{method: "POST", path: "/logins", body: api.CreateLogin{Workspace: workspace}}, &l)
	return l, err
}

// Images returns the images of the server.
func (c *Client) Images(ctx context.Context) ([]api.Image, error) {
	var l api.ImageList
	err := c.do(ctx, call{method: "GET", path: "/images", safe: true}, &l)
	return l.Items, err
}

// BuildImage builds an image and reports its progress, which may be nil.
func (c *Client) BuildImage(ctx context.Context, req api.BuildImage, progress func(api.Progress)) (api.Image, error) {
	return c.makeImage(ctx, call{method: "POST", path: "/images/build", body: req}, progress)
}

// PullImage fetches an image from a registry and reports its progress, which
// may be nil.
func (c *Client) PullImage(ctx context.Context, req api.PullImage, progress func(api.Progress)) (api.Image, error) {
	return c.makeImage(ctx, call{method: "POST", path: "/images/pull", body: req}, progress)
}

// LoadImage sends an archive with an image, of size bytes if that is known and 0
// if not, and reports the progress, which may be nil: of the archive's arrival
// at the server and then of the work on it. The archive is not closed; after an
// error a Read of it may still be under way.
func (c *Client) LoadImage(ctx context.Context, name string, archive io.Reader, size int64, progress func(api.Progress)) (api.Image, error) {
	s := &source{r: archive, size: size, media: api.ArchiveType}
	img, err := c.makeImage(ctx, call{method: "POST", path: "/images/load", query: url.Values{"name": {name}}, source: s}, progress)
	if failure := s.failure(); err != nil && failure != nil && holt.IsKind(err, holt.KindUnavailable) {
		err = failure // the server only saw that the archive broke off
	}
	return img, err
}

// RemoveImage removes a name of an image, and the image with its last name; an
// ID means the image with all its names. One that workspaces need is
// KindConflict.
func (c *Client) RemoveImage(ctx context.Context, ref string) error {
	return c.do(ctx, call{method: "DELETE", path: "/images", query: url.Values{"ref": {ref}}}, nil)
}

// makeImage reads the stream of progress to its last line.
func (c *Client) makeImage(ctx context.Context, k call, progress func(api.Progress)) (api.Image, error) {
	resp, err := c.send(ctx, k)
	if err != nil {
		return api.Image{}, err
	}
	defer resp.Body.Close()
	lines := bufio.NewScanner(resp.Body)
	lines.Buffer(make([]byte, 64<<10), 1<<20)
	for lines.Scan() {
		var p api.Progress
		if err := json.Unmarshal(lines.Bytes(), &p); err != nil {
			return api.Image{}, fmt.Errorf("decode progress: %w", err)
		}
		switch {
		case p.Problem != nil:
			return api.Image{}, p.Problem.Err()
		case p.Image != nil:
			return *p.Image, nil
		case progress != nil:
			progress(p)
		}
	}
	if ctx.Err() != nil {
		return api.Image{}, contextError(ctx)
	}
	return api.Image{}, holt.Wrap(holt.KindUnavailable, errors.Join(errors.New("stream of progress ended early"), lines.Err()),
		"the server went away before the image was done: try again")
}
