-- One row an episode: the last event of it. What people said lies in columns of its own. See src/domain/alert.rs.
CREATE TABLE alerts (
    episode    INTEGER PRIMARY KEY,
    series_id  INTEGER NOT NULL REFERENCES series (id),
    rule       TEXT    NOT NULL,
    ordinal    INTEGER NOT NULL,
    change     TEXT    NOT NULL,
    changed    INTEGER NOT NULL,
    state      TEXT    NOT NULL,
    level      TEXT    NOT NULL,
    began      INTEGER NOT NULL,
    ended      INTEGER,
    value      REAL,
    threshold  REAL,
    low        REAL,
    high       REAL,
    flapping   INTEGER NOT NULL,
    reason     TEXT    NOT NULL,
    -- The number of the batch that changed it last.
    batch      INTEGER NOT NULL,
    acknowledged_by      TEXT,
    acknowledged_at      INTEGER,
    acknowledged_comment TEXT
);
CREATE INDEX alerts_open ON alerts (series_id) WHERE state <> 'resolved';
CREATE INDEX alerts_by_batch ON alerts (series_id, batch);
CREATE INDEX alerts_by_begin ON alerts (began, episode);

CREATE TABLE alert_events (
    id        INTEGER PRIMARY KEY AUTOINCREMENT,
    episode   INTEGER NOT NULL,
    ordinal   INTEGER NOT NULL,
    change    TEXT    NOT NULL,
    changed   INTEGER NOT NULL,
    state     TEXT    NOT NULL,
    level     TEXT    NOT NULL,
    value     REAL,
    threshold REAL,
    low       REAL,
    high      REAL,
    flapping  INTEGER NOT NULL,
    reason    TEXT    NOT NULL,
    UNIQUE (episode, ordinal)
);

CREATE TABLE silences (
    id       INTEGER PRIMARY KEY AUTOINCREMENT,
    matchers TEXT    NOT NULL,
    begins   INTEGER NOT NULL,
    ends     INTEGER NOT NULL,
    by       TEXT    NOT NULL,
    comment  TEXT    NOT NULL
);

ALTER TABLE outbox ADD COLUMN alerts INTEGER NOT NULL DEFAULT 0;
