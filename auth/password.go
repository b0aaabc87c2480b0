package auth

import (
	"context"
	"crypto/rand"
	"crypto/subtle"
	"encoding/base64"
	"fmt"
	"runtime"
	"strings"
	"time"
	"unicode/utf8"

	"golang.org/x/crypto/argon2"

	"github.com/holt-ide/holt"
)

// Cost says how much work one password hash is: the parameters of Argon2id
// (RFC 9106). They are stored with each hash, and a hash with others than the
// present ones is made anew at the next login.
type Cost struct {
	Memory  uint32 // in KiB
	Passes  uint32
	Threads uint8
}

// DefaultCost is the memory that RFC 9106 recommends for servers with little of it,
// with one pass and one thread: what one login costs is in decision 0011.
var DefaultCost = Cost{Memory: 64 << 10, Passes: 1, Threads: 1}

const (
	saltLength = 16
	keyLength  = 32

	// MinPassword and MaxPassword bound a password, in characters and in bytes.
	MinPassword = 10
	MaxPassword = 512

	// hashPatience is how long a login waits for its turn to be computed.
	hashPatience = 15 * time.Second
)

// hasher computes password hashes, few at a time.
type hasher struct {
	cost  Cost
	turns chan struct{}
	dummy string // stands for the hash of users who do not exist
}

func newHasher(c Cost) *hasher {
	if c == (Cost{}) {
		c = DefaultCost
	}
	// More than there are cores would not be faster, and each takes its memory.
	h := &hasher{cost: c, turns: make(chan struct{}, max(1, min(4, runtime.NumCPU())))}
	h.dummy = h.encode(make([]byte, saltLength), make([]byte, keyLength))
	return h
}

// turn waits until one more hash may be computed.
func (h *hasher) turn(ctx context.Context) (done func(), err error) {
	wait := time.NewTimer(hashPatience)
	defer wait.Stop()
	select {
	case h.turns <- struct{}{}:
		return func() { <-h.turns }, nil
	case <-wait.C:
		return nil, holt.Errorf(holt.KindUnavailable, "very many people sign in at this moment: try again")
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// hash returns the hash of a password in the form of a PHC string:
//
//	$argon2id$v=19$m=65536,t=1,p=1$<salt>$<key>     both base64, without padding
func (h *hasher) hash(ctx context.Context, password string) (string, error) {
	done, err := h.turn(ctx)
	if err != nil {
		return "", err
	}
	defer done()
	salt := make([]byte, saltLength)
	rand.Read(salt) // never fails since Go 1.24
	c := h.cost
	return h.encode(salt, argon2.IDKey([]byte(password), salt, c.Passes, c.Memory, c.Threads, keyLength)), nil
}

func (h *hasher) encode(salt, key []byte) string {
	b64 := base64.RawStdEncoding.EncodeToString
	return fmt.Sprintf("$argon2id$v=%d$m=%d,t=%d,p=%d$%s$%s", argon2.Version, h.cost.Memory, h.cost.Passes, h.cost.Threads, b64(salt), b64(key))
}

// verify reports whether the password has the hash, and whether that should be
// made anew. No stored hash, "", takes as long as a wrong password.
func (h *hasher) verify(ctx context.Context, stored, password string) (ok, stale bool, err error) {
	none := stored == ""
	if none {
		stored = h.dummy
	}
	c, salt, key, err := parseHash(stored)
	if err != nil {
		return false, false, err
	}
	done, err := h.turn(ctx)
	if err != nil {
		return false, false, err
	}
	defer done()
	got := argon2.IDKey([]byte(password), salt, c.Passes, c.Memory, c.Threads, uint32(len(key)))
	same := subtle.ConstantTimeCompare(got, key) == 1
	return same && !none, c != h.cost || len(key) != keyLength || len(salt) != saltLength, nil
}

// parseHash reads a PHC string. What it accepts is bounded: a row that somebody
// tampered with must not take the server's memory.
func parseHash(s string) (c Cost, salt, key []byte, err error) {
	bad := func(why string) (Cost, []byte, []byte, error) {
		return Cost{}, nil, nil, holt.Wrap(holt.KindCorrupt, fmt.Errorf("password hash: %s", why), "the stored password cannot be read: ask an admin for a link to choose a new one")
	}
	parts := strings.Split(s, "$")
	if len(parts) != 6 || parts[0] != "" || parts[1] != "argon2id" || parts[2] != fmt.Sprintf("v=%d", argon2.Version) {
		return bad("unknown form")
	}
	var rest string
	if n, _ := fmt.Sscanf(parts[3]+" end", "m=%d,t=%d,p=%d %s", &c.Memory, &c.Passes, &c.Threads, &rest); n != 4 || rest != "end" {
		return bad("unknown parameters")
	}
	if c.Memory < 8 || c.Memory > 1<<20 || c.Passes < 1 || c.Passes > 64 || c.Threads < 1 || c.Threads > 64 {
		return bad("parameters out of bounds")
	}
	salt, err1 := base64.RawStdEncoding.DecodeString(parts[4])
	key, err2 := base64.RawStdEncoding.DecodeString(parts[5])
	if err1 != nil || err2 != nil || len(salt) < 8 || len(salt) > 64 || len(key) < 16 || len(key) > 64 {
		return bad("damaged")
	}
	return c, salt, key, nil
}

// checkPassword reports why a password will not do for a user of that name. Long
// ones are good, whatever they are made of (NIST SP 800-63B).
func checkPassword(name, password string) error {
	n := utf8.RuneCountInString(password)
	switch {
	case n < MinPassword:
		return &holt.Error{Kind: holt.KindInvalid, Field: "password", Limit: fmt.Sprint(MinPassword),
			Text: fmt.Sprintf("a password needs at least %d characters: a few words are easy to remember", MinPassword)}
	case len(password) > MaxPassword:
		return &holt.Error{Kind: holt.KindInvalid, Field: "password", Limit: fmt.Sprint(MaxPassword),
			Text: fmt.Sprintf("this password is too long: at most %d bytes", MaxPassword)}
	case !utf8.ValidString(password):
		return holt.Invalid("password", "this password is not valid text")
	case len(name) > 3 && len(password) < 2*len(name) && strings.Contains(strings.ToLower(password), name):
		return holt.Invalid("password", "the name in a password makes it easy to guess: choose another one")
	case distinct(password) < 4:
		return holt.Invalid("password", "this password is the same few characters: choose another one")
	}
	return nil
}

func distinct(s string) int {
	seen := map[rune]bool{}
	for _, r := range s {
		seen[r] = true
	}
	return len(seen)
}
