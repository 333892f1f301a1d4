//! Snapshots: a sensor's state as bytes.
//!
//! ```text
//! "SH" | version: u8 | CRC-32 of version and body: u32, little endian | body: postcard | appendix, from version 2 on: postcard
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

use super::alerts::WatchImage;
use super::detectors::Detector;
use super::ring::Ring;
use super::series::Series;
use super::state::{ANOMALY_HISTORY, ConfigOf, SensorState};
use super::windows::Windows;
use crate::domain::{ActiveTime, Anomaly, SeriesId, Timestamp};

/// The version that [`encode`] writes.
pub const VERSION: u8 = 2;

/// The first version that has an appendix: the alert rules of each series that has any.
const APPENDED: u8 = 2;

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
        anomalies: &state.anomalies,
        amid: state.amid,
    };
    let rules = state.series.iter().filter(|series| !series.rules.is_empty());
    let appendix: Appendix = rules
        .map(|series| {
            let parts = series.rules.iter().map(|watch| bytes_of(&watch.image()));
            (series.id, parts.collect())
        })
        .collect();
    sealed(VERSION, &[bytes_of(&image), bytes_of(&appendix)].concat())
}

/// Puts the header before a body.
pub(super) fn sealed(version: u8, body: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(HEADER + body.len());
    bytes.extend(MAGIC);
    bytes.push(version);
    bytes.extend([0; 4]);
    bytes.extend(body);
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
        1..=VERSION => {}
        0 => return Err(SnapshotError::Corrupt("there is no version 0")),
        found => {
            return Err(SnapshotError::TooNew {
                found,
                known: VERSION,
            });
        }
    }
    let (image, appendix) =
        parse(bytes[2], &bytes[HEADER..]).ok_or(SnapshotError::Corrupt("its body does not parse"))?;
    let mut state = image
        .restore(config)
        .ok_or(SnapshotError::Corrupt("its body is not a possible state"))?;
    for (id, parts) in &appendix {
        if let Ok(at) = state.series.binary_search_by_key(id, |series| series.id) {
            state.series[at].restore_rules(parts.iter().filter_map(|part| whole::<WatchImage>(part)));
        }
    }
    state.plan();
    Ok(state)
}

/// Of everything but itself and the magic.
fn checksum(bytes: &[u8]) -> u32 {
    let mut crc = crc32fast::Hasher::new();
    crc.update(&bytes[2..3]);
    crc.update(&bytes[HEADER..]);
    crc.finalize()
}

/// Each part is of one rule.
type Appendix = Vec<(SeriesId, Vec<Vec<u8>>)>;

fn parse(version: u8, bytes: &[u8]) -> Option<(Image<VecDeque<Anomaly>>, Appendix)> {
    let (image, rest) = postcard::take_from_bytes(bytes).ok()?;
    if version >= APPENDED {
        return Some((image, whole(rest)?));
    }
    rest.is_empty().then_some((image, Appendix::new()))
}

#[derive(Serialize, Deserialize)]
struct Image<A> {
    series: Vec<SeriesImage>,
    anomalies: A,
    amid: bool,
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

impl Image<VecDeque<Anomaly>> {
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
        Some(SensorState::from_parts(series, self.anomalies, self.amid))
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
        let mut rows = VecDeque::with_capacity(self.rows.len().next_power_of_two());
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
            rules: Vec::new(),
        };
        series.reconfigure(config);
        Some(series)
    }
}

fn bytes_of<T: Serialize>(value: &T) -> Vec<u8> {
    postcard::to_allocvec(value).expect("only sequences of unknown length fail, and there is none here")
}

