//! The actor: what it is told, what it asks the database for its threads, and their beginning and end.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc;
use std::time::Duration;

use actix::prelude::*;
use rdkafka::ClientConfig;
use tokio::sync::oneshot;

use super::letters::LetterTopic;
use super::status::Shared;
use super::worker::{self, Order};
use crate::actors::ingest::{
    Intake, Seek, SeekError, SeekedTo, SourceCommand, SourceDetail, SourceState, SourceStatus,
};
use crate::actors::ownership::Ownership;
use crate::actors::registry::Tenure;
use crate::actors::storage::retry;
use crate::actors::supervision::{Crash, Supervise, relay};
use crate::metrics::Metrics;
use crate::storage::{Claimed, Store};

/// How long leaving the group may take beside what is under way, before new threads begin all the same.
const LEAVE: Duration = Duration::from_secs(10);

/// What a Kafka source is made of.
pub struct KafkaParts {
    pub intake: Intake,
    pub store: Arc<dyn Store>,
    pub metrics: Arc<Metrics>,
    pub ownership: Ownership,
    /// Of a consumer, secrets and all.
    pub client: ClientConfig,
    /// Names, or patterns that begin with `^`.
    pub topics: Vec<String>,
    pub reset: Reset,
    pub consumers: u16,
    pub key_as_sensor: bool,
    /// Where what cannot be read is written, too, with the configuration of a producer.
    pub dead_letters: Option<(String, ClientConfig)>,
    pub drain_timeout: Duration,
    /// The longest message, in bytes.
    pub max_payload: usize,
}

/// Where a partition begins of which nothing is known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reset {
    Earliest,
    Latest,
}

pub struct KafkaSource {
    parts: Arc<KafkaParts>,
    shared: Arc<Shared>,
    state: SourceState,
    members: Vec<Member>,
    /// Members of an earlier life, on their way out.
    leaving: Vec<oneshot::Receiver<()>>,
    /// Counts the beginnings, so that who is left of an earlier one is not heard any more.
    life: u64,
}

/// A thread. Dropping the sender of its orders ends it.
struct Member {
    orders: mpsc::Sender<Order>,
    at_work: Arc<AtomicBool>,
    ended: oneshot::Receiver<()>,
}

/// What a member cannot do by itself.
#[derive(Message)]
#[rtype(result = "()")]
pub(super) struct Ask {
    life: u64,
    request: Request,
}

enum Request {
    /// To make partitions ours.
    Claim(Vec<String>, oneshot::Sender<Vec<Granted>>),
    /// How far partitions are stored.
    Positions(Vec<String>, oneshot::Sender<Vec<Option<i64>>>),
    /// To give partitions away. Whoever does not wait for the answer any more has given up on it.
    Give(Vec<String>, oneshot::Sender<()>),
    /// Partitions are gone already.
    Lost(Vec<Tenure>),
    /// It has ended, and not because it was told to.
    Failed(Crash),
}

/// A partition that is ours now.
pub(super) struct Granted {
    pub claimed: Claimed,
    /// Where several instances share the database.
    pub tenure: Option<Tenure>,
}

/// A member's way to its actor. Nothing is lost by an answer that never comes: the member ends then.
pub(super) struct Desk {
    address: Addr<KafkaSource>,
    life: u64,
}

impl Desk {
    pub fn claim(&self, partitions: Vec<String>) -> oneshot::Receiver<Vec<Granted>> {
        let (answer, answered) = oneshot::channel();
        self.ask(Request::Claim(partitions, answer));
        answered
    }

    pub fn positions(&self, partitions: Vec<String>) -> oneshot::Receiver<Vec<Option<i64>>> {
        let (answer, answered) = oneshot::channel();
        self.ask(Request::Positions(partitions, answer));
        answered
    }

    /// Resolves when somebody else may have them. To drop what is returned gives up the wait; then they are to be called lost.
    pub fn give(&self, partitions: Vec<String>) -> oneshot::Receiver<()> {
        let (answer, answered) = oneshot::channel();
        self.ask(Request::Give(partitions, answer));
        answered
    }

    pub fn lost(&self, tenures: Vec<Tenure>) {
        self.ask(Request::Lost(tenures));
    }

