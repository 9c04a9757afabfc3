-- What PCs say they did to their disks. Kept at the site that got it.
CREATE TABLE wipes (
    digest BYTEA PRIMARY KEY,
    received_ms BIGINT NOT NULL,
    address TEXT NOT NULL,
    json TEXT NOT NULL
);
CREATE INDEX wipes_by_time ON wipes (received_ms);
CREATE INDEX wipes_by_address ON wipes (address, received_ms);
