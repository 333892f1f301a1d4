//! The plain words of the house: readings, ids, times, window results, anomalies, ledgers.
//!
//! Invariants: every type here is a value. Whatever can be wrong in it was refused when it was parsed, so the rest
//! of the house never checks again. Nothing here does I/O, knows an actor or reads a clock.

pub mod alert;
pub mod anomaly;
pub mod day;
pub mod dead_letter;
pub mod home;
pub mod ids;
pub mod ledger;
pub mod reading;
pub mod schedule;
pub mod sequence;
pub mod time;
pub mod window;

pub use alert::{AlertChange, AlertEvent, AlertState, Episode};
pub use anomaly::{Anomaly, Band, DetectorKind, Level};
pub use day::{Day, DayError};
pub use dead_letter::{DeadLetter, RejectReason};
pub use home::Home;
pub use ids::{IdError, MetricName, SensorId, SensorKey, SeriesId, SourceName, Tags};
pub use ledger::{Ledger, LedgerDelta};
pub use reading::{Flags, Quality, Reading};
pub use schedule::{Schedule, ScheduleError};
pub use sequence::{BatchNumber, Seq};
pub use time::{ActiveTime, BatchTime, Micros, TimeError, Timestamp};
pub use window::{WindowKind, WindowResult, WindowSpan};
