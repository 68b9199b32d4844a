//! Greylisting (RFC 6647), after the content (DECISIONS 28): who was never seen here is asked to come again, which who sends honestly does and
//! most of those who send spam do not. The message is known again by its sender and its digest, not by the address it comes from:
//! large senders come from another one.

use std::net::IpAddr;
use std::time::Duration;

use sha2::{Digest as _, Sha256};
use store::{Change, StoreError, Table};

use super::{Acquaintance, Acquaintances, Sender, time_of};

/// By sender and message: when it came first.
pub(super) const WAITING: Table = Table("greylist");
/// Who comes again later than this comes for the first time.
pub(super) const REMEMBERED: Duration = Duration::from_secs(2 * 86_400);

/// Whether a message is taken now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::engine::judging) enum Greeting {
    /// It has come again after this time, and is taken.
    CameAgain(Duration),
    /// It is to come again in this time.
    NotYet(Duration),
}

impl Acquaintance {
    /// Whether mail of the sender was taken before, or people here write to it.
    pub(in crate::engine::judging) fn is_known(&self, author: &str, is_proven: bool, now: Duration) -> bool {
        let writes = is_proven && self.correspondent.as_deref() == Some(author);
        let taken = |(_, standing): &(Sender, Option<super::Standing>)| {
            standing.is_some_and(|standing| standing.was_taken(now))
        };
        writes || self.standings.iter().any(taken)
    }
}

impl Acquaintances {
    /// Greets a sender that is not known; a store that cannot say has everybody come in.
    pub(in crate::engine::judging) async fn greet(
        &self,
        senders: &[Sender],
        reverse_path: &str,
        digest: &[u8],
        wait: Duration,
    ) -> Result<Greeting, StoreError> {
        let (key, now) = (key(senders, reverse_path, digest), self.now());
        let first = self.store.get(WAITING, &key).await?;
        let first = first.map(|value| time_of(&value)).filter(|first| *first + REMEMBERED > now);
        let Some(first) = first else {
            let value = now.as_secs().to_be_bytes();
            self.store.apply(WAITING, vec![Change::Put(key.into(), value.into())]).await?;
            return Ok(Greeting::NotYet(wait));
        };
        let waited = now.saturating_sub(first);
        Ok(match wait.checked_sub(waited) {
            Some(left) if !left.is_zero() => Greeting::NotYet(left),
            _ => Greeting::CameAgain(waited),
        })
    }
}

/// By the proven domain, or else by the network: of IPv4 the /24, from which a large sender may come again.
fn key(senders: &[Sender], reverse_path: &str, message: &[u8]) -> [u8; 32] {
    let domain = senders.iter().find(|sender| matches!(sender, Sender::Domain(_)));
    let sender = match domain.or_else(|| senders.first()) {
        Some(Sender::Network(IpAddr::V4(v4))) => {
            let [a, b, c, _] = v4.octets();
            format!("{a}.{b}.{c}").into_bytes()
        }
        Some(sender) => sender.key().into(),
        None => Vec::new(),
    };
    let mut digest = Sha256::new();
    for part in [&sender, reverse_path.as_bytes(), message] {
        digest.update((part.len() as u64).to_be_bytes());
        digest.update(part);
    }
    digest.finalize().into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_is_known_again_from_the_same_domain_or_network_and_no_other() {
        let network = |text: &str| vec![Sender::Network(text.parse().unwrap())];
        let domain = |client: &str, name: &str| {
            vec![Sender::Network(client.parse().unwrap()), Sender::Domain(name.into())]
        };
        let of = |senders: &[Sender]| key(senders, "a@x.test", b"message");
        assert_eq!(of(&network("192.0.2.1")), of(&network("192.0.2.200")));
        assert_ne!(of(&network("192.0.2.1")), of(&network("192.0.3.1")));
        assert_eq!(of(&network("2001:db8::1")), of(&network("2001:db8::2")));
        assert_eq!(of(&domain("192.0.2.1", "x.test")), of(&domain("198.51.100.1", "x.test")));
        assert_ne!(of(&domain("192.0.2.1", "x.test")), of(&domain("192.0.2.1", "y.test")));
        assert_ne!(of(&network("192.0.2.1")), key(&network("192.0.2.1"), "a@x.test", b"another"));
    }
}
