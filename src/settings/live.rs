//! `[live]`: the WebSocket at `/ws/realtime`.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::units;

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LiveSettings {
    /// Connections at once, in all and from one client address.
    #[serde(deserialize_with = "units::between::<0, 1_000_000, _, _>")]
    pub max_connections: u32,
    #[serde(deserialize_with = "units::between::<0, 1_000_000, _, _>")]
    pub max_connections_per_client: u32,
    /// Of one connection.
    #[serde(deserialize_with = "units::between::<1, 1_000, _, _>")]
    pub max_subscriptions: u32,
    /// Bytes that may wait for one client.
    #[serde(with = "units::size")]
    pub max_queue: u64,
    /// How long a client may take nothing of what waits for it.
    #[serde(with = "units::interval")]
    pub slow_after: Duration,
    /// The longest message of a client, in bytes.
    #[serde(with = "units::size")]
    pub max_message: u64,
    /// Messages of one client, on average; a few more at once.
    #[serde(deserialize_with = "units::between::<1, 10_000, _, _>")]
    pub messages_per_second: u32,
    #[serde(with = "units::interval")]
    pub ping_interval: Duration,
    /// A client that sends nothing for so long, not even an answer to a ping, is closed.
    #[serde(with = "units::interval")]
    pub ping_timeout: Duration,
}
