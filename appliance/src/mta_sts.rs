//! The MTA-STS policies of the domains here (RFC 8461), as they are hosted: which hosts take their mail, how strictly senders are
//! to insist on it, and how a domain gets from one mode to another (DECISIONS 27).

pub(crate) mod experience;

use std::time::Duration;

use route::{StsMode, StsPolicy};
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use smtp::Domain;

use crate::config::{Backend, Config, HostedMode, Mode};

/// How long senders keep a policy that is still being tried out; a mistake is forgotten after a day.
const TRYING: Duration = Duration::from_secs(24 * 3600);
/// How long they keep one that is meant (RFC 8461 §3.2 wants weeks).
const MEANT: Duration = Duration::from_secs(30 * 24 * 3600);

/// The policy of a backend's domains while nothing is known but the config; `None` where there is none to host: in `gateway` and
/// `bridge` the policy host, like the MX host, is the hidden server's own.
pub(crate) fn hosted(config: &Config, backend: &Backend) -> Option<StsPolicy> {
    let mode = match wanted(config, backend) {
        Wanted::Nothing => return None,
        Wanted::As(mode) => mode,
        Wanted::Moving => StsMode::Testing,
    };
    Some(policy(mode, std::slice::from_ref(&config.hostname)))
}

/// What the config wants of a domain's policy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Wanted {
    /// No policy.
    Nothing,
    /// One in this mode.
    As(StsMode),
    /// `testing`, and `enforce` once reports have shown that nothing would be lost by it.
    Moving,
}

/// What the config wants.
pub(crate) fn wanted(config: &Config, backend: &Backend) -> Wanted {
    match backend.mta_sts {
        _ if config.network.mode != Mode::Front => Wanted::Nothing,
        HostedMode::Auto => Wanted::Moving,
        HostedMode::Off => Wanted::Nothing,
        HostedMode::Testing => Wanted::As(StsMode::Testing),
        HostedMode::Enforce => Wanted::As(StsMode::Enforce),
        HostedMode::None => Wanted::As(StsMode::None),
    }
}

/// With these hosts, all of the domain's MX records (§3.2).
pub(crate) fn policy(mode: StsMode, hosts: &[Domain]) -> StsPolicy {
    let mx = match mode {
        StsMode::None => Vec::new(),
        StsMode::Enforce | StsMode::Testing => hosts.iter().map(|host| lower(host).into()).collect(),
    };
    StsPolicy { mode, max_age: if mode == StsMode::Enforce { MEANT } else { TRYING }, mx }
}

fn lower(host: &Domain) -> Domain {
    host.as_str().to_lowercase().parse().unwrap_or_else(|_| host.clone())
}

/// Changes with the policy and with nothing else (§3.1): letters and digits, at most 32.
pub(crate) fn id(policy: &StsPolicy) -> String {
    Sha256::digest(policy.to_string()).iter().take(8).map(|octet| format!("{octet:02x}")).collect()
}

/// What a domain was last given.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Given {
    /// The file; empty if none.
    file: String,
    /// Until when some sender may hold a policy of mode `enforce`, in seconds since 1970.
    enforced_until: u64,
    /// Since when it is enforced because reports have shown that it can be, in seconds since 1970. It does not go back by itself:
    /// whoever stands in the way of reporters could have it so, and then read the mail.
    #[serde(default)]
    shown: Option<u64>,
}

impl Given {
    /// What is given now. A domain whose policy is meant does not just lose it: senders would go on to insist on what they know.
    /// It is told to forget first, for as long as anybody may remember (§2.2, §8.3).
    pub(crate) fn next(
        &self,
        wanted: Wanted,
        is_shown: bool,
        hosts: &[Domain],
        now: u64,
    ) -> (Option<StsPolicy>, Self) {
        let shown = match wanted {
            Wanted::Moving => self.shown.or_else(|| is_shown.then_some(now)),
            // Who takes it into his own hands begins anew when he lets go of it.
            Wanted::As(_) | Wanted::Nothing => None,
        };
        let mode = match wanted {
            Wanted::Nothing => (now < self.enforced_until).then_some(StsMode::None),
            Wanted::As(mode) => Some(mode),
            Wanted::Moving if shown.is_some() => Some(StsMode::Enforce),
            Wanted::Moving => Some(StsMode::Testing),
        };
        let policy = mode.map(|mode| policy(mode, hosts));
        let file = policy.as_ref().map(ToString::to_string).unwrap_or_default();
        let needed = now + MEANT.as_secs();
        let enforced_until = match mode {
            // A day more than is needed, so that it is not written at each look.
            Some(StsMode::Enforce) if self.enforced_until < needed => needed + TRYING.as_secs(),
            _ => self.enforced_until,
        };
        (policy, Self { file, enforced_until, shown })
    }

    /// Whether it waits for reports to move to `enforce`.
    pub(crate) fn waits(&self, wanted: Wanted) -> bool {
        wanted == Wanted::Moving && self.shown.is_none()
    }

    /// Since when it is enforced because reports have shown that it can be, in seconds since 1970.
    pub(crate) fn shown(&self) -> Option<u64> {
        self.shown
    }

    /// The policy that was given last, if it can still be read.
    pub(crate) fn policy(&self) -> Option<StsPolicy> {
        self.file.parse().ok()
    }
}

