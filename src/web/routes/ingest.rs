//! Readings pushed over HTTP. An answer of 2xx means stored.

use actix_web::web::Data;
use actix_web::{HttpRequest, HttpResponse};

use crate::actors::ingest::{IngestError, Ingested};
use crate::decode::TimeUnit;
use crate::domain::RejectReason;
use crate::web::auth::{Access, Role};
use crate::web::body::Readings;
use crate::web::endpoint::Endpoint;
use crate::web::params::Params;
use crate::web::problem::{FieldError, Kind, Problem};
use crate::web::state::AppState;

/// The longest idempotency key, in bytes.
const MAX_KEY: usize = 200;

pub fn endpoints() -> [Endpoint; 1] {
    [Endpoint::new("/api/ingest", Access::Local(Role::Operator)).post(ingest)]
}

/// Stores readings; answers when they are stored.
#[utoipa::path(post, path = "/api/ingest", tag = "Ingest",
    params(
        ("Idempotency-Key" = Option<String>, Header,
            description = "1 to 200 visible ASCII characters. Readings without a time get that of the first request with this key, \
                           so that a request sent again is recognized."),
        ("precision" = Option<String>, Query, description = "What the times of line protocol count: ns (default), us, ms, s"),
    ),
    request_body(
        description = "JSON: an object, an array of objects, or {\"items\": [...]}. Text: line protocol. Either may be compressed \
                       (`Content-Encoding: gzip`).",
        content(
            (serde_json::Value = "application/json",
                example = json!({"sensor_id": "s1", "metric": "temperature", "value": 21.5, "timestamp": 1730332800123i64, "unit": "C"})),
            (String = "text/plain", example = "boiler,sensor_id=s1 temperature=21.5 1730332800000000000"),
        )),
    responses(
        (status = 200, description = "All stored, or known already", body = Ingested),
        (status = 207, description = "Some stored, some refused: see `errors`", body = Ingested),
        (status = 400, description = "Not JSON", body = Problem, content_type = "application/problem+json"),
        (status = 413, description = "Too large", body = Problem, content_type = "application/problem+json"),
        (status = 415, description = "Another content type", body = Problem, content_type = "application/problem+json"),
        (status = 422, description = "Every item was refused", body = Problem, content_type = "application/problem+json"),
        (status = 429, description = "No room at the moment", body = Problem, content_type = "application/problem+json"),
        (status = 503, description = "Not known to be stored: send it again", body = Problem, content_type = "application/problem+json"),
    ))]
pub async fn ingest(
    state: Data<AppState>,
    request: HttpRequest,
    readings: Readings,
) -> Result<HttpResponse, Problem> {
    let mut params = Params::read(&request, if readings.lines { &["precision"] } else { &[] })?;
    let unit = params.parsed("precision", "must be ns, us, ms or s", precision);
    params.finish()?;
    let key = idempotency_key(&request)?;
    let bytes = &readings.body.bytes;
    let ingested = if readings.lines {
        let taking = state
            .ingest
            .ingest_lines(bytes, unit.unwrap_or(TimeUnit::Ns), key);
        taken(&state, taking).await
    } else {
        taken(&state, state.ingest.ingest(bytes, key)).await
    };
    ingested.map(answer)
}

/// What times of line protocol count.
pub fn precision(text: &str) -> Option<TimeUnit> {
    Some(match text {
        "ns" => TimeUnit::Ns,
        "us" => TimeUnit::Us,
        "ms" => TimeUnit::Ms,
        "s" => TimeUnit::S,
        _ => return None,
    })
}

/// What a payload came to, or why nothing of it was stored. Nothing is taken in any more once the drain has begun.
pub async fn taken(
    state: &AppState,
    taking: impl Future<Output = Result<Ingested, IngestError>>,
) -> Result<Ingested, Problem> {
    if state.draining() {
        return Err(Problem::new(Kind::Unavailable, "the service is about to stop").retry_after(5));
    }
    let ingested = taking.await.map_err(refusal)?;
    if ingested.received > 0 && ingested.stored == 0 && ingested.duplicates == 0 {
        return Err(nothing_stored(&ingested));
    }
    Ok(ingested)
}

fn answer(ingested: Ingested) -> HttpResponse {
    if ingested.errors.is_empty() {
        HttpResponse::Ok().json(ingested)
    } else {
        HttpResponse::MultiStatus().json(ingested)
    }
}

fn nothing_stored(ingested: &Ingested) -> Problem {
    let errors: Vec<FieldError> = ingested.errors.iter().map(FieldError::from).collect();
    // Refused as a whole, before any item was looked at.
    let whole = match ingested.errors.as_slice() {
        [only] if only.field == "payload" || only.kind == RejectReason::Undecodable => Some(only),
        _ => None,
    };
    let problem = match whole {
        Some(only) if only.kind == RejectReason::Undecodable => Problem::new(
            Kind::NotJson,
            format!("`{}` {}", only.field.escape_debug(), only.reason),
        ),
        Some(only) if only.kind == RejectReason::LimitReached => {
            Problem::new(Kind::TooLarge, format!("the payload {}", only.reason))
        }
        _ => Problem::new(
            Kind::NothingStored,
            "nothing was stored: each item is refused for a reason of its own",
        ),
    };
    problem
        .errors(errors)
        .with("received", ingested.received)
        .with("rejected", ingested.rejected)
}

fn refusal(error: IngestError) -> Problem {
    let detail = error.to_string();
    match error {
        IngestError::TooManyReadings { .. } | IngestError::TooLarge(_) => {
            Problem::new(Kind::TooLarge, detail)
        }
        IngestError::Shared => Problem::new(Kind::Conflict, detail),
        IngestError::Busy => Problem::new(Kind::Busy, detail).retry_after(1),
        IngestError::Undelivered => Problem::new(Kind::Undelivered, detail).retry_after(1),
        IngestError::TimedOut => Problem::new(Kind::Undelivered, detail).retry_after(5),
        IngestError::Store(error) => error.into(),
    }
}

fn idempotency_key(request: &HttpRequest) -> Result<Option<&str>, Problem> {
    let mut keys = request.headers().get_all("idempotency-key");
    let (Some(key), more) = (keys.next(), keys.next()) else {
        return Ok(None);
    };
    let visible =
        |key: &&str| (1..=MAX_KEY).contains(&key.len()) && key.bytes().all(|b| b.is_ascii_graphic());
    match key.to_str().ok().filter(visible) {
        Some(key) if more.is_none() => Ok(Some(key)),
        _ => {
            let reason = format!("must be one, of 1 to {MAX_KEY} visible ASCII characters");
            let error = FieldError::new("Idempotency-Key", "invalid", reason.clone());
            let detail = format!("`Idempotency-Key` {reason}");
            Err(Problem::new(Kind::InvalidParameters, detail).errors(vec![error]))
        }
    }
}
