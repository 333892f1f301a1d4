//! Alerting: what becomes of alerts that sensors raised, on their way to people.

mod bounds;
pub mod decide;
pub mod deliver;
pub mod links;
pub mod mail;
pub mod notification;
pub mod page;
pub mod sample;
pub mod summary;
pub mod templates;
pub mod webhook;
pub mod words;

pub use deliver::{Accepted, Answered, Deliver, DeliveryError};
pub use notification::{Notification, NotificationId, Notified};
pub use summary::Summary;
