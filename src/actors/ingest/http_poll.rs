//! URLs that are asked again and again: `kind = "http_poll"`.
//!
//! Every URL has a round of its own. Invariants: what an answer holds is stored once: the hash of the last one is stored with its
//! readings, and the same again is not taken; an answer's `ETag` is sent back only after it was stored, so that no 304 stands for what
//! is lost. How it fails: an answer that is no success, too long or too late is counted and shown, and asked for again after a
//! while. Secrets are in no log line and no status: of a URL only host and path are shown.

use std::cell::RefCell;
use std::rc::Rc;
use std::time::{Duration, Instant};

use futures_util::future::{LocalBoxFuture, join_all};
use reqwest::header::{
    ETAG, HeaderMap, HeaderValue, IF_MODIFIED_SINCE, IF_NONE_MATCH, LAST_MODIFIED, RETRY_AFTER,
};
use reqwest::{StatusCode, Url};
use sha2::{Digest, Sha256};

use super::link::{Fetch, Link, Stopped};
use super::{Payload, Place, SourceDetail};
use crate::decode::Hints;
use crate::metrics::UrlFigures;

/// URLs that are shown.
const SHOWN: usize = 100;
/// The longest wait that a server may ask for.
const LONGEST_WAIT: Duration = Duration::from_secs(3600);

pub struct HttpPollOptions {
    pub urls: Vec<PolledUrl>,
    /// Has the time-outs, and the headers that every request has.
    pub client: reqwest::Client,
    pub interval: Duration,
    /// How long to wait after an error.
    pub error_interval: Duration,
    /// The longest answer, in bytes.
    pub max_body: usize,
}

pub struct PolledUrl {
    pub url: Url,
    /// The sensor of what names none.
    pub sensor: Option<String>,
}

/// What is shown of one URL.
#[derive(Debug, Clone, Default, PartialEq, serde::Serialize)]
pub struct UrlStatus {
    /// Without what may be secret in it.
    pub url: String,
    pub requests: u64,
    /// Answers that were new.
    pub stored: u64,
    /// Answers that said the same as the one before.
    pub unchanged: u64,
    pub errors: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_error: Option<String>,
}

/// What is shown of the source: the first hundred URLs.
#[derive(Debug, Clone, Default, PartialEq, serde::Serialize)]
pub struct HttpPollStatus {
    pub count: usize,
    pub urls: Vec<UrlStatus>,
}

pub struct HttpPollFetch {
    options: HttpPollOptions,
    status: RefCell<Vec<UrlStatus>>,
    figures: UrlFigures,
}

/// What an answer came to.
enum Answer {
    Unchanged,
    New {
        body: Vec<u8>,
        etag: Option<HeaderValue>,
        modified: Option<HeaderValue>,
    },
}

#[derive(Debug, thiserror::Error)]
enum PollError {
    #[error("the request failed: {0}")]
    Failed(String),
    #[error("the answer is {0}")]
    Status(StatusCode, Option<Duration>),
    #[error("the answer is longer than {0} bytes (max_body)")]
    TooLong(usize),
}

impl HttpPollFetch {
    pub fn new(options: HttpPollOptions, figures: UrlFigures) -> Self {
        let shown = |polled: &PolledUrl| UrlStatus {
            url: shown(&polled.url),
            ..UrlStatus::default()
        };
        Self {
            status: RefCell::new(options.urls.iter().map(shown).collect()),
            options,
            figures,
        }
    }

    async fn poll(&self, index: usize, link: &Link) -> Result<(), Stopped> {
        let polled = &self.options.urls[index];
        let label = shown(&polled.url);
        let position = position(polled);
        let mut stored = link.insist_position(&position).await?;
        let mut conditions = HeaderMap::new();
        let mut failures: u32 = 0;
        loop {
            link.go().await?;
            let began = Instant::now();
            let Some(answer) = link.unless_told(self.ask(polled, &conditions)).await else {
                continue;
            };
            self.note(index, |status| status.requests += 1);
            let pause = match answer {
                Ok(Answer::Unchanged) => {
                    self.unchanged(index);
                    self.options.interval
                }
                Ok(Answer::New { body, etag, modified }) => {
                    let hash = hash(&body);
                    if stored == Some(hash) {
                        self.unchanged(index);
                    } else {
                        let arrival = link.intake.now();
                        let payload = Payload {
                            bytes: &body,
                            arrival,
                            place: Place {
                                label: &label,
                                offset: None,
                                key: None,
                            },
                            hints: Hints {
                                sensor: polled.sensor.as_deref(),
                                metric: None,
                            },
                        };
                        link.store(body.len(), |intake| {
                            let here = link.stored_at(position.clone(), hash);
                            (intake.decode(payload), vec![here])
                        })
                        .await?;
                        stored = Some(hash);
                        self.note(index, |status| status.stored += 1);
                        self.figures.stored.inc();
                    }
                    conditions.clear();
                    for (name, value) in [(IF_NONE_MATCH, etag), (IF_MODIFIED_SINCE, modified)] {
                        conditions.extend(value.map(|value| (Some(name), value)));
                    }
                    self.options.interval
                }
                Err(error) => {
                    if failures == 0 || failures.is_power_of_two() {
                        let source = link.intake.source().as_str();
                        tracing::warn!(source, url = label, %error, failures, "a url cannot be polled");
                    }
                    failures = failures.saturating_add(1);
                    self.note(index, |status| {
                        status.errors += 1;
                        status.last_error = Some(error.to_string());
                    });
                    self.figures.failed.inc();
                    self.show_failing();
                    let asked = match error {
                        PollError::Status(_, wait) => wait.unwrap_or_default(),
                        _ => Duration::ZERO,
                    };
                    link.rest(self.options.error_interval.max(asked)).await;
                    continue;
                }
            };
            failures = 0;
            self.note(index, |status| status.last_error = None);
            self.figures.answered(link.intake.now());
            self.show_failing();
            link.rest(pause.saturating_sub(began.elapsed())).await;
        }
    }

