//! How a store fails, in classes that say what to do.

/// What the caller may do about an error.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ErrorClass {
    /// It was not carried out and may be tried again: database locked, disk full, no connection.
    Transient,
    /// The answer was lost: it may or may not have been carried out. Ask [`super::Store::last_batch`] first.
    Unknown,
    /// Another process has taken this instance's place.
    Fenced,
    /// The data itself was refused; trying the same again is of no use.
    Refused,
    /// The database was made by a newer version of Sensorhive.
    TooNew,
    /// The database cannot be used as it is: not writable, not a database, wrong credentials.
    Unusable,
}

impl ErrorClass {
    pub fn as_str(self) -> &'static str {
        match self {
            ErrorClass::Transient => "transient",
            ErrorClass::Unknown => "unknown",
            ErrorClass::Fenced => "fenced",
            ErrorClass::Refused => "refused",
            ErrorClass::TooNew => "too_new",
            ErrorClass::Unusable => "unusable",
        }
    }
}

#[derive(Debug, thiserror::Error)]
#[error("{what}: {source}")]
pub struct StoreError {
    pub class: ErrorClass,
    /// What was being done, such as `commit of batches 12 to 17`.
    pub what: String,
    #[source]
    pub source: Box<dyn std::error::Error + Send + Sync>,
}

impl StoreError {
    pub fn new(
        class: ErrorClass,
        what: impl Into<String>,
        source: impl Into<Box<dyn std::error::Error + Send + Sync>>,
    ) -> Self {
        Self {
            class,
            what: what.into(),
            source: source.into(),
        }
    }
}
