//! A reading as canonical JSON, for dead letters and simulated devices.
//!
//! Invariants: what is encoded decodes to the same reading, bit by bit, in the years 1 to 9999. A value that is not
//! finite, which JSON cannot carry, becomes text (`"NaN"`), which the decoder refuses by name.

use std::io::Write;

use std::borrow::Cow;

use serde::Serialize;

use super::{Draft, Hints, JsonMapping, Refusal, Sink, decode_json};
use crate::domain::{Quality, Reading, Timestamp};

/// A reading as canonical JSON that can be decoded again: what a dead letter keeps.
pub fn encode_reading(sensor: &str, metric: &str, unit: Option<&str>, reading: &Reading) -> Vec<u8> {
    let draft = Draft {
        sensor: Cow::Borrowed(sensor),
        metric: Cow::Borrowed(metric),
        value: reading.value,
        time: Some(reading.time),
        unit: unit.map(Cow::Borrowed),
        quality: reading.flags.quality(),
        tags: None,
        item: 0,
    };
    let mut json = Vec::with_capacity(128);
    encode_canonical(&draft, &mut json);
    json
}

/// Whether `payload` is what [`encode_canonical`] makes of the reading that it holds: a reading in our own words, whatever the
/// form was in which it came.
pub fn is_canonical(payload: &[u8]) -> bool {
    struct Same<'p> {
        payload: &'p [u8],
        same: bool,
    }

    impl<'a> Sink<'a> for Same<'_> {
        fn reading(&mut self, draft: Draft<'a>) {
            let mut again = Vec::with_capacity(self.payload.len());
            encode_canonical(&draft, &mut again);
            self.same = again == self.payload;
        }

        fn refuse(&mut self, _: Refusal<'a>) {}
    }

    let mapping = JsonMapping {
        max_items: 1,
        ..JsonMapping::default()
    };
    let mut same = Same { payload, same: false };
    decode_json(payload, Hints::default(), &mapping, &mut same);
    same.same
}

/// Appends `draft` to `out` as one canonical JSON object, without a line end.
pub fn encode_canonical(draft: &Draft<'_>, out: &mut Vec<u8>) {
    out.extend_from_slice(b"{\"sensor_id\":");
    json(&draft.sensor, out);
    out.extend_from_slice(b",\"metric\":");
    json(&draft.metric, out);
    out.extend_from_slice(b",\"value\":");
    if draft.value.is_finite() {
        json(&draft.value, out);
    } else {
        json(&draft.value.to_string(), out);
    }
    if let Some(time) = draft.time {
        out.extend_from_slice(b",\"timestamp\":");
        json_time(time, out);
    }
    if let Some(unit) = &draft.unit {
        out.extend_from_slice(b",\"unit\":");
        json(unit, out);
    }
    let quality: &[u8] = match draft.quality {
        Quality::Good => b"",
        Quality::Uncertain => b",\"quality\":\"uncertain\"",
        Quality::Bad => b",\"quality\":\"bad\"",
    };
    out.extend_from_slice(quality);
    if let Some(tags) = &draft.tags {
        out.extend_from_slice(b",\"tags\":");
        out.extend_from_slice(tags.as_str().as_bytes());
    }
    out.push(b'}');
}

/// Milliseconds where that is exact, else microseconds; as text where the size of the number would not tell its unit.
fn json_time(time: Timestamp, out: &mut Vec<u8>) {
    let micros = time.0;
    match micros.unsigned_abs() {
        100_000_000_000_000..100_000_000_000_000_000 if micros % 1_000 == 0 => json(&(micros / 1_000), out),
        100_000_000_000_000..100_000_000_000_000_000 => json(&micros, out),
        _ => json(&time.to_rfc3339(), out),
    }
}

fn json<T: Serialize + ?Sized>(value: &T, out: &mut Vec<u8>) {
    // Writing text or a number to memory cannot fail; if it did, the decoder would refuse what is missing.
    let _ = serde_json::to_writer(out.by_ref(), value);
}
