//! The messages of a client, and how many it may send.

use secrecy::SecretString;
use serde::Deserialize;
use tokio::time::Instant;

use crate::actors::hub::Since;
use crate::actors::hub::topic::{Filter, Refusal, Topic, period};

/// Bytes of the name that a client gives a subscription.
const ID: usize = 64;
/// Messages at once, in seconds of what is allowed.
const BURST: f64 = 5.0;

/// What a client wants.
pub enum Request {
    Authenticate(SecretString),
    Subscribe {
        id: String,
        topic: Topic,
        /// Milliseconds.
        period: u64,
        since: Option<Since>,
    },
    Unsubscribe(String),
}

/// Why a message is not understood.
pub enum Misunderstood {
    /// It is not even JSON.
    NotJson,
    /// The client may go on.
    Refused(Option<String>, Refusal),
}

#[derive(Deserialize)]
#[serde(tag = "type", rename_all = "lowercase", deny_unknown_fields)]
enum Message {
    Authenticate {
        token: SecretString,
    },
    Subscribe {
        id: String,
        topic: String,
        filter: Option<Filter>,
        max_hz: Option<f64>,
        since: Option<Since>,
    },
    Unsubscribe {
        id: String,
    },
}

impl Request {
    pub fn parse(text: &str) -> Result<Self, Misunderstood> {
        let message =
            serde_json::from_str(text).map_err(|error: serde_json::Error| match error.classify() {
                serde_json::error::Category::Data => {
                    Misunderstood::Refused(None, Refusal::new("bad-message", error.to_string()))
                }
                _ => Misunderstood::NotJson,
            })?;
        match message {
            Message::Authenticate { token } => Ok(Request::Authenticate(token)),
            Message::Unsubscribe { id } => Ok(Request::Unsubscribe(id)),
            Message::Subscribe { id, .. } if id.is_empty() || id.len() > ID => {
                let detail = format!("`id` must have from 1 to {ID} bytes");
                Err(Misunderstood::Refused(None, Refusal::new("bad-message", detail)))
            }
            Message::Subscribe {
                id,
                topic,
                filter,
                max_hz,
                since,
            } => {
                let topic = Topic::parse(&topic, filter);
                match topic.and_then(|topic| Ok((topic, period(max_hz)?))) {
                    Ok((topic, period)) => Ok(Request::Subscribe {
                        id,
                        topic,
                        period,
                        since,
                    }),
                    Err(refusal) => Err(Misunderstood::Refused(Some(id), refusal)),
                }
            }
        }
    }
}

/// What a client may send still. Time is a parameter.
pub struct Allowance {
    per_second: f64,
    left: f64,
    at: Instant,
}

impl Allowance {
    pub fn new(per_second: u32, now: Instant) -> Self {
        let per_second = f64::from(per_second);
        Self {
            per_second,
            left: per_second * BURST,
            at: now,
        }
    }

    /// Whether it may send one more.
    pub fn take(&mut self, now: Instant) -> bool {
        let gained = now.saturating_duration_since(self.at).as_secs_f64() * self.per_second;
        self.at = now;
        self.left = (self.left + gained).min(self.per_second * BURST);
        let allowed = self.left >= 1.0;
        if allowed {
            self.left -= 1.0;
        }
        allowed
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn wrong(text: &str) -> &'static str {
        match Request::parse(text) {
            Ok(_) => "fine",
            Err(Misunderstood::NotJson) => "not JSON",
            Err(Misunderstood::Refused(_, refusal)) => refusal.code,
        }
    }

    #[test]
    fn what_is_sent_is_understood_or_refused() {
        for (text, expected) in [
            (r#"{"type":"subscribe","id":"a","topic":"overview"}"#, "fine"),
            (
                r#"{"type":"subscribe","id":"a","topic":"anomalies","filter":{"level":"error"},"max_hz":1,"since":{"epoch":"x","seq":1}}"#,
                "fine",
            ),
            (r#"{"type":"unsubscribe","id":"a"}"#, "fine"),
            (r#"{"type":"authenticate","token":"x"}"#, "fine"),
            ("", "not JSON"),
            ("{", "not JSON"),
            ("hello", "not JSON"),
            ("{}", "bad-message"),
            ("[1]", "bad-message"),
            ("null", "bad-message"),
            (r#"{"type":"shout"}"#, "bad-message"),
            (
                r#"{"type":"subscribe","id":"","topic":"overview"}"#,
                "bad-message",
            ),
            (r#"{"type":"subscribe","id":"a","topic":"x"}"#, "unknown-topic"),
            (
                r#"{"type":"subscribe","id":"a","topic":"overview","more":1}"#,
                "bad-message",
            ),
            (
                r#"{"type":"subscribe","id":"a","topic":"overview","max_hz":1e99}"#,
                "bad-message",
            ),
            (
                r#"{"type":"subscribe","id":"a","topic":"anomalies","since":{"epoch":"x","seq":-1}}"#,
                "bad-message",
            ),
        ] {
            assert_eq!(wrong(text), expected, "{text}");
        }
        let deep = "[".repeat(100_000);
        assert_eq!(wrong(&deep), "bad-message");
        let long = format!(
            r#"{{"type":"subscribe","id":"{}","topic":"overview"}}"#,
            "x".repeat(65)
        );
        assert_eq!(wrong(&long), "bad-message");
    }

    #[test]
    fn a_client_may_send_some_at_once_and_then_so_many_a_second() {
        let start = Instant::now();
        let mut allowance = Allowance::new(2, start);
        assert_eq!((0..20).filter(|_| allowance.take(start)).count(), 10);
        let later = start + Duration::from_millis(1_500);
        assert_eq!((0..20).filter(|_| allowance.take(later)).count(), 3);
    }
}
