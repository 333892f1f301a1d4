//! The stream of bytes cut into packets, and those that are too large cut short.
//!
//! Invariants: never holds more than the limit and one read. A message that is larger is taken all the same, for if it were
//! not, the broker would send it again, for ever: its beginning is kept, the rest is counted and skipped. That is done here
//! rather than by telling the broker a limit, which version 3.1.1 cannot and which makes a broker of version 5 drop the
//! message without a word. How it fails: a length that is none, and a packet of another kind that is too large, are errors.

use bytes::{Buf, BufMut, Bytes, BytesMut};

use super::packets::{Malformed, Published, Qos, Version};
use crate::domain::DeadLetter;

/// What is read at once.
const READ_BYTES: usize = 64 << 10;
/// Of a packet that is too large: the header with the longest topic, and what a dead letter keeps.
const HEAD_BYTES: usize = 2 * (64 << 10) + DeadLetter::MAX_PAYLOAD;
/// The largest packet that is no message.
const OTHER_BYTES: usize = 64 << 10;
const PUBLISH: u8 = 3;

pub struct Frames {
    buffer: BytesMut,
    version: Version,
    limit: usize,
    skipping: Option<Skipping>,
}

#[derive(Debug)]
pub enum Frame {
    Whole(BytesMut),
    Oversized(Oversized),
}

/// A message that was too large, with the beginning of its payload.
#[derive(Debug)]
pub struct Oversized {
    pub message: Published,
    /// Of the whole packet.
    pub bytes: usize,
}

struct Skipping {
    head: BytesMut,
    header: usize,
    bytes: usize,
    left: usize,
}

impl Frames {
    /// `limit` is that of a message's packet, in bytes.
    pub fn new(version: Version, limit: usize) -> Self {
        Self {
            buffer: BytesMut::new(),
            version,
            limit,
            skipping: None,
        }
    }

    /// What was read is to be put at its end.
    pub fn buffer(&mut self) -> &mut BytesMut {
        self.buffer.reserve(READ_BYTES);
        &mut self.buffer
    }

    /// The next packet, if all of it has come.
    pub fn next(&mut self) -> Result<Option<Frame>, Malformed> {
        if self.skipping.is_none() {
            let Some((header, rest)) = header(&self.buffer)? else {
                return Ok(None);
            };
            let bytes = header + rest;
            let publishes = self.buffer[0] >> 4 == PUBLISH;
            if bytes <= self.limit || !publishes && bytes <= OTHER_BYTES {
                let whole = self.buffer.len() >= bytes;
                return Ok(whole.then(|| Frame::Whole(self.buffer.split_to(bytes))));
            }
            if !publishes {
                return Err(Malformed(format!("a packet of {bytes} bytes that is no message")));
            }
            self.skipping = Some(Skipping {
                head: BytesMut::new(),
                header,
                bytes,
                left: bytes,
            });
        }
        let Some(skipping) = &mut self.skipping else {
            return Ok(None);
        };
        let there = self.buffer.len().min(skipping.left);
        let kept = there.min(HEAD_BYTES - skipping.head.len());
        skipping.head.put_slice(&self.buffer[..kept]);
        self.buffer.advance(there);
        skipping.left -= there;
        if skipping.left > 0 {
            return Ok(None);
        }
        match self.skipping.take() {
            Some(skipped) => skipped
                .message(self.version)
                .map(|message| Some(Frame::Oversized(message))),
            None => Ok(None),
        }
    }
}

impl Skipping {
    fn message(self, version: Version) -> Result<Oversized, Malformed> {
        let flags = self.head[0];
        let mut rest = self.head.freeze();
        rest.advance(self.header);
        let short = || Malformed("a message that is shorter than its header".to_owned());
        let length = rest.try_get_u16().map_err(|_| short())?;
        let topic = take(&mut rest, usize::from(length)).ok_or_else(short)?;
        let topic =
            String::from_utf8(topic.to_vec()).map_err(|_| Malformed("a topic is not UTF-8".to_owned()))?;
        let qos = match flags >> 1 & 3 {
            0 => Qos::AtMostOnce,
            1 => Qos::AtLeastOnce,
            2 => Qos::ExactlyOnce,
            _ => return Err(Malformed("a message with QoS 3".to_owned())),
        };
        let id = match qos {
            Qos::AtMostOnce => 0,
            _ => rest.try_get_u16().map_err(|_| short())?,
        };
        if version == Version::V5 {
            // Properties may be longer than what was kept; then there is no payload to be shown.
            let (length, properties) = number(&rest)?.ok_or_else(short)?;
            rest.advance(length);
            rest.advance(properties.min(rest.len()));
        }
        rest.truncate(DeadLetter::MAX_PAYLOAD);
        Ok(Oversized {
            message: Published {
                topic,
                payload: Bytes::copy_from_slice(&rest),
                qos,
                id,
                again: flags & 8 != 0,
                retained: flags & 1 != 0,
            },
            bytes: self.bytes,
        })
    }
}

fn take(bytes: &mut Bytes, length: usize) -> Option<Bytes> {
    (length <= bytes.len()).then(|| bytes.split_to(length))
}

/// How long a packet's fixed header is, and how much follows it; `None` while it has not all come.
fn header(bytes: &[u8]) -> Result<Option<(usize, usize)>, Malformed> {
    let Some((_, rest)) = bytes.split_first() else {
        return Ok(None);
    };
    Ok(number(rest)?.map(|(length, value)| (1 + length, value)))
}

