//! What every way to a receiver has in common: it takes a notification, and says what became of it.
//!
//! Invariants: what is `Accepted` was confirmed by the other side; what is `Refused` will not be taken however often it
//! is sent; all else may work later. Sending the same notification again makes the same message with the same id, so
//! that whoever got it twice because an answer was lost can tell.

use std::time::Duration;

use async_trait::async_trait;

use super::{Notification, Summary};

/// A way to a receiver.
#[async_trait]
pub trait Deliver: Send + Sync {
    /// Whom it reaches; a webhook reaches one.
    fn recipients(&self) -> &[String];

    /// Sends to every recipient but those in `except`, who have answered for good before. Returns within the time-outs
    /// that were configured. Dropping the future may leave it open whether the message was taken.
    async fn deliver(
        &self,
        notification: &Notification,
        except: &[String],
    ) -> Result<Accepted, DeliveryError>;

    /// The same of a summary. Who cannot be told one refuses it.
    async fn summarize(&self, _summary: &Summary, _except: &[String]) -> Result<Accepted, DeliveryError> {
        Err(DeliveryError::refused(
            "summaries go to receivers of the kind email",
        ))
    }
}

/// Somebody has taken it, or nobody was left to take it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Accepted {
    /// What the other side said, in one line.
    pub answer: String,
    pub taken: Vec<String>,
    /// Those who will never take it.
    pub refused: Vec<Answered>,
    /// Those who may take it later: deliver again, except to the others.
    pub waiting: Vec<Answered>,
}

/// What was said of one recipient.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answered {
    pub recipient: String,
    pub answer: String,
}

/// Nobody has taken it. No text in it holds a secret, nor more than one line.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DeliveryError {
    /// It may work later.
    #[error("{trouble}: {answer}")]
    Retry {
        trouble: Trouble,
        answer: String,
        /// When the other side said to come back.
        after: Option<Duration>,
    },
    /// It will never work: sending it again would be answered the same.
    #[error("refused: {answer}")]
    Refused { answer: String },
}

/// Why it may work later.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, thiserror::Error)]
pub enum Trouble {
    #[error("no connection")]
    Connection,
    #[error("no answer in time")]
    TimeOut,
    /// Nothing is sent without the encryption that was asked for.
    #[error("no secure connection")]
    Tls,
    /// The other side does not let us in, or not send as whom we say we are. Somebody has to change a setting, here or
    /// there.
    #[error("not let in")]
    Login,
    #[error("not now")]
    Busy,
    /// Something of ours is missing, such as a file.
    #[error("not ready")]
    Setup,
}

impl DeliveryError {
    pub fn retry(trouble: Trouble, answer: impl ToString) -> Self {
        DeliveryError::Retry {
            trouble,
            answer: super::words::line(&answer.to_string(), ANSWER),
            after: None,
        }
    }

    pub fn refused(answer: impl ToString) -> Self {
        DeliveryError::Refused {
            answer: super::words::line(&answer.to_string(), ANSWER),
        }
    }
}

/// The longest answer that is kept, in characters.
pub const ANSWER: usize = 300;
