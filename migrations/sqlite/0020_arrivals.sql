-- When the last messages of a session came first, for those that are sent again: see src/actors/ingest/arrivals. A session has a few
-- rows, which are written over in turn.
CREATE TABLE arrivals (
    source     TEXT    NOT NULL,
    session    TEXT    NOT NULL,
    slot       INTEGER NOT NULL,
    page       INTEGER NOT NULL,
    kept_until INTEGER NOT NULL,
    entries    BLOB    NOT NULL,
    PRIMARY KEY (source, session, slot)
) WITHOUT ROWID;
