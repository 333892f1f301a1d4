-- The objects of the cold archive. `day` is YYYY-MM-DD in UTC, whose readings with a sequence up to `up_to` the objects of an
-- export hold; `checksum` and `sha256` are hexadecimal. What is not known yet is null.

CREATE TABLE archives (
    up_to       bigint      NOT NULL,
    rows        bigint,
    bytes       bigint,
    started_at  timestamptz NOT NULL,
    verified_at timestamptz,
    dropped_at  timestamptz,
    restored_at timestamptz,
    keep_until  timestamptz,
    part        integer     NOT NULL,
    day         text        COLLATE "C" NOT NULL,
    object      text        NOT NULL,
    state       text        NOT NULL,
    checksum    text,
    sha256      text,
    PRIMARY KEY (day, part)
);
