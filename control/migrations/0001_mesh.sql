CREATE TABLE users (
    login      TEXT    NOT NULL PRIMARY KEY,
    role       TEXT    NOT NULL,
    created_at INTEGER NOT NULL
) STRICT;

-- Tags and other lists are JSON arrays of strings.
CREATE TABLE auth_keys (
    id          INTEGER NOT NULL PRIMARY KEY AUTOINCREMENT,
    secret_hash BLOB    NOT NULL UNIQUE,
    user        TEXT    REFERENCES users (login) ON DELETE CASCADE,
    tags        TEXT,
    reusable    INTEGER NOT NULL,
    ephemeral   INTEGER NOT NULL,
    created_at  INTEGER NOT NULL,
    expires_at  INTEGER NOT NULL,
    used_at     INTEGER,
    CHECK ((user IS NULL) <> (tags IS NULL))
) STRICT;

-- A deleted node keeps its row, so that its number is never given again and its requests can be
-- told from those of a node that never was. Its user may be gone too, hence no reference.
-- farewell is 1 once its last peer document is there, 2 once its last network document is.
CREATE TABLE nodes (
    id            INTEGER NOT NULL PRIMARY KEY AUTOINCREMENT,
    name          TEXT    NOT NULL,
    node_key      TEXT    NOT NULL,
    wireguard_key TEXT    NOT NULL,
    address       INTEGER NOT NULL,
    user          TEXT,
    tags          TEXT,
    ephemeral     INTEGER NOT NULL,
    endpoints     TEXT    NOT NULL DEFAULT '[]',
    ssh_host_keys TEXT    NOT NULL DEFAULT '[]',
    release       TEXT    NOT NULL DEFAULT '',
    created_at    INTEGER NOT NULL,
    last_seen     INTEGER,
    deleted_at    INTEGER,
    farewell      INTEGER NOT NULL DEFAULT 0 CHECK (farewell BETWEEN 0 AND 2),
    CHECK ((user IS NULL) <> (tags IS NULL))
) STRICT;

CREATE UNIQUE INDEX live_name ON nodes (name) WHERE deleted_at IS NULL;
CREATE UNIQUE INDEX live_node_key ON nodes (node_key) WHERE deleted_at IS NULL;
CREATE UNIQUE INDEX live_wireguard_key ON nodes (wireguard_key) WHERE deleted_at IS NULL;
CREATE UNIQUE INDEX live_address ON nodes (address) WHERE deleted_at IS NULL;
CREATE INDEX leaving ON nodes (id) WHERE deleted_at IS NOT NULL AND farewell < 2;

-- The newest document of each kind. The text is the last column: the others are read without it.
CREATE TABLE documents (
    node         INTEGER NOT NULL REFERENCES nodes (id),
    kind         TEXT    NOT NULL,
    version      INTEGER NOT NULL,
    content_hash BLOB    NOT NULL,
    issued_at    INTEGER NOT NULL,
    expires_at   INTEGER NOT NULL,
    text         TEXT    NOT NULL,
    PRIMARY KEY (node, kind)
) STRICT;

CREATE TABLE policies (
    id       INTEGER NOT NULL PRIMARY KEY AUTOINCREMENT,
    text     TEXT    NOT NULL,
    saved_at INTEGER NOT NULL,
    saved_by INTEGER
) STRICT;

-- Where the search for a free address goes on, counted from the start of the IPv4 range.
CREATE TABLE address_pool (
    only_row INTEGER NOT NULL PRIMARY KEY CHECK (only_row = 1),
    next     INTEGER NOT NULL
) STRICT;

INSERT INTO address_pool (only_row, next) VALUES (1, 1);
