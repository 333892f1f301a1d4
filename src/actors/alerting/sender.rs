//! Sends the notifications of one receiver, in order, until each is taken, refused or too old.
//!
//! Invariants: a notification is leased before it is sent, and what became of it is stored after it. So after a crash one at most is sent
//! again, with the same id. Whoever has answered for good is not asked again.
//!
//! How it fails: a receiver that cannot be reached is left alone for a time that grows. What fails for good, or for longer than
//! `keep`, is parked: it stays in the log, and an operator may have it sent again.

use std::sync::Arc;
use std::time::Duration;

use actix::prelude::*;
use rand::RngExt;
use tokio::sync::watch;
use tokio::time::{sleep, timeout};

use super::deliver::Trouble;
use super::queue::{self, Next};
use super::{Accepted, Deliver, DeliveryError, Notification, Notified};
use crate::actors::registry::Registry;
use crate::actors::storage::retry;
use crate::actors::supervision::Supervise;
use crate::clock::Clock;
use crate::domain::{Micros, Timestamp};
use crate::storage::history::Page;
use crate::storage::notices::{Attempt, Leased, SendState};
use crate::storage::{Notices, Store, StoreError};

/// What waits and is looked at to find the next.
const LOOKED_AT: usize = 200;
/// How long it sleeps at most, should nobody wake it.
const IDLE: Duration = Duration::from_secs(5);
/// How long nobody else may send what is being sent: more than all time-outs of a way to a receiver.
const LEASE: Micros = 900 * 1_000_000;
/// The longest that a receiver may tell us to wait.
const LONGEST_WAIT: Duration = Duration::from_secs(3_600);
/// Charts show the last hour of so many alerts, each in so many points.
const CHARTS: usize = 5;
const CHART_SPAN: Micros = 3_600 * 1_000_000;
const CHART_POINTS: usize = 500;

pub struct SenderParts {
    pub receiver: String,
    pub deliver: Arc<dyn Deliver>,
    pub store: Arc<dyn Store>,
    pub registry: Arc<Registry>,
    pub clock: Arc<dyn Clock>,
    /// Changes when there is something new to be sent.
    pub made: watch::Receiver<u64>,
    /// Who leases.
    pub instance: String,
    /// How long one is tried.
    pub keep: Duration,
}

pub struct Sender {
    parts: Arc<SenderParts>,
}

impl Sender {
    pub fn new(parts: SenderParts) -> Self {
        Self {
            parts: Arc::new(parts),
        }
    }
}

impl Actor for Sender {
    type Context = Context<Self>;
}

impl Supervised for Sender {
    fn restarting(&mut self, _ctx: &mut Context<Self>) {}
}

impl Supervise for Sender {
    fn resume(&mut self, ctx: &mut Context<Self>) {
        let parts = self.parts.clone();
        ctx.spawn(async move { run(&parts).await }.into_actor(self));
    }
}

async fn run(parts: &SenderParts) {
    let Some(notices) = parts.store.notices() else {
        return;
    };
    let mut made = parts.made.clone();
    let (mut troubles, mut failures) = (0, 0);
    loop {
        made.borrow_and_update();
        match step(parts, notices, troubles).await {
            Err(error) => {
                tracing::warn!(receiver = parts.receiver, %error, "what is to be sent could not be read or noted, trying again");
                sleep(retry::pause(failures)).await;
                failures = failures.saturating_add(1);
            }
            Ok(Step::Sent) => (troubles, failures) = (0, 0),
            Ok(Step::Later) => failures = 0,
            // The receiver as a whole is left alone.
            Ok(Step::Trouble(pause)) => {
                (troubles, failures) = (troubles.saturating_add(1), 0);
                sleep(pause).await;
            }
            Ok(Step::Idle(pause)) => {
                failures = 0;
                if let Ok(Err(_)) = timeout(pause, made.changed()).await {
                    // The manager is gone for good: the service ends.
                    sleep(IDLE).await;
                }
            }
        }
    }
}

