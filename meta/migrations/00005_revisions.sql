-- +goose Up
-- Durable states of the workspaces' files.
CREATE TABLE revisions (
    workspace    TEXT NOT NULL,
    number       BIGINT NOT NULL,
    tenant       TEXT NOT NULL,
    txn          TEXT NOT NULL UNIQUE,
    base         BIGINT NOT NULL,
    at           TIMESTAMPTZ NOT NULL,
    reason       TEXT NOT NULL,
    name         TEXT NOT NULL,
    root         BYTEA NOT NULL,
    record       BYTEA NOT NULL,
    files        BIGINT NOT NULL,
    bytes        BIGINT NOT NULL,
    stored       BIGINT NOT NULL,
    torn         BIGINT NOT NULL,
    skipped      BIGINT NOT NULL,
    published_at TIMESTAMPTZ NOT NULL,
    damage       TEXT NOT NULL,
    PRIMARY KEY (workspace, number)
);
CREATE INDEX revisions_tenant ON revisions (tenant, workspace, number);

-- What every publication and every collection of a tenant changes.
CREATE TABLE tenants (
    tenant  TEXT PRIMARY KEY,
    version BIGINT NOT NULL
);

CREATE TABLE packs (
    tenant  TEXT NOT NULL,
    id      TEXT NOT NULL,
    size    BIGINT NOT NULL,
    header  BIGINT NOT NULL,
    blobs   BIGINT NOT NULL,
    dead_at TIMESTAMPTZ,
    PRIMARY KEY (tenant, id)
);

CREATE TABLE blobs (
    tenant TEXT NOT NULL,
    id     BYTEA NOT NULL,
    pack   TEXT NOT NULL,
    start  BIGINT NOT NULL,
    length BIGINT NOT NULL,
    plain  BIGINT NOT NULL,
    codec  BIGINT NOT NULL,
    PRIMARY KEY (tenant, id)
);
CREATE INDEX blobs_pack ON blobs (tenant, pack, start);

-- +goose Down
DROP TABLE blobs;
DROP TABLE packs;
DROP TABLE tenants;
DROP TABLE revisions;
