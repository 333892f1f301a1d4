//! Webhooks: a notification as JSON, posted to an address.
//!
//! Invariants: the body of a notification is always the same, and so is its header `Sensorhive-Notification`, by which
//! a receiver knows what comes again. With a secret, `Sensorhive-Signature` is `t=SECONDS,v1=HEX`: HMAC-SHA256 of the
//! seconds, a dot and the body. Neither the address, which may be a secret itself, nor a token is in errors.
//! Redirections are not followed: what is signed for one place is not for another.
//! How it fails: 2xx is taken; 408, 425, 429, 5xx and whatever keeps an answer from coming may work later; everything
//! else is for good.

mod body;

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use data_encoding::{BASE64, HEXLOWER};
use reqwest::header::{CONTENT_TYPE, RETRY_AFTER};
use reqwest::{Client, Response, StatusCode, Url};
use secrecy::{ExposeSecret, SecretString};

pub use body::{Bodies, Format};

use super::deliver::{Accepted, Deliver, DeliveryError, Trouble};
use super::links::mac;
use super::mail::LinkBase;
use super::notification::Notification;
use crate::clock::Clock;

/// The longest answer that is read.
const ANSWER: usize = 64 * 1024;

#[derive(Debug, Clone)]
pub struct WebhookOptions {
    /// As it is shown.
    pub name: String,
    pub address: Address,
    pub format: Format,
    /// Its first line is the key of the signature.
    pub secret_file: Option<PathBuf>,
    /// Its first line is sent as a bearer's token.
    pub token_file: Option<PathBuf>,
    pub timeout: Duration,
    /// PEM; whom to trust beside those whom the machine trusts.
    pub ca_file: Option<PathBuf>,
}

/// Where to post.
#[derive(Clone)]
pub enum Address {
    Plain(Url),
    /// The first line of a file, since whoever knows it may post.
    File(PathBuf),
}

impl fmt::Debug for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Address::Plain(url) => write!(f, "{}", url.host_str().unwrap_or_default()),
            Address::File(file) => write!(f, "{}", file.display()),
        }
    }
}

pub struct WebhookDeliverer {
    options: WebhookOptions,
    bodies: Bodies,
    links: Option<Arc<LinkBase>>,
    recipients: Vec<String>,
    client: Client,
    clock: Arc<dyn Clock>,
}

impl fmt::Debug for WebhookDeliverer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WebhookDeliverer")
            .field("options", &self.options)
            .finish()
    }
}

impl WebhookDeliverer {
    pub fn new(
        options: WebhookOptions,
        bodies: Bodies,
        links: Option<Arc<LinkBase>>,
        clock: Arc<dyn Clock>,
    ) -> Result<Self, DeliveryError> {
        crate::tls::install_provider();
        let setup = |error: &dyn fmt::Display| DeliveryError::retry(Trouble::Setup, error);
        let mut builder = Client::builder()
            .redirect(reqwest::redirect::Policy::none())
            .timeout(options.timeout);
        if let Some(file) = &options.ca_file {
            let pem = std::fs::read(file).map_err(|error| setup(&error))?;
            let certificates = reqwest::Certificate::from_pem_bundle(&pem);
            for certificate in certificates.map_err(|error| setup(&error.without_url()))? {
                builder = builder.add_root_certificate(certificate);
            }
        }
        Ok(Self {
            client: builder.build().map_err(|error| setup(&error.without_url()))?,
            recipients: vec![options.name.clone()],
            options,
            bodies,
            links,
            clock,
        })
    }

    fn address(&self) -> Result<Url, DeliveryError> {
        match &self.options.address {
            Address::Plain(url) => Ok(url.clone()),
            Address::File(file) => {
                let text = first_line(file)?;
                let url = Url::parse(text.expose_secret()).ok();
                url.filter(|url| matches!(url.scheme(), "http" | "https") && url.has_host())
                    .ok_or_else(|| {
                        let text = format!("{} holds no address at http:// or https://", file.display());
                        DeliveryError::retry(Trouble::Setup, text)
                    })
            }
        }
    }
}

#[async_trait]
impl Deliver for WebhookDeliverer {
    fn recipients(&self) -> &[String] {
        &self.recipients
    }

    async fn deliver(
        &self,
        notification: &Notification,
        except: &[String],
    ) -> Result<Accepted, DeliveryError> {
        if self.recipients.iter().all(|one| except.contains(one)) {
            return Ok(Accepted::default());
        }
        let mut url = self.address()?;
        let body = self
            .bodies
            .render(self.options.format, notification, self.links.as_deref())
            .map_err(|error| DeliveryError::retry(Trouble::Setup, error))?;
        let secret = self.options.secret_file.as_deref().map(first_line).transpose()?;
        let now = self.clock.now().0;
        if let Some(secret) = secret
            .as_ref()
            .filter(|_| self.options.format == Format::DingTalk)
        {
            sign_address(&mut url, secret, now / 1_000);
        }
        let mut request = self
            .client
            .post(url)
            .header(CONTENT_TYPE, "application/json; charset=utf-8")
            .header("sensorhive-notification", hex(&notification.id.0));
        if let Some(secret) = secret.filter(|_| self.options.format == Format::Json) {
            request = request.header("sensorhive-signature", signature(&secret, now / 1_000_000, &body));
        }
        if let Some(file) = &self.options.token_file {
            request = request.bearer_auth(first_line(file)?.expose_secret());
        }
        let response = request.body(body).send().await.map_err(|error| unsent(&error))?;
        let answer = judge(self.options.format, response).await?;
        Ok(Accepted {
            answer: super::words::line(&answer, super::deliver::ANSWER),
            taken: self.recipients.clone(),
            ..Accepted::default()
        })
    }
}

