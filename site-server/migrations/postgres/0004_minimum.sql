-- Nothing of the same name built before this starts any more where this release is listed; seconds since 1970.
ALTER TABLE releases ADD COLUMN minimum_build_timestamp BIGINT NOT NULL DEFAULT 0;
