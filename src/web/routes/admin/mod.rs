//! Commands of an administrator. Each leaves an audit row: who, what, when.
//!
//! Invariant: the row is written before the command is carried out. Where the store does not take it, the command is carried
//! out all the same, since that is when it may be needed most, and the log says what the audit log does not.

pub mod actors;
pub mod audit;
pub mod dead_letters;
pub mod outputs;
pub mod sensors;
pub mod sources;
pub mod tokens;

use std::time::Duration;

use serde::Deserialize;

use crate::storage::history::AuditRow;
use crate::web::auth::{Access, Caller, Role};
use crate::web::endpoint::Endpoint;
use crate::web::problem::{FieldError, Kind, Problem};
use crate::web::state::AppState;

const ADMIN: Access = Access::Always(Role::Admin);
/// How long a command waits for its audit row.
const AUDIT_PATIENCE: Duration = Duration::from_secs(2);
/// The longest reason given for a command, in bytes.
const MAX_WHY: usize = 1_000;

pub fn endpoints() -> Vec<Endpoint> {
    let mut all = Vec::new();
    all.extend(sensors::endpoints());
    all.extend(outputs::endpoints());
    all.extend(sources::endpoints());
    all.extend(actors::endpoints());
    all.extend(dead_letters::endpoints());
    all.extend(audit::endpoints());
    all.extend(tokens::endpoints());
    all
}

/// Why something is commanded.
#[derive(Debug, Default, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Why {
    /// For the audit log and the history of restarts; up to 1,000 bytes.
    #[serde(default)]
    why: String,
}

impl Why {
    fn checked(self) -> Result<String, Problem> {
        let reason = if self.why.len() > MAX_WHY {
            format!("is longer than {MAX_WHY} bytes")
        } else if self.why.chars().any(char::is_control) {
            "has a control character".to_owned()
        } else {
            return Ok(self.why);
        };
        let error = FieldError::new("why", "invalid", reason.clone());
        Err(Problem::new(Kind::InvalidParameters, format!("`why` {reason}")).errors(vec![error]))
    }
}

pub(super) async fn audit(state: &AppState, caller: &Caller, what: &str, target: &str, detail: &str) {
    let row = AuditRow {
        time: state.now(),
        who: caller.who().to_owned(),
        what: what.to_owned(),
        target: target.to_owned(),
        detail: detail.to_owned(),
    };
    let failure = match tokio::time::timeout(AUDIT_PATIENCE, state.store.record_audit(&row)).await {
        Ok(Ok(())) => {
            tracing::info!(who = row.who, what, target, detail, "admin command");
            return;
        }
        Ok(Err(error)) => error.to_string(),
        Err(_) => "the store did not answer in time".to_owned(),
    };
    tracing::error!(
        who = row.who,
        what,
        target,
        detail,
        failure,
        "admin command is not in the audit log"
    );
}
