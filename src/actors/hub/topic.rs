//! What a client can be subscribed to, as it asks for it.
//!
//! Invariants: two that ask for the same in different order have equal topics, so that they share what is written for them. What
//! is not known is refused with words that say what is.

use serde::Deserialize;

use crate::domain::Level;

/// Names of a filter.
pub const MAX_NAMES: usize = 100;
const DEFAULT_HZ: f64 = 5.0;
const MAX_HZ: f64 = 30.0;
const MIN_HZ: f64 = 0.1;

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Topic {
    Overview {
        /// Whose values are told, in order; by default those of the first sensors.
        sensors: Option<Vec<String>>,
        /// Whose cells, in order: all must match.
        tags: Vec<(String, String)>,
    },
    Sensor(String),
    Anomalies {
        /// In order; by default of all.
        sensors: Vec<String>,
        /// At least that.
        level: Level,
    },
    Actors,
}

/// Why a subscription is refused.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    pub code: &'static str,
    pub detail: String,
}

/// As a client sends it.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Filter {
    sensors: Option<Vec<String>>,
    tags: Option<std::collections::BTreeMap<String, String>>,
    level: Option<Level>,
}

impl Refusal {
    pub fn new(code: &'static str, detail: impl Into<String>) -> Self {
        Self {
            code,
            detail: detail.into(),
        }
    }
}

impl Topic {
    pub fn parse(name: &str, filter: Option<Filter>) -> Result<Self, Refusal> {
        let Filter { sensors, tags, level } = filter.unwrap_or_default();
        let bad = |detail: String| Err(Refusal::new("bad-message", detail));
        let long = |count: usize| count > MAX_NAMES;
        if sensors.as_ref().is_some_and(|all| long(all.len()))
            || tags.as_ref().is_some_and(|all| long(all.len()))
        {
            return bad(format!("a filter may have {MAX_NAMES} names"));
        }
        let unused = |what: &str| bad(format!("`filter.{what}` means nothing to this topic"));
        match name {
            "overview" if level.is_some() => unused("level"),
            "overview" => Ok(Topic::Overview {
                sensors: sensors.map(sorted),
                tags: tags.unwrap_or_default().into_iter().collect(),
            }),
            "anomalies" if tags.is_some() => unused("tags"),
            "anomalies" => Ok(Topic::Anomalies {
                sensors: sorted(sensors.unwrap_or_default()),
                level: level.unwrap_or(Level::Info),
            }),
            "alerts" => Err(Refusal::new(
                "not-available",
                "there are no alerts in this version",
            )),
            _ if sensors.is_some() || tags.is_some() || level.is_some() => {
                bad("this topic has no filter".into())
            }
            "actors" => Ok(Topic::Actors),
            name => match name.strip_prefix("sensor/") {
                Some(id) if !id.is_empty() => Ok(Topic::Sensor(id.to_owned())),
                _ => {
                    let known = "topics are overview, sensor/{id}, anomalies, actors";
                    Err(Refusal::new("unknown-topic", known))
                }
            },
        }
    }

    /// Whether clients of different rates are told the same.
    pub fn has_rate(&self) -> bool {
        matches!(self, Topic::Overview { .. } | Topic::Sensor(_))
    }
}

/// The shortest time between two deltas of the same series, in milliseconds.
pub fn period(max_hz: Option<f64>) -> Result<u64, Refusal> {
    let hz = max_hz.unwrap_or(DEFAULT_HZ);
    if !(MIN_HZ..=MAX_HZ).contains(&hz) {
        let detail = format!("`max_hz` must be from {MIN_HZ} to {MAX_HZ}");
        return Err(Refusal::new("bad-message", detail));
    }
    Ok((1_000.0 / hz).round() as u64)
}

fn sorted(mut names: Vec<String>) -> Vec<String> {
    names.sort_unstable();
    names.dedup();
    names
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(name: &str, filter: &str) -> Result<Topic, &'static str> {
        let filter = serde_json::from_str(filter).unwrap();
        Topic::parse(name, filter).map_err(|refusal| refusal.code)
    }

    #[test]
    fn the_same_in_another_order_is_the_same() {
        let one = parse(
            "overview",
            r#"{"sensors":["b","a","b"],"tags":{"y":"2","x":"1"}}"#,
        );
        let other = parse("overview", r#"{"tags":{"x":"1","y":"2"},"sensors":["a","b"]}"#);
        assert!(one.is_ok() && one == other);
    }

    #[test]
    fn what_is_not_known_is_refused() {
        assert_eq!(parse("sensor/a/b", "null"), Ok(Topic::Sensor("a/b".into())));
        for name in [
            "",
            "sensor/",
            "sensors/a",
            "Overview",
            "overview ",
            "sensor",
            "\u{0}",
        ] {
            assert_eq!(parse(name, "null"), Err("unknown-topic"), "{name:?}");
        }
        assert_eq!(parse("alerts", "null"), Err("not-available"));
        assert_eq!(parse("actors", r#"{"sensors":[]}"#), Err("bad-message"));
        assert_eq!(parse("overview", r#"{"level":"error"}"#), Err("bad-message"));
        let many = format!(r#"{{"sensors":{:?}}}"#, vec!["a"; MAX_NAMES + 1]);
        assert_eq!(parse("overview", &many), Err("bad-message"));
    }

    #[test]
    fn a_rate_is_bounded() {
        assert_eq!(period(None), Ok(200));
        assert_eq!(period(Some(30.0)), Ok(33));
        for hz in [0.0, -1.0, 31.0, f64::NAN, f64::INFINITY] {
            assert!(period(Some(hz)).is_err(), "{hz}");
        }
    }
}
