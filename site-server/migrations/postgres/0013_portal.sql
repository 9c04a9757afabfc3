-- What users registered, sealed to their cards; the newer (version, origin) of each part wins.
CREATE TABLE settings (
    user_id BYTEA NOT NULL,
    part TEXT NOT NULL,
    version BIGINT NOT NULL,
    origin BYTEA NOT NULL,
    saved_ms BIGINT NOT NULL,
    summary TEXT NOT NULL,
    sealed BYTEA NOT NULL,
    PRIMARY KEY (user_id, part)
);
-- Codes with which users choose their first password; the code itself is not here, only its BLAKE3.
CREATE TABLE invitations (
    hash BYTEA PRIMARY KEY,
    user_id BYTEA NOT NULL,
    made_by TEXT NOT NULL,
    made_ms BIGINT NOT NULL,
    expires_ms BIGINT NOT NULL,
    used_ms BIGINT
);
-- second_factor: sealed with the site's key; factor_step: time step of the last code that was taken, here alone.
-- sign_in_epoch: sign-ins of an older one are dead at every site.
ALTER TABLE users ADD COLUMN second_factor BYTEA;
ALTER TABLE users ADD COLUMN factor_step BIGINT NOT NULL DEFAULT 0;
ALTER TABLE users ADD COLUMN sign_in_epoch BIGINT NOT NULL DEFAULT 0;
-- Since when, and what it is for people: a browser, a PC.
ALTER TABLE tokens ADD COLUMN since_ms BIGINT NOT NULL DEFAULT 0;
ALTER TABLE tokens ADD COLUMN what TEXT NOT NULL DEFAULT '';
-- Users whose copies here are about to be deleted, and count no more.
CREATE TABLE leaving (
    user_id BYTEA PRIMARY KEY,
    since_ms BIGINT NOT NULL
);
