//! Topic patterns: MQTT topic filters with named levels, which say whose readings a topic carries.
//!
//! `plant/+sensor_id/+metric` subscribes to `plant/+/+` and takes sensor and metric from the topic. Invariants: a pattern
//! that exists is a valid filter of MQTT 3.1.1 and 5, and matches exactly the topics that a broker would send for it;
//! what a level holds is not judged here, so that a hostile id is refused where ids are.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::Hints;

/// A topic filter whose levels may be named.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct TopicPattern {
    text: String,
    /// With the slash: `$share/GROUP/`, or nothing.
    share: String,
    levels: Vec<Level>,
    /// Whether it ends with `#`, which is none of the levels.
    open: bool,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Level {
    Text(String),
    Any,
    Sensor,
    Metric,
}

/// Why a pattern is none. To be read after the name of its key.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TopicError {
    #[error("is empty")]
    Empty,
    #[error(
        "is {length} bytes long as a filter, at most {} are allowed",
        TopicPattern::MAX_BYTES
    )]
    TooLong { length: usize },
    #[error("has a NUL character at byte {at}")]
    Nul { at: usize },
    #[error(
        "has the level `{}`: text, `+`, `+sensor_id` or `+metric` is allowed there, or `#` at the end",
        .level.escape_debug()
    )]
    Level { level: String },
    #[error("has `#` before its end, where alone it may stand")]
    HashWithin,
    #[error("has `{name}` twice")]
    Twice { name: &'static str },
    #[error("must be `$share/GROUP/FILTER`, with a GROUP that is not empty and has no `+` or `#`")]
    Share,
}

impl TopicPattern {
    /// The longest filter, in bytes.
    pub const MAX_BYTES: usize = 65_535;

    pub fn parse(text: &str) -> Result<Self, TopicError> {
        if let Some(at) = text.find('\0') {
            return Err(TopicError::Nul { at });
        }
        let (share, filter) = split_share(text)?;
        if filter.is_empty() {
            return Err(TopicError::Empty);
        }
        let (filter, open) = match filter.strip_suffix('#') {
            Some("") => (None, true),
            Some(before) if before.ends_with('/') => (before.strip_suffix('/'), true),
            _ => (Some(filter), false),
        };
        let levels: Vec<Level> = filter
            .into_iter()
            .flat_map(|filter| filter.split('/'))
            .map(Level::parse)
            .collect::<Result<_, _>>()?;
        for (level, name) in [(Level::Sensor, "+sensor_id"), (Level::Metric, "+metric")] {
            if levels.iter().filter(|other| **other == level).count() > 1 {
                return Err(TopicError::Twice { name });
            }
        }
        let pattern = TopicPattern {
            text: text.to_owned(),
            share: share.to_owned(),
            levels,
            open,
        };
        match pattern.filter().len() {
            length if length > Self::MAX_BYTES => Err(TopicError::TooLong { length }),
            _ => Ok(pattern),
        }
    }

    /// What to subscribe to: the pattern without names, with `$share/GROUP/` where it has one.
    pub fn filter(&self) -> String {
        let levels = self.levels.iter().map(|level| match level {
            Level::Text(text) => text,
            Level::Any | Level::Sensor | Level::Metric => "+",
        });
        let levels: Vec<&str> = levels.chain(self.open.then_some("#")).collect();
        format!("{}{}", self.share, levels.join("/"))
    }

    /// What `topic` says by its named levels; `None` if the pattern does not match it.
    pub fn matches<'t>(&self, topic: &'t str) -> Option<Hints<'t>> {
        // Topics of the broker's own, such as `$SYS/…`, are only found by name.
        if topic.starts_with('$') && !matches!(self.levels.first(), Some(Level::Text(_))) {
            return None;
        }
        let mut hints = Hints::default();
        let mut given = topic.split('/');
        for level in &self.levels {
            let text = given.next()?;
            match level {
                Level::Text(wanted) if wanted == text => {}
                Level::Text(_) => return None,
                Level::Any => {}
                Level::Sensor => hints.sensor = Some(text),
                Level::Metric => hints.metric = Some(text),
            }
        }
        // `a/#` also matches `a`.
        (self.open || given.next().is_none()).then_some(hints)
    }

    /// As it was written.
    pub fn as_str(&self) -> &str {
        &self.text
    }
}

impl Level {
    fn parse(level: &str) -> Result<Self, TopicError> {
        match level {
            "+" => Ok(Level::Any),
            "+sensor_id" => Ok(Level::Sensor),
            "+metric" => Ok(Level::Metric),
            "#" => Err(TopicError::HashWithin),
            text if text.contains(['+', '#']) => Err(TopicError::Level {
                level: text.chars().take(64).collect(),
            }),
            text => Ok(Level::Text(text.to_owned())),
        }
    }
}

fn split_share(text: &str) -> Result<(&str, &str), TopicError> {
    let Some(rest) = text.strip_prefix("$share/") else {
        return Ok(("", text));
    };
    match rest.split_once('/') {
        Some((group, filter)) if !group.is_empty() && !group.contains(['+', '#']) => {
            Ok(text.split_at(text.len() - filter.len()))
        }
        _ => Err(TopicError::Share),
    }
}

impl fmt::Display for TopicPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl TryFrom<String> for TopicPattern {
    type Error = TopicError;

    fn try_from(text: String) -> Result<Self, TopicError> {
        Self::parse(&text)
    }
}

impl From<TopicPattern> for String {
    fn from(pattern: TopicPattern) -> String {
        pattern.text
    }
}
