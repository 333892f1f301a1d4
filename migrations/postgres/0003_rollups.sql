-- Readings by the minute, the hour and the day of UTC, without the poisonous ones (flag 4): continuous aggregates where there
-- are hypertables, else tables. They outlive the readings that they were made of.
--
-- Both are brought up to date by the service alone, so that it knows what they hold. See src/storage/postgres/rollup.rs.

CREATE TABLE rollup_state (
    name  text        COLLATE "C" PRIMARY KEY,
    until timestamptz NOT NULL
) WITH (fillfactor = 10);
INSERT INTO rollup_state (name, until) VALUES
    -- What is stored with a time before this is noted in rollup_dirty.
    ('claimed', '-infinity'),
    -- All before this is in the rollups, but for what is noted there.
    ('done', '-infinity'),
    -- Readings before this may have expired: rollups are not made anew from what is left of them.
    ('expired', '-infinity');

-- Hours in which readings were stored or flagged after they had been claimed; an hour may be noted again and again.
CREATE TABLE rollup_dirty (
    id        bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    hour      timestamptz NOT NULL,
    since     timestamptz NOT NULL,
    series_id integer     NOT NULL
);
CREATE INDEX rollup_dirty_by_series ON rollup_dirty (series_id, hour);

-- The rows of the last minute have to be found whatever else is in their chunk or partition. What was just written is in no summary yet
-- and is read each time, so that it must not grow long.
DROP INDEX IF EXISTS readings_time_idx;
CREATE INDEX readings_time_idx ON readings USING brin (time) WITH (autosummarize = on);

-- Finite values that add up to more than there is are an error to PostgreSQL, and would stop everything behind them. Infinite ones are
-- not, so values near the end count as such. (src/storage/postgres/resolution.rs says the same to what is asked of readings.)
DO $$
DECLARE
    resolution record;
BEGIN
    FOR resolution IN SELECT * FROM (VALUES
        ('readings_1m', interval '1 minute', NULL),
        ('readings_1h', interval '1 hour', 'readings_1m'),
        ('readings_1d', interval '1 day', 'readings_1h')) AS r (name, span, source)
    LOOP
        IF NOT (SELECT timescale FROM layout) THEN
            EXECUTE format('CREATE TABLE %I (bucket timestamptz NOT NULL, count bigint NOT NULL, min float8 NOT NULL,
                max float8 NOT NULL, sum float8 NOT NULL, first float8 NOT NULL, last float8 NOT NULL,
                first_time timestamptz NOT NULL, last_time timestamptz NOT NULL, series_id integer NOT NULL,
                PRIMARY KEY (series_id, bucket))', resolution.name);
            EXECUTE format('CREATE INDEX ON %I USING brin (bucket) WITH (autosummarize = on)', resolution.name);
        ELSE
            EXECUTE format('CREATE MATERIALIZED VIEW %I WITH (timescaledb.continuous, timescaledb.materialized_only = false)
                AS %s WITH NO DATA', resolution.name, CASE WHEN resolution.source IS NULL THEN format(
                'SELECT series_id, time_bucket(%L::interval, time) AS bucket, count(*) AS count, min(value) AS min,
                    max(value) AS max, sum(CASE WHEN value > 1e290 THEN ''Infinity'' WHEN value < -1e290 THEN ''-Infinity''
                        ELSE value END) AS sum, first(value, time) AS first, last(value, time) AS last,
                    min(time) AS first_time, max(time) AS last_time
                 FROM readings WHERE flags & 4 = 0 GROUP BY 1, 2', resolution.span)
            ELSE format(
                'SELECT series_id, time_bucket(%L::interval, bucket) AS bucket, sum(count)::bigint AS count, min(min) AS min,
                    max(max) AS max, sum(sum) AS sum, first(first, bucket) AS first, last(last, bucket) AS last,
                    min(first_time) AS first_time, max(last_time) AS last_time
                 FROM %I GROUP BY 1, 2', resolution.span, resolution.source) END);
            EXECUTE format('ALTER MATERIALIZED VIEW %I SET (timescaledb.compress, timescaledb.compress_segmentby = ''series_id'',
                timescaledb.compress_orderby = ''bucket'')', resolution.name);
        END IF;
    END LOOP;
END
$$;
