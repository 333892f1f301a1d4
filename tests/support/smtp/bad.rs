//! A mail server that does one thing wrong.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;

use parking_lot::Mutex;
use tokio::io::{AsyncBufReadExt, AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;
use tokio_rustls::TlsAcceptor;

/// In the same packet as the answer to STARTTLS, by somebody on the way: an answer that says who may come in.
pub const SLIPPED_IN: &str = "250-evil.test\r\n250 AUTH PLAIN\r\n";

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Behavior {
    /// Takes the connection and says nothing.
    Silent,
    /// Says nothing after the mail.
    SilentAfterMail,
    /// Its greeting.
    Greets(&'static str),
    /// What it says to a command that begins with this.
    Says(&'static str, &'static str),
    /// What it says to the whole mail.
    SaysToMail(&'static str),
    /// Hangs up when it has got some of the mail.
    CutsMail,
    /// Hangs up when it has got the whole mail, without an answer.
    CutsAnswer,
    /// Offers STARTTLS, and then talks something else.
    BadTls,
    /// Offers STARTTLS, and does it well.
    GoodTls,
    /// The same, but somebody on the way adds [`SLIPPED_IN`].
    SlipsIn,
    /// Sends lines without end.
    Talks,
    /// Sends one line without end.
    Mumbles,
    /// Hangs up between two mails.
    LeavesAfterMail,
}

pub struct Bad {
    pub address: SocketAddr,
    /// What came, line by line, of all connections.
    heard: Arc<Mutex<Vec<String>>>,
    task: JoinHandle<()>,
}

impl Bad {
    pub async fn start(behavior: Behavior) -> Self {
        Self::begin(behavior, None).await
    }

    /// With what it takes to speak TLS.
    pub async fn with_tls(behavior: Behavior, tls: TlsAcceptor) -> Self {
        Self::begin(behavior, Some(tls)).await
    }

    async fn begin(behavior: Behavior, tls: Option<TlsAcceptor>) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let address = listener.local_addr().unwrap();
        let heard = Arc::new(Mutex::new(Vec::new()));
        let to = heard.clone();
        let task = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (heard, tls) = (to.clone(), tls.clone());
                tokio::spawn(async move {
                    let _ = serve(stream, behavior, tls, &heard).await;
                });
            }
        });
        Self { address, heard, task }
    }

    pub fn heard(&self) -> Vec<String> {
        self.heard.lock().clone()
    }
}

impl Drop for Bad {
    fn drop(&mut self) {
        self.task.abort();
    }
}

trait Both: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Both for T {}

type Stream = BufReader<Box<dyn Both>>;

async fn serve(
    stream: TcpStream,
    behavior: Behavior,
    tls: Option<TlsAcceptor>,
    heard: &Mutex<Vec<String>>,
) -> std::io::Result<()> {
    let mut stream: Stream = BufReader::new(Box::new(stream));
    let mut encrypted = false;
    match behavior {
        Behavior::Silent => {
            stream.read_to_end(&mut Vec::new()).await?;
            return Ok(());
        }
        Behavior::Talks => loop {
            stream
                .write_all(format!("220-{}\r\n", "x".repeat(400)).as_bytes())
                .await?;
        },
        Behavior::Mumbles => loop {
            stream.write_all(&[b'x'; 1_000]).await?;
        },
        Behavior::Greets(greeting) => say(&mut stream, greeting).await?,
        _ => say(&mut stream, "220 bad.test ESMTP").await?,
    }
    let mut line = String::new();
    loop {
        line.clear();
        if stream.read_line(&mut line).await? == 0 {
            return Ok(());
        }
        let command = line.trim_end().to_owned();
        heard.lock().push(command.clone());
        if let Behavior::Says(to, answer) = behavior
            && command.starts_with(to)
        {
            say(&mut stream, answer).await?;
            continue;
        }
        match command.split([' ', ':']).next().unwrap_or_default() {
            "EHLO" if offers_tls(behavior) && !encrypted => {
                say(&mut stream, "250-bad.test\r\n250 STARTTLS").await?;
            }
            "EHLO" => {
                say(
                    &mut stream,
                    "250-bad.test\r\n250-8BITMIME\r\n250 AUTH PLAIN LOGIN",
                )
                .await?
            }
            "STARTTLS" => match &tls {
                Some(tls) => {
                    let slipped_in = if behavior == Behavior::SlipsIn {
                        SLIPPED_IN
                    } else {
                        ""
                    };
                    let answer = format!("220 go ahead\r\n{slipped_in}");
                    stream.write_all(answer.as_bytes()).await?;
                    stream = BufReader::new(Box::new(tls.accept(stream.into_inner()).await?));
                    encrypted = true;
                }
                None => {
                    say(&mut stream, "220 go ahead").await?;
                    stream
                        .write_all(b"this is no handshake, whatever you may think of it\r\n")
                        .await?;
                }
            },
            "AUTH" => say(&mut stream, "235 welcome").await?,
            "DATA" => {
                say(&mut stream, "354 go on").await?;
                if !data(&mut stream, behavior, heard).await? {
                    return Ok(());
                }
            }
            "QUIT" => return say(&mut stream, "221 bye").await,
            _ => say(&mut stream, "250 OK").await?,
        }
    }
}

fn offers_tls(behavior: Behavior) -> bool {
    matches!(behavior, Behavior::BadTls | Behavior::GoodTls | Behavior::SlipsIn)
}

/// Whether to go on.
async fn data(stream: &mut Stream, behavior: Behavior, heard: &Mutex<Vec<String>>) -> std::io::Result<bool> {
    let mut line = String::new();
    for count in 0.. {
        line.clear();
        if stream.read_line(&mut line).await? == 0 || (count == 5 && behavior == Behavior::CutsMail) {
            return Ok(false);
        }
        if line == ".\r\n" {
            break;
        }
    }
    heard.lock().push("(mail)".to_owned());
    match behavior {
        Behavior::CutsAnswer => return Ok(false),
        Behavior::SilentAfterMail => {
            stream.read_to_end(&mut Vec::new()).await?;
            return Ok(false);
        }
        Behavior::SaysToMail(answer) => say(stream, answer).await?,
        _ => say(stream, "250 queued").await?,
    }
    Ok(behavior != Behavior::LeavesAfterMail)
}

async fn say(stream: &mut Stream, text: &str) -> std::io::Result<()> {
    stream.write_all(format!("{text}\r\n").as_bytes()).await?;
    stream.flush().await
}
