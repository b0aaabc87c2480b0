// Package difftest compares package ydoc with Yjs itself: real Yjs clients, in a
// node process, edit through a server that is a [ydoc.Doc], and again through one
// that is a Yjs document, which is the control. Afterwards text, state vectors and
// delete sets must be equal everywhere, and our full state must load in Yjs.
//
// A scenario is a list of operations made from a seed. Operations name places and
// messages by large numbers that are reduced where they are carried out, so that
// any part of a scenario is a scenario, and one that fails can be shrunk.
//
// Only tests import it. The JavaScript packages are pinned by package-lock.json and
// installed by scripts/npm-cache.
package difftest

import (
	"math/rand/v2"
	"slices"
)

// Op is one operation; what it means is in peer.mjs.
type Op struct {
	Kind   string `json:"k"` // edit, other, undo, redo, up, down, off, on, restart, outside
	Client int    `json:"c"`
	Place  uint32 `json:"p"` // of the edit, or which message
	N      int    `json:"n"` // units deleted, or 1: the message comes again later
	Text   string `json:"s,omitempty"`
}

// Scenario is what clients and the network do.
type Scenario struct {
	Profile string `json:"profile"`
	Seed    uint64 `json:"seed"`
	Clients int    `json:"clients"`
	Undo    bool   `json:"undo"` // clients have an undo manager
	Keep    bool   `json:"keep"` // nobody collects deleted content
	Ops     []Op   `json:"ops"`
}

// profile says what happens in scenarios of a name.
type profile struct {
	unicode, undo, offline, reorder, keep, restart, outside, other bool
}

// profiles by name; Profiles has their order.
var profiles = map[string]profile{
	"ascii":   {},
	"unicode": {unicode: true},
	"undo":    {undo: true, unicode: true},
	"offline": {offline: true},
	"reorder": {reorder: true},
	"nogc":    {keep: true, unicode: true, undo: true},
	"restart": {restart: true, reorder: true},
	"outside": {outside: true, unicode: true},
	"types":   {other: true, restart: true},
	"all":     {unicode: true, undo: true, offline: true, reorder: true, restart: true, outside: true},
	"wild":    {unicode: true, undo: true, offline: true, reorder: true, restart: true, outside: true, other: true},
}

// Profiles are the names of the kinds of scenario.
func Profiles() []string {
	return []string{"ascii", "unicode", "undo", "offline", "reorder", "nogc", "restart", "outside", "types", "all", "wild"}
}

var (
	ascii   = []string{"a", "b", "xy", "hello ", "\n", "func f() {\n\treturn\n}\n", "0123456789abcdef"}
	unicode = []string{"é", "日本", "😀", "a😀b", "👩‍👩‍👧", "\u202e", "e\u0301", "𝔘𝔫𝔦", "\ufeff", "🇩🇪🇫🇷"}
)

// Generate makes the scenario of a profile and a seed.
func Generate(name string, seed uint64) Scenario {
	p := profiles[name]
	r := rand.New(rand.NewPCG(seed, uint64(slices.Index(Profiles(), name))))
	s := Scenario{Profile: name, Seed: seed, Clients: 2 + min(r.IntN(5), r.IntN(5)), Undo: p.undo, Keep: p.keep}
	for range 8 + r.IntN(40) {
		s.Ops = append(s.Ops, p.op(r)...)
	}
	return s
}

func (p profile) op(r *rand.Rand) []Op {
	o := Op{Client: r.IntN(6), Place: r.Uint32()}
	switch n := r.IntN(100); {
	case n < 3 && p.offline:
		o.Kind = "off"
	case n < 7 && p.offline:
		o.Kind = "on"
	case n < 9 && p.restart:
		o.Kind = "restart"
	case n < 13 && p.outside:
		o.Kind, o.N, o.Text = "outside", p.length(r), p.text(r)
	case n < 22 && p.undo:
		o.Kind = []string{"undo", "undo", "redo"}[r.IntN(3)]
	case n < 40 && p.other:
		o.Kind, o.N, o.Text = "other", r.IntN(10), p.text(r)
	case n < 62:
		return p.edits(r, o)
	case n < 80:
		p.message(r, &o, "up")
	default:
		p.message(r, &o, "down")
	}
	return []Op{o}
}

// edits is one edit, or the keystrokes of somebody typing.
func (p profile) edits(r *rand.Rand, o Op) []Op {
	o.Kind = "edit"
	o.N, o.Text = p.length(r), p.text(r)
	if o.N > 0 && r.IntN(2) == 0 {
		o.Text = ""
	}
	ops := []Op{o}
	if r.IntN(4) == 0 {
		at := r.Uint32N(64)
		for i := range uint32(1 + r.IntN(6)) {
			ops = append(ops, Op{Kind: "edit", Client: o.Client, Place: at + i, Text: "t"})
		}
	}
	return ops
}

func (p profile) length(r *rand.Rand) int {
	if r.IntN(2) == 0 {
		return 0
	}
	return 1 + r.IntN(8)
}

func (p profile) text(r *rand.Rand) string {
	if p.unicode && r.IntN(2) == 0 {
		return unicode[r.IntN(len(unicode))]
	}
	return ascii[r.IntN(len(ascii))]
}

// message picks the oldest message, or with reorder any, which may come twice.
func (p profile) message(r *rand.Rand, o *Op, kind string) {
	o.Kind = kind
	if !p.reorder {
		o.Place = 0
	} else if r.IntN(5) == 0 {
		o.N = 1
	}
}
