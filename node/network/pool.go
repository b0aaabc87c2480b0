package network

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net/netip"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/holt-ide/holt"
	"github.com/holt-ide/holt/fault"
)

// claimDir holds one file per slot number in use on this host; its content is the
// owner's name. It is on a file system that a reboot empties, as the namespaces are.
const claimDir = "/run/holt/slots"

// Config says whose slots a Pool makes and how they lead out.
type Config struct {
	// Owner names this server on this host, for example its data directory.
	// Slots claimed under the same name by an earlier process are this pool's.
	Owner string

	// Range is where the /30 of every slot comes from; its size bounds the
	// number of slots on the host. 10.213.0.0/16 when it is not valid.
	Range netip.Prefix

	// Nameservers the guests may ask, wherever they are. When nil, the host's
	// own from its resolver configuration.
	Nameservers []netip.Addr

	// Warm is how many slots are kept ready. Zero means none.
	Warm int

	Log *slog.Logger
}

// Pool makes and destroys slots. Its methods may be called concurrently.
type Pool struct {
	cfg Config
	log *slog.Logger
	mtu int

	kick chan struct{}
	stop context.CancelFunc
	wg   sync.WaitGroup

	mu   sync.Mutex
	warm []Slot // guarded with the usual policy
}

// usual is the policy that ready slots have in force already. The addresses that
// the host gets after that are refused by the host's own table.
var usual = Policy{Internet: true}

// Open reclaims what an earlier process of the same owner left, except the slots
// whose numbers are in keep, and starts keeping slots ready.
func Open(ctx context.Context, cfg Config, keep []int) (*Pool, error) {
	if !cfg.Range.IsValid() {
		cfg.Range = netip.MustParsePrefix("10.213.0.0/16")
	}
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	if cfg.Nameservers == nil {
		cfg.Nameservers = hostNameservers()
	}
	if err := os.MkdirAll(claimDir, 0o755); err != nil {
		return nil, fmt.Errorf("make slot directory: %w", err)
	}
	p := &Pool{cfg: cfg, log: cfg.Log, mtu: uplinkMTU(), kick: make(chan struct{}, 1)}
	if err := p.reclaim(keep); err != nil {
		return nil, err
	}
	if err := enableForwarding(); err != nil {
		return nil, err
	}
	var rules strings.Builder
	if err := hostRules.Execute(&rules, map[string]any{"Range": cfg.Range.Masked()}); err != nil {
		return nil, fmt.Errorf("write rules: %w", err)
	}
	if err := nft(ctx, "", rules.String()); err != nil {
		return nil, err
	}
	run, stop := context.WithCancel(context.WithoutCancel(ctx))
	p.stop = stop
	p.wg.Go(func() { p.keepWarm(run) })
	p.wake()
	return p, nil
}

// Nameservers returns the addresses that guests should ask.
func (p *Pool) Nameservers() []netip.Addr { return p.cfg.Nameservers }

// Get returns a slot that nobody used before, with the policy in force.
func (p *Pool) Get(ctx context.Context, policy Policy) (Slot, error) {
	p.mu.Lock()
	var s Slot
	ready := len(p.warm) > 0
	if ready {
		s, p.warm = p.warm[len(p.warm)-1], p.warm[:len(p.warm)-1]
	}
	p.mu.Unlock()
	defer p.wake()
	if ready && policy == usual {
		return s, nil
	}
	if !ready {
		var err error
		if s, err = p.make(); err != nil {
			return Slot{}, err
		}
	}
	if err := s.guard(ctx, policy, p.cfg.Nameservers); err != nil {
		return Slot{}, errors.Join(err, p.Put(s))
	}
	return s, nil
}

// Put destroys the slot and frees its number. Destroying twice is not an error:
// a slot that has the number by now has another tag.
func (p *Pool) Put(s Slot) error {
	if tag, ours := p.claimed(s.Number); !ours || tag != s.Tag {
		return nil
	}
	if err := s.destroy(); err != nil {
		return err
	}
	return dropClaim(s.Number)
}

// Slot returns the slot with that number and tag if it is this pool's and intact.
func (p *Pool) Slot(number int, tag string) (Slot, bool) {
	s := Slot{Number: number, Tag: tag, mtu: p.mtu}
	have, ours := p.claimed(number)
	return s, ours && have == tag && s.intact()
}

// claimed returns the tag of the slot that has a number now, and whether it is
// this owner's.
func (p *Pool) claimed(number int) (tag string, ours bool) {
	text, err := os.ReadFile(claim(number))
	owner, tag, _ := strings.Cut(string(text), "\n")
	return tag, err == nil && owner == p.cfg.Owner
}

// Close stops keeping slots ready and destroys those that were. Slots in use stay.
func (p *Pool) Close() error {
	p.stop()
	p.wg.Wait()
	p.mu.Lock()
	warm := p.warm
	p.warm = nil
	p.mu.Unlock()
	var errs []error
	for _, s := range warm {
		errs = append(errs, p.Put(s))
	}
	return errors.Join(errs...)
}