    pub fn failed(&self, crash: Crash) {
        self.ask(Request::Failed(crash));
    }

    #[expect(
        clippy::disallowed_methods,
        reason = "each member has at most one question open, and no readings pass here"
    )]
    fn ask(&self, request: Request) {
        let life = self.life;
        self.address.do_send(Ask { life, request });
    }
}

impl KafkaSource {
    pub fn new(parts: KafkaParts) -> Self {
        let shared = Shared::new(parts.intake.clone(), parts.metrics.clone(), parts.consumers);
        Self {
            parts: Arc::new(parts),
            shared: Arc::new(shared),
            state: SourceState::Running,
            members: Vec::new(),
            leaving: Vec::new(),
            life: 0,
        }
    }

    /// Lets the members of this life end; they store what is under way, and leave the group.
    fn dismiss(&mut self) {
        let ended = self.members.drain(..).map(|member| member.ended);
        self.leaving.extend(ended);
    }

    fn begin(&mut self, ctx: &mut Context<Self>) {
        self.shared.gave_all();
        let letters = self.parts.dead_letters.as_ref().map(|(topic, config)| {
            match LetterTopic::open(topic, config, self.shared.clone()) {
                Ok(letters) => Arc::new(letters),
                Err(error) => relay(Crash::new(format!("no producer for dead letters: {error}"))),
            }
        });
        for index in 0..self.parts.consumers {
            let (orders, given) = mpsc::channel();
            let (done, ended) = oneshot::channel();
            let at_work = Arc::new(AtomicBool::new(true));
            let works = at_work.clone();
            if self.state == SourceState::Paused {
                // The other end is in our hands.
                let _ = orders.send(Order::Pause);
            }
            let (parts, shared, letters) = (self.parts.clone(), self.shared.clone(), letters.clone());
            let desk = Desk {
                address: ctx.address(),
                life: self.life,
            };
            let thread = std::thread::Builder::new().name(format!("kafka-{index}"));
            let spawned = thread.spawn(move || {
                if let Some(crash) = worker::run(&parts, &shared, &desk, &given, letters.as_deref(), index) {
                    desk.failed(crash);
                }
                works.store(false, Ordering::Relaxed);
                let _ = done.send(());
            });
            if let Err(error) = spawned {
                relay(Crash::new(format!("no thread for a consumer: {error}")));
            }
            self.members.push(Member {
                orders,
                at_work,
                ended,
            });
        }
    }

    fn status(&self) -> SourceStatus {
        let counts = self.shared.counts();
        let stopping = self.state == SourceState::Stopping;
        // A member that has not left the group yet would keep the others from its partitions.
        let at_work = |member: &&Member| member.at_work.load(Ordering::Relaxed);
        let members = self.members.iter().filter(at_work).count();
        let state = match self.state {
            SourceState::Running if self.shared.waits() => SourceState::Waiting,
            state => state,
        };
        SourceStatus {
            state,
            under_way: counts.under_way + if stopping { members } else { 0 },
            delivered: counts.delivered,
            retries: counts.retries,
            detail: Some(SourceDetail::Kafka(self.shared.status())),
        }
    }

    fn order(&self, order: impl Fn() -> Order) {
        for member in &self.members {
            // One that has ended is heard of otherwise.
            let _ = member.orders.send(order());
        }
    }
}

impl Actor for KafkaSource {
    type Context = Context<Self>;
}

impl Supervised for KafkaSource {
    fn restarting(&mut self, _: &mut Context<Self>) {
        self.life += 1;
        self.dismiss();
    }
}

impl Supervise for KafkaSource {
    fn resume(&mut self, ctx: &mut Context<Self>) {
        self.life += 1;
        self.dismiss();
        let leaving = std::mem::take(&mut self.leaving);
        let patience = self.parts.drain_timeout + LEAVE;
        let parts = self.parts.clone();
        let left = async move {
            let all = futures_util::future::join_all(leaving);
            if tokio::time::timeout(patience, all).await.is_err() {
                tracing::warn!("threads of a kafka source do not end, others begin beside them");
            }
            // They have left the group without a word to us.
            let source = parts.intake.source();
            parts
                .ownership
                .lost(source, &parts.ownership.tenures(source))
                .await;
        };
        ctx.spawn(left.into_actor(self).map(|(), source, ctx| {
            if source.state != SourceState::Stopping {
                source.begin(ctx);
            }
        }));
    }
}

