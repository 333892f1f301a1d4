//! Where a page of a question goes on.

use data_encoding::BASE64URL_NOPAD;
use serde::{Deserialize, Serialize};

use crate::domain::{SensorKey, SeriesId, Timestamp};

/// At this series or group, after this time; without a time, at its beginning.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Cursor {
    pub at: Place,
    pub after: Option<Timestamp>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum Place {
    Series(SensorKey, SeriesId),
    Group(GroupKey),
}

/// The value of the tag, and the metric.
pub type GroupKey = (Option<String>, String);

impl Cursor {
    pub fn encode(&self) -> String {
        // It consists of numbers and text: nothing about it can fail.
        BASE64URL_NOPAD.encode(&postcard::to_allocvec(self).unwrap_or_default())
    }

    pub fn decode(text: &str) -> Option<Self> {
        let bytes = BASE64URL_NOPAD.decode(text.as_bytes()).ok()?;
        let (cursor, rest) = postcard::take_from_bytes(&bytes).ok()?;
        rest.is_empty().then_some(cursor)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cursor_says_the_same_when_it_comes_back() {
        let group = Place::Group((Some("hall \u{1F525}".into()), "t".into()));
        let series = Place::Series(SensorKey(7), SeriesId(u32::MAX));
        for at in [series, group, Place::Group((None, String::new()))] {
            for after in [None, Some(Timestamp(-5)), Some(Timestamp(1_730_332_800_123_000))] {
                let cursor = Cursor {
                    at: at.clone(),
                    after,
                };
                assert_eq!(Cursor::decode(&cursor.encode()), Some(cursor));
            }
        }
        for text in ["", "AAAA", "not base64!", "_____________w", "AAcJAAA"] {
            assert_eq!(Cursor::decode(text), None, "{text}");
        }
    }
}