    async fn ask(&self, polled: &PolledUrl, conditions: &HeaderMap) -> Result<Answer, PollError> {
        let request = self
            .options
            .client
            .get(polled.url.clone())
            .headers(conditions.clone());
        // What the client says of the URL may be secret.
        let failed = |error: reqwest::Error| PollError::Failed(causes(&error.without_url()));
        let mut response = request.send().await.map_err(failed)?;
        let status = response.status();
        if status == StatusCode::NOT_MODIFIED && !conditions.is_empty() {
            return Ok(Answer::Unchanged);
        }
        if !status.is_success() {
            let wait = response
                .headers()
                .get(RETRY_AFTER)
                .and_then(|wait| wait.to_str().ok());
            let wait = wait
                .and_then(|wait| wait.trim().parse().ok())
                .map(Duration::from_secs);
            return Err(PollError::Status(status, wait.map(|wait| wait.min(LONGEST_WAIT))));
        }
        let mut body = Vec::new();
        while let Some(chunk) = response.chunk().await.map_err(failed)? {
            if body.len() + chunk.len() > self.options.max_body {
                return Err(PollError::TooLong(self.options.max_body));
            }
            body.extend_from_slice(&chunk);
        }
        let header = |name| response.headers().get(name).cloned();
        Ok(Answer::New {
            body,
            etag: header(ETAG),
            modified: header(LAST_MODIFIED),
        })
    }

    fn unchanged(&self, index: usize) {
        self.note(index, |status| status.unchanged += 1);
        self.figures.unchanged.inc();
    }

    fn show_failing(&self) {
        let status = self.status.borrow();
        let failing = status.iter().filter(|url| url.last_error.is_some()).count();
        self.figures.failing.set(failing as i64);
    }

    fn note(&self, index: usize, change: impl FnOnce(&mut UrlStatus)) {
        if let Some(status) = self.status.borrow_mut().get_mut(index) {
            change(status);
        }
    }
}

impl Fetch for HttpPollFetch {
    fn run(self: Rc<Self>, link: Rc<Link>) -> LocalBoxFuture<'static, ()> {
        Box::pin(async move {
            let rounds = (0..self.options.urls.len()).map(|index| self.poll(index, &link));
            join_all(rounds).await;
        })
    }

    fn detail(&self) -> SourceDetail {
        let all = self.status.borrow();
        SourceDetail::HttpPoll(HttpPollStatus {
            count: all.len(),
            urls: all.iter().take(SHOWN).cloned().collect(),
        })
    }
}

/// An error with what led to it: its own words alone say little.
fn causes(error: &reqwest::Error) -> String {
    let mut text = error.to_string();
    let mut cause = std::error::Error::source(error);
    while let Some(error) = cause {
        text.push_str(": ");
        text.push_str(&error.to_string());
        cause = error.source();
    }
    text
}

/// Host and path: user, password and query may be secret.
fn shown(url: &Url) -> String {
    let port = url.port().map(|port| format!(":{port}")).unwrap_or_default();
    format!(
        "{}://{}{port}{}",
        url.scheme(),
        url.host_str().unwrap_or_default(),
        url.path()
    )
}

/// What the position of a URL is called: that of another sensor is another one.
fn position(polled: &PolledUrl) -> String {
    let mut digest = Sha256::new();
    digest.update(polled.url.as_str());
    digest.update([0]);
    digest.update(polled.sensor.as_deref().unwrap_or_default());
    let name = data_encoding::HEXLOWER.encode(&digest.finalize()[..16]);
    format!("http_poll/{name}")
}

fn hash(body: &[u8]) -> i64 {
    i64::from_le_bytes(twox_hash::XxHash64::oneshot(0, body).to_le_bytes())
}
