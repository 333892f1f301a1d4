//! The web server: REST for programs, a page for people, figures for Prometheus.
//!
//! Invariants:
//! - Every route is an [`endpoint::Endpoint`], and an endpoint cannot be made without saying who may use it.
//! - Handlers are thin: they ask actors by messages and the store for history, and wait for either only for a bounded time.
//! - Every error is a [`Problem`] (RFC 9457). Nothing from outside is shown without its encoding, and no log line or metric
//!   label holds a token, a sensor id or a raw path.
//! - What a client sends is bounded in size, in time and in rate before anything is made of it.
//!
//! How it fails: an address that is taken is told by [`serve`] before anything is announced. A panic in a handler is an answer
//! of 500; nothing else notices. Without the store, live values, commands and the page go on; history answers 503.

mod answers;
pub mod auth;
pub mod openapi;
pub mod problem;
pub mod state;
pub mod tokens;

mod body;
mod endpoint;
mod gate;
mod limits;
mod observe;
mod params;
mod routes;
mod server;
mod shared;
mod wire;
mod ws;

pub use answers::Answers;
pub use problem::Problem;
pub use routes::inventory;
pub use server::{ServeError, bind, serve};
pub use shared::Shared;
pub use state::{AlertingEntry, AppState, OutputEntry, SourceEntry};
pub use tokens::TokenService;
pub use ws::LiveEntry;
