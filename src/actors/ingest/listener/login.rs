//! The login: from the first byte to CONNACK.
//!
//! Invariants: who has not logged in gets no more than one packet, of limited size and within limited time, and takes over
//! nobody's session. A device that asks for more than we give (keep-alive, session) is told what it gets, where its version has
//! words for it.

use std::ops::Range;
use std::time::Duration;

use data_encoding::HEXLOWER;
use mqtt_protocol_core::mqtt::result_code::ConnectReasonCode;
use secrecy::ExposeSecret;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

use super::Shared;
use super::access::Grant;
use super::answers::{self, Welcome};
use super::connection::READ_BYTES;
use super::sessions::{Begin, Lease, Owner};
use super::wire::{Connect, Message, Packet, Reader, Version, Violation};
use crate::actors::ingest::{ArrivalKey, Session, SessionName};
use crate::domain::{Micros, Timestamp};

/// The longest client identifier, in bytes.
const MAX_CLIENT: usize = 256;

/// How much longer than its session it is remembered when messages came.
const MARGIN: Micros = 3_600_000_000;

/// A device that has logged in.
pub struct Device {
    pub version: Version,
    pub client: String,
    pub grant: Grant,
    pub will: Option<Message>,
    /// How long it may be silent; `None`: for ever.
    pub patience: Option<Duration>,
    pub lease: Lease,
    /// Whose packet ids it uses; `None` if it has no name to come again under.
    pub name: Option<SessionName>,
    /// When its messages came first, once that is read.
    pub memory: Option<Session>,
    /// How long that is kept after the last of them.
    pub kept: Micros,
    /// When its last message arrived.
    pub last: Timestamp,
    /// Under which key it is stored that it has a session, if it does.
    pub session: Option<ArrivalKey>,
    /// When that was sent on its way.
    pub marked: Option<Timestamp>,
}

/// Why there was no login.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NoLogin {
    #[error("the connection broke off")]
    Lost,
    #[error("{0}")]
    Violated(#[from] Violation),
    #[error("it is refused: {0}")]
    Refused(ConnectReasonCode),
}

/// Reads CONNECT and answers it. What came after it is left in `buffer`, in the range that is returned.
pub async fn login<S: AsyncRead + AsyncWrite + Unpin>(
    shared: &Shared,
    stream: &mut S,
    reader: &mut Reader,
    buffer: &mut [u8; READ_BYTES],
) -> Result<(Device, Range<usize>), NoLogin> {
    let (connect, unread) = match read(stream, reader, buffer).await {
        Err(NoLogin::Violated(Violation::Version)) => {
            // There is no telling what it understands; this is what 3.1.1 has for it.
            let code = ConnectReasonCode::UnsupportedProtocolVersion;
            return Err(refuse(stream, Version::V3, code).await);
        }
        read => read?,
    };
    let version = connect.version;
    match admit(shared, *connect).await {
        Ok((device, welcome)) => {
            let answer =
                answers::welcome(version, &welcome).map_err(|error| NoLogin::Violated(error.into()))?;
            reader.set_max_packet(shared.limits.max_packet);
            let sent = stream.write_all(&answer).await;
            let sent = match sent {
                Ok(()) => stream.flush().await,
                Err(error) => Err(error),
            };
            match sent {
                Ok(()) => Ok((device, unread)),
                Err(_) => Err(NoLogin::Lost),
            }
        }
        Err(code) => Err(refuse(stream, version, code).await),
    }
}

async fn read<S: AsyncRead + Unpin>(
    stream: &mut S,
    reader: &mut Reader,
    buffer: &mut [u8; READ_BYTES],
) -> Result<(Box<Connect>, Range<usize>), NoLogin> {
    loop {
        let end = stream.read(&mut buffer[..]).await.map_err(|_| NoLogin::Lost)?;
        if end == 0 {
            return Err(NoLogin::Lost);
        }
        let mut bytes = &buffer[..end];
        while !bytes.is_empty() {
            match reader.next(&mut bytes)? {
                Some(Packet::Connect(connect)) => return Ok((connect, end - bytes.len()..end)),
                Some(_) => return Err(NoLogin::Violated(Violation::Protocol)),
                None => {}
            }
        }
    }
}

