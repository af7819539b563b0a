-- From this second on the node is nobody's peer; NULL is never, as for every node until now.
ALTER TABLE nodes ADD COLUMN key_expires_at INTEGER;
