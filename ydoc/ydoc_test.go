package ydoc

import (
	"bytes"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"math/rand/v2"
	"strings"
	"testing"
)

// fromYjs is the full state of a document that Yjs 13.6.33 wrote: text, a map with
// a replaced value, a nested type and a subdocument, an array of all sorts,
// formats, an embedded value, XML with a deleted element. withZZ is the same after
// another client has typed.
const (
	fromYjs = "ARYFAAQBBHRleHQBaIEFAAKEBQICbG+EBQQMIPCfmIAgd8O2cmxkxAUEBQUBWCEBA21hcAFrAagFDwF9AicBA21hcAFtASgABREBYQF3AWIpAQNtYXADc3ViAWd2AAgBBWFycmF5Bn0Bfnh8P8AAAHcBeHYBAWF1AX+DBRkCAQKHBRoCBAAFGwJpbgYBBHJpY2gEYm9sZAR0cnVlhAUeBGJvbGSGBSIEYm9sZARudWxsRQUeCXsiaW1nIjoxfQcBA3htbAMBcAcABSUGBAAFJgF0QQUlAQEFAwECDwEoAQ=="
	withZZ  = "AgEHAMQFDgUFAnp6FgUABAEEdGV4dAFogQUAAoQFAgJsb4QFBAwg8J+YgCB3w7ZybGTEBQQFBQFYIQEDbWFwAWsBqAUPAX0CJwEDbWFwAW0BKAAFEQFhAXcBYikBA21hcANzdWIBZ3YACAEFYXJyYXkGfQF+eHw/wAAAdwF4dgEBYXUBf4MFGQIBAocFGgIEAAUbAmluBgEEcmljaARib2xkBHRydWWEBR4EYm9sZIYFIgRib2xkBG51bGxFBR4JeyJpbWciOjF9BwEDeG1sAwFwBwAFJQYEAAUmAXRBBSUBAQUDAQIPASgB"
)

