// Package migrations embeds the schema of the metadata database as numbered SQL
// files. One set runs on SQLite and on PostgreSQL, so they use only what both
// understand alike: TEXT identifiers made in Go, BIGINT, BOOLEAN, DOUBLE
// PRECISION, BYTEA and TIMESTAMPTZ whose values are set in Go.
//
// A file that was released is never changed; a change of the schema is a new
// file. Only meta/sql imports this package.
package migrations

import "embed"

// Files holds the migrations, named NNNNN_what.sql.
//
//go:embed *.sql
var Files embed.FS
