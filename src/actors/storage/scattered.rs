//! Windows of sensors that come through more than one partition, so that several instances have a part of their readings each.
//!
//! No instance knows all that is in such a window: it is computed from the stored rows, by whoever closes it, and again by whoever
//! stores a reading in it later. Which windows a reading falls in is known here, and which of them are stored by the store.
//!
//! Invariant: every row of such a sensor asks for its windows. One that passed its sensor by asks as loud as one of a closed window
//! does: a snapshot of another instance may keep its own from seeing it.

use crate::actors::registry::Registry;
use crate::actors::shard::env::Catalog;
use crate::core::windows::span_at;
use crate::domain::Flags;
use crate::storage::{CompleteBatch, Row};

/// Lets the rows of scattered sensors ask for their windows. To do it twice is to do it once.
pub fn ask(batches: &mut [CompleteBatch], registry: &Registry, catalog: &dyn Catalog) {
    let outcomes = || batches.iter().flat_map(|batch| &batch.outcomes);
    let sensors = outcomes().flat_map(|outcome| outcome.rows.iter().map(|row| row.sensor));
    let scattered = registry.scattered(sensors);
    if scattered.is_empty() {
        return;
    }
    for outcome in batches.iter_mut().flat_map(|batch| &mut batch.outcomes) {
        for Row { sensor, reading } in &outcome.rows {
            if !scattered.contains(sensor) {
                continue;
            }
            outcome.scattered.push(*sensor);
            for spec in &catalog.config(reading.series).windows {
                let span = span_at(*spec, reading.series, reading.time);
                outcome.revise.push(span);
                if reading.flags.has(Flags::UNPROCESSED) {
                    outcome.recompute.push(span);
                }
            }
        }
        outcome.scattered.sort_unstable();
        outcome.scattered.dedup();
        for asked in [&mut outcome.revise, &mut outcome.recompute] {
            asked.sort_unstable();
            asked.dedup();
        }
    }
}
