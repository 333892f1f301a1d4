//! Where programs that write to InfluxDB can write to us instead, such as Telegraf: the same paths, the same answers.
//!
//! Invariants: 204 means that everything is stored. Where some lines were refused the answer is 400 and says "partial write", and
//! the others are stored: their senders drop such a batch and do not send it again. What may be sent again is answered by 503, not
//! 429, because Telegraf's output for version 1 takes every 4xx for a batch to be dropped.

use actix_web::http::{StatusCode, header};
use actix_web::web::{Data, Query};
use actix_web::{HttpRequest, HttpResponse, HttpResponseBuilder, ResponseError};
use serde::Serialize;

use super::ingest::{precision, taken};
use crate::actors::ingest::Ingested;
use crate::decode::TimeUnit;
use crate::web::auth::{Access, Role};
use crate::web::body::AnyBody;
use crate::web::endpoint::Endpoint;
use crate::web::problem::{Kind, Problem};
use crate::web::state::AppState;

/// Refused lines that an answer tells of.
const TOLD: usize = 5;

pub fn endpoints() -> [Endpoint; 3] {
    let access = Access::Local(Role::Operator);
    [
        Endpoint::new("/api/v2/write", access).post(write),
        Endpoint::new("/write", access).post(write_v1),
        Endpoint::new("/query", access).post(query),
    ]
}

/// What is wrong, in the words of both versions.
#[derive(Debug, Serialize, utoipa::ToSchema)]
pub struct InfluxError {
    /// As version 2 tells kinds apart: `invalid`, `request too large`, `unavailable`, `internal error`.
    code: &'static str,
    message: String,
    /// The same, where version 1 has it.
    error: String,
}

/// Line protocol, as it is written to InfluxDB 2.
#[utoipa::path(post, path = "/api/v2/write", tag = "Ingest",
    params(
        ("precision" = Option<String>, Query, description = "What times count: ns (default), us, ms, s"),
        ("bucket" = Option<String>, Query, description = "Ignored, as every other parameter"),
    ),
    request_body(content = String, content_type = "text/plain",
        description = "Lines; the content type does not matter. May be compressed (`Content-Encoding: gzip`)",
        example = "boiler,sensor_id=s1 temperature=21.5 1730332800000000000"),
    responses(
        (status = 204, description = "All stored, or known already"),
        (status = 400, description = "Some lines were refused, the others are stored", body = InfluxError),
        (status = 413, description = "Too large", body = InfluxError),
        (status = 503, description = "No room, or not known to be stored: send it again", body = InfluxError),
    ))]
pub async fn write(
    state: Data<AppState>,
    request: HttpRequest,
    body: Result<AnyBody, Problem>,
) -> HttpResponse {
    answer(&state, &request, body).await
}

/// Line protocol, as it is written to InfluxDB 1. `precision` may be `n` and `u`, too.
#[utoipa::path(post, path = "/write", tag = "Ingest",
    params(
        ("precision" = Option<String>, Query, description = "What times count: ns (default), us, ms, s"),
        ("db" = Option<String>, Query, description = "Ignored, as every other parameter"),
    ),
    request_body(content = String, content_type = "text/plain", description = "As for `/api/v2/write`"),
    responses(
        (status = 204, description = "All stored, or known already"),
        (status = 400, description = "Some lines were refused, the others are stored", body = InfluxError),
        (status = 413, description = "Too large", body = InfluxError),
        (status = 503, description = "No room, or not known to be stored: send it again", body = InfluxError),
    ))]
pub async fn write_v1(
    state: Data<AppState>,
    request: HttpRequest,
    body: Result<AnyBody, Problem>,
) -> HttpResponse {
    answer(&state, &request, body).await
}

/// `CREATE DATABASE`, with which writers of version 1 begin; it does nothing, and nothing else is understood.
#[utoipa::path(post, path = "/query", tag = "Ingest",
    request_body(content = String, content_type = "application/x-www-form-urlencoded", description = "`q=CREATE DATABASE \"name\"`"),
    responses(
        (status = 200, description = "There is nothing to create"),
        (status = 400, description = "Another statement", body = InfluxError),
    ))]
pub async fn query(request: HttpRequest, body: Result<AnyBody, Problem>) -> HttpResponse {
    let body = match body {
        Ok(AnyBody(body)) => body,
        Err(problem) => return failed(&problem),
    };
    let form = String::from_utf8_lossy(&body.bytes);
    let statement = parameter(&form, "q").or_else(|| parameter(request.query_string(), "q"));
    let creates = statement.is_some_and(|statement| {
        let mut words = statement.split_ascii_whitespace();
        ["create", "database"]
            .into_iter()
            .all(|wanted| words.next().is_some_and(|word| word.eq_ignore_ascii_case(wanted)))
    });
    match creates {
        true => HttpResponse::Ok().json(serde_json::json!({"results": [{"statement_id": 0}]})),
        false => told(
            StatusCode::BAD_REQUEST,
            "nothing but CREATE DATABASE is understood here; readings are read at /api".to_owned(),
        ),
    }
}

async fn answer(state: &AppState, request: &HttpRequest, body: Result<AnyBody, Problem>) -> HttpResponse {
    let unit = match parameter(request.query_string(), "precision").as_deref() {
        None | Some("" | "n") => Some(TimeUnit::Ns),
        Some("u" | "µ") => Some(TimeUnit::Us),
        Some(text) => precision(text),
    };
    let Some(unit) = unit else {
        return told(
            StatusCode::BAD_REQUEST,
            "precision must be ns, us, ms or s".to_owned(),
        );
    };
    let body = match body {
        Ok(AnyBody(body)) => body,
        Err(problem) => return failed(&problem),
    };
    let mut outcome = Ingested::default();
    let taking = async {
        outcome = state.ingest.ingest_lines(&body.bytes, unit, None).await?;
        Ok(outcome.clone())
    };
    match taken(state, taking).await {
        Err(problem) if problem.kind() != Kind::NothingStored => failed(&problem),
        _ if outcome.errors.is_empty() => HttpResponse::NoContent().finish(),
        _ => told(StatusCode::BAD_REQUEST, partial(&outcome)),
    }
}

fn partial(outcome: &Ingested) -> String {
    let mut message = String::from("partial write: ");
    for error in outcome.errors.iter().take(TOLD) {
        let field = error.field.escape_debug();
        message.push_str(&format!("line {}: `{field}` {}; ", error.index + 1, error.reason));
    }
    message.push_str(&format!("dropped={}", outcome.rejected));
    message
}

fn failed(problem: &Problem) -> HttpResponse {
    match problem.kind() {
        Kind::Busy | Kind::Unavailable | Kind::Undelivered => {
            told(StatusCode::SERVICE_UNAVAILABLE, problem.to_string())
        }
        _ => told(problem.status_code(), problem.to_string()),
    }
}

fn told(status: StatusCode, message: String) -> HttpResponse {
    let mut builder = HttpResponseBuilder::new(status);
    if status == StatusCode::SERVICE_UNAVAILABLE {
        builder.insert_header((header::RETRY_AFTER, "1"));
    }
    builder.json(InfluxError {
        code: match status.as_u16() {
            413 => "request too large",
            503 => "unavailable",
            500 => "internal error",
            _ => "invalid",
        },
        error: message.clone(),
        message,
    })
}

fn parameter(query: &str, name: &str) -> Option<String> {
    let pairs = Query::<Vec<(String, String)>>::from_query(query)
        .ok()?
        .into_inner();
    pairs
        .into_iter()
        .find_map(|(key, value)| (key == name).then_some(value))
}
