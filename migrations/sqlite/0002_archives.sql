-- The objects of the cold archive. `day` is YYYY-MM-DD in UTC, whose readings with a sequence up to `up_to` the objects of an
-- export hold; `checksum` and `sha256` are hexadecimal. What is not known yet is null.

CREATE TABLE archives (
    day         TEXT    NOT NULL,
    part        INTEGER NOT NULL,
    object      TEXT    NOT NULL,
    state       TEXT    NOT NULL,
    up_to       INTEGER NOT NULL,
    rows        INTEGER,
    bytes       INTEGER,
    checksum    TEXT,
    sha256      TEXT,
    started_at  INTEGER NOT NULL,
    verified_at INTEGER,
    dropped_at  INTEGER,
    restored_at INTEGER,
    keep_until  INTEGER,
    PRIMARY KEY (day, part)
) WITHOUT ROWID;
