//! Control's key, what control says of itself by it, and how another key takes its place.
//!
//! A rotation is made in an order that survives a crash at any point: the new key is on the disk
//! first, then the database has the old key's word for it, then its file takes the place of the old
//! one's. Which of the two counts after a crash is what the database says.

use std::sync::{Arc, PoisonError, RwLock};

use meshd_contract::key::PrivateKey;
use meshd_contract::keyring::{KeyRotation, Keyring};
use meshd_contract::node_api::Identity;
use meshd_contract::signed::seal_text;
use meshd_contract::time::Timestamp;
use thiserror::Error;
use tokio::sync::{Mutex, MutexGuard};

use crate::audit::Actor;
use crate::key_file::KeyFile;
use crate::state_dir::StateError;
use crate::store::{SignedRotation, Store, StoreError};

/// The key that signs now, for everybody who signs.
#[derive(Debug)]
pub(crate) struct Signer {
    file: KeyFile,
    certificate_hash: String,
    current: RwLock<Arc<Signing>>,
    alone: Mutex<()>,
}

/// A key, and what goes with it.
#[derive(Debug)]
pub(crate) struct Signing {
    /// The key.
    pub(crate) key: PrivateKey,
    /// It and the one before it.
    pub(crate) keys: Keyring,
    /// Control's identity, signed.
    pub(crate) identity: String,
    /// How it has become the key, the oldest first.
    pub(crate) rotations: Vec<SignedRotation>,
}

/// Why a key does not take the place of another.
#[derive(Debug, Error)]
pub(crate) enum RotateError {
    /// The state directory.
    #[error(transparent)]
    State(#[from] StateError),
    /// The database.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// A document cannot be written.
    #[error("a rotation cannot be written as JSON: {0}")]
    Json(#[from] serde_json::Error),
}

impl Signer {
    /// The key that the file and the database agree on.
    ///
    /// # Errors
    /// [`RotateError`] when they do not.
    pub(crate) async fn open(
        file: KeyFile,
        store: &Store,
        certificate_hash: String,
    ) -> Result<Self, RotateError> {
        let rotations = store.key_rotations().await?;
        let newest = rotations.last().map(|newest| newest.rotation.new_key);
        let key = file.settle(newest.as_ref())?;
        let signing = Signing::new(key, rotations, &certificate_hash)?;
        Ok(Self {
            file,
            certificate_hash,
            current: RwLock::new(Arc::new(signing)),
            alone: Mutex::default(),
        })
    }

    /// The key that signs at this moment.
    pub(crate) fn current(&self) -> Arc<Signing> {
        Arc::clone(&self.current.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Holds off rotations: file and database are of the same key meanwhile.
    pub(crate) async fn hold(&self) -> MutexGuard<'_, ()> {
        self.alone.lock().await
    }

    /// Puts a new key in the place of the present one, which counts for `overlap` more seconds where
    /// it was believed before.
    ///
    /// # Errors
    /// [`RotateError`]; the key is the same as before then.
    pub(crate) async fn rotate(
        &self,
        store: &Store,
        overlap: u64,
        now: Timestamp,
        by: &Actor,
    ) -> Result<KeyRotation, RotateError> {
        let _alone = self.hold().await;
        let old = self.current();
        let key = self.file.prepare()?;
        let rotation = KeyRotation {
            old_key: old.key.public(),
            new_key: key.public(),
            issued_at: now,
            old_ends_at: now.plus(overlap),
        };
        let new = SignedRotation {
            signed: rotation.seal(&old.key)?,
            rotation,
        };
        let rotations = old.rotations.iter().chain([&new]).cloned().collect();
        let signing = Signing::new(key, rotations, &self.certificate_hash)?;
        store.save_key_rotation(&new, by).await?;
        *self.current.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(signing);
        if let Err(error) = self.file.take_prepared() {
            tracing::error!(%error, "the next start of control will put the new key in place");
        }
        Ok(new.rotation)
    }
}

impl Signing {
    fn new(
        key: PrivateKey,
        rotations: Vec<SignedRotation>,
        certificate_hash: &str,
    ) -> Result<Self, serde_json::Error> {
        let keys = match rotations.last() {
            Some(newest) => {
                let mut keys = Keyring::from(newest.rotation.old_key);
                keys.follow(&newest.signed);
                keys
            }
            None => Keyring::from(key.public()),
        };
        let identity = serde_json::to_string(&Identity {
            control_key: key.public(),
            tls_certificates: vec![certificate_hash.to_owned()],
            release: env!("CARGO_PKG_VERSION").to_owned(),
        })?;
        let identity = seal_text(Identity::KIND, &identity, &key);
        Ok(Self {
            key,
            keys,
            identity,
            rotations,
        })
    }
}
