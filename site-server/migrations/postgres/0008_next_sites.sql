-- Several sites at a time; arrives_ms: when the user will be there, if he said so; began_ms: when bytes began to move.
CREATE TABLE next_sites_2 (
    user_id BYTEA NOT NULL,
    site BYTEA NOT NULL,
    record BYTEA,
    state TEXT NOT NULL,
    bytes_done BIGINT NOT NULL,
    bytes_total BIGINT NOT NULL,
    error TEXT,
    due_ms BIGINT NOT NULL,
    arrives_ms BIGINT,
    began_ms BIGINT NOT NULL,
    PRIMARY KEY (user_id, site)
);
INSERT INTO next_sites_2 (user_id, site, record, state, bytes_done, bytes_total, error, due_ms, arrives_ms, began_ms)
    SELECT user_id, site, record, state, bytes_done, bytes_total, error, due_ms, NULL, 0 FROM next_sites;
DROP TABLE next_sites;
ALTER TABLE next_sites_2 RENAME TO next_sites;
