//! Alert rules of a series: what its readings, windows, findings and silences mean to them.
//!
//! Invariants: only readings that are the newest of their series are judged, so what is judged goes on in event time. A condition
//! goes on until something else is judged: an alert is due at the event time where `for` or `keep_firing_for` is over, which comes
//! with a later reading, or on the active clock as if event time had gone on with it since the series was heard. Silence and missing
//! data are measured on the active clock alone. Windows that the running state did not see whole are not judged.

mod lifecycle;
mod spec;
#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use self::lifecycle::{Finding, Lifecycle, Run};
pub use self::spec::{Condition, Levels, Limit, Limits, RuleSpec, Subject, WindowNumber};
use super::detectors::{Plain, Seen, finite};
use super::view::RuleView;
use crate::domain::{
    ActiveTime, AlertChange, AlertEvent, AlertState, Anomaly, Band, Micros, SeriesId, Timestamp, WindowResult,
};

/// A rule that watches a series.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Watch {
    rule: Arc<RuleSpec>,
    life: Lifecycle,
    /// What the next value is compared with, for a rule on the rate.
    previous: Option<(Timestamp, f64)>,
}

/// A watch in a snapshot.
#[derive(Serialize, Deserialize)]
pub(super) struct WatchImage {
    name: String,
    fingerprint: u64,
    life: Lifecycle,
    previous: Option<(Timestamp, f64)>,
}

/// What a reading led to, besides alerts.
pub(super) struct Led<'a> {
    pub windows: &'a [WindowResult],
    pub anomalies: &'a [Anomaly],
}

impl Watch {
    /// `watched` is when it begins to look, if that is known yet.
    pub fn new(rule: Arc<RuleSpec>, watched: Option<Timestamp>) -> Self {
        Watch {
            rule,
            life: Lifecycle::new(watched),
            previous: None,
        }
    }

    pub fn image(&self) -> WatchImage {
        WatchImage {
            name: self.rule.name.as_ref().to_owned(),
            fingerprint: self.rule.fingerprint(),
            life: self.life.clone(),
            previous: self.previous,
        }
    }

    pub fn rule(&self) -> &Arc<RuleSpec> {
        &self.rule
    }

    /// A reading was heard; `newest` is the newest event time since. `judge` unless its value counts for nothing.
    pub fn heard(
        &mut self,
        seen: &Seen,
        newest: Timestamp,
        judge: bool,
        led: &Led<'_>,
        lateness: Micros,
        events: &mut Vec<AlertEvent>,
    ) {
        let Watch { rule, life, previous } = self;
        let Seen {
            series, time, value, ..
        } = *seen;
        let rule: &RuleSpec = rule;
        let mut run = Run {
            rule,
            series,
            life,
            events,
        };
        match &rule.condition {
            Condition::Silence { .. } => {
                run.pass(newest);
                run.judged(newest, Some(value), None);
            }
            Condition::Limits(Limits {
                subject: Subject::Window { .. },
                ..
            }) => {
                windows(&mut run, led.windows);
                run.pass(newest.saturating_sub(slack(rule, lateness)));
            }
            _ if !seen.newest => {}
            _ if !judge => run.pass(time),
            Condition::Detector(kind) => {
                run.pass(time);
                let found = led.anomalies.iter().filter(|found| found.detector == *kind);
                let found = found.max_by_key(|found| found.level);
                run.judged(time, Some(value), found.map(|found| detected(rule, found)));
            }
            Condition::Limits(limits) => {
                run.pass(time);
                let number = match limits.subject {
                    Subject::Rate { per } => previous
                        .replace((time, value))
                        .and_then(|before| rate(before, (time, value), per)),
                    _ => Some(value),
                };
                let stands = run.life.stands();
                if let Some(number) = number {
                    run.judged(time, Some(number), beyond(rule, limits, number, stands));
                }
            }
        }
    }

    /// When [`Self::settle`] has something to do, if nothing is heard until then.
    pub fn deadline(&self, heard_at: ActiveTime, newest: Timestamp, lateness: Micros) -> Option<ActiveTime> {
        let due = self.life.due(&self.rule).map(|due| {
            let missing = due.saturating_add(slack(&self.rule, lateness)).since(newest);
            heard_at + missing.max(0) + 1
        });
        let quiet = self.patience().map(|after| heard_at + after);
        match (due, quiet) {
            (Some(a), Some(b)) => Some(a.min(b)),
            (a, b) => a.or(b),
        }
    }

    /// Does what is due at `active`, after `windows` have closed.
    pub fn settle(
        &mut self,
        active: ActiveTime,
        heard_at: ActiveTime,
        last: &Seen,
        lateness: Micros,
        closed: &[WindowResult],
        events: &mut Vec<AlertEvent>,
    ) {
        let quiet = self.patience().filter(|after| heard_at + *after <= active);
        let Watch { rule, life, .. } = self;
        let rule: &RuleSpec = rule;
        let series = last.series;
        let mut run = Run {
            rule,
            series,
            life,
            events,
        };
        if matches!(
            &rule.condition,
            Condition::Limits(Limits {
                subject: Subject::Window { .. },
                ..
            })
        ) {
            windows(&mut run, closed);
        }
        if let Some(due) = run.life.due(rule) {
            let missing = due.saturating_add(slack(rule, lateness)).since(last.time);
            // What is heard at the very end may say otherwise.
            // As a sum, as the deadline is: at the end of time both are the same.
            let over = heard_at + missing.max(0) + 1;
            if over <= active {
                run.come_due();
            }
        }
        let Some(after) = quiet else { return };
        let time = last.time.saturating_add(after);
        let reason = format!(
            "No new reading for {}; the last was {} at {}.",
            humantime::format_duration(Duration::from_micros(after.max(0).unsigned_abs())),
            Plain(last.value),
            last.time,
        );
        match rule.condition {
            Condition::Silence { .. } => {
                let finding = Finding {
                    level: rule.lowest(),
                    value: Some(last.value),
                    threshold: None,
                    expected: Band::default(),
                    reason,
                };
                run.judged(time, Some(last.value), Some(finding));
            }
            _ => run.no_data(time, Some(last.value), reason),
        }
    }