/// A number of up to four bytes: how many it has, and its value.
fn number(bytes: &[u8]) -> Result<Option<(usize, usize)>, Malformed> {
    let mut value = 0;
    for (index, byte) in bytes.iter().take(4).enumerate() {
        value |= usize::from(byte & 0x7F) << (7 * index);
        if byte & 0x80 == 0 {
            return Ok(Some((index + 1, value)));
        }
    }
    match bytes.len() {
        0..4 => Ok(None),
        _ => Err(Malformed("a length of more than four bytes".to_owned())),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use rumqttc::mqttbytes::QoS;
    use rumqttc::mqttbytes::v4::{Packet, Publish};

    use super::*;

    fn message(id: u16, payload: &[u8]) -> BytesMut {
        let mut publish = Publish::new("a/topic", QoS::AtLeastOnce, payload);
        publish.pkid = id;
        publish.dup = true;
        let mut bytes = BytesMut::new();
        Packet::Publish(publish).write(&mut bytes, usize::MAX).unwrap();
        bytes
    }

    fn drain(frames: &mut Frames) -> Vec<Frame> {
        std::iter::from_fn(|| frames.next().unwrap()).collect()
    }

    #[test]
    fn the_beginning_of_what_is_too_large_is_kept_and_what_follows_is_whole() {
        let mut frames = Frames::new(Version::V3, 2000);
        let large = vec![b'x'; 3 << 20];
        let mut stream = message(1, b"small");
        stream.extend_from_slice(&message(2, &large));
        stream.extend_from_slice(&message(3, b"small again"));
        let (mut found, mut most) = (Vec::new(), 0);
        for piece in stream.chunks(100_000) {
            frames.buffer().extend_from_slice(piece);
            found.extend(drain(&mut frames));
            most = most.max(frames.buffer.len());
        }
        assert!(most <= 2000, "{most} bytes were held");
        let [Frame::Whole(_), Frame::Oversized(over), Frame::Whole(_)] = &found[..] else {
            panic!("{found:?}");
        };
        assert_eq!((over.message.id, over.message.qos), (2, Qos::AtLeastOnce));
        assert!(over.message.again && !over.message.retained);
        assert_eq!(over.message.topic, "a/topic");
        assert_eq!(over.message.payload.len(), DeadLetter::MAX_PAYLOAD);
        assert_eq!(over.bytes, message(2, &large).len());
    }

    #[test]
    fn with_version_5_properties_are_no_payload() {
        use rumqttc::v5::mqttbytes::v5;
        let properties = v5::PublishProperties {
            content_type: Some("text".repeat(100)),
            ..Default::default()
        };
        let publish = v5::Publish::new(
            "t",
            rumqttc::v5::mqttbytes::QoS::AtMostOnce,
            vec![b'y'; 5000],
            Some(properties),
        );
        let mut frames = Frames::new(Version::V5, 2000);
        v5::Packet::Publish(publish).write(frames.buffer(), None).unwrap();
        let found = drain(&mut frames);
        let [Frame::Oversized(over)] = &found[..] else {
            panic!("{found:?}")
        };
        assert_eq!(over.message.payload, vec![b'y'; 5000]);
        assert_eq!((over.message.id, over.message.qos), (0, Qos::AtMostOnce));
    }

    #[test]
    fn other_packets_are_never_that_large() {
        let mut frames = Frames::new(Version::V3, 2000);
        frames.buffer().extend_from_slice(&[0x90, 0xFF, 0xFF, 0x7F]);
        assert!(frames.next().is_err());
        let mut frames = Frames::new(Version::V3, 2000);
        frames.buffer().extend_from_slice(&[0x30, 0xFF, 0xFF, 0xFF, 0xFF]);
        assert!(frames.next().is_err());
    }

    proptest! {
        #[test]
        fn however_it_comes_in_pieces_the_packets_are_the_same(
            sizes in prop::collection::vec(0_usize..4000, 1..20),
            pieces in prop::collection::vec(1_usize..3000, 1..50),
        ) {
            let mut stream = BytesMut::new();
            for (index, size) in sizes.iter().enumerate() {
                stream.extend_from_slice(&message(index as u16 + 1, &vec![b'z'; *size]));
            }
            let mut frames = Frames::new(Version::V3, 2000);
            let mut found = Vec::new();
            let mut pieces = pieces.iter().cycle();
            while !stream.is_empty() {
                let piece = stream.split_to(stream.len().min(*pieces.next().unwrap()));
                frames.buffer().extend_from_slice(&piece);
                found.extend(drain(&mut frames));
            }
            let sizes_found: Vec<usize> = found.iter().map(|frame| match frame {
                Frame::Whole(bytes) => bytes.len(),
                Frame::Oversized(over) => over.bytes,
            }).collect();
            let expected: Vec<usize> =
                sizes.iter().map(|size| message(1, &vec![b'z'; *size]).len()).collect();
            prop_assert_eq!(sizes_found, expected);
        }

        #[test]
        fn whatever_comes_it_does_not_panic(bytes in prop::collection::vec(any::<u8>(), 0..300), five in any::<bool>()) {
            let version = if five { Version::V5 } else { Version::V3 };
            let mut frames = Frames::new(version, 64);
            frames.buffer().extend_from_slice(&bytes);
            while let Ok(Some(frame)) = frames.next() {
                if let Frame::Whole(frame) = frame {
                    let _ = version.read(frame);
                }
            }
        }
    }
}