impl Handler<SourceCommand> for KafkaSource {
    type Result = SourceStatus;

    fn handle(&mut self, command: SourceCommand, _: &mut Context<Self>) -> SourceStatus {
        let before = self.state;
        self.state = self.state.told(command);
        if self.state != before {
            self.shared.pause(self.state == SourceState::Paused);
            match self.state {
                SourceState::Paused => self.order(|| Order::Pause),
                SourceState::Stopping => self.order(|| Order::Stop),
                SourceState::Running | SourceState::Waiting => self.order(|| Order::Resume),
            }
        }
        self.status()
    }
}

impl Handler<Seek> for KafkaSource {
    type Result = ResponseFuture<Result<Vec<SeekedTo>, SeekError>>;

    fn handle(&mut self, seek: Seek, _: &mut Context<Self>) -> Self::Result {
        let mut answers = Vec::new();
        for member in &self.members {
            let (answer, answered) = oneshot::channel();
            let _ = member.orders.send(Order::Seek(seek.clone(), answer));
            answers.push(answered);
        }
        Box::pin(async move {
            let mut moved = Vec::new();
            for answered in answers {
                match answered.await {
                    Ok(Ok(mut partitions)) => moved.append(&mut partitions),
                    // Another member may have it.
                    Ok(Err(SeekError::NotAssigned(_))) | Err(_) => {}
                    Ok(Err(error)) => return Err(error),
                }
            }
            if moved.is_empty() {
                let partition = seek.partition.unwrap_or_else(|| "any partition".to_owned());
                return Err(SeekError::NotAssigned(partition));
            }
            Ok(moved)
        })
    }
}

impl Handler<Ask> for KafkaSource {
    type Result = ();

    fn handle(&mut self, ask: Ask, ctx: &mut Context<Self>) {
        if ask.life != self.life {
            return;
        }
        let parts = self.parts.clone();
        match ask.request {
            Request::Failed(crash) => relay(crash),
            Request::Claim(partitions, answer) => {
                let claim = async move {
                    let source = parts.intake.source();
                    let claimed = insist(&parts, async || {
                        parts.store.claim_positions(source, &partitions).await
                    });
                    let claimed = claimed.await;
                    let mut tenures = parts.ownership.assigned(source, &partitions).await.into_iter();
                    let granted = claimed.into_iter().map(|claimed| Granted {
                        claimed,
                        tenure: tenures.next(),
                    });
                    let _ = answer.send(granted.collect());
                };
                ctx.spawn(claim.into_actor(self));
            }
            Request::Positions(partitions, answer) => {
                let read = async move {
                    let mut positions = Vec::with_capacity(partitions.len());
                    for partition in &partitions {
                        let read = async || parts.store.position(parts.intake.source(), partition).await;
                        positions.push(insist(&parts, read).await);
                    }
                    let _ = answer.send(positions);
                };
                ctx.spawn(read.into_actor(self));
            }
            Request::Give(partitions, mut answer) => {
                let give = async move {
                    let source = parts.intake.source();
                    tokio::select! {
                        biased;
                        () = answer.closed() => return,
                        () = parts.ownership.revoked(source, &partitions) => {}
                    }
                    let _ = answer.send(());
                };
                ctx.spawn(give.into_actor(self));
            }
            Request::Lost(tenures) => {
                let lost = async move { parts.ownership.lost(parts.intake.source(), &tenures).await };
                ctx.spawn(lost.into_actor(self));
            }
        }
    }
}

/// Asks the database until it answers.
async fn insist<T>(parts: &KafkaParts, ask: impl AsyncFn() -> Result<T, crate::storage::StoreError>) -> T {
    let mut attempt = 0;
    loop {
        match ask().await {
            Ok(answer) => return answer,
            Err(error) => {
                let source = parts.intake.source().as_str();
                tracing::warn!(source, %error, "positions cannot be read, trying again");
            }
        }
        tokio::time::sleep(retry::pause(attempt)).await;
        attempt = attempt.saturating_add(1);
    }
}
