//! Who may come in without a token, and whose browser may be the messenger.
//!
//! On a loopback address everybody on the machine may read and send readings. But a browser on the machine runs pages of
//! strangers, and they must not. What they could try, and what stops it:
//! - A page posts across origins: browsers say so in `Origin` (or `Sec-Fetch-Site`), and what changes something is refused
//!   unless the origin is ours or among `http.cors_origins`. Bodies must be JSON by their content type, which a browser does
//!   not send across origins without asking first; but for line protocol, of which the origin alone is looked at.
//! - A page of an allowed-by-`*` origin reads: `*` opens the API to any page that has a token, not to those that have none.
//! - A page's own name is made to point at 127.0.0.1 (DNS rebinding): then `Host` and `Origin` agree, but name a stranger.
//!   Without a token `Host` must be a loopback address or `localhost`.
//! - A proxy on this machine makes everybody local: a request that says it was forwarded needs a token.
//!
//! Invariant: none of this weakens a token; it only takes away what goes without one.

use std::net::{IpAddr, SocketAddr};
use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use actix_web::body::{BoxBody, MessageBody};
use actix_web::dev::{ServiceRequest, ServiceResponse};
use actix_web::http::header::{self, HeaderMap};
use actix_web::middleware::Next;
use actix_web::{Error, ResponseError, web};
use tokio::sync::Semaphore;

use super::limits::PerClient;
use super::problem::{Kind, Problem};
use crate::settings::HttpSettings;

/// Wrong tokens that an address may try at once; after them one in [`FAILURE_PERIOD`].
const FAILURES: NonZeroU32 = NonZeroU32::new(10).unwrap();
const FAILURE_PERIOD: Duration = Duration::from_secs(6);
/// Bodies of the longest length that may be held at once; shorter ones share the room.
const BODIES: usize = 16;

pub struct Gate {
    listen: IpAddr,
    origins: Vec<String>,
    requests: Option<PerClient>,
    failures: Option<PerClient>,
    pub request_timeout: Duration,
    pub max_body: usize,
    /// Bytes that bodies may take, of all requests together.
    pub room: Arc<Semaphore>,
}

impl Gate {
    pub fn new(settings: &HttpSettings) -> Self {
        let max_body = usize::try_from(settings.max_body).unwrap_or(usize::MAX);
        Self {
            listen: settings.listen.ip(),
            origins: settings.cors_origins.clone(),
            requests: NonZeroU32::new(settings.requests_per_second).map(PerClient::per_second),
            failures: PerClient::slow(FAILURES, FAILURE_PERIOD),
            request_timeout: settings.request_timeout,
            max_body,
            room: Arc::new(Semaphore::new(
                max_body.saturating_mul(BODIES).min(Semaphore::MAX_PERMITS),
            )),
        }
    }

    /// Why this request cannot go without a token; `Ok` if it can.
    pub fn tokenless(&self, headers: &HeaderMap) -> Result<(), &'static str> {
        if !self.listen.is_loopback() {
            return Err("this service listens beyond its own machine");
        }
        const FORWARDED: [&str; 5] = [
            "forwarded",
            "x-forwarded-for",
            "x-forwarded-host",
            "x-real-ip",
            "via",
        ];
        if FORWARDED.iter().any(|name| headers.contains_key(*name)) {
            return Err("the request was forwarded by a proxy");
        }
        if !self.names_us(headers) {
            return Err("without a token the host must be named localhost or by its loopback address");
        }
        if !self.same_origin(headers) && !self.listed(headers) {
            return Err("the page that asks is of another origin");
        }
        Ok(())
    }

    /// Counts a wrong token. Says how many seconds to wait where there were too many.
    pub fn failed(&self, client: Option<SocketAddr>) -> Result<(), u64> {
        match (&self.failures, client) {
            (Some(limit), Some(client)) => limit.take(client.ip()),
            _ => Ok(()),
        }
    }

    /// Whether a browser may be made to send this by a page of another origin.
    fn forged(&self, request: &ServiceRequest) -> bool {
        !request.method().is_safe() && self.is_strange(request.headers())
    }

    /// Whether a page asks that is neither ours nor allowed.
    pub fn is_strange(&self, headers: &HeaderMap) -> bool {
        let any = self.origins.iter().any(|origin| origin == "*");
        !any && !self.same_origin(headers) && !self.listed(headers)
    }

    fn names_us(&self, headers: &HeaderMap) -> bool {
        let mut hosts = headers.get_all(header::HOST);
        let (Some(host), None) = (hosts.next(), hosts.next()) else {
            return false;
        };
        let Ok(host) = host.to_str() else { return false };
        let name = without_port(host);
        if name.eq_ignore_ascii_case("localhost") {
            return true;
        }
        let address = name
            .trim_start_matches('[')
            .trim_end_matches(']')
            .parse::<IpAddr>();
        address.is_ok_and(|address| address.is_loopback())
    }

    fn same_origin(&self, headers: &HeaderMap) -> bool {
        if headers
            .get("sec-fetch-site")
            .is_some_and(|site| site == "cross-site")
        {
            return false;
        }
        let mut origins = headers.get_all(header::ORIGIN).peekable();
        let host = headers.get(header::HOST).and_then(|host| host.to_str().ok());
        if origins.peek().is_none() {
            return true;
        }
        origins.all(|origin| {
            let origin = origin.to_str().unwrap_or_default();
            let named = origin
                .strip_prefix("http://")
                .or_else(|| origin.strip_prefix("https://"));
            named.is_some() && named == host
        })
    }

    fn listed(&self, headers: &HeaderMap) -> bool {
        let origin = headers
            .get(header::ORIGIN)
            .and_then(|origin| origin.to_str().ok());
        origin.is_some_and(|origin| origin != "*" && self.origins.iter().any(|listed| listed == origin))
    }
}

