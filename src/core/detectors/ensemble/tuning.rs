//! The constants of the ensemble, each with its reason.
//!
//! Invariant: they are the same for every series. Counts are readings unless they say otherwise.

const DAY: f64 = 86_400e6;

/// What is not a count of array elements can be varied, to see how much hangs on it.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(in crate::core) struct Tuning {
    /// Readings whose greatest value stands for all of them in a tail. Neighbors in time are alike, so one event would
    /// fill a tail alone if each of its readings counted.
    pub block: u32,
    /// How many readings the short, the middle and the long mean span: about what one looks at to see a spike, an
    /// episode, a trend.
    pub spans: [f64; 3],
    /// The mean excess of a tail is taken as at least this part of the series' usual deviation. It is the dead band:
    /// what differs from all before by less is not told, however regular the series.
    pub dead_band: f64,
    /// No alarm before so many readings.
    pub warm_up: u32,
    /// No second alarm for so many readings: in that time an event leaves the middle mean.
    pub rest: u32,
    /// How often a series may alarm when nothing happens to it: once in so many readings, and in so much time.
    pub once_in: f64,
    pub once_in_time: f64,
    /// How many times as many powers of ten the evidence must have, at first and at least, and at most: several
    /// features are looked at, the rarest of them decides, and the further beyond history the less a tail is to be
    /// trusted.
    pub least_margin: f64,
    pub most_margin: f64,
    /// How much the margin grows by an alarm; it shrinks by as much while none comes in the time above.
    pub step: f64,
    /// When half of what tails remember is forgotten: after as many readings, and as much time, of history.
    pub memory: f64,
    pub memory_time: f64,
}

impl Tuning {
    pub const DEFAULT: Tuning = Tuning {
        block: 24,
        spans: [8.0, 64.0, 512.0],
        dead_band: 0.05,
        warm_up: 150,
        rest: 90,
        once_in: 1_000.0,
        once_in_time: 4.0 * DAY,
        least_margin: 1.12,
        most_margin: 3.0,
        step: 0.08,
        memory: 8_000.0,
        memory_time: 30.0 * DAY,
    };
}
