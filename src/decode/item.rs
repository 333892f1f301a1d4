//! One JSON object: its known fields in their slots, then answered as one canonical reading, as one reading for each
//! metric of a flat object, or as refusals.
//!
//! Invariants: an object is answered at least once; a known field that comes twice is refused, because which one was
//! meant cannot be known. Values that only fail to fit (1e400) refuse their field, not the payload: the object is then
//! read again with every value taken raw.

use std::borrow::Cow;
use std::fmt;

use serde::de::{Deserialize, Deserializer, Error, MapAccess, Visitor};
use serde_json::value::RawValue;

use super::json::JsonMapping;
use super::scalar::Scalar;
use super::{Draft, RawTags, Refusal, Sink};
use crate::domain::{IdError, MetricName, Quality, RejectReason, SensorId, TimeError, Timestamp};

/// The most metrics that one flat object can carry.
pub const MAX_FLAT_METRICS: usize = 1_024;
/// The longest unit, in bytes.
pub const MAX_UNIT_BYTES: usize = 64;

/// The fields of an object. Reused from object to object, so that flat ones allocate once a payload.
#[derive(Default)]
pub(super) struct Item<'a> {
    seen: u8,
    twice: Option<Field>,
    sensor: Scalar<'a>,
    metric: Scalar<'a>,
    value: Scalar<'a>,
    time: Scalar<'a>,
    unit: Scalar<'a>,
    quality: Scalar<'a>,
    tags: Option<&'a RawValue>,
    /// The array of a `{"items": […]}`.
    items: Option<&'a RawValue>,
    /// Other fields that are numbers or booleans, at most one more than allowed.
    metrics: Vec<(Cow<'a, str>, Scalar<'a>)>,
}

impl<'a> Item<'a> {
    /// Reads one object and what may follow it. The error is one of syntax.
    pub fn read(&mut self, json: &'a str) -> serde_json::Result<()> {
        self.read_once(json, false)
            .or_else(|_| self.read_once(json, true))
    }

