package gateway

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"path"
	"strings"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"github.com/danielgtaylor/huma/v2/adapters/humago"

	"github.com/holt-ide/holt"
	"github.com/holt-ide/holt/api"
	"github.com/holt-ide/holt/meta"
	hostwire "github.com/holt-ide/holt/wire/host"
)

// Durability is how far the files of a workspace are.
type Durability struct {
	hostwire.FilesState
	Latest meta.Revision // number 0 if there is none yet
}

// Revisions reads what was kept of the files of workspaces. Paths are those of the
// volume, such as workspace/src/a.go. Errors: KindNotFound for what is not there,
// KindCorrupt for what the store has lost, KindUnavailable while it is away.
type Revisions interface {
	// Get returns one revision, the latest for number 0.
	Get(ctx context.Context, ws holt.WorkspaceID, number int64) (meta.Revision, error)
	// List returns up to limit revisions with numbers below before, the latest first.
	List(ctx context.Context, ws holt.WorkspaceID, before int64, limit int) ([]meta.Revision, error)
	// Name gives a revision a name, or takes it.
	Name(ctx context.Context, ws holt.WorkspaceID, number int64, name string) error
	// Stat describes a path in a revision.
	Stat(ctx context.Context, ws holt.WorkspaceID, number int64, path string) (RevisionEntry, error)
	// Files returns what is in a folder.
	Files(ctx context.Context, ws holt.WorkspaceID, number int64, path string) ([]RevisionEntry, error)
	// Read returns the content of a file.
	Read(ctx context.Context, ws holt.WorkspaceID, number int64, path string) (io.ReadCloser, RevisionEntry, error)
	// Diff calls f for what differs below a path from a revision to another, 0 of from
	// for nothing at all, until f returns an error, which it returns.
	Diff(ctx context.Context, ws holt.WorkspaceID, from, to int64, path string, f func(RevisionChange) error) error
}

// RevisionEntry is a path in a revision.
type RevisionEntry struct {
	Path     string
	Type     string // file, folder or link
	Mode     uint32
	Size     int64
	Modified time.Time
	Target   string
	Torn     bool
}

// RevisionChange is a path that differs. An entry without a path is not there.
type RevisionChange struct {
	Path, Kind    string
	Before, After RevisionEntry
}

// errNoRevisions is returned where nothing is kept.
var errNoRevisions error = holt.Errorf(holt.KindUnsupported, "this server keeps no files outside its volumes: it was started with --store none")

const (
	revisionsShown = 100   // in a page
	revisionsRead  = 500   // for a page of a path's history
	changesShown   = 10000 // of a diff
)

func (g *Gateway) registerRevisions(rest *rest) {
	const ws, one = "/workspaces/{workspace}", "/workspaces/{workspace}/revisions/{revision}"
	op(rest, "GET", ws+"/durability", "get-durability", "Tell how far the files are on their way to the store", g.durability)
	op(rest, "POST", ws+"/sync", "sync-workspace", "Wait until all that the files are now is durable", g.sync)
	op(rest, "GET", ws+"/revisions", "list-revisions", "List the revisions of a workspace, or those in which a path changed", g.listRevisions)
	op(rest, "GET", one, "get-revision", "Describe a revision, the latest for 0", g.getRevision)
	op(rest, "GET", one+"/files", "list-revision", "List a folder of a revision", g.listRevision)
	op(rest, "GET", one+"/content", "read-revision", "Read a file of a revision", g.readRevision, func(o *huma.Operation) {
		o.Responses = map[string]*huma.Response{"200": {
			Description: "The file's content", Content: map[string]*huma.MediaType{"application/octet-stream": {Schema: &huma.Schema{Type: "string", Format: "binary"}}},
		}}
	})
	op(rest, "GET", one+"/diff", "diff-revisions", "Compare a revision with an earlier one", g.diffRevisions)
	op(rest, "PUT", one+"/name", "name-revision", "Give a revision a name, which keeps it, or take it", g.nameRevision)
	op(rest, "POST", ws+"/restore", "restore-revision", "Bring files of a revision back", g.restoreRevision)
}

