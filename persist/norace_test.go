//go:build !race

package persist_test

const steps = 10_000
