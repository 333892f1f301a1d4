//! What a rule says: when an alert begins, how grave it is, and when it ends.
//!
//! Invariants: a [`RuleSpec`] is made once and shared. Its fingerprint tells two rules apart that would judge differently, so state
//! that was kept under another one is not taken over. Durations are microseconds, and none is negative.

use std::hash::Hasher;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use twox_hash::XxHash64;

use crate::domain::{DetectorKind, Level, Micros, WindowResult};

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RuleSpec {
    pub name: Arc<str>,
    pub condition: Condition,
    pub levels: Levels,
    /// For how long the condition must hold before the alert fires.
    pub hold: Micros,
    /// For how long it must not hold before the alert is resolved.
    pub keep: Micros,
    /// After how long without a reading, in active time, there is nothing to judge by.
    pub no_data: Option<Micros>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Condition {
    Limits(Limits),
    /// A detector of the series finds something.
    Detector(DetectorKind),
    /// Nothing was heard for so long, in active time.
    Silence {
        after: Micros,
    },
}

/// A number that must stay within limits. At least one is given.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Limits {
    pub subject: Subject,
    pub above: Option<Limit>,
    pub below: Option<Limit>,
}

/// Beyond `at` it begins to hold, and it holds until `clear` is reached.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Limit {
    pub at: f64,
    pub clear: f64,
}

