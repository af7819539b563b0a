-- The number of the newest approval that was taken back for logins from this node, with all before it.
ALTER TABLE nodes ADD COLUMN checks_after INTEGER NOT NULL DEFAULT 0;