func unbase64(t testing.TB, s string) []byte {
	t.Helper()
	b, err := base64.StdEncoding.DecodeString(s)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func apply(t testing.TB, d *Doc, update []byte) {
	t.Helper()
	if err := d.Apply(update); err != nil {
		t.Fatalf("apply %x: %v", update, err)
	}
	check(t, d)
}

func load(t testing.TB, update []byte) *Doc {
	t.Helper()
	d := New(Options{})
	apply(t, d, update)
	return d
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func TestStateOfYjsIsEncodedUnchanged(t *testing.T) {
	for _, s := range []string{fromYjs, withZZ} {
		raw := unbase64(t, s)
		d := load(t, raw)
		if got := d.Encode(); !bytes.Equal(got, raw) {
			t.Errorf("got  %x\nwant %x", got, raw)
		}
		if d.Pending() {
			t.Error("something is pending")
		}
	}
	d := load(t, unbase64(t, fromYjs))
	if got, want := d.Text("text").String(), "hloX 😀 wörld"; got != want {
		t.Errorf("text is %q, not %q", got, want)
	}
	if got := d.Text("text").Len(); got != 13 {
		t.Errorf("length is %d, not 13", got)
	}
	if got := d.Text("rich").String(); got != "bold" {
		t.Errorf("rich text is %q", got)
	}
}

func TestDiffIsWhatLacks(t *testing.T) {
	d := load(t, unbase64(t, withZZ))
	old := load(t, unbase64(t, fromYjs))
	diff := d.Diff(old.StateVector())
	if want := unbase64(t, withZZ)[:12]; len(diff) > 24 || !bytes.Contains(diff, want[4:]) {
		t.Errorf("diff is %x", diff)
	}
	apply(t, old, diff)
	same(t, d, old)
}

func TestPositionsAreThoseOfYjs(t *testing.T) {
	d := load(t, unbase64(t, fromYjs))
	text := d.Text("text")
	for _, c := range []struct {
		at, assoc int
		want      string
	}{{4, -1, "00050e41"}, {4, 0, "00050500"}, {text.Len(), 0, "01047465787400"}} {
		p, err := text.Position(c.at, c.assoc)
		must(t, err)
		if got := hex.EncodeToString(p.Encode()); got != c.want {
			t.Errorf("position at %d, %d is %s, not %s", c.at, c.assoc, got, c.want)
		}
		back, err := DecodePosition(p.Encode())
		must(t, err)
		if at, ok := text.Index(back); !ok || at != c.at {
			t.Errorf("position at %d, %d leads to %d, %v", c.at, c.assoc, at, ok)
		}
	}
	p, err := text.Position(4, 0)
	must(t, err)
	must(t, text.Insert(0, "😀"))
	if at, _ := text.Index(p); at != 6 {
		t.Errorf("after two units before it the position is %d, not 6", at)
	}
	must(t, text.Delete(5, 3))
	if at, _ := text.Index(p); at != 5 {
		t.Errorf("after its unit is gone the position is %d, not 5", at)
	}
	if _, ok := text.Index(Position{Item: &ID{99, 0}}); ok {
		t.Error("a unit that has not come has a position")
	}
	if _, err := text.Position(text.Len()+1, 0); !errors.Is(err, ErrRange) {
		t.Errorf("a position behind the end: %v", err)
	}
}

func TestEditsInsideASurrogatePair(t *testing.T) {
	for name, edit := range map[string]func(Text) error{
		"insert": func(x Text) error { return x.Insert(2, "-") },
		"delete": func(x Text) error { return x.Delete(2, 2) },
	} {
		t.Run(name, func(t *testing.T) {
			var updates [][]byte
			d := New(Options{OnUpdate: func(u []byte) { updates = append(updates, u) }})
			text := d.Text("t")
			must(t, text.Insert(0, "a😀b"))
			must(t, edit(text))
			check(t, d)
			want := map[string]string{"insert": "a\uFFFD-\uFFFDb", "delete": "a\uFFFD"}[name]
			if got := text.String(); got != want {
				t.Errorf("text is %q, not %q", got, want)
			}
			e := New(Options{})
			for _, u := range updates {
				apply(t, e, u)
			}
			same(t, d, e)
		})
	}
}

func TestTransactionIsOneUpdate(t *testing.T) {
	var updates [][]byte
	d := New(Options{OnUpdate: func(u []byte) { updates = append(updates, u) }})
	text := d.Text("t")
	d.Transact(func() {
		must(t, text.Insert(0, "hello"))
		must(t, text.Delete(1, 2))
		d.Transact(func() { must(t, text.Insert(1, "X")) })
	})
	if len(updates) != 1 {
		t.Fatalf("%d updates", len(updates))
	}
	same(t, d, load(t, updates[0]))
	d.Transact(func() {})
	must(t, d.Apply(updates[0]))
	if len(updates) != 1 {
		t.Errorf("nothing new made an update: %x", updates[1:])
	}
}

func TestWholeUpdateIsRelayedUnchanged(t *testing.T) {
	var relayed [][]byte
	d := New(Options{OnUpdate: func(u []byte) { relayed = append(relayed, u) }})
	src := New(Options{Client: 5})
	must(t, src.Text("text").Insert(0, "hello"))
	raw := src.Encode()
	apply(t, d, raw)
	if len(relayed) != 1 || &relayed[0][0] != &raw[0] {
		t.Errorf("relayed %x", relayed)
	}
	must(t, src.Text("text").Insert(5, "zz"))
	apply(t, d, src.Encode()) // of this, two letters are new
	if len(relayed) != 2 || bytes.Contains(relayed[1], []byte("hello")) {
		t.Errorf("relayed %x", relayed[1:])
	}
	must(t, src.Text("text").Delete(0, 2))
	apply(t, d, src.Encode())
	must(t, src.Text("text").Insert(5, "y"))
	apply(t, d, src.Encode()) // the deletion is known
	if len(relayed) != 4 || relayed[3][len(relayed[3])-1] != 0 {
		t.Errorf("relayed %x", relayed[3:])
	}
}

func TestUpdatesWaitForWhatTheyReferTo(t *testing.T) {
	var updates [][]byte
	d := New(Options{Client: 3, OnUpdate: func(u []byte) { updates = append(updates, u) }})
	text := d.Text("t")
	must(t, text.Insert(0, "abc"))
	must(t, text.Insert(1, "X"))
	must(t, text.Delete(0, 2))
	e := New(Options{})
	apply(t, e, updates[2])
	apply(t, e, updates[1])
	if !e.Pending() || e.Text("t").Len() != 0 {
		t.Fatalf("pending %v, text %q", e.Pending(), e.Text("t").String())
	}
	// What waits is part of the state, behind a skip.
	f := load(t, e.Encode())
	if !f.Pending() {
		t.Fatal("what waited is not in the state")
	}
	for _, x := range []*Doc{e, f} {
		apply(t, x, updates[0])
		if x.Pending() {
			t.Error("something waits still")
		}
		same(t, d, x)
	}
}

func TestClientIDThatAnotherUsesIsGivenUp(t *testing.T) {
	a, b := New(Options{Client: 7}), New(Options{Client: 7})
	must(t, a.Text("t").Insert(0, "a"))
	apply(t, b, a.Encode())
	if b.Client() == 7 {
		t.Error("both use one ID")
	}
}

func TestLimits(t *testing.T) {
	big := New(Options{Client: 1})
	must(t, big.Text("t").Insert(0, strings.Repeat("x", 1000)))
	for i := range 100 {
		must(t, big.Text("t").Insert(i*3, "y"))
	}
	state := big.Encode()
	for name, l := range map[string]Limits{
		"update":  {Update: 500},
		"content": {Content: 500},
		"structs": {Structs: 50},
	} {
		t.Run(name, func(t *testing.T) {
			d := New(Options{Limits: l})
			err := d.Apply(state)
			if limit := (*LimitError)(nil); !errors.Is(err, ErrLimit) || !errors.As(err, &limit) || limit.What == "" {
				t.Errorf("error is %v", err)
			}
			if d.Text("t").Len() != 0 {
				t.Error("a refused update changed the document")
			}
		})
	}
	t.Run("pending", func(t *testing.T) {
		var late [][]byte
		src := New(Options{Client: 9, OnUpdate: func(u []byte) { late = append(late, u) }})
		for i := range 20 {
			must(t, src.Text("t").Insert(0, string(rune('a'+i))))
		}
		d := New(Options{Limits: Limits{Pending: 5}})
		var err error
		for _, u := range late[1:] {
			err = errors.Join(err, d.Apply(u))
		}
		if !errors.Is(err, ErrLimit) {
			t.Errorf("error is %v", err)
		}
		check(t, d)
		apply(t, d, late[0])
		apply(t, d, src.Diff(d.StateVector()))
		same(t, src, d)
	})
	t.Run("local", func(t *testing.T) {
		d := New(Options{Limits: Limits{Content: 10}})
		if err := d.Text("t").Insert(0, "0123456789a"); !errors.Is(err, ErrLimit) {
			t.Errorf("error is %v", err)
		}
		if err := d.Text("t").Insert(1, "x"); !errors.Is(err, ErrRange) {
			t.Errorf("error is %v", err)
		}
		if err := d.Text("t").Delete(0, 1); !errors.Is(err, ErrRange) {
			t.Errorf("error is %v", err)
		}
	})
}

func TestMalformedUpdatesChangeNothing(t *testing.T) {
	raw := unbase64(t, fromYjs)
	d := load(t, unbase64(t, withZZ))
	want := d.Encode()
	for n := range raw {
		if err := d.Apply(raw[:n]); !errors.Is(err, ErrMalformed) {
			t.Fatalf("the first %d bytes: %v", n, err)
		}
	}
	for name, s := range map[string]string{
		"bytes after the end":        "0000" + "00",
		"an empty struct":            "01010500" + "0000" + "00",
		"two sections of one client": "02010500" + "0001" + "010501" + "0001" + "00",
		"a later origin of its own":  "01010500" + "840500" + "0161" + "00",
		"an unknown kind":            "01010500" + "0b" + "00",
		"an unknown type":            "01010500" + "07010161" + "09" + "00",
		"a string that is not UTF-8": "01010500" + "04010161" + "02c328" + "00",
		"a value that is not JSON":   "01010500" + "05010161" + "027b7b" + "00",
		"a clock above 32 bits":      "01010500" + "00ffffffff1f" + "00",
		"more structs than bytes":    "01ffffffffffff0f0500" + "00",
	} {
		b, err := hex.DecodeString(s)
		must(t, err)
		var format *FormatError
		if err := d.Apply(b); !errors.As(err, &format) || format.Reason == "" {
			t.Errorf("%s: %v", name, err)
		}
	}
	check(t, d)
	if !bytes.Equal(d.Encode(), want) {
		t.Error("the document has changed")
	}
}

func TestNestedTypesAreCollectedDeep(t *testing.T) {
	// Arrays in arrays, 50,000 deep: no recursion over them may be.
	const depth = 50_000
	u := []byte{1}
	b := block{client: 4, kind: kindType, length: 1, root: []byte("a"), data: []byte{0}}
	var structs []byte
	for i := range uint32(depth) {
		b.clock = i
		structs = b.append(structs)
		b.root, b.parent = nil, ID{4, uint64(i)}
	}
	u = appendID(u, ID{depth, 4}) // a count and a client
	u = append(append(u, 0), structs...)
	d := load(t, append(u, 0))
	apply(t, d, []byte{0, 1, 4, 1, 0, 1})
	if content, n := d.Size(); content != 0 || n != 2 {
		t.Errorf("%d bytes in %d structs are left", content, n)
	}
}

// TestReplicasConverge lets documents edit at random and exchange updates in any
// order, with losses and repeats, and compares them when they have synced.
func TestReplicasConverge(t *testing.T) {
	for seed := range uint64(60) {
		r := rand.New(rand.NewPCG(seed, 1))
		n := 2 + r.IntN(4)
		docs := make([]*Doc, n)
		inbox := make([][][]byte, n)
		for i := range docs {
			docs[i] = New(Options{Client: uint64(i + 1), KeepDeleted: seed%3 == 0, OnUpdate: func(u []byte) {
				for j := range inbox {
					if j != i && r.IntN(10) > 0 {
						inbox[j] = append(inbox[j], bytes.Clone(u))
					}
				}
			}})
		}
		for range 200 {
			i := r.IntN(n)
			text := docs[i].Text("t")
			switch at := r.IntN(text.Len() + 1); r.IntN(5) {
			case 0, 1:
				must(t, text.Insert(at, []string{"a", "bc", "😀", "a longer piece ", "é"}[r.IntN(5)]))
			case 2:
				must(t, text.Delete(at, r.IntN(min(text.Len()-at, 9)+1)))
			default:
				if len(inbox[i]) > 0 {
					k := r.IntN(len(inbox[i]))
					must(t, docs[i].Apply(inbox[i][k]))
					if r.IntN(4) > 0 {
						inbox[i] = append(inbox[i][:k], inbox[i][k+1:]...)
					}
				}
			}
			check(t, docs[i])
		}
		for _, d := range docs {
			for _, e := range docs {
				apply(t, d, e.Diff(d.StateVector()))
			}
		}
		for _, d := range docs {
			apply(t, d, docs[n-1].Diff(d.StateVector()))
			if d.Pending() {
				t.Fatalf("seed %d: something waits", seed)
			}
			same(t, docs[0], d)
			same(t, d, load(t, d.Encode()))
		}
	}
}

// TestIndexAgreesWithTheText compares edits by index with those of a plain slice,
// in a document large enough for several levels of the index.
func TestIndexAgreesWithTheText(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	d := New(Options{})
	text := d.Text("t")
	var plain []byte
	for i := range 12_000 {
		at := r.IntN(len(plain) + 1)
		if n := min(r.IntN(3), len(plain)-at); i%3 == 0 {
			must(t, text.Delete(at, n))
			plain = append(plain[:at:at], plain[at+n:]...)
		} else {
			c := byte('a' + i%26)
			must(t, text.Insert(at, string(c)))
			plain = append(plain[:at:at], append([]byte{c}, plain[at:]...)...)
		}
	}
	check(t, d)
	if text.String() != string(plain) {
		t.Fatal("the texts differ")
	}
	for at := range plain {
		p, err := text.Position(at, at%2-1)
		must(t, err)
		if got, ok := text.Index(p); !ok || got != at {
			t.Fatalf("position at %d leads to %d, %v", at, got, ok)
		}
	}
	same(t, d, load(t, d.Encode()))
}
