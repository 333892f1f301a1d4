//! API tokens: 256 random bits, shown once, kept as SHA-256.
//!
//! Invariants: the text of a token is never kept nor logged. Hashes are compared in constant time, and always all of them.
//! Tokens made or revoked by another process take effect within [`FRESH_FOR`]. How it fails: while the store is away the
//! tokens known last go on; a service that cannot be commanded while its database is away would be worse than a revocation
//! that comes late.

use std::sync::Arc;
use std::time::Duration;

use data_encoding::{BASE64URL_NOPAD, HEXLOWER};
use parking_lot::RwLock;
use secrecy::{ExposeSecret, SecretString};
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;
use tokio::time::Instant;

use super::auth::Role;
use crate::domain::Timestamp;
use crate::storage::history::TokenRow;
use crate::storage::{History, StoreError};

/// How long the known tokens are taken for true.
pub const FRESH_FOR: Duration = Duration::from_secs(3);
/// A token that is not known is looked for in the store, but not more often than this.
const LOOK_AGAIN_AFTER: Duration = Duration::from_millis(500);
/// Characters of a token: 32 bytes in base64url.
pub const TOKEN_LENGTH: usize = 43;

/// Who has which token.
pub struct TokenService {
    store: Arc<dyn History>,
    known: RwLock<Known>,
    refreshing: tokio::sync::Mutex<()>,
}

#[derive(Default)]
struct Known {
    tokens: Arc<Vec<(Role, TokenRow)>>,
    read_at: Option<Instant>,
}

#[derive(Debug, thiserror::Error)]
pub enum TokenError {
    #[error("no random numbers from the system: {0}")]
    Random(getrandom::Error),
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Makes a token and stores its hash. Its text is in nothing but what is returned.
pub async fn create(
    store: &dyn History,
    role: Role,
    name: &str,
    now: Timestamp,
) -> Result<(TokenRow, SecretString), TokenError> {
    let mut secret = [0; 32];
    let mut id = [0; 8];
    getrandom::fill(&mut secret).map_err(TokenError::Random)?;
    getrandom::fill(&mut id).map_err(TokenError::Random)?;
    let text = SecretString::from(BASE64URL_NOPAD.encode(&secret));
    let row = TokenRow {
        id: HEXLOWER.encode(&id),
        name: name.to_owned(),
        role: role.as_str().to_owned(),
        hash: hash(text.expose_secret()),
        created_at: now,
    };
    store.add_token(&row).await?;
    Ok((row, text))
}

impl TokenService {
    pub fn new(store: Arc<dyn History>) -> Self {
        Self {
            store,
            known: RwLock::default(),
            refreshing: tokio::sync::Mutex::default(),
        }
    }

    /// Where there is no token at all, makes one for an administrator.
    pub async fn ensure_first_admin(
        store: &dyn History,
        now: Timestamp,
    ) -> Result<Option<SecretString>, TokenError> {
        if !store.tokens().await?.is_empty() {
            return Ok(None);
        }
        let (_, text) = create(store, Role::Admin, "first start", now).await?;
        Ok(Some(text))
    }

    /// The role and name of who has this token. Fails where the tokens could never be read.
    pub async fn identify(&self, token: &str) -> Result<Option<(Role, TokenRow)>, StoreError> {
        if token.len() != TOKEN_LENGTH {
            return Ok(None);
        }
        let hash = hash(token);
        self.refresh(FRESH_FOR).await?;
        if let Some(found) = self.find(&hash) {
            return Ok(Some(found));
        }
        self.refresh(LOOK_AGAIN_AFTER).await?;
        Ok(self.find(&hash))
    }

    /// The role of the token in this row; `None` where it was revoked.
    pub async fn role_of(&self, id: &str) -> Result<Option<Role>, StoreError> {
        self.refresh(FRESH_FOR).await?;
        let tokens = self.known.read().tokens.clone();
        let found = tokens.iter().find(|(_, row)| row.id == id);
        Ok(found.map(|(role, _)| *role))
    }

    /// What is known may be wrong from now on.
    pub fn forget(&self) {
        self.known.write().read_at = None;
    }

    fn find(&self, hash: &[u8]) -> Option<(Role, TokenRow)> {
        let tokens = self.known.read().tokens.clone();
        let mut found = None;
        for (role, row) in tokens.iter() {
            if bool::from(row.hash.ct_eq(hash)) {
                found = Some((*role, row));
            }
        }
        found.map(|(role, row)| (role, row.clone()))
    }

    /// Reads the tokens where they were read longer ago than `fresh_for`; one caller reads, the others wait for it.
    async fn refresh(&self, fresh_for: Duration) -> Result<(), StoreError> {
        let fresh = || {
            let read_at = self.known.read().read_at;
            read_at.is_some_and(|at| at.elapsed() < fresh_for)
        };
        if fresh() {
            return Ok(());
        }
        let _alone = self.refreshing.lock().await;
        if fresh() {
            return Ok(());
        }
        match self.store.tokens().await {
            Ok(rows) => {
                let known = rows
                    .into_iter()
                    .filter_map(|row| Some((Role::parse(&row.role)?, row)));
                *self.known.write() = Known {
                    tokens: Arc::new(known.collect()),
                    read_at: Some(Instant::now()),
                };
                Ok(())
            }
            Err(error) => {
                let mut known = self.known.write();
                if known.tokens.is_empty() {
                    return Err(error);
                }
                tracing::warn!(%error, "tokens could not be read, those known last go on");
                known.read_at = Some(Instant::now());
                Ok(())
            }
        }
    }
}

fn hash(token: &str) -> Vec<u8> {
    Sha256::digest(token.as_bytes()).to_vec()
}
