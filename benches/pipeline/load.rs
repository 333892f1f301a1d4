//! What sensors send: canonical JSON objects of 103 bytes in arrays, every sensor in turn, a second apart.
//!
//! Invariant: event time only grows within a sensor, and the sensors' minutes do not end together.

use std::fmt::Write as _;

use sensorhive::decode::{Draft, JsonMapping, Refusal, Sink};
use sensorhive::decode::{Hints, decode_json};
use sensorhive::domain::Timestamp;

/// Bytes of one object.
const OBJECT: usize = 103;
const SECOND_MS: i64 = 1_000;

/// The sensors `first..first + sensors`.
pub struct Load {
    first: u32,
    sensors: u32,
    start_ms: i64,
    sent: u64,
}

/// One reading, as it is written.
#[derive(Debug, Clone, Copy)]
pub struct Said {
    pub sensor: u32,
    pub time: Timestamp,
    pub value: f64,
}

impl Load {
    /// Begins at `start`, which is cut to milliseconds.
    pub fn new(first: u32, sensors: u32, start: Timestamp) -> Self {
        Self {
            first,
            sensors,
            start_ms: start.0 / 1_000,
            sent: 0,
        }
    }

    pub fn next(&mut self) -> Said {
        let place = (self.sent % u64::from(self.sensors)) as u32;
        let round = (self.sent / u64::from(self.sensors)) as i64;
        self.sent += 1;
        let sensor = self.first + place;
        let seconds = round + i64::from(sensor % 60);
        Said {
            sensor,
            time: Timestamp((self.start_ms + seconds * SECOND_MS) * 1_000),
            // 20 ± 2 in steps that no detector takes for a jump.
            value: 18.0 + (self.sent * 7_919 % 4_000) as f64 / 1_000.0,
        }
    }

    /// How often every sensor has spoken.
    pub fn rounds(&self) -> u64 {
        self.sent / u64::from(self.sensors)
    }

    /// The next `readings`, `batch` to an array.
    pub fn payloads(&mut self, readings: usize, batch: usize) -> Vec<String> {
        (0..readings.div_ceil(batch))
            .map(|n| {
                let said: Vec<Said> = (0..batch.min(readings - n * batch))
                    .map(|_| self.next())
                    .collect();
                payload(&said)
            })
            .collect()
    }
}

pub fn payload(readings: &[Said]) -> String {
    let mut text = String::with_capacity(readings.len() * (OBJECT + 1) + 1);
    for said in readings {
        text.push(if text.is_empty() { '[' } else { ',' });
        let before = text.len();
        let _ = write!(
            text,
            r#"{{"sensor_id":"{}","metric":"temperature","value":{:.3},"timestamp":{},"unit":"C"}}"#,
            id(said.sensor),
            said.value,
            said.time.0 / 1_000
        );
        debug_assert_eq!(text.len() - before, OBJECT);
    }
    text.push(']');
    text
}

pub fn id(sensor: u32) -> String {
    format!("sensor-{sensor:05}")
}

/// The ceiling: decodes, and adds up what it finds.
#[derive(Default)]
pub struct Sum {
    pub readings: u64,
    pub total: f64,
}

impl Sum {
    pub fn of(payloads: &[String], mapping: &JsonMapping) -> Self {
        let mut sum = Self::default();
        for payload in payloads {
            decode_json(payload.as_bytes(), Hints::default(), mapping, &mut sum);
        }
        sum
    }
}

impl<'a> Sink<'a> for Sum {
    fn reading(&mut self, draft: Draft<'a>) {
        self.readings += 1;
        let time = draft.time.map_or(0, |time| time.0);
        self.total += draft.value + (draft.sensor.len() + draft.metric.len()) as f64 + time as f64;
    }

    fn refuse(&mut self, refusal: Refusal<'a>) {
        panic!("the load is valid, but {refusal}");
    }
}
