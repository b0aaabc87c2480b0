//go:build !faults

package fault

// Enabled reports whether this build can crash at its points.
const Enabled = false

// Point marks a place at which a test may crash the process.
func Point(string) {}
