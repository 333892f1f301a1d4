//! What a series is called, and its readings written out by that.

use crate::decode::encode_reading;
use crate::domain::{MetricName, Reading, SensorId, SensorKey, SeriesId};

/// A series as people name it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SeriesName {
    pub series: SeriesId,
    pub key: SensorKey,
    pub sensor: SensorId,
    pub metric: MetricName,
    pub unit: Option<String>,
}

impl SeriesName {
    /// The reading as canonical JSON, which a replay can decode again.
    pub fn canonical(&self, reading: &Reading) -> Vec<u8> {
        let unit = self.unit.as_deref();
        encode_reading(self.sensor.as_str(), self.metric.as_str(), unit, reading)
    }
}
