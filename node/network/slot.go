package network

import (
	"errors"
	"fmt"
	"io/fs"
	"net/netip"
	"os"
	"path/filepath"
	"runtime"
	"strconv"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"
)

// Addresses that every sandbox sees.
var (
	GuestAddr   = netip.MustParseAddr("10.0.0.2")
	GatewayAddr = netip.MustParseAddr("10.0.0.1")
)

const (
	guestLink   = "eth0" // in the sandbox's namespace
	insideLink  = "in"   // in the gateway's namespace, towards the guest
	outsideLink = "out"  // in the gateway's namespace, towards the host
	netnsDir    = "/run/netns"
)

// Slot is one network for one sandbox.
type Slot struct {
	Number int
	Tag    string // tells it from the slots that have the number before and after
	mtu    int
}

// Sandbox returns the path of the namespace that holds the guest's interface.
func (s Slot) Sandbox() string { return filepath.Join(netnsDir, s.name("s")) }

// Gateway returns the path of the namespace with the filter, from which the
// guest can be dialled.
func (s Slot) Gateway() string { return filepath.Join(netnsDir, s.name("g")) }

// IDBase returns the first host ID of the sandbox that uses this slot: ranges of
// 65,536 from 2^28 on, beyond what distributions hand out in /etc/subuid.
func (s Slot) IDBase() uint32 { return 1<<28 + uint32(s.Number)<<16 }

func (s Slot) name(kind string) string { return "holt-" + strconv.Itoa(s.Number) + "-" + kind }
func (s Slot) hostLink() string        { return "holt" + strconv.Itoa(s.Number) }

// uplink returns the two ends of the slot's own /30 within the range.
func (s Slot) uplink(within netip.Prefix) (host, gateway netip.Addr) {
	b := within.Masked().Addr().As4()
	n := uint32(b[0])<<24 | uint32(b[1])<<16 | uint32(b[2])<<8 | uint32(b[3])
	n += uint32(s.Number) * 4
	at := func(i uint32) netip.Addr {
		v := n + i
		return netip.AddrFrom4([4]byte{byte(v >> 24), byte(v >> 16), byte(v >> 8), byte(v)})
	}
	return at(1), at(2)
}

// build makes the namespaces and cables. What exists under these names is a
// crashed attempt of ours, since the number is claimed, and is removed first.
func (s Slot) build(within netip.Prefix) (err error) {
	if err := s.destroy(); err != nil {
		return err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, s.destroy())
		}
	}()
	gw, err := newNamespace(s.name("g"))
	if err != nil {
		return err
	}
	defer gw.Close()
	sb, err := newNamespace(s.name("s"))
	if err != nil {
		return err
	}
	defer sb.Close()
	host, far := s.uplink(within)
	if err := s.cableOut(gw, host, far); err != nil {
		return err
	}
	return s.cableIn(gw, sb)
}

// cableOut connects the gateway's namespace with the host.
func (s Slot) cableOut(gw netns.NsHandle, host, far netip.Addr) error {
	veth := &netlink.Veth{LinkAttrs: linkAttrs(s.hostLink(), s.mtu), PeerName: outsideLink, PeerNamespace: netlink.NsFd(gw)}
	if err := netlink.LinkAdd(veth); err != nil {
		return fmt.Errorf("make uplink: %w", err)
	}
	here, err := netlink.NewHandle()
	if err != nil {
		return fmt.Errorf("open netlink: %w", err)
	}
	defer here.Close()
	if err := up(here, s.hostLink(), netip.PrefixFrom(host, 30)); err != nil {
		return err
	}
	there, err := netlink.NewHandleAt(gw)
	if err != nil {
		return fmt.Errorf("open netlink in gateway: %w", err)
	}
	defer there.Close()
	if err := up(there, "lo", netip.Prefix{}); err != nil {
		return err
	}
	if err := up(there, outsideLink, netip.PrefixFrom(far, 30)); err != nil {
		return err
	}
	return defaultRoute(there, outsideLink, host)
}

