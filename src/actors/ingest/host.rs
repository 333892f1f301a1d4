//! The machine that the service runs on, as the sensor `host`, with the instance's name where there are several.

use std::borrow::Cow;
use std::time::Duration;

use super::Feed;
use crate::decode::{Draft, encode_canonical};
use crate::domain::{Quality, Timestamp};
use crate::machine::MachineReader;

pub struct HostFeed {
    /// What it is called.
    sensor: String,
    reader: MachineReader,
    last: Option<Timestamp>,
}

impl HostFeed {
    pub fn new(reader: MachineReader, sensor: String) -> Self {
        Self {
            sensor,
            reader,
            last: None,
        }
    }
}

impl Feed for HostFeed {
    fn poll(&mut self, now: Timestamp) -> Vec<Vec<u8>> {
        let since = self.last.map_or(0, |last| now.since(last).max(0));
        self.last = Some(now);
        let figures = self.reader.read(Duration::from_micros(since.unsigned_abs()));
        let drafts = figures
            .iter()
            .map(|figure| draft(&self.sensor, figure.metric, figure.value, figure.unit, now));
        encode_all(drafts).into_iter().collect()
    }
}

/// A reading of a sensor of ours.
pub(super) fn draft<'a>(
    sensor: &'a str,
    metric: &'a str,
    value: f64,
    unit: Option<&'a str>,
    time: Timestamp,
) -> Draft<'a> {
    Draft {
        sensor: Cow::Borrowed(sensor),
        metric: Cow::Borrowed(metric),
        value,
        time: Some(time),
        unit: unit.map(Cow::Borrowed),
        quality: Quality::Good,
        tags: None,
        item: 0,
    }
}

/// A JSON array of the drafts, if there are any.
pub(super) fn encode_all<'a>(drafts: impl Iterator<Item = Draft<'a>>) -> Option<Vec<u8>> {
    let mut payload = vec![b'['];
    for draft in drafts {
        if payload.len() > 1 {
            payload.push(b',');
        }
        encode_canonical(&draft, &mut payload);
    }
    payload.push(b']');
    (payload.len() > 2).then_some(payload)
}
