//! An alert as it is decided about: its last event, what it is about, what people said to it, and who may be told.

use super::group::Key;
use super::policy::Labels;
use crate::domain::{AlertEvent, AlertState};
use crate::storage::alerts::Said;
use crate::storage::notices::Subject;

#[derive(Debug, PartialEq)]
pub(super) struct Alert {
    pub event: AlertEvent,
    pub of: Subject,
    pub labels: Labels,
    pub said: Said,
    pub groups: Vec<Key>,
}

impl Alert {
    pub fn new(event: AlertEvent, of: Subject) -> Self {
        let mut labels = of.tags.clone();
        labels.insert("sensor".to_owned(), of.sensor.to_string());
        labels.insert("metric".to_owned(), of.metric.to_string());
        labels.insert("rule".to_owned(), event.rule.to_string());
        labels.insert("level".to_owned(), event.level.as_str().to_owned());
        Self {
            event,
            of,
            labels,
            said: Said::default(),
            groups: Vec::new(),
        }
    }

    pub fn ended(&self) -> bool {
        self.event.state == AlertState::Resolved
    }
}
