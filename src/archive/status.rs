//! What the archive has done since the start, and what went wrong last.

use parking_lot::Mutex;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::{Registry, Unit};

use crate::domain::{Day, Timestamp};

/// Shared by those who work and those who are asked.
#[derive(Debug, Default)]
pub struct ArchiveStatus {
    pub rows: Counter,
    pub bytes: Counter,
    pub objects: Counter,
    pub days: Counter,
    pub days_dropped: Counter,
    pub failures: Counter,
    pub failing: Gauge,
    trouble: Mutex<Option<Trouble>>,
    waiting: Mutex<Option<Day>>,
}

/// Why the last run failed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Trouble {
    pub time: Timestamp,
    pub message: String,
}

impl ArchiveStatus {
    pub fn register(&self, registry: &mut Registry) {
        registry.register(
            "archive_rows",
            "Readings archived and verified",
            self.rows.clone(),
        );
        registry.register_with_unit(
            "archive_object",
            "Bytes of objects verified",
            Unit::Bytes,
            self.bytes.clone(),
        );
        registry.register("archive_objects", "Objects verified", self.objects.clone());
        registry.register("archive_days", "Exports of a day verified", self.days.clone());
        registry.register(
            "archive_days_dropped",
            "Archived days dropped from the database",
            self.days_dropped.clone(),
        );
        registry.register(
            "archive_failures",
            "Runs of the archive that failed",
            self.failures.clone(),
        );
        registry.register(
            "archive_failing",
            "1 while the last run failed",
            self.failing.clone(),
        );
    }

    pub fn succeeded(&self) {
        self.failing.set(0);
        *self.trouble.lock() = None;
    }

    pub fn failed(&self, time: Timestamp, message: String) {
        self.failures.inc();
        self.failing.set(1);
        *self.trouble.lock() = Some(Trouble { time, message });
    }

    /// From which day on a sensor that is behind may need the readings; `None` while none does.
    pub fn set_waiting(&self, day: Option<Day>) {
        *self.waiting.lock() = day;
    }

    pub fn waiting(&self) -> Option<Day> {
        *self.waiting.lock()
    }

    /// `None` while all is well.
    pub fn trouble(&self) -> Option<Trouble> {
        self.trouble.lock().clone()
    }
}
