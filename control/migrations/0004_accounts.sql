-- What people without an identity provider sign in with. totp_step is the newest time step
-- (RFC 6238) whose code was used: no code of it, or of a step before it, counts again.
CREATE TABLE accounts (
    login         TEXT    NOT NULL PRIMARY KEY REFERENCES users (login) ON DELETE CASCADE,
    password_hash TEXT    NOT NULL,
    totp_secret   BLOB    NOT NULL,
    totp_step     INTEGER NOT NULL,
    created_at    INTEGER NOT NULL
) STRICT;

-- One-time links by which a user sets a password; a new one takes the place of the one before.
CREATE TABLE invitations (
    login       TEXT    NOT NULL PRIMARY KEY REFERENCES users (login) ON DELETE CASCADE,
    secret_hash BLOB    NOT NULL UNIQUE,
    totp_secret BLOB    NOT NULL,
    expires_at  INTEGER NOT NULL
) STRICT;

CREATE TABLE web_sessions (
    token_hash   BLOB    NOT NULL PRIMARY KEY,
    login        TEXT    NOT NULL REFERENCES users (login) ON DELETE CASCADE,
    signed_in_at INTEGER NOT NULL,
    expires_at   INTEGER NOT NULL
) STRICT;

CREATE INDEX web_sessions_of ON web_sessions (login);

-- Browsers in which a user has signed in before.
CREATE TABLE known_browsers (
    token_hash BLOB    NOT NULL PRIMARY KEY,
    login      TEXT    NOT NULL REFERENCES users (login) ON DELETE CASCADE,
    expires_at INTEGER NOT NULL
) STRICT;

CREATE INDEX known_browsers_of ON known_browsers (login);

-- Who an identity provider says that a user is. The subject never changes, and is never given to
-- somebody else; an address may be.
CREATE TABLE identities (
    issuer     TEXT    NOT NULL,
    subject    TEXT    NOT NULL,
    login      TEXT    NOT NULL REFERENCES users (login) ON DELETE CASCADE,
    created_at INTEGER NOT NULL,
    PRIMARY KEY (issuer, subject)
) STRICT;

-- Hosts that wait, or have waited, for a person to let them in.
CREATE TABLE joins (
    node_key      TEXT    NOT NULL PRIMARY KEY,
    secret_hash   BLOB    NOT NULL UNIQUE,
    wireguard_key TEXT    NOT NULL,
    name          TEXT    NOT NULL,
    tags          TEXT    NOT NULL,
    release       TEXT    NOT NULL,
    source        TEXT    NOT NULL,
    expires_at    INTEGER NOT NULL,
    ended         TEXT    CHECK (ended IN ('joined', 'refused', 'left'))
) STRICT;

-- A node that is not approved is nobody's peer.
ALTER TABLE nodes ADD COLUMN approved INTEGER NOT NULL DEFAULT 1;
