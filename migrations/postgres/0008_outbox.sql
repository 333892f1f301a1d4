-- What is to be sent on: rows of an instance in the order of their commits, see src/storage/outbox.rs for the payload. Written only
-- where an output is configured. The payload is dense already.
CREATE TABLE outbox (
    id        bigint      GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    instance  text        COLLATE "C" NOT NULL,
    time      timestamptz NOT NULL,
    readings  bigint      NOT NULL,
    windows   bigint      NOT NULL,
    anomalies bigint      NOT NULL,
    bytes     bigint      NOT NULL,
    payload   bytea       NOT NULL
);
ALTER TABLE outbox ALTER COLUMN payload SET STORAGE EXTERNAL;
CREATE INDEX outbox_by_instance ON outbox (instance, id);

-- The last row that each output has sent.
CREATE TABLE outbox_cursors (
    instance text   COLLATE "C" NOT NULL,
    output   text   COLLATE "C" NOT NULL,
    sent     bigint NOT NULL,
    PRIMARY KEY (instance, output)
) WITH (fillfactor = 10);
