// Package persist keeps the files of workspaces in object storage, as revisions: what
// was in a workspace's volume at one moment. It reads volumes from outside, packs what is
// new, publishes revisions, and brings files back; package persist/journal keeps what is
// typed and is not in files yet.
//
// [Store.Flush] makes a revision, [Store.Open] reads one, [Store.Restore] brings back
// paths or everything, [Store.Diff] compares two. The package knows neither sandboxes nor
// nodes: it gets an open folder. Its storage is an [object.Store] for the bytes and
// [meta.Revisions] for the rows.
//
// # What is kept
//
// The folders workspace and home of a volume: files, symbolic links, folders, empty ones
// too, with modes, owners and times of modification. Not kept: what ignore rules leave out
// (package ignore), sockets, pipes and devices (counted), hard links as such (each name
// is a file of its own), extended attributes, times of folders that have not changed otherwise.
//
// # Blobs
//
// Everything is blobs: 1 byte to 8 MiB, named by the BLAKE3 of their bytes, each kept once
// for a tenant, verified at every read. Integers are uvarints of encoding/binary unless a size is
// given; varint is the signed form.
//
//	stream  1 byte role: 0 no bytes, 1 the blob has the bytes, 2 the blob is a list; then, but
//	        for role 0, 32 bytes of the blob's name
//	list    of parts, side by side: twice the number of bytes, then 32 bytes of the
//	        blob's name; or twice the number of zeros and one, and nothing more
//	folder  the bytes of a stream: entries, side by side, in the order of the bytes
//	        of their names. A large one is cut into several blobs between entries.
//	top     the entry of the volume's top folder, with an empty name
//	record  a JSON object that describes a revision: see record in flush.go
//
// An entry:
//
//	1       length of the name, then the name
//	1       type: 1 file, 2 folder, 3 symbolic link
//	1       flags: 1 the file changed while it was read, 2 owner and group follow
//	uvarint mode, 07777 at most
//	varint  seconds since 1970, then uvarint nanoseconds: time of modification
//	uvarint owner, uvarint group: only with the flag; otherwise both are 1000
//	uvarint inode
//	varint, uvarint  time of change
//	link:   uvarint length of the target, then the target
//	file:   uvarint bytes, then a stream
//	folder: uvarint bytes of all files below, uvarint number of entries below, then a stream
//
// Inode and time of change tell later, without reading it, that a file is as it was.
// A guest cannot set them.
//
// What a blob means follows from what refers to it, never from its bytes: a guest can
// write a file that looks like a folder.
//
// # Pack, version 1
//
// TENANT/pack/TXN-N, where TXN names one attempt to publish, 26 characters of [0-9a-v] that are
// never used twice. Integers are big-endian.
//
//	offset   size  what
//	0        8     "holtpak" and the byte 1
//	8        4     number of blobs n
//	12       4     0
//	16       44 n  the table, a row for each blob
//	16+44n   32    BLAKE3 of all before
//	48+44n   -     the stored forms, side by side in the table's order: content of
//	               files first, then the rest
//
// A row of the table:
//
//	0   32  BLAKE3 of the blob
//	32  4   length of the blob
//	36  4   length of the stored form
//	40  1   codec: 1 none, 2 zstd frame
//	41  1   what it is for: 1 content, 2 trees and lists, 3 record
//	42  2   0
//
// The rows of the database can be made anew from the packs alone. A flush is one pack,
// unless it has more than [Config.PackSize] of new bytes.
//
// # Publications
//
// Packs first, then one transaction with all the rows: whoever sees the revision finds
// everything. The transaction fails if what the revision reuses of others is no longer
// there, which is found out by the collector's transaction and this one both taking the tenant's row: then
// the flush begins again. A crash before it leaves packs without rows, for the collector.
//
// # A guest at work
//
// While a volume is read its guest writes to it. A file whose size or times change between
// the beginning and the end of reading is read again, three times at most, and then kept
// with a mark. Programs that write a new file and rename it are never seen half done. There is no
// one moment for all files: a revision is a walk, not a snapshot.
//
// Lock order: line.mu, then Store.mu. Nothing is called with Store.mu held.
//
// # History of the formats
//
//	1  the first
package persist
