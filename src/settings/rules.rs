//! `[[rules]]`: when which series raise an alert.
//!
//! Invariants: every rule that matches a series watches it. Rules are told apart by their names; of two with the same name the first
//! counts, and those of the user come before the built-in ones. A rule is of exactly one kind of condition.

use std::fmt;
use std::time::Duration;

use serde::de::{MapAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize};

use super::series::SeriesMatch;
use super::units;
use crate::core::{Condition, Levels, Limit, Limits, RuleSpec, Subject, WindowNumber};
use crate::domain::{DetectorKind, Level, Micros};

/// The longest name, in bytes.
const MAX_NAME: usize = 128;

/// What an alert of a detector stays for after its last finding, where nothing is said: findings come and go with single readings.
const DETECTED_FOR: Duration = Duration::from_secs(300);

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RuleSettings {
    pub name: String,
    /// Off, a rule hides a built-in one of the same name.
    #[serde(default = "on")]
    pub enabled: bool,
    #[serde(rename = "match", default)]
    pub matches: SeriesMatch,
    pub condition: ConditionSettings,
    #[serde(default, skip_serializing_if = "LevelSettings::is_usual")]
    pub level: LevelSettings,
    /// Where people read what to do.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub runbook: Option<String>,
    /// After so long without a reading there is nothing to judge by, and that is an alert, too.
    #[serde(default, with = "optional_duration", skip_serializing_if = "Option::is_none")]
    pub no_data: Option<Duration>,
}

/// Exactly one of limits, `detector` and `silence`.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ConditionSettings {
    #[serde(deserialize_with = "some_finite", skip_serializing_if = "Option::is_none")]
    pub above: Option<f64>,
    #[serde(deserialize_with = "some_finite", skip_serializing_if = "Option::is_none")]
    pub below: Option<f64>,
    #[serde(deserialize_with = "some_finite", skip_serializing_if = "Option::is_none")]
    pub clear_below: Option<f64>,
    #[serde(deserialize_with = "some_finite", skip_serializing_if = "Option::is_none")]
    pub clear_above: Option<f64>,
    /// Of which windows the limits are, instead of the value.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub window: Option<WindowSettings>,
    /// The limits are of the change of the value in so long.
    #[serde(with = "optional_duration", skip_serializing_if = "Option::is_none")]
    pub rate: Option<Duration>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub detector: Option<DetectorKind>,
    #[serde(with = "optional_duration", skip_serializing_if = "Option::is_none")]
    pub silence: Option<Duration>,
    #[serde(
        rename = "for",
        with = "optional_duration",
        skip_serializing_if = "Option::is_none"
    )]
    pub hold: Option<Duration>,
    #[serde(with = "optional_duration", skip_serializing_if = "Option::is_none")]
    pub keep_firing_for: Option<Duration>,
}

#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct WindowSettings {
    #[serde(with = "units::interval")]
    pub size: Duration,
    pub aggregate: WindowNumber,
}

/// `"error"`, or `{ warning = 1.0, critical = 1.5 }`.
#[derive(Debug, Clone, PartialEq, Default, Serialize)]
#[serde(untagged)]
pub enum LevelSettings {
    /// A warning; for a detector, what it says.
    #[default]
    Usual,
    One(Level),
    Ratios(RatioSettings),
}

/// By the ratio to the limit.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct RatioSettings {
    #[serde(deserialize_with = "some_finite", skip_serializing_if = "Option::is_none")]
    pub info: Option<f64>,
    #[serde(deserialize_with = "some_finite", skip_serializing_if = "Option::is_none")]
    pub warning: Option<f64>,
    #[serde(deserialize_with = "some_finite", skip_serializing_if = "Option::is_none")]
    pub error: Option<f64>,
    #[serde(deserialize_with = "some_finite", skip_serializing_if = "Option::is_none")]
    pub critical: Option<f64>,
}

fn on() -> bool {
    true
}

fn some_finite<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<f64>, D::Error> {
    units::finite(deserializer).map(Some)
}

mod optional_duration {
    use super::*;
    use serde::Serializer;

    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Duration>, D::Error> {
        units::duration::deserialize(deserializer).map(Some)
    }

    pub fn serialize<S: Serializer>(value: &Option<Duration>, serializer: S) -> Result<S::Ok, S::Error> {
        match value {
            Some(value) => units::duration::serialize(value, serializer),
            None => serializer.serialize_none(),
        }
    }
}

impl<'de> Deserialize<'de> for LevelSettings {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Either;

        impl<'de> Visitor<'de> for Either {
            type Value = LevelSettings;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a level such as \"error\", or ratios such as { warning = 1.0, critical = 1.5 }")
            }

            fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<LevelSettings, E> {
                let level = Level::parse(text);
                let known = || E::invalid_value(serde::de::Unexpected::Str(text), &self);
                level.map(LevelSettings::One).ok_or_else(known)
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<LevelSettings, A::Error> {
                let ratios = serde::de::value::MapAccessDeserializer::new(map);
                RatioSettings::deserialize(ratios).map(LevelSettings::Ratios)
            }
        }

        deserializer.deserialize_any(Either)
    }
}

impl LevelSettings {
    fn is_usual(&self) -> bool {
        *self == LevelSettings::Usual
    }
}

impl RatioSettings {
    fn given(&self) -> Vec<(Level, f64)> {
        [
            (Level::Info, self.info),
            (Level::Warning, self.warning),
            (Level::Error, self.error),
            (Level::Critical, self.critical),
        ]
        .into_iter()
        .filter_map(|(level, ratio)| Some((level, ratio?)))
        .collect()
    }
}

