//! JSON pointers (RFC 6901), from an item or from the root of its payload.
//!
//! Invariants: a pointer is empty or starts with `/`; `~0` stands for `~` and `~1` for `/`, and nothing else may follow a
//! `~`. At most [`Pointer::MAX_DEPTH`] levels, so that what follows pointers may be recursive.

use serde::{Deserialize, Serialize};

/// Where in an item, or in the payload that it is of, a field is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Pointer {
    text: String,
    from_root: bool,
    steps: Vec<String>,
}

/// Why a pointer is none. To be read after the name of its key.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PointerError {
    #[error("must be a JSON pointer, which starts with `/`, such as \"/device/id\"")]
    NoSlash,
    #[error("has a `~` that is neither `~0`, which means `~`, nor `~1`, which means `/`")]
    Escape,
    #[error("has {depth} levels, at most {} are allowed", Pointer::MAX_DEPTH)]
    TooDeep { depth: usize },
    #[error("has a control character")]
    ControlCharacter,
}

impl Pointer {
    /// The most levels.
    pub const MAX_DEPTH: usize = 32;
    /// What a pointer from the root of the payload starts with.
    pub const ROOT: &str = "root:";

    pub fn parse(text: &str) -> Result<Self, PointerError> {
        let (from_root, pointer) = match text.strip_prefix(Self::ROOT) {
            Some(pointer) => (true, pointer),
            None => (false, text),
        };
        if !pointer.is_empty() && !pointer.starts_with('/') {
            return Err(PointerError::NoSlash);
        }
        if pointer.chars().any(char::is_control) {
            return Err(PointerError::ControlCharacter);
        }
        // The first part is what is before the first slash: nothing.
        let steps = pointer.split('/').skip(1).map(unescaped);
        let steps = steps.collect::<Result<Vec<_>, _>>()?;
        match steps.len() {
            depth if depth > Self::MAX_DEPTH => Err(PointerError::TooDeep { depth }),
            _ => Ok(Pointer {
                text: text.to_owned(),
                from_root,
                steps,
            }),
        }
    }

    /// As it was written.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// Whether it starts at the root of the payload rather than at the item.
    pub fn is_from_root(&self) -> bool {
        self.from_root
    }

    /// The names of members, or the indexes of elements, on the way.
    pub(super) fn steps(&self) -> &[String] {
        &self.steps
    }
}

fn unescaped(step: &str) -> Result<String, PointerError> {
    let valid = |(at, _): (usize, &str)| matches!(step.as_bytes().get(at + 1), Some(b'0' | b'1'));
    if !step.match_indices('~').all(valid) {
        return Err(PointerError::Escape);
    }
    // In this order, as `~01` is `~1`.
    Ok(step.replace("~1", "/").replace("~0", "~"))
}

impl TryFrom<String> for Pointer {
    type Error = PointerError;

    fn try_from(text: String) -> Result<Self, PointerError> {
        Self::parse(&text)
    }
}

impl From<Pointer> for String {
    fn from(pointer: Pointer) -> String {
        pointer.text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn steps(text: &str) -> Vec<String> {
        Pointer::parse(text).unwrap().steps
    }

    #[test]
    fn the_examples_of_the_standard_are_read() {
        assert_eq!(steps(""), Vec::<String>::new());
        assert_eq!(steps("/foo/0"), ["foo", "0"]);
        assert_eq!(steps("/"), [""]);
        assert_eq!(steps("/a~1b"), ["a/b"]);
        assert_eq!(steps("/m~0n"), ["m~n"]);
        assert_eq!(steps("/~01"), ["~1"]);
        assert_eq!(steps("/c%d"), ["c%d"]);
        assert_eq!(steps("root:/a/"), ["a", ""]);
        assert!(Pointer::parse("root:").unwrap().is_from_root());
    }

    #[test]
    fn what_is_no_pointer_is_refused() {
        for (text, error) in [
            ("a", PointerError::NoSlash),
            ("root:a", PointerError::NoSlash),
            ("/~", PointerError::Escape),
            ("/a~2", PointerError::Escape),
            ("/~~0", PointerError::Escape),
            ("/a\n", PointerError::ControlCharacter),
            (&"/a".repeat(33), PointerError::TooDeep { depth: 33 }),
        ] {
            assert_eq!(Pointer::parse(text), Err(error), "{text:?}");
        }
        assert_eq!(steps(&"/a".repeat(32)).len(), 32);
    }
}
