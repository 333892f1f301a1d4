//! `kind = "email"`: people who are told by mail.
//!
//! Invariant: neither a password nor a mail goes unencrypted over a network, unless it was asked for in so many words;
//! a password never.

use std::fmt;
use std::net::IpAddr;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use lettre::message::Mailbox;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::settings::units;

/// A mail to more is one for a mailing list.
const RECIPIENTS: usize = 50;

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct EmailReceiverSettings {
    /// The mail server.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub smtp: Option<SmtpUrl>,
    /// Of `smtp://`. Without it, none to this machine and STARTTLS to any other.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub encryption: Option<MailEncryption>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub username: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub password_file: Option<PathBuf>,
    /// PEM; whom to trust beside those whom the machine trusts.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ca_file: Option<PathBuf>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub from: Option<MailboxSetting>,
    pub to: Vec<MailboxSetting>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reply_to: Option<MailboxSetting>,
    /// How long the server may take for each answer.
    #[serde(with = "units::interval")]
    pub timeout: Duration,
    /// Connections that are kept open for the next mail.
    #[serde(deserialize_with = "units::between::<0, 100, _, _>")]
    pub idle_connections: u32,
    /// A folder with templates that take the places of the built-in ones.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub templates: Option<PathBuf>,
}

impl Default for EmailReceiverSettings {
    fn default() -> Self {
        Self {
            smtp: None,
            encryption: None,
            username: None,
            password_file: None,
            ca_file: None,
            from: None,
            to: Vec::new(),
            reply_to: None,
            timeout: Duration::from_secs(30),
            idle_connections: 2,
            templates: None,
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum MailEncryption {
    None,
    StartTls,
}

/// `smtp://HOST:PORT`, or `smtps://HOST:PORT` for encryption from the first byte.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SmtpUrl {
    pub host: String,
    /// Without it, 465 for `smtps`, 25 to this machine, else 587.
    pub port: Option<u16>,
    pub tls: bool,
}

/// `name@example.org`, or `Name <name@example.org>`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MailboxSetting(pub Mailbox);

impl EmailReceiverSettings {
    pub(super) fn problems(&self) -> Vec<(&'static str, String)> {
        let mut found = Vec::new();
        let mut must = |holds: bool, key: &'static str, message: &str| {
            if !holds {
                found.push((key, message.to_owned()));
            }
        };
        must(
            self.smtp.is_some(),
            "smtp",
            "is needed, such as \"smtp://127.0.0.1:25\" or \"smtps://mail.example.org\"",
        );
        must(
            self.from.is_some(),
            "from",
            "is needed, such as \"sensorhive@example.org\"",
        );
        must(
            !self.to.is_empty(),
            "to",
            "needs somebody, such as [\"ops@example.org\"]",
        );
        must(
            self.to.len() <= RECIPIENTS,
            "to",
            "has more than 50 addresses: use that of a mailing list",
        );
        let twice =
            |at: usize, one: &MailboxSetting| self.to[..at].iter().any(|other| other.0.email == one.0.email);
        must(
            !self.to.iter().enumerate().any(|(at, one)| twice(at, one)),
            "to",
            "has the same address twice",
        );
        must(
            self.username.is_some() == self.password_file.is_some(),
            if self.username.is_some() {
                "username"
            } else {
                "password_file"
            },
            "is nothing alone: `username` and `password_file` need each other",
        );
        let Some(smtp) = &self.smtp else {
            return found;
        };
        must(
            !(smtp.tls && self.encryption.is_some()),
            "encryption",
            "is only for `smtp://`: with `smtps://` everything is encrypted",
        );
        must(
            smtp.tls
                || self.encryption() == MailEncryption::StartTls
                || self.username.is_none()
                || smtp.is_local(),
            "encryption",
            "must not be \"none\" with a password: it would go over the network for everybody to read",
        );
        found
    }

    /// Of `smtp://`.
    pub fn encryption(&self) -> MailEncryption {
        let is_local = self.smtp.as_ref().is_some_and(SmtpUrl::is_local);
        self.encryption.unwrap_or(match is_local {
            true => MailEncryption::None,
            false => MailEncryption::StartTls,
        })
    }
}

impl SmtpUrl {
    pub fn parse(text: &str) -> Option<Self> {
        let url = reqwest::Url::parse(text).ok()?;
        let tls = match url.scheme() {
            "smtp" => false,
            "smtps" => true,
            _ => return None,
        };
        let bare = url.username().is_empty()
            && url.password().is_none()
            && matches!(url.path(), "" | "/")
            && url.query().is_none()
            && url.fragment().is_none()
            && url.port() != Some(0);
        let host = url.host_str().filter(|host| bare && !host.is_empty())?;
        Some(Self {
            host: host.trim_start_matches('[').trim_end_matches(']').to_owned(),
            port: url.port(),
            tls,
        })
    }

