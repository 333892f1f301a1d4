//! A finding of the ensemble in words.
//!
//! Invariants: numbers are finite, and a sentence is short whatever they are. The band is where the value alone would
//! have been no finding; a finding by another feature can lie within it.

use super::super::{Plain, Seen, finite};
use super::TUNING;
use super::features::{FEATURES, Feature};
use super::judge::{Judge, Judgment};
use crate::domain::{Anomaly, Band, DetectorKind, Level};

/// How much rarer than needed, in powers of ten, makes an error, and critical.
const ERROR: f64 = 2.0;
const CRITICAL: f64 = 4.0;

/// `before`: the last value, the middle mean and the mean of the hour, as they were before the reading.
#[cold]
pub(super) fn found(
    judge: &Judge,
    judgment: &Judgment,
    before: (f64, f64, Option<f64>),
    seen: &Seen,
) -> Anomaly {
    let (previous, mean, hourly) = before;
    let place = (0..FEATURES).fold(0, |best, place| {
        if judgment.rarities[place] > judgment.rarities[best] {
            place
        } else {
            best
        }
    });
    let (feature, low) = Feature::at(place);
    let rarity = f64::from(judgment.rarities[place]);
    let others = others(judgment, feature);
    let limit = |place, sign: f64| {
        let limit = judge.limit(place, judgment.needed, TUNING)?;
        Some(judge.features().value_of(sign * limit))
    };
    let level = if rarity >= judgment.needed + CRITICAL {
        Level::Critical
    } else if rarity >= judgment.needed + ERROR {
        Level::Error
    } else {
        Level::Warning
    };
    Anomaly {
        series: seen.series,
        time: seen.time,
        value: seen.value,
        detector: DetectorKind::Ensemble,
        level,
        score: judgment.score,
        expected: Some(match feature {
            Feature::Step => previous,
            Feature::Hour => hourly.unwrap_or(mean),
            _ => mean,
        }),
        band: Band {
            low: limit(1, -1.0),
            high: limit(0, 1.0),
        },
        explanation: format!(
            "{}: expected once in {} readings{others}.",
            evidence(feature, low, seen.value, previous, mean, hourly.unwrap_or(mean)),
            once_in(rarity),
        ),
    }
}

fn evidence(feature: Feature, low: bool, value: f64, previous: f64, mean: f64, hourly: f64) -> String {
    let (value_told, up) = (Plain(value), if low { "down" } else { "up" });
    match feature {
        Feature::Value => format!(
            "The value {value_told} is unusually {} for this series, lately {} on average",
            if low { "low" } else { "high" },
            Plain::rounded(mean)
        ),
        Feature::Step => format!(
            "The step {up} by {} from {} to {value_told} is unusually wide",
            Plain::rounded(finite((value - previous).abs())),
            Plain(previous),
        ),
        Feature::Episode => format!(
            "Values went {up} unusually far within a few readings, from {} on average to {value_told}",
            Plain::rounded(mean)
        ),
        Feature::Trend => format!(
            "The level has gone {up} unusually far, to {} on average",
            Plain::rounded(mean)
        ),
        Feature::Hour => format!(
            "The value {value_told} is unusually far {} the {} that is usual at this hour",
            if low { "below" } else { "above" },
            Plain::rounded(hourly)
        ),
        Feature::Level => format!(
            "The last few values, with {value_told}, are unusually {}",
            if low { "low" } else { "high" }
        ),
        Feature::Noise => format!("Values jump about unusually wildly, at last to {value_told}"),
    }
}

/// The other features that would have been enough by themselves.
fn others(judgment: &Judgment, but: Feature) -> String {
    let mut names: Vec<&str> = Vec::new();
    for (place, rarity) in judgment.rarities.iter().enumerate() {
        let feature = Feature::at(place).0;
        let name = match feature {
            Feature::Value => "value",
            Feature::Step => "step",
            Feature::Episode => "change",
            Feature::Trend => "trend",
            Feature::Hour => "hour of day",
            Feature::Level => "level",
            Feature::Noise => "noise",
        };
        if f64::from(*rarity) >= judgment.needed && feature != but && !names.contains(&name) {
            names.push(name);
        }
    }
    if names.is_empty() {
        String::new()
    } else {
        format!("; also odd: {}", names.join(", "))
    }
}

fn once_in(rarity: f64) -> String {
    if rarity >= 9.0 {
        "over a billion".to_owned()
    } else {
        // Two digits are more than is known.
        let power = rarity.floor();
        let leading = 10_f64.powf(rarity - power).round();
        format!("{}", leading * 10_f64.powf(power))
    }
}
