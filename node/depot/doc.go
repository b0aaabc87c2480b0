// Package depot keeps the snapshots of a node: as raw files beside the volumes
// (package snapshot) and, once they have been committed there, in object storage
// (package snapshot/chunk). It decides when raw files go, and presents what only
// the store has as a lazy mount (package snapshot/lazy).
//
// A snapshot is known here as long as its manifest is, wherever its files are:
//
//	raw             just written; nobody else has it
//	raw and stored  the usual state of a workspace that sleeps: resumes are hot
//	stored          evicted: resumes fetch what they touch
//
// # Guarantees
//
// [Depot.Keep] returns nil only when everything that the snapshot refers to has been
// read back from the store. Raw files are removed only after that. What is read from
// either place is compared with sums on the way; a difference is an error, never
// other bytes.
//
// The store may be away at any time, at the start too: what needs it is KindUnavailable
// then, and everything else goes on.
//
// It is imported by package node alone.
package depot
