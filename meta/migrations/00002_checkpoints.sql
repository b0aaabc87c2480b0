-- +goose Up
CREATE TABLE checkpoints (
    snapshot   TEXT PRIMARY KEY,
    workspace  TEXT NOT NULL,
    label      TEXT NOT NULL,
    automatic  BOOLEAN NOT NULL,
    ready      BOOLEAN NOT NULL,
    bytes      BIGINT NOT NULL,
    pause      BIGINT NOT NULL,
    created_at TIMESTAMPTZ NOT NULL
);
CREATE UNIQUE INDEX checkpoints_label ON checkpoints (workspace, label);

-- The checkpoint that a fork or a rollback starts from.
ALTER TABLE workspaces ADD COLUMN from_snapshot TEXT NOT NULL DEFAULT '';

-- +goose Down
ALTER TABLE workspaces DROP COLUMN from_snapshot;
DROP TABLE checkpoints;
