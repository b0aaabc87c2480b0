// Package fault marks the places at which a crash would be interesting.
//
// [Point] costs nothing in an ordinary build: it is an empty function that the
// compiler inlines. In a build with the tag "faults" it looks at two variables of
// the environment:
//
//	HOLT_FAULT=NAME[:N]   the process kills itself with SIGKILL at the N-th
//	                      passing of the point NAME (the first when N is left out)
//	HOLT_FAULT_LIST=FILE  every passing appends its name and a newline to FILE,
//	                      so that a test can learn which points there are
//
// Names are "verb.place": "suspend.after-freeze". A package whose tests crash it
// within the process takes the function as a field of its configuration, with
// Point as the default, so that both kinds of test use the same points.
//
// Any package may import this one; it imports the standard library only.
package fault

// Func is the type of [Point], for configurations.
type Func func(name string)
