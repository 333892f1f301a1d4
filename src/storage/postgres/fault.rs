//! From what PostgreSQL answers to what the caller may do about it.
//!
//! Invariant: nothing is called transient that a later try could not mend, nothing final that it could.

use std::error::Error;

use crate::storage::{Cause, ErrorClass, StoreError};

/// What went wrong below, before it is said what was being done.
#[derive(Debug)]
pub(super) enum Fault {
    Sql(sqlx::Error),
    /// No answer within the time that we give it: it is frozen, unreachable, or far too slow.
    NoAnswer,
    /// A question of several parts took longer than a question may.
    TooLong,
    /// This server can only be read.
    Standby(String),
    Found(ErrorClass, Box<dyn Error + Send + Sync>),
}

impl Fault {
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
            Fault::Sql(error) => {
                let (class, cause) = classify(&error);
                StoreError::new(class, what, describe(error)).because(cause)
            }
            Fault::NoAnswer => StoreError::new(ErrorClass::Transient, what, "the database does not answer")
                .because(Cause::Timeout),
            Fault::TooLong => {
                let why = "took too long; ask for a shorter span or fewer rows";
                StoreError::new(ErrorClass::Refused, what, why).because(Cause::Timeout)
            }
            Fault::Standby(server) => {
                let why = format!("{server} is a standby, and no other server is named that takes writes");
                StoreError::new(ErrorClass::Transient, what, why).because(Cause::ReadOnly)
            }
            Fault::Found(class, why) => StoreError::new(class, what, why),
        }
    }

    /// As [`Self::during`], for a question of people: what takes too long for them need not be tried again.
    pub fn while_asking(self, what: impl Into<String>) -> StoreError {
        match self {
            Fault::Sql(error) if code(&error).as_deref() == Some("57014") => Fault::TooLong.during(what),
            fault => fault.during(what),
        }
    }

    /// As [`Self::during`], for a COMMIT: whatever it answered, the transaction may have become durable; unless the database itself
    /// says that it has not.
    pub fn of_commit(self, what: impl Into<String>) -> StoreError {
        match self {
            Fault::Sql(error @ sqlx::Error::Database(_)) if !is_fatal(&error) => {
                Fault::Sql(error).during(what)
            }
            fault => {
                let mut error = fault.during(what);
                error.class = ErrorClass::Unknown;
                error
            }
        }
    }

    /// Whether the connection can go on after a rollback.
    pub fn leaves_connection_usable(&self) -> bool {
        match self {
            Fault::Sql(sqlx::Error::Database(error)) => !error.code().is_some_and(|code| {
                code.starts_with("57P")
                    || code.starts_with("08")
                    || code == "25006"
                    || code.starts_with("25P03")
            }),
            // It was answered, though not as expected.
            Fault::Sql(sqlx::Error::ColumnDecode { .. }) => true,
            Fault::Sql(_) | Fault::NoAnswer | Fault::TooLong | Fault::Standby(_) => false,
            Fault::Found(..) => true,
        }
    }

    /// Whether a row has no partition to go to.
    pub fn is_missing_partition(&self) -> bool {
        let Fault::Sql(sqlx::Error::Database(error)) = self else {
            return false;
        };
        // A check that somebody wrote has a name.
        error.code().as_deref() == Some("23514") && error.constraint().is_none()
    }

    pub fn is_unique_violation(&self) -> bool {
        matches!(self, Fault::Sql(error) if code(error).as_deref() == Some("23505"))
    }
}

impl From<sqlx::Error> for Fault {
    fn from(error: sqlx::Error) -> Self {
        Fault::Sql(error)
    }
}

fn code(error: &sqlx::Error) -> Option<String> {
    Some(error.as_database_error()?.code()?.into_owned())
}

/// Errors that end the session tell nothing about a COMMIT under way.
fn is_fatal(error: &sqlx::Error) -> bool {
    code(error).is_none_or(|code| code.starts_with("57P") || code.starts_with("08") || code.starts_with("XX"))
}

/// The database's words with its detail and hint, in one line, without the data that a detail may repeat.
fn describe(error: sqlx::Error) -> Box<dyn Error + Send + Sync> {
    let Some(answer) = error
        .as_database_error()
        .and_then(|error| error.try_downcast_ref::<sqlx::postgres::PgDatabaseError>())
    else {
        return error.into();
    };
    match answer.hint() {
        Some(hint) => format!("{} ({}; {hint})", answer.message(), answer.code()).into(),
        None => format!("{} ({})", answer.message(), answer.code()).into(),
    }
}

/// By SQLSTATE, <https://www.postgresql.org/docs/current/errcodes-appendix.html>.
fn classify(error: &sqlx::Error) -> (ErrorClass, Cause) {
    use ErrorClass::{Refused, Transient, Unusable};
    let Some(code) = code(error) else {
        return match error {
            sqlx::Error::Io(_)
            | sqlx::Error::Tls(_)
            | sqlx::Error::Protocol(_)
            | sqlx::Error::PoolTimedOut
            | sqlx::Error::PoolClosed
            | sqlx::Error::WorkerCrashed
            | sqlx::Error::BeginFailed => (Transient, Cause::Connection),
            sqlx::Error::Encode(_) => (Refused, Cause::Data),
            sqlx::Error::Configuration(_) => (Unusable, Cause::Other),
            _ => (Unusable, Cause::Other),
        };
    };
    match code.as_str() {
        "57014" | "25P03" | "25P04" => (Transient, Cause::Timeout),
        "55P03" | "40001" | "40P01" | "55006" => (Transient, Cause::Contention),
        "53100" | "58030" => (Transient, Cause::Full),
        "25006" => (Transient, Cause::ReadOnly),
        "3D000" | "3F000" | "42501" => (Unusable, Cause::Denied),
        "XX001" | "XX002" => (Unusable, Cause::Other),
        _ => match &code[..code.len().min(2)] {
            "08" => (Transient, Cause::Connection),
            "57" => (Transient, Cause::Connection),
            "40" => (Transient, Cause::Contention),
            "53" | "54" | "58" | "XX" => (Transient, Cause::Resources),
            "28" => (Unusable, Cause::Denied),
            "22" | "23" | "44" => (Refused, Cause::Data),
            _ => (Unusable, Cause::Other),
        },
    }
}
