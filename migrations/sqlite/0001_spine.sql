-- Times are whole microseconds since 1970-01-01 UTC, sequences (batch << 20 | index), both signed 64-bit.

CREATE TABLE sensors (
    id        INTEGER PRIMARY KEY,
    sensor_id TEXT    NOT NULL UNIQUE,
    tags      TEXT    NOT NULL DEFAULT '{}',
    paused    INTEGER NOT NULL DEFAULT 0
);

CREATE TABLE series (
    id        INTEGER PRIMARY KEY,
    sensor_id INTEGER NOT NULL REFERENCES sensors (id),
    metric    TEXT    NOT NULL,
    unit      TEXT,
    UNIQUE (sensor_id, metric)
);

-- No foreign key: it would cost a lookup a row, and the series row is written in the same transaction or earlier.
CREATE TABLE readings (
    series_id INTEGER NOT NULL,
    time      INTEGER NOT NULL,
    value     REAL    NOT NULL,
    seq       INTEGER NOT NULL,
    flags     INTEGER NOT NULL,
    PRIMARY KEY (series_id, time)
) WITHOUT ROWID;

-- `start` before `size`, so that a span of time is one stretch of the key whatever windows a series has.
-- A mean or deviation that is not a number (sums past the range of a double) is null.
CREATE TABLE windows (
    series_id INTEGER NOT NULL,
    start     INTEGER NOT NULL,
    size      INTEGER NOT NULL,
    kind      TEXT    NOT NULL,
    count     INTEGER NOT NULL,
    min       REAL    NOT NULL,
    max       REAL    NOT NULL,
    mean      REAL,
    stddev    REAL,
    first     REAL    NOT NULL,
    last      REAL    NOT NULL,
    revision  INTEGER NOT NULL,
    PRIMARY KEY (series_id, start, size, kind)
) WITHOUT ROWID;

CREATE TABLE anomalies (
    id          INTEGER PRIMARY KEY AUTOINCREMENT,
    series_id   INTEGER NOT NULL,
    time        INTEGER NOT NULL,
    detector    TEXT    NOT NULL,
    level       TEXT    NOT NULL,
    value       REAL    NOT NULL,
    score       REAL,
    expected    REAL,
    low         REAL,
    high        REAL,
    explanation TEXT    NOT NULL,
    UNIQUE (series_id, time, detector, level)
);
CREATE INDEX anomalies_by_time ON anomalies (time);

CREATE TABLE sensor_snapshots (
    sensor_id INTEGER PRIMARY KEY,
    seq       INTEGER NOT NULL,
    deadline  INTEGER,
    state     BLOB    NOT NULL
);
-- What is asked of all sensors at start, without touching a single state.
CREATE INDEX sensor_snapshots_brief ON sensor_snapshots (sensor_id, seq, deadline);

CREATE TABLE positions (
    source     TEXT    NOT NULL,
    partition  TEXT    NOT NULL,
    offset     INTEGER NOT NULL,
    updated_at INTEGER NOT NULL,
    PRIMARY KEY (source, partition)
) WITHOUT ROWID;

CREATE TABLE dead_letters (
    id          INTEGER PRIMARY KEY AUTOINCREMENT,
    time        INTEGER NOT NULL,
    source      TEXT    NOT NULL,
    position    TEXT    NOT NULL,
    sensor_id   INTEGER,
    reason      TEXT    NOT NULL,
    detail      TEXT    NOT NULL,
    replayed_at INTEGER,
    payload     BLOB    NOT NULL
);

-- tail_from: the smallest event time stored since the sensor's last complete snapshot. It stands in for an index on
-- readings.seq: the readings after the snapshot are all at or after it.
CREATE TABLE sensor_ledger (
    sensor_id   INTEGER PRIMARY KEY,
    received    INTEGER NOT NULL,
    stored      INTEGER NOT NULL,
    duplicate   INTEGER NOT NULL,
    rejected    INTEGER NOT NULL,
    filtered    INTEGER NOT NULL,
    late        INTEGER NOT NULL,
    unprocessed INTEGER NOT NULL,
    last_time   INTEGER,
    last_seq    INTEGER,
    tail_from   INTEGER
);

CREATE TABLE source_ledger (
    source      TEXT    NOT NULL PRIMARY KEY,
    received    INTEGER NOT NULL,
    stored      INTEGER NOT NULL,
    duplicate   INTEGER NOT NULL,
    rejected    INTEGER NOT NULL,
    filtered    INTEGER NOT NULL,
    late        INTEGER NOT NULL,
    unprocessed INTEGER NOT NULL
) WITHOUT ROWID;

CREATE TABLE batches (
    number INTEGER PRIMARY KEY,
    time   INTEGER NOT NULL,
    active INTEGER NOT NULL
);

CREATE TABLE writers (
    instance   TEXT    NOT NULL PRIMARY KEY,
    epoch      INTEGER NOT NULL,
    last_batch INTEGER,
    active     INTEGER NOT NULL
) WITHOUT ROWID;

-- One row: the next batch number that nobody has taken.
CREATE TABLE batch_numbers (
    id   INTEGER PRIMARY KEY CHECK (id = 0),
    next INTEGER NOT NULL
);
INSERT INTO batch_numbers (id, next) VALUES (0, 1);

CREATE TABLE restarts (
    id      INTEGER PRIMARY KEY AUTOINCREMENT,
    time    INTEGER NOT NULL,
    actor   TEXT    NOT NULL,
    reason  TEXT    NOT NULL,
    detail  TEXT    NOT NULL,
    by      TEXT,
    took_us INTEGER
);
CREATE INDEX restarts_by_actor ON restarts (actor, id);

CREATE TABLE audit_log (
    id     INTEGER PRIMARY KEY AUTOINCREMENT,
    time   INTEGER NOT NULL,
    who    TEXT    NOT NULL,
    what   TEXT    NOT NULL,
    target TEXT    NOT NULL,
    detail TEXT    NOT NULL
);

CREATE TABLE api_tokens (
    id         TEXT    NOT NULL PRIMARY KEY,
    name       TEXT    NOT NULL,
    role       TEXT    NOT NULL,
    hash       BLOB    NOT NULL UNIQUE,
    created_at INTEGER NOT NULL
) WITHOUT ROWID;
