-- What a sensor's readings come through: see src/domain/home.rs. Null where nobody said.
ALTER TABLE sensors ADD COLUMN home TEXT;

-- One row: the next numbers of sensors and series that nobody has taken.
CREATE TABLE numbers (
    id      INTEGER PRIMARY KEY CHECK (id = 0),
    sensors INTEGER NOT NULL,
    series  INTEGER NOT NULL
);
INSERT INTO numbers (id, sensors, series)
    SELECT 0, (SELECT ifnull(max(id) + 1, 1) FROM sensors), (SELECT ifnull(max(id) + 1, 1) FROM series);
