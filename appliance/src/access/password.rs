//! Passwords: argon2id (RFC 9106), few at a time.

use argon2::{Algorithm, Argon2, Params, Version};
use aws_lc_rs::constant_time::verify_slices_are_equal;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD_NO_PAD;
use serde::{Deserialize, Serialize};
use tokio::sync::Semaphore;
use zeroize::Zeroizing;

use super::{AccessError, UserName};

/// What each guess costs: 19 MiB, twice gone over (OWASP's password storage cheat sheet).
const MEMORY_KIB: u32 = 19 << 10;
const PASSES: u32 = 2;
const LANES: u32 = 1;
/// More than this is not believed of a file.
const MAX_MEMORY_KIB: u32 = 64 << 10;
const MAX_PASSES: u32 = 16;
const SALT: usize = 16;
const HASH: usize = 32;
/// At once: their memory is all that logging in can take (law 7), and mail needs the processor.
const AT_ONCE: usize = 2;
/// That may wait for it; more are told to come back.
const WAITING: usize = 16;
/// Characters of a password. The most is only so that nobody has a novel hashed.
const SHORTEST: usize = 12;
const LONGEST: usize = 256;

/// What is kept of a password.
#[derive(Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Password {
    memory_kib: u32,
    passes: u32,
    lanes: u32,
    salt: String,
    argon2id: String,
}

impl std::fmt::Debug for Password {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Password(..)")
    }
}

impl Password {
    fn of(password: &str) -> Result<Self, argon2::Error> {
        let salt: [u8; SALT] = rand::random();
        let hash = hashed(password, &salt, (MEMORY_KIB, PASSES, LANES))?;
        let (salt, argon2id) = (STANDARD_NO_PAD.encode(salt), STANDARD_NO_PAD.encode(hash));
        Ok(Self { memory_kib: MEMORY_KIB, passes: PASSES, lanes: LANES, salt, argon2id })
    }

    /// That costs as much to look at as any other, and that nothing fits.
    fn of_nobody() -> Self {
        let (salt, argon2id) =
            (STANDARD_NO_PAD.encode(rand::random::<[u8; SALT]>()), STANDARD_NO_PAD.encode([0; HASH]));
        Self { memory_kib: MEMORY_KIB, passes: PASSES, lanes: LANES, salt, argon2id }
    }

    fn fits(&self, password: &str) -> bool {
        let (Ok(salt), Ok(hash)) =
            (STANDARD_NO_PAD.decode(&self.salt), STANDARD_NO_PAD.decode(&self.argon2id))
        else {
            return false;
        };
        if self.memory_kib > MAX_MEMORY_KIB || self.passes > MAX_PASSES {
            return false;
        }
        let again = hashed(password, &salt, (self.memory_kib, self.passes, self.lanes));
        again.is_ok_and(|again| verify_slices_are_equal(&again[..], &hash).is_ok())
    }
}

fn hashed(
    password: &str,
    salt: &[u8],
    (memory, passes, lanes): (u32, u32, u32),
) -> Result<Zeroizing<[u8; HASH]>, argon2::Error> {
    let params = Params::new(memory, passes, lanes, Some(HASH))?;
    let mut hash = Zeroizing::new([0; HASH]);
    Argon2::new(Algorithm::Argon2id, Version::V0x13, params).hash_password_into(
        password.as_bytes(),
        salt,
        &mut hash[..],
    )?;
    Ok(hash)
}

/// Whether it is a password that somebody may choose.
pub(super) fn sound(password: &str, name: &UserName) -> Result<(), AccessError> {
    let length = password.chars().count();
    let is_name = password.to_lowercase().contains(&name.to_string()) && length < name.to_string().len() + 4;
    if (SHORTEST..=LONGEST).contains(&length) && !is_name { Ok(()) } else { Err(AccessError::Password) }
}

/// Hashes passwords, on threads that may wait.
pub(super) struct Hasher {
    at_once: Semaphore,
    places: Semaphore,
    /// What is looked at where there is no such user, so that it takes as long.
    nobody: Password,
    #[cfg(test)]
    pub(super) hashed: std::sync::atomic::AtomicUsize,
}

impl Hasher {
    pub(super) fn new() -> Self {
        Self {
            at_once: Semaphore::new(AT_ONCE),
            places: Semaphore::new(AT_ONCE + WAITING),
            nobody: Password::of_nobody(),
            #[cfg(test)]
            hashed: std::sync::atomic::AtomicUsize::new(0),
        }
    }

    async fn work<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> Result<T, argon2::Error> + Send + 'static,
    ) -> Result<T, AccessError> {
        let _place = self.places.try_acquire().map_err(|_| AccessError::Busy)?;
        let at_once = self.at_once.acquire().await.map_err(|_| AccessError::Busy)?;
        #[cfg(test)]
        self.hashed.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        let done = tokio::task::spawn_blocking(work).await;
        drop(at_once);
        let failed = |error: &dyn std::fmt::Display| {
            tracing::error!(%error, "a password cannot be hashed");
            AccessError::Busy
        };
        done.map_err(|error| failed(&error))?.map_err(|error| failed(&error))
    }

    pub(super) async fn hash(&self, password: Zeroizing<String>) -> Result<Password, AccessError> {
        self.work(move || Password::of(&password)).await
    }

    /// Whether it is the one. Where there is none (`None`) the same work is done, and the answer is no.
    pub(super) async fn verify(
        &self,
        password: Zeroizing<String>,
        kept: Option<Password>,
    ) -> Result<bool, AccessError> {
        if password.chars().count() > LONGEST {
            return Ok(false);
        }
        let is_somebody = kept.is_some();
        let kept = match kept {
            Some(kept) => kept,
            None => self.nobody.clone(),
        };
        let fits = self.work(move || Ok(kept.fits(&password))).await?;
        Ok(fits && is_somebody)
    }
}
