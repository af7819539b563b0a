-- The node that asks for a new sign-in with these keys; NULL for a host that is no node yet.
ALTER TABLE joins ADD COLUMN renews INTEGER REFERENCES nodes (id);
