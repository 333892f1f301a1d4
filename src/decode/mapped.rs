//! Payloads in another form, read by a [`PointerMapping`].
//!
//! Invariants: as for our own forms, a payload that is not JSON or has too many items is refused once and whole, and every
//! item is answered at least once: as one reading, as one for each of its metrics, or as refusals that name the pointer. What is
//! from the root is read once, and is short, so that the time is linear in the payload however many items share it.

use std::borrow::Cow;

use serde_json::value::RawValue;

use super::item::{self, Fault};
use super::json::{JsonMapping, split};
use super::mapping::{Field, PointerMapping, Values};
use super::scalar::Scalar;
use super::tags::TagsBuilder;
use super::tree::Found;
use super::{Draft, Hints, RawTags, Refusal, Sink};
use crate::domain::{MetricName, Quality, SensorId, Timestamp};

/// The longest field from the root, in bytes of JSON.
pub const MAX_ROOT_BYTES: usize = 4_096;
/// The most that is kept with an item of what is around it, in bytes.
const MAX_ENVELOPE: usize = 1_024;

/// The error is of the whole payload, and nothing was given yet.
pub(super) fn decode<'a, S: Sink<'a> + ?Sized>(
    json: &'a str,
    hints: Hints<'a>,
    mapping: &'a JsonMapping,
    pointers: &'a PointerMapping,
    sink: &mut S,
) -> Result<(), Fault<'a>> {
    if json.trim_ascii().is_empty() {
        return Err(Fault::undecodable("payload", "is empty".to_owned()));
    }
    let root: &RawValue = serde_json::from_str(json)
        .map_err(|error| Fault::undecodable("payload", format!("is not JSON: {error}")))?;
    let outer = follow_root(root, pointers)?;
    let mut items = Items {
        mapping,
        pointers,
        hints,
        outer,
        inner: Found::default(),
        envelope: None,
    };
    let Some(array) = &pointers.items else {
        items.answer(0, root, sink);
        return Ok(());
    };
    let array = match items.outer_array(array)? {
        array if array.get().starts_with('[') => array,
        other => return Err(Fault::wrong(&array.pointer, &Scalar::of_raw(other), "an array")),
    };
    items.envelope = Some(Envelope::around(array.get(), json));
    let split = split(array.get(), mapping.max_items)
        .map_err(|error| Fault::undecodable("payload", format!("cannot be read: {error}")))?;
    split.check(mapping.max_items)?;
    for (index, item) in split.kept.into_iter().enumerate() {
        items.answer(index as u32, item, sink);
    }
    Ok(())
}

fn follow_root<'a>(root: &'a RawValue, pointers: &'a PointerMapping) -> Result<Found<'a>, Fault<'a>> {
    let mut outer = Found::default();
    let tree = &pointers.root;
    tree.follow(root, &mut outer)
        .map_err(|error| Fault::new("payload", format!("cannot be read: {error}")))?;
    if let Some(pointer) = tree.twice(&outer) {
        let reason = "is given more than once".to_owned();
        return Err(Fault::new(format!("root:{pointer}"), reason));
    }
    for field in pointers.fields().filter(|field| field.from_root) {
        let bytes = field.in_either(&outer, &outer).map_or(0, |json| json.get().len());
        if bytes > MAX_ROOT_BYTES {
            let reason = format!("is {bytes} bytes long, at most {MAX_ROOT_BYTES} are allowed");
            return Err(Fault::new(&*field.pointer, reason));
        }
    }
    Ok(outer)
}

/// What the items of a payload have in common, and room for what is found in one of them.
struct Items<'a> {
    mapping: &'a JsonMapping,
    pointers: &'a PointerMapping,
    hints: Hints<'a>,
    outer: Found<'a>,
    inner: Found<'a>,
    /// None where the payload is the item.
    envelope: Option<Envelope<'a>>,
}

impl<'a> Items<'a> {
    fn outer_array(&self, array: &'a Field) -> Result<&'a RawValue, Fault<'a>> {
        let missing = || Fault::new(&*array.pointer, "is missing".to_owned());
        array.in_either(&self.outer, &self.outer).ok_or_else(missing)
    }

