//! Bytes to readings: what a source received becomes drafts and refusals, one call of the [`Sink`] each.
//!
//! Invariants: pure, no clock, no I/O. A draft has been checked: its ids are valid, its value is finite, its tags parse;
//! whether its time is in range is for [`range::check`], which needs to know what time it is. Everything borrows from
//! the payload; the canonical form allocates nothing. What a payload holds is answered exactly once, as a reading or as
//! a refusal, so that the number of calls is the ledger's `received`. Never panics, needs time linear in the payload,
//! and no stack for what is nested.

pub mod range;

mod bare;
mod csv;
mod encode;
mod fields;
mod format;
mod item;
mod json;
mod lines;
mod locate;
mod mapped;
mod mapping;
mod pointer;
mod scalar;
mod table_time;
mod tags;
mod time_unit;
mod topic;
mod tree;

use std::borrow::Cow;
use std::fmt;

pub use csv::{Column, CsvMapping, CsvTable, CsvValues, decode_row};
pub use encode::{encode_canonical, encode_reading, is_canonical};
pub use fields::MAX_FLAT_METRICS;
pub use format::{Format, decode};
pub use item::MAX_UNIT_BYTES;
pub use json::{Hints, JsonMapping, decode_json};
pub use lines::{Lines, parts as line_parts};
pub use mapped::MAX_ROOT_BYTES;
pub use mapping::{PointerMapping, Pointers, Values};
pub use pointer::{Pointer, PointerError};
pub use table_time::TableTime;
pub use tags::{MAX_TAG_BYTES, MAX_TAGS, RawTags, check_tag_name};
pub use time_unit::TimeUnit;
pub use topic::{TopicError, TopicPattern};

use crate::domain::{Quality, RejectReason, Timestamp};

/// A reading as its device named it, not yet resolved to a series.
#[derive(Debug, Clone, PartialEq)]
pub struct Draft<'a> {
    /// A valid [`SensorId`](crate::domain::SensorId).
    pub sensor: Cow<'a, str>,
    /// A valid [`MetricName`](crate::domain::MetricName).
    pub metric: Cow<'a, str>,
    /// Finite, unless a simulated fault put something else there to be encoded.
    pub value: f64,
    /// Event time as given, in whatever range; `None` if the device sent none.
    pub time: Option<Timestamp>,
    pub unit: Option<Cow<'a, str>>,
    pub quality: Quality,
    pub tags: Option<RawTags<'a>>,
    /// Which item of the payload this is; 0 where the payload is one object. The metrics of a flat object share one.
    pub item: u32,
}

/// Something in a payload that is no reading, and why.
#[derive(Debug, Clone, PartialEq)]
pub struct Refusal<'a> {
    /// Which item of the payload this is, or is in; 0 where the payload is one object or could not be read at all.
    pub item: u32,
    /// The field at fault; `payload` or `item` where it is the whole of it.
    pub field: Cow<'a, str>,
    /// What is wrong with the field, to be read after its name: `is text, must be a number`.
    pub reason: String,
    pub kind: RejectReason,
    /// The sensor, where it is known and its id valid.
    pub sensor: Option<Cow<'a, str>>,
    /// The item as it was received, so that it can be decoded again; the whole payload where no item could be told apart.
    pub payload: Cow<'a, [u8]>,
}

impl fmt::Display for Refusal<'_> {
    /// One sentence that names the field and what is wrong with it. What a hostile key holds is escaped.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "`{}` {}", self.field.escape_debug(), self.reason)
    }
}

/// Takes what a decoder finds, in the order of the payload.
pub trait Sink<'a> {
    fn reading(&mut self, draft: Draft<'a>);
    fn refuse(&mut self, refusal: Refusal<'a>);
    /// A field beside readings that can be none. It is not an answer: whoever wants to may count it.
    fn ignored(&mut self, _field: Cow<'a, str>) {}
}
