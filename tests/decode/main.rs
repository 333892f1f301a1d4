//! Payloads, documented and hostile, through the decoder: what is a reading, what is refused, and that nothing is
//! forgotten.

mod always;
mod bare;
mod csv;
mod documented;
mod forms;
mod hostile;
mod lines;
mod mapped;
mod topics;

use std::borrow::Cow;
use std::collections::BTreeMap;

use proptest::prelude::*;
use sensorhive::decode::{
    Draft, Hints, JsonMapping, MAX_FLAT_METRICS, MAX_TAG_BYTES, MAX_TAGS, MAX_UNIT_BYTES, RawTags, Refusal,
    Sink, TopicPattern, decode, decode_json, encode_canonical,
};
use sensorhive::domain::{MetricName, Quality, RejectReason, SensorId, Timestamp};
use serde_json::{Value, json};

#[derive(Default)]
struct Found<'a> {
    drafts: Vec<Draft<'a>>,
    refusals: Vec<Refusal<'a>>,
}

impl<'a> Sink<'a> for Found<'a> {
    fn reading(&mut self, draft: Draft<'a>) {
        self.drafts.push(draft);
    }

    fn refuse(&mut self, refusal: Refusal<'a>) {
        self.refusals.push(refusal);
    }
}

impl Found<'_> {
    fn shown(&self) -> Vec<String> {
        let show = |draft: &Draft<'_>| {
            let time = draft.time.map(|time| format!(" {time}")).unwrap_or_default();
            format!("{} {} {}{time}", draft.sensor, draft.metric, draft.value)
        };
        self.drafts.iter().map(show).collect()
    }

    fn sentences(&self) -> Vec<String> {
        let show = |refusal: &Refusal<'_>| format!("{}: {refusal}", refusal.item);
        self.refusals.iter().map(show).collect()
    }
}

fn strict() -> JsonMapping {
    JsonMapping {
        default_metric: None,
        ..JsonMapping::default()
    }
}

/// Decodes and gives the readings and the refusals as text.
fn decoded(payload: impl AsRef<[u8]>) -> (Vec<String>, Vec<String>) {
    let mapping = strict();
    let mut found = Found::default();
    decode_json(payload.as_ref(), Hints::default(), &mapping, &mut found);
    (found.shown(), found.sentences())
}

/// As [`decoded`], with a mapping and hints.
fn decoded_as(
    payload: impl AsRef<[u8]>,
    hints: Hints<'_>,
    mapping: &JsonMapping,
) -> (Vec<String>, Vec<String>) {
    let mut found = Found::default();
    decode(payload.as_ref(), hints, mapping, &mut found);
    (found.shown(), found.sentences())
}

/// The one refusal of a payload that gives nothing else.
fn refused(payload: impl AsRef<[u8]>) -> String {
    let (readings, mut refusals) = decoded(payload);
    assert!(
        readings.is_empty() && refusals.len() == 1,
        "{readings:?} {refusals:?}"
    );
    refusals.remove(0)
}

/// A canonical object with one field changed, or taken out by `null`.
fn with(field: &str, json: &str) -> String {
    let mut fields = BTreeMap::from([
        ("sensor_id", r#""s1""#),
        ("metric", r#""temperature""#),
        ("value", "21.5"),
        ("timestamp", "1730332800123"),
    ]);
    fields.insert(field, json);
    let fields: Vec<String> = fields
        .iter()
        .map(|(name, json)| format!("{name:?}:{json}"))
        .collect();
    format!("{{{}}}", fields.join(","))
}
