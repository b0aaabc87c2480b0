package gvisor

// openPoints are the points that tell a path.
var openPoints = []string{"syscall/openat/exit"}
