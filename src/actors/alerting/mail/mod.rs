//! Mail: from a notification to one that a server has accepted.
//!
//! `view` says what a mail says, `render` makes text, HTML and a picture of it, `message` the bytes that are sent; all
//! of that is pure. `smtp` sends.

mod addresses;
mod canvas;
pub mod chart;
mod message;
pub mod render;
mod scale;
pub mod smtp;
mod spark;
mod summary;
pub mod view;
mod wire;

use std::sync::Arc;

use async_trait::async_trait;

pub use addresses::{LinkBase, Links};
use message::Item;
pub use message::{Header, Mail, Mailbox};
pub use render::{Rendered, Renderer};
pub use smtp::{Encryption, Smtp, SmtpOptions};

use super::deliver::{Accepted, Deliver, DeliveryError, Trouble};
use super::notification::Notification;
use super::summary::Summary;

/// A receiver that is reached by mail.
#[derive(Debug)]
pub struct MailDeliverer {
    renderer: Renderer,
    links: Option<Arc<LinkBase>>,
    header: Header,
    recipients: Vec<String>,
    smtp: Smtp,
}

impl MailDeliverer {
    pub fn new(renderer: Renderer, links: Option<Arc<LinkBase>>, header: Header, smtp: Smtp) -> Self {
        Self {
            recipients: header.to.iter().map(|to| to.email.to_string()).collect(),
            renderer,
            links,
            header,
            smtp,
        }
    }

    /// What is sent for a notification.
    pub fn mail(&self, notification: &Notification) -> Result<Mail, DeliveryError> {
        let rendered = self.renderer.render(notification, self.links.as_deref());
        let item = Item {
            id: &notification.id.0,
            thread: &notification.thread,
            first: notification.first,
            receiver: &notification.receiver,
            at: notification.at,
            urgent: view::is_urgent(notification),
        };
        self.made(&item, rendered)
    }

    /// What is sent for a summary.
    pub fn summary(&self, summary: &Summary) -> Result<Mail, DeliveryError> {
        let item = Item {
            id: &summary.id.0,
            // Each is a thread of its own.
            thread: &summary.id.0,
            first: true,
            receiver: &summary.receiver,
            at: summary.at,
            urgent: false,
        };
        self.made(&item, self.renderer.summary(summary, self.links.as_deref()))
    }

    fn made(
        &self,
        item: &Item<'_>,
        rendered: Result<Rendered, minijinja::Error>,
    ) -> Result<Mail, DeliveryError> {
        // The templates that are compiled in do not fail, whatever they are given.
        let rendered = rendered.map_err(|error| DeliveryError::retry(Trouble::Setup, error))?;
        message::mail(item, &rendered, &self.header)
            .map_err(|error| DeliveryError::retry(Trouble::Setup, error))
    }

    /// To all but those in `except`.
    async fn send(
        &self,
        mail: Result<Mail, DeliveryError>,
        except: &[String],
    ) -> Result<Accepted, DeliveryError> {
        let everybody = self.header.to.iter().map(|to| &to.email);
        let to: Vec<_> = everybody
            .filter(|to| !except.iter().any(|done| *done == to.to_string()))
            .cloned()
            .collect();
        match to.as_slice() {
            [] => Ok(Accepted::default()),
            to => self.smtp.send(&self.header.from.email, to, &mail?.bytes).await,
        }
    }
}

#[async_trait]
impl Deliver for MailDeliverer {
    fn recipients(&self) -> &[String] {
        &self.recipients
    }

    async fn deliver(
        &self,
        notification: &Notification,
        except: &[String],
    ) -> Result<Accepted, DeliveryError> {
        self.send(self.mail(notification), except).await
    }

    async fn summarize(&self, summary: &Summary, except: &[String]) -> Result<Accepted, DeliveryError> {
        self.send(self.summary(summary), except).await
    }
}
