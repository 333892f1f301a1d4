//! Parameters of a query, read with every mistake told at once.
//!
//! Invariant: a parameter that is not known is an error: a misspelt one must not silently change what is asked.

use actix_web::HttpRequest;
use actix_web::web::Query;
use serde::Serialize;

use super::problem::{FieldError, Kind, Problem};
use crate::domain::{Micros, Timestamp};

/// The most rows of a page.
pub const MAX_LIMIT: usize = 10_000;
const DEFAULT_LIMIT: usize = 1_000;

pub struct Params {
    pairs: Vec<(String, String)>,
    errors: Vec<FieldError>,
}

impl Params {
    pub fn read(request: &HttpRequest, known: &[&str]) -> Result<Self, Problem> {
        let query = Query::<Vec<(String, String)>>::from_query(request.query_string());
        let pairs = query
            .map_err(|error| Problem::new(Kind::InvalidParameters, error.to_string()))?
            .into_inner();
        let unknown = pairs.iter().filter(|(name, _)| !known.contains(&name.as_str()));
        let errors = unknown
            .map(|(name, _)| {
                let known = if known.is_empty() {
                    "none".to_owned()
                } else {
                    known.join(", ")
                };
                FieldError::new(
                    name.clone(),
                    "unknown",
                    format!("is no parameter here, known are: {known}"),
                )
            })
            .collect();
        Ok(Self { pairs, errors })
    }

    /// The last value of that name.
    pub fn text(&self, name: &str) -> Option<String> {
        self.all(name).last().cloned()
    }

    pub fn all<'p>(&'p self, name: &'p str) -> impl DoubleEndedIterator<Item = &'p String> {
        self.pairs
            .iter()
            .filter(move |(key, _)| key == name)
            .map(|(_, value)| value)
    }

    pub fn parsed<T>(
        &mut self,
        name: &str,
        reason: &str,
        parse: impl FnOnce(&str) -> Option<T>,
    ) -> Option<T> {
        let text = self.text(name)?;
        let parsed = parse(&text);
        if parsed.is_none() {
            self.wrong(name, reason);
        }
        parsed
    }

    pub fn flag(&mut self, name: &str) -> bool {
        let parse = |text: &str| text.parse().ok();
        self.parsed(name, "must be true or false", parse).unwrap_or(false)
    }

    pub fn limit(&mut self) -> usize {
        let reason = format!("must be a number from 1 to {MAX_LIMIT}");
        let parse = |text: &str| text.parse().ok().filter(|limit| (1..=MAX_LIMIT).contains(limit));
        self.parsed("limit", &reason, parse).unwrap_or(DEFAULT_LIMIT)
    }

    pub fn moment(&mut self, name: &str) -> Option<Moment> {
        self.parsed(name, TIME, moment)
    }

    pub fn wrong(&mut self, name: &str, reason: impl Into<String>) {
        self.errors.push(FieldError::new(name, "invalid", reason));
    }

    /// To be called before anything is done with what was read.
    pub fn finish(self) -> Result<(), Problem> {
        finish(self.errors)
    }
}

pub fn finish(errors: Vec<FieldError>) -> Result<(), Problem> {
    if errors.is_empty() {
        return Ok(());
    }
    let told: Vec<String> = errors
        .iter()
        .map(|error| format!("`{}` {}", error.field.escape_debug(), error.reason))
        .collect();
    Err(Problem::new(Kind::InvalidParameters, told.join("; ")).errors(errors))
}

/// What is said of a time that is none.
pub const TIME: &str = "must be a time (RFC 3339), `now`, or a span before now such as -1h";

/// A time as it is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub enum Moment {
    At(Timestamp),
    /// So long before now.
    Before(Micros),
}

impl Moment {
    pub const NOW: Self = Moment::Before(0);

    pub fn at(self, now: Timestamp) -> Timestamp {
        match self {
            Moment::At(time) => time,
            Moment::Before(span) => now.saturating_sub(span),
        }
    }

    pub fn is_relative(self) -> bool {
        matches!(self, Moment::Before(_))
    }

    pub fn earlier(self, span: Micros) -> Self {
        match self {
            Moment::At(time) => Moment::At(time.saturating_sub(span)),
            Moment::Before(already) => Moment::Before(already.saturating_add(span)),
        }
    }
}

/// RFC 3339, `now`, or a span before now such as `-90m`.
pub fn moment(text: &str) -> Option<Moment> {
    if text == "now" {
        return Some(Moment::NOW);
    }
    if let Some(span) = text.strip_prefix('-') {
        return Some(Moment::Before(span_micros(span)?));
    }
    // A `+` in a query string is a blank, and zones have one.
    Timestamp::from_text(&text.replace(' ', "+"))
        .or_else(|_| Timestamp::from_text(text))
        .ok()
        .map(Moment::At)
}

/// `90s`, `1h 30m`, or a number of seconds.
pub fn span_micros(text: &str) -> Option<Micros> {
    let span = match text.parse::<u32>() {
        Ok(seconds) => std::time::Duration::from_secs(seconds.into()),
        Err(_) => humantime::parse_duration(text).ok()?,
    };
    Micros::try_from(span.as_micros()).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_absolute_or_before_now() {
        let now = Timestamp::from_seconds(1_730_332_800);
        let time = |text: &str, now| moment(text).map(|moment| moment.at(now));
        assert_eq!(time("now", now), Some(now));
        assert_eq!(time("-1h", now), Some(Timestamp::from_seconds(1_730_329_200)));
        assert_eq!(time("2024-10-31T01:00:00+01:00", now), Some(now));
        assert_eq!(time("2024-10-31T01:00:00 01:00", now), Some(now));
        assert_eq!(time("2024-10-31 00:00:00", now), Some(now));
        for text in ["", "-", "-x", "yesterday", "1h"] {
            assert_eq!(time(text, now), None, "{text}");
        }
    }

    #[test]
    fn spans_are_bounded() {
        assert_eq!(span_micros("90"), Some(90_000_000));
        assert_eq!(span_micros("1m 30s"), Some(90_000_000));
        assert_eq!(span_micros("1000000000y"), None);
    }
}
