//! What is written to the topic, and what must be in the database then.
//!
//! Everything is a function of a message's index, so that the windows and anomalies are known without asking the service: they
//! are computed here by going through the readings of one series after the other, in the order in which they were written.

use std::collections::BTreeMap;

use serde_json::json;

use crate::kafka::Record;
use crate::plant::START;

pub const SENSORS: u64 = 1_000;
pub const METRICS: [&str; 2] = ["temperature", "pressure"];
pub const PARTITIONS: i32 = 12;
/// µs
pub const WINDOW: i64 = 10 * SECOND;
/// µs
pub const LATENESS: i64 = 2 * SECOND;
pub const THRESHOLD: f64 = 20.0;
const SECOND: i64 = 1_000_000;

/// How many messages later a reading comes a second time: the same sensor and metric.
const AGAIN_AFTER: u64 = 6 * SENSORS;

#[derive(Debug, Clone, Copy)]
pub struct Message {
    pub sensor: u64,
    /// In [`METRICS`].
    pub metric: usize,
    pub time: i64,
    pub value: f64,
}

/// The `index`th reading of all.
pub fn message(index: u64) -> Message {
    let (sensor, round) = (index % SENSORS, index / SENSORS);
    let (metric, step) = ((round % 2) as usize, (round / 2) as i64);
    let time = match step % 40 {
        // Its window has been closed for long.
        39 => (step - 30) * SECOND + SECOND / 2,
        _ => match step % 4 {
            // In the other order, within the lateness.
            1 => (step + 1) * SECOND,
            2 => (step - 1) * SECOND,
            _ => step * SECOND,
        },
    };
    let noise = (index.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 58) as f64 / 16.0;
    let spike = if (step + sensor as i64) % 50 == 17 {
        100.0
    } else {
        0.0
    };
    Message {
        sensor,
        metric,
        time: START + time + sensor as i64 * 100,
        value: (sensor % 50) as f64 + noise + spike,
    }
}

pub fn sensor(number: u64) -> String {
    format!("f{number}")
}

fn reading(message: Message) -> String {
    json!({
        "sensor_id": sensor(message.sensor), "metric": METRICS[message.metric],
        "value": message.value, "timestamp": message.time,
    })
    .to_string()
}

/// What else is written behind the `index`th reading.
fn extra(index: u64) -> Option<Extra> {
    if index % 997 == 5 && index >= AGAIN_AFTER {
        Some(Extra::Again(index - AGAIN_AFTER))
    } else if index % 5_003 == 7 {
        Some(Extra::Poison)
    } else {
        None
    }
}

enum Extra {
    /// A reading that was written before.
    Again(u64),
    Poison,
}

/// The records of readings `from..to`, each sensor always in the same partition.
pub fn records(from: u64, to: u64) -> impl Iterator<Item = Record> {
    let record = |index: u64, payload: String| Record {
        partition: (index % SENSORS) as i32 % PARTITIONS,
        key: Some(sensor(index % SENSORS).into_bytes()),
        payload: Some(payload.into_bytes()),
        ..Record::default()
    };
    (from..to).flat_map(move |index| {
        let more = extra(index).map(|extra| match extra {
            Extra::Again(before) => record(index, reading(message(before))),
            Extra::Poison => record(index, "{\"sensor_id\": ".to_owned()),
        });
        std::iter::once(record(index, reading(message(index)))).chain(more)
    })
}

/// How much was written.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct Written {
    pub readings: i64,
    pub again: i64,
    pub poison: i64,
    /// Records of each partition.
    pub ends: [i64; PARTITIONS as usize],
}

impl Written {
    pub fn up_to(readings: u64) -> Self {
        let mut written = Self::default();
        for index in 0..readings {
            written.readings += 1;
            let end = &mut written.ends[(index % SENSORS) as usize % PARTITIONS as usize];
            *end += 1;
            match extra(index) {
                Some(Extra::Again(_)) => written.again += 1,
                Some(Extra::Poison) => written.poison += 1,
                None => continue,
            }
            *end += 1;
        }
        written
    }

    pub fn records(&self) -> i64 {
        self.ends.iter().sum()
    }
}

/// Sensor and metric.
pub type Series = (String, String);

#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Window {
    pub count: i64,
    pub min: f64,
    pub max: f64,
    pub mean: f64,
    pub stddev: f64,
    pub first: f64,
    pub last: f64,
    /// Where it was computed here: how many readings came after it had closed.
    pub revision: i32,
}

/// A step that is too large: the value, and the one before.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Step {
    pub value: f64,
    pub before: f64,
}

/// What a series comes to.
#[derive(Debug, Default)]
pub struct Expected {
    pub readings: BTreeMap<i64, f64>,
    /// By their start.
    pub windows: BTreeMap<i64, Window>,
    /// By their time.
    pub steps: BTreeMap<i64, Step>,
}

/// All series, after so many readings.
pub fn expected(readings: u64) -> BTreeMap<Series, Expected> {
    let mut all = BTreeMap::new();
    for number in 0..SENSORS.min(readings) {
        for (metric, name) in METRICS.iter().enumerate() {
            let first = number + metric as u64 * SENSORS;
            let of_series = (first..readings).step_by(2 * SENSORS as usize).map(message);
            all.insert((sensor(number), (*name).to_owned()), series(of_series));
        }
    }
    all
}

/// What readings of one series come to, in the order in which they were written.
pub fn series(messages: impl Iterator<Item = Message>) -> Expected {
    let mut expected = Expected::default();
    let mut newest: Option<(i64, f64)> = None;
    let mut late: BTreeMap<i64, i32> = BTreeMap::new();
    for Message { time, value, .. } in messages {
        assert!(
            expected.readings.insert(time, value).is_none(),
            "times are distinct"
        );
        if newest.is_some_and(|(newest, _)| start_of(time) + WINDOW <= newest - LATENESS) {
            *late.entry(start_of(time)).or_default() += 1;
        }
        if newest.is_none_or(|(newest, _)| time > newest) {
            if let Some((_, before)) = newest
                && (value - before).abs() > THRESHOLD
            {
                expected.steps.insert(time, Step { value, before });
            }
            newest = Some((time, value));
        }
    }
    let watermark = newest.map_or(i64::MIN, |(newest, _)| newest - LATENESS);
    let mut windows: BTreeMap<i64, Vec<f64>> = BTreeMap::new();
    for (time, value) in &expected.readings {
        windows.entry(start_of(*time)).or_default().push(*value);
    }
    windows.retain(|start, _| start + WINDOW <= watermark);
    let window = |(start, values): (i64, Vec<f64>)| {
        let revision = late.get(&start).copied().unwrap_or(0);
        (start, window(&values, revision))
    };
    expected.windows = windows.into_iter().map(window).collect();
    expected
}

fn start_of(time: i64) -> i64 {
    time.div_euclid(WINDOW) * WINDOW
}

/// `values` by their times.
fn window(values: &[f64], revision: i32) -> Window {
    let count = values.len() as f64;
    let mean = values.iter().sum::<f64>() / count;
    let squares: f64 = values.iter().map(|value| (value - mean).powi(2)).sum();
    Window {
        count: values.len() as i64,
        min: values.iter().copied().fold(f64::INFINITY, f64::min),
        max: values.iter().copied().fold(f64::NEG_INFINITY, f64::max),
        mean,
        stddev: (squares / (count - 1.0).max(1.0)).sqrt(),
        first: values[0],
        last: values[values.len() - 1],
        revision,
    }
}
