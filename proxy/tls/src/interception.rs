//! Leaves for far sides, minted on the spot and kept.
//!
//! Minting one (a key, a signature, a server config around it) costs 0.1 ms of one core, and 0.7 ms where a far side's
//! certificate is as full of names as a handshake allows; it happens in the caller's thread. What was minted before
//! costs a look-up.

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use record::Clock;

use crate::recent::Recent;
use crate::{Acceptor, Authority, Chain, Identities, Served, Settings, TlsError, leaf};

/// Far sides whose leaves are kept. One takes 4 KiB, and 30 with as many names as one may have.
const MAX_KEPT: usize = 1000;
/// When a leaf that the authority signed is replaced by a new one: a day before it expires, so that no session that begins
/// now is shown one that ends during it. A copy of something that is not genuine keeps its dates.
const RENEWED_AFTER: Duration = leaf::LIFE.saturating_sub(Duration::from_secs(86_400));

/// Which chain, and whether it was genuine: the same chain can become so, or cease to be.
type Key = ([u8; 32], bool);

/// Makes what an inner server is shown in place of a far side.
pub struct Interception {
    authority: Authority,
    settings: Settings,
    clock: Arc<dyn Clock>,
    kept: Mutex<Recent<Key, Kept>>,
}

struct Kept {
    acceptor: Acceptor,
    /// Since 1970; `None`: for good.
    renewed_at: Option<Duration>,
}

impl Interception {
    /// Leaves are signed by `authority`, dated by `clock`, and served with `settings`.
    pub fn new(authority: Authority, settings: &Settings, clock: Arc<dyn Clock>) -> Self {
        Self { authority, settings: *settings, clock, kept: Mutex::new(Recent::new(MAX_KEPT)) }
    }

    /// The authority that signs.
    pub fn authority(&self) -> &Authority {
        &self.authority
    }

    /// An acceptor that shows a certificate like the far side's: its host names and addresses, its common name, its dates.
    ///
    /// `genuine` is [`Connector::is_genuine`](crate::Connector::is_genuine). Then the certificate is signed by the authority,
    /// and is valid for seven days at most, never longer than the far side's. Otherwise, or if the chain has no name
    /// at all, it is signed by itself and keeps the far side's dates, expired ones too: an inner server that verifies
    /// is not deceived.
    ///
    /// # Errors
    ///
    /// [`TlsError::Setup`], without random numbers. No chain is an error.
    pub fn acceptor(&self, chain: &Chain, genuine: bool) -> Result<Acceptor, TlsError> {
        let (key, now) = ((chain.digest(), genuine), self.clock.now());
        if let Some(acceptor) = fresh(&mut self.kept(), &key, now) {
            return Ok(acceptor);
        }
        // Without the lock: who waits for another far side's leaf does not wait for this one.
        let minted = self.mint(chain, genuine, now)?;
        let mut kept = self.kept();
        if let Some(acceptor) = fresh(&mut kept, &key, now) {
            return Ok(acceptor);
        }
        let acceptor = minted.acceptor.clone();
        kept.insert(key, minted);
        Ok(acceptor)
    }

    fn mint(&self, chain: &Chain, genuine: bool, now: Duration) -> Result<Kept, TlsError> {
        let far = chain.end_entity();
        let (identity, renewed_at) = if genuine && !far.names.is_empty() {
            (leaf::signed(&far, &self.authority, now)?, Some(now.saturating_add(RENEWED_AFTER)))
        } else {
            (leaf::self_signed(&far)?, None)
        };
        let served = Served { identities: vec![identity], ..Served::default() };
        let acceptor = Acceptor::new(&self.settings, Identities::new(served))?;
        Ok(Kept { acceptor, renewed_at })
    }

    /// Whoever panicked while holding it left a whole map behind: at worst one leaf is minted again.
    fn kept(&self) -> MutexGuard<'_, Recent<Key, Kept>> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for Interception {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Interception").field("authority", &self.authority).finish_non_exhaustive()
    }
}

fn fresh(kept: &mut Recent<Key, Kept>, key: &Key, now: Duration) -> Option<Acceptor> {
    let held = kept.get(key)?;
    held.renewed_at.is_none_or(|at| now < at).then(|| held.acceptor.clone())
}
