//! Hidden servers that verify by themselves: they shake hands with what stands in for the far side, dislike its
//! certificate and leave, again and again (DECISIONS 18). Nothing else looks like that: a clean handshake, or an alert in
//! it, and never a MAIL.

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::time::{Duration, Instant};

/// So often in a row before it counts; a sender may be restarted once or twice at a bad moment.
const STRIKES: u32 = 3;
/// For so long after the last one. A server that was set right is noticed by its first MAIL, or after this.
const LASTS: Duration = Duration::from_secs(24 * 3600);
/// Pairs that are remembered: inside servers times the world's. The oldest go first.
const REMEMBERED: usize = 4096;

/// What becomes of the connections of such a server.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum OnInnerVerification {
    /// They go on as they are: the server keeps its mail and tries again. Its administrator is told.
    #[default]
    Defer,
    /// They are passed through unread until a day after the last attempt.
    Splice,
}

/// How a handshake with a hidden server turned out, seen from the end of its session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It went on to send mail.
    Content,
    /// It left.
    Left,
}

/// A hidden server that verifies, and whom.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Verifying {
    /// The hidden server.
    pub server: IpAddr,
    /// The far side that it was on its way to.
    pub destination: SocketAddr,
    /// How often it left in a row.
    pub times: u32,
}

/// Who verifies by itself.
#[derive(Debug, Default)]
pub struct InnerVerification {
    what_to_do: OnInnerVerification,
    /// One memory for all that came of each other: sessions that began before a reload note in it too.
    strikes: Arc<Mutex<HashMap<(IpAddr, SocketAddr), Strikes>>>,
}

#[derive(Clone, Copy, Debug)]
struct Strikes {
    times: u32,
    last: Instant,
}

impl InnerVerification {
    /// Nobody does yet.
    pub fn new(what_to_do: OnInnerVerification) -> Self {
        Self { what_to_do, strikes: Arc::default() }
    }

    /// The same knowledge, of which something else is made: after a reload.
    pub fn with(&self, what_to_do: OnInnerVerification) -> Self {
        Self { what_to_do, strikes: Arc::clone(&self.strikes) }
    }

    /// A session of `server`'s with a certificate like that of `destination` is over.
    pub fn note(&self, server: IpAddr, destination: SocketAddr, verdict: Verdict, now: Instant) {
        let mut strikes = self.strikes();
        let key = (server, destination);
        if verdict == Verdict::Content {
            strikes.remove(&key);
            return;
        }
        make_room(&mut strikes, now);
        let entry = strikes.entry(key).or_insert(Strikes { times: 0, last: now });
        entry.times = entry.times.saturating_add(1);
        entry.last = now;
        if entry.times == STRIKES {
            tracing::warn!(
                %server, %destination, on_inner_verification = ?self.what_to_do,
                "a hidden server refuses the certificate that stands in for the far side's: let it trust Postern's CA, set \
                 its TLS towards the world to opportunistic, or let it send through Postern as its smarthost"
            );
        }
    }

    /// Whether a connection is to be passed through unread.
    pub fn is_spliced(&self, server: IpAddr, destination: SocketAddr, now: Instant) -> bool {
        let verifies = |strikes: &Strikes| strikes.times >= STRIKES && now - strikes.last < LASTS;
        self.what_to_do == OnInnerVerification::Splice
            && self.strikes().get(&(server, destination)).is_some_and(verifies)
    }

    /// Who verifies now.
    pub fn verifying(&self, now: Instant) -> Vec<Verifying> {
        let strikes = self.strikes();
        let current = strikes.iter().filter(|(_, s)| s.times >= STRIKES && now - s.last < LASTS);
        current
            .map(|(&(server, destination), strikes)| Verifying { server, destination, times: strikes.times })
            .collect()
    }

    /// Nothing panics while it holds the lock; if it did, every entry is still whole.
    fn strikes(&self) -> MutexGuard<'_, HashMap<(IpAddr, SocketAddr), Strikes>> {
        self.strikes.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn make_room(strikes: &mut HashMap<(IpAddr, SocketAddr), Strikes>, now: Instant) {
    if strikes.len() < REMEMBERED {
        return;
    }
    strikes.retain(|_, strikes| now - strikes.last < LASTS);
    if strikes.len() >= REMEMBERED
        && let Some(oldest) = strikes.iter().min_by_key(|(_, strikes)| strikes.last).map(|(key, _)| *key)
    {
        strikes.remove(&oldest);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_server_that_leaves_after_each_handshake_verifies_until_it_sends_mail() {
        let (server, destination) = ("198.51.100.25".parse().unwrap(), "192.0.2.9:25".parse().unwrap());
        let inner = InnerVerification::new(OnInnerVerification::Splice);
        for _ in 0..STRIKES {
            assert!(!inner.is_spliced(server, destination, Instant::now()));
            inner.note(server, destination, Verdict::Left, Instant::now());
        }
        assert!(inner.is_spliced(server, destination, Instant::now()));
        assert_eq!(inner.verifying(Instant::now()), [Verifying { server, destination, times: STRIKES }]);
        assert!(!inner.is_spliced(server, "192.0.2.10:25".parse().unwrap(), Instant::now()));
        tokio::time::advance(LASTS).await;
        assert!(!inner.is_spliced(server, destination, Instant::now()), "it may have been set right");
        inner.note(server, destination, Verdict::Left, Instant::now());
        assert!(inner.is_spliced(server, destination, Instant::now()), "it was not");
        inner.note(server, destination, Verdict::Content, Instant::now());
        assert!(!inner.is_spliced(server, destination, Instant::now()));
    }

    #[tokio::test(start_paused = true)]
    async fn who_only_defers_is_named_and_never_spliced() {
        let (server, destination) = ("198.51.100.25".parse().unwrap(), "192.0.2.9:25".parse().unwrap());
        let inner = InnerVerification::default();
        (0..9).for_each(|_| inner.note(server, destination, Verdict::Left, Instant::now()));
        assert!(!inner.is_spliced(server, destination, Instant::now()));
        assert_eq!(inner.verifying(Instant::now()).len(), 1);
    }

    #[tokio::test(start_paused = true)]
    async fn a_reload_forgets_nobody_who_verifies() {
        let (server, destination) = ("198.51.100.25".parse().unwrap(), "192.0.2.9:25".parse().unwrap());
        let before = InnerVerification::new(OnInnerVerification::Defer);
        (1..STRIKES).for_each(|_| before.note(server, destination, Verdict::Left, Instant::now()));
        let after = before.with(OnInnerVerification::Splice);
        assert!(!after.is_spliced(server, destination, Instant::now()));
        // A session that began before the reload ends after it.
        before.note(server, destination, Verdict::Left, Instant::now());
        assert!(after.is_spliced(server, destination, Instant::now()));
        assert!(!after.with(OnInnerVerification::Defer).is_spliced(server, destination, Instant::now()));
        assert_eq!(after.verifying(Instant::now()).len(), 1);
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_remembered_is_bounded() {
        let inner = InnerVerification::default();
        for port in 0..u16::try_from(REMEMBERED).unwrap() + 10 {
            let destination = SocketAddr::from(([192, 0, 2, 9], port));
            inner.note([198, 51, 100, 25].into(), destination, Verdict::Left, Instant::now());
        }
        assert!(inner.strikes().len() <= REMEMBERED);
    }
}
