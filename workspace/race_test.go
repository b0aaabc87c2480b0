//go:build race

package workspace

// underRace thins the exhaustive tests out: SQLite in Go is some twenty times
// slower with the race detector, and the same code runs in all of them.
const underRace = true
