-- Records that every site keeps alike and that need no table of their own. The higher (gone, version, origin, body) stands.
CREATE TABLE shared (
    kind TEXT NOT NULL,
    id BLOB NOT NULL,
    gone BIGINT NOT NULL,
    version BIGINT NOT NULL,
    origin BLOB NOT NULL,
    body TEXT NOT NULL,
    PRIMARY KEY (kind, id)
);
-- How the talk with a site goes: last answer, last failure, its clock minus ours, what it stores and moved (JSON).
ALTER TABLE sites ADD COLUMN heard_ms BIGINT NOT NULL DEFAULT 0;
ALTER TABLE sites ADD COLUMN error TEXT;
ALTER TABLE sites ADD COLUMN clock_ms BIGINT;
ALTER TABLE sites ADD COLUMN meter TEXT;
-- Whether the user sits here and waits for the relay, and when one who announced himself means to come.
ALTER TABLE transfers ADD COLUMN urgent BIGINT NOT NULL DEFAULT 0;
ALTER TABLE transfers ADD COLUMN arrive_ms BIGINT NOT NULL DEFAULT 0;
-- Whether an object came from another site.
ALTER TABLE objects ADD COLUMN relayed BIGINT NOT NULL DEFAULT 0;
-- When a user was last here, or was last announced.
CREATE TABLE stays (
    user_id BLOB PRIMARY KEY,
    last_ms BIGINT NOT NULL
);
-- Sites that were invited and have not come yet. Of the token only its BLAKE3 is here.
CREATE TABLE joins (
    hash BLOB PRIMARY KEY,
    site BLOB NOT NULL,
    about TEXT NOT NULL,
    expires_ms BIGINT NOT NULL,
    csr TEXT,
    certificate TEXT
);
INSERT INTO counters (name, value) VALUES
    ('furoshiki_relay_requests_total', 0),
    ('furoshiki_mirroring_bytes_total', 0),
    ('furoshiki_mirroring_requests_total', 0);
