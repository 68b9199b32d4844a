//! `judge.allow` and `judge.block`: whose mail passes, and whose does not.

use std::net::IpAddr;

use ipnet::IpNet;
use smtp::ReversePath;

use super::findings::Findings;

/// A list of addresses, domains and networks.
#[derive(Clone, Debug, Default)]
pub(crate) struct Peers {
    networks: Vec<IpNet>,
    /// In lower case.
    addresses: Vec<String>,
    /// In lower case; names below them are meant, too.
    domains: Vec<String>,
}

impl Peers {
    /// As the config writes them, checked.
    pub(crate) fn new(entries: &[String]) -> Self {
        let mut peers = Self::default();
        for entry in entries {
            let entry = entry.to_lowercase();
            if let Ok(network) = entry.parse::<IpNet>() {
                peers.networks.push(network);
            } else if let Ok(address) = entry.parse::<IpAddr>() {
                peers.networks.push(address.into());
            } else if entry.contains('@') {
                peers.addresses.push(entry);
            } else {
                peers.domains.push(entry);
            }
        }
        peers
    }

    /// Whom a client or a sender is one of, by their own word.
    pub(crate) fn names(&self, client: IpAddr, sender: &ReversePath, author: &str) -> Option<String> {
        self.network_of(client).or_else(|| self.sender(sender.as_str())).or_else(|| self.sender(author))
    }

    /// The same, where it is proven that it is them: anybody can write an address.
    pub(super) fn proves(
        &self,
        client: IpAddr,
        (sender, author): (&ReversePath, &str),
        findings: Option<&Findings>,
    ) -> Option<String> {
        let by_network = self.network_of(client);
        let findings = findings.filter(|_| by_network.is_none());
        let by_sender = findings.and_then(|findings| {
            let claimed = [sender.as_str(), author].into_iter();
            let mut claimed = claimed.filter(|address| is_proven(address, Some(findings)));
            claimed.find_map(|address| self.sender(address))
        });
        by_network.or(by_sender)
    }

    /// Whether a client comes from one of the networks.
    pub(crate) fn has_network_of(&self, client: IpAddr) -> bool {
        self.network_of(client).is_some()
    }

    /// The network that a client comes from.
    pub(crate) fn network_of(&self, client: IpAddr) -> Option<String> {
        let client = client.to_canonical();
        let mut networks = self.networks.iter();
        networks.find(|network| network.contains(&client)).map(ToString::to_string)
    }

    fn sender(&self, address: &str) -> Option<String> {
        let address = address.to_lowercase();
        if self.addresses.contains(&address) {
            return Some(address);
        }
        let (_, domain) = address.rsplit_once('@')?;
        let below = |listed: &&String| {
            domain.strip_suffix(listed.as_str()).is_some_and(|rest| rest.is_empty() || rest.ends_with('.'))
        };
        self.domains.iter().find(below).cloned()
    }
}

/// Whether the domain of an address is proven to have sent it.
pub(super) fn is_proven(address: &str, findings: Option<&Findings>) -> bool {
    let domain = address.rsplit_once('@').map_or("", |(_, domain)| domain).to_lowercase();
    let mut proven = findings.into_iter().flat_map(Findings::authenticated_domains);
    !domain.is_empty() && proven.any(|known| known.eq_ignore_ascii_case(&domain))
}

#[cfg(test)]
mod tests {
    use evidence::Verdict;

    use super::*;

    fn path(address: &str) -> ReversePath {
        ReversePath::Mailbox(address.parse().unwrap())
    }

    #[test]
    fn an_allowed_sender_must_be_proven_and_a_blocked_one_need_not() {
        let peers = Peers::new(&["Friend.example".into(), "boss@x.example".into(), "192.0.2.0/24".into()]);
        let (client, sender) = ("198.51.100.1".parse().unwrap(), path("a@mail.friend.example"));
        assert_eq!(peers.names(client, &sender, ""), Some("friend.example".into()));
        assert_eq!(peers.proves(client, (&sender, ""), None), None);
        let findings = Findings::by_spf;
        let pass = findings(Verdict::Pass, "mail.friend.example");
        assert_eq!(peers.proves(client, (&sender, ""), Some(&pass)), Some("friend.example".into()));
        let fail = findings(Verdict::Fail, "mail.friend.example");
        assert_eq!(peers.proves(client, (&sender, ""), Some(&fail)), None);
        assert_eq!(peers.proves(client, (&path("a@other.example"), "boss@x.example"), Some(&pass)), None);
        let inside = "192.0.2.7".parse().unwrap();
        assert_eq!(peers.proves(inside, (&ReversePath::Null, ""), None), Some("192.0.2.0/24".into()));
        assert_eq!(peers.names(client, &path("a@notfriend.example"), ""), None);
    }
}
