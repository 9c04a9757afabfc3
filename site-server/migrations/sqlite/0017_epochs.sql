-- Epochs of user keys: one more after each card that was taken away. Of two versions the later epoch stands.
ALTER TABLE users ADD COLUMN key_epoch BIGINT NOT NULL DEFAULT 1;
ALTER TABLE heads ADD COLUMN epoch BIGINT NOT NULL DEFAULT 1;
