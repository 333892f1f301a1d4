//! Commands on a source.

use actix_web::HttpResponse;
use actix_web::web::{Data, Json, Path};
use chrono::DateTime;
use serde::{Deserialize, Serialize};

use super::super::sources::{SourceBody, describe};
use super::{ADMIN, Why, audit};
use crate::actors::ingest::{Seek, SeekTo, SeekedTo, SourceCommand};
use crate::domain::Timestamp;
use crate::web::auth::Caller;
use crate::web::body::Body;
use crate::web::endpoint::Endpoint;
use crate::web::problem::{FieldError, Kind, Problem};
use crate::web::state::AppState;

pub fn endpoints() -> [Endpoint; 2] {
    [
        Endpoint::new("/api/admin/sources/{name}/seek", ADMIN).post(seek),
        Endpoint::new("/api/admin/sources/{name}/{command}", ADMIN).post(command),
    ]
}

/// Where a source shall read on: `offset`, or `to`.
#[derive(Debug, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct SeekBody {
    /// Such as `topic/3`; without it, all that the source reads. Needed with `offset`.
    partition: Option<String>,
    /// The offset of the next message to read.
    offset: Option<i64>,
    /// `earliest`, `latest`, or a time as RFC 3339: the first message at or after it.
    to: Option<String>,
    /// For the audit log; up to 1,000 bytes.
    #[serde(default)]
    why: String,
}

#[derive(Debug, Serialize, utoipa::ToSchema)]
pub struct Seeked {
    /// Where each partition is read on. An offset that is not there was brought to the nearest one that is.
    partitions: Vec<SeekedTo>,
    note: &'static str,
}

impl SeekBody {
    fn seek(self) -> Result<(Seek, String), Problem> {
        let wrong = |field: &'static str, reason: &str| {
            let error = FieldError::new(field, "invalid", reason.to_owned());
            Problem::new(Kind::InvalidParameters, format!("`{field}` {reason}")).errors(vec![error])
        };
        let to = match (self.offset, self.to.as_deref()) {
            (Some(_), Some(_)) => return Err(wrong("to", "does not go with `offset`")),
            (None, None) => return Err(wrong("to", "or `offset` is needed")),
            (Some(_), None) if self.partition.is_none() => {
                return Err(wrong("partition", "is needed with `offset`"));
            }
            (Some(offset), None) if offset < 0 => return Err(wrong("offset", "must not be below zero")),
            (Some(offset), None) => SeekTo::Offset(offset),
            (None, Some("earliest")) => SeekTo::Earliest,
            (None, Some("latest")) => SeekTo::Latest,
            (None, Some(time)) => match DateTime::parse_from_rfc3339(time) {
                Ok(time) => SeekTo::Time(Timestamp(time.timestamp_micros())),
                Err(_) => {
                    let reason = "must be `earliest`, `latest` or a time such as `2026-05-01T08:00:00Z`";
                    return Err(wrong("to", reason));
                }
            },
        };
        let why = Why { why: self.why }.checked()?;
        let partition = self.partition;
        Ok((Seek { partition, to }, why))
    }
}

/// Has a source read on from elsewhere. What is read again is recognized as stored; what is skipped stays unread.
#[utoipa::path(post, path = "/api/admin/sources/{name}/seek", tag = "Admin",
    params(("name" = String, Path, description = "The source's name")),
    request_body(content = SeekBody),
    responses(
        (status = 200, description = "The new positions are stored", body = Seeked),
        (status = 404, description = "No such source, or it does not read the partition", body = Problem, content_type = "application/problem+json"),
        (status = 409, description = "The source has no positions, or another seek is under way", body = Problem, content_type = "application/problem+json"),
    ))]
pub async fn seek(
    state: Data<AppState>,
    path: Path<String>,
    caller: Caller,
    body: Body,
) -> Result<Json<Seeked>, Problem> {
    let name = path.into_inner();
    let (seek, why) = body.json::<SeekBody>()?.seek()?;
    let found = state.sources.get(name.as_str());
    let source = found.ok_or_else(|| Problem::new(Kind::NotFound, "there is no source of this name"))?;
    let which = seek.partition.as_deref().unwrap_or("all");
    let detail = format!("{which} to {:?} {why}", seek.to);
    audit(&state, &caller, "source.seek", &name, detail.trim_end()).await;
    let partitions = source.seek(seek).await?;
    Ok(Json(Seeked {
        partitions,
        note: "readings that come again are recognized as duplicates and change nothing; those of closed windows that are \
               new are stored as late, and their windows computed again",
    }))
}

/// Pauses, resumes or restarts a source.
#[utoipa::path(post, path = "/api/admin/sources/{name}/{command}", tag = "Admin",
    params(
        ("name" = String, Path, description = "The source's name"),
        ("command" = String, Path, description = "`pause`, `resume` or `restart`"),
    ),
    request_body(content = Option<Why>),
    responses(
        (status = 202, description = "The source was told", body = SourceBody),
        (status = 404, description = "No such source or command", body = Problem, content_type = "application/problem+json"),
    ))]
pub async fn command(
    state: Data<AppState>,
    path: Path<(String, String)>,
    caller: Caller,
    body: Body,
) -> Result<HttpResponse, Problem> {
    let (name, word) = path.into_inner();
    let command = match word.as_str() {
        "pause" => Some(SourceCommand::Pause),
        "resume" => Some(SourceCommand::Resume),
        "restart" => None,
        _ => return Err(Problem::new(Kind::NotFound, "there is no such command")),
    };
    let why = body.json::<Why>()?.checked()?;
    let found = state.sources.get(name.as_str());
    let source = found.ok_or_else(|| Problem::new(Kind::NotFound, "there is no source of this name"))?;
    audit(&state, &caller, &format!("source.{word}"), &name, &why).await;
    let status = match command {
        Some(command) => Some(source.tell(command).await?),
        None => {
            source.handle.restart(caller.who(), why);
            source.tell(SourceCommand::Report).await.ok()
        }
    };
    Ok(HttpResponse::Accepted().json(describe(&name, source, status)))
}
