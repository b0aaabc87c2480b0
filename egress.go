package holt

// Egress says which part of the network a workspace may reach.
type Egress string

// The egress policies.
const (
	EgressInternet Egress = "internet" // everything but the host, its neighbours and private ranges; the default
	EgressNone     Egress = "none"     // nothing
)
