-- How users sign in without password and code. handle is what authenticators call the user: chance,
-- and the same for all passkeys of one user.
CREATE TABLE passkeys (
    credential_id BLOB    NOT NULL PRIMARY KEY,
    login         TEXT    NOT NULL REFERENCES accounts (login) ON DELETE CASCADE,
    handle        BLOB    NOT NULL,
    name          TEXT    NOT NULL,
    passkey       TEXT    NOT NULL,
    created_at    INTEGER NOT NULL,
    used_at       INTEGER
) STRICT;

CREATE INDEX passkeys_of ON passkeys (login);
