//! Binding the address and running the server.
//!
//! Invariants: the address is bound before [`serve`] returns, so a taken one is told before anything is announced. Signals are not
//! ours. Nobody holds a connection by being slow: heads, bodies, answers and idle connections are limited in time.

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::time::Duration;

use actix_cors::Cors;
use actix_web::dev::Server;
use actix_web::http::header;
use actix_web::middleware::{Compress, Condition, from_fn};
use actix_web::{App, HttpServer, web};

use super::problem::{Kind, Problem};
use super::state::AppState;
use super::{gate, observe, routes, ws};
use crate::settings::HttpSettings;

const WORKERS: usize = 2;
/// Open connections a worker.
const CONNECTIONS: usize = 4096;
const KEEP_ALIVE: Duration = Duration::from_secs(30);
/// How long the head of a request may take to come.
const HEAD_TIMEOUT: Duration = Duration::from_secs(10);
const DISCONNECT_TIMEOUT: Duration = Duration::from_secs(2);
/// How long requests under way may go on when the server stops, in seconds.
const SHUTDOWN_TIMEOUT: u64 = 10;
/// How long a browser remembers the answer to a preflight, in seconds.
const PREFLIGHT_AGE: usize = 600;

/// Why the server could not be started.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    #[error("the address {0} is in use")]
    AddressInUse(SocketAddr),
    #[error("cannot listen on {address}: {source}")]
    Bind { address: SocketAddr, source: io::Error },
}

/// Takes the address, so that a taken one is told before anything else is begun.
pub fn bind(address: SocketAddr) -> Result<TcpListener, ServeError> {
    TcpListener::bind(address).map_err(|source| match source.kind() {
        io::ErrorKind::AddrInUse => ServeError::AddressInUse(address),
        _ => ServeError::Bind { address, source },
    })
}

/// Starts the workers on a listener. The server runs while the future returned is polled, until it is told to stop by its
/// handle ([`Server::handle`]).
pub fn serve(
    listener: TcpListener,
    settings: &HttpSettings,
    state: Arc<AppState>,
) -> Result<(SocketAddr, Server), ServeError> {
    let state = web::Data::from(state);
    let gate = web::Data::new(gate::Gate::new(settings));
    let origins = settings.cors_origins.clone();
    let app = move || {
        App::new()
            .app_data(state.clone())
            .app_data(gate.clone())
            .configure(routes::configure)
            .default_service(web::to(|| async {
                Err::<&str, _>(Problem::new(Kind::NotFound, "there is nothing at this path"))
            }))
            .wrap(from_fn(gate::guard))
            .wrap(Condition::new(!origins.is_empty(), cors(&origins)))
            .wrap(Compress::default())
            .wrap(from_fn(observe::observe))
    };
    let address = settings.listen;
    let server = HttpServer::new(app)
        .workers(WORKERS)
        .max_connections(CONNECTIONS)
        .keep_alive(KEEP_ALIVE)
        .client_request_timeout(HEAD_TIMEOUT)
        .client_disconnect_timeout(DISCONNECT_TIMEOUT)
        .shutdown_timeout(SHUTDOWN_TIMEOUT)
        .on_connect(ws::remember_socket)
        .disable_signals()
        .listen(listener)
        .map_err(|source| ServeError::Bind { address, source })?;
    let bound = server.addrs().first().copied().unwrap_or(address);
    Ok((bound, server.run()))
}

fn cors(origins: &[String]) -> Cors {
    let cors = Cors::default()
        .allowed_methods(["GET", "POST", "DELETE"])
        .allowed_headers([header::AUTHORIZATION, header::CONTENT_TYPE])
        .allowed_header("idempotency-key")
        .expose_headers(["link", "retry-after", "x-request-id"])
        .max_age(PREFLIGHT_AGE);
    if origins.iter().any(|origin| origin == "*") {
        return cors.allow_any_origin().send_wildcard();
    }
    origins
        .iter()
        .fold(cors, |cors, origin| cors.allowed_origin(origin))
}