    /// The array of items, where the object is only their wrapper.
    pub fn wrapped(&self) -> Option<&'a RawValue> {
        if self.is_canonical() { None } else { self.items }
    }

    /// Gives `sink` everything the object holds.
    pub fn answer<S: Sink<'a> + ?Sized>(
        &mut self,
        index: u32,
        payload: &'a [u8],
        mapping: &'a JsonMapping,
        sink: &mut S,
    ) {
        let mut sensor = None;
        if let Err(fault) = self.answer_or_fail(index, payload, mapping, &mut sensor, sink) {
            sink.refuse(fault.refusal(index, sensor, payload));
        }
    }

    fn read_once(&mut self, json: &'a str, raw: bool) -> serde_json::Result<()> {
        let mut metrics = std::mem::take(&mut self.metrics);
        metrics.clear();
        *self = Item {
            metrics,
            ..Item::default()
        };
        let mut deserializer = serde_json::Deserializer::from_str(json);
        deserializer.deserialize_map(ItemVisitor { item: self, raw })?;
        deserializer.end()
    }

    fn is_canonical(&self) -> bool {
        self.seen & (Field::Value.bit() | Field::Metric.bit()) != 0
    }

    fn answer_or_fail<S: Sink<'a> + ?Sized>(
        &mut self,
        index: u32,
        payload: &'a [u8],
        mapping: &'a JsonMapping,
        known: &mut Option<Cow<'a, str>>,
        sink: &mut S,
    ) -> Result<(), Fault<'a>> {
        if let Some(field) = self.twice {
            return Err(Fault::new(field.name(), "is given more than once".to_owned()));
        }
        let sensor = sensor(std::mem::take(&mut self.sensor), mapping)?;
        if !self.is_canonical() {
            *known = Some(sensor.clone());
            let draft = Draft {
                sensor,
                metric: Cow::Borrowed(""),
                value: 0.0,
                time: time(&self.time)?,
                unit: None,
                quality: quality(&self.quality)?,
                tags: tags(self.tags)?,
                item: index,
            };
            return self.answer_flat(draft, payload, sink);
        }
        let draft = match self.canonical(mapping) {
            Ok(rest) => Draft {
                sensor,
                item: index,
                ..rest
            },
            Err(fault) => {
                *known = Some(sensor);
                return Err(fault);
            }
        };
        sink.reading(draft);
        Ok(())
    }

    /// Everything of a canonical reading but its sensor and place.
    fn canonical(&mut self, mapping: &'a JsonMapping) -> Result<Draft<'a>, Fault<'a>> {
        Ok(Draft {
            sensor: Cow::Borrowed(""),
            metric: metric(std::mem::take(&mut self.metric), mapping)?,
            value: self.canonical_value()?,
            time: time(&self.time)?,
            unit: unit(std::mem::take(&mut self.unit))?,
            quality: quality(&self.quality)?,
            tags: tags(self.tags)?,
            item: 0,
        })
    }

    fn canonical_value(&self) -> Result<f64, Fault<'a>> {
        match value(&self.value) {
            Some(value) => Ok(value),
            None if self.seen & Field::Value.bit() == 0 => Err(Fault::new("value", "is missing".to_owned())),
            None => Err(Fault::wrong("value", &self.value, "a finite number or a boolean")),
        }
    }

    /// One answer for each metric of a flat object, each with the common parts of `draft`.
    fn answer_flat<S: Sink<'a> + ?Sized>(
        &mut self,
        draft: Draft<'a>,
        payload: &'a [u8],
        sink: &mut S,
    ) -> Result<(), Fault<'a>> {
        if self.metrics.is_empty() {
            let reason = "has no reading: neither `value` nor another field that is a number or a boolean";
            return Err(Fault::new("item", reason.to_owned()));
        }
        if self.metrics.len() > MAX_FLAT_METRICS {
            let reason = format!("has more than {MAX_FLAT_METRICS} metrics");
            return Err(Fault {
                kind: RejectReason::LimitReached,
                ..Fault::new("item", reason)
            });
        }
        for (name, scalar) in self.metrics.drain(..) {
            match flat_value(&name, &scalar) {
                Ok(value) => sink.reading(Draft {
                    metric: name,
                    value,
                    ..draft.clone()
                }),
                Err(reason) => {
                    let fault = Fault::new(name, reason);
                    sink.refuse(fault.refusal(draft.item, Some(draft.sensor.clone()), payload));
                }
            }
        }
        Ok(())
    }
}

/// Why an object, or a part of it, is no reading.
struct Fault<'a> {
    field: Cow<'a, str>,
    reason: String,
    kind: RejectReason,
}

impl<'a> Fault<'a> {
    fn new(field: impl Into<Cow<'a, str>>, reason: String) -> Self {
        Fault {
            field: field.into(),
            reason,
            kind: RejectReason::Invalid,
        }
    }

    fn wrong(field: &'static str, is: &Scalar<'_>, must_be: &str) -> Self {
        Fault::new(field, format!("{}, must be {must_be}", is.described()))
    }

    fn refusal(self, item: u32, sensor: Option<Cow<'a, str>>, payload: &'a [u8]) -> Refusal<'a> {
        Refusal {
            item,
            field: self.field,
            reason: self.reason,
            kind: self.kind,
            sensor,
            payload,
        }
    }
}

fn sensor<'a>(scalar: Scalar<'a>, mapping: &'a JsonMapping) -> Result<Cow<'a, str>, Fault<'a>> {
    let default = mapping.default_sensor.as_ref().map(SensorId::as_str);
    name("sensor_id", scalar, default, SensorId::check)
}

fn metric<'a>(scalar: Scalar<'a>, mapping: &'a JsonMapping) -> Result<Cow<'a, str>, Fault<'a>> {
    let default = mapping.default_metric.as_ref().map(MetricName::as_str);
    name("metric", scalar, default, MetricName::check)
}

