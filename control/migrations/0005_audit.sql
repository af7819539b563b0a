-- Who changed what, and what nodes have told of logins. An entry is never changed and never
-- removed; the triggers hold off mistakes, not somebody who may write this file.
-- details is a JSON object. reported is 1 where a node says so and control has not seen it.
CREATE TABLE audit (
    id       INTEGER NOT NULL PRIMARY KEY AUTOINCREMENT,
    at       INTEGER NOT NULL,
    actor    TEXT    NOT NULL,
    action   TEXT    NOT NULL,
    target   TEXT    NOT NULL,
    reported INTEGER NOT NULL CHECK (reported IN (0, 1)),
    details  TEXT    NOT NULL CHECK (json_valid(details))
) STRICT;

CREATE INDEX audit_by_action ON audit (action, id);
CREATE INDEX audit_by_time ON audit (at, id);

CREATE TRIGGER audit_is_not_changed BEFORE UPDATE ON audit
BEGIN SELECT RAISE(ABORT, 'the audit log is only ever added to'); END;

CREATE TRIGGER audit_is_not_removed BEFORE DELETE ON audit
BEGIN SELECT RAISE(ABORT, 'the audit log is only ever added to'); END;

-- INSERT OR REPLACE removes without the trigger above.
CREATE TRIGGER audit_is_not_replaced BEFORE INSERT ON audit
WHEN EXISTS (SELECT 1 FROM audit WHERE id = NEW.id)
BEGIN SELECT RAISE(ABORT, 'the audit log is only ever added to'); END;

-- How far each node has told of logins: the number of the last event that came, in this run of its
-- manager.
CREATE TABLE login_reports (
    node INTEGER NOT NULL PRIMARY KEY REFERENCES nodes (id),
    run  INTEGER NOT NULL,
    last INTEGER NOT NULL
) STRICT;
