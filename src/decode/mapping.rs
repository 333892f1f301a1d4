//! Where the fields of payloads in another form are, as JSON pointers.
//!
//! Invariants: pointers are made ready once, when the settings are read; a mapping has a value, or metrics that each have
//! one. Pointers with `root:` start at the payload, all others at an item of it; without `items` the payload is the item.

use std::collections::BTreeMap;

use super::pointer::Pointer;
use super::time_unit::TimeUnit;
use super::tree::{Found, Tree};
use crate::domain::MetricName;
use serde_json::value::RawValue;

/// Where each field is, as it is written in the settings. What is `None` is not in the payload.
#[derive(Debug, Clone, PartialEq)]
pub struct Pointers {
    /// An array of items, from the root of the payload.
    pub items: Option<Pointer>,
    pub sensor_id: Option<Pointer>,
    pub values: Values<Pointer>,
    pub timestamp: Option<Pointer>,
    pub timestamp_unit: TimeUnit,
    pub quality: Option<Pointer>,
    /// Names as [`check_tag_name`](super::check_tag_name) accepts them, at most [`MAX_TAGS`](super::MAX_TAGS).
    pub tags: BTreeMap<String, Pointer>,
}

/// What an item measures.
#[derive(Debug, Clone, PartialEq)]
pub enum Values<P> {
    One {
        metric: Option<P>,
        value: P,
        unit: Option<P>,
    },
    /// At most [`MAX_FLAT_METRICS`](super::MAX_FLAT_METRICS).
    Several(Vec<(MetricName, P)>),
}

/// [`Pointers`], ready to be followed.
#[derive(Debug, Clone)]
pub struct PointerMapping {
    pub(super) items: Option<Field>,
    pub(super) sensor_id: Option<Field>,
    pub(super) values: Values<Field>,
    pub(super) timestamp: Option<Field>,
    pub(super) timestamp_unit: TimeUnit,
    pub(super) quality: Option<Field>,
    pub(super) tags: Vec<(String, Field)>,
    /// The pointers from an item.
    pub(super) item: Tree,
    /// The pointers from the root.
    pub(super) root: Tree,
}

/// Where a field will be found.
#[derive(Debug, Clone)]
pub(super) struct Field {
    /// As written, for refusals.
    pub pointer: String,
    pub from_root: bool,
    node: usize,
}

impl Field {
    /// What is there, of what was found from the one start or the other.
    pub fn in_either<'a>(&self, root: &Found<'a>, item: &Found<'a>) -> Option<&'a RawValue> {
        let found = if self.from_root { root } else { item };
        found.at(self.node)
    }
}

impl PointerMapping {
    pub fn new(pointers: &Pointers) -> Self {
        let (mut item, mut root) = (Tree::default(), Tree::default());
        let mut place = |pointer: &Pointer, from_root: bool| {
            let tree = if from_root { &mut root } else { &mut item };
            Field {
                pointer: pointer.as_str().to_owned(),
                from_root,
                node: tree.insert(pointer.steps()),
            }
        };
        let items = pointers.items.as_ref().map(|items| place(items, true));
        let mut field = |pointer: &Pointer| place(pointer, pointer.is_from_root());
        let mut optional = |pointer: &Option<Pointer>| pointer.as_ref().map(&mut field);
        let sensor_id = optional(&pointers.sensor_id);
        let timestamp = optional(&pointers.timestamp);
        let quality = optional(&pointers.quality);
        let values = match &pointers.values {
            Values::One { metric, value, unit } => Values::One {
                metric: optional(metric),
                unit: optional(unit),
                value: field(value),
            },
            Values::Several(metrics) => {
                let metrics = metrics
                    .iter()
                    .map(|(name, pointer)| (name.clone(), field(pointer)));
                Values::Several(metrics.collect())
            }
        };
        let tags = pointers.tags.iter();
        let tags = tags
            .map(|(name, pointer)| (name.clone(), field(pointer)))
            .collect();
        PointerMapping {
            items,
            sensor_id,
            values,
            timestamp,
            timestamp_unit: pointers.timestamp_unit,
            quality,
            tags,
            item,
            root,
        }
    }

    /// All fields but that of the items.
    pub(super) fn fields(&self) -> impl Iterator<Item = &Field> {
        let (one, several) = match &self.values {
            Values::One { metric, value, unit } => ([Some(value), metric.as_ref(), unit.as_ref()], &[][..]),
            Values::Several(metrics) => ([None; 3], metrics.as_slice()),
        };
        let single = [&self.sensor_id, &self.timestamp, &self.quality];
        let single = single.into_iter().map(Option::as_ref).chain(one).flatten();
        let several = several.iter().map(|(_, field)| field);
        single
            .chain(several)
            .chain(self.tags.iter().map(|(_, field)| field))
    }
}
