//! Links in notifications that let whoever got one acknowledge or silence without logging in.
//!
//! Invariants: a token is for one action on one target and ends at one time; none of these can be changed without the
//! key. Nothing is done by opening a link, since mail scanners open them all: the page behind it asks, and only its
//! button acts.
//! How it fails: what was not made with this key, in whole, is `Forged`, in the same time whatever is wrong with it.

use std::fmt;

use data_encoding::BASE64URL_NOPAD;
use hmac::{Hmac, Mac};
use secrecy::{ExposeSecret, SecretBox};
use sha2::Sha256;
use subtle::ConstantTimeEq;

use super::NotificationId;
use crate::domain::{Episode, Timestamp};

/// Keeps a tag from meaning anything elsewhere, should the key be used for something else.
const PURPOSE: &[u8] = b"sensorhive link 1";
const TAG: usize = 32;
/// The longest token that is looked at.
const LONGEST: usize = 2_048;

/// What whoever has the link may do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum LinkAction {
    Acknowledge,
    Silence,
}

impl LinkAction {
    pub const ALL: [LinkAction; 2] = [LinkAction::Acknowledge, LinkAction::Silence];

    pub fn as_str(self) -> &'static str {
        match self {
            LinkAction::Acknowledge => "acknowledge",
            LinkAction::Silence => "silence",
        }
    }

    fn byte(self) -> u8 {
        match self {
            LinkAction::Acknowledge => 1,
            LinkAction::Silence => 2,
        }
    }
}

/// What it is done to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LinkTarget {
    Alert(Episode),
    /// Every alert of a notification, those that it does not list as well.
    Notification(NotificationId),
}

/// What a token says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LinkClaim {
    pub action: LinkAction,
    pub target: LinkTarget,
    /// The receiver that it was sent to: what is done is done in its name.
    pub receiver: String,
    /// From this time on it is worth nothing.
    pub expires: Timestamp,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum LinkError {
    #[error("this link is not one of ours, or is not whole")]
    Forged,
    #[error("this link has expired")]
    Expired,
}

/// 256 bits that only this deployment knows. Whoever has them can make links.
pub struct LinkKey(SecretBox<[u8; 32]>);

impl fmt::Debug for LinkKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("LinkKey(…)")
    }
}

impl LinkKey {
    pub fn new(key: [u8; 32]) -> Self {
        Self(SecretBox::new(Box::new(key)))
    }

    /// Another key for each text, however long that is; the text should not be guessable.
    pub fn from_secret(secret: &str) -> Self {
        Self::new(mac(secret.as_bytes(), &[b"sensorhive link key"]))
    }

    pub fn sign(&self, claim: &LinkClaim) -> String {
        let mut bytes = vec![claim.action.byte()];
        bytes.extend(claim.expires.0.to_be_bytes());
        match &claim.target {
            LinkTarget::Alert(episode) => {
                bytes.push(1);
                bytes.extend(episode.0.to_be_bytes());
            }
            LinkTarget::Notification(id) => {
                bytes.push(2);
                bytes.extend((id.0.len() as u64).to_be_bytes());
                bytes.extend(id.0.as_bytes());
            }
        }
        bytes.extend(claim.receiver.as_bytes());
        bytes.extend(self.tag(&bytes));
        BASE64URL_NOPAD.encode(&bytes)
    }

    /// What a token says, if it is ours, for this action, and not over yet.
    pub fn check(&self, token: &str, action: LinkAction, now: Timestamp) -> Result<LinkClaim, LinkError> {
        let bytes = (token.len() <= LONGEST).then(|| BASE64URL_NOPAD.decode(token.as_bytes()));
        let Some(Ok(bytes)) = bytes else {
            return Err(LinkError::Forged);
        };
        let Some((said, tag)) = bytes.split_last_chunk::<TAG>() else {
            return Err(LinkError::Forged);
        };
        if !bool::from(self.tag(said).ct_eq(tag)) {
            return Err(LinkError::Forged);
        }
        let claim = read(said).ok_or(LinkError::Forged)?;
        match claim {
            claim if claim.action != action => Err(LinkError::Forged),
            claim if claim.expires <= now => Err(LinkError::Expired),
            claim => Ok(claim),
        }
    }

    fn tag(&self, said: &[u8]) -> [u8; TAG] {
        mac(self.0.expose_secret(), &[PURPOSE, said])
    }
}

