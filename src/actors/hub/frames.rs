//! The messages of the server, as text.
//!
//! Invariant: what comes from outside is written by a JSON encoder, so that no name of a sensor and no id of a client is anything
//! but a string to whoever reads it.

use bytestring::ByteString;
use serde::Serialize;

use super::outlet::Outgoing;
use crate::domain::Timestamp;

pub const PROTOCOL: u32 = 1;

/// How the messages of one subscription begin.
#[derive(Debug, Clone)]
pub struct Heads {
    pub snapshot: ByteString,
    pub delta: ByteString,
    pub resync: ByteString,
}

impl Heads {
    pub fn new(id: &str) -> Self {
        let head = |kind: &str| ByteString::from(format!("{{\"type\":\"{kind}\",\"id\":{},", json(&id)));
        Self {
            snapshot: head("snapshot"),
            delta: head("delta"),
            resync: head("resync"),
        }
    }
}

pub fn hello(epoch: &str, now: Timestamp, authenticated: bool) -> Outgoing {
    whole(format!(
        "{{\"type\":\"hello\",\"protocol\":{PROTOCOL},\"epoch\":\"{epoch}\",\"server_time\":\"{now}\",\"authenticated\":{authenticated}}}"
    ))
}

pub fn authenticated(role: &str) -> Outgoing {
    whole(format!("{{\"type\":\"authenticated\",\"role\":\"{role}\"}}"))
}

pub fn heartbeat(now: Timestamp) -> ByteString {
    format!("{{\"type\":\"heartbeat\",\"server_time\":\"{now}\"}}").into()
}

pub fn error(id: Option<&str>, code: &str, detail: &str) -> Outgoing {
    let (id, detail) = (json(&id), json(&detail));
    whole(format!(
        "{{\"type\":\"error\",\"id\":{id},\"code\":\"{code}\",\"detail\":{detail}}}"
    ))
}

/// What follows the head of a delta.
pub fn delta(seq: u64, data: &str) -> ByteString {
    format!("\"seq\":{seq},\"data\":{data}}}").into()
}

pub fn snapshot(seq: u64, epoch: &str, data: &str) -> ByteString {
    format!("\"seq\":{seq},\"epoch\":\"{epoch}\",\"data\":{data}}}").into()
}

pub fn resync(seq: u64, epoch: &str, reason: &str) -> ByteString {
    format!("\"seq\":{seq},\"epoch\":\"{epoch}\",\"reason\":\"{reason}\"}}").into()
}

/// As JSON. What cannot be written as that, which is nothing of ours, is null.
pub fn json<T: Serialize>(value: &T) -> String {
    serde_json::to_string(value).unwrap_or_else(|error| {
        tracing::error!(%error, "a live message cannot be written");
        "null".to_owned()
    })
}

fn whole(text: String) -> Outgoing {
    Outgoing {
        head: ByteString::new(),
        body: text.into(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;

    #[test]
    fn names_from_outside_are_strings_and_nothing_else() {
        for id in [
            "a",
            "\"},{\"type\":\"hello",
            "\\",
            "</script>",
            "\u{2028}\r\n\0",
            "😀",
        ] {
            let heads = Heads::new(id);
            let text = format!("{}{}", heads.delta, delta(7, "{}"));
            let read: Value = serde_json::from_str(&text).unwrap();
            assert_eq!(
                (read["id"].as_str(), read["type"].as_str()),
                (Some(id), Some("delta"))
            );
            let text = error(Some(id), "bad-message", id).body;
            let read: Value = serde_json::from_str(&text).unwrap();
            assert_eq!(
                (read["id"].as_str(), read["detail"].as_str()),
                (Some(id), Some(id))
            );
        }
        assert!(error(None, "x", "y").body.contains("\"id\":null"));
    }
}
