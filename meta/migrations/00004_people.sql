-- +goose Up
CREATE TABLE users (
    id           TEXT PRIMARY KEY,
    name         TEXT NOT NULL UNIQUE,
    email        TEXT NOT NULL,
    role         TEXT NOT NULL,
    password     TEXT NOT NULL,
    created_at   TIMESTAMPTZ NOT NULL,
    disabled_at  TIMESTAMPTZ,
    last_seen_at TIMESTAMPTZ
);

-- Accounts of identity providers that may sign a user in.
CREATE TABLE identities (
    issuer     TEXT NOT NULL,
    subject    TEXT NOT NULL,
    user_id    TEXT NOT NULL,
    created_at TIMESTAMPTZ NOT NULL,
    PRIMARY KEY (issuer, subject)
);
CREATE INDEX identities_user ON identities (user_id);

CREATE TABLE invitations (
    id             TEXT PRIMARY KEY,
    hash           TEXT NOT NULL UNIQUE,
    note           TEXT NOT NULL,
    role           TEXT NOT NULL,
    workspace      TEXT NOT NULL,
    workspace_role TEXT NOT NULL,
    created_by     TEXT NOT NULL,
    created_at     TIMESTAMPTZ NOT NULL,
    expires_at     TIMESTAMPTZ NOT NULL,
    used_at        TIMESTAMPTZ,
    used_by        TEXT NOT NULL,
    revoked_at     TIMESTAMPTZ
);

CREATE TABLE members (
    workspace TEXT NOT NULL,
    user_id   TEXT NOT NULL,
    role      TEXT NOT NULL,
    added_by  TEXT NOT NULL,
    added_at  TIMESTAMPTZ NOT NULL,
    PRIMARY KEY (workspace, user_id)
);
CREATE INDEX members_user ON members (user_id);

-- Names are kept beside IDs: an entry outlives what it tells of.
CREATE TABLE audit (
    seq         BIGINT PRIMARY KEY,
    at          TIMESTAMPTZ NOT NULL,
    actor       TEXT NOT NULL,
    actor_name  TEXT NOT NULL,
    token       TEXT NOT NULL,
    action      TEXT NOT NULL,
    target      TEXT NOT NULL,
    target_name TEXT NOT NULL,
    address     TEXT NOT NULL,
    outcome     TEXT NOT NULL,
    detail      TEXT NOT NULL,
    request     TEXT NOT NULL
);
CREATE INDEX audit_actor ON audit (actor, seq);
CREATE INDEX audit_target ON audit (target, seq);
INSERT INTO counters (name, value) VALUES ('audit', 0);

ALTER TABLE tokens ADD COLUMN workspace TEXT NOT NULL DEFAULT '';
ALTER TABLE tokens ADD COLUMN agent TEXT NOT NULL DEFAULT '';
ALTER TABLE tokens ADD COLUMN address TEXT NOT NULL DEFAULT '';
ALTER TABLE tokens ADD COLUMN started_at TIMESTAMPTZ;
CREATE INDEX tokens_owner ON tokens (owner, kind);
CREATE INDEX workspaces_owner ON workspaces (owner);

-- Whoever owned things until now was the server's only user, its administrator.
INSERT INTO users (id, name, email, role, password, created_at)
SELECT owner, owner, '', 'admin', '', MIN(created_at)
FROM (SELECT owner, created_at FROM workspaces UNION ALL SELECT owner, created_at FROM tokens) AS owners
WHERE owner <> '' GROUP BY owner;

-- +goose Down
DROP INDEX workspaces_owner;
DROP INDEX tokens_owner;
ALTER TABLE tokens DROP COLUMN started_at;
ALTER TABLE tokens DROP COLUMN address;
ALTER TABLE tokens DROP COLUMN agent;
ALTER TABLE tokens DROP COLUMN workspace;
DELETE FROM counters WHERE name = 'audit';
DROP TABLE audit;
DROP TABLE members;
DROP TABLE invitations;
DROP TABLE identities;
DROP TABLE users;
