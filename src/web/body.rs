//! A JSON body: bounded, and JSON by its content type.
//!
//! Content types that a page of another origin may send without asking are refused, so that no form and no image can carry a
//! payload here. Invariant: never more than the limit is held; of what is too large a little more is read and thrown away,
//! so that the client hears the answer.

use actix_web::http::header;
use actix_web::{FromRequest, HttpRequest, dev, web};
use bytes::{Bytes, BytesMut};
use futures_util::StreamExt;
use futures_util::future::LocalBoxFuture;
use serde::de::DeserializeOwned;

use super::gate::Gate;
use super::problem::{FieldError, Kind, Problem};

/// How much of a body that is too large is read so that the client can hear of it.
const DRAINED: usize = 64 << 20;

/// The body of a request, whole.
pub struct Body(pub Bytes);

impl Body {
    /// Reads it as `T`; an empty body as if it were `{}`.
    pub fn json<T: DeserializeOwned>(&self) -> Result<T, Problem> {
        let bytes: &[u8] = if self.0.is_empty() { b"{}" } else { &self.0 };
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
        let limit = request
            .app_data::<web::Data<Gate>>()
            .map_or(0, |gate| gate.max_body);
        let mut payload = payload.take();
        Box::pin(async move {
            let (mut body, mut size) = (BytesMut::new(), 0);
            while let Some(chunk) = payload.next().await {
                let chunk = chunk.map_err(|error| Problem::new(Kind::BadRequest, error.to_string()))?;
                size += chunk.len();
                if size <= limit && checked.is_ok() {
                    body.extend_from_slice(&chunk);
                } else {
                    body = BytesMut::new();
                }
                if size > limit.saturating_add(DRAINED) {
                    break;
                }
            }
            checked?;
            if size > limit {
                let detail = format!("the body is larger than {limit} bytes (http.max_body)");
                return Err(Problem::new(Kind::TooLarge, detail));
            }
            Ok(Body(body.freeze()))
        })
    }
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
