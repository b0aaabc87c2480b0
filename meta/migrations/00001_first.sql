-- +goose Up
CREATE TABLE workspaces (
    id               TEXT PRIMARY KEY,
    name             TEXT NOT NULL,
    owner            TEXT NOT NULL,
    state            TEXT NOT NULL,
    goal             TEXT NOT NULL,
    version          BIGINT NOT NULL,
    image_ref        TEXT NOT NULL,
    image            TEXT NOT NULL,
    cpus             DOUBLE PRECISION NOT NULL,
    memory           BIGINT NOT NULL,
    disk             BIGINT NOT NULL,
    root             BIGINT NOT NULL,
    processes        BIGINT NOT NULL,
    bandwidth        BIGINT NOT NULL,
    git              TEXT NOT NULL,
    egress           TEXT NOT NULL,
    node             TEXT NOT NULL,
    sandbox          TEXT NOT NULL,
    snapshot         TEXT NOT NULL,
    snapshot_bytes   BIGINT NOT NULL,
    snapshot_at      TIMESTAMPTZ,
    pending_snapshot TEXT NOT NULL,
    forked_from      TEXT NOT NULL,
    message          TEXT NOT NULL,
    attempts         BIGINT NOT NULL,
    restarts         BIGINT NOT NULL,
    restarts_since   TIMESTAMPTZ,
    idle_after       BIGINT NOT NULL,
    created_at       TIMESTAMPTZ NOT NULL,
    updated_at       TIMESTAMPTZ NOT NULL,
    last_active_at   TIMESTAMPTZ,
    boots            BIGINT NOT NULL
);

-- A deleted workspace keeps its row for the history and gives its name back.
CREATE UNIQUE INDEX workspaces_name ON workspaces (name) WHERE state <> 'DELETED';
CREATE INDEX workspaces_created ON workspaces (created_at, id);
CREATE INDEX workspaces_state ON workspaces (state);

-- The last number given to an event. Taking the next one locks this row until
-- the transaction ends, so that events become visible in the order of their
-- numbers and without gaps.
CREATE TABLE counters (
    name  TEXT PRIMARY KEY,
    value BIGINT NOT NULL
);
INSERT INTO counters (name, value) VALUES ('events', 0);

CREATE TABLE events (
    seq       BIGINT PRIMARY KEY,
    workspace TEXT NOT NULL,
    label     TEXT NOT NULL,
    at        TIMESTAMPTZ NOT NULL,
    kind      TEXT NOT NULL,
    state_was TEXT NOT NULL,
    state     TEXT NOT NULL,
    goal      TEXT NOT NULL,
    name      TEXT NOT NULL,
    text      TEXT NOT NULL
);
CREATE INDEX events_workspace ON events (workspace, seq);

CREATE TABLE tokens (
    id           TEXT PRIMARY KEY,
    hash         TEXT NOT NULL UNIQUE,
    name         TEXT NOT NULL,
    kind         TEXT NOT NULL,
    scope        TEXT NOT NULL,
    owner        TEXT NOT NULL,
    created_at   TIMESTAMPTZ NOT NULL,
    expires_at   TIMESTAMPTZ,
    last_used_at TIMESTAMPTZ,
    revoked_at   TIMESTAMPTZ
);

CREATE TABLE idempotency (
    token      TEXT NOT NULL,
    value      TEXT NOT NULL,
    hash       TEXT NOT NULL,
    expires_at TIMESTAMPTZ NOT NULL,
    done       BOOLEAN NOT NULL,
    status     BIGINT NOT NULL,
    media_type TEXT NOT NULL,
    body       BYTEA,
    PRIMARY KEY (token, value)
);

-- +goose Down
DROP TABLE idempotency;
DROP TABLE tokens;
DROP TABLE events;
DROP TABLE counters;
DROP TABLE workspaces;
