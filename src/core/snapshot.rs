//! Snapshots: a sensor's state as bytes.
//!
//! ```text
//! "SH" | version: u8 | CRC-32 of version and body: u32, little endian | body: postcard
//! ```
//!
//! Invariants: the header keeps its form in every version. Windows and detectors are kept each in bytes of its own that
//! name its specification, so one made under another configuration, or by a build with other detectors, still gives
//! back whatever it shares with this one. Event times in the ring are differences, and numbers are as short as they can.
//!
//! Fails with [`SnapshotError`] on anything that is not a whole snapshot; never panics, and allocates no more than a
//! small multiple of the bytes it is given.

use std::collections::VecDeque;

use serde::{Deserialize, Serialize, de::DeserializeOwned};

use super::detectors::Detector;
use super::ring::Ring;
use super::series::Series;
use super::state::{ANOMALY_HISTORY, ConfigOf, SensorState};
use super::windows::Windows;
use crate::domain::{ActiveTime, Anomaly, SeriesId, Timestamp};

/// The version that [`encode`] writes.
pub const VERSION: u8 = 1;

const MAGIC: [u8; 2] = *b"SH";
const HEADER: usize = 7;

#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum SnapshotError {
    #[error("snapshot has version {found}, this build knows up to {known}")]
    TooNew { found: u8, known: u8 },
    #[error("snapshot is corrupt: {0}")]
    Corrupt(&'static str),
}

pub fn encode(state: &SensorState) -> Vec<u8> {
    let image = Image {
        series: state.series.iter().map(SeriesImage::of).collect(),
        anomalies: state.anomalies.iter().cloned().collect(),
    };
    let mut bytes = vec![0; HEADER];
    bytes[..2].copy_from_slice(&MAGIC);
    bytes[2] = VERSION;
    bytes.extend(bytes_of(&image));
    let crc = checksum(&bytes);
    bytes[3..HEADER].copy_from_slice(&crc.to_le_bytes());
    bytes
}

/// Restores what matches the configuration, by equal specification; the rest begins anew.
pub fn decode(bytes: &[u8], config: ConfigOf<'_>) -> Result<SensorState, SnapshotError> {
    if bytes.len() < HEADER {
        return Err(SnapshotError::Corrupt("it is shorter than its header"));
    }
    if bytes[..2] != MAGIC {
        return Err(SnapshotError::Corrupt("it does not begin like one"));
    }
    if bytes[3..HEADER] != checksum(bytes).to_le_bytes() {
        return Err(SnapshotError::Corrupt("its checksum is wrong"));
    }
    match bytes[2] {
        VERSION => {}
        0 => return Err(SnapshotError::Corrupt("there is no version 0")),
        found => {
            return Err(SnapshotError::TooNew {
                found,
                known: VERSION,
            });
        }
    }
    let image: Image = whole(&bytes[HEADER..]).ok_or(SnapshotError::Corrupt("its body does not parse"))?;
    image
        .restore(config)
        .ok_or(SnapshotError::Corrupt("its body is not a possible state"))
}

/// Of everything but itself and the magic.
fn checksum(bytes: &[u8]) -> u32 {
    let mut crc = crc32fast::Hasher::new();
    crc.update(&bytes[2..3]);
    crc.update(&bytes[HEADER..]);
    crc.finalize()
}

#[derive(Serialize, Deserialize)]
struct Image {
    series: Vec<SeriesImage>,
    anomalies: Vec<Anomaly>,
}

#[derive(Serialize, Deserialize)]
struct SeriesImage {
    id: SeriesId,
    heard_at: ActiveTime,
    watermark: Timestamp,
    forgot: bool,
    oldest: Timestamp,
    /// Microseconds since the row before (0 for the first), and value.
    rows: Vec<(u64, f64)>,
    windows: Vec<Vec<u8>>,
    detectors: Vec<Vec<u8>>,
}

impl Image {
    fn restore(self, config: ConfigOf<'_>) -> Option<SensorState> {
        let sorted = self.series.windows(2).all(|pair| pair[0].id < pair[1].id);
        if !sorted || self.anomalies.len() > ANOMALY_HISTORY {
            return None;
        }
        let series = self
            .series
            .into_iter()
            .map(|series| series.restore(config))
            .collect::<Option<_>>()?;
        Some(SensorState::from_parts(series, self.anomalies.into()))
    }
}

impl SeriesImage {
    fn of(series: &Series) -> Self {
        let oldest = series.ring.rows().next().map_or(Timestamp::MIN, |(time, _)| time);
        let mut before = oldest;
        let rows = series.ring.rows().map(|(time, value)| {
            let since = time.0.abs_diff(before.0);
            before = time;
            (since, value)
        });
        SeriesImage {
            id: series.id,
            heard_at: series.heard_at,
            watermark: series.watermark,
            forgot: series.ring.forgot(),
            oldest,
            rows: rows.collect(),
            windows: series.windows.iter().map(bytes_of).collect(),
            detectors: series.detectors.iter().map(bytes_of).collect(),
        }
    }

    /// `None` if there can be no such state. A part that does not parse is one that another build wrote.
    fn restore(self, config: ConfigOf<'_>) -> Option<Series> {
        let mut time = self.oldest;
        let mut rows = VecDeque::with_capacity(self.rows.len());
        for (since, value) in self.rows {
            time = Timestamp(time.0.checked_add_unsigned(since)?);
            rows.push_back((time, value));
        }
        let ring = Ring::from_rows(rows, self.forgot)?;
        ring.newest()?;
        let windows = self.windows.iter().filter_map(|part| whole(part));
        let detectors = self.detectors.iter().filter_map(|part| whole(part));
        let config = config(self.id);
        let mut series = Series {
            id: self.id,
            config: config.clone(),
            heard_at: self.heard_at,
            watermark: self.watermark,
            ring,
            windows: windows.filter(|set: &Windows| set.is_sound()).collect(),
            detectors: detectors
                .filter(|detector: &Detector| detector.is_sound())
                .collect(),
        };
        series.reconfigure(config);
        Some(series)
    }
}

fn bytes_of<T: Serialize>(value: &T) -> Vec<u8> {
    // Fails only for what postcard cannot express, such as a sequence of unknown length; there is none here.
    postcard::to_allocvec(value).unwrap_or_default()
}

fn whole<T: DeserializeOwned>(bytes: &[u8]) -> Option<T> {
    match postcard::take_from_bytes(bytes) {
        Ok((value, [])) => Some(value),
        _ => None,
    }
}
