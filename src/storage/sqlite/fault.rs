//! From what SQLite answers to what the caller may do about it.
//!
//! Invariant: nothing is called transient that a later try could not mend, nothing final that it could.

use std::error::Error;

use crate::storage::{Cause, ErrorClass, StoreError};

/// What went wrong below, before it is said what was being done.
#[derive(Debug)]
pub(super) enum Fault {
    Sql(sqlx::Error),
    Found(ErrorClass, Box<dyn Error + Send + Sync>),
}

impl Fault {
    pub fn is_unique_violation(&self) -> bool {
        let Fault::Sql(sqlx::Error::Database(error)) = self else {
            return false;
        };
        error.is_unique_violation()
    }

    pub fn found(class: ErrorClass, why: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        Fault::Found(class, why.into())
    }

    /// A row that this version cannot read, such as an unknown detector.
    pub fn unreadable(why: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        Fault::found(ErrorClass::Unusable, why)
    }

    /// Says what was being done.
    pub fn during(self, what: impl Into<String>) -> StoreError {
        match self {
            Fault::Sql(error) if primary_code(&error) == Some(code::INTERRUPT) => StoreError::new(
                ErrorClass::Refused,
                what,
                "took too long; ask for a shorter span or fewer rows",
            )
            .because(Cause::Timeout),
            Fault::Sql(error) => {
                let cause = cause(&error);
                StoreError::new(classify(&error), what, error).because(cause)
            }
            Fault::Found(class, why) => StoreError::new(class, what, why),
        }
    }

    /// As [`Self::during`], for the opening: what would pass by itself while running is then a wrong path or wrong
    /// permissions.
    pub fn while_opening(self, what: impl Into<String>) -> StoreError {
        let lasting = match &self {
            Fault::Sql(error) => matches!(
                primary_code(error),
                Some(code::CANTOPEN | code::READONLY | code::PERM | code::IOERR | code::AUTH)
            ),
            Fault::Found(..) => false,
        };
        let mut error = self.during(what);
        if lasting {
            error.class = ErrorClass::Unusable;
        }
        error
    }

    /// As [`Self::during`], for a COMMIT: whatever it answered, the transaction may have become durable.
    pub fn of_commit(error: sqlx::Error, what: impl Into<String>) -> StoreError {
        StoreError::new(ErrorClass::Unknown, what, error)
    }
}

impl From<sqlx::Error> for Fault {
    fn from(error: sqlx::Error) -> Self {
        Fault::Sql(error)
    }
}

/// Primary result codes, <https://www.sqlite.org/rescode.html>.
mod code {
    pub const PERM: i32 = 3;
    pub const BUSY: i32 = 5;
    pub const LOCKED: i32 = 6;
    pub const NOMEM: i32 = 7;
    pub const READONLY: i32 = 8;
    pub const INTERRUPT: i32 = 9;
    pub const IOERR: i32 = 10;
    pub const FULL: i32 = 13;
    pub const CANTOPEN: i32 = 14;
    pub const PROTOCOL: i32 = 15;
    pub const TOOBIG: i32 = 18;
    pub const CONSTRAINT: i32 = 19;
    pub const MISMATCH: i32 = 20;
    pub const AUTH: i32 = 23;
}

fn primary_code(error: &sqlx::Error) -> Option<i32> {
    let extended: i32 = error.as_database_error()?.code()?.parse().ok()?;
    Some(extended & 0xff)
}

fn cause(error: &sqlx::Error) -> Cause {
    match primary_code(error) {
        Some(code::BUSY | code::LOCKED | code::PROTOCOL) => Cause::Contention,
        Some(code::FULL | code::IOERR) => Cause::Full,
        Some(code::READONLY) => Cause::ReadOnly,
        Some(code::PERM | code::AUTH | code::CANTOPEN) => Cause::Denied,
        Some(code::NOMEM) => Cause::Resources,
        Some(code::CONSTRAINT | code::TOOBIG | code::MISMATCH) => Cause::Data,
        _ => Cause::Other,
    }
}

/// A file that became read-only or unreachable while running (a remounted disk) is waited for, as a full disk is.
fn classify(error: &sqlx::Error) -> ErrorClass {
    match error {
        sqlx::Error::Database(_) => match primary_code(error) {
            Some(code::CONSTRAINT | code::TOOBIG | code::MISMATCH) => ErrorClass::Refused,
            Some(
                code::PERM
                | code::BUSY
                | code::LOCKED
                | code::NOMEM
                | code::READONLY
                | code::IOERR
                | code::FULL
                | code::CANTOPEN
                | code::PROTOCOL
                | code::AUTH,
            ) => ErrorClass::Transient,
            _ => ErrorClass::Unusable,
        },
        sqlx::Error::Io(_)
        | sqlx::Error::PoolTimedOut
        | sqlx::Error::PoolClosed
        | sqlx::Error::WorkerCrashed
        | sqlx::Error::BeginFailed
        | sqlx::Error::InvalidSavePointStatement => ErrorClass::Transient,
        sqlx::Error::Encode(_) => ErrorClass::Refused,
        _ => ErrorClass::Unusable,
    }
}
