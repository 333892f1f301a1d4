//! The beginning of a connection: from an address to a session that the broker has accepted.
//!
//! How it fails: in words for people, with what to look at.

use std::time::Duration;

use bytes::BytesMut;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::frames::{Frame, Frames};
use super::packets::{Hello, Malformed, Packet};
use super::transport::{self, Transport, TransportError};
use super::{Broker, MqttOptions};
use crate::storage::StoreError;

/// How long a broker may take to accept us.
const PATIENCE: Duration = Duration::from_secs(15);

/// A connection that the broker has accepted.
pub struct Session {
    pub stream: Box<dyn Transport>,
    pub frames: Frames,
    /// Whether the broker knew us.
    pub present: bool,
    pub keep_alive: Duration,
    /// Messages that we may have under way to the broker.
    pub receive_maximum: u16,
}

/// Why there is no connection, or not any more.
#[derive(Debug, thiserror::Error)]
pub enum LinkError {
    #[error(transparent)]
    Transport(#[from] TransportError),
    #[error("the broker did not answer within {PATIENCE:?}")]
    Late,
    #[error(
        "the broker refuses the connection: {0}; see `username`, `password_file`, `client_id` and `version`"
    )]
    Refused(String),
    #[error(transparent)]
    Malformed(#[from] Malformed),
    #[error("the connection broke: {0}")]
    Io(#[from] std::io::Error),
    #[error(
        "the broker closed the connection without a word, as when another client has the same `client_id`"
    )]
    Closed,
    #[error("the broker ended the connection: {0}")]
    Goodbye(String),
    #[error("the broker has been silent for longer than `keep_alive`")]
    Silent,
    #[error("the broker refuses every topic: {0}")]
    Unsubscribed(String),
    #[error("a batch was undelivered, its messages are asked for again")]
    Undelivered,
    #[error("the broker does not take messages: {0}")]
    NotTaken(String),
    #[error("the database cannot be asked what was received before: {0}")]
    Store(#[from] StoreError),
}

pub async fn open(broker: &Broker, options: &MqttOptions, client_id: &str) -> Result<Session, LinkError> {
    tokio::time::timeout(PATIENCE, begin(broker, options, client_id))
        .await
        .unwrap_or(Err(LinkError::Late))
}

async fn begin(broker: &Broker, options: &MqttOptions, client_id: &str) -> Result<Session, LinkError> {
    let password = match &options.password_file {
        None => String::new(),
        Some(path) => {
            let text = transport::read(path).await?;
            String::from_utf8_lossy(&text)
                .trim_end_matches(['\r', '\n'])
                .to_owned()
        }
    };
    let hello = Hello {
        client_id: client_id.to_owned(),
        keep_session: options.keeps_session(),
        keep_alive: u16::try_from(options.keep_alive.as_secs())
            .unwrap_or(u16::MAX)
            .max(1),
        login: options.username.clone().map(|name| (name, password)),
        session_expiry: u32::try_from(options.session_expiry.as_secs()).unwrap_or(u32::MAX),
        receive_maximum: options.receive_maximum,
    };
    let mut stream = transport::open(broker, &options.tls).await?;
    let mut out = BytesMut::new();
    options.version.hello(hello, &mut out)?;
    stream.write_all(&out).await?;
    stream.flush().await?;
    let mut frames = Frames::new(options.version, options.max_packet);
    loop {
        if let Some(frame) = frames.next()? {
            let Frame::Whole(frame) = frame else {
                return Err(Malformed("a message before the connection was accepted".to_owned()).into());
            };
            return match options.version.read(frame)? {
                Packet::Accepted {
                    session_present,
                    keep_alive,
                    receive_maximum,
                } => Ok(Session {
                    stream,
                    frames,
                    present: session_present,
                    keep_alive: keep_alive.map_or(options.keep_alive, |seconds| {
                        Duration::from_secs(u64::from(seconds.max(1)))
                    }),
                    receive_maximum: receive_maximum.unwrap_or(u16::MAX).max(1),
                }),
                Packet::Refused(why) => Err(LinkError::Refused(why)),
                Packet::Goodbye(why) => Err(LinkError::Goodbye(why)),
                _ => Err(Malformed("another packet than the answer to the first".to_owned()).into()),
            };
        }
        if stream.read_buf(frames.buffer()).await? == 0 {
            return Err(LinkError::Closed);
        }
    }
}
