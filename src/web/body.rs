//! Bodies: bounded, and of a content type that is expected.
//!
//! Where JSON is, content types that a page of another origin may send without asking are refused, so that no form and no image
//! can carry a payload here. Line protocol has such a type, and its old clients say none or any: there the gate's look at the
//! origin has to do. Invariants: never more than the limit is held of one body, nor more than the gate's room of all together. Of
//! what is refused more is read and thrown away, within bounds, so that the client hears the answer.

use std::io::Read;
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

/// A JSON body, whole. It gives its room back on drop.
pub struct Body {
    pub bytes: Bytes,
    _room: Option<OwnedSemaphorePermit>,
}

/// A body of readings: JSON, or line protocol where it is `text/plain`. Both may be compressed.
pub struct Readings {
    pub body: Body,
    pub lines: bool,
}

/// A body of whatever content type, perhaps compressed.
pub struct AnyBody(pub Body);

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
        let checked = match (kind(request), encoding(request)) {
            (Type::Json, Ok(Encoding::Identity)) => Ok(Encoding::Identity),
            (Type::Json, _) => refuse("send the body uncompressed"),
            _ => refuse("send JSON with `Content-Type: application/json`"),
        };
        Box::pin(receive(request, payload, checked))
    }
}

impl FromRequest for Readings {
    type Error = Problem;
    type Future = LocalBoxFuture<'static, Result<Self, Problem>>;

    fn from_request(request: &HttpRequest, payload: &mut dev::Payload) -> Self::Future {
        let kind = kind(request);
        let checked = match kind {
            Type::Json | Type::Text => encoding(request),
            Type::Other => {
                refuse("send JSON with `Content-Type: application/json`, or line protocol with `text/plain`")
            }
        };
        let received = receive(request, payload, checked);
        Box::pin(async move {
            Ok(Readings {
                body: received.await?,
                lines: kind == Type::Text,
            })
        })
    }
}

impl FromRequest for AnyBody {
    type Error = Problem;
    type Future = LocalBoxFuture<'static, Result<Self, Problem>>;

    fn from_request(request: &HttpRequest, payload: &mut dev::Payload) -> Self::Future {
        let received = receive(request, payload, encoding(request));
        Box::pin(async move { Ok(AnyBody(received.await?)) })
    }
}

/// Reads a body to its end, whatever is wrong with it.
fn receive(
    request: &HttpRequest,
    payload: &mut dev::Payload,
    checked: Result<Encoding, Problem>,
) -> impl Future<Output = Result<Body, Problem>> + use<> {
    let (limit, room) = match request.app_data::<web::Data<Gate>>() {
        Some(gate) => (gate.max_body, gate.room.clone()),
        None => (0, Arc::new(Semaphore::new(0))),
    };
    let mut payload = payload.take();
    async move {
        let (encoding, mut refused) = match checked {
            Ok(encoding) => (encoding, None),
            Err(problem) => (Encoding::Identity, Some(problem)),
        };
        let (mut bytes, mut size) = (BytesMut::new(), 0_usize);
        let mut held: Option<OwnedSemaphorePermit> = None;
        while let Some(chunk) = payload.next().await {
            let chunk = chunk.map_err(|error| Problem::new(Kind::BadRequest, error.to_string()))?;
            size = size.saturating_add(chunk.len());
            if size > limit && refused.is_none() {
                refused = Some(too_large(limit));
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
        if let Some(problem) = refused {
            return Err(problem);
        }
        let bytes = match encoding {
            Encoding::Identity => bytes.freeze(),
            Encoding::Gzip => inflate(&bytes, limit, &room, &mut held)?,
        };
        Ok(Body { bytes, _room: held })
    }
}

/// What is compressed counts against the same limits as what is not: a small body that would be a large one is refused as soon
/// as it is one.
fn inflate(
    compressed: &[u8],
    limit: usize,
    room: &Arc<Semaphore>,
    held: &mut Option<OwnedSemaphorePermit>,
) -> Result<Bytes, Problem> {
    let mut decoder = flate2::read::MultiGzDecoder::new(compressed);
    let mut bytes = BytesMut::new();
    let mut chunk = [0; 16 << 10];
    loop {
        let broken = |error| Problem::new(Kind::BadRequest, format!("the body is no gzip: {error}"));
        match decoder.read(&mut chunk).map_err(broken)? {
            0 => return Ok(bytes.freeze()),
            count if bytes.len() + count > limit => return Err(too_large(limit)),
            count => {
                take_room(room, held, count)?;
                bytes.extend_from_slice(&chunk[..count]);
            }
        }
    }
}

fn too_large(limit: usize) -> Problem {
    let detail = format!("the body is larger than {limit} bytes (http.max_body)");
    Problem::new(Kind::TooLarge, detail)
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

#[derive(Clone, Copy, PartialEq, Eq)]
enum Type {
    /// Also where none is said.
    Json,
    Text,
    Other,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Encoding {
    Identity,
    Gzip,
}

fn kind(request: &HttpRequest) -> Type {
    let mut types = request.headers().get_all(header::CONTENT_TYPE);
    let kind = match (types.next(), types.next()) {
        (None, _) => "",
        (Some(kind), None) => kind.to_str().unwrap_or("?"),
        _ => "?",
    };
    let kind = kind.split(';').next().unwrap_or_default().trim();
    let is = |taken: &[&str]| taken.iter().any(|taken| kind.eq_ignore_ascii_case(taken));
    if is(&["", "application/json", "text/json"]) {
        Type::Json
    } else if is(&["text/plain"]) {
        Type::Text
    } else {
        Type::Other
    }
}

fn encoding(request: &HttpRequest) -> Result<Encoding, Problem> {
    let mut encodings = request.headers().get_all(header::CONTENT_ENCODING);
    let is = |encoding: &header::HeaderValue, taken: &str| {
        encoding.as_bytes().eq_ignore_ascii_case(taken.as_bytes())
    };
    match (encodings.next(), encodings.next()) {
        (None, _) => Ok(Encoding::Identity),
        (Some(encoding), None) if is(encoding, "identity") => Ok(Encoding::Identity),
        (Some(encoding), None) if is(encoding, "gzip") || is(encoding, "x-gzip") => Ok(Encoding::Gzip),
        _ => refuse("send the body uncompressed, or compressed by gzip"),
    }
}

fn refuse(detail: &str) -> Result<Encoding, Problem> {
    Err(Problem::new(Kind::UnsupportedMediaType, detail))
}