// Numbered is the input of operations on one revision.
type Numbered struct {
	Named
	Revision int64 `path:"revision" minimum:"0" doc:"Number of the revision; 0 for the latest"`
}

// AtPath is the input of operations on a path in a revision.
type AtPath struct {
	Path string `query:"path" maxLength:"4096" doc:"As the workspace sees it: /workspace/src, /home/dev/.bashrc, or relative to /workspace"`
}

// Places of a volume's folders in a machine.
var places = []struct{ guest, volume string }{{"/workspace", "workspace"}, {"/home/dev", "home"}}

// inVolume returns the path in a volume of one in the workspace; "" is the whole volume.
func inVolume(p string) (string, error) {
	if p == "" || p == "/" {
		return "", nil
	}
	if strings.ContainsRune(p, 0) {
		return "", holt.Invalid("path", "a path has no zero bytes")
	}
	full := p
	if !strings.HasPrefix(p, "/") {
		full = "/workspace/" + p
	}
	full = path.Clean(full)
	for _, at := range places {
		if rest, ok := strings.CutPrefix(full, at.guest); ok && (rest == "" || rest[0] == '/') {
			return at.volume + rest, nil
		}
	}
	return "", holt.Invalidf("path", "%.200q is not kept: only what is in /workspace and /home/dev is", p)
}

// inWorkspace is the other way round.
func inWorkspace(p string) string {
	for _, at := range places {
		if rest, ok := strings.CutPrefix(p, at.volume); ok && (rest == "" || rest[0] == '/') {
			return at.guest + rest
		}
	}
	return "/" + p
}

func toRevision(r meta.Revision) api.Revision {
	return api.Revision{
		Number: r.Number, At: r.At, Reason: r.Reason, Name: r.Name, Files: r.Files, Bytes: r.Bytes, StoredBytes: r.Stored,
		Torn: r.Torn, Skipped: r.Skipped, Damage: r.Damage,
	}
}

func toEntry(e RevisionEntry) *api.RevisionEntry {
	if e.Type == "" {
		return nil
	}
	return &api.RevisionEntry{
		Path: inWorkspace(e.Path), Type: e.Type, Mode: fmt.Sprintf("%04o", e.Mode), Size: e.Size, ModifiedAt: e.Modified, Target: e.Target, Torn: e.Torn,
	}
}

// durabilityOf returns nil where nothing is kept.
func (g *Gateway) durabilityOf(ctx context.Context, id holt.WorkspaceID) (*api.Durability, error) {
	if g.cfg.Revisions == nil {
		return nil, nil
	}
	d, err := g.cfg.Workspaces.Durability(ctx, id)
	if err != nil {
		return nil, err
	}
	out := &api.Durability{State: "durable", Revision: d.Latest.Number, At: d.Latest.At, Seen: d.Seen, Flushing: d.Flushing, Trouble: d.Trouble}
	if d.Behind || d.Latest.Number == 0 {
		out.State, out.Since = "journalled", d.Since
	}
	return out, nil
}

func (g *Gateway) durability(ctx context.Context, _ *Named) (*answer[api.Durability], error) {
	d, err := g.durabilityOf(ctx, target(ctx).ID)
	if err == nil && d == nil {
		err = errNoRevisions
	}
	if err != nil {
		return nil, err
	}
	return &answer[api.Durability]{*d}, nil
}

func (g *Gateway) sync(ctx context.Context, _ *Named) (*answer[api.Revision], error) {
	extendWrite(ctx, longestWait)
	ctx, cancel := context.WithTimeoutCause(ctx, longestWait, holt.Errorf(holt.KindTimeout, "the files are not durable yet: it goes on in the background"))
	defer cancel()
	r, err := g.cfg.Workspaces.Sync(ctx, string(target(ctx).ID))
	if err != nil {
		return nil, err
	}
	return &answer[api.Revision]{toRevision(r)}, nil
}

