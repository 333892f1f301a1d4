//! A proxy between a client and a PostgreSQL server that breaks their connections, also at the very moment of a
//! commit.
//!
//! It reads the protocol as far as where messages begin and end; TLS is declined. It runs on a thread of its own,
//! whatever the test's runtime does.

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::{Buf, BytesMut};
use reqwest::Url;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{ReadHalf, WriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::Runtime;
use tokio::sync::watch;

use super::port::free_port;

/// What becomes of connections and of what is sent through them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    Pass,
    /// New connections are refused; those there are go on.
    Refuse,
    /// Connections are taken and nothing gets through, either way. It arrives once the mode is another.
    Silence,
}

/// Begins with [`Mode::Pass`], and ends with this value, as do its connections.
pub struct Proxy {
    address: SocketAddr,
    state: Arc<State>,
    runtime: Option<Runtime>,
}

struct State {
    server: SocketAddr,
    mode: watch::Sender<Mode>,
    listens: watch::Sender<bool>,
    /// How often everything was cut.
    cuts: watch::Sender<u64>,
    latency: watch::Sender<Duration>,
    /// How many to lose from now on, and how many were.
    answers: Losses,
    commits: Losses,
}

#[derive(Default)]
struct Losses {
    wanted: AtomicU64,
    done: AtomicU64,
}

