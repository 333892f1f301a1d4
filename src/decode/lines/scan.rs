//! Where lines of line protocol end, and what is in one: keys, values and quotes.
//!
//! Invariants: linear in the bytes, allocates only where something is escaped. A quote that is never closed harms its own line
//! alone: then that line ends where its text breaks.

use std::borrow::Cow;

/// The lines of a payload as they are, without comments and blank ones. Text in quotes may go over several lines of text.
#[derive(Debug, Clone)]
pub struct Lines<'a> {
    payload: &'a [u8],
    at: usize,
}

impl<'a> Lines<'a> {
    pub fn of(payload: &'a [u8]) -> Self {
        Lines { payload, at: 0 }
    }
}

impl<'a> Iterator for Lines<'a> {
    type Item = &'a [u8];

    fn next(&mut self) -> Option<&'a [u8]> {
        while self.at < self.payload.len() {
            let rest = &self.payload[self.at..];
            let begin = rest.trim_ascii_start();
            self.at += rest.len() - begin.len();
            if begin.is_empty() {
                break;
            }
            let length = if begin[0] == b'#' {
                text_line(begin)
            } else {
                line(begin)
            };
            self.at += length;
            if begin[0] != b'#' {
                return Some(begin[..length].trim_ascii_end());
            }
        }
        None
    }
}

fn text_line(bytes: &[u8]) -> usize {
    bytes
        .iter()
        .position(|byte| *byte == b'\n')
        .unwrap_or(bytes.len())
}

/// How long the line is that begins here, without its end.
fn line(bytes: &[u8]) -> usize {
    let mut at = 0;
    let mut fields = false;
    while let Some(byte) = bytes.get(at) {
        match byte {
            b'\n' => return at,
            b'\\' if bytes.get(at + 1).is_some_and(|next| b",= ".contains(next)) => at += 1,
            b' ' => fields = true,
            b'=' if fields && bytes.get(at + 1) == Some(&b'"') => match quoted(&bytes[at + 1..]) {
                Some(length) => at += length,
                None => return text_line(bytes),
            },
            _ => {}
        }
        at += 1;
    }
    at
}

/// How long the text in quotes is that begins here, quotes and all; `None` if it does not end.
fn quoted(bytes: &[u8]) -> Option<usize> {
    let mut at = 1;
    loop {
        match bytes.get(at)? {
            b'"' => return Some(at + 1),
            b'\\' => at += 2,
            _ => at += 1,
        }
    }
}

/// Goes through one line.
pub(super) struct Cursor<'a> {
    line: &'a str,
    at: usize,
}

/// What stands after an `=`.
pub(super) enum Written<'a> {
    /// In quotes.
    Text,
    Bare(&'a str),
}

impl<'a> Cursor<'a> {
    pub fn new(line: &'a str) -> Self {
        Cursor { line, at: 0 }
    }

    pub fn peek(&self) -> Option<u8> {
        self.line.as_bytes().get(self.at).copied()
    }

    pub fn take(&mut self, byte: u8) -> bool {
        let found = self.peek() == Some(byte);
        self.at += usize::from(found);
        found
    }

    pub fn skip_spaces(&mut self) {
        while self.take(b' ') {}
    }

    /// Up to the first byte of `stops` that is not escaped, or the end. A backslash escapes what is in `escaped`; before anything
    /// else it is one itself.
    pub fn name(&mut self, stops: &[u8], escaped: &[u8]) -> Cow<'a, str> {
        let bytes = self.line.as_bytes();
        let begin = self.at;
        let mut unescaped: Option<String> = None;
        let mut copied = begin;
        while let Some(byte) = bytes.get(self.at) {
            if *byte == b'\\' && bytes.get(self.at + 1).is_some_and(|next| escaped.contains(next)) {
                let text = unescaped.get_or_insert_default();
                text.push_str(&self.line[copied..self.at]);
                copied = self.at + 1;
                self.at += 2;
            } else if stops.contains(byte) {
                break;
            } else {
                self.at += 1;
            }
        }
        match unescaped {
            None => Cow::Borrowed(&self.line[begin..self.at]),
            Some(mut text) => {
                text.push_str(&self.line[copied..self.at]);
                Cow::Owned(text)
            }
        }
    }

    /// The value of a field; `None` if its quotes do not close.
    pub fn value(&mut self) -> Option<Written<'a>> {
        let rest = &self.line[self.at..];
        if rest.starts_with('"') {
            self.at += quoted(rest.as_bytes())?;
            return Some(Written::Text);
        }
        let length = rest.find([',', ' ']).unwrap_or(rest.len());
        self.at += length;
        Some(Written::Bare(&rest[..length]))
    }

    /// What is left.
    pub fn rest(&self) -> &'a str {
        &self.line[self.at..]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(payload: &str) -> Vec<&str> {
        let found = Lines::of(payload.as_bytes());
        found.map(|line| std::str::from_utf8(line).unwrap()).collect()
    }

    #[test]
    fn comments_and_blank_lines_are_none() {
        assert_eq!(
            lines("a v=1\r\n\n  # no \"line\n b v=2 7 \n#end"),
            ["a v=1", "b v=2 7"]
        );
        assert!(lines("").is_empty() && lines(" \n\t#\n").is_empty());
    }

    #[test]
    fn text_in_quotes_may_have_line_ends() {
        assert_eq!(lines("a t=\"x\ny\",v=1\nb v=2"), ["a t=\"x\ny\",v=1", "b v=2"]);
        assert_eq!(lines("a t=\"\\\"\n\"\nb v=2"), ["a t=\"\\\"\n\"", "b v=2"]);
        // A quote is one only where a value begins.
        assert_eq!(lines("a,t=\"x v=1\nb v=2"), ["a,t=\"x v=1", "b v=2"]);
        assert_eq!(lines("a v=5\"\nb v=2"), ["a v=5\"", "b v=2"]);
    }

    #[test]
    fn a_quote_that_does_not_close_harms_its_own_line_alone() {
        assert_eq!(lines("a t=\"x\nb v=2\nc v=3"), ["a t=\"x", "b v=2", "c v=3"]);
        assert_eq!(lines("a t=\"x\\"), ["a t=\"x\\"]);
    }
}
