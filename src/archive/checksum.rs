//! The checksum of rows: each reading's own SHA-256, cut to 128 bits, added up. So it does not depend on the order, and what
//! is spread over several objects adds up to the same.
//!
//! What counts is sensor, metric, time, value, sequence and flags. Unit and tags belong to the series and the sensor and may
//! change later; numbers of this database mean nothing elsewhere.

use sha2::{Digest, Sha256};

use crate::storage::archives::{RowsChecksum, SeriesName};
use crate::storage::history::StoredPoint;

/// Adds rows up.
#[derive(Debug, Clone, Default)]
pub struct RowHasher {
    pub rows: u64,
    pub checksum: RowsChecksum,
}

/// The part of a hash that all readings of a series share.
#[derive(Debug, Clone)]
pub struct SeriesHash(Sha256);

impl SeriesHash {
    pub fn new(name: &SeriesName) -> Self {
        let mut hash = Sha256::new();
        for text in [name.sensor.as_str(), name.metric.as_str()] {
            // With its length, so that no two pairs of names give the same bytes.
            hash.update((text.len() as u64).to_le_bytes());
            hash.update(text);
        }
        Self(hash)
    }
}

impl RowHasher {
    pub fn add(&mut self, series: &SeriesHash, point: &StoredPoint) {
        // Not every database tells 0.0 and -0.0 apart.
        let value = if point.value == 0.0 { 0.0 } else { point.value };
        let mut hash = series.0.clone();
        hash.update(point.time.0.to_le_bytes());
        hash.update(value.to_bits().to_le_bytes());
        hash.update(point.seq.0.to_le_bytes());
        hash.update([point.flags.0]);
        let digest = hash.finalize();
        let mut first = [0; 16];
        first.copy_from_slice(&digest[..16]);
        self.checksum.add(RowsChecksum(u128::from_le_bytes(first)));
        self.rows += 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::{Flags, MetricName, SensorId, Seq, Tags, Timestamp};

    fn series(sensor: &str, metric: &str) -> SeriesHash {
        SeriesHash::new(&SeriesName {
            sensor: SensorId::parse(sensor).unwrap(),
            tags: Tags::new(),
            metric: MetricName::parse(metric).unwrap(),
            unit: None,
        })
    }

    fn of(rows: &[(&SeriesHash, i64, f64, u64, u8)]) -> RowsChecksum {
        let mut hasher = RowHasher::default();
        for &(series, time, value, seq, flags) in rows {
            let point = StoredPoint {
                time: Timestamp(time),
                value,
                seq: Seq(seq),
                flags: Flags(flags),
            };
            hasher.add(series, &point);
        }
        hasher.checksum
    }

    #[test]
    fn the_order_does_not_matter_and_everything_else_does() {
        let (a, b) = (series("a", "bc"), series("ab", "c"));
        let one = of(&[(&a, 1, 2.0, 3, 0), (&b, 1, 2.0, 3, 0)]);
        assert_eq!(one, of(&[(&b, 1, 2.0, 3, 0), (&a, 1, 2.0, 3, 0)]));
        let mut parts = of(&[(&a, 1, 2.0, 3, 0)]);
        parts.add(of(&[(&b, 1, 2.0, 3, 0)]));
        assert_eq!(one, parts);
        let row = of(&[(&a, 1, 2.0, 3, 0)]);
        for other in [
            of(&[(&b, 1, 2.0, 3, 0)]),
            of(&[(&a, 2, 2.0, 3, 0)]),
            of(&[(&a, 1, 2.5, 3, 0)]),
            of(&[(&a, 1, 2.0, 4, 0)]),
            of(&[(&a, 1, 2.0, 3, 1)]),
            of(&[(&a, 1, 2.0, 3, 0), (&a, 1, 2.0, 3, 0)]),
            of(&[]),
        ] {
            assert_ne!(row, other);
        }
        assert_eq!(of(&[(&a, 1, 0.0, 3, 0)]), of(&[(&a, 1, -0.0, 3, 0)]));
    }
}
