-- What is to be sent on: rows in the order of their commits, see src/storage/outbox.rs for the payload. Written only where an output
-- is configured. Numbers are never given twice, so that a cursor stays true.
CREATE TABLE outbox (
    id        INTEGER PRIMARY KEY AUTOINCREMENT,
    instance  TEXT    NOT NULL,
    time      INTEGER NOT NULL,
    readings  INTEGER NOT NULL,
    windows   INTEGER NOT NULL,
    anomalies INTEGER NOT NULL,
    bytes     INTEGER NOT NULL,
    payload   BLOB    NOT NULL
);

-- The last row that each output has sent.
CREATE TABLE outbox_cursors (
    instance TEXT    NOT NULL,
    output   TEXT    NOT NULL,
    sent     INTEGER NOT NULL,
    PRIMARY KEY (instance, output)
) WITHOUT ROWID;
