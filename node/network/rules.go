package network

import (
	"context"
	"fmt"
	"net/netip"
	"os/exec"
	"strings"
	"text/template"

	"github.com/google/nftables"
	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"

	"github.com/holt-ide/holt"
)

// Policy is where a sandbox may connect to.
type Policy struct {
	Internet  bool  // the world, as the package comment defines it; false: nowhere
	Bandwidth int64 // bytes per second each way; 0: no cap
}

// Blocked counts packets that the policy refused, by where they wanted to go.
type Blocked struct {
	Host     uint64 // the host's addresses, the gateway
	Private  uint64 // other sandboxes, private and reserved ranges
	Metadata uint64 // link-local, where clouds serve credentials
	SMTP     uint64 // mail submission
	Other    uint64 // policy "none", IPv6, forged source addresses
}

// Total returns the sum.
func (b Blocked) Total() uint64 { return b.Host + b.Private + b.Metadata + b.SMTP + b.Other }

// gatewayRules is the filter in the gateway's namespace. "reject" rather than
// "drop" lets honest programs fail at once instead of waiting. Loaded again, it
// replaces what is there.
var gatewayRules = template.Must(template.New("gateway").Parse(`
table inet holt
delete table inet holt
table inet holt {
	counter host {}
	counter private {}
	counter metadata {}
	counter smtp {}
	counter other {}
	set host4 { type ipv4_addr; elements = { {{.HostAddrs}} } }
	chain input {
		type filter hook input priority filter; policy drop;
		iifname "lo" accept
		ct state established,related accept
		iifname "in" counter name host reject
	}
	chain forward {
		type filter hook forward priority filter; policy drop;
		ct state established,related accept
		iifname != "in" drop
		meta nfproto ipv6 counter name other drop
		ip saddr != 10.0.0.2 counter name other drop
{{- if .Internet}}
{{- if .Nameservers}}
		ip daddr { {{.Nameservers}} } meta l4proto { tcp, udp } th dport 53 accept
{{- end}}
		ip daddr @host4 counter name host reject
		ip daddr 169.254.0.0/16 counter name metadata reject
		ip daddr { 0.0.0.0/8, 10.0.0.0/8, 100.64.0.0/10, 127.0.0.0/8, 172.16.0.0/12, 192.0.0.0/24, 192.168.0.0/16, 198.18.0.0/15, 224.0.0.0/3 } counter name private reject
		tcp dport { 25, 465, 587 } counter name smtp reject
		oifname "out" accept
{{- end}}
		counter name other reject
	}
	chain postrouting {
		type nat hook postrouting priority srcnat;
		oifname "out" masquerade
	}
}
`))

// hostRules is the host's own table, replaced whole at every Open.
var hostRules = template.Must(template.New("host").Parse(`
table inet holt
delete table inet holt
table inet holt {
	chain input {
		type filter hook input priority filter - 5; policy accept;
		iifname "holt*" ct state established,related accept
		iifname "holt*" counter drop
	}
	chain forward {
		type filter hook forward priority filter - 5; policy accept;
		iifname "holt*" oifname "holt*" counter drop
		oifname "holt*" ct state new counter drop
	}
	chain postrouting {
		type nat hook postrouting priority srcnat;
		ip saddr {{.Range}} oifname != "holt*" masquerade
	}
}
`))

// nft runs a ruleset as one transaction in the current namespace, or in that of
// path if it is not empty.
func nft(ctx context.Context, path, ruleset string) error {
	bin, err := exec.LookPath("nft")
	if err != nil {
		return holt.Errorf(holt.KindUnsupported, "nft, which enforces the egress policy, is missing: install nftables (`apt-get install nftables`)")
	}
	args := []string{"-f", "-"}
	if path != "" {
		args = append([]string{"--net=" + path, bin}, args...)
		bin = "nsenter"
	}
	cmd := exec.CommandContext(ctx, bin, args...)
	cmd.Stdin = strings.NewReader(ruleset)
	if words, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("nft: %w: %s", err, strings.TrimSpace(string(words)))
	}
	return nil
}

