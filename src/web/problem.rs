//! Errors as RFC 9457 tells them: `application/problem+json`.
//!
//! Invariant: `type` is a stable path, one for each [`Kind`]; programs may depend on it. `detail` is for people and may change.

use std::fmt;

use actix_web::http::{StatusCode, header};
use actix_web::{HttpResponse, HttpResponseBuilder, ResponseError};
use serde::Serialize;
use serde_json::{Map, Value};

use crate::actors::ingest::ItemRefusal;
use crate::storage::{Cause, ErrorClass, StoreError};

pub const CONTENT_TYPE: &str = "application/problem+json";

/// What went wrong, to be told to the client.
#[derive(Debug, Clone, Serialize, utoipa::ToSchema)]
pub struct Problem {
    /// A stable path that names the kind of problem, such as `/problems/not-found`.
    #[serde(rename = "type")]
    #[schema(value_type = String)]
    kind: Kind,
    title: &'static str,
    status: u16,
    /// A sentence for people.
    detail: String,
    /// What is wrong with each part of what was sent.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    errors: Vec<FieldError>,
    #[serde(flatten)]
    #[schema(ignore)]
    more: Map<String, Value>,
    #[serde(skip)]
    headers: Vec<(header::HeaderName, String)>,
}

/// What is wrong with one part of a request.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, utoipa::ToSchema)]
pub struct FieldError {
    /// Place of the item in the payload, from 0, where it has items.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub index: Option<u32>,
    pub field: String,
    /// `invalid`, `undecodable`, `time_out_of_range`, `limit_reached`, `conflict`, `panic`, `refused`, `unknown`.
    pub kind: &'static str,
    /// To be read after the name of the field.
    pub reason: String,
}

macro_rules! kinds {
    ($($(#[$doc:meta])* $name:ident = $status:literal, $slug:literal, $title:literal;)*) => {
        /// The kinds of problems.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        pub enum Kind { $($(#[$doc])* $name,)* }

        impl Kind {
            pub const ALL: &[Kind] = &[$(Kind::$name),*];

            pub fn status(self) -> StatusCode {
                let status = match self { $(Kind::$name => $status,)* };
                StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR)
            }

            /// The path that `type` holds.
            pub fn path(self) -> &'static str {
                match self { $(Kind::$name => concat!("/problems/", $slug),)* }
            }

            pub fn title(self) -> &'static str {
                match self { $(Kind::$name => $title,)* }
            }
        }
    };
}

kinds! {
    BadRequest = 400, "bad-request", "The request cannot be understood";
    InvalidParameters = 400, "invalid-parameters", "Parameters are wrong";
    NotJson = 400, "not-json", "The payload is not JSON";
    Unauthorized = 401, "unauthorized", "A token is needed";
    Forbidden = 403, "forbidden", "Not allowed";
    NotFound = 404, "not-found", "There is no such thing";
    MethodNotAllowed = 405, "method-not-allowed", "The method does not go with this path";
    RequestTimeout = 408, "request-timeout", "The request took too long to come";
    Conflict = 409, "conflict", "Not possible as things are";
    TooLarge = 413, "too-large", "The request is too large";
    UnsupportedMediaType = 415, "unsupported-media-type", "The content type is not taken here";
    UpgradeRequired = 426, "upgrade-required", "This is a WebSocket";
    /// Every item of a payload was refused.
    NothingStored = 422, "nothing-stored", "Every item was refused";
    TooMuch = 422, "too-much", "The question takes too long";
    RateLimited = 429, "rate-limited", "Too many requests";
    /// The pipeline has no room.
    Busy = 429, "busy", "As much as allowed is under way";
    Internal = 500, "internal", "Something broke here";
    Unavailable = 503, "unavailable", "Not possible at the moment";
    /// The answer may still come true: the transaction could yet commit.
    Undelivered = 503, "undelivered", "Not known to be stored";
    TimedOut = 503, "timed-out", "The answer took too long";
}

impl Serialize for Kind {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.path())
    }
}

impl Problem {
    pub fn new(kind: Kind, detail: impl Into<String>) -> Self {
        Self {
            kind,
            title: kind.title(),
            status: kind.status().as_u16(),
            detail: detail.into(),
            errors: Vec::new(),
            more: Map::new(),
            headers: Vec::new(),
        }
    }

    /// For an answer that was not made here, such as that of a library.
    pub fn of_status(status: StatusCode) -> Self {
        let known = Kind::ALL.iter().find(|kind| kind.status() == status);
        let kind = *known.unwrap_or(if status.is_server_error() {
            &Kind::Internal
        } else {
            &Kind::BadRequest
        });
        let mut problem = Self::new(kind, status.canonical_reason().unwrap_or(kind.title()));
        problem.status = status.as_u16();
        problem
    }

    pub fn errors(mut self, errors: Vec<FieldError>) -> Self {
        self.errors = errors;
        self
    }

    pub fn with(mut self, name: &str, value: impl Into<Value>) -> Self {
        self.more.insert(name.to_owned(), value.into());
        self
    }

    /// When it may be worth while to come again.
    pub fn retry_after(self, seconds: u64) -> Self {
        self.header(header::RETRY_AFTER, seconds.to_string())
    }

    pub fn header(mut self, name: header::HeaderName, value: impl Into<String>) -> Self {
        self.headers.push((name, value.into()));
        self
    }

    pub fn kind(&self) -> Kind {
        self.kind
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.title, self.detail)
    }
}

impl std::error::Error for Problem {}

impl ResponseError for Problem {
    fn status_code(&self) -> StatusCode {
        StatusCode::from_u16(self.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR)
    }

    fn error_response(&self) -> HttpResponse {
        let mut response = HttpResponseBuilder::new(self.status_code());
        for (name, value) in &self.headers {
            response.insert_header((name.clone(), value.as_str()));
        }
        let body = serde_json::to_vec(self).unwrap_or_default();
        response.content_type(CONTENT_TYPE).body(body)
    }
}

impl From<StoreError> for Problem {
    /// What the database says is for the log; the client hears only what it may do about it.
    fn from(error: StoreError) -> Self {
        tracing::warn!(%error, "a question to the store failed");
        match error.class {
            ErrorClass::Transient | ErrorClass::Unknown | ErrorClass::Fenced | ErrorClass::Moved => {
                Problem::new(Kind::Unavailable, "the database does not answer at the moment").retry_after(5)
            }
            ErrorClass::Refused if error.cause == Cause::Timeout => {
                let detail = "ask for a shorter span, fewer series or rows, or a coarser step";
                Problem::new(Kind::TooMuch, detail)
            }
            ErrorClass::Refused => Problem::new(Kind::Internal, "the database refused the question"),
            ErrorClass::TooNew | ErrorClass::Unusable => {
                Problem::new(Kind::Unavailable, "the database cannot be used as it is").retry_after(60)
            }
        }
    }
}

impl FieldError {
    pub fn new(field: impl Into<String>, kind: &'static str, reason: impl Into<String>) -> Self {
        Self {
            index: None,
            field: field.into(),
            kind,
            reason: reason.into(),
        }
    }
}

impl From<&ItemRefusal> for FieldError {
    fn from(refusal: &ItemRefusal) -> Self {
        Self {
            index: Some(refusal.index),
            field: refusal.field.clone(),
            kind: refusal.kind.as_str(),
            reason: refusal.reason.clone(),
        }
    }
}
