//! The catalog of the cold archive.

use actix_web::HttpRequest;
use actix_web::web::{Data, Json};
use serde::Serialize;

use crate::domain::Day;
use crate::storage::archives::{Archive, ArchivePage, ArchiveState};
use crate::web::auth::{Access, Role};
use crate::web::endpoint::Endpoint;
use crate::web::params::Params;
use crate::web::problem::Problem;
use crate::web::state::AppState;
use crate::web::wire::Time;

pub fn endpoints() -> [Endpoint; 1] {
    [Endpoint::new("/api/archives", Access::Local(Role::Viewer)).get(list)]
}

#[derive(Debug, Serialize, utoipa::ToSchema)]
pub struct ArchivesBody {
    pub data: Vec<ArchiveBody>,
    /// To be given as `cursor` for what follows; absent at the end.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub next: Option<String>,
    /// Why the last run of the archive failed; absent while all is well.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub trouble: Option<TroubleBody>,
    /// Days from this one on are not archived yet, since a sensor that is paused or behind may need their readings.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(format = Date)]
    pub waiting_from: Option<String>,
}

#[derive(Debug, Serialize, utoipa::ToSchema)]
pub struct TroubleBody {
    pub time: Time,
    pub message: String,
}

#[derive(Debug, Serialize, utoipa::ToSchema)]
pub struct ArchiveBody {
    /// In UTC, such as `2026-03-14`.
    #[schema(format = Date)]
    pub day: String,
    pub part: u32,
    /// Its path in the archive.
    pub object: String,
    /// `exporting`, `uploaded`, `verified` (and still in the database), `dropping`, `dropped` (from the database), `restored`.
    pub state: &'static str,
    pub rows: Option<u64>,
    pub bytes: Option<u64>,
    /// Of its rows, whatever their order.
    pub checksum: Option<String>,
    /// Of its bytes.
    pub sha256: Option<String>,
    pub started_at: Time,
    pub verified_at: Option<Time>,
    pub dropped_at: Option<Time>,
    pub restored_at: Option<Time>,
    /// How long a restored one is left alone; null is until it is released.
    pub keep_until: Option<Time>,
}

/// Objects of the cold archive, newest day first.
#[utoipa::path(get, path = "/api/archives", tag = "Archives",
    params(
        ("from" = Option<String>, Query, description = "First day, such as 2026-03-01"),
        ("to" = Option<String>, Query, description = "Last day"),
        ("state" = Option<String>, Query, description = "Only those in this state"),
        ("limit" = Option<usize>, Query, description = "1 to 10000 (1000)"),
        ("cursor" = Option<String>, Query, description = "`next` of the page before"),
    ),
    responses((status = 200, description = "A page", body = ArchivesBody)))]
pub async fn list(state: Data<AppState>, request: HttpRequest) -> Result<Json<ArchivesBody>, Problem> {
    let mut params = Params::read(&request, &["from", "to", "state", "limit", "cursor"])?;
    let day = |text: &str| text.parse::<Day>().ok();
    let expected = "must be a day such as 2026-03-14";
    let page = ArchivePage {
        from: params.parsed("from", expected, day).unwrap_or(Day::MIN),
        to: params.parsed("to", expected, day).unwrap_or(Day::MAX),
        state: params.parsed("state", &states(), ArchiveState::parse),
        before: params.parsed("cursor", "is no cursor of this list", cursor),
        limit: params.limit(),
    };
    params.finish()?;
    let found = match state.store.archives() {
        Some(archives) => archives.catalog(&page).await?,
        None => Vec::new(),
    };
    let next = found
        .last()
        .filter(|_| found.len() == page.limit)
        .map(|last| format!("{}.{}", last.day, last.part));
    Ok(Json(ArchivesBody {
        data: found.into_iter().map(body).collect(),
        next,
        trouble: state.metrics.archive.trouble().map(|trouble| TroubleBody {
            time: Time(trouble.time),
            message: trouble.message,
        }),
        waiting_from: state.metrics.archive.waiting().map(|day| day.to_string()),
    }))
}

fn states() -> String {
    let names: Vec<&str> = ArchiveState::ALL.into_iter().map(ArchiveState::as_str).collect();
    format!("must be one of {}", names.join(", "))
}

fn cursor(text: &str) -> Option<(Day, u32)> {
    let (day, part) = text.split_once('.')?;
    Some((day.parse().ok()?, part.parse().ok()?))
}

fn body(archive: Archive) -> ArchiveBody {
    let contents = archive.contents;
    ArchiveBody {
        day: archive.day.to_string(),
        part: archive.part,
        object: archive.object,
        state: archive.state.as_str(),
        rows: contents.map(|contents| contents.rows),
        bytes: contents.map(|contents| contents.bytes),
        checksum: contents.map(|contents| contents.checksum.to_string()),
        sha256: contents.map(|contents| contents.sha256.to_string()),
        started_at: Time(archive.started_at),
        verified_at: archive.verified_at.map(Time),
        dropped_at: archive.dropped_at.map(Time),
        restored_at: archive.restored_at.map(Time),
        keep_until: archive.keep_until.map(Time),
    }
}
