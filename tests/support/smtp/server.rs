//! aiosmtpd, a mail server in Python.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use data_encoding::BASE64;
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};

use super::report;

const ABSENT: &str = "SMTP: no mail server to be had, pip install aiosmtpd";
const PATIENCE: Duration = Duration::from_secs(60);

#[derive(Debug, Clone, Serialize)]
pub struct Options {
    /// 0 for any.
    pub port: u16,
    /// `none`, `starttls` or `implicit`.
    pub tls: &'static str,
    /// PEM files, for TLS.
    pub certificate: String,
    pub key: String,
    /// Whoever does not log in as this one may not send.
    pub user: Option<&'static str>,
    pub password: &'static str,
    /// What is said to these recipients.
    pub answers: BTreeMap<&'static str, &'static str>,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            port: 0,
            tls: "none",
            certificate: String::new(),
            key: String::new(),
            user: None,
            password: "",
            answers: BTreeMap::new(),
        }
    }
}

/// A mail that was taken.
#[derive(Debug, Clone)]
pub struct Received {
    pub from: String,
    pub to: Vec<String>,
    pub bytes: Vec<u8>,
    pub encrypted: bool,
    pub user: Option<String>,
    /// The port it came from: another for each connection.
    pub peer: u16,
}

pub struct Server {
    child: Child,
    /// It ends when this is closed.
    _stdin: ChildStdin,
    pub port: u16,
    received: Arc<Mutex<Vec<Received>>>,
}

impl Server {
    /// One that takes connections. `None`, and a line that says why, where there can be none.
    pub fn start(options: &Options) -> Option<Self> {
        let python = std::env::var("SENSORHIVE_TEST_MAIL_PYTHON").unwrap_or_else(|_| "python3".to_owned());
        let known = Command::new(&python)
            .args(["-c", "import aiosmtpd.smtp"])
            .stderr(Stdio::null())
            .status()
            .is_ok_and(|status| status.success());
        if !known {
            assert!(!report::everything_is_required(), "{ABSENT}");
            report::skipped(ABSENT);
            return None;
        }
        let mut child = Command::new(&python)
            .args(["-c", include_str!("server.py")])
            .arg(serde_json::to_string(options).unwrap())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let stdin = child.stdin.take().unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let port = lines.next().expect("the mail server ended").unwrap();
        let received = Arc::new(Mutex::new(Vec::new()));
        let to = received.clone();
        std::thread::spawn(move || {
            for line in lines.map_while(Result::ok) {
                to.lock().push(read(&line));
            }
        });
        Some(Self {
            child,
            _stdin: stdin,
            port: port.parse().unwrap(),
            received,
        })
    }

    /// All mails so far, once there are `count`.
    pub async fn received(&self, count: usize) -> Vec<Received> {
        let asking = async {
            loop {
                let received = self.received.lock().clone();
                if received.len() >= count {
                    return received;
                }
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        };
        let received = tokio::time::timeout(PATIENCE, asking).await;
        received.unwrap_or_else(|_| panic!("waited in vain for {count} mails"))
    }

    /// SIGKILL. Its port is free when this returns.
    pub fn kill(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.kill();
    }
}

fn read(line: &str) -> Received {
    #[derive(Deserialize)]
    struct Line {
        from: String,
        to: Vec<String>,
        bytes: String,
        encrypted: bool,
        user: Option<String>,
        peer: u16,
    }

    let line: Line = serde_json::from_str(line).unwrap();
    Received {
        from: line.from,
        to: line.to,
        bytes: BASE64.decode(line.bytes.as_bytes()).unwrap(),
        encrypted: line.encrypted,
        user: line.user,
        peer: line.peer,
    }
}
