//! Why the archive could not do something.

use crate::storage::StoreError;

#[derive(Debug, thiserror::Error)]
pub enum ArchiveError {
    /// The directory or bucket cannot be used.
    #[error("{what}: {source}")]
    Place {
        what: String,
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// What is in an object is not what must be there.
    #[error("{object} is damaged: {why}")]
    Damaged { object: String, why: String },
    #[error("{object} is missing in the archive")]
    Missing { object: String },
    #[error(transparent)]
    Store(#[from] StoreError),
    /// A defect, not the world's fault.
    #[error("{0}")]
    Internal(String),
}

impl ArchiveError {
    pub fn place(
        what: impl Into<String>,
        source: impl Into<Box<dyn std::error::Error + Send + Sync>>,
    ) -> Self {
        ArchiveError::Place {
            what: what.into(),
            source: source.into(),
        }
    }
}
