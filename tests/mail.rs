//! Mail and webhooks: what is made of a notification, and what becomes of it at servers that are good and bad.

#[path = "mail/bad.rs"]
mod bad;
#[path = "mail/command.rs"]
mod command;
#[path = "mail/hooks.rs"]
mod hooks;
#[path = "mail/hostile.rs"]
mod hostile;
#[path = "mail/limits.rs"]
mod limits;
#[path = "mail/parts.rs"]
mod parts;
#[path = "mail/pictures.rs"]
mod pictures;
#[path = "mail/sent.rs"]
mod sent;
#[path = "support/smtp/mod.rs"]
mod smtp;
#[path = "mail/summary.rs"]
mod summary;
#[path = "mail/support.rs"]
mod support;
