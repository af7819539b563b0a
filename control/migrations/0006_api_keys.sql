-- The keys of programs that administer the mesh. scopes is a JSON array of strings.
CREATE TABLE api_keys (
    id          INTEGER NOT NULL PRIMARY KEY AUTOINCREMENT,
    secret_hash BLOB    NOT NULL UNIQUE,
    scopes      TEXT    NOT NULL,
    created_at  INTEGER NOT NULL,
    created_by  TEXT    NOT NULL,
    expires_at  INTEGER NOT NULL,
    used_at     INTEGER
) STRICT;
