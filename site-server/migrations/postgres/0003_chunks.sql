-- Chunks of baseline images, each in one pack below chunks/.
CREATE TABLE chunks (
    digest BYTEA PRIMARY KEY,
    pack TEXT NOT NULL,
    "offset" BIGINT NOT NULL,
    bytes BIGINT NOT NULL
);
