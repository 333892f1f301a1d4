//! The lifecycle of one rule on one series.
//!
//! ```text
//!            holds                for                 holds no more
//!   Normal ────────▶ Pending ────────────▶ Firing ◀────────────────▶ Recovering ──keep_firing_for──▶ Resolved (Normal)
//!     ▲                 │ holds no more      │ ▲       holds again        │
//!     └─────────────────┘                    ▼ │ holds                    │
//!                        nothing heard ───▶ NoData ◀──────────────────────┘
//! ```
//!
//! Invariants: what happens depends on the times and values it is given and on nothing else. Times that it is given do not go back.
//! An alert that comes and goes too often ([`FLAPS`] times within [`FLAP_SPAN`]) is *flapping*: it then stays for [`FLAP_KEEP`] at
//! least after its condition held last, so that it is told once instead of each time. Episodes of a lifecycle begin at different times.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::spec::RuleSpec;
use crate::domain::{AlertChange, AlertEvent, AlertState, Band, Episode, Level, Micros, SeriesId, Timestamp};

const SECOND: Micros = 1_000_000;

/// So many alerts, the next one included, within [`FLAP_SPAN`] are flapping.
pub(in crate::core) const FLAPS: usize = 5;
pub(in crate::core) const FLAP_SPAN: Micros = 3_600 * SECOND;
pub(in crate::core) const FLAP_KEEP: Micros = 600 * SECOND;

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(in crate::core) struct Lifecycle {
    /// Since when it looks; `None` until that is known, see [`Episode::of`].
    watched: Option<Timestamp>,
    /// When the last episode began.
    began: Timestamp,
    /// When the last [`FLAPS`] were raised, oldest first.
    raised: Vec<Timestamp>,
    phase: Phase,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
enum Phase {
    Normal,
    Pending { since: Timestamp, finding: Finding },
    Standing(Standing),
}

/// Why the condition holds.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(in crate::core) struct Finding {
    pub level: Level,
    pub value: Option<f64>,
    pub threshold: Option<f64>,
    pub expected: Band,
    pub reason: String,
}

/// An alert that people know of.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Standing {
    episode: Episode,
    /// Of the next event.
    ordinal: u32,
    state: AlertState,
    /// Whether it ever fired; else it only says that there is no data.
    fired: bool,
    level: Level,
    threshold: Option<f64>,
    expected: Band,
    began: Timestamp,
    changed: Timestamp,
    flapping: bool,
}

impl Lifecycle {
    pub fn new(watched: Option<Timestamp>) -> Self {
        Self {
            watched,
            began: Timestamp::MIN,
            raised: Vec::new(),
            phase: Phase::Normal,
        }
    }

    /// Whether the alert stands, so that the condition holds until it is cleared.
    pub fn stands(&self) -> bool {
        matches!(&self.phase, Phase::Standing(alert) if alert.fired)
    }

    pub fn state(&self) -> Option<AlertState> {
        match &self.phase {
            Phase::Normal => None,
            Phase::Pending { .. } => Some(AlertState::Pending),
            Phase::Standing(alert) => Some(alert.state),
        }
    }

    /// Level, begin and, once it is stored, episode of what is under way.
    pub fn under_way(&self) -> Option<(Level, Timestamp, Option<Episode>)> {
        match &self.phase {
            Phase::Normal => None,
            Phase::Pending { since, finding } => Some((finding.level, *since, None)),
            Phase::Standing(alert) => Some((alert.level, alert.began, Some(alert.episode))),
        }
    }

    /// The event time at which [`Self::come_due`] has something to do, if nothing is judged until then.
    pub fn due(&self, rule: &RuleSpec) -> Option<Timestamp> {
        match &self.phase {
            Phase::Pending { since, .. } => Some(since.saturating_add(rule.hold)),
            Phase::Standing(alert) if alert.state == AlertState::Recovering => {
                Some(alert.changed.saturating_add(alert.keep(rule)))
            }
            _ => None,
        }
    }
}

