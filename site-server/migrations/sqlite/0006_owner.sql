-- Whose database it is: one row.
CREATE TABLE owner (
    site BLOB PRIMARY KEY
);