fn whole<T: DeserializeOwned>(bytes: &[u8]) -> Option<T> {
    match postcard::take_from_bytes(bytes) {
        Ok((value, [])) => Some(value),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::core::{DetectorSpec, Effects, SeriesConfig, WindowSpec};
    use crate::domain::{BatchTime, Flags, Reading};

    fn config(size: i64, detectors: &[DetectorSpec]) -> Arc<SeriesConfig> {
        let windows = vec![WindowSpec::Tumbling { size }];
        Arc::new(SeriesConfig {
            windows,
            detectors: detectors.to_vec(),
            ..SeriesConfig::default()
        })
    }

    /// A sensor that said something every second since the autumn of 2024.
    fn state(config: &Arc<SeriesConfig>, readings: i64) -> SensorState {
        let mut state = SensorState::new();
        for second in 0..readings {
            let reading = Reading {
                series: SeriesId(70_000),
                time: Timestamp::from_seconds(1_730_332_800 + second),
                value: 20.0 + (second as f64).sin(),
                index: 0,
                flags: Flags::NONE,
            };
            let active = ActiveTime(1_730_332_800_000_000 + second * 1_000_000);
            state.observe(
                &reading,
                BatchTime {
                    now: reading.time,
                    active,
                },
                &|_| config.clone(),
                &mut Effects::default(),
            );
        }
        state
    }

    const DETECTORS: [DetectorSpec; 2] = [
        DetectorSpec::Jump { threshold: 5.0 },
        DetectorSpec::Threshold { above: 80.0 },
    ];

    #[test]
    fn it_is_compact() {
        let config = config(60_000_000, &DETECTORS);
        let full = encode(&state(&config, 1_000)).len();
        let short = encode(&state(&config, 3)).len();
        assert!((700..1_000).contains(&full), "{full}");
        assert!(short < 250, "{short}");
    }

    #[test]
    fn a_newer_one_is_told_from_a_corrupt_one() {
        let restore = |bytes: &[u8]| decode(bytes, &|_| config(10, &[])).map(|state| encode(&state));
        let body = encode(&state(&config(10, &[]), 3)).split_off(HEADER);
        assert!(restore(&sealed(2, &body)).is_ok());
        assert_eq!(
            restore(&sealed(3, &body)),
            Err(SnapshotError::TooNew { found: 3, known: 2 })
        );
        let corrupt = |bytes: &[u8]| match restore(bytes) {
            Err(SnapshotError::Corrupt(why)) => why,
            other => panic!("{other:?}"),
        };
        assert_eq!(corrupt(&sealed(0, &body)), "there is no version 0");
        assert_eq!(corrupt(&[]), "it is shorter than its header");
        assert_eq!(corrupt(&sealed(2, &body)[..6]), "it is shorter than its header");
        assert_eq!(corrupt(b"XYZ1234"), "it does not begin like one");
        assert_eq!(corrupt(b"SH\x021234"), "its checksum is wrong");
        assert_eq!(corrupt(&sealed(2, &body[1..])), "its body does not parse");
        assert_eq!(
            corrupt(&sealed(2, &[&body[..], &[0]].concat())),
            "its body does not parse"
        );
        assert_eq!(corrupt(&sealed(2, &[])), "its body does not parse");
    }

    #[test]
    fn one_of_the_version_before_alerts_is_read() {
        let config = config(60_000_000, &DETECTORS);
        let state = state(&config, 30);
        let mut body = encode(&state).split_off(HEADER);
        assert_eq!(body.pop(), Some(0), "no rules");
        let restored = decode(&sealed(1, &body), &|_| config.clone()).unwrap();
        assert_eq!(restored.inspect(), state.inspect());
        body.push(0);
        assert!(decode(&sealed(1, &body), &|_| config.clone()).is_err());
    }

    #[test]
    fn its_header_is_what_it_says() {
        // An empty state has an empty body: no series, no anomalies, not amid history, no rules.
        let bytes = encode(&SensorState::new());
        assert_eq!(bytes[..3], *b"SH\x02");
        assert_eq!(bytes[3..7], crc32fast::hash(&[2, 0, 0, 0, 0]).to_le_bytes());
        assert_eq!(bytes[7..], [0, 0, 0, 0]);
        assert_eq!(encode(&SensorState::amid_history())[7..], [0, 0, 1, 0]);
    }

    #[test]
    fn a_body_that_no_state_has_is_refused() {
        let whole = state(&config(10, &DETECTORS), 3);
        let refused = |change: &dyn Fn(&mut SensorState)| {
            let mut state = whole.clone();
            change(&mut state);
            let restored = decode(&encode(&state), &|_| config(10, &DETECTORS)).map(|state| encode(&state));
            restored == Err(SnapshotError::Corrupt("its body is not a possible state"))
        };
        assert!(!refused(&|_| ()));
        assert!(refused(&|state| state.series.push(state.series[0].clone())));
        assert!(!refused(&|state| {
            let mut other = state.series[0].clone();
            other.id = SeriesId(70_001);
            state.series.push(other);
        }));
        assert!(refused(&|state| state.series[0].ring = Ring::new(true)));
        let anomaly = {
            let mut found = Effects::default();
            let config = config(10, &[DetectorSpec::Threshold { above: 1.0 }]);
            let series = &mut state(&config, 1).series[0];
            let reading = Reading {
                series: series.id,
                time: Timestamp::MAX,
                value: 9.0,
                index: 0,
                flags: Flags::NONE,
            };
            series.reset(Timestamp(0), &mut found);
            series.observe(&reading, ActiveTime(0), true, &mut found);
            found.anomalies.remove(0)
        };
        let anomalies = |count| std::iter::repeat_n(anomaly.clone(), count).collect::<VecDeque<_>>();
        assert!(!refused(&|state| state.anomalies = anomalies(64)));
        assert!(refused(&|state| state.anomalies = anomalies(65)));
    }

    #[test]
    fn what_matches_is_restored_and_what_does_not_begins_anew() {
        let first = config(60_000_000, &DETECTORS);
        let second = config(
            60_000_000,
            &[
                DetectorSpec::Silence { after: 9 },
                DetectorSpec::Jump { threshold: 5.0 },
            ],
        );
        let before = state(&first, 90);
        let restored = decode(&encode(&before), &|_| second.clone()).unwrap();
        let (before, restored) = (before.inspect(), restored.inspect());
        assert_eq!(restored.series[0].windows, before.series[0].windows);
        assert_eq!(restored.series[0].detectors[1], before.series[0].detectors[0]);
        assert_eq!(restored.series[0].detectors.len(), 2);
    }

    #[test]
    fn parts_of_an_unknown_kind_or_unsound_are_passed_over() {
        let config = config(60_000_000, &DETECTORS);
        let state = state(&config, 3);
        let mut image = SeriesImage::of(&state.series[0]);
        image.detectors[0] = vec![200, 1, 2, 3];
        image.windows.insert(0, vec![]);
        let restored = image.restore(&|_| config.clone()).unwrap().view();
        let original = state.inspect();
        assert_eq!(restored.windows, original.series[0].windows);
        assert_eq!(restored.detectors[1], original.series[0].detectors[1]);
        assert_ne!(restored.detectors[0], original.series[0].detectors[0]);

        let mut image = SeriesImage::of(&state.series[0]);
        let jump = image.detectors[0].len();
        image.detectors[0][jump - 8..].copy_from_slice(&f64::NAN.to_le_bytes());
        let restored = image.restore(&|_| config.clone()).unwrap().view();
        assert_eq!(
            restored.detectors[0].state,
            crate::core::detectors::DetectorState::Jump { previous: None }
        );
    }

    #[test]
    fn event_times_at_both_ends_survive() {
        let config = config(10, &[]);
        let mut state = state(&config, 1);
        for time in [i64::MIN, i64::MAX] {
            let reading = Reading {
                series: SeriesId(1),
                time: Timestamp(time),
                value: 1.0,
                index: 0,
                flags: Flags::NONE,
            };
            let at = BatchTime {
                now: Timestamp(0),
                active: ActiveTime(0),
            };
            state.observe(&reading, at, &|_| config.clone(), &mut Effects::default());
        }
        let restored = decode(&encode(&state), &|_| config.clone()).unwrap();
        assert_eq!(restored.inspect(), state.inspect());
        let mut image = SeriesImage::of(&state.series[0]);
        image.rows.push((1, 0.0));
        assert!(
            image.restore(&|_| config.clone()).is_none(),
            "a time beyond the end of time"
        );
    }
}