    /// Whether what is sent there stays on this machine.
    pub fn is_local(&self) -> bool {
        let address = self
            .host
            .parse()
            .is_ok_and(|address: IpAddr| address.is_loopback());
        address || self.host.eq_ignore_ascii_case("localhost")
    }

    pub fn port(&self) -> u16 {
        self.port.unwrap_or(match (self.tls, self.is_local()) {
            (true, _) => 465,
            (false, true) => 25,
            (false, false) => 587,
        })
    }
}

impl fmt::Display for SmtpUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = if self.tls { "smtps" } else { "smtp" };
        match self.host.contains(':') {
            true => write!(f, "{scheme}://[{}]:{}", self.host, self.port()),
            false => write!(f, "{scheme}://{}:{}", self.host, self.port()),
        }
    }
}

impl Serialize for SmtpUrl {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for SmtpUrl {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        // The text is never repeated in an error: it may hold a password.
        let text = String::deserialize(deserializer)?;
        SmtpUrl::parse(&text).ok_or_else(|| {
            serde::de::Error::custom(
                "must be \"smtp://HOST:PORT\" or \"smtps://HOST:PORT\"; name and password are `username` and `password_file`",
            )
        })
    }
}

impl MailboxSetting {
    /// What is no single address, or has a name that would not be one line, is none.
    pub fn parse(text: &str) -> Option<Self> {
        let plain = text.len() <= 320 && !text.contains(char::is_control);
        let mailbox = Mailbox::from_str(text).ok().filter(|_| plain)?;
        Some(Self(mailbox))
    }
}

impl Serialize for MailboxSetting {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&self.0)
    }
}

impl<'de> Deserialize<'de> for MailboxSetting {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let expected = "an address such as \"ops@example.org\" or \"Operations <ops@example.org>\"";
        units::parsed(deserializer, expected, Self::parse)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn servers_are_read_and_written() {
        for (text, shown) in [
            ("smtp://127.0.0.1", "smtp://127.0.0.1:25"),
            ("smtp://mail.example.org/", "smtp://mail.example.org:587"),
            ("smtps://mail.example.org", "smtps://mail.example.org:465"),
            ("smtp://[::1]:1025", "smtp://[::1]:1025"),
        ] {
            assert_eq!(SmtpUrl::parse(text).unwrap().to_string(), shown);
        }
        for text in [
            "",
            "mail.example.org",
            "http://mail.example.org",
            "smtp://",
            "smtp://me:hunter2@mail.example.org",
            "smtp://mail.example.org/path",
            "smtp://mail.example.org?tls=1",
            "smtp://mail.example.org:0",
        ] {
            assert_eq!(SmtpUrl::parse(text), None, "{text}");
        }
    }

    #[test]
    fn only_this_machine_is_local() {
        let is_local = |host: &str| SmtpUrl::parse(&format!("smtp://{host}")).unwrap().is_local();
        assert!(
            ["127.0.0.1", "127.8.8.8", "[::1]", "localhost", "LOCALHOST"]
                .into_iter()
                .all(is_local)
        );
        assert!(
            !["10.0.0.1", "mail", "localhost.example.org", "0.0.0.0"]
                .into_iter()
                .any(is_local)
        );
    }

    #[test]
    fn addresses_are_single_ones() {
        for text in [
            "ops@example.org",
            "Operations <ops@example.org>",
            "\"O, P\" <o@example.org>",
        ] {
            let mailbox = MailboxSetting::parse(text).unwrap();
            assert_eq!(MailboxSetting::parse(&mailbox.0.to_string()), Some(mailbox));
        }
        for text in [
            "",
            "ops",
            "a@b, c@d",
            "ops@example.org\r\nBcc: a@b",
            "Ops\r\nBcc: a@b <ops@example.org>",
        ] {
            assert_eq!(MailboxSetting::parse(text), None, "{text:?}");
        }
    }
}
