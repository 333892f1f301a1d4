//! What goes into statements: PostgreSQL has its own idea of numbers and text.

use std::borrow::Cow;

/// Our numbers for sensors and series are unsigned. PostgreSQL has no such integers: the bits are kept, and the sign has
/// no meaning.
pub(super) fn number(id: u32) -> i32 {
    id as i32
}

/// Text without the one character that PostgreSQL cannot hold, U+0000; U+FFFD stands in its place.
pub(super) fn text(text: &str) -> Cow<'_, str> {
    if text.contains('\0') {
        Cow::Owned(text.replace('\0', "\u{fffd}"))
    } else {
        Cow::Borrowed(text)
    }
}

/// The first `most` of `bytes`.
pub(super) fn bytes(bytes: &[u8], most: usize) -> &[u8] {
    &bytes[..bytes.len().min(most)]
}

pub(super) fn limit(limit: usize) -> i64 {
    i64::try_from(limit).unwrap_or(i64::MAX)
}
