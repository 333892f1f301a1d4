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
    /// Another process has done what we were about to do: it has claimed partitions of ours, or made sensors or series of the same
    /// names. Nothing was stored. What is theirs is not ours any more; the rest may come again, once we know what they did.
    Moved,
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
            ErrorClass::Moved => "moved",
            ErrorClass::Refused => "refused",
            ErrorClass::TooNew => "too_new",
            ErrorClass::Unusable => "unusable",
        }
    }
}

/// What is the matter, as an operator would say it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Cause {
    /// The database cannot be reached, or has ended the connection.
    Connection,
    /// It did not answer in time.
    Timeout,
    /// Somebody else holds what is needed: a lock, a row, the file.
    Contention,
    /// No room on the disk.
    Full,
    /// It can only be read: a standby, or a disk mounted so.
    ReadOnly,
    /// It does not let us in, or not do what we must.
    Denied,
    /// It is short of memory, connections or the like.
    Resources,
    /// It does not take this data.
    Data,
    #[default]
    Other,
}

impl Cause {
    pub fn as_str(self) -> &'static str {
        match self {
            Cause::Connection => "connection",
            Cause::Timeout => "timeout",
            Cause::Contention => "contention",
            Cause::Full => "full",
            Cause::ReadOnly => "read_only",
            Cause::Denied => "denied",
            Cause::Resources => "resources",
            Cause::Data => "data",
            Cause::Other => "other",
        }
    }
}

#[derive(Debug, thiserror::Error)]
#[error("{what}: {source}")]
pub struct StoreError {
    pub class: ErrorClass,
    pub cause: Cause,
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
            cause: Cause::default(),
            what: what.into(),
            source: source.into(),
        }
    }

    pub fn because(mut self, cause: Cause) -> Self {
        self.cause = cause;
        self
    }
}
