//! `kind = "webhook"`: programs that are told by HTTP.

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::settings::units;

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct WebhookReceiverSettings {
    /// Where to post.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub url: Option<WebUrl>,
    /// A file whose first line is where to post, where the address itself is a secret.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub url_file: Option<PathBuf>,
    pub format: WebhookFormat,
    /// Its first line signs what is posted.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub secret_file: Option<PathBuf>,
    /// Its first line is sent as `Authorization: Bearer`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub token_file: Option<PathBuf>,
    /// PEM; whom to trust beside those whom the machine trusts.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ca_file: Option<PathBuf>,
    /// How long an answer may take.
    #[serde(with = "units::interval")]
    pub timeout: Duration,
    /// A folder with templates that take the places of the built-in ones.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub templates: Option<PathBuf>,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum WebhookFormat {
    #[default]
    Json,
    Slack,
    DingTalk,
}

/// `http://` or `https://`, without name, password, query and fragment, any of which may be a secret.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WebUrl(reqwest::Url);

impl Default for WebhookReceiverSettings {
    fn default() -> Self {
        Self {
            url: None,
            url_file: None,
            format: WebhookFormat::Json,
            secret_file: None,
            token_file: None,
            ca_file: None,
            timeout: Duration::from_secs(10),
            templates: None,
        }
    }
}

impl WebhookReceiverSettings {
    pub(super) fn problems(&self) -> Vec<(&'static str, String)> {
        let mut found = Vec::new();
        match (&self.url, &self.url_file) {
            (None, None) => found.push(("url", "or `url_file` is needed: where to post".to_owned())),
            (Some(_), Some(_)) => found.push(("url", "and `url_file` exclude each other".to_owned())),
            (Some(_), None) if self.format != WebhookFormat::Json => found.push((
                "url",
                "must be in a file, named by `url_file`: whoever knows the address of such a hook may post to it".to_owned(),
            )),
            _ => {}
        }
        if self.format == WebhookFormat::Slack && self.secret_file.is_some() {
            found.push((
                "secret_file",
                "is not for Slack, which knows a hook by its address".to_owned(),
            ));
        }
        found
    }
}

impl WebUrl {
    pub fn parse(text: &str) -> Option<Self> {
        let url = reqwest::Url::parse(text).ok()?;
        let plain = matches!(url.scheme(), "http" | "https")
            && url.has_host()
            && url.username().is_empty()
            && url.password().is_none()
            && url.query().is_none()
            && url.fragment().is_none();
        plain.then_some(Self(url))
    }

    pub fn url(&self) -> &reqwest::Url {
        &self.0
    }
}

impl fmt::Display for WebUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0.as_str())
    }
}

impl Serialize for WebUrl {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for WebUrl {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        // The text is never repeated in an error: it may hold a secret.
        let text = String::deserialize(deserializer)?;
        WebUrl::parse(&text).ok_or_else(|| {
            serde::de::Error::custom(
                "must be an address such as \"https://example.org/alerts\", without password and query",
            )
        })
    }
}
