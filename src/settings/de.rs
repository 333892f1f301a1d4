//! Reads typed settings out of the tree with serde.
//!
//! Invariants: an error knows the node it arose at. An enum is text, or a table whose `kind` names the variant. Text from
//! the environment and from flags is read as the type that is asked for; text from a file is not.

use std::collections::btree_map;
use std::fmt;

use serde::Deserializer;
use serde::de::value::{SeqDeserializer, StrDeserializer};
use serde::de::{
    DeserializeSeed, EnumAccess, Error, Expected, IntoDeserializer, MapAccess, SeqAccess, Unexpected,
    VariantAccess, Visitor,
};

use super::problem::Origin;
use super::tree::{Content, Node};

/// Why a node could not be read. `at` is empty only until it has passed the node.
#[derive(Debug)]
pub(super) struct ReadError {
    pub at: Option<(String, Origin)>,
    pub message: String,
    /// The key that was looked for in vain.
    pub missing: Option<&'static str>,
}

impl ReadError {
    fn at(mut self, node: &Node) -> Self {
        self.at
            .get_or_insert_with(|| (node.key.clone(), node.origin.clone()));
        self
    }
}

impl fmt::Display for ReadError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for ReadError {}

fn alternatives(names: &[&str]) -> String {
    let quoted: Vec<String> = names.iter().map(|name| format!("`{name}`")).collect();
    quoted.join(", ")
}

impl Error for ReadError {
    fn custom<T: fmt::Display>(message: T) -> Self {
        ReadError {
            at: None,
            message: message.to_string(),
            missing: None,
        }
    }

    fn invalid_type(found: Unexpected<'_>, expected: &dyn Expected) -> Self {
        let found = match found {
            Unexpected::Seq => "a list".to_owned(),
            Unexpected::Map => "a table".to_owned(),
            other => other.to_string(),
        };
        let expected = match expected.to_string() {
            kind if kind == "a sequence" => "a list".to_owned(),
            kind if kind == "a map" || kind.starts_with("struct ") => "a table".to_owned(),
            kind => kind,
        };
        Self::custom(format!("must be {expected}, but is {found}"))
    }

    fn invalid_value(found: Unexpected<'_>, expected: &dyn Expected) -> Self {
        Self::invalid_type(found, expected)
    }

    fn unknown_variant(variant: &str, expected: &'static [&'static str]) -> Self {
        Self::custom(format!(
            "must be one of {}, but is \"{}\"",
            alternatives(expected),
            variant.escape_debug()
        ))
    }

    fn unknown_field(_: &str, expected: &'static [&'static str]) -> Self {
        Self::custom(if expected.is_empty() {
            "is not known; no key is allowed here".to_owned()
        } else {
            format!("is not known; allowed here: {}", alternatives(expected))
        })
    }

    fn missing_field(field: &'static str) -> Self {
        ReadError {
            missing: Some(field),
            ..Self::custom(format!("needs the key `{field}`"))
        }
    }
}

impl<'de> Node {
    fn visit<V: Visitor<'de>>(&'de self, visitor: V) -> Result<V::Value, ReadError> {
        match &self.content {
            Content::Bool(value) => visitor.visit_bool(*value),
            Content::Integer(value) => visitor.visit_i64(*value),
            Content::Float(value) => visitor.visit_f64(*value),
            Content::Text(text) => visitor.visit_borrowed_str(text),
            Content::List(list) => visitor.visit_seq(Items(list.iter())),
            Content::Table(table) => visitor.visit_map(Fields::of(table)),
        }
    }

    /// Text that may stand for something else, because where it was written there is only text.
    fn untyped(&self) -> Option<&str> {
        self.text().filter(|_| self.origin.is_untyped()).map(str::trim)
    }
}

macro_rules! parsed_from_text {
    ($($method:ident as $type:ty => $visit:ident),* $(,)?) => {$(
        fn $method<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, ReadError> {
            match self.untyped().and_then(|text| text.parse::<$type>().ok()) {
                Some(value) => visitor.$visit(value),
                None => self.visit(visitor),
            }
            .map_err(|error| error.at(self))
        }
    )*};
}

macro_rules! as_written {
    ($($method:ident),* $(,)?) => {$(
        fn $method<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, ReadError> {
            self.visit(visitor).map_err(|error| error.at(self))
        }
    )*};
}

