//! Starting what tells people of alerts: the manager, and a sender for each receiver.
//!
//! How it fails: where a receiver cannot be used as it is configured the service does not start; one that cannot be reached is waited
//! for.

use std::collections::BTreeMap;
use std::sync::Arc;

use tokio::sync::watch;

use super::pipeline::Pipeline;
use super::receivers;
use super::{StartError, plan};
use crate::actors::alerting::decide::calendar::{Maintenance, When};
use crate::actors::alerting::decide::{Escalation, Inhibition, Labels, Matchers, Route, Timing};
use crate::actors::alerting::page::Pages;
use crate::actors::alerting::{AlertManager, Bell, ManagerParts, Policy, Sender, SenderParts};
use crate::domain::{Micros, SourceName};
use crate::settings::alerting::{LabelMatch, MaintenanceSettings, RouteSettings};
use crate::settings::{AlertingSettings, RuleSettings, Settings};
use crate::web::AlertingEntry;

/// Starts all of it on a thread of its own.
pub(super) async fn start(pipeline: &mut Pipeline, settings: &Settings) -> Result<AlertingEntry, StartError> {
    let alerting = &settings.alerting;
    let clock = pipeline.rails.clock().clone();
    let deliverers = receivers::deliverers(alerting, &clock).map_err(StartError::Receiver)?;
    let links = receivers::links(alerting).map_err(StartError::Receiver)?;
    let pages = match &links {
        Some(base) => Some(Pages::new(&base.url).map_err(|why| StartError::Page(why.to_string()))?),
        None => None,
    };
    let bell = Bell::default();
    let entry = AlertingEntry {
        bell: bell.clone(),
        links: links.and_then(|base| base.key),
        pages,
    };
    let store = pipeline.store.clone();
    let Some(notices) = store.notices() else {
        return Ok(entry);
    };
    if !alerting.receivers.is_empty() && alerting.routes.is_empty() {
        tracing::warn!("there are receivers, but no route leads to them: add [[alerting.routes]]");
    }
    let names: Vec<&str> = deliverers.keys().map(SourceName::as_str).collect();
    let parked = notices.park_others(&names, clock.now()).await?;
    if parked > 0 {
        tracing::warn!(
            parked,
            "notifications for receivers that are not there any more are given up"
        );
    }
    let arbiter = pipeline.arbiter();
    let (made, changes) = watch::channel(0);
    let parts = ManagerParts {
        store: store.clone(),
        clock: clock.clone(),
        policy: Arc::new(policy(alerting, &settings.rules)),
        progress: pipeline.progress(),
        bell,
        made,
    };
    pipeline.supervise(&arbiter, "alerting/manager", "AlertManager", move || {
        AlertManager::new(parts)
    });
    let instance = plan::instance(settings).0;
    for (name, deliver) in deliverers {
        let parts = SenderParts {
            receiver: name.to_string(),
            deliver,
            store: store.clone(),
            registry: pipeline.rails.registry().clone(),
            clock: clock.clone(),
            made: changes.clone(),
            instance: instance.clone(),
            keep: alerting.give_up_after,
        };
        let path = format!("alerting/receivers/{name}");
        pipeline.supervise(&arbiter, &path, "Sender", move || Sender::new(parts));
    }
    Ok(entry)
}

/// What is decided by.
pub fn policy(settings: &AlertingSettings, rules: &[RuleSettings]) -> Policy {
    let usual = Timing {
        wait: micros(settings.group_wait),
        interval: micros(settings.group_interval),
        repeat: micros(settings.repeat_interval),
        escalation: None,
    };
    // Of two rules with the same name the first counts.
    let mut runbooks = BTreeMap::new();
    for rule in rules.iter().rev() {
        match &rule.runbook {
            Some(link) => drop(runbooks.insert(rule.name.clone(), link.clone())),
            None => drop(runbooks.remove(&rule.name)),
        }
    }
    Policy {
        routes: settings
            .routes
            .iter()
            .map(|route| self::route(route, &settings.group_by, &usual))
            .collect(),
        usual,
        inhibitions: settings
            .inhibit
            .iter()
            .map(|inhibit| Inhibition {
                name: inhibit.name.clone(),
                source: matchers(&inhibit.source),
                target: matchers(&inhibit.target),
                equal: inhibit.equal.clone(),
            })
            .collect(),
        maintenance: settings.maintenance.iter().filter_map(window).collect(),
        burst: settings.burst,
        every: micros(settings.every),
        runbooks,
    }
}

fn route(settings: &RouteSettings, group_by: &[String], usual: &Timing) -> Route {
    let escalation = settings.escalate_after.zip(settings.escalate_to.as_ref());
    Route {
        receiver: settings.receiver.to_string(),
        matches: matchers(&settings.matches),
        min_level: settings.min_level,
        group_by: settings.group_by.clone().unwrap_or_else(|| group_by.to_vec()),
        timing: Timing {
            wait: settings.group_wait.map_or(usual.wait, micros),
            interval: settings.group_interval.map_or(usual.interval, micros),
            repeat: settings.repeat_interval.map_or(usual.repeat, micros),
            escalation: escalation.map(|(after, receiver)| Escalation {
                after: micros(after),
                receiver: receiver.to_string(),
            }),
        },
        goes_on: settings.goes_on,
    }
}

/// `None` of one that the check of settings refuses.
fn window(settings: &MaintenanceSettings) -> Option<Maintenance> {
    const MINUTE: Micros = 60 * 1_000_000;

    let when = match (
        settings.from.zip(settings.until),
        settings.start.zip(settings.end),
    ) {
        (Some((from, until)), _) => When::Once { from, until },
        (None, Some((start, end))) => {
            let mut days = [false; 7];
            for day in &settings.days {
                days[*day as usize] = true;
            }
            When::Weekly {
                days,
                start: Micros::from(start.0) * MINUTE,
                end: Micros::from(end.0) * MINUTE,
                offset: Micros::from(settings.utc_offset.unwrap_or_default().0) * MINUTE,
            }
        }
        (None, None) => return None,
    };
    Some(Maintenance {
        name: settings.name.clone(),
        matches: matchers(&settings.matches),
        when,
    })
}

fn matchers(patterns: &LabelMatch) -> Matchers {
    let texts: Labels = patterns
        .iter()
        .map(|(label, pattern)| (label.clone(), pattern.as_str().to_owned()))
        .collect();
    // They were read as patterns before.
    Matchers::parse(&texts).unwrap_or_default()
}

fn micros(duration: std::time::Duration) -> Micros {
    Micros::try_from(duration.as_micros()).unwrap_or(Micros::MAX)
}
