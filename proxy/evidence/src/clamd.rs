//! The virus scanner: clamd by its INSTREAM command (clamd(8)), over a few connections that are kept.

mod answer;
mod link;
mod octets;

use std::fmt;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::Semaphore;
use tokio::time::{Instant, timeout, timeout_at};

pub use answer::{Answer, MAX_ANSWER};
pub use link::Address;
use link::{Failed, Link};
pub use octets::Octets;

use crate::error::EvidenceError;
use crate::rest::Rest;

/// Messages that are scanned at once; clamd has 12 threads as Debian sets it up, 10 by itself. Others wait within their time.
pub const SCANS_AT_ONCE: usize = 8;
/// Octets of a message that are sent: `StreamMaxLength` as Debian sets it up. What is behind them is not scanned.
pub const MAX_SCANNED: u64 = 25 * 1024 * 1024;
/// For a connection: clamd is on this machine or on the next.
const CONNECT: Duration = Duration::from_secs(3);
/// How long a connection is kept that nobody uses; clamd closes them after 30 s (`IdleTimeout`).
const IDLE: Duration = Duration::from_secs(10);
/// What a scan came to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Scanned {
    /// Nothing is known of it; `whole` is false where only its first [`MAX_SCANNED`] octets were looked at.
    Clean {
        /// It was looked at to its end.
        whole: bool,
    },
    /// The name of the signature that it fits.
    Found(Box<str>),
}

/// Asks clamd. One for the whole program, shared by reference.
pub struct Scanner {
    address: Address,
    turns: Semaphore,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    idle: Vec<Link>,
    rest: Rest,
}

impl Scanner {
    /// Nothing is connected yet.
    pub fn new(address: Address) -> Self {
        Self { address, turns: Semaphore::new(SCANS_AT_ONCE), state: Mutex::default() }
    }

    /// Where it is asked.
    pub fn address(&self) -> &Address {
        &self.address
    }

    /// Has the first [`MAX_SCANNED`] octets of a message looked at.
    ///
    /// # Errors
    ///
    /// It cannot be reached, failed a moment ago, fails, or says nothing by the deadline.
    pub async fn scan(&self, octets: Octets, deadline: Instant) -> Result<Scanned, EvidenceError> {
        self.is_resting(Instant::now())?;
        let whole = octets.count() <= MAX_SCANNED;
        let asked = timeout_at(deadline, async {
            // It is never closed; were it, nothing would be limited.
            let _turn = self.turns.acquire().await;
            // Who waited may have waited for one that failed.
            self.is_resting(Instant::now())?;
            self.ask(&octets.up_to(MAX_SCANNED)).await
        });
        let asked = asked.await.unwrap_or(Err(EvidenceError::ScannerSilent));
        self.note(&asked, Instant::now());
        match asked? {
            Answer::Clean => Ok(Scanned::Clean { whole }),
            Answer::Found(name) => Ok(Scanned::Found(name)),
            Answer::TooLarge => Err(EvidenceError::ScannerTakesLess(MAX_SCANNED)),
            Answer::Trouble(said) => Err(EvidenceError::ScannerSays(said)),
        }
    }

    async fn ask(&self, octets: &Octets) -> Result<Answer, EvidenceError> {
        while let Some(mut link) = self.kept() {
            match link.scan(octets).await {
                // Closed meanwhile, as clamd may do: a new one says how it is.
                Err(Failed::Link(_)) => {}
                other => return self.answered(link, other),
            }
        }
        let away = |error| EvidenceError::ScannerAway { address: self.address.to_string().into(), error };
        let opened = timeout(CONNECT, Link::open(&self.address)).await;
        let mut link = opened.unwrap_or_else(|_| Err(std::io::ErrorKind::TimedOut.into())).map_err(away)?;
        let scanned = link.scan(octets).await;
        self.answered(link, scanned)
    }

    fn answered(&self, link: Link, scanned: Result<Answer, Failed>) -> Result<Answer, EvidenceError> {
        match scanned {
            Ok(answer) => {
                // After anything else it closes, or is out of step.
                if matches!(answer, Answer::Clean | Answer::Found(_)) {
                    self.state().idle.push(link);
                }
                Ok(answer)
            }
            Err(Failed::Here(error)) => Err(error),
            Err(Failed::Link(error)) => {
                Err(EvidenceError::ScannerAway { address: self.address.to_string().into(), error })
            }
        }
    }

    /// The connection that was used last, if it is fresh enough. There are as many at most as there are turns.
    fn kept(&self) -> Option<Link> {
        let mut state = self.state();
        let link = state.idle.pop()?;
        if link.since.elapsed() < IDLE {
            return Some(link);
        }
        state.idle.clear();
        None
    }

    fn is_resting(&self, now: Instant) -> Result<(), EvidenceError> {
        match self.state().rest.left_alone(now) {
            Some(ago) => Err(EvidenceError::ScannerResting(ago.as_secs())),
            None => Ok(()),
        }
    }

    fn note(&self, asked: &Result<Answer, EvidenceError>, now: Instant) {
        let mut state = self.state();
        match asked {
            Ok(_) => state.rest.answered(),
            Err(EvidenceError::ScannerAway { .. }) => {
                state.rest.failed(now);
                state.idle.clear();
            }
            Err(EvidenceError::ScannerSilent) => {
                state.rest.was_silent(now);
            }
            // Says nothing of the scanner.
            Err(_) => {}
        }
    }

    /// Nothing panics while it holds the lock.
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for Scanner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Scanner").field("address", &self.address).finish_non_exhaustive()
    }
}
