//! What the supervisor tells: every crash, restart and end of an actor, and why.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, Utc};
use serde::{Serialize, Serializer};

use super::Crash;

/// Where an actor stands in the tree: names joined by `/`, the root first.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ActorPath(Arc<str>);

impl ActorPath {
    pub fn new(path: impl Into<Arc<str>>) -> Self {
        Self(path.into())
    }

    /// The path of the actor `name` under this one.
    pub fn child(&self, name: impl fmt::Display) -> Self {
        Self(format!("{}/{name}", self.0).into())
    }

    pub fn parent(&self) -> Option<Self> {
        self.0.rsplit_once('/').map(|(parent, _)| Self(parent.into()))
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for ActorPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl Serialize for ActorPath {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.0)
    }
}

/// Why an actor ended, or why it was restarted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum ExitReason {
    /// By itself, by its handle, or because nobody held its address any more.
    Stopped,
    Panicked(Crash),
    /// Somebody asked for it.
    Admin {
        by: String,
        why: String,
    },
    /// It could not even answer messages in quarantine.
    GaveUp,
    /// Its arbiter stopped under it.
    ArbiterStopped,
}

impl fmt::Display for ExitReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Stopped => f.write_str("stopped"),
            Self::Panicked(crash) => write!(f, "panicked: {crash}"),
            Self::Admin { by, why } => write!(f, "restarted by {by}: {why}"),
            Self::GaveUp => f.write_str("gave up in quarantine"),
            Self::ArbiterStopped => f.write_str("its arbiter stopped"),
        }
    }
}

/// One event in an actor's life.
#[derive(Debug, Clone, PartialEq, Serialize, utoipa::ToSchema)]
pub struct SupervisionEvent {
    #[schema(value_type = String)]
    pub path: ActorPath,
    pub at: DateTime<Utc>,
    #[serde(flatten)]
    pub kind: EventKind,
}

#[derive(Debug, Clone, PartialEq, Serialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case", tag = "kind")]
pub enum EventKind {
    /// It panicked. `attempt` counts the crashes since it was last stable, `delay` is the time until it works again (in JSON:
    /// seconds); without one it does not.
    Crashed {
        crash: Crash,
        attempt: u32,
        #[serde(serialize_with = "seconds_if_any")]
        #[schema(value_type = Option<f64>)]
        delay: Option<Duration>,
    },
    /// It contained a panic by itself, which counts against its budget all the same.
    Contained { crash: Crash },
    /// It works again, `took` (in JSON: seconds) after it ended.
    Restarted {
        reason: ExitReason,
        #[serde(serialize_with = "seconds")]
        #[schema(value_type = f64)]
        took: Duration,
    },
    /// Its budget is spent: it answers but works no more.
    Quarantined { crash: Crash },
    /// Its budget is spent: it goes on trying at the longest back-off.
    Degraded { crash: Crash },
    /// It was degraded and has been stable since.
    Recovered,
    /// It was taken out of quarantine.
    Revived { by: String, why: String },
    /// It is gone.
    Stopped { reason: ExitReason },
}

/// Hears of every event, on the actor's own thread. It must not block; a panic in it is logged and goes no further.
pub trait RestartObserver: Send + Sync {
    fn observe(&self, event: &SupervisionEvent);
}

impl<F: Fn(&SupervisionEvent) + Send + Sync> RestartObserver for F {
    fn observe(&self, event: &SupervisionEvent) {
        self(event);
    }
}

impl SupervisionEvent {
    pub(super) fn log(&self) {
        let path = self.path.as_str();
        match &self.kind {
            EventKind::Crashed {
                crash,
                attempt,
                delay,
            } => {
                let delay_ms = delay.map(|delay| delay.as_millis());
                tracing::error!(path, %crash, attempt, delay_ms, "actor crashed");
            }
            EventKind::Contained { crash } => tracing::error!(path, %crash, "actor contained a panic"),
            EventKind::Restarted { reason, took } => {
                tracing::info!(path, %reason, took_us = took.as_micros(), "actor restarted");
            }
            EventKind::Quarantined { crash } => tracing::error!(path, %crash, "actor quarantined"),
            EventKind::Degraded { crash } => tracing::error!(path, %crash, "actor degraded"),
            EventKind::Recovered => tracing::info!(path, "actor recovered"),
            EventKind::Revived { by, why } => tracing::info!(path, by, why, "actor revived"),
            EventKind::Stopped { reason } => tracing::debug!(path, %reason, "actor stopped"),
        }
    }
}

fn seconds<S: Serializer>(duration: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_f64(duration.as_secs_f64())
}

fn seconds_if_any<S: Serializer>(duration: &Option<Duration>, serializer: S) -> Result<S::Ok, S::Error> {
    duration
        .map(|duration| duration.as_secs_f64())
        .serialize(serializer)
}
