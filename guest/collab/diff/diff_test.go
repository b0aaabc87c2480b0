package diff

import (
	"math/rand/v2"
	"strings"
	"testing"
	"unicode/utf8"
)

func TestBetweenIsSmall(t *testing.T) {
	code := "func a() {\n\treturn 1\n}\n\nfunc b() {\n\treturn 2\n}\n"
	for name, c := range map[string]struct {
		old, new string
		size     int
	}{
		"nothing":          {code, code, 0},
		"a word":           {code, strings.Replace(code, "return 2", "return 22", 1), 1},
		"two places":       {code, strings.ReplaceAll(code, "return", "yield"), 22},
		"a line moved in":  {code, strings.Replace(code, "\n\n", "\n\n// b is new\n", 1), 12},
		"indentation":      {code, strings.ReplaceAll(code, "\t", "    "), 10},
		"all at once":      {"abc", "xyz", 6},
		"a character only": {"a😀b", "a😁b", 8},
		"to nothing":       {"abc\n", "", 4},
	} {
		edits := Between(c.old, c.new)
		if got := Apply(c.old, edits); got != c.new {
			t.Errorf("%s: makes %q, not %q: %v", name, got, c.new, edits)
		}
		if got := Size(edits); got != c.size {
			t.Errorf("%s: %d bytes, not %d: %v", name, got, c.size, edits)
		}
	}
}

func TestLargeTextsAreCompared(t *testing.T) {
	line := func(i int) string { return strings.Repeat(string(rune('a'+i%26)), i%40) + "\n" }
	var old, new strings.Builder
	for i := range 40_000 {
		old.WriteString(line(i))
		new.WriteString("  " + line(i))
	}
	edits := Between(old.String(), new.String())
	if Apply(old.String(), edits) != new.String() {
		t.Fatal("the edits make another text")
	}
	if size := Size(edits); size > 200_000 {
		t.Errorf("two spaces on 40,000 lines are %d bytes of edits", size)
	}
}

// alter changes a text in a few places, and says where.
func alter(r *rand.Rand, text string) string {
	runes := []rune(text)
	for range 1 + r.IntN(4) {
		at := r.IntN(len(runes) + 1)
		del := min(r.IntN(6), len(runes)-at)
		ins := []rune([]string{"", "x", "né\n", "😀", "\n"}[r.IntN(5)])
		runes = append(runes[:at:at], append(ins, runes[at+del:]...)...)
	}
	return string(runes)
}

func valid(t *testing.T, text string, edits []Edit) {
	t.Helper()
	at := 0
	for _, e := range edits {
		if e.At < at || e.Delete < 0 || e.At+e.Delete > len(text) {
			t.Fatalf("edits out of order or range: %v", edits)
		}
		at = e.At + e.Delete
		for _, i := range []int{e.At, at} {
			if i < len(text) && !utf8.RuneStart(text[i]) {
				t.Fatalf("an edit inside a character: %v", e)
			}
		}
	}
}

func TestRandomEdits(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 1))
	base := "one\ntwo\n😀 three\nfour\n\n\nfive é five\none\ntwo\nsix\n"
	for range 5000 {
		theirs, ours := alter(r, base), alter(r, base)
		a, b := Between(base, theirs), Between(base, ours)
		valid(t, base, a)
		if Apply(base, a) != theirs {
			t.Fatalf("%v do not make %q", a, theirs)
		}
		moved := Rebase(a, b)
		valid(t, ours, moved)
		merged := Apply(ours, moved)
		// What either side inserted is there: no fewer of each inserted character.
		for _, x := range []string{"x", "né"} {
			inserted := func(edits []Edit) (n int) {
				for _, e := range edits {
					n += strings.Count(e.Insert, x)
				}
				return n
			}
			if got, want := strings.Count(merged, x), inserted(a)+inserted(b); got < want {
				t.Fatalf("%q of %q and %q has %d of %q, not %d", merged, theirs, ours, got, x, want)
			}
		}
		if got := Apply(theirs, Rebase(nil, a)); got != theirs {
			t.Fatalf("no edits made %q of %q", got, theirs)
		}
		if got := Apply(base, Rebase(a, nil)); got != theirs {
			t.Fatalf("rebased on nothing %v make %q", a, got)
		}
	}
}

func TestRebaseKeepsBothSides(t *testing.T) {
	base := "alpha\nbeta\ngamma\n"
	ours := "alpha!\nbeta\ngamma\nnew\n"
	theirs := "alpha\ngamma\n"
	merged := Apply(ours, Rebase(Between(base, theirs), Between(base, ours)))
	if want := "alpha!\ngamma\nnew\n"; merged != want {
		t.Errorf("merged %q, want %q", merged, want)
	}
	// Text that we typed inside of what they delete stays.
	ours = "alpha\nbeXta\ngamma\n"
	merged = Apply(ours, Rebase(Between(base, theirs), Between(base, ours)))
	if want := "alpha\nXgamma\n"; merged != want {
		t.Errorf("merged %q, want %q", merged, want)
	}
}
