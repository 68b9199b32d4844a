//! Whether mail for a domain may go over a far leg: what TLS towards a server of the world must be.

use smtp::Domain;
use tls::Ladder;

use crate::mx_set::Target;

/// What TLS towards a target must be before mail goes there.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum FarPolicy {
    /// None.
    Off,
    /// With whoever it is where it is offered, else plain text (RFC 7435).
    Opportunistic,
    /// With whoever it is, never plain text.
    Encrypt,
    /// With a certificate of a trusted authority for one of these names, never plain text.
    Verify {
        /// In A-labels; the first is the one for SNI. Empty where the target has no name: then nobody can prove to be it,
        /// and nothing goes there.
        names: Vec<Domain>,
    },
}

impl FarPolicy {
    /// The step of the ladder, for a [`tls::LegPolicy`] and for records of what was demanded.
    pub fn ladder(&self) -> Ladder {
        match self {
            Self::Off => Ladder::Off,
            Self::Opportunistic => Ladder::Opportunistic,
            Self::Encrypt => Ladder::Encrypt,
            Self::Verify { .. } => Ladder::Verify,
        }
    }
}

/// Decides it, from the configuration alone. What the recipient's domain itself demands by DANE or MTA-STS will go before
/// that, DANE first (RFC 8461 §2): the place for both is [`FarPolicies::policy`], which has the domain and the target with
/// its proofs already.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct FarPolicies {
    default: Ladder,
}

impl FarPolicies {
    /// `default` holds for every domain that has no word of its own.
    pub fn new(default: Ladder) -> Self {
        Self { default }
    }

    /// What must hold before mail for `domain` goes to `target`; `domain` is `None` for an address literal. Asked per
    /// recipient's domain: two domains on one server may have two policies (DECISIONS 15).
    ///
    /// A certificate for the domain itself is as good as one for the host: it proves more, for unsigned MX records may name
    /// anyone's host.
    pub fn policy(&self, domain: Option<&Domain>, target: &Target) -> FarPolicy {
        match self.default {
            Ladder::Off => FarPolicy::Off,
            Ladder::Opportunistic => FarPolicy::Opportunistic,
            Ladder::Encrypt => FarPolicy::Encrypt,
            Ladder::Verify => {
                let mut names: Vec<Domain> = target.host.iter().chain(domain).cloned().collect();
                names.dedup();
                FarPolicy::Verify { names }
            }
        }
    }

    /// For a relay that the administrator named: he named it, so it is verified by that name (DECISIONS 17).
    pub fn relay(&self, name: &Domain) -> FarPolicy {
        FarPolicy::Verify { names: vec![name.clone()] }
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use dns::Proof;

    use super::*;

    fn name(text: &str) -> Domain {
        text.parse().unwrap()
    }

    fn target(host: Option<&str>) -> Target {
        Target {
            host: host.map(name),
            canonical: None,
            address: (Ipv4Addr::new(192, 0, 2, 1), 25).into(),
            preference: 10,
            mx_proof: Proof::Insecure,
            address_proof: Proof::Insecure,
        }
    }

    #[test]
    fn what_the_settings_say_holds_for_every_domain() {
        let domain = name("example.net");
        for (ladder, policy) in [
            (Ladder::Off, FarPolicy::Off),
            (Ladder::Opportunistic, FarPolicy::Opportunistic),
            (Ladder::Encrypt, FarPolicy::Encrypt),
        ] {
            let decided = FarPolicies::new(ladder).policy(Some(&domain), &target(Some("mx.example.net")));
            assert_eq!(decided, policy);
            assert_eq!(decided.ladder(), ladder);
        }
    }

    #[test]
    fn the_host_or_the_domain_has_to_be_proved() {
        let verify = FarPolicies::new(Ladder::Verify);
        let names = |domain: Option<&str>, host| match verify.policy(domain.map(name).as_ref(), &target(host))
        {
            FarPolicy::Verify { names } => names,
            other => panic!("{other:?}"),
        };
        assert_eq!(names(Some("example.net"), Some("mx.example")), [name("mx.example"), name("example.net")]);
        assert_eq!(names(Some("example.net"), Some("example.net")), [name("example.net")]);
        assert_eq!(names(None, None), []);
    }

    #[test]
    fn a_relay_is_verified_by_name_whatever_the_default_is() {
        let relay = name("smarthost.example");
        let policy = FarPolicies::new(Ladder::Opportunistic).relay(&relay);
        assert_eq!(policy, FarPolicy::Verify { names: vec![relay] });
    }
}
