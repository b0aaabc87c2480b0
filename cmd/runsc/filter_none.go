//go:build !amd64

package main

import "gvisor.dev/gvisor/pkg/seccomp/precompiledseccomp"

// precompiled is empty where nothing was compiled ahead.
var precompiled []precompiledseccomp.Program
