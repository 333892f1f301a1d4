-- Readings, windows and rollups: hypertables where TimescaleDB is installed in this database, else tables partitioned by time.
-- Which it was stays for good; `layout` says so.
--
-- No foreign key to series: it would cost a lookup a row, and the series row is written in the same transaction or earlier.

CREATE TABLE layout (
    id        integer PRIMARY KEY CHECK (id = 0),
    timescale boolean     NOT NULL,
    -- Without the extension: everything before lies in one partition, everything from here on in partitions made as needed.
    origin    timestamptz NOT NULL
);
INSERT INTO layout (id, timescale, origin)
    SELECT 0, coalesce(current_setting('sensorhive.timescaledb', true), 'on') <> 'off'
            AND EXISTS (SELECT FROM pg_extension WHERE extname = 'timescaledb'),
        date_trunc('day', now(), 'UTC') - interval '30 days';

CREATE FUNCTION pg_temp.by_time(name text, columns text, key text, time_column text, ordered text, chunk interval) RETURNS void
LANGUAGE plpgsql AS $$
BEGIN
    IF (SELECT timescale FROM layout) THEN
        EXECUTE format('CREATE TABLE %I (%s, PRIMARY KEY (%s))', name, columns, key);
        EXECUTE format('SELECT create_hypertable(%L, by_range(%L, %L::interval), create_default_indexes => false)',
            name, time_column, chunk);
        EXECUTE format('ALTER TABLE %I SET (timescaledb.compress, timescaledb.compress_segmentby = ''series_id'',
            timescaledb.compress_orderby = %L)', name, ordered);
    ELSE
        EXECUTE format('CREATE TABLE %I (%s, PRIMARY KEY (%s)) PARTITION BY RANGE (%I)', name, columns, key, time_column);
        -- What comes in order by time lies in order on disk: the smallest of indexes finds a span of it.
        EXECUTE format('CREATE INDEX ON %I USING brin (%I)', name, time_column);
        EXECUTE format('CREATE TABLE %I PARTITION OF %I FOR VALUES FROM (MINVALUE) TO (%L)',
            name || '_past', name, (SELECT origin FROM layout));
    END IF;
END
$$;

SELECT pg_temp.by_time('readings',
    'time timestamptz NOT NULL, value float8 NOT NULL, seq bigint NOT NULL, series_id integer NOT NULL, flags smallint NOT NULL',
    'series_id, time', 'time', 'time', interval '1 day');

-- `start` before `size`, so that a span of time is one stretch of the key whatever windows a series has.
SELECT pg_temp.by_time('windows',
    'start timestamptz NOT NULL, size bigint NOT NULL, count bigint NOT NULL, min float8 NOT NULL, max float8 NOT NULL,
     mean float8 NOT NULL, stddev float8 NOT NULL, first float8 NOT NULL, last float8 NOT NULL, series_id integer NOT NULL,
     revision integer NOT NULL, kind text NOT NULL',
    'series_id, start, size, kind', 'start', 'start, size, kind', interval '7 days');

-- The partitions made since, where there are partitions; what they hold is `[start, end)`.
CREATE TABLE partitions (
    name   text        COLLATE "C" PRIMARY KEY,
    parent text        NOT NULL,
    start  timestamptz NOT NULL,
    "end"  timestamptz NOT NULL
);
