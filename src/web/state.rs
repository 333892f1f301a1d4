//! What the handlers share.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use actix::dev::ToEnvelope;
use actix::{Actor, Addr, Handler, MailboxError, Message, Recipient};

use super::answers::Answers;
use super::problem::{Kind, Problem};
use super::shared::Shared;
use super::tokens::TokenService;
use super::ws::LiveEntry;
use crate::actors::Rails;
use crate::actors::alerting::Bell;
use crate::actors::alerting::links::LinkKey;
use crate::actors::alerting::page::Pages;
use crate::actors::ingest::{HttpIngest, Intake, Seek, SeekError, SeekedTo, SourceCommand, SourceStatus};
use crate::actors::latest::Latest;
use crate::actors::outputs::{OutputCommand, OutputStatus};
use crate::actors::registry::{Registry, SensorInfo};
use crate::actors::shard::ShardSupervisor;
use crate::actors::statistics::Statistics;
use crate::actors::supervision::{Handle, SupervisionTree};
use crate::domain::{Ledger, SourceName, Timestamp};
use crate::metrics::Metrics;
use crate::storage::Store;

/// How long an actor may take to answer before the request fails.
const ACTOR_PATIENCE: Duration = Duration::from_secs(5);
/// The same for a seek, which waits for what is under way.
const SEEK_PATIENCE: Duration = Duration::from_secs(30);

/// Given to [`serve`](super::serve) by the one who starts the service.
pub struct AppState {
    pub store: Arc<dyn Store>,
    pub rails: Arc<Rails>,
    pub shards: Vec<Addr<ShardSupervisor>>,
    pub tree: SupervisionTree,
    pub latest: Arc<Latest>,
    pub statistics: Arc<Statistics>,
    pub metrics: Arc<Metrics>,
    pub answers: Answers,
    /// The ledger of everything; `None` where it could not be read.
    pub ledger: Shared<Option<Ledger>>,
    pub live: LiveEntry,
    pub ingest: Arc<HttpIngest>,
    /// Every source but that of HTTP, which is no actor.
    pub sources: BTreeMap<SourceName, SourceEntry>,
    pub outputs: BTreeMap<SourceName, OutputEntry>,
    pub alerting: AlertingEntry,
    pub tokens: Arc<TokenService>,
    pub started_at: Timestamp,
    /// Set when the drain begins: nothing is taken in any more.
    pub shutting_down: Arc<AtomicBool>,
}

/// A source that can be told something.
pub struct SourceEntry {
    /// As in the settings, such as `host`.
    pub kind: &'static str,
    pub handle: Arc<Handle>,
    pub control: Recipient<SourceCommand>,
    /// Where the source has positions that can be moved.
    pub seek: Option<Recipient<Seek>>,
    pub intake: Intake,
}

/// An output that can be told something.
pub struct OutputEntry {
    /// As in the settings, such as `kafka`.
    pub kind: &'static str,
    pub handle: Arc<Handle>,
    pub control: Recipient<OutputCommand>,
}

/// Where people act on alerts.
#[derive(Debug, Default)]
pub struct AlertingEntry {
    /// Rung when somebody has said something.
    pub bell: Bell,
    /// What links in notifications are signed with.
    pub links: Option<LinkKey>,
    pub pages: Option<Pages>,
}

impl OutputEntry {
    pub(super) async fn tell(&self, command: OutputCommand) -> Result<OutputStatus, Problem> {
        let answer = self.control.send(command).timeout(ACTOR_PATIENCE).await;
        answer.map_err(unanswered)
    }
}

impl AppState {
    pub fn registry(&self) -> &Registry {
        self.rails.registry()
    }

    pub fn now(&self) -> Timestamp {
        self.rails.clock().now()
    }

    pub fn draining(&self) -> bool {
        self.shutting_down.load(Ordering::Relaxed)
    }

    /// The sensor of that id, or the answer that there is none.
    pub fn sensor(&self, id: &str) -> Result<SensorInfo, Problem> {
        let found = self.registry().sensor_named(id);
        found.ok_or_else(|| Problem::new(Kind::NotFound, "there is no sensor of this id"))
    }

    /// What is done to a sensor's actor is done where it is.
    pub(super) fn require_ours(&self, sensor: &SensorInfo) -> Result<(), Problem> {
        if self.registry().is_ours(sensor.key) {
            return Ok(());
        }
        let why = "another instance has this sensor at the moment, ask that one";
        Err(Problem::new(Kind::Conflict, why))
    }

    pub(super) fn shard(&self, shard: u16) -> Result<&Addr<ShardSupervisor>, Problem> {
        let found = self.shards.get(usize::from(shard));
        found.ok_or_else(|| Problem::new(Kind::NotFound, format!("there is no shard {shard}")))
    }
}

impl SourceEntry {
    pub(super) async fn tell(&self, command: SourceCommand) -> Result<SourceStatus, Problem> {
        let answer = self.control.send(command).timeout(ACTOR_PATIENCE).await;
        answer.map_err(unanswered)
    }

    /// Has the source read from elsewhere, and waits until that is stored.
    pub(super) async fn seek(&self, seek: Seek) -> Result<Vec<SeekedTo>, Problem> {
        let Some(recipient) = &self.seek else {
            return Err(Problem::new(
                Kind::Conflict,
                "a source of this kind has no positions to move",
            ));
        };
        let answer = recipient.send(seek).timeout(SEEK_PATIENCE).await;
        answer.map_err(unanswered)?.map_err(|error| {
            let kind = match &error {
                SeekError::NotAssigned(_) => Kind::NotFound,
                SeekError::Busy => Kind::Conflict,
                SeekError::Failed(_) => Kind::Unavailable,
            };
            Problem::new(kind, error.to_string())
        })
    }
}

/// Asks an actor, and does not wait for ever.
pub(super) async fn ask<A, M>(actor: &Addr<A>, message: M) -> Result<M::Result, Problem>
where
    A: Actor + Handler<M>,
    A::Context: ToEnvelope<A, M>,
    M: Message + Send + 'static,
    M::Result: Send,
{
    let answer = actor.send(message).timeout(ACTOR_PATIENCE).await;
    answer.map_err(unanswered)
}

fn unanswered(error: MailboxError) -> Problem {
    let why = match error {
        MailboxError::Closed => "the actor has stopped",
        MailboxError::Timeout => "the actor did not answer in time",
    };
    Problem::new(Kind::Unavailable, why).retry_after(1)
}
