//! `[[series]]`: which series get which windows and detectors.
//!
//! Invariants: entries are looked through in order and the first that matches wins: those of the user, then the built-in
//! ones. A series that nothing matches gets [`SeriesSettings::default`].

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use globset::{Glob, GlobMatcher};
use serde::de::Error;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::units;
use crate::core::{DetectorSpec, Season};
use crate::domain::Tags;

/// All entries, in the order in which they are tried.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub struct SeriesTable {
    pub entries: Vec<SeriesSettings>,
    #[serde(skip)]
    otherwise: SeriesSettings,
}

impl SeriesTable {
    pub fn find(&self, sensor: &str, metric: &str, tags: &Tags) -> &SeriesSettings {
        let matching = |entry: &&SeriesSettings| entry.matches.accepts(sensor, metric, tags);
        self.entries.iter().find(matching).unwrap_or(&self.otherwise)
    }
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SeriesSettings {
    #[serde(rename = "match")]
    pub matches: SeriesMatch,
    /// Sizes of the tumbling windows.
    #[serde(default = "default_windows", with = "windows")]
    pub windows: Vec<Duration>,
    /// How far event times may lag behind the newest one before a reading is late.
    #[serde(default = "default_lateness", with = "units::duration")]
    pub lateness: Duration,
    /// After this long without a reading, the series' windows close without it.
    #[serde(default = "default_idle_after", with = "units::interval")]
    pub idle_after: Duration,
    #[serde(default = "default_detectors")]
    pub detectors: Vec<DetectorSettings>,
}

impl Default for SeriesSettings {
    fn default() -> Self {
        SeriesSettings {
            matches: SeriesMatch::default(),
            windows: default_windows(),
            lateness: default_lateness(),
            idle_after: default_idle_after(),
            detectors: default_detectors(),
        }
    }
}

fn default_windows() -> Vec<Duration> {
    vec![Duration::from_secs(60)]
}

/// What a series is watched with that says nothing else; `DetectorSettings::Ensemble {}` here switches that on for all.
fn default_detectors() -> Vec<DetectorSettings> {
    vec![]
}

fn default_lateness() -> Duration {
    Duration::from_secs(5)
}

fn default_idle_after() -> Duration {
    Duration::from_secs(60)
}

/// What is not given accepts everything.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct SeriesMatch {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sensor: Option<Pattern>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub metric: Option<Pattern>,
    /// The sensor must have each of these tags.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub tags: BTreeMap<String, Pattern>,
}

impl SeriesMatch {
    pub fn accepts(&self, sensor: &str, metric: &str, tags: &Tags) -> bool {
        let matches = |pattern: &Option<Pattern>, text| pattern.as_ref().is_none_or(|p| p.matches(text));
        matches(&self.sensor, sensor)
            && matches(&self.metric, metric)
            && self
                .tags
                .iter()
                .all(|(name, pattern)| tags.get(name).is_some_and(|value| pattern.matches(value)))
    }
}

/// A glob: `*` any text, `?` one character, `[ab]` one of these, `{a,b}` either.
#[derive(Clone)]
pub struct Pattern {
    text: String,
    matcher: GlobMatcher,
}

impl Pattern {
    pub fn parse(text: &str) -> Result<Self, globset::Error> {
        Ok(Pattern {
            text: text.to_owned(),
            matcher: Glob::new(text)?.compile_matcher(),
        })
    }

    pub fn matches(&self, text: &str) -> bool {
        self.matcher.is_match(text)
    }

    pub fn as_str(&self) -> &str {
        &self.text
    }
}

impl PartialEq for Pattern {
    fn eq(&self, other: &Self) -> bool {
        self.text == other.text
    }
}

impl fmt::Debug for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.text.fmt(f)
    }
}

impl Serialize for Pattern {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.text)
    }
}

impl<'de> Deserialize<'de> for Pattern {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        units::parsed(deserializer, "a pattern such as \"boiler-*\"", |text| {
            Pattern::parse(text).ok()
        })
    }
}

#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum DetectorSettings {
    /// The difference to the previous value is above `threshold`.
    Jump {
        #[serde(deserialize_with = "units::not_negative")]
        threshold: f64,
    },
    /// The value is above: a warning; above 1.2 × an error, above 1.5 × critical.
    Threshold {
        #[serde(deserialize_with = "units::finite")]
        above: f64,
    },
    /// Nothing was heard for this long.
    Silence {
        #[serde(deserialize_with = "units::interval::deserialize")]
        after: Duration,
    },
    /// What is rare for the series, in several respects.
    Ensemble {},
    /// It changes by more than `above` in `per`.
    Rate {
        #[serde(deserialize_with = "positive")]
        above: f64,
        #[serde(deserialize_with = "units::interval::deserialize")]
        per: Duration,
    },
    /// It has not changed by more than `within` for `after`.
    Stuck {
        #[serde(deserialize_with = "units::interval::deserialize")]
        after: Duration,
        #[serde(default, deserialize_with = "units::not_negative")]
        within: f64,
    },
    /// Beyond so many standard deviations from the mean of the last values.
    ZScore {
        #[serde(default = "four", deserialize_with = "positive")]
        above: f64,
        #[serde(default = "sixty", deserialize_with = "window")]
        window: u16,
    },
    /// Beyond so many standard deviations from the exponential mean.
    Ewma {
        #[serde(default = "four", deserialize_with = "positive")]
        above: f64,
        #[serde(default = "sixty", deserialize_with = "span")]
        span: u16,
    },
    /// Beyond so many robust deviations from the median of the last values.
    Hampel {
        #[serde(default = "four", deserialize_with = "positive")]
        above: f64,
        #[serde(default = "sixty", deserialize_with = "window")]
        window: u16,
    },
    /// Beyond so many standard deviations from what is usual at this hour.
    Seasonal {
        #[serde(default = "four", deserialize_with = "positive")]
        above: f64,
        #[serde(default = "day")]
        season: Season,
    },
    /// The level has changed for good.
    Shift {
        #[serde(default = "ten", deserialize_with = "positive")]
        above: f64,
        #[serde(default = "sixty", deserialize_with = "span")]
        span: u16,
    },
    /// Panics on values above.
    #[cfg(feature = "faults")]
    Fault {
        #[serde(deserialize_with = "units::finite")]
        panic_above: f64,
    },
}

