//! Whether mail for a domain may go over a far leg: what TLS towards a server of the world must be, and on whose word.
//!
//! The order (RFC 8461 §2, DESIGN §2): an exception that the administrator made for the domain; the server's TLSA records; the
//! domain's MTA-STS policy; the configuration. What DANE refuses no MTA-STS policy rescues.

use std::collections::HashMap;
use std::fmt::Write as _;
use std::sync::Arc;

use dns::{DnsError, Proof};
use record::{PublishedPolicy, TlsFailure};
use smtp::Domain;
use tls::{Dane, Ladder};

use crate::mx_set::Target;
use crate::sts::{StsFinding, StsKept, StsMode};
use crate::tlsa::{TlsaFinding, TlsaRecords};

/// What TLS towards a target must be before mail goes there.
#[derive(Clone, Debug, PartialEq, Eq)]
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
    /// With a certificate that one of these TLSA records is of, never plain text.
    Dane {
        /// The TLSA base domain: the name for SNI (RFC 7672 §8.1).
        base: Domain,
        /// The records.
        dane: Arc<Dane>,
    },
    /// With a certificate of a trusted authority for this host, which the domain's MTA-STS policy names, never plain text.
    Sts {
        /// In A-labels.
        host: Domain,
    },
    /// Nothing goes there now.
    Never {
        /// What reports call it.
        failure: TlsFailure,
        /// In words.
        why: Box<str>,
    },
}

impl FarPolicy {
    fn of(ladder: Ladder, domain: Option<&Domain>, target: &Target) -> Self {
        match ladder {
            Ladder::Off => Self::Off,
            Ladder::Opportunistic => Self::Opportunistic,
            Ladder::Encrypt => Self::Encrypt,
            Ladder::Verify => {
                let mut names: Vec<Domain> = target.host.iter().chain(domain).cloned().collect();
                names.dedup();
                Self::Verify { names }
            }
        }
    }

    /// The step of the ladder, for a [`tls::LegPolicy`] and for records of what was demanded.
    pub fn ladder(&self) -> Ladder {
        match self {
            Self::Off => Ladder::Off,
            Self::Opportunistic => Ladder::Opportunistic,
            Self::Encrypt => Ladder::Encrypt,
            Self::Verify { .. } | Self::Dane { .. } | Self::Sts { .. } | Self::Never { .. } => Ladder::Verify,
        }
    }

    /// The word for it.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Dane { .. } => "dane",
            Self::Sts { .. } => "mta-sts",
            Self::Never { .. } => "never",
            other => other.ladder().name(),
        }
    }
}

/// What holds for a domain whatever it publishes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exception {
    /// This step.
    Ladder(Ladder),
    /// TLSA records, which it must have.
    Dane,
}

/// A published policy under which attempts are reported (RFC 8460 §4.4).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reported {
    /// The recipient's domain, or for TLSA records their base domain.
    pub domain: Box<str>,
    /// What was published.
    pub policy: PublishedPolicy,
    /// What is wrong before any server is met.
    pub failure: Option<(TlsFailure, Box<str>)>,
    /// The host whose certificate has to be valid, where another policy than this one decides whether mail goes there.
    pub host: Option<Domain>,
}

/// What must hold of TLS with a target, and on whose word.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Demanded {
    /// What must hold.
    pub policy: FarPolicy,
    /// What holds for mail for which its recipients' domains have no say (RFC 8689 §5): the administrator's word.
    pub configured: FarPolicy,
    /// Which policy that is and where it came from, in words.
    pub words: Box<str>,
    /// That the target is one of the domain's servers is proved, by DNSSEC or by MTA-STS: a certificate for its name proves as
    /// much as REQUIRETLS asks for (RFC 8689 §4.2.1).
    pub is_vouched_for: bool,
    /// Under what attempts are reported: one for each policy of the domain.
    pub reported: Vec<Reported>,
}

/// Decides it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FarPolicies {
    /// For every domain that has no word of its own.
    pub default: Ladder,
    /// Whether TLSA records are looked for.
    pub dane: bool,
    /// Whether MTA-STS policies are looked for.
    pub mta_sts: bool,
    /// Domains for which the administrator decided.
    pub exceptions: HashMap<Domain, Exception>,
}

impl FarPolicies {
    /// The configuration alone: neither DANE nor MTA-STS.
    pub fn new(default: Ladder) -> Self {
        Self { default, ..Self::default() }
    }

    pub(crate) fn asks_for_tlsa(&self, domain: &Domain) -> bool {
        match self.exceptions.get(domain) {
            Some(Exception::Ladder(_)) => false,
            Some(Exception::Dane) => true,
            None => self.dane,
        }
    }

