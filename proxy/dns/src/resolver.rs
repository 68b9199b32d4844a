//! The resolver: one lookup at a time within its budget, what is remembered first.

use std::fmt;
use std::net::{Ipv4Addr, Ipv6Addr};
use std::time::Duration;

use hickory_resolver::TokioResolver;
use hickory_resolver::proto::rr::{Name, RecordType};
use smtp::Domain;
use tokio::sync::Semaphore;
use tokio::time::{Instant, timeout_at};

use crate::answer::{Addresses, Answer, Mx, Pointer, Proof, Text, Tlsa};
use crate::cache::Cache;
use crate::error::{DnsError, SettingsError};
use crate::reading::{self, Kind, Outcome, Way};
use crate::settings::{Settings, Trust};

/// How many lookups are under way at most; the others wait, within their own time. Each takes sockets and memory, and a
/// client may name a new domain with every RCPT.
pub const LOOKUPS_AT_ONCE: usize = 256;
/// What one cached outcome takes beside its records.
const OUTCOME: usize = 128;

type Remembered<T> = Cache<Result<Answer<T>, DnsError>>;

/// Asks the DNS. One for the whole program, shared by reference.
pub struct Resolver {
    hickory: TokioResolver,
    validating: bool,
    timeout: Duration,
    under_way: Semaphore,
    mx: Remembered<Mx>,
    v4: Remembered<Ipv4Addr>,
    v6: Remembered<Ipv6Addr>,
    tlsa: Remembered<Tlsa>,
    text: Remembered<Text>,
    pointers: Remembered<Pointer>,
}

impl Resolver {
    /// Nothing is asked yet.
    ///
    /// # Errors
    ///
    /// The trust anchor or the system's list of servers cannot be read.
    pub fn new(settings: &Settings) -> Result<Self, SettingsError> {
        Ok(Self {
            hickory: settings.build()?,
            validating: settings.trust != Trust::Nothing,
            timeout: settings.timeout,
            under_way: Semaphore::new(LOOKUPS_AT_ONCE),
            mx: Cache::new(settings.cache),
            v4: Cache::new(settings.cache),
            v6: Cache::new(settings.cache),
            tlsa: Cache::new(settings.cache),
            text: Cache::new(settings.cache),
            pointers: Cache::new(settings.cache),
        })
    }

    /// The mail exchangers of a domain, at most [`crate::MAX_MX`].
    ///
    /// # Errors
    ///
    /// There are none, or nobody can tell; also after the time of the settings.
    pub async fn mx(&self, domain: &Domain) -> Result<Answer<Mx>, DnsError> {
        self.remembered(&self.mx, domain).await
    }

    /// The addresses of a host, at most [`crate::MAX_ADDRESSES`] of each family; both families are asked for at once.
    ///
    /// # Errors
    ///
    /// There are none in either family, or nobody can tell; also after the time of the settings.
    pub async fn addresses(&self, host: &Domain) -> Result<Addresses, DnsError> {
        let (v6, v4) = tokio::join!(self.remembered(&self.v6, host), self.remembered(&self.v4, host));
        Addresses::new(v6, v4)
    }

    /// The IPv4 addresses alone: what a DNS list answers with (RFC 5782 §2.1), at most [`crate::MAX_ADDRESSES`].
    ///
    /// # Errors
    ///
    /// There are none, or nobody can tell; also after the time of the settings.
    pub async fn ipv4(&self, name: &Domain) -> Result<Answer<Ipv4Addr>, DnsError> {
        self.remembered(&self.v4, name).await
    }

    /// Texts, at most [`crate::MAX_TEXTS`].
    ///
    /// # Errors
    ///
    /// There are none, or nobody can tell; also after the time of the settings.
    pub async fn text(&self, name: &Domain) -> Result<Answer<Text>, DnsError> {
        self.remembered(&self.text, name).await
    }

    /// The hosts that a name in a reverse zone points to, at most [`crate::MAX_POINTERS`].
    ///
    /// # Errors
    ///
    /// There are none, or nobody can tell; also after the time of the settings.
    pub async fn pointers(&self, name: &Domain) -> Result<Answer<Pointer>, DnsError> {
        self.remembered(&self.pointers, name).await
    }

    /// What certificates are published for a TCP port of a host (RFC 6698 §3), at most [`crate::MAX_TLSA`]. They mean something
    /// only with [`Proof::Secure`].
    ///
    /// # Errors
    ///
    /// There are none, or nobody can tell; also after the time of the settings.
    pub async fn tlsa(&self, host: &Domain, port: u16) -> Result<Answer<Tlsa>, DnsError> {
        let name = format!("_{port}._tcp.{host}").parse().map_err(|_| DnsError::NotAName)?;
        self.remembered(&self.tlsa, &name).await
    }

