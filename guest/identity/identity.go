// Package identity gives a restored or forked machine its own name, machine ID,
// randomness and time. Two machines from one snapshot would otherwise be equal
// in all of them.
package identity

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"time"

	"github.com/holt-ide/holt"
	"github.com/holt-ide/holt/wire/guest"
	"golang.org/x/sys/unix"
)

const (
	maxEntropy = 4 << 10
	// clockSlack is how far off the clock may be before it is stepped: programs
	// dislike steps, and the agent's network time is no better.
	clockSlack = time.Second
)

var (
	hostnameRE  = regexp.MustCompile(`^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$`)
	machineIDRE = regexp.MustCompile(`^[0-9a-f]{32}$`)
)

// Machine is what identity is given to. [This] is the machine the agent is on.
type Machine struct {
	Root        string // the directory that holds /etc and /dev
	SetHostname func(name string) error
	SetClock    func(t time.Time) error
	Now         func() time.Time
}

// This returns the machine that this process runs on.
func This() Machine {
	return Machine{
		Root: "/",
		SetHostname: func(name string) error {
			if have, err := os.Hostname(); err == nil && have == name {
				return nil
			}
			return unix.Sethostname([]byte(name))
		},
		SetClock: func(t time.Time) error {
			ts := unix.NsecToTimespec(t.UnixNano())
			return unix.ClockSettime(unix.CLOCK_REALTIME, &ts)
		},
		Now: time.Now,
	}
}

// Check reports the first field of a thaw that cannot be right.
func Check(t guestwire.Thaw) error {
	switch {
	case len(t.Secret) < guestwire.MinSecret:
		return holt.Invalidf("secret", "the secret has at least %d characters", guestwire.MinSecret)
	case t.Hostname != "" && !hostnameRE.MatchString(t.Hostname):
		return holt.Invalidf("hostname", "%q is not a host name: one DNS label", t.Hostname)
	case t.MachineID != "" && !machineIDRE.MatchString(t.MachineID):
		return holt.Invalidf("machine_id", "%q is not a machine ID: 32 hexadecimal digits in lower case", t.MachineID)
	case t.TimeUnixNano < 0:
		return holt.Invalid("time_unix_nano", "the time is before 1970")
	case len(t.Entropy) > maxEntropy:
		return holt.Invalidf("entropy", "at most %d bytes of entropy", maxEntropy)
	}
	return nil
}

// Apply gives the machine what is set in t, which Check accepts. Every step is
// tried; the result holds those that were refused. Applying twice changes nothing.
func (m Machine) Apply(t guestwire.Thaw) guestwire.ThawResult {
	var out guestwire.ThawResult
	try := func(what string, err error) {
		if err != nil {
			out.Warnings = append(out.Warnings, fmt.Sprintf("%s: %v", what, err))
		}
	}
	if len(t.Entropy) > 0 {
		try("mix in entropy", m.write("dev/urandom", os.O_WRONLY, t.Entropy))
	}
	if t.Hostname != "" {
		try("set host name", m.SetHostname(t.Hostname))
		try("write /etc/hostname", m.write("etc/hostname", os.O_WRONLY|os.O_CREATE|os.O_TRUNC, []byte(t.Hostname+"\n")))
		try("write /etc/hosts", m.hosts(t.Hostname))
	}
	if t.MachineID != "" {
		try("write /etc/machine-id", m.write("etc/machine-id", os.O_WRONLY|os.O_CREATE|os.O_TRUNC, []byte(t.MachineID+"\n")))
	}
	if t.TimeUnixNano != 0 {
		right := time.Unix(0, t.TimeUnixNano)
		off := m.Now().Sub(right)
		out.ClockStep = off.Seconds()
		if off.Abs() > clockSlack {
			try("set clock", m.SetClock(right))
		}
	}
	return out
}

// write writes in place: the files of /etc may be bind mounts, over which
// nothing can be renamed, and are short enough for one write.
func (m Machine) write(name string, flags int, b []byte) error {
	f, err := os.OpenFile(filepath.Join(m.Root, name), flags, 0o644)
	if err != nil {
		return err
	}
	_, err = f.Write(b)
	if cerr := f.Close(); err == nil {
		err = cerr
	}
	return err
}

const ownAddress = "127.0.1.1"

// hosts replaces the line that names this machine, and keeps the others, which
// are the user's.
func (m Machine) hosts(hostname string) error {
	old, err := os.ReadFile(filepath.Join(m.Root, "etc/hosts"))
	if err != nil && !os.IsNotExist(err) {
		return err
	}
	var b strings.Builder
	if len(old) == 0 {
		b.WriteString("127.0.0.1 localhost\n::1 localhost ip6-localhost ip6-loopback\n")
	}
	for line := range strings.Lines(string(old)) {
		if f := strings.Fields(line); len(f) > 0 && f[0] == ownAddress {
			continue
		}
		b.WriteString(strings.TrimRight(line, "\n") + "\n")
	}
	b.WriteString(ownAddress + " " + hostname + "\n")
	return m.write("etc/hosts", os.O_WRONLY|os.O_CREATE|os.O_TRUNC, []byte(b.String()))
}