    pub(crate) fn asks_for_sts(&self, domain: &Domain) -> bool {
        self.mta_sts && !self.exceptions.contains_key(domain)
    }

    /// What must hold before mail for `domain` goes to `target`; `domain` is `None` for an address literal. Asked per
    /// recipient's domain: two domains on one server may have two policies (DECISIONS 15).
    ///
    /// Where `verify` is configured, a certificate for the domain itself is as good as one for the host: it proves more, for
    /// unsigned MX records may name anyone's host.
    pub(crate) fn policy(
        &self,
        domain: Option<&Domain>,
        target: &Target,
        tlsa: &TlsaFinding,
        sts: &StsFinding,
    ) -> Demanded {
        let exception = domain.and_then(|domain| self.exceptions.get(domain)).copied();
        let mut decision = Decision::new(self.default, domain, target);
        match (exception, tlsa) {
            (Some(Exception::Ladder(ladder)), _) => {
                decision.say(format_args!("configured for this domain: {}", ladder.name()));
                decision.policy = FarPolicy::of(ladder, domain, target);
            }
            (_, TlsaFinding::Records(found)) => decision.by_tlsa(found, exception == Some(Exception::Dane)),
            (_, TlsaFinding::Undecided { base, error }) => decision.by_doubt(base, error),
            (Some(Exception::Dane), TlsaFinding::None(why)) => {
                let why = format!("DANE is configured for this domain, and {why}");
                decision.never(TlsFailure::DaneRequired, why);
                decision.report_none(Some(TlsFailure::DaneRequired));
            }
            (None, TlsaFinding::None(why)) => {
                if self.dane {
                    decision.say(format_args!("no DANE: {why}"));
                }
                decision.by_sts(sts);
            }
        }
        // What the administrator demands of a domain by name no message overrules.
        if exception.is_some() {
            decision.configured = decision.policy.clone();
        }
        decision.finish(sts)
    }

    /// For a relay that the administrator named: he named it, so it is verified by that name (DECISIONS 17).
    pub fn relay(&self, name: &Domain) -> FarPolicy {
        FarPolicy::Verify { names: vec![name.clone()] }
    }
}

/// A decision in the making.
struct Decision<'a> {
    default: Ladder,
    domain: Option<&'a Domain>,
    target: &'a Target,
    policy: FarPolicy,
    configured: FarPolicy,
    words: String,
    vouched: bool,
    reported: Vec<Reported>,
}

impl<'a> Decision<'a> {
    fn new(default: Ladder, domain: Option<&'a Domain>, target: &'a Target) -> Self {
        let policy = FarPolicy::of(default, domain, target);
        let vouched = target.mx_proof == Proof::Secure && target.host.is_some();
        let (configured, words, reported) = (policy.clone(), String::new(), Vec::new());
        Self { default, domain, target, policy, configured, words, vouched, reported }
    }

    fn say(&mut self, words: std::fmt::Arguments<'_>) {
        if !self.words.is_empty() {
            self.words.push_str("; ");
        }
        // Writing to a String does not fail.
        let _ = self.words.write_fmt(words);
    }

    fn never(&mut self, failure: TlsFailure, why: String) {
        self.say(format_args!("{why}"));
        self.policy = FarPolicy::Never { failure, why: why.into() };
    }

    fn by_configuration(&mut self) {
        self.say(format_args!("configured: {}", self.default.name()));
    }

    /// Nothing is published, or nothing that counts.
    fn report_none(&mut self, failure: Option<TlsFailure>) {
        let domain = match self.domain {
            Some(domain) => domain.as_str().into(),
            None => self.target.address.ip().to_string().into(),
        };
        let failure = failure.map(|failure| (failure, self.words.as_str().into()));
        self.reported.push(Reported { domain, policy: PublishedPolicy::None, failure, host: None });
    }

