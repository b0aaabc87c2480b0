// Package feed tells which files of a mounted volume may have changed, so that
// whoever keeps copies of them need not look at all of them.
//
// The kernel of the host reports changes of the volume's file system (fanotify(7)
// with FAN_MARK_FILESYSTEM and FAN_REPORT_DFID_NAME, Linux 5.9; root): nothing is spent
// inside the machine, nothing in it can stop the reports, and they go on when it is
// dead. A report names a folder by its file handle and an entry in it, which become
// paths only when they are asked for. Each volume has a queue of its own, because
// two volumes that were copied from one another have the same file system ID.
//
// # Guarantees
//
// What is reported is a hint. A path that changed is reported at least once, with
// these exceptions, after which [Changes.All] is set: the queue ran over, more than
// [MaxPaths] paths changed, or the feed was opened anew. Writes through a shared
// memory mapping are not reported by the kernel before the file is closed; who relies
// on the feed looks at everything from time to time.
//
// A path may be reported that did not change, is gone, or came to be a folder: of a
// folder that is new or was moved, everything in it may be new.
//
// Where the kernel refuses, [Open] returns a feed that always says All.
//
// Package node alone imports it.
package feed
