//! Alerting: what becomes of alerts that sensors raised, on their way to people.

pub mod notification;

pub use notification::{Notification, NotificationId, Notified};