impl RuleSettings {
    /// As the core judges by it. Only of a rule without [`Self::problems`].
    pub fn spec(&self) -> RuleSpec {
        let asked = &self.condition;
        let limit = |at: Option<f64>, clear: Option<f64>| {
            at.map(|at| Limit {
                at,
                clear: clear.unwrap_or(at),
            })
        };
        let condition = match (asked.detector, asked.silence) {
            (Some(kind), _) => Condition::Detector(kind),
            (None, Some(after)) => Condition::Silence { after: micros(after) },
            (None, None) => Condition::Limits(Limits {
                subject: match (asked.window, asked.rate) {
                    (Some(window), _) => Subject::Window {
                        size: micros(window.size),
                        aggregate: window.aggregate,
                    },
                    (None, Some(per)) => Subject::Rate { per: micros(per) },
                    (None, None) => Subject::Value,
                },
                above: limit(asked.above, asked.clear_below),
                below: limit(asked.below, asked.clear_above),
            }),
        };
        let levels = match (&self.level, asked.detector) {
            (LevelSettings::Usual, Some(_)) => Levels::Found,
            (LevelSettings::Usual, None) => Levels::One(Level::Warning),
            (LevelSettings::One(level), _) => Levels::One(*level),
            (LevelSettings::Ratios(ratios), _) => Levels::Ratios(ratios.given()),
        };
        let usual = asked.detector.map_or(Duration::ZERO, |_| DETECTED_FOR);
        RuleSpec {
            name: self.name.as_str().into(),
            condition,
            levels,
            hold: asked.hold.map_or(0, micros),
            keep: micros(asked.keep_firing_for.unwrap_or(usual)),
            no_data: self.no_data.map(micros),
        }
    }

    /// What does not fit, each with the key below the rule's own; empty where all does.
    pub(super) fn problems(&self) -> Vec<(&'static str, String)> {
        let mut found: Vec<(&'static str, String)> = Vec::new();
        let mut must = |holds: bool, key: &'static str, message: &str| {
            if !holds {
                found.push((key, message.to_owned()));
            }
        };
        let name = &self.name;
        must(
            (1..=MAX_NAME).contains(&name.len()) && !name.chars().any(char::is_control),
            "name",
            "must be 1 to 128 bytes without control characters",
        );
        let runbook = self.runbook.as_deref().unwrap_or("https://");
        must(
            (runbook.starts_with("https://") || runbook.starts_with("http://"))
                && runbook.len() <= 2_048
                && !runbook.chars().any(|c| c.is_control() || c.is_whitespace()),
            "runbook",
            "must be a link such as \"https://wiki.example.org/boilers\"",
        );
        must(
            self.no_data != Some(Duration::ZERO),
            "no_data",
            "must be more than 0",
        );
        self.check_condition(&mut must);
        self.check_levels(&mut must);
        found
    }

    fn check_condition(&self, must: &mut impl FnMut(bool, &'static str, &str)) {
        let asked = &self.condition;
        let limits = asked.above.is_some() || asked.below.is_some();
        let kinds = [limits, asked.detector.is_some(), asked.silence.is_some()];
        must(
            kinds.into_iter().filter(|given| *given).count() == 1,
            "condition",
            "must have either `above` and/or `below`, or `detector`, or `silence`",
        );
        let of_limits = |given: bool| limits || !given;
        for (given, key) in [
            (asked.window.is_some(), "condition.window"),
            (asked.rate.is_some(), "condition.rate"),
            (asked.hold.is_some_and(|hold| !hold.is_zero()), "condition.for"),
        ] {
            must(
                of_limits(given),
                key,
                "is only for a rule with `above` or `below`",
            );
        }
        must(
            asked.clear_below.is_none() || asked.above.is_some(),
            "condition.clear_below",
            "needs `above`",
        );
        must(
            asked.clear_above.is_none() || asked.below.is_some(),
            "condition.clear_above",
            "needs `below`",
        );
        must(
            asked
                .above
                .zip(asked.clear_below)
                .is_none_or(|(above, clear)| clear <= above),
            "condition.clear_below",
            "must not be more than `above`",
        );
        must(
            asked
                .below
                .zip(asked.clear_above)
                .is_none_or(|(below, clear)| clear >= below),
            "condition.clear_above",
            "must not be less than `below`",
        );
        must(
            asked
                .below
                .zip(asked.above)
                .is_none_or(|(below, above)| below <= above),
            "condition.below",
            "must not be more than `above`: every value would be an alert",
        );
        must(
            asked.window.is_none() || asked.rate.is_none(),
            "condition.rate",
            "and `window` do not go together",
        );
        must(
            asked.rate != Some(Duration::ZERO),
            "condition.rate",
            "must be more than 0",
        );
        must(
            asked.silence != Some(Duration::ZERO),
            "condition.silence",
            "must be more than 0",
        );
        must(
            asked.silence.is_none() || self.no_data.is_none(),
            "no_data",
            "is what `silence` says already",
        );
    }

    fn check_levels(&self, must: &mut impl FnMut(bool, &'static str, &str)) {
        let LevelSettings::Ratios(ratios) = &self.level else {
            return;
        };
        let asked = &self.condition;
        must(
            asked.above.is_some() || asked.below.is_some(),
            "level",
            "by ratio is only for a rule with `above` or `below`",
        );
        let given = ratios.given();
        must(!given.is_empty(), "level", "needs at least one level");
        must(
            given.iter().all(|(_, ratio)| *ratio >= 1.0),
            "level",
            "must have ratios of 1.0 and more: below the limit there is no alert",
        );
        must(
            given.windows(2).all(|pair| pair[0].1 < pair[1].1),
            "level",
            "must have a greater ratio for a graver level",
        );
    }
}

fn micros(duration: Duration) -> Micros {
    Micros::try_from(duration.as_micros()).unwrap_or(Micros::MAX)
}
