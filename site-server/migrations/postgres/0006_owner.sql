-- Whose database it is: one row.
CREATE TABLE owner (
    site BYTEA PRIMARY KEY
);
