//! A JSON body: bounded, and JSON by its content type.
//!
//! Content types that a page of another origin may send without asking are refused, so that no form and no image can carry a
//! payload here. Invariants: never more than the limit is held of one body, nor more than the gate's room of all together. Of
//! what is refused more is read and thrown away, within bounds, so that the client hears the answer.

use std::sync::Arc;

use actix_web::http::header;
use actix_web::{FromRequest, HttpRequest, dev, web};
use bytes::{Bytes, BytesMut};
use futures_util::StreamExt;
use futures_util::future::LocalBoxFuture;
use serde::de::DeserializeOwned;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::gate::Gate;
use super::problem::{FieldError, Kind, Problem};

/// How much of a body that is too large is read so that the client can hear of it.
const DRAINED: usize = 64 << 20;

/// The body of a request, whole. It gives its room back on drop.
pub struct Body {
    pub bytes: Bytes,
    _room: Option<OwnedSemaphorePermit>,
}

impl Body {
    /// Reads it as `T`; an empty body as if it were `{}`.
    pub fn json<T: DeserializeOwned>(&self) -> Result<T, Problem> {
        let bytes: &[u8] = if self.bytes.is_empty() { b"{}" } else { &self.bytes };
        let mut deserializer = serde_json::Deserializer::from_slice(bytes);
        let read = serde_path_to_error::deserialize(&mut deserializer);
        let read = read.map_err(|error| (error.path().to_string(), error.into_inner()));
        let ended = read.and_then(|value| match deserializer.end() {
            Ok(()) => Ok(value),
            Err(error) => Err((".".to_owned(), error)),
        });
        ended.map_err(|(path, error)| {
            let reason = error.to_string();
            if error.is_data() {
                let field = if path == "." { "payload".to_owned() } else { path };
                let errors = vec![FieldError::new(field, "invalid", reason.clone())];
                Problem::new(Kind::InvalidParameters, reason).errors(errors)
            } else {
                Problem::new(Kind::NotJson, reason)
            }
        })
    }
}

impl FromRequest for Body {
    type Error = Problem;
    type Future = LocalBoxFuture<'static, Result<Self, Problem>>;

    fn from_request(request: &HttpRequest, payload: &mut dev::Payload) -> Self::Future {
        let checked = check_type(request);
        let gate = request.app_data::<web::Data<Gate>>();
        let (limit, room) = match gate {
            Some(gate) => (gate.max_body, gate.room.clone()),
            None => (0, Arc::new(Semaphore::new(0))),
        };
        let mut payload = payload.take();
        Box::pin(async move {
            let mut refused = checked.err();
            let (mut bytes, mut size) = (BytesMut::new(), 0_usize);
            let mut held: Option<OwnedSemaphorePermit> = None;
            while let Some(chunk) = payload.next().await {
                let chunk = chunk.map_err(|error| Problem::new(Kind::BadRequest, error.to_string()))?;
                size = size.saturating_add(chunk.len());
                if size > limit && refused.is_none() {
                    let detail = format!("the body is larger than {limit} bytes (http.max_body)");
                    refused = Some(Problem::new(Kind::TooLarge, detail));
                }
                if refused.is_none() {
                    match take_room(&room, &mut held, chunk.len()) {
                        Ok(()) => bytes.extend_from_slice(&chunk),
                        Err(problem) => refused = Some(problem),
                    }
                }
                if refused.is_some() {
                    (bytes, held) = (BytesMut::new(), None);
                }
                if size > limit.saturating_add(DRAINED) {
                    break;
                }
            }
            match refused {
                Some(problem) => Err(problem),
                None => Ok(Body {
                    bytes: bytes.freeze(),
                    _room: held,
                }),
            }
        })
    }
}

fn take_room(
    room: &Arc<Semaphore>,
    held: &mut Option<OwnedSemaphorePermit>,
    bytes: usize,
) -> Result<(), Problem> {
    let bytes = u32::try_from(bytes).unwrap_or(u32::MAX);
    let Ok(more) = room.clone().try_acquire_many_owned(bytes) else {
        let detail = "as many bytes as allowed are on their way in, come again";
        return Err(Problem::new(Kind::Busy, detail).retry_after(1));
    };
    match held {
        Some(held) => held.merge(more),
        None => *held = Some(more),
    }
    Ok(())
}

fn check_type(request: &HttpRequest) -> Result<(), Problem> {
    let refuse = |detail: &str| Err(Problem::new(Kind::UnsupportedMediaType, detail));
    let mut types = request.headers().get_all(header::CONTENT_TYPE);
    let kind = match (types.next(), types.next()) {
        (None, _) => "",
        (Some(kind), None) => kind.to_str().unwrap_or("?"),
        _ => "?",
    };
    let kind = kind.split(';').next().unwrap_or_default().trim();
    if !["", "application/json", "text/json"]
        .iter()
        .any(|taken| kind.eq_ignore_ascii_case(taken))
    {
        return refuse("send JSON with `Content-Type: application/json`");
    }
    match request.headers().get(header::CONTENT_ENCODING) {
        Some(encoding) if encoding != "identity" => refuse("send the body uncompressed"),
        _ => Ok(()),
    }
}
