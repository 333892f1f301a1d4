//! `/ws/realtime`: who may connect. What is told then is the hub's, see [`crate::actors::hub`].
//!
//! Invariants: a page of another origin is not let in, whatever it knows: a browser would let it, since WebSockets know no CORS.
//! Whoever would need a token to read from the API needs one here: with the handshake, or, as browsers can send none with it, as
//! the first message.

mod protocol;
mod session;

use std::any::Any;
use std::net::{IpAddr, TcpStream};
use std::os::fd::AsFd;
use std::sync::Arc;

use actix::Addr;
use actix_web::dev::Extensions;
use actix_web::http::header;
use actix_web::web::{Data, Payload};
use actix_web::{HttpMessage, HttpRequest, HttpResponse};

use self::session::Access as Granted;
use super::auth::{self, Access};
use super::endpoint::Endpoint;
use super::gate::Gate;
use super::limits;
use super::params::Params;
use super::problem::{Kind, Problem};
use super::state::AppState;
use crate::actors::hub::sessions::{Connection, Limits, Refused};
use crate::actors::hub::{Hub, Live};
use crate::settings::LiveSettings;

/// What the sessions need.
pub struct LiveEntry {
    pub live: Arc<Live>,
    pub hub: Addr<Hub>,
    pub settings: LiveSettings,
}

/// Another handle of the connection that a request came by.
struct Socket(Arc<TcpStream>);

pub fn endpoints() -> [Endpoint; 1] {
    // What it tells is told to nobody who may not hear it: see `granted`.
    [Endpoint::new("/ws/realtime", Access::Public).get(realtime)]
}

/// To be called with every new connection.
pub fn remember_socket(connection: &dyn Any, data: &mut Extensions) {
    if let Some(stream) = connection.downcast_ref::<actix_web::rt::net::TcpStream>()
        && let Ok(handle) = stream.as_fd().try_clone_to_owned()
    {
        data.insert(Socket(Arc::new(TcpStream::from(handle))));
    }
}

/// The live wire, as a WebSocket: what happens, as it happens.
///
/// Messages are JSON: see the documentation of the protocol, `docs/live.md`.
#[utoipa::path(get, path = "/ws/realtime", tag = "Values",
    responses(
        (status = 101, description = "Connected"),
        (status = 403, description = "A page of another origin", body = Problem, content_type = "application/problem+json"),
        (status = 426, description = "The request is no handshake of a WebSocket", body = Problem, content_type = "application/problem+json"),
        (status = 429, description = "Too many connections from this address", body = Problem, content_type = "application/problem+json"),
    ))]
pub async fn realtime(
    state: Data<AppState>,
    gate: Data<Gate>,
    request: HttpRequest,
    payload: Payload,
) -> Result<HttpResponse, Problem> {
    Params::read(&request, &[])?.finish()?;
    if !request.headers().contains_key(header::UPGRADE) {
        let detail = "this is a WebSocket: connect with ws:// or wss://";
        return Err(Problem::new(Kind::UpgradeRequired, detail).header(header::UPGRADE, "websocket"));
    }
    let access = granted(&gate, &request).await?;
    let entry = &state.live;
    let limits = Limits {
        connections: entry.settings.max_connections as usize,
        of_client: entry.settings.max_connections_per_client as usize,
        queue: usize::try_from(entry.settings.max_queue).unwrap_or(usize::MAX),
    };
    let client = request.peer_addr().map(|client| limits::network(client.ip()));
    let place = place(entry, client, &request, &limits)?;
    session::start(&request, payload, state.clone(), gate, place, access)
}

async fn granted(gate: &Gate, request: &HttpRequest) -> Result<Granted, Problem> {
    if gate.is_strange(request.headers()) {
        let detail = "a page of another origin may not listen here (http.cors_origins)";
        return Err(Problem::new(Kind::Forbidden, detail));
    }
    let Some((caller, token)) = auth::identify_token(request).await? else {
        return Ok(match gate.tokenless(request.headers()) {
            Ok(()) => Granted::Local,
            Err(_) => Granted::None,
        });
    };
    request.extensions_mut().insert(caller);
    Ok(Granted::Token(token))
}

fn place(
    entry: &LiveEntry,
    client: Option<IpAddr>,
    request: &HttpRequest,
    limits: &Limits,
) -> Result<Connection, Problem> {
    let socket = request.conn_data::<Socket>().map(|socket| socket.0.clone());
    Connection::begin(&entry.live, client, socket, limits).map_err(|refused| {
        let kind = match refused {
            Refused::TooManyOfClient => Kind::RateLimited,
            Refused::Full | Refused::Stopping => Kind::Unavailable,
        };
        Problem::new(kind, refused.to_string()).retry_after(5)
    })
}
