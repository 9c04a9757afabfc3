-- Staff of this site, and their sign-ins; of a token only its BLAKE3 is here.
CREATE TABLE staff (
    name TEXT PRIMARY KEY,
    role TEXT NOT NULL,
    password_phc TEXT NOT NULL,
    disabled BIGINT NOT NULL,
    created_ms BIGINT NOT NULL
);
CREATE TABLE staff_tokens (
    hash BYTEA PRIMARY KEY,
    name TEXT NOT NULL,
    expires_ms BIGINT NOT NULL
);
-- What the operator decided; a quota of one user stands above the one of all.
CREATE TABLE policies (
    name TEXT PRIMARY KEY,
    value TEXT NOT NULL
);
CREATE TABLE quotas (
    user_id BYTEA PRIMARY KEY,
    bytes BIGINT NOT NULL
);
-- Users who may not sign in for now.
CREATE TABLE disabled_users (
    user_id BYTEA PRIMARY KEY
);
-- Shared PCs. key: Ed25519, NULL for one that was only seen; proven: its key signed the stage; said_ms: its clock then.
CREATE TABLE pcs (
    name TEXT PRIMARY KEY,
    key BYTEA,
    enrolled_ms BIGINT NOT NULL,
    revoked BIGINT NOT NULL,
    stage TEXT NOT NULL,
    proven BIGINT NOT NULL,
    user_id BYTEA,
    seen_ms BIGINT NOT NULL,
    said_ms BIGINT NOT NULL,
    error TEXT NOT NULL
);
