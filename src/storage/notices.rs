//! What is stored on the way from an event of an alert to people: groups, notifications, and why somebody was told or not.
//!
//! Invariants: an event waits until it was noticed, which is stored in one transaction with everything that was decided because of it.
//! Whoever decides names the turn that he knows; a turn is taken once, so of two who decide one comes too late and changes
//! nothing. A notification is leased by one sender at a time, and is done once.

use async_trait::async_trait;

use super::StoreError;
use super::alerts::Said;
use crate::domain::{AlertEvent, Episode, MetricName, SensorId, Tags, Timestamp};

/// What the manager of alerts and the senders of notifications ask.
#[async_trait]
pub trait Notices: Send + Sync {
    /// Where the manager was when it last decided.
    async fn alerting_state(&self) -> Result<AlertingState, StoreError>;

    /// Events that nobody has noticed yet, oldest first.
    async fn waiting_events(&self, limit: usize) -> Result<Vec<WaitingEvent>, StoreError>;

    /// What people have said to alerts that are not resolved.
    async fn said(&self) -> Result<Vec<(Episode, Said)>, StoreError>;

    /// Stores what was decided in `turn`; `false` where that turn was taken before, and nothing was stored.
    async fn decide(&self, turn: i64, decided: &Decided) -> Result<bool, StoreError>;

    /// What a receiver is still to be sent, oldest first.
    async fn to_send(&self, receiver: &str, limit: usize) -> Result<Vec<ToSend>, StoreError>;

    /// Takes one to be sent by `by` alone until `until`. `None` where it is done, or somebody else has it.
    async fn lease(
        &self,
        seq: i64,
        by: &str,
        now: Timestamp,
        until: Timestamp,
    ) -> Result<Option<Leased>, StoreError>;

    /// Says what became of one that `by` has leased.
    async fn attempted(&self, seq: i64, by: &str, attempt: &Attempt) -> Result<(), StoreError>;

    /// Gives up what waits for receivers that are not among these, and says how much that was.
    async fn park_others(&self, receivers: &[&str], now: Timestamp) -> Result<u64, StoreError>;

    /// Has one that was parked sent again; `false` where there is no such.
    async fn send_again(&self, id: &str, now: Timestamp) -> Result<bool, StoreError>;

    /// The log, newest first.
    async fn notifications(&self, filter: &NotificationFilter)
    -> Result<Vec<StoredNotification>, StoreError>;

    /// What one says, as it was written.
    async fn notification_body(&self, id: &str) -> Result<Option<String>, StoreError>;

    /// The alerts that one is about, those that it does not list as well.
    async fn notified_alerts(&self, id: &str) -> Result<Vec<Episode>, StoreError>;

    /// What was decided about an alert, oldest first.
    async fn decisions(&self, episode: Episode, limit: usize) -> Result<Vec<Decision>, StoreError>;

    /// How much waits, and was parked.
    async fn notification_counts(&self) -> Result<NotificationCounts, StoreError>;
}

/// Whose an alert is.
#[derive(Debug, Clone, PartialEq)]
pub struct Subject {
    pub sensor: SensorId,
    pub metric: MetricName,
    pub unit: Option<String>,
    pub tags: Tags,
}

/// An event that nobody has noticed yet.
#[derive(Debug, Clone, PartialEq)]
pub struct WaitingEvent {
    pub id: i64,
    pub event: AlertEvent,
    pub of: Subject,
}

/// An alert, as of the last event that was noticed.
#[derive(Debug, Clone, PartialEq)]
pub struct KnownAlert {
    pub event: AlertEvent,
    pub of: Subject,
    pub said: Said,
}

/// What the manager goes on from. Bodies are text that it alone reads.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct AlertingState {
    /// The last that was taken.
    pub turn: i64,
    /// Those that are not resolved or still in a group.
    pub alerts: Vec<KnownAlert>,
    pub groups: Vec<(String, String)>,
    pub members: Vec<(String, Episode, String)>,
    pub limits: Vec<(String, Timestamp)>,
}

/// What was decided in one turn.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Decided {
    /// Events by their ids.
    pub noticed: Vec<i64>,
    /// By key; `None` deletes.
    pub groups: Vec<(String, Option<String>)>,
    pub members: Vec<(String, Episode, Option<String>)>,
    pub limits: Vec<(String, Timestamp)>,
    pub notifications: Vec<NewNotification>,
    pub decisions: Vec<Decision>,
}

impl Decided {
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

#[derive(Debug, Clone, PartialEq)]
pub struct NewNotification {
    pub id: String,
    pub receiver: String,
    /// Those of one thread are sent in order.
    pub thread: String,
    /// It is about more than one thread, so it is sent in order with all of its receiver.
    pub digest: bool,
    pub at: Timestamp,
    /// The alerts that it is about, each with the last of its events that the receiver then knows of.
    pub about: Vec<(Episode, u32)>,
    pub body: String,
}

/// Why somebody was told of an alert, or was not.
#[derive(Debug, Clone, PartialEq)]
pub struct Decision {
    pub episode: Episode,
    pub at: Timestamp,
    /// `None` where it concerns all.
    pub receiver: Option<String>,
    pub what: String,
    /// A sentence for people.
    pub detail: String,
}

/// A notification in the queue.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ToSend {
    pub seq: i64,
    pub thread: String,
    pub digest: bool,
    /// Not before then.
    pub due: Timestamp,
    /// Somebody has taken it already, so that the others need not be waited for.
    pub partly: bool,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Leased {
    pub body: String,
    pub at: Timestamp,
    /// How often it was tried.
    pub attempts: u32,
    /// Recipients that have answered for good.
    pub answered: Vec<String>,
    /// Those of them that have taken it.
    pub taken: Vec<String>,
}

/// What became of a notification when it was sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Attempt {
    pub state: SendState,
    pub at: Timestamp,
    /// When it is tried again, where it waits.
    pub due: Timestamp,
    pub answered: Vec<String>,
    pub taken: Vec<String>,
    /// What the other side said, in one line.
    pub answer: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SendState {
    Waiting,
    Sent,
    /// It failed for good, and somebody should look.
    Parked,
}

impl SendState {
    pub const ALL: [SendState; 3] = [SendState::Waiting, SendState::Sent, SendState::Parked];

    pub fn as_str(self) -> &'static str {
        match self {
            SendState::Waiting => "waiting",
            SendState::Sent => "sent",
            SendState::Parked => "parked",
        }
    }

    pub fn parse(text: &str) -> Option<SendState> {
        Self::ALL.into_iter().find(|state| state.as_str() == text)
    }
}

/// What is not given accepts all.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct NotificationFilter {
    pub receiver: Option<String>,
    pub state: Option<SendState>,
    /// Only those about this alert.
    pub about: Option<Episode>,
    /// Only older ones.
    pub before: Option<i64>,
    pub limit: usize,
}

/// A notification in the log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredNotification {
    pub seq: i64,
    pub id: String,
    pub receiver: String,
    pub thread: String,
    pub digest: bool,
    pub at: Timestamp,
    pub state: SendState,
    pub attempts: u32,
    pub due: Timestamp,
    pub done_at: Option<Timestamp>,
    pub taken: Vec<String>,
    pub answer: String,
    /// How many alerts it is about.
    pub alerts: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct NotificationCounts {
    pub waiting: u64,
    pub parked: u64,
    /// Events that nobody has noticed yet.
    pub unnoticed: u64,
}