enum Step {
    Sent,
    /// This one is tried later, others may go.
    Later,
    Trouble(Duration),
    Idle(Duration),
}

async fn step(parts: &SenderParts, notices: &dyn Notices, troubles: u32) -> Result<Step, StoreError> {
    let queue = notices.to_send(&parts.receiver, LOOKED_AT).await?;
    let now = parts.clock.now();
    let seq = match queue::next(&queue, now) {
        Next::Send(seq) => seq,
        Next::Wait(due) => {
            let wait = Duration::from_micros(due.since(now).max(1_000).unsigned_abs());
            return Ok(Step::Idle(wait.min(IDLE)));
        }
        Next::Nothing => return Ok(Step::Idle(IDLE)),
    };
    let until = now.saturating_add(LEASE);
    let Some(leased) = notices.lease(seq, &parts.instance, now, until).await? else {
        // Somebody else has it, or it is done.
        return Ok(Step::Idle(Duration::from_secs(1)));
    };
    let sent = match serde_json::from_str::<Notification>(&leased.body) {
        Ok(mut notification) => {
            draw(parts, &mut notification).await;
            parts.deliver.deliver(&notification, &leased.answered).await
        }
        Err(error) => Err(DeliveryError::refused(error)),
    };
    let chance = rand::rng().random_range(0.0..=1.0);
    let (attempt, step) = judge(&leased, sent, parts.clock.now(), parts.keep, troubles, chance);
    match attempt.state {
        SendState::Sent => {
            tracing::info!(
                receiver = parts.receiver,
                seq,
                answer = attempt.answer,
                "notification sent"
            )
        }
        SendState::Waiting => {
            tracing::warn!(
                receiver = parts.receiver,
                seq,
                answer = attempt.answer,
                "notification not sent, trying again"
            )
        }
        SendState::Parked => {
            tracing::error!(
                receiver = parts.receiver,
                seq,
                answer = attempt.answer,
                "notification given up"
            )
        }
    }
    notices.attempted(seq, &parts.instance, &attempt).await?;
    Ok(step)
}

/// What becomes of one that was tried.
fn judge(
    leased: &Leased,
    sent: Result<Accepted, DeliveryError>,
    now: Timestamp,
    keep: Duration,
    troubles: u32,
    chance: f64,
) -> (Attempt, Step) {
    let overdue = queue::is_overdue(leased.at, now, keep);
    let (mut answered, mut taken) = (leased.answered.clone(), leased.taken.clone());
    let later =
        |pause: Duration| now.saturating_add(Micros::try_from(pause.as_micros()).unwrap_or(Micros::MAX));
    let (state, pause, answer, step) = match sent {
        Ok(accepted) => {
            let refused = accepted.refused.iter().map(|one| one.recipient.clone());
            answered.extend(accepted.taken.iter().cloned().chain(refused));
            taken.extend(accepted.taken);
            let told = accepted.refused.iter().chain(&accepted.waiting);
            let told: Vec<String> = told
                .map(|one| format!("{}: {}", one.recipient, one.answer))
                .collect();
            let answer = match told.is_empty() {
                true => accepted.answer,
                false => told.join("; "),
            };
            let pause = queue::pause(leased.attempts, chance);
            match (accepted.waiting.is_empty(), taken.is_empty()) {
                (true, false) => (SendState::Sent, pause, answer, Step::Sent),
                (true, true) => (SendState::Parked, pause, answer, Step::Sent),
                (false, _) => (SendState::Waiting, pause, answer, Step::Later),
            }
        }
        Err(DeliveryError::Refused { answer }) => (SendState::Parked, Duration::ZERO, answer, Step::Sent),
        Err(DeliveryError::Retry {
            trouble,
            answer,
            after,
        }) => {
            let pause = match after {
                Some(after) => after.min(LONGEST_WAIT),
                None if trouble == Trouble::Busy => queue::pause(leased.attempts, chance),
                None => queue::pause(troubles, chance),
            };
            let step = match trouble {
                Trouble::Busy => Step::Later,
                _ => Step::Trouble(pause),
            };
            (SendState::Waiting, pause, format!("{trouble}: {answer}"), step)
        }
    };
    let state = match state {
        SendState::Waiting if overdue => SendState::Parked,
        state => state,
    };
    let attempt = Attempt {
        state,
        at: now,
        due: later(pause),
        answered,
        taken,
        answer,
    };
    (attempt, step)
}

