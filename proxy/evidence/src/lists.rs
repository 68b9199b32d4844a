//! DNS lists: what others hold of an address or of a domain (RFC 5782). A list is believed once it has shown that it is one.

mod entry;
mod meaning;

use std::fmt;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use dns::{DnsError, Resolver};
use smtp::Domain;
use tokio::time::{Instant, timeout_at};

pub use entry::Entry;
pub use meaning::{Code, Weights};

use crate::error::EvidenceError;
use crate::rest::Rest;

/// How long a list is known to be sound. A zone that lapses is had by whoever buys it, and lists the whole world.
const SOUND_FOR: Duration = Duration::from_secs(3600);
/// How long one that is not is left alone.
const UNSOUND_FOR: Duration = Duration::from_secs(600);

/// What a list is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum About {
    /// Addresses of clients.
    Addresses,
    /// Domains of senders and links.
    Domains,
}

/// What a list holds of an entry.
#[derive(Clone, Debug, PartialEq)]
pub struct Listing {
    /// What it answers.
    pub codes: Vec<Ipv4Addr>,
    /// In log-odds, spam positive.
    pub weight: f64,
}

/// A list. One for the whole program, shared by reference.
pub struct List {
    zone: Domain,
    about: About,
    weights: Weights,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    rest: Rest,
    /// Until when it counts as sound, or why it does not.
    sound: Option<(Instant, Result<(), &'static str>)>,
}

impl List {
    /// Nothing is asked yet.
    pub fn new(zone: Domain, about: About, weights: Weights) -> Self {
        Self { zone, about, weights, state: Mutex::default() }
    }

    /// Its zone.
    pub fn zone(&self) -> &Domain {
        &self.zone
    }

    /// What it is about.
    pub fn about(&self) -> About {
        self.about
    }

    /// What it holds of an entry; `None`: nothing.
    ///
    /// # Errors
    ///
    /// It does not answer by the deadline, refuses to, or is none that can be believed.
    pub async fn look_up(
        &self,
        resolver: &Resolver,
        entry: &Entry,
        deadline: Instant,
    ) -> Result<Option<Listing>, EvidenceError> {
        if let Some(ago) = self.state().rest.left_alone(Instant::now()) {
            return Err(self.failed(format!("it failed {} s ago", ago.as_secs())));
        }
        let asked = timeout_at(deadline, async {
            self.is_sound(resolver).await?;
            self.ask(resolver, entry).await
        });
        let found = asked.await.unwrap_or_else(|_| Err(self.failed("it does not answer in time")));
        let mut state = self.state();
        match &found {
            Ok(_) => state.rest.answered(),
            Err(EvidenceError::ListFailed { .. }) => {
                state.rest.was_silent(Instant::now());
            }
            Err(_) => {}
        }
        found.map(|codes| codes.map(|codes| Listing { weight: self.weights.of(&codes), codes }))
    }

    /// What it says of a listed entry to those who are refused for it; `None` if it says nothing by the deadline.
    pub async fn reason(&self, resolver: &Resolver, entry: &Entry, deadline: Instant) -> Option<Box<str>> {
        let name = entry.name_in(&self.zone)?;
        let answer = timeout_at(deadline, resolver.text(&name)).await.ok()?.ok()?;
        answer.records.into_iter().map(|text| text.0).find(|text| !text.trim().is_empty())
    }

    /// RFC 5782 §5: a list of addresses has 127.0.0.2 and never 127.0.0.1. Of domains it is `TEST` and `INVALID`; many lack
    /// the former.
    async fn is_sound(&self, resolver: &Resolver) -> Result<(), EvidenceError> {
        let known = self.state().sound.filter(|(until, _)| Instant::now() < *until);
        let sound = match known {
            Some((_, sound)) => sound,
            None => {
                let sound = self.examine(resolver).await?;
                let lasts = if sound.is_ok() { SOUND_FOR } else { UNSOUND_FOR };
                self.state().sound = Some((Instant::now() + lasts, sound));
                sound
            }
        };
        sound.map_err(|why| EvidenceError::ListUnsound { zone: self.zone.as_str().into(), why })
    }

    async fn examine(&self, resolver: &Resolver) -> Result<Result<(), &'static str>, EvidenceError> {
        let local = |last| Entry::Address(IpAddr::from([127, 0, 0, last]));
        let invalid = "invalid".parse().map(Entry::Domain);
        Ok(match (self.about, invalid) {
            (About::Addresses, _) => {
                if self.raw(resolver, &local(1)).await?.is_some() {
                    Err("it lists 127.0.0.1, and so everybody")
                } else if self.raw(resolver, &local(2)).await?.is_none() {
                    Err("it does not list 127.0.0.2, as every list does")
                } else {
                    Ok(())
                }
            }
            (About::Domains, Ok(invalid)) if self.raw(resolver, &invalid).await?.is_some() => {
                Err("it lists the domain `invalid`, and so every domain")
            }
            (About::Domains, _) => Ok(()),
        })
    }

    async fn ask(&self, resolver: &Resolver, entry: &Entry) -> Result<Option<Vec<Ipv4Addr>>, EvidenceError> {
        let Some(codes) = self.raw(resolver, entry).await? else { return Ok(None) };
        match meaning::objection_to(&codes) {
            Some(why) => Err(self.failed(why)),
            None => Ok(Some(codes)),
        }
    }

    async fn raw(&self, resolver: &Resolver, entry: &Entry) -> Result<Option<Vec<Ipv4Addr>>, EvidenceError> {
        let Some(name) = entry.name_in(&self.zone) else { return Ok(None) };
        match resolver.ipv4(&name).await {
            Ok(answer) => Ok(Some(answer.records)),
            Err(DnsError::NoSuchDomain { .. } | DnsError::NoRecords { .. } | DnsError::NotAName) => Ok(None),
            Err(error) => Err(self.failed(error.to_string())),
        }
    }

    fn failed(&self, why: impl Into<Box<str>>) -> EvidenceError {
        EvidenceError::ListFailed { zone: self.zone.as_str().into(), why: why.into() }
    }

    /// Nothing panics while it holds the lock.
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for List {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("List").field("zone", &self.zone).field("about", &self.about).finish_non_exhaustive()
    }
}
