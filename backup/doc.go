// Package backup copies a whole one-machine server: its database, objects,
// volumes, snapshots, images and runtimes, while it runs, and makes a data
// directory of such a copy again.
//
// # A backup
//
//	TARGET/backup     what there is, see below
//	TARGET/data/…     the files of a data directory, under the same names
//
// The file backup has three parts, as a snapshot's manifest has:
//
//	line 1  "holt-backup 1"
//	line 2  "sha256:" and 64 hexadecimal digits over line 1 and everything after line 2
//	rest    a JSON object: [Manifest]
//
// A backup has the name TARGET only when it is whole and on the disk; until then
// it is TARGET.partial.
//
// # Of one moment
//
// The moment is that of the database's copy. What the database refers to is there
// before it and may go after it, so files that never change are copied twice over:
// all of them before that moment, and what is new after it. What was removed in
// between stays in the backup, where it harms nobody. A volume is copied by
// reflink after it was flushed, right after the database: its file system is what
// a power failure would leave, and every restart repairs that. The few objects
// that do change (catalogs) are copied before those that they name, and once more
// if they changed meanwhile.
//
// So a workspace that was suspended at that moment resumes from the backup as it
// would have there; one that was running starts again with its files. At the end
// the rows of the copied database are compared with what was copied.
//
// A store that is not a directory of this machine (a bucket) is not copied: the
// manifest says where it is.
package backup
