//! Who may log in, and publish where.
//!
//! A device logs in with a user name and a password. The password is that of the user in the settings, or, for every other
//! name, a token of the API with the role operator or more. Without a name nobody is let in, unless the listener is on
//! loopback. Invariants: secrets are compared in constant time, and none is kept, logged or shown. How it fails: where tokens
//! cannot be read the device is told to come again.

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;
use mqtt_protocol_core::mqtt::result_code::ConnectReasonCode;
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;

use crate::decode::TopicPattern;
use crate::storage::StoreError;

/// Knows the tokens of the API.
#[async_trait]
pub trait Tokens: Send + Sync {
    /// Whether there is such a token, and whether it allows to send readings.
    async fn role(&self, token: &str) -> Result<TokenRole, StoreError>;
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TokenRole {
    Unknown,
    /// It may only read.
    Reader,
    Sender,
}

pub struct Access {
    /// Whether a device may come without a name.
    pub anonymous: bool,
    pub users: HashMap<String, User>,
    pub tokens: Arc<dyn Tokens>,
}

#[derive(Debug, Clone)]
pub struct User {
    /// `None`: the password is a token.
    pub password: Option<PasswordHash>,
    /// Where it may publish; `None`: anywhere.
    pub publish: Option<Vec<TopicPattern>>,
}

/// What a password is compared with.
#[derive(Clone)]
pub struct PasswordHash([u8; 32]);

/// What a device that was let in may do.
#[derive(Debug, Clone, Default)]
pub struct Grant {
    publish: Option<Vec<TopicPattern>>,
}

impl Access {
    pub async fn admit(
        &self,
        user: Option<&str>,
        password: Option<&[u8]>,
    ) -> Result<Grant, ConnectReasonCode> {
        let Some(name) = user else {
            return match self.anonymous && password.is_none() {
                true => Ok(Grant::default()),
                false => Err(ConnectReasonCode::NotAuthorized),
            };
        };
        let known = self.users.get(name);
        let password = password.unwrap_or_default();
        match known.and_then(|user| user.password.as_ref()) {
            Some(hash) if hash.fits(password) => {}
            Some(_) => return Err(ConnectReasonCode::BadUserNameOrPassword),
            None => self.check_token(password).await?,
        }
        Ok(Grant {
            publish: known.and_then(|user| user.publish.clone()),
        })
    }

    async fn check_token(&self, password: &[u8]) -> Result<(), ConnectReasonCode> {
        let token = std::str::from_utf8(password).map_err(|_| ConnectReasonCode::BadUserNameOrPassword)?;
        match self.tokens.role(token).await {
            Ok(TokenRole::Sender) => Ok(()),
            Ok(TokenRole::Reader) => Err(ConnectReasonCode::NotAuthorized),
            Ok(TokenRole::Unknown) => Err(ConnectReasonCode::BadUserNameOrPassword),
            Err(error) => {
                tracing::warn!(%error, "a device cannot log in: tokens cannot be read");
                Err(ConnectReasonCode::ServerUnavailable)
            }
        }
    }
}

impl Grant {
    pub fn allows(&self, topic: &str) -> bool {
        let filters = self.publish.as_ref();
        filters.is_none_or(|filters| filters.iter().any(|filter| filter.matches(topic).is_some()))
    }
}

impl PasswordHash {
    pub fn new(password: &[u8]) -> Self {
        Self(Sha256::digest(password).into())
    }

    fn fits(&self, password: &[u8]) -> bool {
        bool::from(self.0.ct_eq(&Self::new(password).0))
    }
}

impl fmt::Debug for PasswordHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("PasswordHash(..)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::storage::ErrorClass;

    struct Known;

    #[async_trait]
    impl Tokens for Known {
        async fn role(&self, token: &str) -> Result<TokenRole, StoreError> {
            match token {
                "operator" => Ok(TokenRole::Sender),
                "viewer" => Ok(TokenRole::Reader),
                "away" => Err(StoreError::new(
                    ErrorClass::Transient,
                    "reading tokens".to_owned(),
                    "away",
                )),
                _ => Ok(TokenRole::Unknown),
            }
        }
    }

    fn access(anonymous: bool) -> Access {
        let user = |password: Option<&str>, publish: &str| User {
            password: password.map(|password| PasswordHash::new(password.as_bytes())),
            publish: Some(vec![TopicPattern::parse(publish).unwrap()]),
        };
        Access {
            anonymous,
            users: HashMap::from([
                ("plant".to_owned(), user(Some("secret"), "plant/#")),
                ("limited".to_owned(), user(None, "only/here")),
            ]),
            tokens: Arc::new(Known),
        }
    }

    async fn admitted(user: Option<&str>, password: Option<&str>) -> Result<Grant, ConnectReasonCode> {
        access(false).admit(user, password.map(str::as_bytes)).await
    }

    #[tokio::test]
    async fn a_user_of_the_settings_has_its_own_password_and_topics() {
        let grant = admitted(Some("plant"), Some("secret")).await.unwrap();
        assert!(grant.allows("plant/a/b") && !grant.allows("other"));
        for wrong in [None, Some(""), Some("secret "), Some("operator")] {
            let refused = admitted(Some("plant"), wrong).await.unwrap_err();
            assert_eq!(refused, ConnectReasonCode::BadUserNameOrPassword, "{wrong:?}");
        }
    }

    #[tokio::test]
    async fn every_other_name_needs_a_token_that_may_send() {
        assert!(admitted(Some("any"), Some("operator")).await.unwrap().allows("a"));
        let limited = admitted(Some("limited"), Some("operator")).await.unwrap();
        assert!(limited.allows("only/here") && !limited.allows("only"));
        for (password, code) in [
            ("viewer", ConnectReasonCode::NotAuthorized),
            ("nonsense", ConnectReasonCode::BadUserNameOrPassword),
            ("", ConnectReasonCode::BadUserNameOrPassword),
            ("away", ConnectReasonCode::ServerUnavailable),
        ] {
            assert_eq!(
                admitted(Some("any"), Some(password)).await.unwrap_err(),
                code,
                "{password}"
            );
        }
    }

    #[tokio::test]
    async fn without_a_name_one_comes_in_only_where_that_is_allowed() {
        assert_eq!(
            admitted(None, None).await.unwrap_err(),
            ConnectReasonCode::NotAuthorized
        );
        assert!(access(true).admit(None, None).await.unwrap().allows("a/b"));
        let password_alone = access(true).admit(None, Some(b"operator")).await;
        assert_eq!(password_alone.unwrap_err(), ConnectReasonCode::NotAuthorized);
    }
}