/// A lifecycle while something happens to it.
pub(in crate::core) struct Run<'a> {
    pub rule: &'a RuleSpec,
    pub series: SeriesId,
    pub life: &'a mut Lifecycle,
    pub events: &'a mut Vec<AlertEvent>,
}

impl Run<'_> {
    /// Does what was due before `time`.
    pub fn pass(&mut self, time: Timestamp) {
        if self.life.due(self.rule).is_some_and(|due| due < time) {
            self.come_due();
        }
    }

    /// What was judged last goes on until what it leads to is due, which is now.
    pub fn come_due(&mut self) {
        let Some(due) = self.life.due(self.rule) else {
            return;
        };
        match std::mem::replace(&mut self.life.phase, Phase::Normal) {
            Phase::Pending { since, finding } => self.raise(since, due, finding),
            Phase::Standing(alert) => self.resolve(alert, due, None),
            Phase::Normal => {}
        }
    }

    /// The condition was judged: it holds, for a reason, or it does not. `value` is what was judged.
    pub fn judged(&mut self, time: Timestamp, value: Option<f64>, finding: Option<Finding>) {
        match (std::mem::replace(&mut self.life.phase, Phase::Normal), finding) {
            (Phase::Normal | Phase::Pending { .. }, None) => {}
            (Phase::Normal, Some(finding)) if self.rule.hold == 0 => self.raise(time, time, finding),
            (Phase::Normal, Some(finding)) => self.life.phase = Phase::Pending { since: time, finding },
            (Phase::Pending { since, .. }, Some(finding)) if time.since(since) >= self.rule.hold => {
                self.raise(since, time, finding);
            }
            (Phase::Pending { since, .. }, Some(finding)) => {
                self.life.phase = Phase::Pending { since, finding };
            }
            (Phase::Standing(alert), Some(finding)) => self.holds(alert, time, finding),
            (Phase::Standing(alert), None) => self.holds_no_more(alert, time, value),
        }
    }

    /// There is nothing to judge by.
    pub fn no_data(&mut self, time: Timestamp, value: Option<f64>, reason: String) {
        let alert = match std::mem::replace(&mut self.life.phase, Phase::Normal) {
            Phase::Standing(alert) => alert,
            Phase::Normal | Phase::Pending { .. } => {
                self.begin(time, self.rule.lowest(), None, Band::default())
            }
        };
        let alert = Standing {
            state: AlertState::NoData,
            ..alert
        };
        self.tell(alert, AlertChange::NoData, time, value, reason);
    }

    /// The alert ends because nobody looks any more.
    pub fn forget(&mut self, time: Timestamp, reason: &str) {
        if let Phase::Standing(alert) = std::mem::replace(&mut self.life.phase, Phase::Normal) {
            self.resolve(alert, time, Some(reason.to_owned()));
        }
        *self.life = Lifecycle::new(Some(time));
    }

    fn raise(&mut self, since: Timestamp, time: Timestamp, finding: Finding) {
        let mut alert = self.begin(since, finding.level, finding.threshold, finding.expected);
        alert.fired = true;
        let raised = &mut self.life.raised;
        raised.push(time);
        raised.drain(..raised.len().saturating_sub(FLAPS));
        alert.flapping = raised.len() == FLAPS && time.since(raised[0]) <= FLAP_SPAN;
        self.tell(alert, AlertChange::Raised, time, finding.value, finding.reason);
    }

    fn begin(&mut self, since: Timestamp, level: Level, threshold: Option<f64>, expected: Band) -> Standing {
        // No two episodes are the same, even where one without data was thought to begin later than it did.
        let began = since.max(self.life.began.saturating_add(1));
        self.life.began = began;
        let watched = self.life.watched.unwrap_or(Timestamp::MIN);
        Standing {
            episode: Episode::of(self.series, &self.rule.name, watched, began),
            ordinal: 0,
            state: AlertState::Firing,
            fired: false,
            level,
            threshold,
            expected,
            began,
            changed: since,
            flapping: false,
        }
    }

    fn holds(&mut self, mut alert: Standing, time: Timestamp, finding: Finding) {
        let change = match alert.state {
            AlertState::NoData if !alert.fired => {
                self.resolve(alert, time, Some("There is data again.".into()));
                return self.judged(time, finding.value, Some(finding));
            }
            AlertState::NoData => AlertChange::Raised,
            _ if finding.level > alert.level => AlertChange::Escalated,
            AlertState::Recovering => AlertChange::Returned,
            _ if finding.level < alert.level => AlertChange::Lowered,
            _ => return self.life.phase = Phase::Standing(alert),
        };
        alert.state = AlertState::Firing;
        alert.level = finding.level;
        alert.threshold = finding.threshold;
        alert.expected = finding.expected;
        self.tell(alert, change, time, finding.value, finding.reason);
    }

    fn holds_no_more(&mut self, mut alert: Standing, time: Timestamp, value: Option<f64>) {
        let keep = alert.keep(self.rule);
        match alert.state {
            AlertState::NoData => self.resolve(alert, time, Some("There is data again.".into())),
            AlertState::Firing if keep > 0 => {
                alert.state = AlertState::Recovering;
                let reason = "The condition holds no more.".to_owned();
                self.tell(alert, AlertChange::Recovering, time, value, reason);
            }
            AlertState::Recovering if time.since(alert.changed) < keep => {
                self.life.phase = Phase::Standing(alert);
            }
            _ => self.end(alert, time, value, "The condition holds no more.".into()),
        }
    }

    fn resolve(&mut self, alert: Standing, time: Timestamp, reason: Option<String>) {
        let reason = reason.unwrap_or_else(|| "The condition has not held for long enough.".into());
        self.end(alert, time, None, reason);
    }

    fn end(&mut self, alert: Standing, time: Timestamp, value: Option<f64>, reason: String) {
        let alert = Standing {
            state: AlertState::Resolved,
            ..alert
        };
        self.tell(alert, AlertChange::Resolved, time, value, reason);
        self.life.phase = Phase::Normal;
    }

    fn tell(
        &mut self,
        mut alert: Standing,
        change: AlertChange,
        time: Timestamp,
        value: Option<f64>,
        reason: String,
    ) {
        alert.changed = alert.changed.max(time);
        self.events.push(AlertEvent {
            episode: alert.episode,
            ordinal: alert.ordinal,
            change,
            time: alert.changed,
            series: self.series,
            rule: Arc::clone(&self.rule.name),
            state: alert.state,
            level: alert.level,
            began: alert.began,
            value,
            threshold: alert.threshold,
            expected: alert.expected,
            flapping: alert.flapping,
            reason,
        });
        alert.ordinal = alert.ordinal.saturating_add(1);
        self.life.phase = Phase::Standing(alert);
    }

    /// Brings what is stored of its alert to where it is. `stored` is the last event of the same episode, if there is any.
    pub fn reconcile(&mut self, now: Timestamp, stored: impl FnOnce(Episode) -> Option<AlertEvent>) {
        self.life.watched.get_or_insert(now);
        let Phase::Standing(alert) = &mut self.life.phase else {
            return;
        };
        let stored = stored(alert.episode);
        let same = |row: &AlertEvent| row.state == alert.state && row.level == alert.level;
        if stored
            .as_ref()
            .is_some_and(|row| same(row) && row.ordinal < alert.ordinal)
        {
            return;
        }
        let differs = !stored.as_ref().is_some_and(same);
        alert.ordinal = alert
            .ordinal
            .max(stored.map_or(0, |row| row.ordinal.saturating_add(1)));
        if differs {
            let change = match alert.state {
                AlertState::NoData => AlertChange::NoData,
                AlertState::Recovering => AlertChange::Recovering,
                _ => AlertChange::Raised,
            };
            let (alert, time) = (alert.clone(), alert.changed);
            self.tell(
                alert,
                change,
                time,
                None,
                "Its sensor has come back and finds it so.".into(),
            );
        }
    }
}

impl Standing {
    fn keep(&self, rule: &RuleSpec) -> Micros {
        if self.flapping {
            rule.keep.max(FLAP_KEEP)
        } else {
            rule.keep
        }
    }
}
