-- Each row is the word of a key of control that another takes its place; signed is the text that
-- nodes verify.
CREATE TABLE key_rotations (
    number      INTEGER NOT NULL PRIMARY KEY,
    old_key     TEXT    NOT NULL,
    new_key     TEXT    NOT NULL UNIQUE,
    issued_at   INTEGER NOT NULL,
    old_ends_at INTEGER NOT NULL,
    signed      TEXT    NOT NULL
) STRICT;