func (g *Gateway) listRevisions(ctx context.Context, in *struct {
	Named
	AtPath
	Before int64 `query:"before" minimum:"0" doc:"Only those with smaller numbers"`
	Limit  int   `query:"limit" minimum:"0" maximum:"500" doc:"At most so many; 0: 100"`
}) (*answer[api.RevisionList], error) {
	if g.cfg.Revisions == nil {
		return nil, errNoRevisions
	}
	limit := in.Limit
	if limit == 0 {
		limit = revisionsShown
	}
	p, err := inVolume(in.Path)
	if err != nil {
		return nil, err
	}
	if p != "" {
		return g.pathHistory(ctx, p, in.Before, limit)
	}
	list, err := g.cfg.Revisions.List(ctx, target(ctx).ID, in.Before, limit+1)
	if err != nil {
		return nil, err
	}
	out := api.RevisionList{Items: []api.Revision{}}
	for _, r := range list[:min(limit, len(list))] {
		out.Items = append(out.Items, toRevision(r))
		if len(list) > limit {
			out.Next = r.Number
		}
	}
	return &answer[api.RevisionList]{out}, nil
}

// pathHistory lists the revisions in which a path is not as in the one before it.
func (g *Gateway) pathHistory(ctx context.Context, p string, before int64, limit int) (*answer[api.RevisionList], error) {
	ws := target(ctx).ID
	list, err := g.cfg.Revisions.List(ctx, ws, before, revisionsRead+1)
	if err != nil {
		return nil, err
	}
	out := api.RevisionList{Items: []api.Revision{}}
	at := func(r meta.Revision) (RevisionEntry, error) {
		e, err := g.cfg.Revisions.Stat(ctx, ws, r.Number, p)
		if holt.IsKind(err, holt.KindNotFound) {
			return RevisionEntry{}, nil
		}
		return e, err
	}
	var now RevisionEntry
	for i, r := range list {
		if i == 0 {
			if now, err = at(r); err != nil {
				return nil, err
			}
		}
		var was RevisionEntry
		if i+1 < len(list) {
			if was, err = at(list[i+1]); err != nil {
				return nil, err
			}
		} else if len(list) > revisionsRead {
			break // the one before is not in the page
		}
		if was != now {
			if len(out.Items) == limit {
				break
			}
			item := toRevision(r)
			item.Entry = toEntry(now)
			out.Items = append(out.Items, item)
		}
		now = was
		out.Next = r.Number
		if i+1 == len(list) {
			out.Next = 0
		}
	}
	return &answer[api.RevisionList]{out}, nil
}

func (g *Gateway) revision(ctx context.Context, number int64) (meta.Revision, error) {
	if g.cfg.Revisions == nil {
		return meta.Revision{}, errNoRevisions
	}
	r, err := g.cfg.Revisions.Get(ctx, target(ctx).ID, number)
	if holt.IsKind(err, holt.KindNotFound) && number == 0 {
		return r, holt.Errorf(holt.KindNotFound, "%s has no revision yet", target(ctx).Name)
	}
	return r, err
}

func (g *Gateway) getRevision(ctx context.Context, in *Numbered) (*answer[api.Revision], error) {
	r, err := g.revision(ctx, in.Revision)
	if err != nil {
		return nil, err
	}
	return &answer[api.Revision]{toRevision(r)}, nil
}

func (g *Gateway) listRevision(ctx context.Context, in *struct {
	Numbered
	AtPath
}) (*answer[api.RevisionEntryList], error) {
	r, err := g.revision(ctx, in.Revision)
	if err != nil {
		return nil, err
	}
	p, err := inVolume(in.Path)
	if err != nil {
		return nil, err
	}
	list, err := g.cfg.Revisions.Files(ctx, r.Workspace, r.Number, p)
	if err != nil {
		return nil, err
	}
	out := api.RevisionEntryList{Items: make([]api.RevisionEntry, 0, len(list))}
	for _, e := range list {
		out.Items = append(out.Items, *toEntry(e))
	}
	return &answer[api.RevisionEntryList]{out}, nil
}

