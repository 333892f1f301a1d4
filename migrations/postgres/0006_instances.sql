-- Several instances on one database.

-- What a sensor's readings come through: see src/domain/home.rs. Null where nobody said.
ALTER TABLE sensors ADD COLUMN home text COLLATE "C";
CREATE INDEX sensors_by_home ON sensors (home);

-- One row: the next numbers of sensors and series that nobody has taken.
CREATE TABLE numbers (
    id      integer PRIMARY KEY CHECK (id = 0),
    sensors bigint  NOT NULL,
    series  bigint  NOT NULL
);
INSERT INTO numbers (id, sensors, series)
    SELECT 0, (SELECT coalesce(max(id) + 1, 1) FROM sensors), (SELECT coalesce(max(id) + 1, 1) FROM series);

-- The instance that has claimed a partition and not given it back. Whoever takes it away counts that in `taken`, and what that
-- instance commits without having heard of it fails.
ALTER TABLE positions ADD COLUMN owner text COLLATE "C";
CREATE INDEX positions_by_owner ON positions (owner) WHERE owner IS NOT NULL;
ALTER TABLE writers ADD COLUMN taken bigint NOT NULL DEFAULT 0;
