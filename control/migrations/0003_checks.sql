-- A login, or a wish for the next minutes, that waits until the owner of its source approves it.
-- period: seconds; NULL is the default of all nodes, 0 is each connection.
-- outcome: NULL while it waits.
CREATE TABLE checks (
    id            TEXT    NOT NULL PRIMARY KEY,
    source        INTEGER NOT NULL REFERENCES nodes (id),
    destination   INTEGER REFERENCES nodes (id),
    login         TEXT,
    class         TEXT    NOT NULL CHECK (class IN ('root', 'nonroot')),
    rule          TEXT,
    period        INTEGER,
    connection    TEXT,
    ahead_seconds INTEGER,
    target        TEXT,
    owner         TEXT    NOT NULL,
    wireguard_key TEXT    NOT NULL,
    number        INTEGER NOT NULL,
    choices       TEXT    NOT NULL,
    created_at    INTEGER NOT NULL,
    expires_at    INTEGER NOT NULL,
    outcome       TEXT CHECK (outcome IN ('approved', 'refused', 'wrong_person', 'wrong_number', 'ended')),
    CHECK ((destination IS NULL) = (ahead_seconds IS NOT NULL))
) STRICT;

CREATE INDEX waiting_checks ON checks (source, destination) WHERE outcome IS NULL;

-- What an owner has approved. destination NULL is every node: by a rule with the default period, or
-- as far as target goes for one that was approved ahead.
CREATE TABLE approvals (
    id            INTEGER NOT NULL PRIMARY KEY AUTOINCREMENT,
    source        INTEGER NOT NULL REFERENCES nodes (id),
    wireguard_key TEXT    NOT NULL,
    owner         TEXT    NOT NULL,
    class         TEXT    NOT NULL,
    destination   INTEGER REFERENCES nodes (id),
    connection    TEXT,
    is_ahead      INTEGER NOT NULL,
    target        TEXT,
    approved_at   INTEGER NOT NULL,
    expires_at    INTEGER NOT NULL
) STRICT;

CREATE INDEX approvals_of_source ON approvals (source, expires_at);