async fn refuse<S: AsyncWrite + Unpin>(stream: &mut S, version: Version, code: ConnectReasonCode) -> NoLogin {
    if let Ok(answer) = answers::refuse(version, code) {
        // It may not listen any more.
        let _ = stream.write_all(&answer).await;
        let _ = stream.shutdown().await;
    }
    NoLogin::Refused(code)
}

async fn admit(shared: &Shared, connect: Connect) -> Result<(Device, Welcome), ConnectReasonCode> {
    let Connect { version, clean, .. } = connect;
    if connect.enhanced {
        return Err(ConnectReasonCode::BadAuthenticationMethod);
    }
    let nameless = connect.client.is_empty();
    if connect.client.len() > MAX_CLIENT || nameless && version == Version::V3 && !clean {
        return Err(ConnectReasonCode::ClientIdentifierNotValid);
    }
    let password = connect.password.as_ref().map(|password| password.expose_secret());
    let grant = shared.access.admit(connect.user.as_deref(), password).await?;
    if let Some(will) = &connect.will
        && (!grant.allows(&will.topic) || !shared.knows(&will.topic))
    {
        return Err(ConnectReasonCode::NotAuthorized);
    }
    let client = match nameless {
        true => made_up().ok_or(ConnectReasonCode::ServerUnavailable)?,
        false => connect.client,
    };
    let limits = &shared.limits;
    let kept = Duration::from_secs(connect.session_expiry.into()).min(limits.session_kept);
    let keep_alive = match connect.keep_alive {
        0 => limits.keep_alive,
        asked => asked.min(limits.keep_alive),
    };
    let owner = Owner {
        user: connect.user,
        client: client.clone(),
    };
    let session = ArrivalKey::mqtt_session(owner.user.as_deref(), &client);
    // Version 3.1.1 cannot tell a device what name it was given.
    let returns = !nameless || version == Version::V5;
    let name = returns.then(|| SessionName::device(owner.user.as_deref(), &client));
    let begin = match clean {
        true => Begin::Anew,
        false => begin(shared, &owner, &session).await?,
    };
    let lease = shared.sessions.open(owner, begin, kept);
    let memory = lease.state.lock().memory.clone();
    if let Some(memory) = &memory {
        memory.turn(true);
    }
    let kept_seconds = u32::try_from(kept.as_secs()).unwrap_or(u32::MAX);
    let welcome = Welcome {
        session_present: lease.present,
        assigned: nameless.then(|| client.clone()),
        receive_maximum: limits.receive_maximum,
        max_packet: limits.max_packet,
        keep_alive: (keep_alive != connect.keep_alive).then_some(keep_alive),
        session_expiry: (kept_seconds != connect.session_expiry).then_some(kept_seconds),
    };
    let device = Device {
        version,
        client,
        grant,
        will: connect.will,
        patience: Some(Duration::from_secs(keep_alive.into()).mul_f64(1.5)),
        lease,
        name,
        memory,
        // A connection may go on for a while after its last message.
        kept: Micros::try_from(kept.as_micros())
            .unwrap_or(Micros::MAX)
            .max(limits.redelivery)
            .saturating_add(MARGIN),
        last: Timestamp::MIN,
        session: (!kept.is_zero()).then_some(session),
        marked: None,
    };
    Ok((device, welcome))
}

/// Whether a session goes on of which memory may not know.
async fn begin(shared: &Shared, owner: &Owner, session: &ArrivalKey) -> Result<Begin, ConnectReasonCode> {
    if !shared.sessions.is_new(owner) {
        return Ok(Begin::Again);
    }
    let marked = shared.arrivals.stored(session).await.map_err(|error| {
        tracing::warn!(%error, "a device cannot log in: its session cannot be read");
        ConnectReasonCode::ServerUnavailable
    })?;
    let kept = i64::try_from(shared.limits.session_kept.as_micros()).unwrap_or(i64::MAX);
    let since = shared.intake.now().saturating_sub(kept);
    Ok(match marked {
        Some(marked) if marked >= since => Begin::Known,
        _ => Begin::Again,
    })
}

/// A name for a device that has none.
fn made_up() -> Option<String> {
    let mut bytes = [0; 12];
    getrandom::fill(&mut bytes).ok()?;
    Some(format!("auto-{}", HEXLOWER.encode(&bytes)))
}
