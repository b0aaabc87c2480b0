// Package volume keeps the writable files of workspaces: one file-backed ext4
// file system per workspace, with a hard size limit, in a pool whose file system
// can share blocks between files (reflink), so that a copy of a volume is instant
// and costs no space until one side changes.
//
// Layout of [Config].Dir:
//
//	pool.xfs            the pool's own file system, only where Dir's cannot reflink
//	pool/               the pool: Dir itself can reflink, or pool.xfs is mounted here
//	pool/volumes/ID.img one volume per workspace, sparse
//	pool/...            other rooms keep what must be copied together with volumes here
//	mnt/ID/             where a volume is mounted while its sandbox lives
//
// A volume's files have the guest's own IDs (root is 0, dev is 1000). Each mount is
// shifted into the ID range of the sandbox that uses it (an ID-mapped mount), so
// two sandboxes never share a host uid although their volumes look alike.
//
// Mounts are the kernel's: they outlive this process, and [Pool.Mount] finds them
// again. Only host-made file systems are mounted: the guest writes files through
// gVisor, never blocks.
//
// It is imported by package node alone, and knows neither sandboxes nor snapshots.
package volume
