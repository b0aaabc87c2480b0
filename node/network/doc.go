// Package network gives every sandbox a network of its own that looks the same
// from inside and leads to where its policy allows.
//
// A [Slot] is two network namespaces and two cables:
//
//	holt-N-s  the sandbox's: eth0 10.0.0.2/30, default route 10.0.0.1
//	   │ veth
//	holt-N-g  the gateway's: "in" 10.0.0.1/30, filter, NAT, "out" a unique /30
//	   │ veth
//	host      holtN: the other end of the unique /30; NAT to the world
//
// The inner addresses are equal everywhere, so a restored or forked machine finds
// the network it was frozen with. The guest can change whatever it likes in its
// own namespace; the rules stand in the gateway's, where it has no handle.
//
// Egress (policy "internet") passes to the world and to the configured name
// servers. Refused, and counted by name: the host's own addresses, other
// sandboxes and private ranges, link-local addresses with the metadata services,
// and mail submission (25, 465, 587). Policy "none" refuses everything. The host
// refuses packets from slots to itself and between slots a second time, in its
// own table, for the addresses that it gets later.
//
// Numbers of slots are claimed for the whole host in [claimDir], by a file with
// the claiming server's name and the slot's tag, so that several servers on one host do not
// collide; a number also decides the sandbox's range of host IDs.
//
// Invariant: no slot is used twice. A used slot is destroyed, never cleaned.
package network