// make claims the lowest free number and builds its slot.
func (p *Pool) make() (Slot, error) {
	most := 1 << max(0, 30-p.cfg.Range.Bits())
	for n := range most {
		s := Slot{Number: n, Tag: holt.NewID(), mtu: p.mtu}
		if err := p.claim(s); errors.Is(err, fs.ErrExist) {
			continue
		} else if err != nil {
			return Slot{}, fmt.Errorf("claim slot: %w", err)
		}
		fault.Point("slot.claimed")
		if err := s.build(p.cfg.Range); err != nil {
			return Slot{}, errors.Join(fmt.Errorf("build slot %d: %w", n, err), dropClaim(n))
		}
		return s, nil
	}
	return Slot{}, holt.Errorf(holt.KindLimit, "all %d network slots of this host are in use", most)
}

// claim takes a number for this owner. The file gets its name when it has its
// content, so that no crash leaves a claim without an owner, nor anything else.
func (p *Pool) claim(s Slot) error {
	fd, err := unix.Open(claimDir, unix.O_TMPFILE|unix.O_WRONLY|unix.O_CLOEXEC, 0o600)
	if err != nil {
		return &os.PathError{Op: "open", Path: claimDir, Err: err}
	}
	f := os.NewFile(uintptr(fd), claimDir)
	defer f.Close()
	if _, err := f.WriteString(p.cfg.Owner + "\n" + s.Tag); err != nil {
		return err
	}
	if err := unix.Linkat(unix.AT_FDCWD, fmt.Sprintf("/proc/self/fd/%d", fd), unix.AT_FDCWD, claim(s.Number), unix.AT_SYMLINK_FOLLOW); err != nil {
		return &os.LinkError{Op: "link", Old: claimDir, New: claim(s.Number), Err: err}
	}
	return nil
}

// reclaim destroys every slot of this owner that is not in keep.
func (p *Pool) reclaim(keep []int) error {
	entries, err := os.ReadDir(claimDir)
	if err != nil {
		return fmt.Errorf("list slots: %w", err)
	}
	kept := map[int]bool{}
	for _, n := range keep {
		kept[n] = true
	}
	for _, e := range entries {
		n, err := strconv.Atoi(e.Name())
		if err != nil || kept[n] {
			continue
		}
		tag, _ := p.claimed(n)
		if err := p.Put(Slot{Number: n, Tag: tag}); err != nil {
			return fmt.Errorf("reclaim slot %d: %w", n, err)
		}
	}
	return nil
}

// keepWarm refills the ready slots whenever one was taken.
func (p *Pool) keepWarm(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-p.kick:
		}
		for ctx.Err() == nil {
			p.mu.Lock()
			enough := len(p.warm) >= p.cfg.Warm
			p.mu.Unlock()
			if enough {
				break
			}
			s, err := p.make()
			if err == nil {
				if err = s.guard(ctx, usual, p.cfg.Nameservers); err != nil {
					err = errors.Join(err, p.Put(s))
				}
			}
			if err != nil {
				p.log.Warn("cannot keep a network ready", "err", err)
				break
			}
			p.mu.Lock()
			p.warm = append(p.warm, s)
			p.mu.Unlock()
		}
	}
}

func (p *Pool) wake() {
	select {
	case p.kick <- struct{}{}:
	default:
	}
}

func claim(number int) string { return filepath.Join(claimDir, strconv.Itoa(number)) }

func dropClaim(number int) error {
	if err := os.Remove(claim(number)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("free slot: %w", err)
	}
	return nil
}

// hostNameservers reads the host's resolver configuration. A resolver on the
// loopback interface cannot be reached from a sandbox: then the list that it
// forwards to is read instead, where systemd-resolved keeps one.
func hostNameservers() []netip.Addr {
	for _, name := range []string{"/etc/resolv.conf", "/run/systemd/resolve/resolv.conf"} {
		if list := readNameservers(name); len(list) > 0 {
			return list
		}
	}
	return nil
}

func readNameservers(name string) []netip.Addr {
	f, err := os.Open(name)
	if err != nil {
		return nil
	}
	defer f.Close()
	var list []netip.Addr
	for lines := bufio.NewScanner(f); lines.Scan() && len(list) < 3; {
		fields := strings.Fields(lines.Text())
		if len(fields) < 2 || fields[0] != "nameserver" {
			continue
		}
		if a, err := netip.ParseAddr(fields[1]); err == nil && a.Is4() && !a.IsLoopback() {
			list = append(list, a)
		}
	}
	return list
}

// uplinkMTU returns the packet size of the host's default route, so that guests
// do not send packets that must be cut.
func uplinkMTU() int {
	routes, err := netlink.RouteList(nil, netlink.FAMILY_V4)
	if err != nil {
		return 1500
	}
	for _, r := range routes {
		if r.Dst == nil || r.Dst.IP.IsUnspecified() {
			if link, err := netlink.LinkByIndex(r.LinkIndex); err == nil {
				return link.Attrs().MTU
			}
		}
	}
	return 1500
}
