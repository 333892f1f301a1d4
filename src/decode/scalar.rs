//! One JSON value as a field of a reading sees it: a number, a text, or something that cannot be one.
//!
//! Invariants: text borrows unless it has escapes. What is nested is skipped without recursion.

use std::borrow::Cow;
use std::fmt;

use serde::de::{Deserialize, Deserializer, Error, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::value::RawValue;

#[derive(Debug, Clone, Default, PartialEq)]
pub(super) enum Scalar<'a> {
    /// Also what is not there at all.
    #[default]
    Null,
    Bool(bool),
    Integer(i64),
    /// Finite.
    Float(f64),
    Text(Cow<'a, str>),
    Array,
    Object,
    /// A number that no f64 can hold, such as 1e400.
    HugeNumber,
    /// Text that is not Unicode, such as half a surrogate pair.
    BrokenText,
}

impl<'a> Scalar<'a> {
    /// Reads what is known to be JSON, even where its number or its text cannot be held.
    pub fn of_raw(raw: &'a RawValue) -> Self {
        serde_json::from_str(raw.get()).unwrap_or(match raw.get().as_bytes() {
            [b'"', ..] => Scalar::BrokenText,
            _ => Scalar::HugeNumber,
        })
    }

    /// Reads text that is a number or a boolean, as devices write them: `21.5`, `+7`, `021.5`, `true`.
    pub fn of_text(text: &str) -> Option<Self> {
        match text.trim_ascii() {
            "true" => Some(Scalar::Bool(true)),
            "false" => Some(Scalar::Bool(false)),
            text if text.bytes().all(|byte| b"0123456789+-.eE".contains(&byte)) => {
                match text.parse::<f64>().ok()? {
                    number if number.is_finite() => Some(Scalar::Float(number)),
                    _ => Some(Scalar::HugeNumber),
                }
            }
            _ => None,
        }
    }

    /// What it is, to be read after the name of a field.
    pub fn described(&self) -> &'static str {
        match self {
            Scalar::Null => "is null",
            Scalar::Bool(_) => "is a boolean",
            Scalar::Integer(_) | Scalar::Float(_) => "is a number",
            Scalar::Text(_) => "is text",
            Scalar::Array => "is an array",
            Scalar::Object => "is an object",
            Scalar::HugeNumber => "is a number beyond what 64-bit floating point holds",
            Scalar::BrokenText => "is text that is not valid Unicode",
        }
    }
}

impl<'de: 'a, 'a> Deserialize<'de> for Scalar<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(ScalarVisitor)
    }
}

struct ScalarVisitor;

impl<'de> Visitor<'de> for ScalarVisitor {
    type Value = Scalar<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value")
    }

    fn visit_unit<E: Error>(self) -> Result<Scalar<'de>, E> {
        Ok(Scalar::Null)
    }

    fn visit_bool<E: Error>(self, value: bool) -> Result<Scalar<'de>, E> {
        Ok(Scalar::Bool(value))
    }

    fn visit_i64<E: Error>(self, value: i64) -> Result<Scalar<'de>, E> {
        Ok(Scalar::Integer(value))
    }

    fn visit_u64<E: Error>(self, value: u64) -> Result<Scalar<'de>, E> {
        Ok(match i64::try_from(value) {
            Ok(value) => Scalar::Integer(value),
            Err(_) => Scalar::Float(value as f64),
        })
    }

    fn visit_f64<E: Error>(self, value: f64) -> Result<Scalar<'de>, E> {
        Ok(Scalar::Float(value))
    }

    fn visit_borrowed_str<E: Error>(self, text: &'de str) -> Result<Scalar<'de>, E> {
        Ok(Scalar::Text(Cow::Borrowed(text)))
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<Scalar<'de>, E> {
        Ok(Scalar::Text(Cow::Owned(text.to_owned())))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut elements: A) -> Result<Scalar<'de>, A::Error> {
        while elements.next_element::<IgnoredAny>()?.is_some() {}
        Ok(Scalar::Array)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Scalar<'de>, A::Error> {
        while entries.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
        Ok(Scalar::Object)
    }
}