    /// What DNSSEC says of the alias (CNAME) at a name itself, whatever is known of where it leads. It is not remembered: only a
    /// host whose alias leads out of a signed zone has anybody ask.
    ///
    /// # Errors
    ///
    /// There is no alias there, or nobody can tell; also after the time of the settings.
    pub async fn alias(&self, name: &Domain) -> Result<Proof, DnsError> {
        let question = reading::question(name)?;
        let deadline = Instant::now() + self.timeout;
        let ask = async {
            let _turn = self.under_way.acquire().await;
            self.hickory.lookup(question.clone(), RecordType::CNAME).await
        };
        let lookup =
            timeout_at(deadline, ask).await.map_err(|_| DnsError::TimedOut)?.map_err(reading::failure)?;
        let way = Way::new(&question, self.validating).follow(lookup.answers())?;
        way.first_alias().ok_or(DnsError::NoRecords { proof: Proof::Indeterminate })
    }

    /// Asks for the root's SOA record, which is signed: [`Proof::Secure`] says that the servers answer, that they hand on
    /// what DNSSEC needs, and that the clock and the trust anchor are right. For `check --online` and the status page.
    ///
    /// # Errors
    ///
    /// [`DnsError::Bogus`]: they answer, but strip signatures, or the clock or the anchor is wrong; no signed domain can be
    /// resolved then. Anything else: they do not answer.
    pub async fn check(&self) -> Result<Proof, DnsError> {
        let deadline = Instant::now() + self.timeout;
        let asked = timeout_at(deadline, self.hickory.lookup(Name::root(), RecordType::SOA)).await;
        let lookup = asked.map_err(|_| DnsError::TimedOut)?.map_err(reading::failure)?;
        reading::weakest(lookup.answers(), self.validating)
    }

    /// hickory itself, for a library that has to ask by itself: mail-auth, in `evidence`. With the same servers, trust and time;
    /// without the cache and the bound on lookups, which are the caller's to set.
    pub fn hickory(&self) -> TokioResolver {
        self.hickory.clone()
    }

    async fn remembered<T: Kind>(&self, cache: &Remembered<T>, name: &Domain) -> Result<Answer<T>, DnsError> {
        if let Some((known, left)) = cache.get(name, Instant::now()) {
            return known.map(|answer| Answer { ttl: left, ..answer });
        }
        let question = reading::question(name)?;
        let deadline = Instant::now() + self.timeout;
        let Ok(outcome) = timeout_at(deadline, self.ask::<T>(&question)).await else {
            tracing::debug!(%name, kind = %T::TYPE, "the name servers do not answer in time");
            return Err(DnsError::TimedOut);
        };
        let octets =
            outcome.result.iter().flat_map(|answer| &answer.records).map(Kind::octets).sum::<usize>();
        cache.put(name, outcome.result.clone(), OUTCOME + octets, Instant::now() + outcome.ttl);
        if let Err(error) = &outcome.result {
            tracing::debug!(%name, kind = %T::TYPE, %error, "lookup failed");
        }
        outcome.result
    }

    async fn ask<T: Kind>(&self, question: &Name) -> Outcome<T> {
        // It is never closed; were it, nothing would be limited.
        let _turn = self.under_way.acquire().await;
        let outcome = self.ask_for(Way::new(question, self.validating)).await;
        if let Err(DnsError::Bogus) = outcome.result
            && let Some(outcome) = self.ask_alias_by_alias(question).await
        {
            return outcome;
        }
        outcome
    }

    async fn ask_for<T: Kind>(&self, way: Way) -> Outcome<T> {
        let brought = self.hickory.lookup(way.end().clone(), T::TYPE).await;
        reading::outcome(way, brought.as_ref().map(|lookup| lookup.message()).map_err(Clone::clone))
    }

    /// Where an alias leads to a denial, the server sends both at once; hickory 0.26.3 holds the denial against the alias and
    /// calls it bogus. Asked for one by one each is validated by itself, and what is bogus in truth stays so. `None`: there is
    /// no alias that could be the reason.
    async fn ask_alias_by_alias<T: Kind>(&self, question: &Name) -> Option<Outcome<T>> {
        let mut way = Way::new(question, self.validating);
        loop {
            let Ok(lookup) = self.hickory.lookup(way.end().clone(), RecordType::CNAME).await else { break };
            let met = way.aliases();
            match way.follow(lookup.answers()) {
                Ok(further) => way = further,
                Err(error) => return Some(Outcome::failed(error)),
            }
            if way.aliases() == met {
                break;
            }
        }
        if way.aliases() == 0 {
            return None;
        }
        Some(self.ask_for(way).await)
    }
}

impl fmt::Debug for Resolver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Resolver")
            .field("validating", &self.validating)
            .field("timeout", &self.timeout)
            .finish_non_exhaustive()
    }
}
