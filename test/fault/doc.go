// Package fault hurts a real server and looks, from outside, whether it keeps its
// promises: holtd is killed at every fault point and at random moments, disks
// run full, snapshots are damaged, sandboxes die, data directories are wrong.
//
// What must hold afterwards is in one place, see residue: every workspace is in
// the state it was asked for or in one that says why not, a running one has
// exactly one sandbox, others have none, and the host holds nothing that no
// workspace names.
//
// The package has tests only. They need root and what `make build` leaves in
// bin/. With HOLT_SLOW=1 they try every fault point in every verb that passes it
// instead of each once, and more rounds of everything else.
package fault
