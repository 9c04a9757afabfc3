-- Of staff as of users: second_factor sealed with the site's key, factor_step the time step of the last code that was taken.
ALTER TABLE staff ADD COLUMN second_factor BYTEA;
ALTER TABLE staff ADD COLUMN factor_step BIGINT NOT NULL DEFAULT 0;
-- 'desk', or 'code' of who typed the right password and must still give a code.
ALTER TABLE staff_tokens ADD COLUMN kind TEXT NOT NULL DEFAULT 'desk';
-- When staff took it back.
ALTER TABLE invitations ADD COLUMN withdrawn_ms BIGINT;