// readRevision answers with the bytes of a guest's file, never as something that a
// browser would show or run.
func (g *Gateway) readRevision(ctx context.Context, in *struct {
	Numbered
	AtPath
}) (*huma.StreamResponse, error) {
	r, err := g.revision(ctx, in.Revision)
	if err != nil {
		return nil, err
	}
	p, err := inVolume(in.Path)
	if err != nil {
		return nil, err
	}
	body, e, err := g.cfg.Revisions.Read(ctx, r.Workspace, r.Number, p)
	if err != nil {
		return nil, err
	}
	extendWrite(ctx, longestWait)
	return &huma.StreamResponse{Body: func(hctx huma.Context) {
		defer body.Close()
		_, w := humago.Unwrap(hctx)
		h := w.Header()
		h.Set("Content-Type", "application/octet-stream")
		h.Set("Content-Length", fmt.Sprint(e.Size))
		h.Set("Content-Disposition", "attachment")
		h.Set("X-Content-Type-Options", "nosniff")
		h.Set("Content-Security-Policy", "sandbox; default-src 'none'")
		if _, err := io.Copy(w, body); err != nil {
			g.log.Warn("send a file of a revision", "workspace", r.Workspace, "revision", r.Number, "err", err)
			panic(http.ErrAbortHandler) // the reader must not take it for the whole
		}
	}}, nil
}

var errEnough = errors.New("enough")

func (g *Gateway) diffRevisions(ctx context.Context, in *struct {
	Numbered
	AtPath
	From int64 `query:"from" minimum:"0" doc:"The revision to compare with; 0: the one before"`
}) (*answer[api.RevisionDiff], error) {
	to, err := g.revision(ctx, in.Revision)
	if err != nil {
		return nil, err
	}
	p, err := inVolume(in.Path)
	if err != nil {
		return nil, err
	}
	from := in.From
	if from == 0 {
		before, err := g.cfg.Revisions.List(ctx, to.Workspace, to.Number, 1)
		if err != nil {
			return nil, err
		}
		if len(before) > 0 {
			from = before[0].Number
		}
	}
	out := api.RevisionDiff{From: from, To: to.Number, Items: []api.RevisionChange{}}
	err = g.cfg.Revisions.Diff(ctx, to.Workspace, from, to.Number, p, func(c RevisionChange) error {
		if len(out.Items) == changesShown {
			out.More = true
			return errEnough
		}
		out.Items = append(out.Items, api.RevisionChange{Path: inWorkspace(c.Path), Kind: c.Kind, Before: toEntry(c.Before), After: toEntry(c.After)})
		return nil
	})
	if err != nil && !errors.Is(err, errEnough) {
		return nil, err
	}
	return &answer[api.RevisionDiff]{out}, nil
}

func (g *Gateway) nameRevision(ctx context.Context, in *struct {
	Numbered
	Body api.NameRevision
}) (*answer[api.Revision], error) {
	r, err := g.revision(ctx, in.Revision)
	if err != nil {
		return nil, err
	}
	note(ctx, "", "", fmt.Sprintf("revision %d as %s", r.Number, in.Body.Name))
	if err := g.cfg.Revisions.Name(ctx, r.Workspace, r.Number, in.Body.Name); err != nil {
		return nil, err
	}
	r.Name = in.Body.Name
	return &answer[api.Revision]{toRevision(r)}, nil
}

func (g *Gateway) restoreRevision(ctx context.Context, in *struct {
	Named
	Body api.RestoreRevision
}) (*answer[api.RestoredRevision], error) {
	r, err := g.revision(ctx, in.Body.Revision)
	if err != nil {
		return nil, err
	}
	var paths []string
	for _, p := range in.Body.Paths {
		v, err := inVolume(p)
		if err != nil {
			return nil, err
		}
		if v == "" {
			paths = nil
			break
		}
		paths = append(paths, v)
	}
	note(ctx, "", "", fmt.Sprintf("revision %d %s", r.Number, strings.Join(in.Body.Paths[:min(len(in.Body.Paths), 3)], " ")))
	extendWrite(ctx, longestWait)
	done, err := g.cfg.Workspaces.Restore(ctx, string(r.Workspace), r.Number, paths, in.Body.Exact)
	if err != nil {
		return nil, err
	}
	return &answer[api.RestoredRevision]{api.RestoredRevision{Before: done.Before, Files: done.Files, Same: done.Same, Removed: done.Removed, Bytes: done.Bytes}}, nil
}
