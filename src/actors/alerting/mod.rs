//! Alerting: what becomes of alerts that sensors raised, on their way to people.

mod bounds;
pub mod decide;
pub mod deliver;
pub mod links;
pub mod mail;
pub mod manager;
pub mod notification;
pub mod page;
pub mod queue;
pub mod sample;
pub mod sender;
pub mod summary;
pub mod templates;
pub mod webhook;
pub mod words;

pub use decide::Policy;
pub use deliver::{Accepted, Answered, Deliver, DeliveryError};
pub use manager::{AlertManager, Bell, ManagerParts};
pub use notification::{Notification, NotificationId, Notified};
pub use sender::{Sender, SenderParts};
pub use summary::Summary;
