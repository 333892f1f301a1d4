//! JSON payloads: one object, an array of them, `{"items": […]}`, a bare value, or what a mapping finds its way in.
//!
//! Invariants: a payload that is not JSON, or has more items than allowed, is refused once and whole before any reading
//! of it is given; an array is therefore split into raw items first and read item by item after, so that an item of the
//! wrong shape harms only itself. Both passes are linear and need no stack for what is nested.

use std::fmt;

use serde::de::{Deserializer, IgnoredAny, SeqAccess, Visitor};
use serde_json::value::RawValue;

use super::fields::Fields;
use super::item::{self, Fault, Place};
use super::locate::locate;
use super::mapping::PointerMapping;
use super::{Format, Sink, TopicPattern, bare, mapped};
use crate::domain::{MetricName, SensorId};

/// What a source knows of its JSON payloads that is not in them.
#[derive(Debug, Clone)]
pub struct JsonMapping {
    /// The sensor of items that name none and have no hint; without it they are refused.
    pub default_sensor: Option<SensorId>,
    /// The metric of items that have a `value` but name none and have no hint; without it they are refused.
    pub default_metric: Option<MetricName>,
    /// Where the fields are, if not where our own forms have them.
    pub pointers: Option<PointerMapping>,
    /// What payloads are written in.
    pub format: Format,
    /// The topics that are subscribed to; the first that matches says what a topic means.
    pub topics: Vec<TopicPattern>,
    /// The most items of one payload; a longer one is refused whole.
    pub max_items: usize,
}

impl Default for JsonMapping {
    /// No default sensor, the metric `value`, our own forms, 10,000 items.
    fn default() -> Self {
        JsonMapping {
            default_sensor: None,
            default_metric: MetricName::parse("value").ok(),
            pointers: None,
            format: Format::Json,
            topics: Vec::new(),
            max_items: 10_000,
        }
    }
}

impl JsonMapping {
    /// What a topic says of its payloads: nothing, if no pattern matches it.
    pub fn hints<'t>(&self, topic: &'t str) -> Hints<'t> {
        let found = self.topics.iter().find_map(|pattern| pattern.matches(topic));
        found.unwrap_or_default()
    }
}

/// What is known of one payload that is not in it: a message's key, a topic. Not checked yet.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Hints<'a> {
    /// The sensor of items that name none.
    pub sensor: Option<&'a str>,
    /// The metric of items that have a value but name none.
    pub metric: Option<&'a str>,
}

/// Gives `sink` every reading and every refusal of `payload`, in its order. An empty array gives nothing. What an item names
/// itself beats the hints, and they beat the mapping's defaults.
pub fn decode_json<'a, S: Sink<'a> + ?Sized>(
    payload: &'a [u8],
    hints: Hints<'a>,
    mapping: &'a JsonMapping,
    sink: &mut S,
) {
    let result = match (std::str::from_utf8(payload), &mapping.pointers) {
        (Ok(json), None) => decode(json, hints, mapping, sink),
        (Ok(json), Some(pointers)) => {
            mapped::decode(json, hints, mapping, pointers, sink).map_err(|fault| (0, fault))
        }
        (Err(error), _) => Err((
            0,
            undecodable(format!("is not UTF-8 from byte {}", error.valid_up_to())),
        )),
    };
    if let Err((item, fault)) = result {
        let place = Place { item, payload, hints };
        sink.refuse(place.refuse(fault, None));
    }
}

/// The error is of the whole payload, at an item of it, and nothing was given yet.
fn decode<'a, S: Sink<'a> + ?Sized>(
    json: &'a str,
    hints: Hints<'a>,
    mapping: &'a JsonMapping,
    sink: &mut S,
) -> Result<(), (u32, Fault<'a>)> {
    let not_json = |error| not_json(json, &error);
    let mut fields = Fields::default();
    let items = match json.trim_ascii_start().as_bytes().first() {
        Some(b'{') => {
            fields.read(json).map_err(not_json)?;
            match fields.wrapped() {
                None => {
                    let place = Place {
                        item: 0,
                        payload: json.as_bytes(),
                        hints,
                    };
                    item::answer(&mut fields, place, mapping, sink);
                    return Ok(());
                }
                Some(items) => items.get(),
            }
        }
        Some(b'[') => json,
        Some(_) => return bare::answer(json, hints, mapping, sink).map_err(|fault| (0, fault)),
        None => return Err((0, undecodable("is empty".to_owned()))),
    };
    let items = split(items, mapping.max_items).map_err(not_json)?;
    items.check(mapping.max_items).map_err(|fault| (0, fault))?;
    for (index, raw) in items.kept.into_iter().enumerate() {
        let place = Place {
            item: index as u32,
            payload: raw.get().as_bytes(),
            hints,
        };
        answer_one(place, raw.get(), &mut fields, mapping, sink);
    }
    Ok(())
}

fn answer_one<'a, S: Sink<'a> + ?Sized>(
    place: Place<'a>,
    json: &'a str,
    fields: &mut Fields<'a>,
    mapping: &'a JsonMapping,
    sink: &mut S,
) {
    let fault = if !json.starts_with('{') {
        Fault::new("item", "is not an object".to_owned())
    } else {
        match fields.read(json) {
            Ok(()) => return item::answer(fields, place, mapping, sink),
            Err(error) => Fault::new("item", format!("cannot be read: {error}")),
        }
    };
    sink.refuse(place.refuse(fault, None));
}

fn undecodable<'a>(reason: String) -> Fault<'a> {
    Fault::undecodable("payload", reason)
}

fn not_json<'a>(json: &'a str, error: &serde_json::Error) -> (u32, Fault<'a>) {
    let (item, field) = locate(json, error);
    let reason = format!("is not JSON: {error}");
    (item, Fault::undecodable(field.unwrap_or("payload"), reason))
}

/// The elements of an array, not yet read.
pub(super) struct Items<'a> {
    /// At most as many as allowed.
    pub kept: Vec<&'a RawValue>,
    total: usize,
}

impl Items<'_> {
    pub fn check<'a>(&self, limit: usize) -> Result<(), Fault<'a>> {
        if self.total <= limit {
            return Ok(());
        }
        let reason = format!("has {} items, at most {limit} are allowed", self.total);
        Err(Fault::limit("payload", reason))
    }
}

pub(super) fn split(json: &str, limit: usize) -> serde_json::Result<Items<'_>> {
    let mut deserializer = serde_json::Deserializer::from_str(json);
    let items = deserializer.deserialize_seq(ItemsVisitor { limit })?;
    deserializer.end()?;
    Ok(items)
}

struct ItemsVisitor {
    limit: usize,
}

impl<'de> Visitor<'de> for ItemsVisitor {
    type Value = Items<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an array")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut elements: A) -> Result<Items<'de>, A::Error> {
        let mut items = Items {
            kept: Vec::new(),
            total: 0,
        };
        while items.total < self.limit
            && let Some(raw) = elements.next_element()?
        {
            items.kept.push(raw);
            items.total += 1;
        }
        if items.total == self.limit {
            while elements.next_element::<IgnoredAny>()?.is_some() {
                items.total += 1;
            }
        }
        Ok(items)
    }
}
