//! The ways to the configured receivers.
//!
//! How it fails: what cannot be used as it is configured (a template that is wrong, a key that cannot be read) is told
//! with its setting. A password is read for each login, and a server that cannot be reached is no mistake.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use crate::actors::alerting::links::LinkKey;
use crate::actors::alerting::mail::{
    Encryption, Header, LinkBase, MailDeliverer, Renderer, Smtp, SmtpOptions,
};
use crate::actors::alerting::templates::TemplateError;
use crate::actors::alerting::webhook::{Address, Bodies, Format, WebhookDeliverer, WebhookOptions};
use crate::actors::alerting::{Deliver, DeliveryError};
use crate::clock::Clock;
use crate::domain::SourceName;
use crate::settings::{
    AlertingSettings, EmailReceiverSettings, MailEncryption, ReceiverSettings, WebhookFormat,
    WebhookReceiverSettings,
};

#[derive(Debug, thiserror::Error)]
pub enum ReceiverError {
    #[error("alerting.receivers.{name}: {why}")]
    Template { name: SourceName, why: TemplateError },
    #[error("alerting.receivers.{name}: {why}")]
    Webhook { name: SourceName, why: DeliveryError },
    #[error("alerting.receivers.{name} lacks a key that it needs")]
    Incomplete { name: SourceName },
    #[error("alerting.link_key_file {file} cannot be used: {why}")]
    LinkKey { file: String, why: String },
}

/// Each receiver by its name.
pub fn deliverers(
    settings: &AlertingSettings,
    clock: &Arc<dyn Clock>,
) -> Result<BTreeMap<SourceName, Arc<dyn Deliver>>, ReceiverError> {
    let links = links(settings)?.map(Arc::new);
    let receivers = settings.receivers.iter().map(|(name, receiver)| {
        let deliverer: Arc<dyn Deliver> = match receiver {
            ReceiverSettings::Email(email) => Arc::new(mail(name, email, links.clone())?),
            ReceiverSettings::Webhook(hook) => Arc::new(webhook(name, hook, links.clone(), clock.clone())?),
        };
        Ok((name.clone(), deliverer))
    });
    receivers.collect()
}

/// Where links lead, if anywhere.
pub fn links(settings: &AlertingSettings) -> Result<Option<LinkBase>, ReceiverError> {
    let key = settings.link_key_file.as_deref().map(link_key).transpose()?;
    let valid = i64::try_from(settings.link_valid.as_micros()).unwrap_or(i64::MAX);
    Ok(settings.public_url.as_ref().map(|url| LinkBase {
        url: url.to_string().trim_end_matches('/').to_owned(),
        key,
        valid,
    }))
}

fn link_key(file: &Path) -> Result<LinkKey, ReceiverError> {
    /// Whoever guesses it can acknowledge everything.
    const SHORTEST: usize = 32;

    let unusable = |why: String| ReceiverError::LinkKey {
        file: file.display().to_string(),
        why,
    };
    let text = std::fs::read_to_string(file).map_err(|error| unusable(error.to_string()))?;
    match text.lines().next().map(str::trim) {
        Some(line) if line.len() >= SHORTEST => Ok(LinkKey::from_secret(line)),
        _ => Err(unusable(format!(
            "its first line has fewer than {SHORTEST} characters"
        ))),
    }
}

fn mail(
    name: &SourceName,
    settings: &EmailReceiverSettings,
    links: Option<Arc<LinkBase>>,
) -> Result<MailDeliverer, ReceiverError> {
    let (Some(smtp), Some(from)) = (&settings.smtp, &settings.from) else {
        return Err(ReceiverError::Incomplete { name: name.clone() });
    };
    let renderer = Renderer::new(settings.templates.as_deref()).map_err(|why| ReceiverError::Template {
        name: name.clone(),
        why,
    })?;
    let encryption = match (smtp.tls, settings.encryption()) {
        (true, _) => Encryption::Tls,
        (false, MailEncryption::StartTls) => Encryption::StartTls,
        (false, MailEncryption::None) => Encryption::None,
    };
    let options = SmtpOptions {
        host: smtp.host.clone(),
        port: smtp.port(),
        hello: hello(),
        encryption,
        ca_file: settings.ca_file.clone(),
        login: settings.username.clone().zip(settings.password_file.clone()),
        timeout: settings.timeout,
        idle: settings.idle_connections as usize,
    };
    let header = Header {
        from: from.0.clone(),
        to: settings.to.iter().map(|to| to.0.clone()).collect(),
        reply_to: settings.reply_to.as_ref().map(|to| to.0.clone()),
    };
    Ok(MailDeliverer::new(renderer, links, header, Smtp::new(options)))
}

fn webhook(
    name: &SourceName,
    settings: &WebhookReceiverSettings,
    links: Option<Arc<LinkBase>>,
    clock: Arc<dyn Clock>,
) -> Result<WebhookDeliverer, ReceiverError> {
    let address = match (&settings.url, &settings.url_file) {
        (_, Some(file)) => Address::File(file.clone()),
        (Some(url), None) => Address::Plain(url.url().clone()),
        (None, None) => return Err(ReceiverError::Incomplete { name: name.clone() }),
    };
    let bodies = Bodies::new(settings.templates.as_deref()).map_err(|why| ReceiverError::Template {
        name: name.clone(),
        why,
    })?;
    let options = WebhookOptions {
        name: name.as_str().to_owned(),
        address,
        format: match settings.format {
            WebhookFormat::Json => Format::Json,
            WebhookFormat::Slack => Format::Slack,
            WebhookFormat::DingTalk => Format::DingTalk,
        },
        secret_file: settings.secret_file.clone(),
        token_file: settings.token_file.clone(),
        timeout: settings.timeout,
        ca_file: settings.ca_file.clone(),
    };
    WebhookDeliverer::new(options, bodies, links, clock).map_err(|why| ReceiverError::Webhook {
        name: name.clone(),
        why,
    })
}

/// What this machine calls itself, if that can be said to a mail server.
fn hello() -> String {
    let plain = |name: &String| {
        !name.is_empty()
            && name.len() <= 255
            && name
                .chars()
                .all(|c| c.is_ascii_alphanumeric() || "-.".contains(c))
    };
    sysinfo::System::host_name()
        .ok()
        .filter(plain)
        .unwrap_or_else(|| "[127.0.0.1]".to_owned())
}
