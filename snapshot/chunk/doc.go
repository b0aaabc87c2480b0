// Package chunk keeps snapshots in object storage: cut into chunks, each stored
// once for a tenant, compressed, and verified at every read.
//
// A snapshot is a handful of files (kernel state, memory, a volume) that belong
// together. [Store.Begin] writes one, [Store.View] reads it lazily, [Store.Chain]
// is the line of a workspace's snapshots to fall back on, [Store.Collect] removes
// what nobody needs any more. It knows neither sandboxes nor volumes, and takes its
// storage as an [object.Store].
//
// # Objects
//
// Numbers are big-endian. TXN is a transaction: one attempt to write something, 26
// characters of [0-9a-v] that are never used twice, so that no object is ever
// written again and what is garbage stays garbage.
//
//	TENANT/format            "holt-chunks 1\n"; says that the catalog has existed
//	TENANT/catalog           what there is; the only object that changes
//	TENANT/manifest/TXN      one snapshot: what it is, and the sum of its index
//	TENANT/index/TXN         where each chunk of its files is
//	TENANT/segment/TXN-N     some MiB of chunks
//	TENANT/trace/SNAPSHOT    advice for reading ahead, see [Trace]; may be lost
//
// # Segment, version 1
//
//	offset  size  what
//	0       8     "holtseg" and the byte 1
//	8       4     number of chunks n, 1 to 65536
//	12      4     0
//	16      32 n  the table, an entry for each chunk
//	16+32n  -     the stored forms of the chunks, side by side in the table's order
//	-       -     parity: the exclusive or of all before it in stripes of 32 KiB, the
//	              last one filled up with zeros; shorter if all before it is shorter
//
// Damage that is confined to one stripe can be mended: the sums tell when the
// right stripe has been made anew from the others.
//
// An entry of the table:
//
//	0       16    identity: the first 16 bytes of the BLAKE3 of the plain chunk
//	16      8     xxh3 (64 bits) of the stored form
//	24      4     length of the plain chunk in bytes, 1 to 1 MiB
//	28      1     codec: 1 none, 2 LZ4 block, 3 zstd frame
//	29      3     length of the stored form, at most that of the plain chunk
//
// # Index, version 1
//
//	0       8     "holtidx" and the byte 1
//	8       4     chunk size in bytes, a power of two from 4 KiB to 1 MiB
//	12      4     number of segments s
//	16      4     number of files f
//	20      4     0
//	24      56 s  the segments: TXN (26), zeros (2), N (4), number of chunks (4),
//	              size of the object (4), the first 16 bytes of the BLAKE3 of the
//	              object's header and table
//	-       -     f files, side by side
//
// A file is the length of its name (2), the name, its size in bytes (8), the number
// of its runs (4), and the runs. A run is a row of chunks: an unsigned varint of
// twice their number for zeros, which are stored nowhere; or twice their number
// and one, then the number of the segment in this index and the slot in it of
// the first, both unsigned varints, the others following. All chunks of a file have
// the chunk size but the last, which may be shorter.
//
// # Manifest, catalog and trace, version 1
//
//	line 1  "holt-chunked-snapshot 1", "holt-snapshot-catalog 1", "holt-snapshot-trace 1"
//	line 2  "sha256:" and 64 hexadecimal digits over line 1 and everything after line 2
//	rest    a JSON object: [Manifest]; the tenant's [Entry] values and transactions;
//	        [Trace]
//
// Sets of segments are JSON objects of transactions and ranges: {"TXN": "0-3,7"}.
//
// # What is verified
//
// The catalog has the manifest's SHA-256, the manifest the index's, the index a
// hash of every segment's table, the table a sum of every chunk. A read verifies all
// of it on its way, each time; [Store.Verify] compares the identities as well. A
// damaged segment is mended where it is kept, if its parity allows that. The sums find accidents. They do not authenticate: whoever can write to the
// storage can write a catalog.
//
// Identities are compared without comparing bytes, so they need a hash for which
// nobody can make two chunks; they are compared within a tenant only, so that
// nobody learns from a snapshot's size what another tenant has.
//
// # Commits
//
// A writer registers a transaction in the catalog, which also holds the segments
// that it may reuse. It writes segments, index and manifest, in this order, reads
// everything back that the snapshot refers to, and swaps the catalog: that one
// step ends the transaction and makes the snapshot the current one of its
// workspace. A crash before it leaves garbage, a crash after it a snapshot.
//
// Lock order: View.mu, lazyTable.mu. Nothing is called with Writer.mu held.
//
// # History of the formats
//
//	1  the first
package chunk