impl Proxy {
    /// In front of the server that listens at `server`.
    pub async fn before(server: SocketAddr) -> Self {
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, free_port()));
        let state = Arc::new(State {
            server,
            mode: watch::Sender::new(Mode::Pass),
            listens: watch::Sender::new(false),
            cuts: watch::Sender::new(0),
            latency: watch::Sender::new(Duration::ZERO),
            answers: Losses::default(),
            commits: Losses::default(),
        });
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .unwrap();
        runtime.spawn(listen(address, state.clone()));
        let proxy = Self {
            address,
            state,
            runtime: Some(runtime),
        };
        proxy.set(Mode::Pass).await;
        proxy
    }

    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The same database, by way of this proxy.
    pub fn url(&self, url: &str) -> String {
        let mut url: Url = url.parse().unwrap();
        url.set_ip_host(self.address.ip()).unwrap();
        url.set_port(Some(self.address.port())).unwrap();
        url.into()
    }

    /// New connections find it so when this returns.
    pub async fn set(&self, mode: Mode) {
        self.state.mode.send_replace(mode);
        let mut listens = self.state.listens.subscribe();
        listens
            .wait_for(|listens| *listens == (mode != Mode::Refuse))
            .await
            .unwrap();
    }

    /// Closes every connection there is, both ways.
    pub fn cut(&self) {
        self.state.cuts.send_modify(|cuts| *cuts += 1);
    }

    /// Everything that is sent, either way, arrives so much later.
    pub fn delay(&self, latency: Duration) {
        self.state.latency.send_replace(latency);
    }

    /// The next `count` commits take place, and in place of the answer the client's connection is closed.
    pub fn lose_answers(&self, count: u64) {
        self.state.answers.wanted.store(count, Ordering::SeqCst);
    }

    /// How often that has happened. The answers were there: these transactions are committed.
    pub fn answers_lost(&self) -> u64 {
        self.state.answers.done.load(Ordering::SeqCst)
    }

    /// The next `count` messages that ask for a `COMMIT` never arrive, and both connections are closed: to the client
    /// it looks the same, and nothing is committed.
    pub fn lose_commits(&self, count: u64) {
        self.state.commits.wanted.store(count, Ordering::SeqCst);
    }

    /// How often that has happened.
    pub fn commits_lost(&self) -> u64 {
        self.state.commits.done.load(Ordering::SeqCst)
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

impl Losses {
    /// Whether this one is to be lost.
    fn take(&self) -> bool {
        let less = |wanted: u64| wanted.checked_sub(1);
        let taken = self
            .wanted
            .fetch_update(Ordering::SeqCst, Ordering::SeqCst, less)
            .is_ok();
        self.done.fetch_add(u64::from(taken), Ordering::SeqCst);
        taken
    }
}

async fn listen(address: SocketAddr, state: Arc<State>) {
    let mut mode = state.mode.subscribe();
    let mut listener = None;
    loop {
        let refuses = *mode.borrow_and_update() == Mode::Refuse;
        if refuses {
            listener = None;
        } else if listener.is_none() {
            listener = Some(TcpListener::bind(address).await.unwrap());
        }
        state.listens.send_replace(!refuses);
        tokio::select! {
            client = accept(listener.as_ref()) => {
                let state = state.clone();
                let mut cuts = state.cuts.subscribe();
                tokio::spawn(async move {
                    tokio::select! {
                        _ = connect(client, &state) => {}
                        _ = cuts.changed() => {}
                    }
                });
            }
            _ = mode.changed() => {}
        }
    }
}

async fn accept(listener: Option<&TcpListener>) -> TcpStream {
    match listener {
        Some(listener) => listener.accept().await.unwrap().0,
        None => std::future::pending().await,
    }
}

/// A connection, until either side or the proxy ends it.
async fn connect(mut client: TcpStream, state: &State) -> io::Result<()> {
    let mut server = TcpStream::connect(state.server).await?;
    client.set_nodelay(true)?;
    server.set_nodelay(true)?;
    introduce(&mut client, &mut server, state).await?;
    let (from_client, to_client) = client.split();
    let (from_server, to_server) = server.split();
    tokio::select! {
        ended = pump(from_client, to_server, state, |message| asks_to_commit(message) && state.commits.take()) => ended,
        ended = pump(from_server, to_client, state, |message| says_committed(message) && state.answers.take()) => ended,
    }
}

/// The first message, which alone has no type before its length.
async fn introduce(client: &mut TcpStream, server: &mut TcpStream, state: &State) -> io::Result<()> {
    const TLS: u32 = 80_877_103;
    const GSS: u32 = 80_877_104;
    loop {
        let length = client.read_u32().await?;
        let code = client.read_u32().await?;
        let mut rest = vec![0; (length as usize).saturating_sub(8)];
        client.read_exact(&mut rest).await?;
        state.lets_pass().await;
        if matches!(code, TLS | GSS) {
            client.write_all(b"N").await?;
            continue;
        }
        let mut message = BytesMut::new();
        message.extend_from_slice(&length.to_be_bytes());
        message.extend_from_slice(&code.to_be_bytes());
        message.extend_from_slice(&rest);
        return server.write_all(&message).await;
    }
}

/// Forwards whole messages until one `ends` the connection, which is not forwarded, nor what was read with it.
async fn pump(
    mut from: ReadHalf<'_>,
    mut to: WriteHalf<'_>,
    state: &State,
    ends: impl Fn(&[u8]) -> bool,
) -> io::Result<()> {
    let mut held = BytesMut::with_capacity(64 << 10);
    while from.read_buf(&mut held).await? > 0 {
        let mut whole = 0;
        while let Some(length) = message_length(&held[whole..]) {
            if ends(&held[whole..whole + length]) {
                return Ok(());
            }
            whole += length;
        }
        state.lets_pass().await;
        to.write_all(&held[..whole]).await?;
        held.advance(whole);
    }
    Ok(())
}

impl State {
    async fn lets_pass(&self) {
        let latency = *self.latency.borrow();
        tokio::time::sleep(latency).await;
        let _ = self
            .mode
            .subscribe()
            .wait_for(|mode| *mode != Mode::Silence)
            .await;
    }
}

/// Type and all, once the message that `bytes` begin with is there whole.
fn message_length(bytes: &[u8]) -> Option<usize> {
    let length: [u8; 4] = bytes.get(1..5)?.try_into().ok()?;
    let length = 1 + u32::from_be_bytes(length) as usize;
    (bytes.len() >= length).then_some(length)
}

/// A simple query, or the preparation of one.
fn asks_to_commit(message: &[u8]) -> bool {
    let text = match message[0] {
        b'Q' => &message[5..],
        // After the name of the statement.
        b'P' => message[5..]
            .splitn(2, |byte| *byte == 0)
            .nth(1)
            .unwrap_or_default(),
        _ => return false,
    };
    text.trim_ascii_start()
        .get(..6)
        .is_some_and(|word| word.eq_ignore_ascii_case(b"commit"))
}

/// The server's word that a transaction is committed, however it was asked.
fn says_committed(message: &[u8]) -> bool {
    message[0] == b'C' && &message[5..] == b"COMMIT\0"
}
