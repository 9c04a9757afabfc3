-- Who does what one server of the site does, and until when he has it without a word; ms since 1970 by the database's clock.
CREATE TABLE jobs (
    name TEXT PRIMARY KEY,
    holder BLOB NOT NULL,
    until_ms BIGINT NOT NULL
);

-- Challenges to cards where several servers must know them. answer: hash of the one right answer.
CREATE TABLE challenges (
    name TEXT PRIMARY KEY,
    card BLOB NOT NULL,
    user_id BLOB NOT NULL,
    answer BLOB NOT NULL,
    expires_ms BIGINT NOT NULL
);
CREATE INDEX challenges_by_time ON challenges (expires_ms);
