package gateway

import (
	"context"
	"errors"
	"net"
	"net/http"
	"net/netip"
	"strconv"
	"strings"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"github.com/holt-ide/holt"
	"github.com/holt-ide/holt/api"
	"github.com/holt-ide/holt/auth"
	"github.com/holt-ide/holt/meta"
)

// note tells what the request that is being handled is about, for its line in the
// audit log. Empty texts leave what is known.
func note(ctx context.Context, target, label, detail string) {
	rec, ok := ctx.Value(keyRecord).(*record)
	if !ok {
		return
	}
	for _, f := range []struct {
		to   *string
		text string
	}{{&rec.target, target}, {&rec.label, label}, {&rec.detail, detail}} {
		if f.text != "" {
			*f.to = f.text
		}
	}
}

// log writes the line of a request that somebody made. What went wrong is in
// the request's record.
func (g *Gateway) audit(r *http.Request, id auth.Identity, action string) {
	rec, ok := r.Context().Value(keyRecord).(*record)
	if !ok {
		return
	}
	e := meta.AuditEntry{
		Actor: id.User, ActorName: id.Name, Token: id.TokenID, Action: action, Target: rec.target, Label: rec.label, Address: g.address(r),
		Outcome: meta.OutcomeDone, Detail: rec.detail,
	}
	e.Request, _ = r.Context().Value(keyRequestID).(string)
	if rec.cause != nil {
		e.Outcome = outcome(rec.cause)
		e.Detail = api.NewProblem(rec.cause).Detail
	}
	// It happened, whether its sender still listens or not.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(r.Context()), 5*time.Second)
	defer cancel()
	if err := g.cfg.Audit.Append(ctx, e); err != nil {
		g.log.Error("write audit log", "action", action, "user", id.User, "target", rec.target, "outcome", e.Outcome, "err", err)
	}
}

func outcome(err error) meta.Outcome {
	if u := (*unseen)(nil); errors.As(err, &u) {
		return meta.OutcomeRefused
	}
	switch holt.KindOf(err) {
	case holt.KindForbidden, holt.KindUnauthorized, holt.KindLimit:
		return meta.OutcomeRefused
	}
	return meta.OutcomeFailed
}

// address returns where a request came from: what the proxies in front that are
// trusted say, and otherwise the other end of the connection.
func (g *Gateway) address(r *http.Request) string {
	host, _, err := net.SplitHostPort(r.RemoteAddr)
	if err != nil {
		host = r.RemoteAddr
	}
	hops := strings.Split(strings.Join(r.Header.Values("X-Forwarded-For"), ","), ",")
	for i := len(hops) - 1; i >= 0 && g.trusted(host); i-- {
		hop, err := netip.ParseAddr(strings.TrimSpace(hops[i]))
		if err != nil {
			break
		}
		host = hop.Unmap().String()
	}
	return host
}

func (g *Gateway) trusted(host string) bool {
	a, err := netip.ParseAddr(host)
	if err != nil {
		return false
	}
	for _, p := range g.cfg.TrustedProxies {
		if p.Contains(a.Unmap()) {
			return true
		}
	}
	return false
}

func (g *Gateway) registerAudit(rest *rest) {
	op(rest, "GET", "/audit", "list-audit", "List who did what, newest first", g.listAudit)
}

func (g *Gateway) listAudit(ctx context.Context, in *struct {
	Cursor    string `query:"cursor" doc:"As returned with the page before"`
	Limit     int    `query:"limit" minimum:"0" maximum:"1000" doc:"Most items; absent: 100"`
	User      string `query:"user" doc:"Only what this user did, by name or ID"`
	Action    string `query:"action" doc:"Only this action" maxLength:"64"`
	Workspace string `query:"workspace" doc:"Only what was done to this workspace, by name or ID"`
}) (*answer[api.AuditLog], error) {
	p := meta.AuditPage{Limit: in.Limit, Action: in.Action}
	if p.Limit == 0 {
		p.Limit = meta.DefaultPage
	}
	if in.Cursor != "" {
		n, err := strconv.ParseInt(in.Cursor, 10, 64)
		if err != nil || n < 1 {
			return nil, holt.Invalid("cursor", "this cursor is not one that a list returned: start without a cursor")
		}
		p.Before = n
	}
	if in.User != "" {
		p.Actor = holt.UserID(in.User) // of somebody who was removed only the ID is left
		if u, err := g.cfg.Auth.User(ctx, in.User); err == nil {
			p.Actor = u.ID
		}
	}
	if in.Workspace != "" {
		p.Target = in.Workspace
		if w, err := g.cfg.Workspaces.Get(ctx, in.Workspace); err == nil {
			p.Target = string(w.ID)
		}
	}
	list, err := g.cfg.Audit.List(ctx, p)
	if err != nil {
		return nil, err
	}
	out := api.AuditLog{Items: make([]api.AuditEntry, 0, len(list))}
	for _, e := range list {
		out.Items = append(out.Items, toAudit(e))
	}
	if len(list) == p.Limit && len(list) > 0 && list[len(list)-1].Seq > 1 {
		out.Next = strconv.FormatInt(list[len(list)-1].Seq, 10)
	}
	return &answer[api.AuditLog]{out}, nil
}

// changes reports whether an operation may change something.
func changes(o *huma.Operation) bool { return o.Method != http.MethodGet }