/// Refuses what is too much and what a stranger's page may have sent, before anything else looks at it.
pub async fn guard(
    request: ServiceRequest,
    next: Next<impl MessageBody + 'static>,
) -> Result<ServiceResponse<BoxBody>, Error> {
    let refusal = request.app_data::<web::Data<Gate>>().and_then(|gate| {
        let client = request.peer_addr().map(|client| client.ip());
        if let (Some(limit), Some(client)) = (&gate.requests, client)
            && let Err(wait) = limit.take(client)
        {
            let detail = "more requests from this address than http.requests_per_second allows";
            return Some(Problem::new(Kind::RateLimited, detail).retry_after(wait));
        }
        gate.forged(&request).then(|| {
            let detail = "a page of another origin may not change anything here (http.cors_origins)";
            Problem::new(Kind::Forbidden, detail)
        })
    });
    match refusal {
        Some(problem) => Ok(request.into_response(problem.error_response())),
        None => Ok(next.call(request).await?.map_into_boxed_body()),
    }
}

fn without_port(host: &str) -> &str {
    if host.ends_with(']') {
        return host;
    }
    match host.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|b| b.is_ascii_digit()) => name,
        _ => host,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use actix_web::http::header::{HeaderName, HeaderValue};

    fn gate(listen: &str, origins: &[&str]) -> Gate {
        Gate::new(&HttpSettings {
            listen: listen.parse().unwrap(),
            cors_origins: origins.iter().map(|origin| (*origin).to_owned()).collect(),
            max_body: 1024,
            request_timeout: Duration::from_secs(1),
            requests_per_second: 0,
        })
    }

    fn headers(pairs: &[(&str, &str)]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in pairs {
            let name: HeaderName = name.parse().unwrap();
            headers.append(name, HeaderValue::from_str(value).unwrap());
        }
        headers
    }

    #[test]
    fn a_local_program_needs_no_token() {
        for host in [
            "localhost:8080",
            "127.0.0.1:8080",
            "127.0.0.1",
            "[::1]:8080",
            "[::1]",
            "LOCALHOST",
        ] {
            let gate = gate("127.0.0.1:8080", &[]);
            assert_eq!(gate.tokenless(&headers(&[("host", host)])), Ok(()), "{host}");
        }
    }

    #[test]
    fn a_name_that_points_here_is_not_enough() {
        let gate = gate("127.0.0.1:8080", &[]);
        for host in [
            "evil.example:8080",
            "localhost.evil.example",
            "127.0.0.1.evil.example",
            "10.0.0.1",
            "",
            "[::2]",
        ] {
            assert!(gate.tokenless(&headers(&[("host", host)])).is_err(), "{host}");
        }
        assert!(gate.tokenless(&headers(&[])).is_err());
        let two = headers(&[("host", "localhost"), ("host", "evil.example")]);
        assert!(gate.tokenless(&two).is_err());
    }

    #[test]
    fn beyond_the_machine_nothing_goes_without_a_token() {
        let gate = gate("0.0.0.0:8080", &[]);
        assert!(gate.tokenless(&headers(&[("host", "localhost:8080")])).is_err());
    }

    #[test]
    fn what_a_proxy_forwards_is_not_local() {
        let gate = gate("127.0.0.1:8080", &[]);
        for name in ["x-forwarded-for", "forwarded", "x-real-ip", "via"] {
            let headers = headers(&[("host", "localhost"), (name, "10.1.1.1")]);
            assert!(gate.tokenless(&headers).is_err(), "{name}");
        }
    }

    #[test]
    fn pages_of_other_origins_are_strangers_even_where_any_is_allowed() {
        let host = ("host", "localhost:8080");
        let same = headers(&[host, ("origin", "http://localhost:8080")]);
        let other = headers(&[host, ("origin", "https://evil.example")]);
        let opaque = headers(&[host, ("origin", "null")]);
        let cross = headers(&[host, ("sec-fetch-site", "cross-site")]);
        for origins in [&[][..], &["*"], &["https://good.example"]] {
            let gate = gate("127.0.0.1:8080", origins);
            assert_eq!(gate.tokenless(&same), Ok(()));
            for stranger in [&other, &opaque, &cross] {
                assert!(gate.tokenless(stranger).is_err(), "{origins:?}");
            }
        }
        let listed = headers(&[host, ("origin", "https://good.example")]);
        assert_eq!(
            gate("127.0.0.1:8080", &["https://good.example"]).tokenless(&listed),
            Ok(())
        );
    }
}
