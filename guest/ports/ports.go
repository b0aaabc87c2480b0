// Package ports finds the TCP ports that listen in the guest, from /proc, and
// connects to them.
package ports

import (
	"bufio"
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/holt-ide/holt"
	"github.com/holt-ide/holt/wire/guest"
)

const (
	stateListen = "0A"
	maxPorts    = 4096 // a hostile guest may listen everywhere
	dialTimeout = 5 * time.Second
)

// List returns the listening TCP ports except hidden, sorted by port and
// address. proc is the mount point of the proc file system. A socket whose
// process cannot be found, or is not this process's to look at, has PID 0.
func List(proc string, hidden uint16) ([]guestwire.Port, error) {
	var found []socket
	for _, name := range []string{"net/tcp", "net/tcp6"} {
		s, err := read(filepath.Join(proc, name))
		if errors.Is(err, os.ErrNotExist) {
			continue // no IPv6
		}
		if err != nil {
			return nil, err
		}
		found = append(found, s...)
	}
	owners := owners(proc, found)
	out := []guestwire.Port{}
	for _, s := range found {
		if s.addr.Port() == hidden {
			continue
		}
		p := guestwire.Port{Port: s.addr.Port(), Address: s.addr.Addr().Unmap().String(), PID: owners[s.inode]}
		if p.PID != 0 {
			comm, _ := os.ReadFile(filepath.Join(proc, strconv.Itoa(p.PID), "comm"))
			p.Process = strings.ToValidUTF8(strings.TrimSpace(string(comm)), "?")
		}
		out = append(out, p)
	}
	slices.SortFunc(out, func(a, b guestwire.Port) int {
		if a.Port != b.Port {
			return int(a.Port) - int(b.Port)
		}
		return strings.Compare(a.Address, b.Address)
	})
	return slices.CompactFunc(out, func(a, b guestwire.Port) bool {
		return a.Port == b.Port && a.Address == b.Address // SO_REUSEPORT
	}), nil
}

type socket struct {
	addr  netip.AddrPort
	inode string
}

// read returns the listening sockets of one table.
func read(path string) ([]socket, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("read sockets: %w", err)
	}
	defer f.Close()
	var out []socket
	lines := bufio.NewScanner(f)
	for lines.Scan() && len(out) < maxPorts {
		// sl local_address rem_address st tx:rx tr:when retrnsmt uid timeout inode …
		col := strings.Fields(lines.Text())
		if len(col) < 10 || col[3] != stateListen {
			continue
		}
		addr, err := parseAddr(col[1])
		if err != nil {
			return nil, fmt.Errorf("read sockets: %w", err)
		}
		out = append(out, socket{addr, col[9]})
	}
	if err := lines.Err(); err != nil {
		return nil, fmt.Errorf("read sockets: %w", err)
	}
	return out, nil
}

// parseAddr reads an address as the kernel prints it: 32-bit words in the
// machine's order (little endian on all we run on), and the port.
func parseAddr(s string) (netip.AddrPort, error) {
	host, port, _ := strings.Cut(s, ":")
	raw, err := hex.DecodeString(host)
	if err != nil || (len(raw) != 4 && len(raw) != 16) {
		return netip.AddrPort{}, fmt.Errorf("bad socket address %q", s)
	}
	n, err := strconv.ParseUint(port, 16, 16)
	if err != nil {
		return netip.AddrPort{}, fmt.Errorf("bad socket port %q", s)
	}
	for i := 0; i < len(raw); i += 4 {
		slices.Reverse(raw[i : i+4])
	}
	ip, _ := netip.AddrFromSlice(raw)
	return netip.AddrPortFrom(ip, uint16(n)), nil
}

// owners finds which process holds which of the sockets, by inode.
func owners(proc string, sockets []socket) map[string]int {
	wanted := map[string]string{}
	for _, s := range sockets {
		wanted["socket:["+s.inode+"]"] = s.inode
	}
	out := map[string]int{}
	dirs, _ := os.ReadDir(proc)
	for _, d := range dirs {
		pid, err := strconv.Atoi(d.Name())
		if err != nil {
			continue
		}
		fds := filepath.Join(proc, d.Name(), "fd")
		names, _ := os.ReadDir(fds)
		for _, fd := range names {
			link, _ := os.Readlink(filepath.Join(fds, fd.Name()))
			// The first holder: a server's children inherit its sockets.
			if inode, ok := wanted[link]; ok && out[inode] == 0 {
				out[inode] = pid
			}
		}
		if len(out) == len(wanted) {
			break
		}
	}
	return out
}

// Dial connects to a port on the loopback: 127.0.0.1, and [::1] where nothing
// listens there.
func Dial(ctx context.Context, port uint16) (net.Conn, error) {
	d := net.Dialer{Timeout: dialTimeout}
	p := strconv.Itoa(int(port))
	conn, err := d.DialContext(ctx, "tcp4", net.JoinHostPort("127.0.0.1", p))
	if errors.Is(err, syscall.ECONNREFUSED) {
		var err6 error
		if conn, err6 = d.DialContext(ctx, "tcp6", net.JoinHostPort("::1", p)); err6 == nil {
			err = nil
		}
	}
	if err != nil {
		return nil, &holt.Error{Kind: holt.KindUnavailable, Field: "port",
			Text: fmt.Sprintf("nothing answers on port %d in the workspace; start a server there", port), Err: err}
	}
	return conn, nil
}
