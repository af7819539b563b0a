//! Passwords: argon2id, so many at a time.

use std::sync::Arc;
use std::time::Duration;

use argon2::password_hash::phc::PasswordHash;
use argon2::{Algorithm, Argon2, Params, PasswordHasher, PasswordVerifier, Version};
use thiserror::Error;
use tokio::sync::Semaphore;
use tokio::task::spawn_blocking;
use tokio::time::timeout;

use super::error::WebError;

/// The shortest password, in characters.
pub(super) const SHORTEST: usize = 12;
/// The longest, in bytes.
pub(super) const LONGEST: usize = 1024;

/// The first choice for argon2id in OWASP's password storage cheat sheet: 19 MiB, two passes, one
/// lane.
const MEMORY_KIB: u32 = 19 * 1024;
const PASSES: u32 = 2;
/// How many are computed at a time, and how long one waits for its turn. Browsers that are known do
/// not wait behind those that are not.
const AT_A_TIME: usize = 2;
const PATIENCE: Duration = Duration::from_secs(5);

/// Why a password cannot be hashed.
#[derive(Debug, Error)]
#[error("a password could not be hashed: {0}")]
pub(crate) struct HashError(String);

/// Where a computation waits for its turn.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Queue {
    /// With other browsers that their users have signed in with before.
    Known,
    /// With everybody else.
    Unknown,
}

/// What checks passwords.
pub(super) struct Passwords {
    known: Arc<Semaphore>,
    unknown: Arc<Semaphore>,
    /// Of a password that nobody has: to check against it takes as long as for an account.
    nobodys: String,
    patience: Duration,
}

impl Passwords {
    /// Ready to work.
    ///
    /// # Errors
    /// Only when the system gives no random bytes.
    pub(super) fn new() -> Result<Self, HashError> {
        Ok(Self {
            known: Arc::new(Semaphore::new(AT_A_TIME)),
            unknown: Arc::new(Semaphore::new(AT_A_TIME)),
            nobodys: hash("no password of anybody")?,
            patience: PATIENCE,
        })
    }

    /// Whether `password` is the one that `stored` is the hash of; false, after the same time, where
    /// nothing is stored.
    pub(super) async fn verify(
        &self,
        queue: Queue,
        password: String,
        stored: Option<String>,
    ) -> Result<bool, WebError> {
        let is_stored = stored.is_some();
        let stored = stored.unwrap_or_else(|| self.nobodys.clone());
        let fits = self
            .compute(queue, move || fits(&password, &stored))
            .await?;
        Ok(fits && is_stored)
    }

    /// The hash of a new password, to be stored.
    pub(super) async fn hash(&self, password: String) -> Result<String, WebError> {
        let hashed = self.compute(Queue::Known, move || hash(&password)).await?;
        hashed.map_err(|error| WebError::Fault(error.to_string()))
    }

    async fn compute<T: Send + 'static>(
        &self,
        queue: Queue,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, WebError> {
        let room = match queue {
            Queue::Known => &self.known,
            Queue::Unknown => &self.unknown,
        };
        let turn = timeout(self.patience, Arc::clone(room).acquire_owned()).await;
        let Ok(Ok(turn)) = turn else {
            return Err(WebError::Busy);
        };
        // The turn ends with the work, not with the client's patience.
        let done = spawn_blocking(move || {
            let done = work();
            drop(turn);
            done
        });
        done.await
            .map_err(|error| WebError::Fault(error.to_string()))
    }
}

fn argon2() -> Result<Argon2<'static>, HashError> {
    let params = Params::new(MEMORY_KIB, PASSES, 1, None);
    let params = params.map_err(|error| HashError(error.to_string()))?;
    Ok(Argon2::new(Algorithm::Argon2id, Version::V0x13, params))
}

fn hash(password: &str) -> Result<String, HashError> {
    let hashed: PasswordHash = argon2()?
        .hash_password(password.as_bytes())
        .map_err(|error| HashError(error.to_string()))?;
    Ok(hashed.to_string())
}

fn fits(password: &str, stored: &str) -> bool {
    let Ok(stored) = PasswordHash::new(stored) else {
        return false;
    };
    // The parameters are those in the stored text.
    Argon2::default()
        .verify_password(password.as_bytes(), &stored)
        .is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_password_fits_its_own_hash() {
        let passwords = Passwords::new().expect("random bytes");
        let right = "correct horse battery staple".to_owned();
        let stored = passwords.hash(right.clone()).await.expect("hashes");
        assert!(
            stored.starts_with("$argon2id$v=19$m=19456,t=2,p=1$"),
            "{stored}"
        );
        let again = passwords.hash(right.clone()).await.expect("hashes");
        assert_ne!(stored, again, "the salt is new");
        for (password, stored, fits) in [
            (right.clone(), Some(stored.clone()), true),
            ("wrong horse battery".to_owned(), Some(stored), false),
            (right.clone(), None, false),
            ("no password of anybody".to_owned(), None, false),
            (right, Some("nonsense".to_owned()), false),
        ] {
            let verified = passwords.verify(Queue::Unknown, password, stored).await;
            assert_eq!(verified.expect("is computed"), fits);
        }
    }

    #[tokio::test]
    async fn known_browsers_do_not_wait_behind_unknown_ones() {
        let mut passwords = Passwords::new().expect("random bytes");
        passwords.patience = Duration::from_millis(1);
        let all = Arc::clone(&passwords.unknown).acquire_many_owned(2).await;
        let verify = |queue| passwords.verify(queue, "x".to_owned(), None);
        assert!(matches!(verify(Queue::Unknown).await, Err(WebError::Busy)));
        assert!(matches!(verify(Queue::Known).await, Ok(false)));
        drop(all);
        assert!(matches!(verify(Queue::Unknown).await, Ok(false)));
    }
}
