// Package node turns complete commands into machines on this host: it puts
// together a sandbox, a volume, a network and an image, and takes them apart
// again. It decides nothing: what should exist is the business of package
// workspace, whose Node interface it implements.
//
// Layout of [Config].Dir:
//
//	machines/ID.json    one record per sandbox, see [record]; the list of what to clean up
//	units/ID/           files made for one sandbox, see [unit]
//	tools/HASH/         guest agents, by content: a snapshot resumes within the agent it was frozen with
//	pool/               see package volume; pool/snapshots holds the snapshots
//	gvisor/             see package sandbox/gvisor
//
// # The path of a machine
//
//	Provision  unit → record → volume → sandbox → agent answers → home seeded, git cloned → ready
//	Freeze     flush → agent told → pause → checkpoint beside volume copy → (run on) → sums → snapshot named
//	Resume     snapshot verified → volume replaced → unit → record → sandbox restored → agent thawed → ready
//	Release    sandbox → volume unmounted → unit → record
//
// A unit is a network slot and a folder, made to measure or taken from the
// [reserve], where it waits with a sandbox prepared in it.
//
// Release is the reverse of Provision and Resume, each step idempotent, and is
// also how a failed or crashed Provision is undone: the record is written before
// anything it lists exists, and removed last.
//
// # After a restart
//
// [Open] asks the driver which sandboxes live. One with a record marked ready is
// adopted: same processes, same terminals, the agent's events are read on from
// the last number seen. Everything else is released.
//
// Lock order: Node.mu is never held while a machine's mu is taken, and neither
// across a call into the guest or the driver, except machine.op, which serialises
// the long operations of one machine.
package node
