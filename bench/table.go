// Package bench measures the real server and prints tables: what users wait for,
// as p50 and p99, beside the bare mechanism doing the same work in the same run.
// The machines this runs on are shared and noisy: read the ratios first, and
// the load that is printed with them.
//
// It is run by `make bench`; nothing here asserts a time.
package bench

import (
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"text/tabwriter"
	"time"
)

// series is one measured quantity.
type series struct {
	name   string
	values []float64
	unit   string // "ms" or "MiB"
}

func (s *series) add(d time.Duration) {
	s.unit = "ms"
	s.values = append(s.values, float64(d.Microseconds())/1000)
}

// quantile returns the value below which the fraction q of the series lies.
func (s *series) quantile(q float64) float64 {
	if len(s.values) == 0 {
		return 0
	}
	v := slices.Clone(s.values)
	slices.Sort(v)
	return v[min(len(v)-1, int(q*float64(len(v))))]
}

// row is one line of the table: ours, the peer doing the same, and the target.
type row struct {
	ours, peer *series
	target     string
}

type table []row

func (t table) print(w io.Writer) {
	tw := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(tw, "what\tn\tp50\tp99\tunit\tpeer\tpeer p50\tratio of p50\ttarget")
	for _, r := range t {
		peer, p50, ratio := "-", "-", "-"
		if r.peer != nil && len(r.peer.values) > 0 {
			peer, p50 = r.peer.name, fmt.Sprintf("%.1f", r.peer.quantile(.5))
			ratio = fmt.Sprintf("%.2f", r.ours.quantile(.5)/r.peer.quantile(.5))
		}
		fmt.Fprintf(tw, "%s\t%d\t%.1f\t%.1f\t%s\t%s\t%s\t%s\t%s\n", r.ours.name, len(r.ours.values),
			r.ours.quantile(.5), r.ours.quantile(.99), r.ours.unit, peer, p50, ratio, r.target)
	}
	tw.Flush()
}

// load returns the machine's load averages, for the heading of a table.
func load() string {
	text, err := os.ReadFile("/proc/loadavg")
	if err != nil {
		return "unknown"
	}
	return strings.Join(strings.Fields(string(text))[:3], " ")
}
