//! The settings: typed, layered, checked.
//!
//! Layers, each beating the one before: what is compiled in (`config/default.toml`, for the demo also `config/demo.toml`),
//! the file given by `--config`, the environment, flags. Invariants: unknown keys are errors; every error is found in one
//! pass and names its key and where it was written; settings that exist are whole and make sense, so nothing checks again.

pub mod alerting;
pub mod archive;
mod check;
mod de;
pub mod http;
pub mod live;
pub mod log;
pub mod mapping;
pub mod mqtt_listener;
pub mod outputs;
pub mod pipeline;
pub mod problem;
pub mod rules;
pub mod series;
pub mod sources;
pub mod storage;
pub mod supervision;
mod tree;
mod units;

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

pub use alerting::{
    AlertingSettings, EmailReceiverSettings, MailEncryption, ReceiverSettings, SummarySettings,
    WebhookFormat, WebhookReceiverSettings,
};
pub use archive::{ArchiveSettings, ArchiveUrl};
pub use http::HttpSettings;
pub use live::LiveSettings;
pub use log::{LogFormat, LogSettings};
pub use mapping::{MappingSettings, PayloadSettings};
pub use mqtt_listener::{ListenerTls, ListenerUser, MqttListenerSettings};
pub use outputs::{
    KafkaOutputSettings, MqttOutputSettings, OutputSettings, OutputTopics, RedisOutputSettings,
};
pub use pipeline::{LimitsSettings, PipelineSettings};
pub use problem::{Origin, Problem, SettingsError};
pub use rules::{ConditionSettings, LevelSettings, RatioSettings, RuleSettings, WindowSettings};
pub use series::{DetectorSettings, Pattern, SeriesMatch, SeriesSettings, SeriesTable};
pub use sources::{
    BrokerUrl, CsvSettings, FileBegin, FileFormat, FileSettings, HostSettings, HttpPollSettings, KafkaReset,
    KafkaSasl, KafkaSettings, KafkaTls, MqttSettings, MqttVersion, Oldest, RedisSettings, Retained,
    SaslMechanism, SimulatedSettings, SourceSettings, StatusSettings, TlsSettings,
};
pub use storage::{PostgresUrl, StorageSettings, StorageUrl, Synchronous, TimescaleDb};
pub use supervision::SupervisionSettings;
pub use tree::ENVIRONMENT_PREFIX;

use crate::domain::SourceName;
use tree::Node;

/// The defaults, with every key explained.
pub const DEFAULTS: &str = include_str!("../../config/default.toml");
const DEMO: &str = include_str!("../../config/demo.toml");

/// Keys of `alerting` that are known but not part of this version.
const UNAVAILABLE_ALERTING: [&str; 1] = ["schedules"];

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Settings {
    pub http: HttpSettings,
    pub live: LiveSettings,
    pub mqtt_listener: MqttListenerSettings,
    pub storage: StorageSettings,
    pub pipeline: PipelineSettings,
    pub limits: LimitsSettings,
    pub supervision: SupervisionSettings,
    pub log: LogSettings,
    /// Disabled ones too.
    pub sources: BTreeMap<SourceName, SourceSettings>,
    /// Disabled ones too.
    #[serde(default)]
    pub outputs: BTreeMap<SourceName, OutputSettings>,
    pub series: SeriesTable,
    /// Those of the user first; see [`RuleSettings`].
    pub rules: Vec<RuleSettings>,
    pub alerting: AlertingSettings,
    /// What was configured but is not part of this version, such as `alerting.routes`; to be logged.
    #[serde(skip)]
    pub unavailable: Vec<String>,
}

/// Where settings come from.
#[derive(Debug, Clone, Default)]
pub struct Layers {
    /// Whether the demo's preset is laid over the defaults.
    pub demo: bool,
    pub file: Option<PathBuf>,
    /// Environment variables; those without our prefix are left alone.
    pub environment: Vec<(String, String)>,
    /// Key, flag and value.
    pub flags: Vec<(String, String, String)>,
}

impl Layers {
    /// Reads, merges and checks; on failure every problem there is.
    pub fn load(&self) -> Result<Settings, SettingsError> {
        let mut problems = Vec::new();
        let mut tree = self.merge(&mut problems);
        let unavailable = take_unavailable(&mut tree);
        let settings = read(&mut tree, &mut problems);
        if let Some(settings) = &settings {
            check::check(settings, &tree, &mut problems);
        }
        match settings {
            Some(mut settings) if problems.is_empty() => {
                let listen = tree.find("mqtt_listener.listen");
                settings.mqtt_listener.chosen =
                    listen.is_some_and(|node| !matches!(node.origin, Origin::Default | Origin::Demo));
                Ok(Settings {
                    unavailable,
                    ..settings
                })
            }
            _ => {
                problems.sort_by(|a, b| (&a.origin, &a.key).cmp(&(&b.origin, &b.key)));
                Err(SettingsError { problems })
            }
        }
    }

    fn merge(&self, problems: &mut Vec<Problem>) -> Node {
        let mut layers = vec![tree::preset(DEFAULTS, Origin::Default)];
        layers.extend(self.demo.then(|| tree::preset(DEMO, Origin::Demo)));
        layers.extend(self.file.as_deref().map(tree::file));
        layers.extend(tree::environment(&self.environment).into_iter().map(Ok));
        layers.extend(self.flags.iter().map(tree::flag).map(Ok));

        let mut tree = Node::empty();
        for layer in layers {
            match layer {
                Ok(layer) => tree.overlay(layer, problems),
                Err(problem) => problems.push(problem),
            }
        }
        tree
    }
}

impl Settings {
    /// What is in force, as TOML that can be read again. It holds no secrets.
    pub fn to_toml(&self) -> Result<String, toml::ser::Error> {
        toml::to_string(self)
    }
}

/// Takes out what is not part of this version, and names it.
fn take_unavailable(tree: &mut Node) -> Vec<String> {
    let mut taken = Vec::new();
    if let tree::Content::Table(sections) = &mut tree.content
        && let Some(alerting) = sections.get_mut("alerting")
        && let tree::Content::Table(alerting) = &mut alerting.content
    {
        for name in UNAVAILABLE_ALERTING {
            taken.extend(alerting.remove(name).map(|_| format!("alerting.{name}")));
        }
        // It is read and checked, but not sent yet.
        if alerting.contains_key("summary") {
            taken.push("alerting.summary".to_owned());
        }
    }
    taken
}

/// Reads the tree, and whenever something is wrong reports it, takes it out and reads again. Each round takes a node
/// out or puts a default in the place of what was written, so the rounds end.
fn read(tree: &mut Node, problems: &mut Vec<Problem>) -> Option<Settings> {
    let defaults = tree::preset(DEFAULTS, Origin::Default).ok()?;
    loop {
        let error = match Settings::deserialize(&*tree) {
            Ok(settings) => return Some(settings),
            Err(error) => error,
        };
        let (key, origin) = error.at.unwrap_or_else(|| (String::new(), tree.origin.clone()));
        let node = tree.find_at(&key, &origin);
        let known = |node: &Node| {
            error
                .missing
                .is_some_and(|name| node.removed.iter().any(|key| key == name))
        };
        if !node.is_some_and(known) {
            problems.push(Problem {
                origin: node.map_or(&origin, Node::written).clone(),
                key: key.clone(),
                message: error.message,
            });
        }
        if !tree.repair(&key, &origin, &defaults) {
            return None;
        }
    }
}
