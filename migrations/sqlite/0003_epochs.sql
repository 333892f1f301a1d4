-- Who may store a position. Each claim of a partition raises its epoch, and a transaction that names an older one fails, so that
-- of two owners only the later one commits. A partition that was claimed and never stored has no offset.

CREATE TABLE positions_with_epochs (
    source     TEXT    NOT NULL,
    partition  TEXT    NOT NULL,
    offset     INTEGER,
    epoch      INTEGER NOT NULL DEFAULT 0,
    updated_at INTEGER NOT NULL,
    PRIMARY KEY (source, partition)
) WITHOUT ROWID;
INSERT INTO positions_with_epochs (source, partition, offset, updated_at)
    SELECT source, partition, offset, updated_at FROM positions;
DROP TABLE positions;
ALTER TABLE positions_with_epochs RENAME TO positions;
