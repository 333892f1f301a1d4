//! The fields of one JSON object, each in its slot.
//!
//! Invariants: nothing is judged here but syntax. A number or a text that only fails to fit (1e400, half a surrogate
//! pair) does not fail the object: it is then read again with every value taken raw, so that its field can be named.

use std::borrow::Cow;
use std::fmt;

use serde::de::{Deserialize, Deserializer, Error, MapAccess, Visitor};
use serde_json::value::RawValue;

use super::scalar::Scalar;

/// The most metrics that one flat object can carry.
pub const MAX_FLAT_METRICS: usize = 1_024;

/// The fields of an object. Reused from object to object, so that flat ones allocate once a payload.
#[derive(Default)]
pub(super) struct Fields<'a> {
    seen: u8,
    /// A known field that comes more than once.
    pub twice: Option<&'static str>,
    pub sensor: Scalar<'a>,
    pub metric: Scalar<'a>,
    pub value: Scalar<'a>,
    pub time: Scalar<'a>,
    pub unit: Scalar<'a>,
    pub quality: Scalar<'a>,
    pub tags: Option<&'a RawValue>,
    /// The array of a `{"items": […]}`.
    items: Option<&'a RawValue>,
    /// Other fields that are numbers or booleans, at most one more than allowed.
    pub metrics: Vec<(Cow<'a, str>, Scalar<'a>)>,
}

impl<'a> Fields<'a> {
    /// Reads one object and what may follow it. The error is one of syntax.
    pub fn read(&mut self, json: &'a str) -> serde_json::Result<()> {
        self.read_once(json, false)
            .or_else(|_| self.read_once(json, true))
    }

    /// The array of items, where the object is only their wrapper.
    pub fn wrapped(&self) -> Option<&'a RawValue> {
        if self.is_canonical() { None } else { self.items }
    }

    /// Whether the object is one reading: it has a `value` or a `metric`.
    pub fn is_canonical(&self) -> bool {
        self.seen & (Field::Value.bit() | Field::Metric.bit()) != 0
    }

    pub fn has_value(&self) -> bool {
        self.seen & Field::Value.bit() != 0
    }

    fn read_once(&mut self, json: &'a str, raw: bool) -> serde_json::Result<()> {
        let mut metrics = std::mem::take(&mut self.metrics);
        metrics.clear();
        *self = Fields {
            metrics,
            ..Fields::default()
        };
        let mut deserializer = serde_json::Deserializer::from_str(json);
        deserializer.deserialize_map(FieldsVisitor { fields: self, raw })?;
        deserializer.end()
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

struct FieldsVisitor<'f, 'a> {
    fields: &'f mut Fields<'a>,
    raw: bool,
}

impl<'de> Visitor<'de> for FieldsVisitor<'_, 'de> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<(), A::Error> {
        let fields = self.fields;
        while let Some(key) = entries.next_key::<Key<'de>>()? {
            let field = match key {
                Key::Known(field) => field,
                Key::Other(name) => {
                    let scalar = next_scalar(&mut entries, self.raw)?;
                    fields.take_other(name, scalar);
                    continue;
                }
            };
            if fields.seen & field.bit() != 0 {
                fields.twice = Some(field.name());
            }
            fields.seen |= field.bit();
            match field {
                Field::Sensor => fields.sensor = next_scalar(&mut entries, self.raw)?,
                Field::Metric => fields.metric = next_scalar(&mut entries, self.raw)?,
                Field::Value => fields.value = next_scalar(&mut entries, self.raw)?,
                Field::Time => fields.time = next_scalar(&mut entries, self.raw)?,
                Field::Unit => fields.unit = next_scalar(&mut entries, self.raw)?,
                Field::Quality => fields.quality = next_scalar(&mut entries, self.raw)?,
                Field::Tags => fields.tags = Some(entries.next_value()?),
                Field::Items => fields.take_items(entries.next_value()?),
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

impl<'a> Fields<'a> {
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
