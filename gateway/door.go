package gateway

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"math"
	"net"
	"net/http"
	"regexp"
	"runtime/debug"
	"strconv"
	"strings"
	"time"

	"github.com/holt-ide/holt"
	"github.com/holt-ide/holt/api"
)

type ctxKey int

const (
	keyRequestID ctxKey = iota
	keyAccess
	keyRecord
)

var requestIDRE = regexp.MustCompile(`^[A-Za-z0-9._-]{1,64}$`)

// pageCSP lets our pages run our own scripts and nothing else. Compiling
// WebAssembly is allowed, which is no way to make a script of a string: the
// workbench's regular expressions are such a module.
const pageCSP = "default-src 'none'; script-src 'self' 'wasm-unsafe-eval'; worker-src 'self' blob:; style-src 'self' 'unsafe-inline'; " +
	"img-src 'self' data: blob:; media-src 'self' data:; font-src 'self'; " +
	"connect-src 'self'; manifest-src 'self'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'"

// ServeHTTP names the request, logs it, catches panics, and sends it to the
// forwarded ports or to our own routes.
func (g *Gateway) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	start := time.Now()
	id := r.Header.Get(api.HeaderRequestID)
	if !requestIDRE.MatchString(id) {
		id = holt.NewID()
	}
	rec := &record{ResponseWriter: w, address: g.address(r)}
	ctx := context.WithValue(r.Context(), keyRequestID, id)
	r = r.WithContext(context.WithValue(ctx, keyRecord, rec))
	defer func() {
		p := recover()
		if p == http.ErrAbortHandler { //nolint:errorlint // net/http compares it like this too
			panic(p)
		}
		if p != nil {
			g.log.Error("request panicked", "request_id", id, "panic", p, "stack", string(debug.Stack()))
			if rec.status == 0 {
				writeProblem(rec, r, holt.Errorf(holt.KindInternal, ""))
			}
		}
		g.log.LogAttrs(context.WithoutCancel(ctx), logLevel(rec.status), "request", slog.String("request_id", id), slog.String("method", r.Method),
			slog.String("host", r.Host), slog.String("path", r.URL.Path), slog.Int("status", rec.status),
			slog.Duration("took", time.Since(start)), slog.String("token", rec.token), slog.Any("cause", rec.cause))
	}()
	w.Header().Set(api.HeaderRequestID, id)
	if g.ports.Match(r.Host) {
		g.ports.ServeHTTP(rec, r)
		return
	}
	h := w.Header()
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Referrer-Policy", "same-origin") // no-referrer would blank the Origin header too
	h.Set("X-Frame-Options", "DENY")
	h.Set("Cross-Origin-Resource-Policy", "same-origin")
	h.Set("Cross-Origin-Opener-Policy", "same-origin")
	h.Set("Content-Security-Policy", "default-src 'none'; frame-ancestors 'none'")
	h.Set("Permissions-Policy", "camera=(), geolocation=(), microphone=(), payment=(), usb=()")
	h.Set("Cache-Control", "no-store")
	if g.public.Scheme == "https" {
		h.Set("Strict-Transport-Security", "max-age=31536000")
	}
	g.mux.ServeHTTP(rec, r)
}

func logLevel(status int) slog.Level {
	if status >= 500 {
		return slog.LevelWarn
	}
	return slog.LevelDebug
}

// page serves the files of the web front end.
func (g *Gateway) page(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Content-Security-Policy", pageCSP)
	w.Header().Del("Cache-Control") // the handler decides
	g.cfg.Web.ServeHTTP(w, r)
}

func (g *Gateway) health(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("Content-Type", "application/json")
	_, _ = w.Write([]byte(`{"status":"ok"}` + "\n")) // the asker is gone otherwise
}

func (g *Gateway) noRoute(w http.ResponseWriter, r *http.Request) {
	writeProblem(w, r, holt.Errorf(holt.KindNotFound, "there is no route %s %s: see %s/openapi.json", r.Method, r.URL.Path, api.Prefix))
}

// writeProblem answers with the problem that err becomes, and keeps its cause
// for the log.
func writeProblem(w http.ResponseWriter, r *http.Request, err error) {
	p := problemOf(r.Context(), err)
	h := w.Header()
	h.Set("Content-Type", api.ProblemType)
	h.Del("Content-Length")
	if p.Status == http.StatusUnauthorized {
		h.Set("WWW-Authenticate", `Bearer realm="holt"`)
	}
	if holt.Kind(p.Kind).Retryable() {
		h.Set("Retry-After", retryAfter(err))
	}
	w.WriteHeader(p.Status)
	_ = json.NewEncoder(w).Encode(p) // the asker is gone otherwise
}

// retryAfter returns after how many seconds it makes sense to try again.
func retryAfter(err error) string {
	if e, ok := errors.AsType[interface {
		error
		RetryAfter() time.Duration
	}](err); ok {
		return strconv.Itoa(int(math.Ceil(e.RetryAfter().Seconds())))
	}
	return "1"
}

// problemOf returns the problem of err with the request's ID.
func problemOf(ctx context.Context, err error) *api.Problem {
	if rec, ok := ctx.Value(keyRecord).(*record); ok {
		rec.cause = err
	}
	if errors.Is(err, context.DeadlineExceeded) && holt.KindOf(err) == holt.KindInternal {
		err = holt.Wrap(holt.KindTimeout, err, "this took longer than allowed: try again")
	}
	p, ok := errors.AsType[*api.Problem](err)
	if !ok {
		p = api.NewProblem(err)
	}
	p.RequestID, _ = ctx.Value(keyRequestID).(string)
	return p
}

// record remembers the answer's status for the log.
type record struct {
	http.ResponseWriter
	status int
	token  string // ID of the token, once known
	cause  error

	address               string // where the request came from
	target, label, detail string // for the audit log, see note
}

func (r *record) WriteHeader(status int) {
	if r.status < 200 {
		r.status = status
	}
	r.ResponseWriter.WriteHeader(status)
}

func (r *record) Write(b []byte) (int, error) {
	if r.status < 200 {
		r.status = http.StatusOK
	}
	return r.ResponseWriter.Write(b)
}

// Unwrap lets [http.ResponseController] reach deadlines and flushing.
func (r *record) Unwrap() http.ResponseWriter { return r.ResponseWriter }

// Hijack takes the connection over, which the log shows as 101.
func (r *record) Hijack() (net.Conn, *bufio.ReadWriter, error) {
	r.status = http.StatusSwitchingProtocols
	return http.NewResponseController(r.ResponseWriter).Hijack()
}

func isUpgrade(r *http.Request, protocol string) bool {
	if !strings.EqualFold(r.Header.Get("Upgrade"), protocol) {
		return false
	}
	for _, v := range r.Header.Values("Connection") {
		for token := range strings.SplitSeq(v, ",") {
			if strings.EqualFold(strings.TrimSpace(token), "upgrade") {
				return true
			}
		}
	}
	return false
}
