//! What a source can be told, and what it tells of itself.

use actix::prelude::*;

use super::file::FilesStatus;
use super::http_poll::HttpPollStatus;
use super::kafka::KafkaStatus;
use super::listener::ListenerFigures;
use super::mqtt::MqttDetail;
use super::redis::RedisStatus;
use crate::domain::Timestamp;

/// What a source is doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum SourceState {
    Running,
    /// It may have no more under way, and waits.
    Waiting,
    Paused,
    /// It takes nothing more: the service is about to end.
    Stopping,
}

#[derive(Debug, Clone, PartialEq, MessageResponse, serde::Serialize, utoipa::ToSchema)]
pub struct SourceStatus {
    pub state: SourceState,
    /// Batches that are not stored yet.
    pub under_way: usize,
    pub delivered: u64,
    /// Batches that were sent again.
    pub retries: u64,
    /// What only sources of its kind have.
    #[serde(flatten)]
    #[schema(value_type = Object)]
    pub detail: Option<SourceDetail>,
}

/// What sources of one kind have to tell beside.
#[derive(Debug, Clone, PartialEq, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub enum SourceDetail {
    Files(FilesStatus),
    HttpPoll(HttpPollStatus),
    Kafka(KafkaStatus),
    Mqtt(MqttDetail),
    MqttListener(ListenerFigures),
    Redis(RedisStatus),
}

/// To go on reading elsewhere; answered when that is stored, with where each partition is then.
#[derive(Debug, Clone, PartialEq, Eq, Message)]
#[rtype(result = "Result<Vec<SeekedTo>, SeekError>")]
pub struct Seek {
    /// Such as `topic/3`; `None` is all that this process reads.
    pub partition: Option<String>,
    pub to: SeekTo,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SeekTo {
    Offset(i64),
    Earliest,
    Latest,
    /// The first message at or after a time.
    Time(Timestamp),
}

#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, utoipa::ToSchema)]
pub struct SeekedTo {
    pub partition: String,
    pub offset: i64,
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SeekError {
    #[error("this process does not read {0}; ask the one that does, or wait until it is assigned")]
    NotAssigned(String),
    #[error("another seek is under way")]
    Busy,
    #[error("it did not come to it: {0}")]
    Failed(String),
}

/// What a source can be told; answered with what it is doing then.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Message)]
#[rtype(result = "SourceStatus")]
pub enum SourceCommand {
    Report,
    Pause,
    Resume,
    Stop,
}

impl SourceState {
    /// What a source in this state does next, told so. One that is stopping goes on doing that.
    pub fn told(self, command: SourceCommand) -> Self {
        match (command, self) {
            (_, SourceState::Stopping) | (SourceCommand::Stop, _) => SourceState::Stopping,
            (SourceCommand::Pause, _) => SourceState::Paused,
            (SourceCommand::Resume, SourceState::Paused) => SourceState::Running,
            (SourceCommand::Report | SourceCommand::Resume, state) => state,
        }
    }
}