    fn answer<S: Sink<'a> + ?Sized>(&mut self, index: u32, item: &'a RawValue, sink: &mut S) {
        let sensor = match self.follow(item).and_then(|()| self.sensor()) {
            Ok(sensor) => sensor,
            Err(fault) => return sink.refuse(self.refusal(index, item, fault, None)),
        };
        if let Err(fault) = self.values(index, item, &sensor, sink) {
            sink.refuse(self.refusal(index, item, fault, Some(sensor)));
        }
    }

    fn follow(&mut self, item: &'a RawValue) -> Result<(), Fault<'a>> {
        let tree = &self.pointers.item;
        tree.follow(item, &mut self.inner)
            .map_err(|error| Fault::new("item", format!("cannot be read: {error}")))?;
        match tree.twice(&self.inner) {
            Some(pointer) => Err(Fault::new(pointer, "is given more than once".to_owned())),
            None => Ok(()),
        }
    }

    fn values<S: Sink<'a> + ?Sized>(
        &self,
        index: u32,
        item: &'a RawValue,
        sensor: &Cow<'a, str>,
        sink: &mut S,
    ) -> Result<(), Fault<'a>> {
        let (time, quality, tags) = (self.time()?, self.quality()?, self.tags()?);
        let draft = |metric, value, unit, tags| Draft {
            sensor: sensor.clone(),
            metric,
            value,
            time,
            unit,
            quality,
            tags,
            item: index,
        };
        match &self.pointers.values {
            Values::One { metric, value, unit } => {
                let unit = match unit {
                    Some(unit) => item::unit(&unit.pointer, self.scalar(unit))?,
                    None => None,
                };
                let metric = self.metric(metric.as_ref())?;
                let json = self.get(value);
                let json = json.ok_or_else(|| Fault::new(&*value.pointer, "is missing".to_owned()))?;
                sink.reading(draft(metric, number(value, json)?, unit, tags));
            }
            Values::Several(metrics) => {
                let mut any = false;
                for (metric, field) in metrics {
                    let Some(json) = self.get(field).filter(|json| json.get() != "null") else {
                        continue;
                    };
                    any = true;
                    match number(field, json) {
                        Ok(value) => sink.reading(draft(metric.as_str().into(), value, None, tags.clone())),
                        Err(fault) => sink.refuse(self.refusal(index, item, fault, Some(sensor.clone()))),
                    }
                }
                if !any {
                    let reason = "has none of the metrics that the mapping names";
                    return Err(Fault::new("item", reason.to_owned()));
                }
            }
        }
        Ok(())
    }

    fn sensor(&self) -> Result<Cow<'a, str>, Fault<'a>> {
        if let Some(field) = &self.pointers.sensor_id
            && let Some(id) = self.id(field)?
        {
            let valid = SensorId::check(&id);
            return valid
                .map(|()| id)
                .map_err(|error| Fault::new(&*field.pointer, error.to_string()));
        }
        let named = self.pointers.sensor_id.as_ref().map(|field| &*field.pointer);
        item::unnamed_sensor(named.unwrap_or("sensor_id"), self.hints, self.mapping)
    }

    fn metric(&self, field: Option<&'a Field>) -> Result<Cow<'a, str>, Fault<'a>> {
        if let Some(field) = field
            && let Some(name) = self.id(field)?
        {
            let valid = MetricName::check(&name);
            return valid
                .map(|()| name)
                .map_err(|error| Fault::new(&*field.pointer, error.to_string()));
        }
        let named = field.map(|field| &*field.pointer);
        item::unnamed_metric(named.unwrap_or("metric"), self.hints, self.mapping)
    }

    /// Text, or a whole number as it is written: many devices have numbers for names.
    fn id(&self, field: &'a Field) -> Result<Option<Cow<'a, str>>, Fault<'a>> {
        let Some(json) = self.get(field) else {
            return Ok(None);
        };
        if json.get().bytes().all(|byte| byte.is_ascii_digit()) {
            return Ok(Some(Cow::Borrowed(json.get())));
        }
        match Scalar::of_raw(json) {
            Scalar::Text(text) => Ok(Some(text)),
            Scalar::Null => Ok(None),
            other => Err(Fault::wrong(&field.pointer, &other, "text or a whole number")),
        }
    }

    fn time(&self) -> Result<Option<Timestamp>, Fault<'a>> {
        let Some(field) = &self.pointers.timestamp else {
            return Ok(None);
        };
        let time = self.pointers.timestamp_unit.read(&self.scalar(field));
        time.map_err(|error| Fault::new(&*field.pointer, error.to_string()))
    }

    fn quality(&self) -> Result<Quality, Fault<'a>> {
        match &self.pointers.quality {
            Some(field) => item::quality(&field.pointer, &self.scalar(field)),
            None => Ok(Quality::Good),
        }
    }

    fn tags(&self) -> Result<Option<RawTags<'a>>, Fault<'a>> {
        let mut tags = TagsBuilder::default();
        for (name, field) in &self.pointers.tags {
            if let Some(json) = self.get(field) {
                tags.add(name, json)
                    .map_err(|reason| Fault::new(&*field.pointer, reason))?;
            }
        }
        Ok(tags.finish())
    }

    fn get(&self, field: &Field) -> Option<&'a RawValue> {
        field.in_either(&self.outer, &self.inner)
    }

    fn scalar(&self, field: &Field) -> Scalar<'a> {
        self.get(field).map(Scalar::of_raw).unwrap_or_default()
    }

    fn refusal(
        &self,
        index: u32,
        item: &'a RawValue,
        fault: Fault<'a>,
        sensor: Option<Cow<'a, str>>,
    ) -> Refusal<'a> {
        let payload = match &self.envelope {
            Some(envelope) => envelope.with(item.get()),
            None => Cow::Borrowed(item.get().as_bytes()),
        };
        fault.refusal(index, sensor, payload)
    }
}

/// A number, a boolean, or text that is one.
fn number<'a>(field: &'a Field, json: &'a RawValue) -> Result<f64, Fault<'a>> {
    let scalar = Scalar::of_raw(json);
    let scalar = match &scalar {
        Scalar::Text(text) => Scalar::of_text(text).unwrap_or(scalar),
        _ => scalar,
    };
    let wrong = || Fault::wrong(&field.pointer, &scalar, "a finite number or a boolean");
    item::value(&scalar).ok_or_else(wrong)
}

/// What is around the array of items. An item is refused within it, as if it were the only one, so that the same mapping, or
/// one that was corrected, can read it again.
struct Envelope<'a> {
    before: &'a str,
    after: &'a str,
}

impl<'a> Envelope<'a> {
    /// `array` is a part of `payload`.
    fn around(array: &'a str, payload: &'a str) -> Self {
        let start = array.as_ptr() as usize - payload.as_ptr() as usize;
        let (before, rest) = payload.split_at(start);
        Envelope {
            before,
            after: &rest[array.len()..],
        }
    }

    /// The item alone where the envelope is so long that it would not pay.
    fn with(&self, item: &'a str) -> Cow<'a, [u8]> {
        if self.before.len() + self.after.len() > MAX_ENVELOPE {
            return Cow::Borrowed(item.as_bytes());
        }
        Cow::Owned(format!("{}[{item}]{}", self.before, self.after).into_bytes())
    }
}
