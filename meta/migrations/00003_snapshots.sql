-- +goose Up
-- The line of a workspace's snapshots: those on their way to the store, and those in it.
CREATE TABLE snapshots (
    id         TEXT PRIMARY KEY,
    workspace  TEXT NOT NULL,
    parent     TEXT NOT NULL,
    bytes      BIGINT NOT NULL,
    stored     BIGINT NOT NULL,
    created_at TIMESTAMPTZ NOT NULL,
    durable_at TIMESTAMPTZ,
    damage     TEXT NOT NULL
);
CREATE INDEX snapshots_workspace ON snapshots (workspace, created_at);

-- +goose Down
DROP TABLE snapshots;
