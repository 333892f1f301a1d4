-- When the last messages of a session came first, for those that are sent again: see src/actors/ingest/arrivals. A session has a few
-- rows, which are written over in turn.
CREATE TABLE arrivals (
    page       bigint      NOT NULL,
    kept_until timestamptz NOT NULL,
    slot       integer     NOT NULL,
    source     text        COLLATE "C" NOT NULL,
    session    text        COLLATE "C" NOT NULL,
    entries    bytea       NOT NULL,
    PRIMARY KEY (source, session, slot)
) WITH (fillfactor = 50);
ALTER TABLE arrivals ALTER entries SET STORAGE EXTERNAL;
