-- Since when no kept record lists the object; NULL while one does. Milliseconds since 1970.
ALTER TABLE objects ADD COLUMN unneeded_ms BIGINT;
