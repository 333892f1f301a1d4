//! What an [`MqttSource`](super::MqttSource) is told.

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use super::{Qos, Version};
use crate::decode::TopicPattern;

#[derive(Debug, Clone)]
pub struct MqttOptions {
    /// One at least; tried in turn.
    pub brokers: Vec<Broker>,
    pub version: Version,
    /// Without it one is made up, and kept in the database.
    pub client_id: Option<String>,
    pub status: Option<StatusTopics>,
    pub qos: Qos,
    pub username: Option<String>,
    pub password_file: Option<PathBuf>,
    pub tls: TlsFiles,
    /// How long the broker keeps the session while we are away; version 5 only.
    pub session_expiry: Duration,
    /// Messages that may be waiting to be acknowledged.
    pub receive_maximum: u16,
    pub keep_alive: Duration,
    /// The largest packet of a message, in bytes. A larger one becomes a dead letter.
    pub max_packet: usize,
    /// Whether messages that were there before us are taken.
    pub retained: bool,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Broker {
    pub host: String,
    pub port: u16,
    pub tls: bool,
}

/// Files in PEM, read at each connection, so that they may be renewed.
#[derive(Debug, Clone, Default)]
pub struct TlsFiles {
    /// Whom to trust; without it, whom the machine trusts.
    pub ca: Option<PathBuf>,
    /// The chain and the key that we show.
    pub identity: Option<(PathBuf, PathBuf)>,
}

/// Topics that tell whether a sensor is there, such as those of last wills.
#[derive(Debug, Clone)]
pub struct StatusTopics {
    pub topics: Vec<TopicPattern>,
    /// Payloads that mean it is.
    pub online: Vec<String>,
    /// Payloads that mean it is not.
    pub offline: Vec<String>,
}

impl MqttOptions {
    /// What to subscribe to, with these topics for readings; each filter once.
    pub fn filters(&self, topics: &[TopicPattern]) -> Vec<String> {
        let status = self.status.iter().flat_map(|status| &status.topics);
        let all = topics.iter().chain(status);
        let mut filters: Vec<String> = all.map(TopicPattern::filter).collect();
        filters.sort();
        filters.dedup();
        filters
    }

    /// Without acknowledgements there is nothing that a session would keep.
    pub fn keeps_session(&self) -> bool {
        self.qos != Qos::AtMostOnce
    }
}

impl fmt::Display for Broker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = if self.tls { "mqtts" } else { "mqtt" };
        match self.host.contains(':') {
            true => write!(f, "{scheme}://[{}]:{}", self.host, self.port),
            false => write!(f, "{scheme}://{}:{}", self.host, self.port),
        }
    }
}