/// Adds what the charts show: the readings of the hour before it was made. A mail does without, should they not be found.
async fn draw(parts: &SenderParts, notification: &mut Notification) {
    let (from, to) = (notification.at.saturating_sub(CHART_SPAN), notification.at);
    for alert in notification.alerts.iter_mut().take(CHARTS) {
        let Some(series) = series(parts, alert) else {
            continue;
        };
        let page = Page {
            from,
            to,
            limit: CHART_POINTS,
            newest_first: true,
        };
        match parts.store.readings(series, &page).await {
            Ok(points) => {
                let points = points.iter().take(CHART_POINTS).rev();
                alert.recent = points.map(|point| (point.time, point.value)).collect();
            }
            Err(error) => tracing::debug!(%error, "a chart has no readings"),
        }
    }
}

fn series(parts: &SenderParts, alert: &Notified) -> Option<crate::domain::SeriesId> {
    let sensor = parts.registry.sensor_named(alert.sensor.as_str())?;
    let named = sensor
        .series
        .into_iter()
        .find(|(metric, _)| Some(metric) == alert.metric.as_ref());
    named.map(|(_, series)| series)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::actors::alerting::Answered;

    fn leased(answered: &[&str], taken: &[&str]) -> Leased {
        let owned = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
        Leased {
            body: String::new(),
            at: Timestamp(0),
            attempts: 2,
            answered: owned(answered),
            taken: owned(taken),
        }
    }

    fn said(recipient: &str) -> Answered {
        Answered {
            recipient: recipient.into(),
            answer: "450 later".into(),
        }
    }

    fn judged(leased: &Leased, sent: Result<Accepted, DeliveryError>, seconds: i64) -> Attempt {
        judge(
            leased,
            sent,
            Timestamp::from_seconds(seconds),
            Duration::from_secs(100),
            0,
            1.0,
        )
        .0
    }

    #[test]
    fn who_waits_is_tried_again_and_who_has_it_is_not() {
        let accepted = Accepted {
            answer: "250 ok".into(),
            taken: vec!["a".into()],
            refused: vec![said("b")],
            waiting: vec![said("c")],
        };
        let attempt = judged(&leased(&[], &[]), Ok(accepted), 10);
        assert_eq!(
            (attempt.state, attempt.due),
            (SendState::Waiting, Timestamp::from_seconds(14))
        );
        assert_eq!(
            (attempt.answered.join(","), attempt.taken.join(",")),
            ("a,b".into(), "a".into())
        );
        let rest = Accepted {
            answer: "250 ok".into(),
            taken: vec!["c".into()],
            ..Accepted::default()
        };
        let attempt = judged(&leased(&["a", "b"], &["a"]), Ok(rest), 20);
        assert_eq!(
            (attempt.state, attempt.taken.join(",")),
            (SendState::Sent, "a,c".into())
        );
    }

    #[test]
    fn what_nobody_takes_is_parked() {
        let refused = Accepted {
            refused: vec![said("b")],
            ..Accepted::default()
        };
        assert_eq!(judged(&leased(&[], &[]), Ok(refused), 1).state, SendState::Parked);
        let never = DeliveryError::refused("550 no");
        assert_eq!(judged(&leased(&[], &[]), Err(never), 1).state, SendState::Parked);
        let away = || DeliveryError::retry(Trouble::Connection, "refused");
        assert_eq!(
            judged(&leased(&[], &[]), Err(away()), 99).state,
            SendState::Waiting
        );
        assert_eq!(
            judged(&leased(&[], &[]), Err(away()), 100).state,
            SendState::Parked
        );
    }
}