/// The header that proves where a body comes from, and when it was sent.
pub fn signature(secret: &SecretString, seconds: i64, body: &str) -> String {
    let tag = mac(
        secret.expose_secret().as_bytes(),
        &[format!("{seconds}.").as_bytes(), body.as_bytes()],
    );
    format!("t={seconds},v1={}", HEXLOWER.encode(&tag))
}

/// As robots of DingTalk want it.
fn sign_address(url: &mut Url, secret: &SecretString, millis: i64) {
    let secret = secret.expose_secret();
    let tag = mac(secret.as_bytes(), &[format!("{millis}\n{secret}").as_bytes()]);
    url.query_pairs_mut()
        .append_pair("timestamp", &millis.to_string())
        .append_pair("sign", &BASE64.encode(&tag));
}

async fn judge(format: Format, response: Response) -> Result<String, DeliveryError> {
    let status = response.status();
    let after = response
        .headers()
        .get(RETRY_AFTER)
        .and_then(|value| value.to_str().ok()?.parse().ok())
        .map(Duration::from_secs);
    let text = body_of(response).await;
    let answer = format!("{status} {text}");
    match status {
        status if status.is_success() => match format.refusal(&text) {
            None => Ok(answer.trim_end().to_owned()),
            Some(body::Refusal::Later) => Err(DeliveryError::retry(Trouble::Busy, answer)),
            Some(body::Refusal::Never) => Err(DeliveryError::refused(answer)),
        },
        StatusCode::REQUEST_TIMEOUT | StatusCode::TOO_EARLY | StatusCode::TOO_MANY_REQUESTS => {
            Err(later(answer, after))
        }
        status if status.is_server_error() => Err(later(answer, after)),
        _ => Err(DeliveryError::refused(answer)),
    }
}

fn later(answer: String, wanted: Option<Duration>) -> DeliveryError {
    match DeliveryError::retry(Trouble::Busy, answer) {
        DeliveryError::Retry { trouble, answer, .. } => DeliveryError::Retry {
            trouble,
            answer,
            after: wanted,
        },
        refused => refused,
    }
}

/// Its beginning. That it was taken is known by its status, so what is cut off does no harm.
async fn body_of(mut response: Response) -> String {
    let mut bytes = Vec::new();
    while bytes.len() < ANSWER
        && let Ok(Some(chunk)) = response.chunk().await
    {
        bytes.extend_from_slice(&chunk);
    }
    bytes.truncate(ANSWER);
    String::from_utf8_lossy(&bytes).trim().to_owned()
}

/// Without the address.
fn unsent(error: &reqwest::Error) -> DeliveryError {
    let trouble = match error {
        error if error.is_timeout() => Trouble::TimeOut,
        _ => Trouble::Connection,
    };
    let mut text = String::new();
    let mut cause = std::error::Error::source(error);
    while let Some(error) = cause {
        if !text.is_empty() {
            text += ": ";
        }
        text += &error.to_string();
        cause = error.source();
    }
    if text.is_empty() {
        text = "the request failed".to_owned();
    }
    DeliveryError::retry(trouble, text)
}

/// Ids are made of plain characters, but a header would fail with others.
fn hex(id: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
    match id.chars().all(plain) {
        true => id.to_owned(),
        false => HEXLOWER.encode(id.as_bytes()),
    }
}

fn first_line(file: &Path) -> Result<SecretString, DeliveryError> {
    let unusable = |why: &dyn fmt::Display| {
        DeliveryError::retry(
            Trouble::Setup,
            format!("{} cannot be used: {why}", file.display()),
        )
    };
    let text = std::fs::read_to_string(file).map(SecretString::from);
    let text = text.map_err(|error| unusable(&error))?;
    match text.expose_secret().lines().next().map(str::trim) {
        Some(line) if !line.is_empty() => Ok(SecretString::from(line)),
        _ => Err(unusable(&"its first line is empty")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_signature_is_that_of_the_standard() {
        // printf '1700000000.{}' | openssl dgst -sha256 -hmac hunter2
        let made = signature(&SecretString::from("hunter2"), 1_700_000_000, "{}");
        assert_eq!(
            made,
            "t=1700000000,v1=ff2f975170d2a2ea3d6177dad44d002ac729fec15c2e1053dc096496e07f8401"
        );
    }
}
