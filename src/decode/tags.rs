//! Tags as they came: JSON text that was checked, read only when somebody needs them.
//!
//! A sensor sends the same tags with every reading, so most are never read: a receiver compares the text with what it
//! saw last. Invariants: a [`RawTags`] always parses; at most [`MAX_TAGS`] tags, names and texts of at most
//! [`MAX_TAG_BYTES`] bytes without control characters. Numbers and booleans become text, null is no tag, and of a name
//! that comes twice the last counts.

use std::borrow::Cow;
use std::fmt;

use serde::de::{Deserializer, MapAccess, Visitor};
use serde_json::Value;
use serde_json::value::RawValue;

use super::scalar::Scalar;
use crate::domain::Tags;

/// The most tags of a sensor.
pub const MAX_TAGS: usize = 64;
/// The longest name and the longest text of a tag, in bytes.
pub const MAX_TAG_BYTES: usize = 256;

/// A JSON object of tags that was checked and not yet read. It borrows, unless a mapping put it together.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RawTags<'a>(Cow<'a, str>);

impl<'a> RawTags<'a> {
    /// Checks without allocating. The error says what is wrong, to be read after the word `tags`.
    pub fn check(raw: &'a RawValue) -> Result<Self, String> {
        each_tag(raw.get(), |_, _| ())?;
        Ok(RawTags(Cow::Borrowed(raw.get())))
    }

    /// The JSON text as it was received.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Reads the tags.
    pub fn parse(&self) -> Tags {
        let mut tags = Tags::new();
        let checked = each_tag(&self.0, |name, text| {
            tags.insert(name.into_owned(), text.into_owned());
        });
        debug_assert!(checked.is_ok(), "tags are checked before they are kept");
        tags
    }
}

/// Tags that a mapping finds one by one. Nothing is allocated until there is one.
#[derive(Default)]
pub(super) struct TagsBuilder {
    json: String,
}

impl TagsBuilder {
    /// Adds a tag; null is none. `name` has to be valid. The error says what is wrong with the value, to be read after the
    /// name of its field.
    pub fn add(&mut self, name: &str, value: &RawValue) -> Result<(), String> {
        let text = match Scalar::of_raw(value) {
            Scalar::Null => return Ok(()),
            Scalar::Text(text) => text,
            Scalar::Bool(_) | Scalar::Integer(_) | Scalar::Float(_) => Cow::Borrowed(value.get()),
            other => {
                let is = other.described();
                return Err(format!("{is}, must be text, a number or a boolean"));
            }
        };
        check_text(&text)?;
        self.push(name, value.get());
        Ok(())
    }

    /// The same with a text as it is.
    pub fn add_text(&mut self, name: &str, text: &str) -> Result<(), String> {
        check_text(text)?;
        self.push(name, &Value::from(text).to_string());
        Ok(())
    }

    fn push(&mut self, name: &str, json: &str) {
        self.json.push(if self.json.is_empty() { '{' } else { ',' });
        self.json.push_str(&Value::from(name).to_string());
        self.json.push(':');
        self.json.push_str(json);
    }

    pub fn finish<'a>(mut self) -> Option<RawTags<'a>> {
        if self.json.is_empty() {
            return None;
        }
        self.json.push('}');
        Some(RawTags(Cow::Owned(self.json)))
    }
}

fn each_tag<'a>(json: &'a str, take: impl FnMut(Cow<'a, str>, Cow<'a, str>)) -> Result<(), String> {
    if !json.starts_with('{') {
        return Err("must be an object of texts".to_owned());
    }
    let mut wrong = None;
    let visitor = TagsVisitor {
        take,
        wrong: &mut wrong,
    };
    let read = serde_json::Deserializer::from_str(json).deserialize_map(visitor);
    match (wrong, read) {
        (Some(wrong), _) => Err(wrong),
        (None, Err(error)) => Err(format!("cannot be read: {error}")),
        (None, Ok(())) => Ok(()),
    }
}

struct TagsVisitor<'w, F> {
    take: F,
    wrong: &'w mut Option<String>,
}

impl<'de, F: FnMut(Cow<'de, str>, Cow<'de, str>)> Visitor<'de> for TagsVisitor<'_, F> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object of texts")
    }

    fn visit_map<A: MapAccess<'de>>(mut self, mut entries: A) -> Result<(), A::Error> {
        let mut count = 0;
        while let Some((name, value)) = entries.next_entry::<Scalar<'de>, &'de RawValue>()? {
            let Scalar::Text(name) = name else { continue };
            let text = match Scalar::of_raw(value) {
                Scalar::Null => continue,
                Scalar::Text(text) => text,
                Scalar::Bool(_) | Scalar::Integer(_) | Scalar::Float(_) => Cow::Borrowed(value.get()),
                other => {
                    *self.wrong = Some(format!("has `{}`, which {}", shown(&name), other.described()));
                    break;
                }
            };
            count += 1;
            if let Err(wrong) = check_tag(&name, &text, count) {
                *self.wrong = Some(wrong);
                break;
            }
            (self.take)(name, text);
        }
        Ok(())
    }
}

/// Checks the name of a tag that a mapping adds. The error is to be read after the name.
pub fn check_tag_name(name: &str) -> Result<(), String> {
    if name.is_empty() {
        Err("is a tag without a name".to_owned())
    } else if name.len() > MAX_TAG_BYTES {
        Err(format!("is longer than {MAX_TAG_BYTES} bytes"))
    } else if name.chars().any(char::is_control) {
        Err("has a control character".to_owned())
    } else {
        Ok(())
    }
}

fn check_text(text: &str) -> Result<(), String> {
    if text.len() > MAX_TAG_BYTES {
        Err(format!("is longer than {MAX_TAG_BYTES} bytes"))
    } else if text.chars().any(char::is_control) {
        Err("has a control character".to_owned())
    } else {
        Ok(())
    }
}

fn check_tag(name: &str, text: &str, count: usize) -> Result<(), String> {
    if count > MAX_TAGS {
        Err(format!("has more than {MAX_TAGS} tags"))
    } else if name.is_empty() {
        Err("has a tag without a name".to_owned())
    } else if name.len() > MAX_TAG_BYTES || text.len() > MAX_TAG_BYTES {
        Err(format!(
            "has `{}`, longer than {MAX_TAG_BYTES} bytes",
            shown(name)
        ))
    } else if name.chars().chain(text.chars()).any(char::is_control) {
        Err(format!("has `{}`, with a control character", shown(name)))
    } else {
        Ok(())
    }
}

/// As much of a name as fits a sentence, with what is hostile escaped.
fn shown(name: &str) -> String {
    name.chars().take(64).flat_map(char::escape_debug).collect()
}
