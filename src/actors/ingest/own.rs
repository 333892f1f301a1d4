//! The service's own figures, as the sensor `sensorhive`, with the instance's name where there are several: it is watched like any other.

use std::sync::Arc;

use super::Feed;
use super::host::{draft, encode_all};
use crate::actors::statistics::Statistics;
use crate::domain::Timestamp;

pub struct OwnFeed {
    /// What it is called.
    pub sensor: String,
    pub statistics: Arc<Statistics>,
}

impl Feed for OwnFeed {
    fn poll(&mut self, now: Timestamp) -> Vec<Vec<u8>> {
        let summary = self.statistics.summary(now);
        let figures = [
            ("processing_latency_ms", summary.processing_latency_ms, "ms"),
            ("error_rate", Some(summary.error_rate), "%"),
            ("events_per_second", Some(summary.events_per_second), "1/s"),
        ];
        let drafts = figures.iter().filter_map(|(metric, value, unit)| {
            Some(draft(&self.sensor, metric, (*value)?, Some(unit), now))
        });
        encode_all(drafts).into_iter().collect()
    }
}
