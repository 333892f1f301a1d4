//! Where in a payload the JSON breaks off, in words its sender knows: which item, which field.
//!
//! Used only once reading has failed. Invariants: one pass over what comes before the error, no stack; a best guess, since
//! what is not JSON has no certain shape.

/// The item that `error` is in, and the last field named in it, as written.
pub(super) fn locate<'a>(json: &'a str, error: &serde_json::Error) -> (u32, Option<&'a str>) {
    let mut walk = Walk {
        objects_at: if json.trim_ascii_start().starts_with('[') {
            2
        } else {
            1
        },
        ..Walk::default()
    };
    let end = offset(json, error);
    let mut text_from = None;
    let mut last_text = "";
    let mut escaped = false;
    for (at, byte) in json.bytes().enumerate().take(end) {
        match (text_from, byte) {
            (Some(_), _) if escaped => escaped = false,
            (Some(_), b'\\') => escaped = true,
            (Some(from), b'"') => {
                last_text = json.get(from..at).unwrap_or_default();
                text_from = None;
            }
            (Some(_), _) => {}
            (None, b'"') => text_from = Some(at + 1),
            (None, _) => walk.step(byte, last_text),
        }
    }
    (walk.item, walk.field)
}

#[derive(Default)]
struct Walk<'a> {
    depth: usize,
    /// The depth of what is within an item: 1 for a single object, 2 in an array, 3 in a wrapped one.
    objects_at: usize,
    item: u32,
    field: Option<&'a str>,
}

impl<'a> Walk<'a> {
    fn step(&mut self, byte: u8, last_text: &'a str) {
        match byte {
            b'[' if self.depth == 1 && self.objects_at == 1 && self.field == Some("items") => {
                (self.depth, self.objects_at, self.field) = (2, 3, None);
            }
            b'[' | b'{' => self.depth += 1,
            b']' | b'}' => {
                if self.depth == self.objects_at {
                    self.field = None;
                }
                self.depth = self.depth.saturating_sub(1);
            }
            b':' if self.depth == self.objects_at => self.field = Some(last_text),
            b',' if self.depth == self.objects_at => self.field = None,
            b',' if self.depth > 0 && self.depth + 1 == self.objects_at => {
                self.item = self.item.saturating_add(1);
                self.field = None;
            }
            _ => {}
        }
    }
}

/// The bytes before the error: its line and column count from 1, the column in bytes.
fn offset(json: &str, error: &serde_json::Error) -> usize {
    let lines_before: usize = json
        .split_inclusive('\n')
        .take(error.line().saturating_sub(1))
        .map(str::len)
        .sum();
    lines_before + error.column()
}