/// How the file of another policy host differs from the one that should be there, in words; `None`: it does not.
pub(crate) fn difference(found: &StsPolicy, wanted: &StsPolicy) -> Option<String> {
    if found.mode != wanted.mode {
        return Some(format!("its mode is {}, not {}", found.mode.name(), wanted.mode.name()));
    }
    let missing: Vec<_> =
        wanted.mx.iter().filter(|host| !found.mx.contains(host)).map(ToString::to_string).collect();
    (!missing.is_empty()).then(|| format!("it does not name {}", missing.join(", ")))
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: u64 = 1_795_288_205;
    const DAY: u64 = 24 * 3600;

    fn hosts() -> Vec<Domain> {
        vec!["MX1.example.net".parse().unwrap()]
    }

    #[test]
    fn a_policy_has_its_lines_and_an_id_that_follows_them() {
        let testing = policy(StsMode::Testing, &hosts());
        assert_eq!(
            testing.to_string(),
            "version: STSv1\r\nmode: testing\r\nmx: mx1.example.net\r\nmax_age: 86400\r\n"
        );
        assert_ne!(id(&testing), id(&policy(StsMode::Enforce, &hosts())));
        assert!(id(&testing).len() <= 32 && id(&testing).bytes().all(|octet| octet.is_ascii_alphanumeric()));
        let none = policy(StsMode::None, &hosts());
        assert_eq!(none.to_string(), "version: STSv1\r\nmode: none\r\nmax_age: 86400\r\n");
    }

    #[test]
    fn a_domain_leaves_by_none_for_as_long_as_a_sender_may_remember() {
        let enforce = Wanted::As(StsMode::Enforce);
        let (policy, given) = Given::default().next(enforce, false, &hosts(), NOW);
        assert_eq!(policy.map(|policy| policy.mode), Some(StsMode::Enforce));
        let (policy, same) = given.next(enforce, false, &hosts(), NOW + 3600);
        assert!(policy.is_some() && same == given, "nothing is to be written");
        let (policy, left) = same.next(Wanted::Nothing, false, &hosts(), NOW + DAY);
        assert_eq!(policy.map(|policy| policy.mode), Some(StsMode::None));
        let (policy, left) = left.next(Wanted::Nothing, false, &hosts(), NOW + 30 * DAY);
        assert_eq!(policy.map(|policy| policy.mode), Some(StsMode::None));
        let (policy, left) = left.next(Wanted::Nothing, false, &hosts(), NOW + 31 * DAY);
        assert_eq!(policy, None);
        assert_eq!(left.policy(), None);
    }

    #[test]
    fn what_was_only_tried_goes_at_once() {
        let testing = Wanted::As(StsMode::Testing);
        let (_, given) = Given::default().next(testing, false, &hosts(), NOW);
        assert_eq!(given.policy(), Some(policy(StsMode::Testing, &hosts())));
        assert_eq!(given.next(Wanted::Nothing, false, &hosts(), NOW).0, None);
    }

    #[test]
    fn what_reports_have_shown_is_enforced_until_a_person_says_otherwise() {
        let mode = |policy: Option<StsPolicy>| policy.map(|policy| policy.mode);
        let (first, given) = Given::default().next(Wanted::Moving, false, &hosts(), NOW);
        assert_eq!(mode(first), Some(StsMode::Testing));
        assert!(given.waits(Wanted::Moving) && !given.waits(Wanted::As(StsMode::Testing)));
        let (moved, given) = given.next(Wanted::Moving, true, &hosts(), NOW + DAY);
        assert_eq!((mode(moved), given.shown()), (Some(StsMode::Enforce), Some(NOW + DAY)));
        // Reports that are gone, or bad ones, take nothing back.
        let (stays, given) = given.next(Wanted::Moving, false, &hosts(), NOW + 40 * DAY);
        assert_eq!((mode(stays), given.shown()), (Some(StsMode::Enforce), Some(NOW + DAY)));
        let (tried, given) = given.next(Wanted::As(StsMode::Testing), false, &hosts(), NOW + 41 * DAY);
        assert_eq!(mode(tried), Some(StsMode::Testing));
        assert!(given.waits(Wanted::Moving), "it begins anew");
        let (left, _) = given.next(Wanted::Nothing, false, &hosts(), NOW + 42 * DAY);
        assert_eq!(mode(left), Some(StsMode::None), "some sender may still insist on what was enforced");
    }

    #[test]
    fn what_was_given_before_modes_moved_is_read() {
        let given: Given = serde_json::from_str(r#"{"file":"","enforced_until":7}"#).unwrap();
        assert_eq!(given, Given { file: String::new(), enforced_until: 7, shown: None });
    }

    #[test]
    fn another_hosts_file_may_say_more_and_not_less() {
        let wanted = policy(StsMode::Testing, &hosts());
        let more: StsPolicy =
            "version: STSv1\nmode: testing\nmx: mx1.example.net\nmx: b.example.net\nmax_age: 604800\n"
                .parse()
                .unwrap();
        assert_eq!(difference(&more, &wanted), None);
        let other: StsPolicy =
            "version: STSv1\nmode: testing\nmx: b.example.net\nmax_age: 86400\n".parse().unwrap();
        assert_eq!(difference(&other, &wanted).unwrap(), "it does not name mx1.example.net");
        let none = policy(StsMode::None, &[]);
        assert_eq!(difference(&none, &wanted).unwrap(), "its mode is none, not testing");
    }
}
