//! A client of the live wire, as anybody could write it.

use std::time::Duration;

use futures_util::{SinkExt, StreamExt};
use serde_json::{Value, json};
use tokio::net::{TcpSocket, TcpStream};
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::http::{HeaderName, HeaderValue};
use tokio_tungstenite::tungstenite::{Error, Message};
use tokio_tungstenite::{WebSocketStream, client_async};

use crate::support::App;

/// How long a test waits for what never comes.
const PATIENCE: Duration = Duration::from_secs(120);

pub struct Client(pub WebSocketStream<TcpStream>);

/// How a connection ended.
#[derive(Debug, PartialEq, Eq)]
pub enum End {
    Closed(u16),
    /// Without a word.
    Broken,
}

impl Client {
    pub async fn connect(app: &App) -> Self {
        Self::connect_with(app, &[]).await.unwrap()
    }

    pub async fn connect_with(app: &App, headers: &[(&str, &str)]) -> Result<Self, Error> {
        let socket = TcpSocket::new_v4().unwrap();
        Self::handshake(app, socket, headers).await
    }

    /// One whose side of the connection holds little, so that what it does not read soon waits at the server.
    pub async fn connect_narrow(app: &App) -> Self {
        let socket = TcpSocket::new_v4().unwrap();
        socket.set_recv_buffer_size(4 << 10).unwrap();
        Self::handshake(app, socket, &[]).await.unwrap()
    }

    async fn handshake(app: &App, socket: TcpSocket, headers: &[(&str, &str)]) -> Result<Self, Error> {
        let stream = socket.connect(app.address).await.unwrap();
        let mut request = format!("ws://{}/ws/realtime", app.address).into_client_request()?;
        for (name, value) in headers {
            let name: HeaderName = name.parse().unwrap();
            request
                .headers_mut()
                .insert(name, HeaderValue::from_str(value).unwrap());
        }
        client_async(request, stream)
            .await
            .map(|(stream, _)| Self(stream))
    }

    pub async fn send(&mut self, message: Value) {
        self.send_text(&message.to_string()).await;
    }

    pub async fn send_text(&mut self, text: &str) {
        self.0.send(Message::text(text)).await.unwrap();
    }

    pub async fn subscribe(&mut self, id: &str, topic: &str) {
        self.send(json!({"type": "subscribe", "id": id, "topic": topic}))
            .await;
    }

    /// The next message but heartbeats, or how it ended.
    pub async fn next(&mut self) -> Result<Value, End> {
        loop {
            let message = tokio::time::timeout(PATIENCE, self.0.next()).await;
            match message.expect("nothing more is said") {
                Some(Ok(Message::Text(text))) => {
                    let message: Value = serde_json::from_str(&text).unwrap();
                    if message["type"] != "heartbeat" {
                        return Ok(message);
                    }
                }
                Some(Ok(Message::Close(Some(frame)))) => return Err(End::Closed(frame.code.into())),
                Some(Ok(_)) => {}
                Some(Err(_)) | None => return Err(End::Broken),
            }
        }
    }

    /// The next message, which must be of that type.
    pub async fn expect(&mut self, kind: &str) -> Value {
        let message = self.next().await.unwrap();
        assert_eq!(message["type"], kind, "{message}");
        message
    }

    /// The next message of that type that `wanted` wants; others are passed over.
    pub async fn find(&mut self, kind: &str, wanted: impl Fn(&Value) -> bool) -> Value {
        loop {
            let message = self.next().await.unwrap();
            if message["type"] == kind && wanted(&message) {
                return message;
            }
        }
    }

    /// Reads to the end.
    pub async fn end(&mut self) -> End {
        loop {
            if let Err(end) = self.next().await {
                return end;
            }
        }
    }
}
