//! The session of a client: an actor at the end of a WebSocket.
//!
//! This is the only file that knows actix-web-actors. The crate is marked as deprecated in favor of one without actors; but a session
//! here is an actor, with timers, a life and messages of its own, and that is what this crate gives. Whoever wants to replace it has
//! this file to write.
//!
//! What must be known of it: the actor lives in the body of the answer and is polled only while the connection takes more bytes. So
//! an actor whose client stands still does nothing, sees no timer and reads no mailbox; what is to be done then is done by the hub
//! ([`Sessions::sweep`](crate::actors::hub::sessions::Sessions)). What the crate has to write it keeps without a limit, so it is given
//! no more than [`AT_ONCE`] bytes each time it is polled, long messages in fragments, and everything else waits in the
//! [`Outlet`](crate::actors::hub::outlet::Outlet), which has a limit and shares what it holds.
//!
//! Invariants: nobody is told anything before he is let in. No log line holds a token or what a client sent. The actor has no
//! `stopped`, which would run on damaged state after a panic; what must be given back is given back on drop.

use std::collections::BTreeMap;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use actix::prelude::*;
use actix_http::ws::{Codec, Item};
use actix_web::http::header;
use actix_web::web::{Bytes, Data, Payload};
use actix_web::{HttpRequest, HttpResponse};
use actix_web_actors::ws::{
    CloseCode, CloseReason, Message, ProtocolError, WebsocketContext, WsResponseBuilder,
};
use bytestring::ByteString;
use futures_util::Stream;
use secrecy::{ExposeSecret, SecretString};
use tokio::time::Instant;

use super::protocol::{Allowance, Misunderstood, Request};
use crate::actors::hub::frames;
use crate::actors::hub::outlet::{Close, Outgoing, Outlet, Put, Taken};
use crate::actors::hub::sessions::Connection;
use crate::actors::hub::topic::{Refusal, Topic, period};
use crate::actors::hub::{Since, Subscribe, Unsubscribe};
use crate::web::auth::Role;
use crate::web::gate::Gate;
use crate::web::problem::{Kind, Problem};
use crate::web::state::AppState;

/// Bytes that are handed to the connection before it must have written some.
const AT_ONCE: usize = 32 << 10;
/// A longer message is sent in fragments of this.
const FRAGMENT: usize = 16 << 10;
/// How long a client may take to say who it is.
const LOGIN: Duration = Duration::from_secs(10);
/// Who says nothing for so long is told of the overview.
const SILENCE: Duration = Duration::from_secs(1);
/// How often it is asked whether a token still is one.
const RECHECK: Duration = Duration::from_secs(2);
/// How long the hub may take to hear of a subscription.
const HUB_PATIENCE: Duration = Duration::from_secs(5);

type Ctx = WebsocketContext<Session>;

/// Who the client is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Access {
    /// It must show a token first.
    None,
    /// It needs none.
    Local,
    /// The row of its token.
    Token(String),
}

pub struct Session {
    state: Data<AppState>,
    gate: Data<Gate>,
    place: Connection,
    peer: Option<std::net::SocketAddr>,
    access: Access,
    subscriptions: BTreeMap<String, (Topic, u64)>,
    allowance: Allowance,
    heard_at: Instant,
    /// It has sent a message, or need not.
    spoke: bool,
}

/// Answers the handshake and starts the session.
pub fn start(
    request: &HttpRequest,
    payload: Payload,
    state: Data<AppState>,
    gate: Data<Gate>,
    place: Connection,
    access: Access,
) -> Result<HttpResponse, Problem> {
    let settings = &state.live.settings;
    let now = Instant::now();
    let max_message = usize::try_from(settings.max_message).unwrap_or(usize::MAX);
    let session = Session {
        allowance: Allowance::new(settings.messages_per_second, now),
        state: state.clone(),
        gate,
        place,
        peer: request.peer_addr(),
        access,
        subscriptions: BTreeMap::new(),
        heard_at: now,
        spoke: false,
    };
    let started = WsResponseBuilder::new(session, request, payload)
        .codec(Codec::new().max_size(max_message))
        .start();
    started.map_err(|error| {
        let problem = Problem::new(Kind::BadRequest, format!("the handshake is wrong: {error}"));
        problem.header(header::SEC_WEBSOCKET_VERSION, "13")
    })
}

impl Session {
    fn put(&self, message: Outgoing) {
        if self.place.outlet.put(message, Instant::now()) == Put::TooSlow {
            self.state.live.live.metrics.closed(Close::TooSlow);
        }
    }

    fn close(&self, close: Close) {
        if self.place.outlet.close(close) {
            self.state.live.live.metrics.closed(close);
        }
    }

    fn refuse(&self, id: Option<&str>, refusal: &Refusal) {
        self.put(frames::error(id, refusal.code, &refusal.detail));
    }