/// HMAC-SHA256 of parts that follow each other.
pub(super) fn mac(key: &[u8], parts: &[&[u8]]) -> [u8; 32] {
    let mut mac = <Hmac<Sha256> as Mac>::new_from_slice(key).expect("a key of any length is one");
    parts.iter().for_each(|part| mac.update(part));
    mac.finalize().into_bytes().into()
}

fn read(said: &[u8]) -> Option<LinkClaim> {
    let (&[action], rest) = said.split_first_chunk()?;
    let action = LinkAction::ALL.into_iter().find(|known| known.byte() == action)?;
    let (expires, rest) = rest.split_first_chunk()?;
    let (&[kind], rest) = rest.split_first_chunk()?;
    let (number, rest) = rest.split_first_chunk()?;
    let (target, receiver) = match kind {
        1 => (LinkTarget::Alert(Episode(i64::from_be_bytes(*number))), rest),
        2 => {
            let length = usize::try_from(u64::from_be_bytes(*number)).ok()?;
            let (id, rest) = rest.split_at_checked(length)?;
            let id = NotificationId(String::from_utf8(id.to_vec()).ok()?);
            (LinkTarget::Notification(id), rest)
        }
        _ => return None,
    };
    Some(LinkClaim {
        action,
        target,
        receiver: String::from_utf8(receiver.to_vec()).ok()?,
        expires: Timestamp(i64::from_be_bytes(*expires)),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Timestamp = Timestamp::from_seconds(1_800_000_000);

    fn key() -> LinkKey {
        LinkKey::new([7; 32])
    }

    fn claims() -> [LinkClaim; 2] {
        let expires = NOW.saturating_add(1);
        [
            LinkClaim {
                action: LinkAction::Acknowledge,
                target: LinkTarget::Alert(Episode(i64::MAX)),
                receiver: "ops".to_owned(),
                expires,
            },
            LinkClaim {
                action: LinkAction::Silence,
                target: LinkTarget::Notification(NotificationId("n-1".to_owned())),
                receiver: String::new(),
                expires,
            },
        ]
    }

    #[test]
    fn a_token_says_what_was_signed() {
        for claim in claims() {
            let token = key().sign(&claim);
            assert_eq!(key().check(&token, claim.action, NOW), Ok(claim.clone()));
            let plain = |c: char| c.is_ascii_alphanumeric() || "-_".contains(c);
            assert!(token.chars().all(plain), "{token}");
        }
    }

    #[test]
    fn a_token_is_for_one_purpose_until_one_time() {
        let [acknowledge, _] = claims();
        let token = key().sign(&acknowledge);
        assert_eq!(
            key().check(&token, LinkAction::Silence, NOW),
            Err(LinkError::Forged)
        );
        assert_eq!(
            key().check(&token, LinkAction::Acknowledge, acknowledge.expires),
            Err(LinkError::Expired)
        );
        assert_eq!(
            LinkKey::new([8; 32]).check(&token, LinkAction::Acknowledge, NOW),
            Err(LinkError::Forged)
        );
    }

    #[test]
    fn nothing_of_a_token_can_be_changed() {
        for claim in claims() {
            let bytes = BASE64URL_NOPAD.decode(key().sign(&claim).as_bytes()).unwrap();
            let check = |bytes: &[u8]| {
                let token = BASE64URL_NOPAD.encode(bytes);
                key().check(&token, claim.action, NOW)
            };
            for bit in 0..bytes.len() * 8 {
                let mut changed = bytes.clone();
                changed[bit / 8] ^= 1 << (bit % 8);
                assert_eq!(check(&changed), Err(LinkError::Forged), "bit {bit}");
            }
            for length in 0..bytes.len() {
                assert_eq!(check(&bytes[..length]), Err(LinkError::Forged), "{length}");
            }
            let longer = [&bytes[..], b"x"].concat();
            assert_eq!(check(&longer), Err(LinkError::Forged));
        }
        let long = "A".repeat(100_000);
        for text in ["", "=", "ä", "not a token", &long] {
            assert_eq!(
                key().check(text, LinkAction::Silence, NOW),
                Err(LinkError::Forged)
            );
        }
    }

    #[test]
    fn a_key_is_not_shown_and_depends_on_its_secret() {
        assert_eq!(format!("{:?}", key()), "LinkKey(…)");
        let [claim, _] = claims();
        let token = LinkKey::from_secret("one").sign(&claim);
        assert_eq!(token, LinkKey::from_secret("one").sign(&claim));
        assert_ne!(token, LinkKey::from_secret("two").sign(&claim));
    }
}
