-- The tables of ../sqlite in PostgreSQL's words. Ids are raw bytes, times are ms since 1970.

-- Other sites. synced_ms: last whole exchange of digests.
CREATE TABLE sites (
    id BYTEA PRIMARY KEY,
    name TEXT NOT NULL,
    url TEXT NOT NULL,
    synced_ms BIGINT NOT NULL
);

-- The newest version of every user of every site; the newer (version, origin) wins.
CREATE TABLE users (
    id BYTEA PRIMARY KEY,
    name TEXT NOT NULL,
    record_key BYTEA NOT NULL,
    password_phc TEXT NOT NULL,
    registration TEXT NOT NULL,
    deleted BIGINT NOT NULL,
    version BIGINT NOT NULL,
    origin BYTEA NOT NULL
);
CREATE INDEX users_by_name ON users (name);

-- Taken out of the registration, for the lookup by card; revoked: in an older version only.
CREATE TABLE cards (
    id BYTEA NOT NULL,
    user_id BYTEA NOT NULL,
    spki BYTEA NOT NULL,
    slot BYTEA NOT NULL,
    revoked BIGINT NOT NULL,
    PRIMARY KEY (id, user_id)
);

-- Newest snapshot of every user at any site; the higher (seq, site) wins.
CREATE TABLE heads (
    user_id BYTEA PRIMARY KEY,
    seq BIGINT NOT NULL,
    record BYTEA NOT NULL,
    site BYTEA NOT NULL,
    saved_ms BIGINT NOT NULL,
    pc TEXT NOT NULL
);

-- Signed records whose every object is here.
CREATE TABLE records (
    user_id BYTEA NOT NULL,
    record BYTEA NOT NULL,
    seq BIGINT NOT NULL,
    bytes BYTEA NOT NULL,
    object_bytes BIGINT NOT NULL,
    stored_ms BIGINT NOT NULL,
    PRIMARY KEY (user_id, record)
);

-- Sealed objects on the disk; the row is written after the file and its folder are durable.
CREATE TABLE objects (
    user_id BYTEA NOT NULL,
    object BYTEA NOT NULL,
    bytes BIGINT NOT NULL,
    stored_ms BIGINT NOT NULL,
    PRIMARY KEY (user_id, object)
);

-- Sign-ins and deliveries that are alive; the token itself is not here, only its BLAKE3.
-- record: the signed record a delivery brings, NULL for a sign-in.
CREATE TABLE tokens (
    hash BYTEA PRIMARY KEY,
    user_id BYTEA NOT NULL,
    kind TEXT NOT NULL,
    expires_ms BIGINT NOT NULL,
    record BYTEA
);

-- Wrong passwords in a row.
CREATE TABLE tries (
    key TEXT PRIMARY KEY,
    wrong BIGINT NOT NULL,
    until_ms BIGINT NOT NULL,
    last_ms BIGINT NOT NULL
);

-- What another site must still be told. The body is read when it is sent, so a later change
-- joins the same row; stamp says which change an answer was for.
CREATE TABLE outbox (
    site BYTEA NOT NULL,
    user_id BYTEA NOT NULL,
    kind TEXT NOT NULL,
    stamp BIGINT NOT NULL,
    PRIMARY KEY (site, user_id, kind)
);

-- Relays to this site.
CREATE TABLE transfers (
    user_id BYTEA PRIMARY KEY,
    record BYTEA NOT NULL,
    from_site BYTEA NOT NULL,
    state TEXT NOT NULL,
    bytes_done BIGINT NOT NULL,
    bytes_total BIGINT NOT NULL,
    error TEXT,
    tries BIGINT NOT NULL,
    due_ms BIGINT NOT NULL
);

-- Where a user of this site's portal will be next; state as the chosen site last told it.
CREATE TABLE next_sites (
    user_id BYTEA PRIMARY KEY,
    site BYTEA NOT NULL,
    record BYTEA,
    state TEXT NOT NULL,
    bytes_done BIGINT NOT NULL,
    bytes_total BIGINT NOT NULL,
    error TEXT,
    due_ms BIGINT NOT NULL
);

-- Releases whose files are all here and verified.
CREATE TABLE releases (
    id BYTEA PRIMARY KEY,
    baseline BYTEA NOT NULL,
    name TEXT NOT NULL,
    build_timestamp BIGINT NOT NULL,
    published_ms BIGINT NOT NULL
);
CREATE INDEX releases_by_baseline ON releases (baseline);

CREATE TABLE counters (
    name TEXT PRIMARY KEY,
    value BIGINT NOT NULL
);
INSERT INTO counters (name, value) VALUES
    ('furoshiki_object_bytes_received_total', 0),
    ('furoshiki_object_bytes_sent_total', 0),
    ('furoshiki_records_received_total', 0),
    ('furoshiki_relay_bytes_received_total', 0),
    ('furoshiki_relay_bytes_sent_total', 0),
    ('furoshiki_release_bytes_sent_total', 0),
    ('furoshiki_stored_object_bytes', 0);
