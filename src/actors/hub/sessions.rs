//! Who is connected, and how many may be.
//!
//! Invariants: a connection is counted from its beginning to the drop of its [`Connection`]. A client that is closed and does not
//! read its end is cut off after [`GRACE`]: the thread that serves it cannot do that, since it waits for the client.

use std::collections::BTreeMap;
use std::net::{IpAddr, Shutdown, TcpStream};
use std::sync::Arc;
use std::time::Duration;

use bytestring::ByteString;
use parking_lot::Mutex;
use tokio::time::Instant;

use super::figures::LiveMetrics;
use super::live::Live;
use super::outlet::{Close, Outgoing, Outlet, Put};

/// How long a client may take to read why it is closed.
pub const GRACE: Duration = Duration::from_secs(5);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Connections in all, and of each client address.
    pub connections: usize,
    pub of_client: usize,
    /// Bytes that may wait for one client.
    pub queue: usize,
}

/// Why nobody else may connect.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    #[error("there are as many live connections as live.max_connections allows")]
    Full,
    #[error("there are as many live connections from this address as live.max_connections_per_client allows")]
    TooManyOfClient,
    #[error("the service is stopping")]
    Stopping,
}

#[derive(Default)]
pub struct Sessions(Mutex<Inner>);

#[derive(Default)]
struct Inner {
    next: u64,
    all: BTreeMap<u64, Session>,
    clients: BTreeMap<IpAddr, usize>,
    /// To be cut off then.
    doomed: Vec<(Instant, Arc<TcpStream>)>,
    stopping: bool,
}

struct Session {
    outlet: Arc<Outlet>,
    socket: Option<Arc<TcpStream>>,
}

/// A place among the connected; given back on drop.
pub struct Connection {
    pub outlet: Arc<Outlet>,
    client: Option<IpAddr>,
    live: Arc<Live>,
}

impl Connection {
    /// Takes a place. `socket` is another handle of the connection, by which it can be cut off.
    pub fn begin(
        live: &Arc<Live>,
        client: Option<IpAddr>,
        socket: Option<Arc<TcpStream>>,
        limits: &Limits,
    ) -> Result<Self, Refused> {
        let mut inner = live.sessions.0.lock();
        if inner.stopping {
            return Err(Refused::Stopping);
        }
        if inner.all.len() >= limits.connections {
            return Err(Refused::Full);
        }
        if let Some(client) = client {
            let count = inner.clients.entry(client).or_default();
            if *count >= limits.of_client {
                return Err(Refused::TooManyOfClient);
            }
            *count += 1;
        }
        inner.next += 1;
        let number = inner.next;
        let outlet = Arc::new(Outlet::new(number, limits.queue));
        let session = Session {
            outlet: outlet.clone(),
            socket,
        };
        inner.all.insert(number, session);
        live.metrics.set_connections(inner.all.len());
        drop(inner);
        live.wake();
        Ok(Self {
            outlet,
            client,
            live: live.clone(),
        })
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        let was_closed = !self.outlet.close(Close::GoingAway);
        let mut inner = self.live.sessions.0.lock();
        let session = inner.all.remove(&self.outlet.number);
        if was_closed && let Some(socket) = session.and_then(|session| session.socket) {
            // The end may still be on its way to a client that reads nothing.
            inner.doomed.push((Instant::now() + GRACE, socket));
        }
        if let Some(client) = self.client
            && let Some(count) = inner.clients.get_mut(&client)
        {
            *count -= 1;
            if *count == 0 {
                inner.clients.remove(&client);
            }
        }
        self.live.metrics.set_connections(inner.all.len());
    }
}

impl Sessions {
    pub fn count(&self) -> usize {
        self.0.lock().all.len()
    }

    /// Gives everybody the same.
    pub(super) fn tell_all(&self, body: &ByteString, metrics: &LiveMetrics, now: Instant) {
        for outlet in self.outlets() {
            let message = Outgoing {
                head: ByteString::new(),
                body: body.clone(),
            };
            if outlet.put(message, now) == Put::TooSlow {
                metrics.closed(Close::TooSlow);
            }
        }
    }

    /// Has everybody subscribe again.
    pub(super) fn renew_all(&self) {
        for outlet in self.outlets() {
            outlet.renew();
        }
    }

    /// Closes everybody, and lets nobody in any more.
    pub fn stop(&self, metrics: &LiveMetrics) {
        self.0.lock().stopping = true;
        for outlet in self.outlets() {
            if outlet.close(Close::GoingAway) {
                metrics.closed(Close::GoingAway);
            }
        }
    }

    /// Closes who takes nothing, and cuts off who was closed and does not go.
    pub(super) fn sweep(&self, patience: Duration, metrics: &LiveMetrics, now: Instant) {
        for outlet in self.outlets() {
            if outlet.stands_still(now, patience) && outlet.close(Close::TooSlow) {
                metrics.closed(Close::TooSlow);
            }
        }
        let mut inner = self.0.lock();
        let inner = &mut *inner;
        for session in inner.all.values_mut() {
            if session.outlet.is_closed()
                && let Some(socket) = session.socket.take()
            {
                inner.doomed.push((now + GRACE, socket));
            }
        }
        inner.doomed.retain(|(at, socket)| {
            let wait = *at > now;
            if !wait {
                // One that has gone by itself cannot be cut off, and need not be.
                let _ = socket.shutdown(Shutdown::Both);
            }
            wait
        });
    }

    fn outlets(&self) -> Vec<Arc<Outlet>> {
        let inner = self.0.lock();
        inner.all.values().map(|session| session.outlet.clone()).collect()
    }
}
