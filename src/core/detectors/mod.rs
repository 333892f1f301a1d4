//! Detectors: each watches one series for one kind of finding.
//!
//! Invariants: a detector keeps constant state. Whatever finite values it sees, its findings are finite, their scores
//! in 0..=1, and their explanations are sentences for whoever is woken by them.

mod beyond;
pub(super) mod ensemble;
mod ewma;
#[cfg(feature = "faults")]
mod fault;
mod hampel;
mod jump;
mod rate;
mod seasonal;
mod shift;
mod silence;
mod stuck;
mod threshold;
mod z_score;

use std::fmt;
use std::ops::{Deref, DerefMut};

use serde::{Deserialize, Serialize};

use super::config::DetectorSpec;
use crate::domain::{ActiveTime, Anomaly, Level, SeriesId, Timestamp};

/// An accepted reading, as a detector sees it.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Seen {
    pub(super) series: SeriesId,
    pub(super) time: Timestamp,
    pub(super) value: f64,
    /// No earlier reading of the series had a later event time.
    pub(super) newest: bool,
}

/// What every detector does.
pub(super) trait Detect {
    fn spec(&self) -> DetectorSpec;

    fn observe(&mut self, seen: &Seen) -> Option<Anomaly>;

    /// When it wants [`Self::overdue`] to be called, if nothing is heard until then.
    fn deadline(&self, _heard_at: ActiveTime) -> Option<ActiveTime> {
        None
    }

    /// Its deadline has come. `last` is the newest reading. Afterwards it has no deadline, until something is heard.
    fn overdue(&mut self, _last: &Seen) -> Option<Anomaly> {
        None
    }

    fn state(&self) -> DetectorState;

    /// Whether every invariant holds; asked of what comes out of a snapshot.
    fn is_sound(&self) -> bool;

    /// Bytes on the heap.
    fn heap(&self) -> usize {
        0
    }
}

/// What a detector remembers: its baseline and where it stands.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum DetectorState {
    /// `previous` is what the next value is compared with.
    Jump {
        previous: Option<f64>,
    },
    /// `raised` is the gravest level of the running episode; above the marks a value is an error, and critical.
    Threshold {
        raised: Option<Level>,
        error_above: f64,
        critical_above: f64,
    },
    Silence {
        silent: bool,
    },
    /// `once_in`: what comes less often than once in so many readings is a finding, unless it is `resting`.
    Ensemble {
        readings: u64,
        once_in: f64,
        resting: bool,
    },
    Rate {
        previous: Option<f64>,
    },
    /// `stuck` once it was told.
    Stuck {
        value: Option<f64>,
        stuck: bool,
    },
    ZScore {
        values: usize,
        mean: f64,
        deviation: f64,
    },
    Ewma {
        mean: f64,
        deviation: f64,
    },
    Hampel {
        values: usize,
        median: f64,
        deviation: f64,
    },
    Seasonal {
        known_hours: usize,
    },
    /// `up` and `down` are the running sums.
    Shift {
        mean: f64,
        deviation: f64,
        up: f64,
        down: f64,
    },
    #[cfg(feature = "faults")]
    Fault,
}

/// New arms go to the end, but before `Fault`: snapshots number them.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) enum Detector {
    Jump(jump::Jump),
    Threshold(threshold::Threshold),
    Silence(silence::Silence),
    Ensemble(ensemble::Ensemble),
    Rate(rate::Rate),
    Stuck(stuck::Stuck),
    ZScore(z_score::ZScore),
    Ewma(ewma::Ewma),
    Hampel(hampel::Hampel),
    Seasonal(seasonal::Seasonal),
    Shift(shift::Shift),
    #[cfg(feature = "faults")]
    Fault(fault::Fault),
}

impl Detector {
    pub(super) fn new(spec: DetectorSpec) -> Self {
        match spec {
            DetectorSpec::Jump { threshold } => Detector::Jump(jump::Jump::new(threshold)),
            DetectorSpec::Threshold { above } => Detector::Threshold(threshold::Threshold::new(above)),
            DetectorSpec::Silence { after } => Detector::Silence(silence::Silence::new(after)),
            DetectorSpec::Ensemble {} => Detector::Ensemble(ensemble::Ensemble::new()),
            DetectorSpec::Rate { above, per } => Detector::Rate(rate::Rate::new(above, per)),
            DetectorSpec::Stuck { after, within } => Detector::Stuck(stuck::Stuck::new(after, within)),
            DetectorSpec::ZScore { above, window } => Detector::ZScore(z_score::ZScore::new(above, window)),
            DetectorSpec::Ewma { above, span } => Detector::Ewma(ewma::Ewma::new(above, span)),
            DetectorSpec::Hampel { above, window } => Detector::Hampel(hampel::Hampel::new(above, window)),
            DetectorSpec::Seasonal { above, season } => {
                Detector::Seasonal(seasonal::Seasonal::new(above, season))
            }
            DetectorSpec::Shift { above, span } => Detector::Shift(shift::Shift::new(above, span)),
            #[cfg(feature = "faults")]
            DetectorSpec::Fault { panic_above } => Detector::Fault(fault::Fault::new(panic_above)),
        }
    }
}