impl<'de> Deserializer<'de> for &'de Node {
    type Error = ReadError;

    as_written!(
        deserialize_any,
        deserialize_char,
        deserialize_str,
        deserialize_string,
        deserialize_bytes,
        deserialize_byte_buf,
        deserialize_unit,
        deserialize_map,
        deserialize_identifier,
        deserialize_ignored_any,
    );

    parsed_from_text!(
        deserialize_bool as bool => visit_bool,
        deserialize_i8 as i64 => visit_i64,
        deserialize_i16 as i64 => visit_i64,
        deserialize_i32 as i64 => visit_i64,
        deserialize_i64 as i64 => visit_i64,
        deserialize_u8 as u64 => visit_u64,
        deserialize_u16 as u64 => visit_u64,
        deserialize_u32 as u64 => visit_u64,
        deserialize_u64 as u64 => visit_u64,
        deserialize_f32 as f64 => visit_f64,
        deserialize_f64 as f64 => visit_f64,
    );

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, ReadError> {
        visitor.visit_some(self)
    }

    fn deserialize_seq<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, ReadError> {
        match self.untyped() {
            Some(text) => {
                let items = text.split(',').map(str::trim).filter(|item| !item.is_empty());
                visitor.visit_seq(SeqDeserializer::new(items))
            }
            None => self.visit(visitor),
        }
        .map_err(|error| error.at(self))
    }

    fn deserialize_tuple<V: Visitor<'de>>(self, _: usize, visitor: V) -> Result<V::Value, ReadError> {
        self.deserialize_seq(visitor)
    }

    fn deserialize_tuple_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        _: usize,
        visitor: V,
    ) -> Result<V::Value, ReadError> {
        self.deserialize_seq(visitor)
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        _: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, ReadError> {
        match &self.content {
            Content::Table(_) => self.deserialize_map(visitor),
            _ => Err(ReadError::custom("must be a table, with keys of its own").at(self)),
        }
    }

    fn deserialize_unit_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        visitor: V,
    ) -> Result<V::Value, ReadError> {
        self.deserialize_any(visitor)
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        visitor: V,
    ) -> Result<V::Value, ReadError> {
        visitor.visit_newtype_struct(self).map_err(|error| error.at(self))
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _: &'static str,
        variants: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, ReadError> {
        match &self.content {
            Content::Text(text) => {
                let name: StrDeserializer<'_, ReadError> = text.as_str().into_deserializer();
                visitor.visit_enum(name)
            }
            Content::Table(_) => match self.child("kind") {
                Some(kind) => visitor.visit_enum(Tagged { kind, table: self }),
                None => Err(ReadError {
                    missing: Some("kind"),
                    ..ReadError::custom(format!("needs the key `kind`, one of {}", alternatives(variants)))
                }),
            },
            _ => Err(ReadError::custom(format!(
                "must be one of {}",
                alternatives(variants)
            ))),
        }
        .map_err(|error| error.at(self))
    }
}

struct Items<'de>(std::slice::Iter<'de, Node>);

impl<'de> SeqAccess<'de> for Items<'de> {
    type Error = ReadError;

    fn next_element_seed<T: DeserializeSeed<'de>>(&mut self, seed: T) -> Result<Option<T::Value>, ReadError> {
        let read = |node| seed.deserialize(node).map_err(|error: ReadError| error.at(node));
        self.0.next().map(read).transpose()
    }
}

/// The keys of a table; `except` hides the one that told the kind.
struct Fields<'de> {
    rest: btree_map::Iter<'de, String, Node>,
    except: Option<&'static str>,
    value: Option<&'de Node>,
}

impl<'de> Fields<'de> {
    fn of(table: &'de std::collections::BTreeMap<String, Node>) -> Self {
        Fields {
            rest: table.iter(),
            except: None,
            value: None,
        }
    }
}

impl<'de> MapAccess<'de> for Fields<'de> {
    type Error = ReadError;

    fn next_key_seed<K: DeserializeSeed<'de>>(&mut self, seed: K) -> Result<Option<K::Value>, ReadError> {
        let except = self.except;
        let Some((name, node)) = self.rest.find(|(name, _)| Some(name.as_str()) != except) else {
            return Ok(None);
        };
        self.value = Some(node);
        let name: StrDeserializer<'_, ReadError> = name.as_str().into_deserializer();
        seed.deserialize(name).map(Some).map_err(|error| error.at(node))
    }

    fn next_value_seed<T: DeserializeSeed<'de>>(&mut self, seed: T) -> Result<T::Value, ReadError> {
        match self.value.take() {
            Some(node) => seed.deserialize(node).map_err(|error| error.at(node)),
            None => Err(ReadError::custom("has a value without a key")),
        }
    }
}

/// A table whose `kind` names the variant.
struct Tagged<'de> {
    kind: &'de Node,
    table: &'de Node,
}

impl<'de> EnumAccess<'de> for Tagged<'de> {
    type Error = ReadError;
    type Variant = Self;

    fn variant_seed<V: DeserializeSeed<'de>>(self, seed: V) -> Result<(V::Value, Self), ReadError> {
        Ok((seed.deserialize(self.kind)?, self))
    }
}

impl<'de> Tagged<'de> {
    fn fields<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, ReadError> {
        match &self.table.content {
            Content::Table(table) => visitor.visit_map(Fields {
                except: Some("kind"),
                ..Fields::of(table)
            }),
            _ => self.table.visit(visitor),
        }
        .map_err(|error| error.at(self.table))
    }
}

impl<'de> VariantAccess<'de> for Tagged<'de> {
    type Error = ReadError;

    fn unit_variant(self) -> Result<(), ReadError> {
        Err(ReadError::custom("must be text, not a table").at(self.table))
    }

    fn newtype_variant_seed<T: DeserializeSeed<'de>>(self, seed: T) -> Result<T::Value, ReadError> {
        seed.deserialize(Variant(self))
    }

    fn tuple_variant<V: Visitor<'de>>(self, _: usize, visitor: V) -> Result<V::Value, ReadError> {
        self.fields(visitor)
    }

    fn struct_variant<V: Visitor<'de>>(
        self,
        _: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, ReadError> {
        self.fields(visitor)
    }
}

/// What a variant holds: the table without its `kind`.
struct Variant<'de>(Tagged<'de>);

impl<'de> Deserializer<'de> for Variant<'de> {
    type Error = ReadError;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, ReadError> {
        self.0.fields(visitor)
    }

    serde::forward_to_deserialize_any! {
        bool i8 i16 i32 i64 u8 u16 u32 u64 f32 f64 char str string bytes byte_buf option unit unit_struct
        newtype_struct seq tuple tuple_struct map struct enum identifier ignored_any
    }
}
