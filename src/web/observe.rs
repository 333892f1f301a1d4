//! What is done around every request: its id, its time limit, its log line, its count, and the headers of its answer.
//!
//! Invariants: the outermost layer, so that whatever happens inside is answered, counted and logged once. Metrics and log lines
//! name the pattern of the route, never the path that was asked for. Every error leaves as a problem.

use std::panic::AssertUnwindSafe;
use std::time::{Duration, Instant};

use actix_web::body::{BoxBody, MessageBody};
use actix_web::dev::{ServiceRequest, ServiceResponse};
use actix_web::error::InternalError;
use actix_web::http::header::{self, HeaderMap, HeaderName, HeaderValue};
use actix_web::http::{Method, StatusCode};
use actix_web::middleware::Next;
use actix_web::{Error, HttpMessage, HttpResponse, ResponseError, web};
use data_encoding::HEXLOWER;
use futures_util::FutureExt;

use super::auth::Caller;
use super::gate::Gate;
use super::problem::{self, Kind, Problem};
use super::state::AppState;

const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// Nothing is loaded from elsewhere, nothing is run that is not a file of ours, and nobody frames us.
pub const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; \
     font-src 'self'; connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

const SECURITY: [(HeaderName, &str); 7] = [
    (header::CONTENT_SECURITY_POLICY, POLICY),
    (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
    (header::X_FRAME_OPTIONS, "DENY"),
    (header::REFERRER_POLICY, "no-referrer"),
    (header::CACHE_CONTROL, "no-store"),
    (
        HeaderName::from_static("cross-origin-resource-policy"),
        "same-origin",
    ),
    (
        HeaderName::from_static("cross-origin-opener-policy"),
        "same-origin",
    ),
];

pub async fn observe(
    request: ServiceRequest,
    next: Next<impl MessageBody + 'static>,
) -> Result<ServiceResponse<BoxBody>, Error> {
    let begun = Instant::now();
    let state = request
        .app_data::<web::Data<AppState>>()
        .map(|state| state.clone().into_inner());
    let patience = request
        .app_data::<web::Data<Gate>>()
        .map_or(Duration::from_secs(30), |gate| gate.request_timeout);
    let seen = Seen {
        id: request_id(request.headers()),
        method: method(request.method()),
        client: request
            .peer_addr()
            .map(|client| client.ip().to_string())
            .unwrap_or_default(),
    };
    let answered = tokio::time::timeout(patience, AssertUnwindSafe(next.call(request)).catch_unwind()).await;
    let failed = match answered {
        Ok(Ok(Ok(response))) => {
            let response = tell_as_problem(response.map_into_boxed_body());
            return Ok(seen.finish(response, begun, state.as_deref()));
        }
        // The panic itself was logged where it happened.
        Ok(Err(_panic)) => Problem::new(
            Kind::Internal,
            "the request met a defect; it is logged under its id",
        )
        .error_response(),
        Ok(Ok(Err(error))) => error.error_response(),
        Err(_) => Problem::new(Kind::TimedOut, "the answer took longer than http.request_timeout")
            .retry_after(1)
            .error_response(),
    };
    // The request went down with what failed; what is left is an answer without one.
    let mut response = failed;
    seen.put_headers(response.headers_mut());
    seen.note("unknown", response.status(), begun, None, state.as_deref());
    Err(InternalError::from_response("no answer", response).into())
}

struct Seen {
    id: String,
    method: &'static str,
    client: String,
}

impl Seen {
    fn finish(
        &self,
        mut response: ServiceResponse<BoxBody>,
        begun: Instant,
        state: Option<&AppState>,
    ) -> ServiceResponse<BoxBody> {
        self.put_headers(response.headers_mut());
        let request = response.request();
        let route = request.match_pattern().unwrap_or_else(|| "unmatched".to_owned());
        let who = request
            .extensions()
            .get::<Caller>()
            .map(|caller| caller.name.clone());
        self.note(&route, response.status(), begun, who.as_deref(), state);
        response
    }

    fn note(
        &self,
        route: &str,
        status: StatusCode,
        begun: Instant,
        who: Option<&str>,
        state: Option<&AppState>,
    ) {
        let (method, client, id, status) = (self.method, &self.client, &self.id, status.as_u16());
        let took_us = begun.elapsed().as_micros();
        if status >= 500 {
            tracing::warn!(method, route, status, took_us, client, who, id, "request failed");
        } else if route.starts_with("/api/admin") {
            tracing::info!(method, route, status, took_us, client, who, id, "admin request");
        } else {
            tracing::debug!(method, route, status, took_us, client, who, id, "request");
        }
        if let Some(state) = state {
            state.metrics.request(route.to_owned(), method.to_owned(), status);
        }
    }

    fn put_headers(&self, headers: &mut HeaderMap) {
        for (name, value) in SECURITY {
            if !headers.contains_key(&name) {
                headers.insert(name, HeaderValue::from_static(value));
            }
        }
        if let Ok(id) = HeaderValue::from_str(&self.id) {
            headers.insert(REQUEST_ID, id);
        }
    }
}

/// Errors that were not made here (of the router, of a library) get the form that all have.
fn tell_as_problem(response: ServiceResponse<BoxBody>) -> ServiceResponse<BoxBody> {
    let status = response.status();
    let kind = response
        .headers()
        .get(header::CONTENT_TYPE)
        .and_then(|kind| kind.to_str().ok());
    let told = kind
        .is_some_and(|kind| kind.starts_with(problem::CONTENT_TYPE) || kind.starts_with("application/json"));
    if told || !(status.is_client_error() || status.is_server_error()) {
        return response;
    }
    let (request, old) = response.into_parts();
    let mut new: HttpResponse = Problem::of_status(status).error_response();
    const OF_THE_BODY: [HeaderName; 3] = [
        header::CONTENT_TYPE,
        header::CONTENT_LENGTH,
        header::CONTENT_ENCODING,
    ];
    for (name, value) in old.headers() {
        if !OF_THE_BODY.contains(name) {
            new.headers_mut().append(name.clone(), value.clone());
        }
    }
    ServiceResponse::new(request, new)
}

/// The client's own id for the request if it is harmless, else one of ours.
fn request_id(headers: &HeaderMap) -> String {
    let given = headers.get(REQUEST_ID).and_then(|id| id.to_str().ok());
    let harmless = |id: &&str| {
        (1..=64).contains(&id.len())
            && id
                .bytes()
                .all(|b| b.is_ascii_alphanumeric() || b"-_.".contains(&b))
    };
    given
        .filter(harmless)
        .map_or_else(|| HEXLOWER.encode(&rand::random::<[u8; 8]>()), str::to_owned)
}

/// Methods are words that clients choose; only those we know become labels.
fn method(method: &Method) -> &'static str {
    match *method {
        Method::GET => "GET",
        Method::HEAD => "HEAD",
        Method::POST => "POST",
        Method::PUT => "PUT",
        Method::DELETE => "DELETE",
        Method::PATCH => "PATCH",
        Method::OPTIONS => "OPTIONS",
        _ => "other",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use actix_web::middleware::from_fn;
    use actix_web::{App, test};

    #[actix_web::test]
    async fn a_panic_in_a_handler_is_an_answer() {
        let broken = web::to(|| async {
            if std::hint::black_box(true) {
                panic!("kaboom");
            }
            "never"
        });
        let app = App::new().route("/", broken).wrap(from_fn(observe));
        let app = test::init_service(app).await;
        let request = test::TestRequest::get().uri("/").to_request();
        let error = test::try_call_service(&app, request).await.err().unwrap();
        let response = error.error_response();
        assert_eq!(response.status(), StatusCode::INTERNAL_SERVER_ERROR);
        assert_eq!(
            response.headers().get(header::CONTENT_TYPE).unwrap(),
            problem::CONTENT_TYPE
        );
        assert_eq!(
            response.headers().get(header::X_CONTENT_TYPE_OPTIONS).unwrap(),
            "nosniff"
        );
        let body = actix_web::body::to_bytes(response.into_body()).await.unwrap();
        let text = String::from_utf8_lossy(&body);
        assert!(
            text.contains("/problems/internal") && !text.contains("kaboom"),
            "{text}"
        );
    }
}
