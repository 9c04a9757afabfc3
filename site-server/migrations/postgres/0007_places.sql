-- Where the bytes of an upload lie; NULL: under the bare name of the object.
ALTER TABLE objects ADD COLUMN place BYTEA;