fn name<'a>(
    field: &'static str,
    scalar: Scalar<'a>,
    default: Option<&'a str>,
    check: fn(&str) -> Result<(), IdError>,
) -> Result<Cow<'a, str>, Fault<'a>> {
    match (scalar, default) {
        (Scalar::Text(name), _) => match check(&name) {
            Ok(()) => Ok(name),
            Err(error) => Err(Fault::new(field, error.to_string())),
        },
        (Scalar::Null, Some(default)) => Ok(Cow::Borrowed(default)),
        (Scalar::Null, None) => Err(Fault::new(field, "is missing".to_owned())),
        (other, _) => Err(Fault::wrong(field, &other, "text")),
    }
}

fn value(scalar: &Scalar<'_>) -> Option<f64> {
    match *scalar {
        Scalar::Integer(value) => Some(value as f64),
        Scalar::Float(value) => Some(value),
        Scalar::Bool(value) => Some(f64::from(u8::from(value))),
        _ => None,
    }
}

fn flat_value(name: &str, scalar: &Scalar<'_>) -> Result<f64, String> {
    MetricName::check(name).map_err(|error| format!("is no name of a metric: it {error}"))?;
    value(scalar).ok_or_else(|| scalar.described().to_owned())
}

fn time<'a>(scalar: &Scalar<'_>) -> Result<Option<Timestamp>, Fault<'a>> {
    let time = match scalar {
        Scalar::Null => return Ok(None),
        Scalar::Integer(number) => Timestamp::from_integer(*number),
        Scalar::Float(number) => Timestamp::from_number(*number),
        Scalar::Text(text) => Timestamp::from_text(text),
        _ => Err(TimeError::NotATime),
    };
    time.map(Some)
        .map_err(|error| Fault::new("timestamp", error.to_string()))
}

fn unit(scalar: Scalar<'_>) -> Result<Option<Cow<'_, str>>, Fault<'_>> {
    match scalar {
        Scalar::Null => Ok(None),
        Scalar::Text(unit) if unit.is_empty() => Ok(None),
        Scalar::Text(unit) if unit.len() > MAX_UNIT_BYTES => {
            let reason = format!(
                "is {} bytes long, at most {MAX_UNIT_BYTES} are allowed",
                unit.len()
            );
            Err(Fault::new("unit", reason))
        }
        Scalar::Text(unit) if unit.chars().any(char::is_control) => {
            Err(Fault::new("unit", "has a control character".to_owned()))
        }
        Scalar::Text(unit) => Ok(Some(unit)),
        other => Err(Fault::wrong("unit", &other, "text")),
    }
}

fn quality<'a>(scalar: &Scalar<'_>) -> Result<Quality, Fault<'a>> {
    match scalar {
        Scalar::Null => Ok(Quality::Good),
        Scalar::Text(word) if word == "good" => Ok(Quality::Good),
        Scalar::Text(word) if word == "uncertain" => Ok(Quality::Uncertain),
        Scalar::Text(word) if word == "bad" => Ok(Quality::Bad),
        _ => Err(Fault::new(
            "quality",
            "must be `good`, `uncertain` or `bad`".to_owned(),
        )),
    }
}

fn tags(raw: Option<&RawValue>) -> Result<Option<RawTags<'_>>, Fault<'_>> {
    match raw {
        None => Ok(None),
        Some(raw) if raw.get() == "null" => Ok(None),
        Some(raw) => match RawTags::check(raw) {
            Ok(tags) => Ok(Some(tags)),
            Err(reason) => Err(Fault::new("tags", reason)),
        },
    }
}

/// The fields that have a name of their own.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Field {
    Sensor,
    Metric,
    Value,
    Time,
    Unit,
    Quality,
    Tags,
    Items,
}