fn four() -> f64 {
    4.0
}

fn ten() -> f64 {
    10.0
}

fn sixty() -> u16 {
    60
}

fn day() -> Season {
    Season::Day
}

fn positive<'de, D: Deserializer<'de>>(deserializer: D) -> Result<f64, D::Error> {
    match f64::deserialize(deserializer)? {
        number if number.is_finite() && number > 0.0 => Ok(number),
        number => Err(D::Error::custom(format!("must be more than 0, but is {number}"))),
    }
}

fn window<'de, D: Deserializer<'de>>(deserializer: D) -> Result<u16, D::Error> {
    at_least_two(deserializer, DetectorSpec::MAX_WINDOW)
}

fn span<'de, D: Deserializer<'de>>(deserializer: D) -> Result<u16, D::Error> {
    at_least_two(deserializer, DetectorSpec::MAX_SPAN)
}

fn at_least_two<'de, D: Deserializer<'de>>(deserializer: D, most: u16) -> Result<u16, D::Error> {
    match u64::deserialize(deserializer)? {
        number if (2..=u64::from(most)).contains(&number) => Ok(number as u16),
        number => Err(D::Error::custom(format!("must be 2 to {most}, but is {number}"))),
    }
}

/// Written as it is read: one table with `kind`.
impl Serialize for DetectorSettings {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        #[derive(Serialize)]
        #[serde(tag = "kind", rename_all = "snake_case")]
        enum Tagged {
            Jump {
                threshold: f64,
            },
            Threshold {
                above: f64,
            },
            Silence {
                #[serde(serialize_with = "units::duration::serialize")]
                after: Duration,
            },
            Ensemble {},
            Rate {
                above: f64,
                #[serde(serialize_with = "units::duration::serialize")]
                per: Duration,
            },
            Stuck {
                #[serde(serialize_with = "units::duration::serialize")]
                after: Duration,
                within: f64,
            },
            ZScore {
                above: f64,
                window: u16,
            },
            Ewma {
                above: f64,
                span: u16,
            },
            Hampel {
                above: f64,
                window: u16,
            },
            Seasonal {
                above: f64,
                season: Season,
            },
            Shift {
                above: f64,
                span: u16,
            },
            #[cfg(feature = "faults")]
            Fault {
                panic_above: f64,
            },
        }

        match *self {
            DetectorSettings::Jump { threshold } => Tagged::Jump { threshold },
            DetectorSettings::Threshold { above } => Tagged::Threshold { above },
            DetectorSettings::Silence { after } => Tagged::Silence { after },
            DetectorSettings::Ensemble {} => Tagged::Ensemble {},
            DetectorSettings::Rate { above, per } => Tagged::Rate { above, per },
            DetectorSettings::Stuck { after, within } => Tagged::Stuck { after, within },
            DetectorSettings::ZScore { above, window } => Tagged::ZScore { above, window },
            DetectorSettings::Ewma { above, span } => Tagged::Ewma { above, span },
            DetectorSettings::Hampel { above, window } => Tagged::Hampel { above, window },
            DetectorSettings::Seasonal { above, season } => Tagged::Seasonal { above, season },
            DetectorSettings::Shift { above, span } => Tagged::Shift { above, span },
            #[cfg(feature = "faults")]
            DetectorSettings::Fault { panic_above } => Tagged::Fault { panic_above },
        }
        .serialize(serializer)
    }
}

/// A list of window sizes.
mod windows {
    use super::*;

    #[derive(Serialize, Deserialize)]
    #[serde(transparent)]
    struct Size(#[serde(with = "units::interval")] Duration);

    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<Duration>, D::Error> {
        let mut sizes: Vec<Duration> = Vec::new();
        for Size(size) in Vec::<Size>::deserialize(deserializer)? {
            if sizes.contains(&size) {
                return Err(D::Error::custom(format!(
                    "has the size {} twice",
                    humantime::format_duration(size)
                )));
            }
            sizes.push(size);
        }
        Ok(sizes)
    }

    pub fn serialize<S: Serializer>(sizes: &[Duration], serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(sizes.iter().copied().map(Size))
    }
}