    /// How long it waits for the next reading.
    fn patience(&self) -> Option<Micros> {
        let state = self.life.state();
        match self.rule.condition {
            Condition::Silence { after } => {
                matches!(state, None | Some(AlertState::Recovering)).then_some(after)
            }
            _ => self.rule.no_data.filter(|_| state != Some(AlertState::NoData)),
        }
    }

    pub fn reset(&mut self, now: Timestamp, series: SeriesId, events: &mut Vec<AlertEvent>) {
        let Watch { rule, life, previous } = self;
        *previous = None;
        Run {
            rule,
            series,
            life,
            events,
        }
        .forget(now, "Its sensor was reset.");
    }

    /// See [`Run::reconcile`].
    pub fn reconcile(
        &mut self,
        now: Timestamp,
        series: SeriesId,
        stored: impl FnOnce(crate::domain::Episode) -> Option<AlertEvent>,
        events: &mut Vec<AlertEvent>,
    ) {
        let Watch { rule, life, .. } = self;
        Run {
            rule,
            series,
            life,
            events,
        }
        .reconcile(now, stored);
    }

    pub fn view(&self) -> RuleView {
        let under_way = self.life.under_way();
        RuleView {
            rule: self.rule.name.clone(),
            state: self.life.state(),
            level: under_way.map(|(level, ..)| level),
            since: under_way.map(|(_, since, _)| since.to_string()),
            episode: under_way.and_then(|(.., episode)| episode),
        }
    }
}

impl WatchImage {
    /// The watch that it is of, if the rule is still there and judges alike.
    pub fn restore(&self, rules: &[Arc<RuleSpec>]) -> Option<Watch> {
        let same =
            |rule: &&Arc<RuleSpec>| rule.name.as_ref() == self.name && rule.fingerprint() == self.fingerprint;
        Some(Watch {
            rule: rules.iter().find(same)?.clone(),
            life: self.life.clone(),
            previous: self.previous,
        })
    }
}

/// The end of an alert that no rule stands behind any more.
pub(super) fn orphaned(row: &AlertEvent, now: Timestamp) -> AlertEvent {
    AlertEvent {
        ordinal: row.ordinal.saturating_add(1),
        change: AlertChange::Resolved,
        state: AlertState::Resolved,
        time: row.time.max(now),
        value: None,
        reason: "Its rule was changed or removed, or its sensor was reset.".into(),
        ..row.clone()
    }
}

/// How long after the event time of what it judges a rule waits for the next to be judged.
fn slack(rule: &RuleSpec, lateness: Micros) -> Micros {
    match &rule.condition {
        Condition::Limits(Limits {
            subject: Subject::Window { size, .. },
            ..
        }) => size.saturating_add(lateness),
        _ => 0,
    }
}

fn windows(run: &mut Run<'_>, closed: &[WindowResult]) {
    let rule = run.rule;
    let Condition::Limits(limits) = &rule.condition else {
        return;
    };
    let Subject::Window { size, aggregate } = limits.subject else {
        return;
    };
    for window in closed.iter().filter(|window| window.span.size == size) {
        let number = aggregate.of(window);
        run.pass(window.span.end());
        let finding = beyond(rule, limits, number, run.life.stands());
        run.judged(window.span.end(), Some(number), finding);
    }
}

fn rate((before, from): (Timestamp, f64), (time, to): (Timestamp, f64), per: Micros) -> Option<f64> {
    let span = time.since(before);
    (span > 0).then(|| finite((to - from) * (per as f64 / span as f64)))
}

fn detected(rule: &RuleSpec, found: &Anomaly) -> Finding {
    Finding {
        level: match rule.levels {
            Levels::Found => found.level,
            _ => rule.lowest(),
        },
        value: Some(found.value),
        threshold: None,
        expected: found.band,
        reason: found.explanation.clone(),
    }
}

fn beyond(rule: &RuleSpec, limits: &Limits, number: f64, stands: bool) -> Option<Finding> {
    let (level, mark) = rule.judge(limits, number, stands)?;
    let what = match limits.subject {
        Subject::Value => "The value".to_owned(),
        Subject::Rate { per } => format!(
            "The change in {}",
            humantime::format_duration(Duration::from_micros(per.max(0).unsigned_abs()))
        ),
        Subject::Window { size, aggregate } => format!(
            "The {} of {}",
            aggregate.as_str(),
            humantime::format_duration(Duration::from_micros(size.max(0).unsigned_abs()))
        ),
    };
    let told = Plain::rounded(number);
    let reason = if limits.above.is_some_and(|limit| number > limit.at) {
        format!("{what}, {told}, is above {}.", Plain::rounded(mark))
    } else if limits.below.is_some_and(|limit| number < limit.at) {
        format!("{what}, {told}, is below {}.", Plain::rounded(mark))
    } else {
        format!("{what}, {told}, is within its limit, but not by enough to end the alert.")
    };
    Some(Finding {
        level,
        value: Some(number),
        threshold: Some(mark),
        expected: Band {
            low: limits.below.map(|limit| limit.at),
            high: limits.above.map(|limit| limit.at),
        },
        reason,
    })
}
