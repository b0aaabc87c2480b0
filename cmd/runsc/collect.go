package main

import (
	"runtime"
	"runtime/debug"
)

// startPercent lets the heap grow to eight times Go's smallest, which is 32 MiB,
// before the first collection: more than a start or a restore needs.
const startPercent = 800

// deferCollection puts off the first garbage collection. Starts and restores
// allocate a lot, keep most of it and have somebody waiting. From the first
// collection on, which Go forces after two minutes, the usual pace applies.
func deferCollection() {
	usual := debug.SetGCPercent(startPercent)
	// The pointer is garbage at once, so the first collection calls back.
	runtime.SetFinalizer(new(*byte), func(**byte) { debug.SetGCPercent(usual) })
}
