package main

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/holt-ide/holt"
	"github.com/holt-ide/holt/node/depot"
	"github.com/holt-ide/holt/object"
	"github.com/holt-ide/holt/object/local"
)

func TestParseStore(t *testing.T) {
	for at, want := range map[string]storeConfig{
		"":                    {},
		"none":                {at: "none"},
		"/srv/store":          {at: "/srv/store", dir: "/srv/store"},
		"s3://bucket":         {at: "s3://bucket", bucket: "bucket"},
		"s3://bucket/":        {at: "s3://bucket/", bucket: "bucket"},
		"s3://bucket/a/b":     {at: "s3://bucket/a/b", bucket: "bucket", prefix: "a/b/"},
		"s3://bucket/a/b///":  {at: "s3://bucket/a/b///", bucket: "bucket", prefix: "a/b/"},
		"s3://buck.et-1/x_y.": {at: "s3://buck.et-1/x_y.", bucket: "buck.et-1", prefix: "x_y./"},
	} {
		got, err := parseStore(at)
		if err != nil || got.dir != want.dir || got.bucket != want.bucket || got.prefix != want.prefix || got.at != want.at {
			t.Errorf("%q: %+v, %v", at, got, err)
		}
	}
	for _, at := range []string{"s3://", "s3:///x", "s3://b/a b", "s3://b/../x", "gs://b", "https://host/b"} {
		if _, err := parseStore(at); !holt.IsKind(err, holt.KindInvalid) || !strings.Contains(err.Error(), at) {
			t.Errorf("%q: %v", at, err)
		}
	}
	for _, endpoint := range []string{"host:9000", "ftp://x", "http://"} {
		c := storeConfig{bucket: "b", endpoint: endpoint}
		if err := c.checkEndpoint(); !holt.IsKind(err, holt.KindInvalid) {
			t.Errorf("endpoint %q: %v", endpoint, err)
		}
	}
	c := storeConfig{dir: "x", endpoint: "http://h"}
	if err := c.checkEndpoint(); !holt.IsKind(err, holt.KindInvalid) {
		t.Errorf("an endpoint of a directory: %v", err)
	}
}

// What no waiting mends ends the start; a store that is away does not.
func TestStoreAtTheStart(t *testing.T) {
	ctx := t.Context()
	open := func(dir string) error {
		c, err := parseStore(dir)
		if err != nil {
			t.Fatal(err)
		}
		connect, err := tryStore(ctx, c.connector(t.TempDir()))
		if err == nil {
			_, err = connect(ctx)
		}
		return err
	}
	ours := filepath.Join(t.TempDir(), "store")
	for range 2 {
		if err := open(ours); err != nil {
			t.Fatal(err)
		}
	}
	s, err := local.Open(ours)
	if err != nil {
		t.Fatal(err)
	}
	for text, kind := range map[string]holt.Kind{"2\n": holt.KindUnsupported, "what": holt.KindCorrupt, "1\n": ""} {
		if _, err := s.Put(ctx, storeMark, []byte(text), object.Condition{}); err != nil {
			t.Fatal(err)
		}
		if err := open(ours); kind != "" && !holt.IsKind(err, kind) || kind == "" && err != nil {
			t.Errorf("mark %q: %v", text, err)
		}
	}
	foreign := t.TempDir()
	if err := os.WriteFile(filepath.Join(foreign, "thesis.txt"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := open(foreign); !holt.IsKind(err, holt.KindConflict) || !strings.Contains(err.Error(), "thesis.txt") {
		t.Errorf("somebody's directory: %v", err)
	}
	unmarked := t.TempDir()
	if s, err = local.Open(unmarked); err == nil {
		_, err = s.Put(ctx, "tenant/catalog", []byte("x"), object.Condition{})
	}
	if err != nil {
		t.Fatal(err)
	}
	if err := open(unmarked); !holt.IsKind(err, holt.KindConflict) {
		t.Errorf("objects of somebody else: %v", err)
	}

	away := holt.Errorf(holt.KindUnavailable, "away")
	tries := 0
	connect, err := tryStore(ctx, func(context.Context) (depot.Objects, error) { tries++; return depot.Objects{}, away })
	if err != nil {
		t.Fatalf("a store that is away ends the start: %v", err)
	}
	if _, err := connect(ctx); !errors.Is(err, away) || tries != 2 {
		t.Errorf("later: %v after %d tries", err, tries)
	}
	bucket, err := parseStore("s3://bucket/x")
	if err != nil {
		t.Fatal(err)
	}
	bucket.environment = func(string) string { return "" }
	if _, err := tryStore(ctx, bucket.connector(t.TempDir())); !holt.IsKind(err, holt.KindForbidden) || !strings.Contains(err.Error(), "AWS_ACCESS_KEY_ID") {
		t.Errorf("without credentials: %v", err)
	}
}

func TestDataDirectoryKeepsItsStore(t *testing.T) {
	dir := t.TempDir()
	check := func(at string) error {
		c, err := parseStore(at)
		if err != nil {
			t.Fatal(err)
		}
		return c.checkPlace(dir)
	}
	for _, at := range []string{"none", "none", "s3://b/x", "s3://b/x"} { // from nothing to something
		if err := check(at); err != nil {
			t.Errorf("%s: %v", at, err)
		}
	}
	for _, at := range []string{"", "none", "/srv/store", "s3://b/y"} {
		if err := check(at); !holt.IsKind(err, holt.KindConflict) || !strings.Contains(err.Error(), "s3://b/x") {
			t.Errorf("%s after s3://b/x: %v", at, err)
		}
	}
}

func TestStoreOwnerStays(t *testing.T) {
	dir := t.TempDir()
	first, err := storeOwner(dir)
	if err != nil || first == "" {
		t.Fatal(err)
	}
	if again, err := storeOwner(dir); err != nil || again != first {
		t.Errorf("%q after a restart, %v", again, err)
	}
	if other, err := storeOwner(t.TempDir()); err != nil || other == first {
		t.Errorf("two servers are called %q, %v", other, err)
	}
}