    fn obey(&mut self, text: &str, ctx: &mut Ctx) {
        match Request::parse(text) {
            Ok(Request::Authenticate(token)) => self.authenticate(token, ctx),
            Ok(_) | Err(_) if self.access == Access::None => self.close(Close::Unauthorized),
            Ok(Request::Subscribe {
                id,
                topic,
                period,
                since,
            }) => self.subscribe(id, topic, period, since, ctx),
            Ok(Request::Unsubscribe(id)) => {
                if self.subscriptions.remove(&id).is_some() {
                    let outlet = self.place.outlet.clone();
                    self.tell_hub(Unsubscribe { outlet, id }, ctx);
                }
            }
            Err(Misunderstood::NotJson) => self.close(Close::BadProtocol),
            Err(Misunderstood::Refused(id, refusal)) => self.refuse(id.as_deref(), &refusal),
        }
    }

    fn subscribe(&mut self, id: String, topic: Topic, period: u64, since: Option<Since>, ctx: &mut Ctx) {
        let max = self.state.live.settings.max_subscriptions as usize;
        if !self.subscriptions.contains_key(&id) && self.subscriptions.len() >= max {
            let detail = format!("a connection may have {max} subscriptions (live.max_subscriptions)");
            return self.refuse(Some(&id), &Refusal::new("too-many-subscriptions", detail));
        }
        self.subscriptions.insert(id.clone(), (topic.clone(), period));
        let subscribe = Subscribe {
            outlet: self.place.outlet.clone(),
            id,
            topic,
            period,
            since,
            again: false,
        };
        self.tell_hub(subscribe, ctx);
    }

    /// One message after the other: the session does nothing else meanwhile.
    fn tell_hub<M>(&self, message: M, ctx: &mut Ctx)
    where
        M: actix::Message<Result = ()> + Send + 'static,
        crate::actors::hub::Hub: Handler<M>,
    {
        let sent = self.state.live.hub.send(message).timeout(HUB_PATIENCE);
        ctx.wait(sent.into_actor(self).map(|result, session, _| {
            if result.is_err() {
                session.refuse(None, &Refusal::new("busy", "the hub does not answer, try again"));
            }
        }));
    }

    fn authenticate(&mut self, token: SecretString, ctx: &mut Ctx) {
        let state = self.state.clone();
        let identify = async move { state.tokens.identify(token.expose_secret()).await };
        ctx.wait(identify.into_actor(self).map(|found, session, ctx| match found {
            Ok(Some((role, row))) if role >= Role::Viewer => {
                session.access = Access::Token(row.id);
                session.put(frames::authenticated(role.as_str()));
                session.wait_for_a_word(ctx);
            }
            Ok(Some(_)) => session.close(Close::Forbidden),
            Ok(None) => {
                tracing::warn!(client = ?session.peer.map(|peer| peer.ip()), "a token was refused");
                let close = match session.gate.failed(session.peer) {
                    Ok(()) => Close::Unauthorized,
                    Err(_) => Close::TooMany,
                };
                session.close(close);
            }
            Err(error) => {
                tracing::warn!(%error, "a token could not be looked up");
                session.refuse(
                    None,
                    &Refusal::new("busy", "the database does not answer at the moment"),
                );
            }
        }));
    }

    /// Whoever says nothing wants to see what there is.
    fn wait_for_a_word(&mut self, ctx: &mut Ctx) {
        ctx.run_later(SILENCE, |session, ctx| {
            if !session.spoke
                && session.access != Access::None
                && let (Ok(topic), Ok(period)) = (Topic::parse("overview", None), period(None))
            {
                session.spoke = true;
                session.subscribe("overview".to_owned(), topic, period, None, ctx);
            }
        });
    }

    fn recheck(&self, ctx: &mut Ctx) {
        let Access::Token(row) = self.access.clone() else {
            return;
        };
        let state = self.state.clone();
        let look = async move { state.tokens.role_of(&row).await };
        ctx.spawn(look.into_actor(self).map(|found, session, _| {
            // While the store is away, what was known last goes on.
            if found.is_ok_and(|role| role.is_none()) {
                session.close(Close::Unauthorized);
            }
        }));
    }

    /// The hub has forgotten us.
    fn renew(&mut self, ctx: &mut Ctx) {
        for (id, (topic, period)) in self.subscriptions.clone() {
            let again = Subscribe {
                outlet: self.place.outlet.clone(),
                id,
                topic,
                period,
                since: None,
                again: true,
            };
            self.tell_hub(again, ctx);
        }
    }
}

impl Actor for Session {
    type Context = Ctx;