// guard loads the filter and the bandwidth cap of a slot.
func (s Slot) guard(ctx context.Context, p Policy, nameservers []netip.Addr) error {
	hosts, err := hostAddrs()
	if err != nil {
		return err
	}
	var text strings.Builder
	err = gatewayRules.Execute(&text, map[string]any{
		"Internet": p.Internet, "HostAddrs": join(hosts), "Nameservers": join(nameservers),
	})
	if err != nil {
		return fmt.Errorf("write rules: %w", err)
	}
	if err := nft(ctx, s.Gateway(), text.String()); err != nil {
		return err
	}
	if p.Bandwidth > 0 {
		return s.shape(p.Bandwidth)
	}
	return nil
}

// shape caps both directions with a token bucket on the leaving side of each cable.
func (s Slot) shape(rate int64) error {
	ns, err := netns.GetFromPath(s.Gateway())
	if err != nil {
		return fmt.Errorf("open gateway: %w", err)
	}
	defer ns.Close()
	h, err := netlink.NewHandleAt(ns)
	if err != nil {
		return fmt.Errorf("open netlink in gateway: %w", err)
	}
	defer h.Close()
	// Half a second of traffic may pass at once, and a packet waits at most as long.
	burst := uint32(max(64<<10, min(rate/2, 16<<20)))
	for _, name := range []string{insideLink, outsideLink} {
		link, err := h.LinkByName(name)
		if err != nil {
			return fmt.Errorf("find link %s: %w", name, err)
		}
		tbf := &netlink.Tbf{
			QdiscAttrs: netlink.QdiscAttrs{LinkIndex: link.Attrs().Index, Handle: netlink.MakeHandle(1, 0), Parent: netlink.HANDLE_ROOT},
			Rate:       uint64(rate), Limit: 2 * burst, Buffer: netlink.Xmittime(uint64(rate), burst),
		}
		if err := h.QdiscReplace(tbf); err != nil {
			return fmt.Errorf("cap bandwidth of %s: %w", name, err)
		}
	}
	return nil
}

// Blocked reads the slot's counters, without starting a program: it is asked for
// every machine every few seconds.
func (s Slot) Blocked() (Blocked, error) {
	ns, err := netns.GetFromPath(s.Gateway())
	if err != nil {
		return Blocked{}, fmt.Errorf("open gateway: %w", err)
	}
	defer ns.Close()
	conn, err := nftables.New(nftables.WithNetNSFd(int(ns)))
	if err != nil {
		return Blocked{}, fmt.Errorf("open netfilter: %w", err)
	}
	objects, err := conn.GetObjects(&nftables.Table{Name: "holt", Family: nftables.TableFamilyINet})
	if err != nil {
		return Blocked{}, fmt.Errorf("read counters: %w", err)
	}
	var b Blocked
	fields := map[string]*uint64{"host": &b.Host, "private": &b.Private, "metadata": &b.Metadata, "smtp": &b.SMTP, "other": &b.Other}
	for _, o := range objects {
		if c, ok := o.(*nftables.CounterObj); ok && fields[c.Name] != nil {
			*fields[c.Name] = c.Packets
		}
	}
	return b, nil
}

// Traffic returns the bytes that passed between the slot and the host, both ways
// together. The agent's own traffic stays within the slot and does not count.
func (s Slot) Traffic() (uint64, error) {
	link, err := netlink.LinkByName(s.hostLink())
	if err != nil {
		return 0, fmt.Errorf("find uplink: %w", err)
	}
	st := link.Attrs().Statistics
	if st == nil {
		return 0, nil
	}
	return st.RxBytes + st.TxBytes, nil
}

// hostAddrs returns every IPv4 address of the host's own namespace.
func hostAddrs() ([]netip.Addr, error) {
	list, err := netlink.AddrList(nil, netlink.FAMILY_V4)
	if err != nil {
		return nil, fmt.Errorf("list host addresses: %w", err)
	}
	addrs := []netip.Addr{GatewayAddr}
	for _, a := range list {
		if ip, ok := netip.AddrFromSlice(a.IP.To4()); ok {
			addrs = append(addrs, ip)
		}
	}
	return addrs, nil
}

func join(addrs []netip.Addr) string {
	seen := map[netip.Addr]bool{}
	var text []string
	for _, a := range addrs {
		if a.Is4() && !seen[a] {
			seen[a] = true
			text = append(text, a.String())
		}
	}
	return strings.Join(text, ", ")
}