#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Subject {
    Value,
    /// The change of the value, for a span of `per`.
    Rate {
        per: Micros,
    },
    /// A number of the windows of one size.
    Window {
        size: Micros,
        aggregate: WindowNumber,
    },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum WindowNumber {
    Mean,
    Min,
    Max,
    Stddev,
    First,
    Last,
    Count,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Levels {
    One(Level),
    /// By the ratio to the limit, each at least 1 and growing with the level.
    Ratios(Vec<(Level, f64)>),
    /// What the detector says.
    Found,
}

impl RuleSpec {
    /// Of everything but the name.
    pub fn fingerprint(&self) -> u64 {
        let judged = (&self.condition, &self.levels, self.hold, self.keep, self.no_data);
        let mut hash = XxHash64::with_seed(0);
        // Plain numbers and enums can always be written to memory.
        hash.write(&postcard::to_allocvec(&judged).unwrap_or_default());
        hash.finish()
    }

    /// The least level that it can have.
    pub fn lowest(&self) -> Level {
        match &self.levels {
            Levels::One(level) => *level,
            Levels::Ratios(ratios) => ratios.first().map_or(Level::Warning, |(level, _)| *level),
            Levels::Found => Level::Warning,
        }
    }

    /// The level of a number, and the mark it is beyond; `None` where the condition does not hold. Once it `stands`, it holds until
    /// the limit is cleared.
    pub(super) fn judge(&self, limits: &Limits, value: f64, stands: bool) -> Option<(Level, f64)> {
        let sides = [(limits.above, 1.0), (limits.below, -1.0)];
        let beyond = sides.iter().filter_map(|(limit, side)| {
            let limit = (*limit)?;
            let highest = self
                .marks(limit.at, *side)
                .filter(|(_, mark)| (value - mark) * side > 0.0)
                .last();
            let kept = || stands && (value - limit.clear) * side > 0.0;
            highest.or_else(|| {
                kept().then(|| {
                    (
                        self.lowest(),
                        self.marks(limit.at, *side)
                            .next()
                            .map_or(limit.at, |(_, mark)| mark),
                    )
                })
            })
        });
        beyond.max_by_key(|(level, _)| *level)
    }

    /// Each level with the number that it begins beyond. Around zero, and on its far side, a ratio has no meaning of its own: there a
    /// mark lies as far beyond the limit as it would for its absolute value, or for 1.
    fn marks(&self, at: f64, side: f64) -> impl Iterator<Item = (Level, f64)> {
        let scale = if at == 0.0 { 1.0 } else { at.abs() };
        let mark = move |ratio: f64| (at + side * (ratio - 1.0) * scale).clamp(f64::MIN, f64::MAX);
        let (one, ratios) = match &self.levels {
            Levels::One(level) => (Some((*level, at)), [].as_slice()),
            Levels::Found => (Some((Level::Warning, at)), [].as_slice()),
            Levels::Ratios(ratios) => (None, ratios.as_slice()),
        };
        one.into_iter()
            .chain(ratios.iter().map(move |(level, ratio)| (*level, mark(*ratio))))
    }
}

impl WindowNumber {
    pub(super) fn of(self, window: &WindowResult) -> f64 {
        match self {
            WindowNumber::Mean => window.mean,
            WindowNumber::Min => window.min,
            WindowNumber::Max => window.max,
            WindowNumber::Stddev => window.stddev,
            WindowNumber::First => window.first,
            WindowNumber::Last => window.last,
            WindowNumber::Count => window.count as f64,
        }
    }

    pub fn as_str(self) -> &'static str {
        match self {
            WindowNumber::Mean => "mean",
            WindowNumber::Min => "minimum",
            WindowNumber::Max => "maximum",
            WindowNumber::Stddev => "standard deviation",
            WindowNumber::First => "first value",
            WindowNumber::Last => "last value",
            WindowNumber::Count => "count",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rule(levels: Levels) -> RuleSpec {
        RuleSpec {
            name: "r".into(),
            condition: Condition::Silence { after: 1 },
            levels,
            hold: 0,
            keep: 0,
            no_data: None,
        }
    }

    fn above(at: f64, clear: f64) -> Limits {
        Limits {
            subject: Subject::Value,
            above: Some(Limit { at, clear }),
            below: None,
        }
    }

    fn ratios() -> Levels {
        Levels::Ratios(vec![
            (Level::Warning, 1.0),
            (Level::Error, 1.2),
            (Level::Critical, 1.5),
        ])
    }

    #[test]
    fn levels_go_by_the_ratio_to_the_limit() {
        let rule = rule(ratios());
        let level = |at, value| rule.judge(&above(at, at), value, false);
        assert_eq!(level(80.0, 80.0), None);
        assert_eq!(level(80.0, 80.5), Some((Level::Warning, 80.0)));
        assert_eq!(level(80.0, 96.5), Some((Level::Error, 96.0)));
        assert_eq!(level(80.0, 120.5), Some((Level::Critical, 120.0)));
        assert_eq!(level(-10.0, -8.5), Some((Level::Warning, -10.0)));
        assert_eq!(level(-10.0, -4.0), Some((Level::Critical, -5.0)));
        assert_eq!(level(0.0, 0.6), Some((Level::Critical, 0.5)));
    }

    #[test]
    fn below_a_limit_marks_lie_beneath_it() {
        let limits = Limits {
            subject: Subject::Value,
            above: None,
            below: Some(Limit {
                at: 10.0,
                clear: 12.0,
            }),
        };
        let rule = rule(ratios());
        let level = |value, stands| rule.judge(&limits, value, stands).map(|(level, _)| level);
        assert_eq!(level(10.0, false), None);
        assert_eq!(level(9.0, false), Some(Level::Warning));
        assert_eq!(level(7.9, false), Some(Level::Error));
        assert_eq!(level(4.9, false), Some(Level::Critical));
        assert_eq!(
            (level(11.0, true), level(12.0, true)),
            (Some(Level::Warning), None)
        );
    }

    #[test]
    fn what_stands_holds_until_it_is_cleared() {
        let rule = rule(Levels::One(Level::Error));
        let limits = above(80.0, 75.0);
        assert_eq!(rule.judge(&limits, 76.0, false), None);
        assert_eq!(rule.judge(&limits, 76.0, true), Some((Level::Error, 80.0)));
        assert_eq!(rule.judge(&limits, 75.0, true), None);
    }

    #[test]
    fn of_two_sides_the_graver_one_counts() {
        let limits = Limits {
            subject: Subject::Value,
            above: Some(Limit { at: 10.0, clear: 0.0 }),
            below: Some(Limit { at: 5.0, clear: 20.0 }),
        };
        let rule = rule(ratios());
        assert_eq!(
            rule.judge(&limits, 1.0, true).map(|(level, _)| level),
            Some(Level::Critical)
        );
    }

    #[test]
    fn the_fingerprint_is_of_what_is_judged() {
        let one = rule(ratios());
        let renamed = RuleSpec {
            name: "other".into(),
            ..one.clone()
        };
        assert_eq!(one.fingerprint(), renamed.fingerprint());
        let patient = RuleSpec {
            hold: 1,
            ..one.clone()
        };
        assert_ne!(one.fingerprint(), patient.fingerprint());
        assert_ne!(one.fingerprint(), rule(Levels::Found).fingerprint());
    }
}