    fn started(&mut self, ctx: &mut Ctx) {
        ctx.add_stream(Deliveries::new(self.place.outlet.clone()));
        let granted = self.access != Access::None;
        let state = self.state.clone();
        let settings = &state.live.settings;
        self.put(frames::hello(&state.live.live.epoch(), state.now(), granted));
        if granted {
            self.wait_for_a_word(ctx);
        } else {
            ctx.run_later(LOGIN, |session, _| {
                if session.access == Access::None {
                    session.close(Close::Unauthorized);
                }
            });
        }
        let timeout = settings.ping_timeout;
        ctx.run_interval(settings.ping_interval, move |session, ctx| {
            if session.heard_at.elapsed() >= timeout {
                session.close(Close::TooSlow);
            } else {
                ctx.ping(b"");
            }
        });
        ctx.run_interval(RECHECK, |session, ctx| session.recheck(ctx));
    }
}

impl StreamHandler<Result<Message, ProtocolError>> for Session {
    fn handle(&mut self, message: Result<Message, ProtocolError>, ctx: &mut Ctx) {
        if self.place.outlet.is_closed() {
            return;
        }
        let now = Instant::now();
        self.heard_at = now;
        if !self.allowance.take(now) {
            return self.close(Close::TooMany);
        }
        match message {
            Ok(Message::Text(text)) => {
                let first = !std::mem::replace(&mut self.spoke, true);
                self.obey(&text, ctx);
                // To say who one is, is not to say what one wants.
                if first && self.access == Access::None {
                    self.spoke = false;
                }
            }
            Ok(Message::Ping(bytes)) => ctx.pong(&bytes),
            Ok(Message::Pong(_) | Message::Nop) => {}
            Ok(Message::Close(reason)) => {
                ctx.close(reason);
                ctx.stop();
            }
            Ok(Message::Binary(_) | Message::Continuation(_)) | Err(_) => self.close(Close::BadProtocol),
        }
    }
}

impl StreamHandler<Delivery> for Session {
    fn handle(&mut self, delivery: Delivery, ctx: &mut Ctx) {
        match delivery {
            Delivery::Message(message, bytes) => {
                if bytes > 0 {
                    self.state.live.live.metrics.sent(bytes);
                }
                ctx.write_raw(message);
            }
            Delivery::Renew => self.renew(ctx),
            Delivery::Close(close) => {
                ctx.close(Some(CloseReason {
                    code: CloseCode::from(close.code()),
                    description: Some(close.as_str().to_owned()),
                }));
                ctx.stop();
            }
        }
    }
}

/// Something that the session does for the hub.
enum Delivery {
    /// Where a message begins, with its bytes.
    Message(Message, usize),
    Renew,
    Close(Close),
}

/// What waits in the outlet, in pieces that the connection can take.
struct Deliveries {
    outlet: Arc<Outlet>,
    /// Of a long message, what was not handed out yet.
    rest: Bytes,
    /// Bytes since the connection was polled.
    given: usize,
}

impl Deliveries {
    fn new(outlet: Arc<Outlet>) -> Self {
        Self {
            outlet,
            rest: Bytes::new(),
            given: 0,
        }
    }

    fn piece(&mut self) -> Message {
        let piece = self.rest.split_to(self.rest.len().min(FRAGMENT));
        self.given += piece.len();
        Message::Continuation(match self.rest.is_empty() {
            true => Item::Last(piece),
            false => Item::Continue(piece),
        })
    }

    fn begin(&mut self, Outgoing { head, body }: Outgoing) -> Message {
        let bytes = head.len() + body.len();
        if bytes > FRAGMENT {
            self.rest = body.into_bytes();
            let first = match head.is_empty() {
                true => self.rest.split_to(FRAGMENT),
                false => head.into_bytes(),
            };
            self.given += first.len();
            return Message::Continuation(Item::FirstText(first));
        }
        self.given += bytes;
        Message::Text(match head.is_empty() {
            true => body,
            false => ByteString::from(format!("{head}{body}")),
        })
    }
}

impl Stream for Deliveries {
    type Item = Delivery;

    fn poll_next(mut self: Pin<&mut Self>, task: &mut Context<'_>) -> Poll<Option<Delivery>> {
        if self.given >= AT_ONCE {
            // The connection comes back when it has room; see the top of this file.
            self.given = 0;
            task.waker().wake_by_ref();
            return Poll::Pending;
        }
        if !self.rest.is_empty() && !self.outlet.is_closed() {
            self.outlet.moves(Instant::now());
            let piece = self.piece();
            return Poll::Ready(Some(Delivery::Message(piece, 0)));
        }
        let delivery = match self.outlet.poll_take(task, Instant::now()) {
            Poll::Ready(Taken::Message(message)) => {
                let bytes = message.len();
                Delivery::Message(self.begin(message), bytes)
            }
            Poll::Ready(Taken::Renew) => Delivery::Renew,
            Poll::Ready(Taken::Close(close)) => Delivery::Close(close),
            Poll::Pending => {
                self.given = 0;
                return Poll::Pending;
            }
        };
        Poll::Ready(Some(delivery))
    }
}
