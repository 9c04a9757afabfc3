-- Sessions of users at PCs of all sites. token: BLAKE3 of the token, of sessions of this site alone. told_ms: the end other
-- sites were told. knows: the PC asked about leases, so it can be told that it is fenced off.
CREATE TABLE leases (
    id BYTEA PRIMARY KEY,
    user_id BYTEA NOT NULL,
    site BYTEA NOT NULL,
    pc TEXT NOT NULL,
    since_ms BIGINT NOT NULL,
    expires_ms BIGINT NOT NULL,
    fence BIGINT NOT NULL,
    took_over BIGINT NOT NULL,
    ended BIGINT NOT NULL,
    token BYTEA,
    told_ms BIGINT NOT NULL,
    knows BIGINT NOT NULL
);
CREATE INDEX leases_by_user ON leases (user_id);
CREATE INDEX leases_by_token ON leases (token);
-- Places a user signed in from before, by hashes; strangers' wrong passwords do not count there.
CREATE TABLE familiar (
    key TEXT PRIMARY KEY,
    until_ms BIGINT NOT NULL
);