    fn by_tlsa(&mut self, found: &TlsaRecords, must_authenticate: bool) {
        let TlsaRecords { base, also, records, left_out, .. } = found;
        let names: Vec<&str> = [base].into_iter().chain(also).map(Domain::as_str).collect();
        let shown: Vec<Box<str>> = records.iter().map(|record| record.to_string().into()).collect();
        let (count, port) = (records.len() + left_out, self.target.address.port());
        self.say(format_args!(
            "DANE: {count} TLSA record{} of _{port}._tcp.{base}, proved by DNSSEC like the MX records",
            if count == 1 { "" } else { "s" },
        ));
        let mut failure = None;
        match Dane::new(records, &names) {
            Some(dane) => self.policy = FarPolicy::Dane { base: base.clone(), dane: Arc::new(dane) },
            None => {
                let why = "no TLSA record can be used";
                failure = Some((TlsFailure::TlsaInvalid, why.into()));
                if must_authenticate {
                    self.never(
                        TlsFailure::DaneRequired,
                        format!("DANE is configured for this domain, and {why}"),
                    );
                } else {
                    self.say(format_args!("{why}: encrypted with whoever it is"));
                    // RFC 7672 §2.2; what is configured may be stricter.
                    if self.default != Ladder::Verify {
                        self.policy = FarPolicy::Encrypt;
                    }
                }
            }
        }
        let (domain, policy) = (base.as_str().into(), PublishedPolicy::Tlsa(shown.into()));
        self.reported.push(Reported { domain, policy, failure, host: None });
    }

    /// Mail waits: a forger who cannot forge a denial can still make the question fail.
    fn by_doubt(&mut self, base: &Domain, error: &DnsError) {
        let port = self.target.address.port();
        let why = format!("whether _{port}._tcp.{base} has TLSA records cannot be told: {error}");
        self.never(TlsFailure::DnssecInvalid, why.clone());
        let (domain, policy) = (base.as_str().into(), PublishedPolicy::Tlsa([].into()));
        let failure = Some((TlsFailure::DnssecInvalid, why.into()));
        self.reported.push(Reported { domain, policy, failure, host: None });
    }

    fn by_sts(&mut self, sts: &StsFinding) {
        match (&sts.kept, &sts.trouble) {
            (Some(kept), _) => self.by_policy(kept),
            (None, Some((_, why))) => {
                self.say(format_args!("no MTA-STS policy: {why}"));
                self.by_configuration();
            }
            (None, None) => self.by_configuration(),
        }
    }

    fn by_policy(&mut self, kept: &StsKept) {
        let date = |seconds| record::rfc3339_date(std::time::Duration::from_secs(seconds));
        let (mode, until) = (kept.policy.mode, date(kept.until()));
        self.say(format_args!(
            "MTA-STS {}, policy {} of {}, in force until {until}",
            mode.name(),
            kept.id,
            date(kept.fetched),
        ));
        let listed = self.target.host.as_ref().filter(|host| kept.policy.allows(host));
        match (mode, listed) {
            (StsMode::Enforce, Some(host)) => {
                self.vouched = true;
                self.policy = FarPolicy::Sts { host: host.clone() };
            }
            (StsMode::Enforce, None) => {
                let why = format!("{} is not in the domain's MTA-STS policy", self.target_name());
                self.never(TlsFailure::StsPolicyInvalid, why);
            }
            (StsMode::Testing, listed) => {
                self.vouched |= listed.is_some();
                self.by_configuration();
            }
            (StsMode::None, _) => self.by_configuration(),
        }
    }

    fn target_name(&self) -> String {
        match &self.target.host {
            Some(host) => host.to_string(),
            None => self.target.address.ip().to_string(),
        }
    }

    /// What the domain's MTA-STS policy comes to is reported whatever decides.
    fn report_sts(&mut self, sts: &StsFinding) {
        let Some(domain) = self.domain else { return };
        let domain = domain.as_str().into();
        let Some(kept) = sts.kept.as_ref().filter(|kept| kept.policy.mode != StsMode::None) else {
            if let Some(trouble) = &sts.trouble {
                let policy = PublishedPolicy::Sts { lines: [].into(), mx: [].into() };
                self.reported.push(Reported { domain, policy, failure: Some(trouble.clone()), host: None });
            }
            return;
        };
        let policy = PublishedPolicy::Sts {
            lines: kept.policy.lines().into_iter().map(Box::from).collect(),
            mx: kept.policy.mx.iter().map(|pattern| pattern.to_string().into()).collect(),
        };
        let host = self.target.host.clone().filter(|host| kept.policy.allows(host));
        let why = || format!("{} is not in the policy", self.target_name()).into();
        let failure = host.is_none().then(|| (TlsFailure::StsPolicyInvalid, why()));
        self.reported.push(Reported { domain, policy, failure, host });
    }

    fn finish(mut self, sts: &StsFinding) -> Demanded {
        self.report_sts(sts);
        if self.reported.is_empty() {
            self.report_none(None);
        }
        let Self { policy, configured, words, vouched, reported, .. } = self;
        Demanded { policy, configured, words: words.into(), is_vouched_for: vouched, reported }
    }
}

#[cfg(test)]
mod tests;
