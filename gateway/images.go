package gateway

import (
	"context"
	"encoding/json"
	"net/http"
	"sync"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"github.com/danielgtaylor/huma/v2/adapters/humago"

	"github.com/holt-ide/holt"
	"github.com/holt-ide/holt/api"
)

func (g *Gateway) registerImages(rest *rest) {
	op(rest, "GET", "/images", "list-images", "List images", g.listImages)
	op(rest, "POST", "/images/build", "build-image", "Build an image from a recipe of the server", g.buildImage, progressStream(rest))
	op(rest, "POST", "/images/pull", "pull-image", "Fetch an image from a registry", g.pullImage, progressStream(rest))
	op(rest, "POST", "/images/load", "load-image", "Make an image from an archive", g.loadImage, progressStream(rest), archiveBody)
	op(rest, "DELETE", "/images", "remove-image", "Remove an image, or one of its names", g.removeImage)
}

// progressStream describes an answer that is a stream of [api.Progress].
func progressStream(rest *rest) func(*huma.Operation) {
	return func(o *huma.Operation) {
		o.Responses = map[string]*huma.Response{"200": {
			Description: "One JSON object a line: progress, and at last the image or a problem",
			Content:     map[string]*huma.MediaType{"application/x-ndjson": {Schema: schemaOf[api.Progress](rest)}},
		}}
	}
}

// archiveBody describes a request body that is an archive of an image.
func archiveBody(o *huma.Operation) {
	o.RequestBody = &huma.RequestBody{
		Description: "A tar archive with one image, plain or compressed: an OCI layout, or what docker save writes. At most " + holt.FormatSize(api.MaxImageArchive),
		Required:    true,
		Content:     map[string]*huma.MediaType{api.ArchiveType: {Schema: &huma.Schema{Type: huma.TypeString, Format: "binary"}}},
	}
}

func (g *Gateway) listImages(ctx context.Context, _ *struct{}) (*answer[api.ImageList], error) {
	all, err := g.cfg.Images.List(ctx)
	if err != nil {
		return nil, err
	}
	return &answer[api.ImageList]{api.ImageList{Items: append([]api.Image{}, all...)}}, nil
}

func (g *Gateway) buildImage(_ context.Context, in *struct{ Body api.BuildImage }) (*huma.StreamResponse, error) {
	return streamImage(func(ctx context.Context, progress func(api.Progress)) (api.Image, error) {
		return g.cfg.Images.Build(ctx, in.Body, progress)
	}), nil
}

func (g *Gateway) pullImage(_ context.Context, in *struct{ Body api.PullImage }) (*huma.StreamResponse, error) {
	if in.Body.Reference == "" {
		return nil, holt.Invalid("reference", "give the reference of an image, such as docker.io/library/debian:12")
	}
	return streamImage(func(ctx context.Context, progress func(api.Progress)) (api.Image, error) {
		return g.cfg.Images.Pull(ctx, in.Body, progress)
	}), nil
}

// loadImage answers while the archive still arrives, so that the sender learns
// at once what is wrong with it.
func (g *Gateway) loadImage(_ context.Context, in *struct {
	Name string `query:"name" required:"true" minLength:"1" maxLength:"255" doc:"Name of the image"`
}) (*huma.StreamResponse, error) {
	return &huma.StreamResponse{Body: func(hctx huma.Context) {
		r, w := humago.Unwrap(hctx)
		up := newUpload(w, r)
		defer up.drain()
		streamImage(func(ctx context.Context, progress func(api.Progress)) (api.Image, error) {
			if err := up.await(); err != nil {
				return api.Image{}, err
			}
			return g.cfg.Images.Load(ctx, in.Name, up, max(r.ContentLength, 0), progress)
		}).Body(hctx)
	}}, nil
}

// removeImage takes the reference as a parameter, since it may hold slashes.
func (g *Gateway) removeImage(ctx context.Context, in *struct {
	Ref string `query:"ref" required:"true" minLength:"1" doc:"Name or ID of the image"`
}) (*struct{}, error) {
	return nil, g.cfg.Images.Remove(ctx, in.Ref)
}

// streamImage answers with the progress of work, and ends work when the client
// goes away or stops to read.
func streamImage(work func(context.Context, func(api.Progress)) (api.Image, error)) *huma.StreamResponse {
	return &huma.StreamResponse{Body: func(hctx huma.Context) {
		r, w := humago.Unwrap(hctx)
		ctx, cancel := context.WithCancel(r.Context())
		defer cancel()
		w.Header().Set("Content-Type", "application/x-ndjson")
		s := &lineWriter{w: w, rc: http.NewResponseController(w), cancel: cancel}
		img, err := work(ctx, s.progress)
		if err != nil {
			s.last(api.Progress{Problem: problemOf(ctx, err)})
			return
		}
		s.last(api.Progress{Image: &img})
	}}
}

// lineWriter sends lines of progress, at most ten a second of one phase.
type lineWriter struct {
	w      http.ResponseWriter
	rc     *http.ResponseController
	cancel context.CancelFunc

	mu    sync.Mutex
	sent  time.Time
	phase string
}

func (s *lineWriter) progress(p api.Progress) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if p.Phase == s.phase && time.Since(s.sent) < 100*time.Millisecond && p.Text == "" {
		return
	}
	s.phase, s.sent = p.Phase, time.Now()
	p.Image, p.Problem = nil, nil
	s.send(p)
}

func (s *lineWriter) last(p api.Progress) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.send(p)
}

func (s *lineWriter) send(p api.Progress) {
	_ = s.rc.SetWriteDeadline(time.Now().Add(writeTime)) // a writer without deadlines is a test's
	if err := json.NewEncoder(s.w).Encode(p); err != nil {
		s.cancel()
		return
	}
	if err := s.rc.Flush(); err != nil {
		s.cancel()
	}
}
