-- How often something has changed that documents depend on; each node has the number of its last
-- change. So control reads what is new to it, instead of everybody.
CREATE TABLE revisions (
    only_row INTEGER NOT NULL PRIMARY KEY CHECK (only_row = 1),
    nodes    INTEGER NOT NULL,
    users    INTEGER NOT NULL
) STRICT;

INSERT INTO revisions (only_row, nodes, users) VALUES (1, 1, 1);

ALTER TABLE nodes ADD COLUMN revision INTEGER NOT NULL DEFAULT 1;
CREATE INDEX nodes_by_revision ON nodes (revision);

CREATE TRIGGER node_is_new AFTER INSERT ON nodes
BEGIN
    UPDATE revisions SET nodes = nodes + 1;
    UPDATE nodes SET revision = (SELECT nodes FROM revisions) WHERE id = NEW.id;
END;

-- No document depends on when a node was last heard of. Whatever changes that time changes nothing
-- else but the release.
CREATE TRIGGER node_is_another AFTER UPDATE ON nodes
WHEN NEW.revision = OLD.revision AND NEW.last_seen IS OLD.last_seen
BEGIN
    UPDATE revisions SET nodes = nodes + 1;
    UPDATE nodes SET revision = (SELECT nodes FROM revisions) WHERE id = NEW.id;
END;

CREATE TRIGGER user_is_new AFTER INSERT ON users
BEGIN UPDATE revisions SET users = users + 1; END;

CREATE TRIGGER user_is_another AFTER UPDATE ON users
BEGIN UPDATE revisions SET users = users + 1; END;

CREATE TRIGGER user_is_gone AFTER DELETE ON users
BEGIN UPDATE revisions SET users = users + 1; END;
