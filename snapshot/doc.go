// Package snapshot keeps frozen machines on the node's disk: a directory of files
// per snapshot, with a manifest that says what is in them and how to know that
// they are still whole.
//
//	ROOT/ID/manifest        see below; written last
//	ROOT/ID/checkpoint.img  the runtime's files: kernel state,
//	ROOT/ID/pages.img       memory,
//	ROOT/ID/pages_meta.img  and where each page belongs
//	ROOT/ID/volume.img      the copy of the workspace's volume, sparse
//	ROOT/ID/stored          says where else the snapshot is kept, see [Place]
//	ROOT/ID/evicted         says that it is kept there only: the runtime's files and
//	                        the volume are gone, or going
//	ROOT/.ID.tmp/           a snapshot under construction; removed by [Open]
//
// # The manifest, version 1
//
//	line 1  holt-snapshot 1
//	line 2  "sha256:" and 64 hexadecimal digits over line 1 and everything after line 2
//	rest    a JSON object, see [Manifest]
//
// Every file is cut into blocks of [BlockSize] bytes, the last one shorter; the
// manifest holds the 64-bit xxh3 sum of each, big-endian, concatenated, in
// base64. A block that is a hole in a sparse file counts as zeros and is not
// read. The sums find accidents (a flipped bit, a lost write); they do not
// authenticate: whoever can write to ROOT can write a manifest.
//
// # Guarantees
//
// A snapshot that [Store.Get] returns was complete and on the disk when it got its name:
// its files are flushed, then read back for their sums, the manifest is written
// durably, and the directory is renamed. A crash leaves either the whole snapshot
// or garbage under a temporary name.
// An evicted snapshot is gone here for good; what is left of it is the manifest, by
// which a copy from elsewhere can be told to be the same.
//
// Package snapshot/chunk is the other form, deduplicated in object storage.
package snapshot
