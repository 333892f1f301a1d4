//! What a source can be told, and what it tells of itself.

use actix::prelude::*;

use super::mqtt::MqttDetail;

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
    Mqtt(MqttDetail),
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
