package holt

import (
	"fmt"
	"strconv"
	"strings"
)

// Limits bounds what one workspace may use. The zero value of a field means the
// default, see [Limits.WithDefaults].
type Limits struct {
	CPUs      float64 // cores, a quota over 100 ms
	Memory    int64   // bytes, for guest processes and tmpfs together
	Disk      int64   // bytes of the volume that holds /home/dev and /workspace
	Root      int64   // bytes that may be written over the image (/usr, /var, /tmp on disk)
	Processes int64   // processes and threads of the guest user
	Bandwidth int64   // bytes per second out of and into the workspace, each; 0 after defaults means no cap
}

// Bytes in binary units.
const (
	KiB int64 = 1 << 10
	MiB int64 = 1 << 20
	GiB int64 = 1 << 30
	TiB int64 = 1 << 40
)

// DefaultLimits are what a workspace gets that asks for nothing.
var DefaultLimits = Limits{CPUs: 2, Memory: 2 * GiB, Disk: 5 * GiB, Root: 5 * GiB, Processes: 1024}

// The smallest limits with which a workspace can work at all.
var minLimits = Limits{CPUs: 0.1, Memory: 128 * MiB, Disk: 64 * MiB, Root: 64 * MiB, Processes: 32}

// WithDefaults returns l with every zero field set from [DefaultLimits].
func (l Limits) WithDefaults() Limits {
	d := DefaultLimits
	if l.CPUs != 0 {
		d.CPUs = l.CPUs
	}
	if l.Memory != 0 {
		d.Memory = l.Memory
	}
	if l.Disk != 0 {
		d.Disk = l.Disk
	}
	if l.Root != 0 {
		d.Root = l.Root
	}
	if l.Processes != 0 {
		d.Processes = l.Processes
	}
	if l.Bandwidth != 0 {
		d.Bandwidth = l.Bandwidth
	}
	return d
}

// Check reports the first field of l that is below what works or above most.
func (l Limits) Check(most Limits) error {
	type bound struct {
		field            string
		have, least, top float64
		show             func(float64) string
	}
	size := func(v float64) string { return FormatSize(int64(v)) }
	num := func(v float64) string { return strconv.FormatFloat(v, 'g', -1, 64) }
	for _, b := range []bound{
		{"cpus", l.CPUs, minLimits.CPUs, most.CPUs, num},
		{"memory", float64(l.Memory), float64(minLimits.Memory), float64(most.Memory), size},
		{"disk", float64(l.Disk), float64(minLimits.Disk), float64(most.Disk), size},
		{"root", float64(l.Root), float64(minLimits.Root), float64(most.Root), size},
		{"processes", float64(l.Processes), float64(minLimits.Processes), float64(most.Processes), num},
	} {
		if b.have < b.least {
			return &Error{Kind: KindInvalid, Field: b.field, Limit: b.show(b.least),
				Text: fmt.Sprintf("%s of %s is too small: at least %s", b.field, b.show(b.have), b.show(b.least))}
		}
		if b.have > b.top {
			return &Error{Kind: KindInvalid, Field: b.field, Limit: b.show(b.top),
				Text: fmt.Sprintf("%s of %s is too large: this server allows at most %s", b.field, b.show(b.have), b.show(b.top))}
		}
	}
	if l.Bandwidth < 0 {
		return Invalidf("bandwidth", "bandwidth of %d is negative", l.Bandwidth)
	}
	return nil
}

// ParseSize reads a size such as "512m", "5g", "1.5GiB" or "1048576" (bytes).
// Units are binary; the field names the request field for the error.
func ParseSize(field, s string) (int64, error) {
	t := strings.ToLower(strings.TrimSpace(s))
	t = strings.TrimSuffix(strings.TrimSuffix(t, "b"), "i")
	unit := int64(1)
	if t != "" {
		if i := strings.IndexByte("kmgt", t[len(t)-1]); i >= 0 {
			unit = KiB << (10 * i)
			t = t[:len(t)-1]
		}
	}
	v, err := strconv.ParseFloat(t, 64)
	if err != nil || v <= 0 || v*float64(unit) > float64(1<<60) {
		return 0, Invalidf(field, "%q is not a size: use a number and k, m, g or t, such as 512m", s)
	}
	return int64(v * float64(unit)), nil
}

// FormatSize renders n bytes in the largest binary unit that keeps it readable:
// "512 MiB", "1.5 GiB".
func FormatSize(n int64) string {
	for _, u := range []struct {
		size int64
		name string
	}{{TiB, "TiB"}, {GiB, "GiB"}, {MiB, "MiB"}, {KiB, "KiB"}} {
		if n >= u.size {
			s := strconv.FormatFloat(float64(n)/float64(u.size), 'f', 1, 64)
			return strings.TrimSuffix(s, ".0") + " " + u.name
		}
	}
	return fmt.Sprintf("%d B", n)
}
