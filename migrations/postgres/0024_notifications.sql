-- The way of alerts to people. See src/storage/notices.rs.
ALTER TABLE alerts
    ADD COLUMN shelved_by      text,
    ADD COLUMN shelved_at      timestamptz,
    ADD COLUMN shelved_until   timestamptz,
    ADD COLUMN shelved_comment text;
CREATE INDEX alerts_said ON alerts (episode)
    WHERE state <> 'resolved' AND (acknowledged_at IS NOT NULL OR shelved_until IS NOT NULL);

-- Whether somebody has decided what it leads to. Until then it waits.
ALTER TABLE alert_events ADD COLUMN noticed boolean NOT NULL DEFAULT false;
CREATE INDEX alert_events_waiting ON alert_events (id) WHERE NOT noticed;

-- One row: how often it was decided.
CREATE TABLE alert_turns (
    one  integer PRIMARY KEY CHECK (one = 1),
    turn bigint  NOT NULL
);
INSERT INTO alert_turns (one, turn) VALUES (1, 0);

-- Alerts that a receiver is told of together, and what he knows of each. Bodies are JSON.
CREATE TABLE alert_groups (
    key  text COLLATE "C" PRIMARY KEY,
    body text NOT NULL
);

CREATE TABLE alert_members (
    key     text   COLLATE "C" NOT NULL,
    episode bigint NOT NULL,
    body    text   NOT NULL,
    PRIMARY KEY (key, episode)
);
CREATE INDEX alert_members_by_episode ON alert_members (episode);

-- When all that a receiver was sent will have been made up for.
CREATE TABLE alert_limits (
    receiver text        COLLATE "C" PRIMARY KEY,
    spent    timestamptz NOT NULL
);

CREATE TABLE notifications (
    seq          bigint      GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    id           text        COLLATE "C" NOT NULL UNIQUE,
    receiver     text        COLLATE "C" NOT NULL,
    thread       text        COLLATE "C" NOT NULL,
    digest       boolean     NOT NULL,
    at           timestamptz NOT NULL,
    state        text        COLLATE "C" NOT NULL DEFAULT 'waiting',
    due          timestamptz NOT NULL,
    attempts     bigint      NOT NULL DEFAULT 0,
    leased_by    text,
    leased_until timestamptz,
    done_at      timestamptz,
    -- Recipients that have answered for good, and those of them that have taken it: JSON.
    answered     text        NOT NULL DEFAULT '[]',
    taken        text        NOT NULL DEFAULT '[]',
    answer       text        NOT NULL DEFAULT '',
    body         text        NOT NULL
);
CREATE INDEX notifications_waiting ON notifications (receiver, seq) WHERE state = 'waiting';
CREATE INDEX notifications_parked ON notifications (seq) WHERE state = 'parked';
CREATE INDEX notifications_by_time ON notifications (at);

-- What each is about, with the last event that its receiver then knows of.
CREATE TABLE notified_alerts (
    episode bigint NOT NULL,
    seq     bigint NOT NULL,
    ordinal bigint NOT NULL,
    PRIMARY KEY (episode, seq)
);
CREATE INDEX notified_alerts_by_seq ON notified_alerts (seq);

-- Why somebody was told, or was not.
CREATE TABLE alert_decisions (
    id       bigint      GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    episode  bigint      NOT NULL,
    at       timestamptz NOT NULL,
    receiver text,
    what     text        NOT NULL,
    detail   text        NOT NULL
);
CREATE INDEX alert_decisions_by_episode ON alert_decisions (episode, id);
CREATE INDEX alert_decisions_by_time ON alert_decisions (at);
