-- What a group that speaks of very many sensors adds to their ledgers: one row a group instead of a new version of each sensor's
-- row, which would cost more than the readings. Entries are added to sensor_ledger from time to time, and always before the writer's
-- name is claimed anew.
--
-- Arrays run in step. A count that is the same for all sensors is left out: 1 received and stored, 0 of everything else; and
-- tail_froms where each is the sensor's last_time. Values are not compressed: that would take longer than writing them.
CREATE TABLE ledger_entries (
    id          bigint  GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    instance    text    COLLATE "C" NOT NULL,
    up_to       bigint  NOT NULL,
    tail_from   timestamptz,
    sensors     integer[] NOT NULL,
    received    integer[],
    stored      integer[],
    duplicate   integer[],
    rejected    integer[],
    filtered    integer[],
    late        integer[],
    unprocessed integer[],
    last_times  timestamptz[] NOT NULL,
    last_seqs   bigint[] NOT NULL,
    tail_froms  timestamptz[]
);
ALTER TABLE ledger_entries ALTER sensors SET STORAGE EXTERNAL, ALTER received SET STORAGE EXTERNAL,
    ALTER stored SET STORAGE EXTERNAL, ALTER duplicate SET STORAGE EXTERNAL, ALTER rejected SET STORAGE EXTERNAL,
    ALTER filtered SET STORAGE EXTERNAL, ALTER late SET STORAGE EXTERNAL, ALTER unprocessed SET STORAGE EXTERNAL,
    ALTER last_times SET STORAGE EXTERNAL, ALTER last_seqs SET STORAGE EXTERNAL, ALTER tail_froms SET STORAGE EXTERNAL;

-- The last batch before the sensor's newest complete snapshot: what entries up to it say of unprocessed and tail_from is over.
ALTER TABLE sensor_ledger ADD COLUMN covered bigint NOT NULL DEFAULT -1;

CREATE VIEW pending_ledger AS
    SELECT e.instance, e.up_to, s.sensor_id, coalesce(s.received, 1) AS received, coalesce(s.stored, 1) AS stored,
        coalesce(s.duplicate, 0) AS duplicate, coalesce(s.rejected, 0) AS rejected, coalesce(s.filtered, 0) AS filtered,
        coalesce(s.late, 0) AS late, coalesce(s.unprocessed, 0) AS unprocessed, s.last_time, s.last_seq,
        CASE WHEN e.tail_froms IS NULL THEN s.last_time ELSE s.tail_from END AS tail_from
    FROM ledger_entries e CROSS JOIN LATERAL unnest(e.sensors, e.received, e.stored, e.duplicate, e.rejected, e.filtered,
        e.late, e.unprocessed, e.last_times, e.last_seqs, e.tail_froms)
        AS s (sensor_id, received, stored, duplicate, rejected, filtered, late, unprocessed, last_time, last_seq, tail_from);
