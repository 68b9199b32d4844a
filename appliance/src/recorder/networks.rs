//! Who came without forward secrecy (law 5): networks of clients whose sessions were in plain text or whose handshake
//! failed. An administrator who wants to refuse plain text sees here who would be hit.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::time::Duration;

use record::{Event, TlsOutcome};

use crate::report::NetworkCount;

/// Networks kept; a scan of the whole Internet must not fill memory.
const MAX_NETWORKS: usize = 2000;
/// What is kept of a name or a reason.
const MAX_TEXT: usize = 200;

/// The networks.
#[derive(Debug, Default)]
pub struct WithoutTls {
    networks: HashMap<IpAddr, NetworkCount>,
}

impl WithoutTls {
    pub(super) fn add(&mut self, event: &Event, now: Duration) {
        let Event::Session(session) = event else { return };
        let (plain, failed, reason) = match &session.tls {
            TlsOutcome::Established { .. } => return,
            // A scanner that leaves without a mail says nothing about mail.
            TlsOutcome::Plain if session.transactions == 0 => return,
            TlsOutcome::Plain => (1, 0, ""),
            TlsOutcome::Failed(reason) => (0, 1, &**reason),
        };
        let (address, name) = network(session.client.ip());
        if !self.networks.contains_key(&address) && self.networks.len() == MAX_NETWORKS {
            self.forget_oldest();
        }
        let entry = self.networks.entry(address).or_insert_with(|| NetworkCount {
            network: name,
            helo: String::new(),
            plain: 0,
            failed: 0,
            last: 0,
            reason: String::new(),
        });
        entry.plain += plain;
        entry.failed += failed;
        entry.last = now.as_secs();
        entry.helo = session.helo.chars().take(MAX_TEXT).collect();
        if !reason.is_empty() {
            entry.reason = reason.chars().take(MAX_TEXT).collect();
        }
    }

    /// A tenth at once, so that a flood of new networks does not search all of them each time.
    fn forget_oldest(&mut self) {
        let mut times: Vec<u64> = self.networks.values().map(|network| network.last).collect();
        times.sort_unstable();
        let limit = times.get(MAX_NETWORKS / 10).copied().unwrap_or_default();
        self.networks.retain(|_, network| network.last > limit);
    }

    /// The networks with most such sessions.
    pub fn top(&self, count: usize) -> Vec<NetworkCount> {
        let mut networks: Vec<&NetworkCount> = self.networks.values().collect();
        networks.sort_by_key(|network| std::cmp::Reverse((network.plain + network.failed, network.last)));
        networks.into_iter().take(count).cloned().collect()
    }
}

/// The /24 or /48 around an address, as its first address and as text.
pub(super) fn network(address: IpAddr) -> (IpAddr, String) {
    match address.to_canonical() {
        IpAddr::V4(address) => {
            let [a, b, c, _] = address.octets();
            let first = Ipv4Addr::new(a, b, c, 0);
            (first.into(), format!("{first}/24"))
        }
        IpAddr::V6(address) => {
            let [a, b, c, ..] = address.segments();
            let first = Ipv6Addr::new(a, b, c, 0, 0, 0, 0, 0);
            (first.into(), format!("{first}/48"))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::recorder::samples;

    #[test]
    fn clients_without_tls_are_named_by_network() {
        let mut without = WithoutTls::default();
        for (address, tls) in [
            ("192.0.2.7:1", TlsOutcome::Plain),
            ("[::ffff:192.0.2.9]:1", TlsOutcome::Failed("no shared suite".into())),
            ("[2001:db8:5:6::1]:1", TlsOutcome::Plain),
            ("203.0.113.1:1", samples::tls("mx1.example.net")),
        ] {
            let mut session = samples::session(tls);
            session.client = address.parse().unwrap();
            without.add(&Event::Session(Box::new(session)), Duration::from_secs(5));
        }
        let top = without.top(9);
        assert_eq!(top.len(), 2);
        assert_eq!((top[0].network.as_str(), top[0].plain, top[0].failed), ("192.0.2.0/24", 1, 1));
        assert_eq!(top[0].reason, "no shared suite");
        assert_eq!(top[1].network, "2001:db8:5::/48");
    }

    #[test]
    fn a_scan_of_everything_stays_within_the_bound() {
        let mut without = WithoutTls::default();
        for number in 0..3000_u32 {
            let mut session = samples::session(TlsOutcome::Plain);
            session.client = (Ipv4Addr::from(number << 8), 25).into();
            without.add(&Event::Session(Box::new(session)), Duration::from_secs(number.into()));
        }
        assert!(without.networks.len() <= MAX_NETWORKS);
        assert!(without.top(5000).iter().any(|network| network.last == 2999));
    }
}