// cableIn connects the gateway's namespace with the sandbox's.
func (s Slot) cableIn(gw, sb netns.NsHandle) error {
	there, err := netlink.NewHandleAt(gw)
	if err != nil {
		return fmt.Errorf("open netlink in gateway: %w", err)
	}
	defer there.Close()
	veth := &netlink.Veth{LinkAttrs: linkAttrs(insideLink, s.mtu), PeerName: guestLink, PeerNamespace: netlink.NsFd(sb)}
	if err := there.LinkAdd(veth); err != nil {
		return fmt.Errorf("make guest link: %w", err)
	}
	if err := up(there, insideLink, netip.PrefixFrom(GatewayAddr, 30)); err != nil {
		return err
	}
	guest, err := netlink.NewHandleAt(sb)
	if err != nil {
		return fmt.Errorf("open netlink in sandbox: %w", err)
	}
	defer guest.Close()
	if err := up(guest, "lo", netip.Prefix{}); err != nil {
		return err
	}
	if err := up(guest, guestLink, netip.PrefixFrom(GuestAddr, 30)); err != nil {
		return err
	}
	return defaultRoute(guest, guestLink, GatewayAddr)
}

// destroy removes the namespaces; their cables go with them. What is not there
// is no error.
func (s Slot) destroy() error {
	var errs []error
	if link, err := netlink.LinkByName(s.hostLink()); err == nil {
		if err := netlink.LinkDel(link); err != nil && !errors.Is(err, unix.ENODEV) {
			errs = append(errs, fmt.Errorf("remove uplink: %w", err))
		}
	}
	for _, path := range []string{s.Sandbox(), s.Gateway()} {
		err := unix.Unmount(path, unix.MNT_DETACH)
		if err != nil && !errors.Is(err, unix.EINVAL) && !errors.Is(err, unix.ENOENT) {
			errs = append(errs, fmt.Errorf("release namespace: %w", err))
			continue
		}
		if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
			errs = append(errs, fmt.Errorf("remove namespace: %w", err))
		}
	}
	return errors.Join(errs...)
}

// intact reports whether both namespaces are there.
func (s Slot) intact() bool {
	for _, path := range []string{s.Sandbox(), s.Gateway()} {
		var fsInfo unix.Statfs_t
		if unix.Statfs(path, &fsInfo) != nil || fsInfo.Type != unix.NSFS_MAGIC {
			return false
		}
	}
	return true
}

// newNamespace makes a named network namespace with IP forwarding on, as the
// gateway needs it (for the sandbox's own stack it means nothing). The calling
// thread is back in its own namespace afterwards.
func newNamespace(name string) (netns.NsHandle, error) {
	runtime.LockOSThread()
	origin, err := netns.Get()
	if err != nil {
		runtime.UnlockOSThread()
		return netns.None(), fmt.Errorf("open own namespace: %w", err)
	}
	defer origin.Close()
	ns, err := netns.NewNamed(name)
	if err == nil {
		err = enableForwarding() // the kernel takes the writing thread's namespace
	}
	if back := netns.Set(origin); back != nil {
		return ns, fmt.Errorf("return to own namespace: %w", errors.Join(back, err)) // the thread stays locked and ends with its goroutine
	}
	runtime.UnlockOSThread()
	if err != nil {
		return ns, fmt.Errorf("make namespace %s: %w", name, err)
	}
	return ns, nil
}

func enableForwarding() error {
	const name = "/proc/sys/net/ipv4/ip_forward"
	if now, err := os.ReadFile(name); err == nil && len(now) > 0 && now[0] == '1' {
		return nil
	}
	if err := os.WriteFile(name, []byte("1"), 0); err != nil {
		return fmt.Errorf("enable IP forwarding: %w", err)
	}
	return nil
}

func linkAttrs(name string, mtu int) netlink.LinkAttrs {
	a := netlink.NewLinkAttrs()
	a.Name = name
	a.MTU = mtu
	return a
}

// up sets an address, if one is given, and switches the link on.
func up(h *netlink.Handle, name string, addr netip.Prefix) error {
	link, err := h.LinkByName(name)
	if err != nil {
		return fmt.Errorf("find link %s: %w", name, err)
	}
	if addr.IsValid() {
		parsed, err := netlink.ParseAddr(addr.String())
		if err != nil {
			return fmt.Errorf("parse address %s: %w", addr, err)
		}
		if err := h.AddrReplace(link, parsed); err != nil {
			return fmt.Errorf("set address of %s: %w", name, err)
		}
	}
	if err := h.LinkSetUp(link); err != nil {
		return fmt.Errorf("switch %s on: %w", name, err)
	}
	return nil
}

func defaultRoute(h *netlink.Handle, name string, via netip.Addr) error {
	link, err := h.LinkByName(name)
	if err != nil {
		return fmt.Errorf("find link %s: %w", name, err)
	}
	route := &netlink.Route{LinkIndex: link.Attrs().Index, Gw: via.AsSlice()}
	if err := h.RouteReplace(route); err != nil {
		return fmt.Errorf("set default route: %w", err)
	}
	return nil
}
