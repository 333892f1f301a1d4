-- One row an episode: the last event of it. What people said lies in columns of its own. See src/domain/alert.rs.
CREATE TABLE alerts (
    episode    bigint      PRIMARY KEY,
    series_id  integer     NOT NULL REFERENCES series (id),
    rule       text        COLLATE "C" NOT NULL,
    ordinal    bigint      NOT NULL,
    change     text        COLLATE "C" NOT NULL,
    changed    timestamptz NOT NULL,
    state      text        COLLATE "C" NOT NULL,
    level      text        COLLATE "C" NOT NULL,
    began      timestamptz NOT NULL,
    ended      timestamptz,
    value      float8,
    threshold  float8,
    low        float8,
    high       float8,
    flapping   boolean     NOT NULL,
    reason     text        NOT NULL,
    -- The number of the batch that changed it last.
    batch      bigint      NOT NULL,
    acknowledged_by      text,
    acknowledged_at      timestamptz,
    acknowledged_comment text
);
CREATE INDEX alerts_open ON alerts (series_id) WHERE state <> 'resolved';
CREATE INDEX alerts_by_batch ON alerts (series_id, batch);
CREATE INDEX alerts_by_begin ON alerts (began, episode);

CREATE TABLE alert_events (
    id        bigint      GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    episode   bigint      NOT NULL,
    ordinal   bigint      NOT NULL,
    change    text        COLLATE "C" NOT NULL,
    changed   timestamptz NOT NULL,
    state     text        COLLATE "C" NOT NULL,
    level     text        COLLATE "C" NOT NULL,
    value     float8,
    threshold float8,
    low       float8,
    high      float8,
    flapping  boolean     NOT NULL,
    reason    text        NOT NULL,
    UNIQUE (episode, ordinal)
);

CREATE TABLE silences (
    id       bigint      GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    matchers text        NOT NULL,
    begins   timestamptz NOT NULL,
    ends     timestamptz NOT NULL,
    by       text        NOT NULL,
    comment  text        NOT NULL
);

ALTER TABLE outbox ADD COLUMN alerts bigint NOT NULL DEFAULT 0;