impl Field {
    fn of(name: &str) -> Option<Field> {
        Some(match name {
            "sensor_id" => Field::Sensor,
            "metric" => Field::Metric,
            "value" => Field::Value,
            "timestamp" | "time" => Field::Time,
            "unit" => Field::Unit,
            "quality" => Field::Quality,
            "tags" => Field::Tags,
            "items" => Field::Items,
            _ => return None,
        })
    }

    fn name(self) -> &'static str {
        match self {
            Field::Sensor => "sensor_id",
            Field::Metric => "metric",
            Field::Value => "value",
            Field::Time => "timestamp",
            Field::Unit => "unit",
            Field::Quality => "quality",
            Field::Tags => "tags",
            Field::Items => "items",
        }
    }

    fn bit(self) -> u8 {
        1 << self as u8
    }
}

enum Key<'a> {
    Known(Field),
    Other(Cow<'a, str>),
}

impl<'de: 'a, 'a> Deserialize<'de> for Key<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_str(KeyVisitor)
    }
}

struct KeyVisitor;

impl<'de> Visitor<'de> for KeyVisitor {
    type Value = Key<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a field name")
    }

    fn visit_borrowed_str<E: Error>(self, name: &'de str) -> Result<Key<'de>, E> {
        Ok(Field::of(name).map_or(Key::Other(Cow::Borrowed(name)), Key::Known))
    }

    fn visit_str<E: Error>(self, name: &str) -> Result<Key<'de>, E> {
        Ok(Field::of(name).map_or_else(|| Key::Other(Cow::Owned(name.to_owned())), Key::Known))
    }
}

struct ItemVisitor<'i, 'a> {
    item: &'i mut Item<'a>,
    raw: bool,
}

impl<'de> Visitor<'de> for ItemVisitor<'_, 'de> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<(), A::Error> {
        let item = self.item;
        while let Some(key) = entries.next_key::<Key<'de>>()? {
            let field = match key {
                Key::Known(field) => field,
                Key::Other(name) => {
                    let scalar = next_scalar(&mut entries, self.raw)?;
                    item.take_other(name, scalar);
                    continue;
                }
            };
            if item.seen & field.bit() != 0 {
                item.twice = Some(field);
            }
            item.seen |= field.bit();
            match field {
                Field::Sensor => item.sensor = next_scalar(&mut entries, self.raw)?,
                Field::Metric => item.metric = next_scalar(&mut entries, self.raw)?,
                Field::Value => item.value = next_scalar(&mut entries, self.raw)?,
                Field::Time => item.time = next_scalar(&mut entries, self.raw)?,
                Field::Unit => item.unit = next_scalar(&mut entries, self.raw)?,
                Field::Quality => item.quality = next_scalar(&mut entries, self.raw)?,
                Field::Tags => item.tags = Some(entries.next_value()?),
                Field::Items => item.take_items(entries.next_value()?),
            }
        }
        Ok(())
    }
}

fn next_scalar<'de, A: MapAccess<'de>>(entries: &mut A, raw: bool) -> Result<Scalar<'de>, A::Error> {
    if raw {
        entries.next_value().map(Scalar::of_raw)
    } else {
        entries.next_value()
    }
}

impl<'a> Item<'a> {
    fn take_other(&mut self, name: Cow<'a, str>, scalar: Scalar<'a>) {
        let is_metric = matches!(
            scalar,
            Scalar::Integer(_) | Scalar::Float(_) | Scalar::Bool(_) | Scalar::HugeNumber
        );
        if is_metric && self.metrics.len() <= MAX_FLAT_METRICS {
            self.metrics.push((name, scalar));
        }
    }

    /// `items` is a wrapper's only as an array; a number of that name is a metric like any other.
    fn take_items(&mut self, raw: &'a RawValue) {
        if raw.get().starts_with('[') {
            self.items = Some(raw);
        } else {
            self.take_other(Cow::Borrowed("items"), Scalar::of_raw(raw));
        }
    }
}
