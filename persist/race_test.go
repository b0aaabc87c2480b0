//go:build race

package persist_test

// The race detector makes everything several times slower.
const steps = 800
