//! What an output can be told, and what it tells of itself.

use actix::prelude::*;
use serde::Serialize;

/// What an output is doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum OutputState {
    Running,
    /// What is stored waits.
    Paused,
    /// It sends what it can within a moment: the service is about to end.
    Stopping,
    Stopped,
}

/// Answered with what it is doing then.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Message)]
#[rtype(result = "OutputStatus")]
pub enum OutputCommand {
    Report,
    Pause,
    Resume,
    Stop,
}

impl OutputState {
    pub fn told(self, command: OutputCommand) -> Self {
        match (command, self) {
            (_, OutputState::Stopping | OutputState::Stopped) => self,
            (OutputCommand::Stop, _) => OutputState::Stopping,
            (OutputCommand::Pause, _) => OutputState::Paused,
            (OutputCommand::Resume, _) => OutputState::Running,
            (OutputCommand::Report, state) => state,
        }
    }
}

/// Since the start of the process.
#[derive(Debug, Clone, PartialEq, MessageResponse, Serialize, utoipa::ToSchema)]
pub struct OutputStatus {
    pub state: OutputState,
    /// Confirmed by the receiver.
    pub sent: Sent,
    /// Refused by the receiver for good, and skipped.
    pub refused: u64,
    /// Not sent within `keep` and `max_size`, and given up.
    pub dropped: u64,
    /// Times that sending failed and was tried again, and complaints of the client.
    pub errors: u64,
    /// What goes wrong; absent once something was sent again.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_error: Option<String>,
    /// When something was confirmed last.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_sent: Option<String>,
    /// As of a moment ago.
    pub waiting: WaitingRecords,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, utoipa::ToSchema)]
pub struct Sent {
    pub readings: u64,
    pub windows: u64,
    pub anomalies: u64,
    pub alerts: u64,
}

/// What is in the outbox and not sent.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, utoipa::ToSchema)]
pub struct WaitingRecords {
    /// Of the kinds that are sent; a filter is not taken into account.
    pub records: u64,
    pub bytes: u64,
    /// When the oldest of it was stored.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub since: Option<String>,
}
