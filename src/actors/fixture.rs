//! What the tests of batches share: a terminus that keeps what arrives, cargo, and a reading.

use std::sync::Arc;

use parking_lot::Mutex;

use super::batch::{Acknowledgement, Arrival, Arrived, Cargo, Number, SliceGuard, Terminus, Train};
use super::registry::{HomeId, Registry, RegistryLimits};
use crate::domain::{
    ActiveTime, BatchNumber, BatchTime, Flags, LedgerDelta, MetricName, Reading, SensorId, SeriesId,
    SourceName, Timestamp,
};
use crate::storage::SliceOutcome;

/// Keeps what arrives.
#[derive(Default)]
pub(super) struct Station(Mutex<Vec<Arrival>>);

impl Terminus for Station {
    fn arrive(&self, arrival: Arrival) {
        self.0.lock().push(arrival);
    }
}

impl Station {
    pub fn take(&self) -> Vec<Arrival> {
        std::mem::take(&mut *self.0.lock())
    }

    /// The only arrival, which must be complete.
    pub fn complete(&self) -> Arrived {
        match self.take().pop() {
            Some(Arrival::Complete(arrived)) => arrived,
            other => panic!("{other:?}"),
        }
    }

    /// Epoch and ordinal of each broken train; there must be no other.
    pub fn broken(&self) -> Vec<(u64, u64)> {
        let arrivals = self.take().into_iter();
        arrivals
            .map(|arrival| match arrival {
                Arrival::Broken { epoch, ordinal } => (epoch, ordinal),
                other => panic!("{other:?}"),
            })
            .collect()
    }
}

pub(super) const NUMBER: Number = Number {
    epoch: 3,
    ordinal: 7,
    number: BatchNumber(40),
    at: BatchTime {
        now: Timestamp(1_000),
        active: ActiveTime(10),
    },
};

pub(super) fn cargo(received: u64, acknowledgement: Acknowledgement) -> Cargo {
    Cargo {
        source: SourceName::parse("test").unwrap(),
        sensors: Vec::new(),
        series: Vec::new(),
        positions: Vec::new(),
        arrivals: Vec::new(),
        source_ledger: LedgerDelta::default(),
        refused: SliceOutcome::default(),
        dead_letters: Vec::new(),
        received,
        acknowledgement,
        permit: None,
    }
}

/// A train of one slice that is under way.
pub(super) fn slice(station: &Arc<Station>) -> SliceGuard {
    let mut guards = Train::depart(NUMBER, cargo(0, Acknowledgement::nobody()), 1, station.clone());
    guards.pop().unwrap()
}

pub(super) fn reading(index: u32) -> Reading {
    Reading {
        series: SeriesId(1),
        time: Timestamp(1_700_000_000_000_000 + i64::from(index)),
        value: f64::from(index),
        index,
        flags: Flags::NONE,
    }
}

/// Knows the sensor `s` with the series 1, `m`, on one of `shards`.
pub(super) fn registry(shards: u16) -> Arc<Registry> {
    let limits = RegistryLimits {
        sensors: 10,
        series_per_sensor: 10,
    };
    let registry = Registry::new(limits, shards, Vec::new(), Vec::new());
    registry.add_numbers(crate::storage::Numbers {
        sensors: 1..100,
        series: 1..100,
    });
    let (sensor, metric) = (SensorId::parse("s").unwrap(), MetricName::parse("m").unwrap());
    let resolved = registry
        .resolve(&sensor, &metric, None, None, HomeId::NONE)
        .unwrap();
    assert_eq!(resolved.series, SeriesId(1));
    Arc::new(registry)
}
