//! The MTA-STS policies of the domains here (RFC 8461), as they are hosted: which hosts take their mail, and how strictly senders
//! are to insist on it.

use sha2::{Digest as _, Sha256};

use crate::config::{Backend, Config, HostedMode, Mode};

/// How long senders keep a policy that is still being tried out; a mistake is forgotten after a day.
const TRYING: u32 = 24 * 3600;
/// How long they keep one that is meant (RFC 8461 §3.2 wants weeks).
const MEANT: u32 = 30 * 24 * 3600;

/// A policy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct HostedPolicy {
    mode: HostedMode,
    hosts: Vec<String>,
}

/// The policy of a backend's domains; `None` where there is none to host: in `gateway` and `bridge` the policy host, like the MX
/// host, is the hidden server's own.
pub(crate) fn hosted(config: &Config, backend: &Backend) -> Option<HostedPolicy> {
    let is_hosted = config.network.mode == Mode::Front && backend.mta_sts != HostedMode::Off;
    let hosts = || vec![config.hostname.as_str().to_lowercase()];
    is_hosted.then(|| HostedPolicy { mode: backend.mta_sts, hosts: hosts() })
}

impl HostedPolicy {
    /// The file at `https://mta-sts.DOMAIN/.well-known/mta-sts.txt` (§3.2).
    pub(crate) fn text(&self) -> String {
        let (mode, max_age) = match self.mode {
            HostedMode::Testing | HostedMode::Off => ("testing", TRYING),
            HostedMode::Enforce => ("enforce", MEANT),
            HostedMode::None => ("none", TRYING),
        };
        let mut text = format!("version: STSv1\r\nmode: {mode}\r\n");
        for host in self.hosts.iter().filter(|_| self.mode != HostedMode::None) {
            text.push_str(&format!("mx: {host}\r\n"));
        }
        text.push_str(&format!("max_age: {max_age}\r\n"));
        text
    }

    /// Changes with the policy and with nothing else (§3.1): letters and digits, at most 32.
    pub(crate) fn id(&self) -> String {
        Sha256::digest(self.text()).iter().take(8).map(|octet| format!("{octet:02x}")).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_policy_has_its_lines_and_an_id_that_follows_them() {
        let policy = |mode| HostedPolicy { mode, hosts: vec!["mx1.example.net".into()] };
        let testing = policy(HostedMode::Testing);
        assert_eq!(
            testing.text(),
            "version: STSv1\r\nmode: testing\r\nmx: mx1.example.net\r\nmax_age: 86400\r\n"
        );
        assert_eq!(testing.id(), policy(HostedMode::Testing).id());
        assert_ne!(testing.id(), policy(HostedMode::Enforce).id());
        assert!(testing.id().len() <= 32 && testing.id().bytes().all(|octet| octet.is_ascii_alphanumeric()));
        assert_eq!(policy(HostedMode::None).text(), "version: STSv1\r\nmode: none\r\nmax_age: 86400\r\n");
    }
}
