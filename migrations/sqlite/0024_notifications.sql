-- The way of alerts to people. See src/storage/notices.rs.
ALTER TABLE alerts ADD COLUMN shelved_by TEXT;
ALTER TABLE alerts ADD COLUMN shelved_at INTEGER;
ALTER TABLE alerts ADD COLUMN shelved_until INTEGER;
ALTER TABLE alerts ADD COLUMN shelved_comment TEXT;
CREATE INDEX alerts_said ON alerts (episode)
    WHERE state <> 'resolved' AND (acknowledged_at IS NOT NULL OR shelved_until IS NOT NULL);

-- Whether somebody has decided what it leads to. Until then it waits.
ALTER TABLE alert_events ADD COLUMN noticed INTEGER NOT NULL DEFAULT 0;
CREATE INDEX alert_events_waiting ON alert_events (id) WHERE NOT noticed;

-- One row: how often it was decided.
CREATE TABLE alert_turns (
    one  INTEGER PRIMARY KEY CHECK (one = 1),
    turn INTEGER NOT NULL
);
INSERT INTO alert_turns (one, turn) VALUES (1, 0);

-- Alerts that a receiver is told of together, and what he knows of each. Bodies are JSON.
CREATE TABLE alert_groups (
    key  TEXT PRIMARY KEY,
    body TEXT NOT NULL
) WITHOUT ROWID;

CREATE TABLE alert_members (
    key     TEXT    NOT NULL,
    episode INTEGER NOT NULL,
    body    TEXT    NOT NULL,
    PRIMARY KEY (key, episode)
) WITHOUT ROWID;
CREATE INDEX alert_members_by_episode ON alert_members (episode);

-- When all that a receiver was sent will have been made up for.
CREATE TABLE alert_limits (
    receiver TEXT    PRIMARY KEY,
    spent    INTEGER NOT NULL
) WITHOUT ROWID;

CREATE TABLE notifications (
    seq          INTEGER PRIMARY KEY AUTOINCREMENT,
    id           TEXT    NOT NULL UNIQUE,
    receiver     TEXT    NOT NULL,
    thread       TEXT    NOT NULL,
    digest       INTEGER NOT NULL,
    at           INTEGER NOT NULL,
    state        TEXT    NOT NULL DEFAULT 'waiting',
    due          INTEGER NOT NULL,
    attempts     INTEGER NOT NULL DEFAULT 0,
    leased_by    TEXT,
    leased_until INTEGER,
    done_at      INTEGER,
    -- Recipients that have answered for good, and those of them that have taken it: JSON.
    answered     TEXT    NOT NULL DEFAULT '[]',
    taken        TEXT    NOT NULL DEFAULT '[]',
    answer       TEXT    NOT NULL DEFAULT '',
    body         TEXT    NOT NULL
);
CREATE INDEX notifications_waiting ON notifications (receiver, seq) WHERE state = 'waiting';
CREATE INDEX notifications_parked ON notifications (seq) WHERE state = 'parked';
CREATE INDEX notifications_by_time ON notifications (at);

-- What each is about, with the last event that its receiver then knows of.
CREATE TABLE notified_alerts (
    episode INTEGER NOT NULL,
    seq     INTEGER NOT NULL,
    ordinal INTEGER NOT NULL,
    PRIMARY KEY (episode, seq)
) WITHOUT ROWID;
CREATE INDEX notified_alerts_by_seq ON notified_alerts (seq);

-- Why somebody was told, or was not.
CREATE TABLE alert_decisions (
    id       INTEGER PRIMARY KEY AUTOINCREMENT,
    episode  INTEGER NOT NULL,
    at       INTEGER NOT NULL,
    receiver TEXT,
    what     TEXT    NOT NULL,
    detail   TEXT    NOT NULL
);
CREATE INDEX alert_decisions_by_episode ON alert_decisions (episode, id);
CREATE INDEX alert_decisions_by_time ON alert_decisions (at);
