//! The pure heart: what a sensor's readings come to.
//!
//! One [`SensorState`] a sensor judges every reading (new, duplicate, conflict, or for the store to judge), keeps its
//! windows, runs its detectors and keeps the alerts of its rules. What leaves it are [`Effects`].
//!
//! Invariants:
//! - No actor, no I/O, no clock: the same calls in the same order give the same state and the same effects.
//! - Timers depend on what was heard, not on who asks: whether [`SensorState::advance`] is called often, late or only
//!   by the next reading, the same windows close and the same silences are found, in the same order.
//! - A snapshot taken after any reading and restored goes on exactly as if it had never been taken.
//! - State is bounded by its configuration, whatever the times and values of the readings are.
//!
//! A further kind of window is a file in `windows/` and an arm of its enum; a further detector is a file in
//! `detectors/` and an arm of its enum.
//!
//! Nothing here fails on a reading. Only a snapshot can be refused: [`snapshot::SnapshotError`].

pub mod alerts;
pub mod config;
pub mod detectors;
pub mod effects;
#[cfg(test)]
mod properties;
mod ring;
mod series;
pub mod snapshot;
pub mod state;
pub mod view;
pub mod windows;

pub use alerts::{Condition, Levels, Limit, Limits, RuleSpec, Subject, WindowNumber};
pub use config::{DetectorSpec, Season, SeriesConfig, SpecError, WindowSpec};
pub use detectors::ensemble::{Scorer, THRESHOLD};
pub use effects::{Effects, Verdict};
pub use snapshot::{SnapshotError, decode, encode};
pub use state::{ANOMALY_HISTORY, SensorState};
pub use view::SensorView;
pub use windows::Aggregate;
