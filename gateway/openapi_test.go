package gateway_test

import (
	"bytes"
	"flag"
	"os"
	"testing"

	"github.com/holt-ide/holt/gateway"
)

var update = flag.Bool("update", false, "write the golden files")

// The committed description is that of the code. Write it anew with:
//
//	go test ./gateway -run OpenAPI -update
func TestOpenAPIIsCommitted(t *testing.T) {
	const golden = "../api/openapi.json"
	got, err := gateway.OpenAPI()
	if err != nil {
		t.Fatal(err)
	}
	if *update {
		if err := os.WriteFile(golden, got, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(golden)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, want) {
		t.Errorf("%s is not what the code describes: run go test ./gateway -run OpenAPI -update", golden)
	}
}
