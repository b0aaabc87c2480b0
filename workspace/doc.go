// Package workspace drives every workspace to the state its owner wants and
// repairs what a crash left half done.
//
// A row of package meta says where a workspace stands (State) and where it
// should go (Goal). For each workspace with something to do one goroutine takes
// steps: it reads the row and, where it matters, what exists on the node; a pure
// function decides the next step; then comes the effect on the node, and then
// the new row by compare and swap, together with its event. Steps of one
// workspace never overlap. Every effect may be repeated, so after a crash at any
// point the same decision is simply taken again.
//
// The rules that make a crash harmless:
//
//   - A sandbox or snapshot is named in a row before the node makes it. What
//     exists on the node and is named in no row read later is garbage.
//   - A machine is released only after a row names its complete snapshot:
//     SUSPENDING(pending) → Freeze → SUSPENDED(snapshot) → Release.
//   - A snapshot is discarded only after a row names the machine made from it:
//     RESUMING(snapshot) → Resume → RUNNING → Discard.
//   - A settled workspace that is not RUNNING holds no sandbox; one whose row
//     still names one has it released before anything else happens.
//
// So at rest a workspace has a running machine or a complete snapshot or, when
// its owner stopped it, its files: never neither, never two.
//
// Locks: the gate of a fork is taken before the gate of its source, which is
// older, so there is no cycle; places for heavy work are taken last.
//
// Only cmd and gateway use this package; it knows nodes and databases by their
// contracts alone.
package workspace
