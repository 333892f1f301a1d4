//! Who may do what: roles, and the check in front of every endpoint.
//!
//! Invariants: whoever presents a token is judged by it alone, so a wrong one is 401 even where none would do. `/api/admin` always
//! needs an administrator's. A right token is let in however many wrong ones its address has tried, so that nobody can lock
//! out his neighbor. Tokens are in no log line.

use std::borrow::Cow;
use std::fmt;

use actix_web::body::{BoxBody, MessageBody};
use actix_web::dev::{ServiceRequest, ServiceResponse};
use actix_web::http::header;
use actix_web::middleware::Next;
use actix_web::{Error, FromRequest, HttpMessage, HttpRequest, ResponseError, dev, web};
use data_encoding::BASE64;
use serde::{Deserialize, Serialize};

use super::gate::Gate;
use super::problem::{Kind, Problem};
use super::state::AppState;

/// Each may do what those before it may.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, utoipa::ToSchema,
)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// Reads.
    Viewer,
    /// Sends readings.
    Operator,
    /// Commands.
    Admin,
}

impl Role {
    pub const ALL: [Role; 3] = [Role::Viewer, Role::Operator, Role::Admin];

    pub fn as_str(self) -> &'static str {
        match self {
            Role::Viewer => "viewer",
            Role::Operator => "operator",
            Role::Admin => "admin",
        }
    }

    pub fn parse(text: &str) -> Option<Role> {
        Self::ALL.into_iter().find(|role| role.as_str() == text)
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Who may use an endpoint.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Access {
    /// Anybody: it holds nothing that is not in the program itself.
    Public,
    /// This role; on the machine itself nobody needs to show one.
    Local(Role),
    /// This role, from everywhere.
    Always(Role),
}

/// Who asks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Caller {
    /// The name of the token, or `local`.
    pub name: String,
    pub role: Role,
}

impl Caller {
    /// For the audit log and the journal.
    pub fn who(&self) -> &str {
        &self.name
    }
}

/// Lets the request through to its handler if its caller may.
pub async fn require(
    access: Access,
    request: ServiceRequest,
    next: Next<impl MessageBody + 'static>,
) -> Result<ServiceResponse<BoxBody>, Error> {
    match authorize(access, &request).await {
        Ok(caller) => {
            if let Some(caller) = caller {
                request.extensions_mut().insert(caller);
            }
            Ok(next.call(request).await?.map_into_boxed_body())
        }
        Err(problem) => Ok(request.into_response(problem.error_response())),
    }
}

async fn authorize(access: Access, request: &ServiceRequest) -> Result<Option<Caller>, Problem> {
    let role = match access {
        Access::Public => return Ok(None),
        Access::Local(role) | Access::Always(role) => role,
    };
    let Some(caller) = identify(request.request()).await? else {
        let because = match request.app_data::<web::Data<Gate>>() {
            Some(gate) => gate.tokenless(request.headers()).err(),
            None => Some("the service is not set up"),
        };
        return match (access, because) {
            (Access::Local(_), None) => Ok(Some(Caller {
                name: "local".to_owned(),
                role,
            })),
            (Access::Local(_), Some(because)) => Err(unauthorized(format!("a token is needed: {because}"))),
            _ => Err(unauthorized(format!("a token of the role {role} is needed"))),
        };
    };
    if caller.role < role {
        let detail = format!("this needs the role {role}, the token has {}", caller.role);
        return Err(Problem::new(Kind::Forbidden, detail));
    }
    Ok(Some(caller))
}

/// Whose token the request presents; `None` where it presents none.
pub async fn identify(request: &HttpRequest) -> Result<Option<Caller>, Problem> {
    Ok(identify_token(request).await?.map(|(caller, _)| caller))
}

/// The same, with the id of the token.
pub async fn identify_token(request: &HttpRequest) -> Result<Option<(Caller, String)>, Problem> {
    let Some(presented) = request.headers().get(header::AUTHORIZATION) else {
        return Ok(None);
    };
    let (Some(state), Some(gate)) = (
        request.app_data::<web::Data<AppState>>(),
        request.app_data::<web::Data<Gate>>(),
    ) else {
        return Err(Problem::new(Kind::Internal, "the service is not set up"));
    };
    let token = presented.to_str().ok().and_then(presented_token);
    let found = match token.as_deref() {
        // Telegraf always says something, even where it was told nothing to say.
        Some("") => return Ok(None),
        Some(token) => state.tokens.identify(token).await?,
        None => None,
    };
    match found {
        Some((role, row)) => Ok(Some((Caller { name: row.name, role }, row.id))),
        None => {
            let client = request.peer_addr();
            tracing::warn!(client = ?client.map(|client| client.ip()), "a token was refused");
            match gate.failed(client) {
                Ok(()) => Err(unauthorized("the token is not known")),
                Err(wait) => {
                    let detail = "too many wrong tokens from this address";
                    Err(Problem::new(Kind::RateLimited, detail).retry_after(wait))
                }
            }
        }
    }
}

/// `Bearer TOKEN`, or as clients of InfluxDB say it: `Token TOKEN`, or `Basic` with the token for a password.
fn presented_token(header: &str) -> Option<Cow<'_, str>> {
    let (scheme, rest) = header.split_once(' ').unwrap_or((header, ""));
    let is = |name: &str| scheme.eq_ignore_ascii_case(name);
    if is("token") || (is("bearer") && !rest.trim().is_empty()) {
        Some(Cow::Borrowed(rest.trim()))
    } else if is("basic") {
        let decoded = String::from_utf8(BASE64.decode(rest.trim().as_bytes()).ok()?).ok()?;
        let (_, password) = decoded.split_once(':')?;
        (!password.is_empty()).then(|| Cow::Owned(password.to_owned()))
    } else {
        None
    }
}

fn unauthorized(detail: impl Into<String>) -> Problem {
    Problem::new(Kind::Unauthorized, detail).header(header::WWW_AUTHENTICATE, "Bearer realm=\"sensorhive\"")
}

impl FromRequest for Caller {
    type Error = Problem;
    type Future = std::future::Ready<Result<Self, Problem>>;

    fn from_request(request: &HttpRequest, _: &mut dev::Payload) -> Self::Future {
        let caller = request.extensions().get::<Caller>().cloned();
        std::future::ready(caller.ok_or_else(|| unauthorized("a token is needed")))
    }
}
