-- Sequences are batch << 20 | index, spans and ages whole microseconds, all signed 64-bit. Names are kept in the order
-- of their bytes, whatever the collation of the database. Columns stand in the order that needs no padding.
--
-- Where the extension TimescaleDB is there, readings and windows become hypertables, else partitioned tables: see the
-- next migration.

CREATE TABLE sensors (
    id        integer PRIMARY KEY,
    sensor_id text    COLLATE "C" NOT NULL UNIQUE,
    tags      text    NOT NULL DEFAULT '{}',
    paused    boolean NOT NULL DEFAULT false
);

CREATE TABLE series (
    id        integer PRIMARY KEY,
    sensor_id integer NOT NULL REFERENCES sensors (id),
    metric    text    COLLATE "C" NOT NULL,
    unit      text,
    UNIQUE (sensor_id, metric)
);

CREATE TABLE anomalies (
    id          bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    time        timestamptz NOT NULL,
    series_id   integer     NOT NULL,
    detector    text        NOT NULL,
    level       text        NOT NULL,
    value       float8      NOT NULL,
    score       float8      NOT NULL,
    expected    float8,
    low         float8,
    high        float8,
    explanation text        NOT NULL,
    UNIQUE (series_id, time, detector, level)
);
CREATE INDEX anomalies_by_time ON anomalies (time);

-- States are dense already, so no time is spent on compressing them.
CREATE TABLE sensor_snapshots (
    seq       bigint  NOT NULL,
    deadline  bigint,
    sensor_id integer PRIMARY KEY,
    state     bytea   NOT NULL
) WITH (fillfactor = 70);
ALTER TABLE sensor_snapshots ALTER COLUMN state SET STORAGE EXTERNAL;

CREATE TABLE positions (
    source     text        COLLATE "C" NOT NULL,
    partition  text        COLLATE "C" NOT NULL,
    "offset"   bigint      NOT NULL,
    updated_at timestamptz NOT NULL,
    PRIMARY KEY (source, partition)
) WITH (fillfactor = 70);

CREATE TABLE dead_letters (
    id          bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    time        timestamptz NOT NULL,
    replayed_at timestamptz,
    sensor_id   integer,
    source      text        NOT NULL,
    position    text        NOT NULL,
    reason      text        NOT NULL,
    detail      text        NOT NULL,
    payload     bytea       NOT NULL
);

-- tail_from: the smallest event time stored since the sensor's last complete snapshot. It stands in for an index on
-- readings.seq: the readings after the snapshot are all at or after it. Half of each page is left free, since every row
-- is updated in place again and again.
CREATE TABLE sensor_ledger (
    received    bigint NOT NULL,
    stored      bigint NOT NULL,
    duplicate   bigint NOT NULL,
    rejected    bigint NOT NULL,
    filtered    bigint NOT NULL,
    late        bigint NOT NULL,
    unprocessed bigint NOT NULL,
    last_time   timestamptz,
    last_seq    bigint,
    tail_from   timestamptz,
    sensor_id   integer PRIMARY KEY
) WITH (fillfactor = 50, autovacuum_vacuum_scale_factor = 0.05);

CREATE TABLE source_ledger (
    source      text   COLLATE "C" PRIMARY KEY,
    received    bigint NOT NULL,
    stored      bigint NOT NULL,
    duplicate   bigint NOT NULL,
    rejected    bigint NOT NULL,
    filtered    bigint NOT NULL,
    late        bigint NOT NULL,
    unprocessed bigint NOT NULL
) WITH (fillfactor = 50);

CREATE TABLE batches (
    number bigint      PRIMARY KEY,
    time   timestamptz NOT NULL,
    active bigint      NOT NULL
);

CREATE TABLE writers (
    instance   text   COLLATE "C" PRIMARY KEY,
    epoch      bigint NOT NULL,
    last_batch bigint,
    active     bigint NOT NULL
) WITH (fillfactor = 10);

-- One row: the next batch number that nobody has taken.
CREATE TABLE batch_numbers (
    id   integer PRIMARY KEY CHECK (id = 0),
    next bigint  NOT NULL
);
INSERT INTO batch_numbers (id, next) VALUES (0, 1);

CREATE TABLE restarts (
    id      bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    time    timestamptz NOT NULL,
    took_us bigint,
    actor   text        COLLATE "C" NOT NULL,
    reason  text        NOT NULL,
    detail  text        NOT NULL,
    by      text
);
CREATE INDEX restarts_by_actor ON restarts (actor, id);

CREATE TABLE audit_log (
    id     bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    time   timestamptz NOT NULL,
    who    text        NOT NULL,
    what   text        NOT NULL,
    target text        NOT NULL,
    detail text        NOT NULL
);

CREATE TABLE api_tokens (
    id         text        COLLATE "C" PRIMARY KEY,
    name       text        NOT NULL,
    role       text        NOT NULL,
    hash       bytea       NOT NULL UNIQUE,
    created_at timestamptz NOT NULL
);