impl Deref for Detector {
    type Target = dyn Detect;

    fn deref(&self) -> &Self::Target {
        match self {
            Detector::Jump(detector) => detector,
            Detector::Threshold(detector) => detector,
            Detector::Silence(detector) => detector,
            Detector::Ensemble(detector) => detector,
            Detector::Rate(detector) => detector,
            Detector::Stuck(detector) => detector,
            Detector::ZScore(detector) => detector,
            Detector::Ewma(detector) => detector,
            Detector::Hampel(detector) => detector,
            Detector::Seasonal(detector) => detector,
            Detector::Shift(detector) => detector,
            #[cfg(feature = "faults")]
            Detector::Fault(detector) => detector,
        }
    }
}

impl DerefMut for Detector {
    fn deref_mut(&mut self) -> &mut Self::Target {
        match self {
            Detector::Jump(detector) => detector,
            Detector::Threshold(detector) => detector,
            Detector::Silence(detector) => detector,
            Detector::Ensemble(detector) => detector,
            Detector::Rate(detector) => detector,
            Detector::Stuck(detector) => detector,
            Detector::ZScore(detector) => detector,
            Detector::Ewma(detector) => detector,
            Detector::Hampel(detector) => detector,
            Detector::Seasonal(detector) => detector,
            Detector::Shift(detector) => detector,
            #[cfg(feature = "faults")]
            Detector::Fault(detector) => detector,
        }
    }
}

/// The nearest finite number: what overflowed is taken as the greatest there is.
pub(super) fn finite(number: f64) -> f64 {
    number.clamp(-f64::MAX, f64::MAX)
}

/// A number for people: as short as it can be told, and with an exponent where zeros would hide it.
pub(super) struct Plain(pub(super) f64);

impl Plain {
    /// To six digits, for what was computed and carries rounding errors.
    pub(super) fn rounded(number: f64) -> Self {
        Plain(finite(format!("{number:.5e}").parse().unwrap_or(number)))
    }
}

impl fmt::Display for Plain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0.abs() {
            size if size == 0.0 || (1e-4..1e15).contains(&size) => write!(f, "{}", self.0),
            _ => write!(f, "{:e}", self.0),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A newest reading.
    pub(super) fn seen(time: i64, value: f64) -> Seen {
        Seen {
            series: SeriesId(1),
            time: Timestamp(time),
            value,
            newest: true,
        }
    }

    #[test]
    fn numbers_are_told_shortly() {
        let told = [0.0, 21.5, -80.0, 0.0001, 0.00001, 1e14, 1e15, -f64::MAX];
        let texts = [
            "0",
            "21.5",
            "-80",
            "0.0001",
            "1e-5",
            "100000000000000",
            "1e15",
            "-1.7976931348623157e308",
        ];
        assert_eq!(
            told.map(|number| Plain(number).to_string()),
            texts.map(str::to_owned)
        );
        assert_eq!(Plain::rounded(15.100000000000001).to_string(), "15.1");
        assert_eq!(Plain::rounded(-1234.5678).to_string(), "-1234.57");
        assert!(Plain::rounded(f64::MAX).0.is_finite());
    }

    #[test]
    fn only_what_overflowed_is_cut() {
        assert_eq!(
            [1.0, f64::INFINITY, f64::NEG_INFINITY].map(finite),
            [1.0, f64::MAX, f64::MIN]
        );
    }

    #[test]
    fn each_detector_is_made_to_its_specification() {
        let specs = [
            DetectorSpec::Jump { threshold: 1.0 },
            DetectorSpec::Threshold { above: 2.0 },
            DetectorSpec::Silence { after: 3 },
            DetectorSpec::Ensemble {},
            DetectorSpec::Rate { above: 1.0, per: 60 },
            DetectorSpec::Stuck {
                after: 9,
                within: 0.0,
            },
            DetectorSpec::ZScore {
                above: 3.0,
                window: 4,
            },
            DetectorSpec::Ewma { above: 3.0, span: 4 },
            DetectorSpec::Hampel {
                above: 3.0,
                window: 5,
            },
            DetectorSpec::Seasonal {
                above: 3.0,
                season: crate::core::Season::Day,
            },
            DetectorSpec::Shift { above: 5.0, span: 6 },
        ];
        assert_eq!(specs.map(|spec| Detector::new(spec).spec()), specs);
        assert!(specs.iter().all(|spec| Detector::new(*spec).is_sound()));
    }

    #[test]
    fn only_silence_waits_for_something() {
        let at = ActiveTime(10);
        assert_eq!(
            Detector::new(DetectorSpec::Jump { threshold: 1.0 }).deadline(at),
            None
        );
        assert_eq!(
            Detector::new(DetectorSpec::Threshold { above: 1.0 }).overdue(&seen(0, 9.0)),
            None
        );
        assert_eq!(
            Detector::new(DetectorSpec::Silence { after: 3 }).deadline(at),
            Some(ActiveTime(13))
        );
    }
}
