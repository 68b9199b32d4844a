//! The DNS records that mail through this Postern needs, from the config and from what Postern has made itself; and whether they
//! are published ([`compare`]).

use std::collections::HashMap;
use std::net::IpAddr;

use route::StsPolicy;

use crate::config::{Config, Host, Mode};
use crate::dkim::{Duty, Keys, KeysError};
use crate::mta_sts;
use crate::report::{Zone, ZoneRecord, ZoneReport};

pub(crate) mod compare;

/// The text of a DMARC record to begin with: it asks for reports and nothing else, so that nothing breaks (RFC 9989).
const DMARC: &str = "v=DMARC1; p=none; rua=mailto:";
/// Characters of one string of a TXT record (RFC 1035 §3.3).
const MAX_STRING: usize = 255;

/// What a config says of the DNS.
#[derive(Clone, Debug)]
pub(crate) struct Facts {
    pub(crate) hostname: String,
    /// Where others report to.
    reports: String,
    mode: Mode,
    pub(crate) domains: Vec<Domain>,
    /// From where mail goes out.
    pub(crate) leaves: Leaves,
    signs: Vec<String>,
}

/// A domain behind this Postern.
#[derive(Clone, Debug)]
pub(crate) struct Domain {
    pub(crate) name: String,
    /// Its hidden servers' addresses, as far as they are written as such.
    pub(crate) servers: Vec<IpAddr>,
    pub(crate) policy: Option<StsPolicy>,
}

/// From where mail goes out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Leaves {
    /// From the addresses that `hostname` has in the DNS.
    Hostname,
    /// From these.
    Addresses(Vec<IpAddr>),
    /// From somebody else's.
    Relay(String),
    /// From the hidden servers' own.
    Servers,
}

fn address_of(server: &crate::config::ServerAddress) -> Option<IpAddr> {
    match server.host {
        Host::Address(address) => Some(address.to_canonical()),
        Host::Name(_) => None,
    }
}

/// A TLSA record of a certificate that serves here.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Association {
    /// The host.
    pub(crate) host: String,
    /// SHA-256 of the public key.
    pub(crate) digest: [u8; 32],
    /// Whether it serves already.
    pub(crate) serves: bool,
}

impl Facts {
    pub(crate) fn new(config: &Config) -> Self {
        let domain = |backend: &crate::config::Backend, domain: &smtp::Domain| Domain {
            name: domain.as_str().to_lowercase(),
            servers: backend.servers.iter().filter_map(address_of).collect(),
            policy: mta_sts::hosted(config, backend),
        };
        let domains: Vec<_> = config
            .backends
            .iter()
            .flat_map(|backend| backend.domains.iter().map(|name| domain(backend, name)))
            .collect();
        let outbound = &config.outbound;
        let leaves = match (&outbound.relay, outbound.source) {
            (Some(relay), _) => Leaves::Relay(relay.server.to_string()),
            (None, crate::config::Source::Server) => Leaves::Servers,
            (None, _) if outbound.addresses.is_empty() => Leaves::Hostname,
            (None, _) => Leaves::Addresses(outbound.addresses.clone()),
        };
        let own = outbound.dkim.domains.iter().map(|name| name.as_str().to_lowercase()).collect::<Vec<_>>();
        let signs = match (outbound.dkim.enabled, own.is_empty()) {
            (false, _) => Vec::new(),
            (true, false) => own,
            (true, true) => domains.iter().map(|domain| domain.name.clone()).collect(),
        };
        Self {
            hostname: config.hostname.to_string().to_lowercase(),
            reports: config.reports.address.clone(),
            mode: config.network.mode,
            domains,
            leaves,
            signs,
        }
    }

    /// With the MTA-STS policies that are hosted now, as far as they are known; by domain in lower case.
    pub(crate) fn with_policies(&self, policies: &HashMap<smtp::Domain, Option<StsPolicy>>) -> Self {
        let mut facts = self.clone();
        for domain in &mut facts.domains {
            let known = domain.name.parse().ok().and_then(|name: smtp::Domain| policies.get(&name));
            if let Some(policy) = known {
                domain.policy = policy.clone();
            }
        }
        facts
    }

    /// Whether a domain is one of those behind.
    pub(crate) fn is_behind(&self, domain: &str) -> bool {
        self.domains.iter().any(|one| one.name.eq_ignore_ascii_case(domain))
    }

    /// Whether mail of a domain is signed.
    pub(crate) fn signs(&self, domain: &str) -> bool {
        self.signs.iter().any(|one| one == domain)
    }

    /// Whether a domain, or Postern's own name, is among those that there are records for.
    pub(crate) fn knows(&self, domain: &str) -> bool {
        domain == self.hostname || self.all().any(|known| known == domain)
    }

    /// All domains: those behind, and those that only sign.
    fn all(&self) -> impl Iterator<Item = &str> {
        let behind = self.domains.iter().map(|domain| &*domain.name);
        let others = self.signs.iter().filter(|one| self.domains.iter().all(|domain| domain.name != **one));
        behind.chain(others.map(|one| &**one))
    }

    /// What is to be published; all of it where no domain is named. Makes DKIM keys that are not there yet, and blocks for it.
    ///
    /// # Errors
    ///
    /// The keys cannot be had.
    pub(crate) fn records(
        &self,
        wanted: &[String],
        keys: &Keys,
        associations: &[Association],
    ) -> Result<ZoneReport, KeysError> {
        let is_wanted = |domain: &str| wanted.is_empty() || wanted.iter().any(|one| one == domain);
        let mut zones = Vec::new();
        for domain in self.all().filter(|domain| is_wanted(domain)) {
            zones.push(self.zone(domain, keys)?);
        }
        if is_wanted(&self.hostname) {
            zones.push(self.own_zone(keys, associations)?);
        }
        Ok(ZoneReport { zones })
    }

    fn zone(&self, domain: &str, keys: &Keys) -> Result<Zone, KeysError> {
        let mut zone = Zone { domain: domain.to_owned(), records: Vec::new(), notes: Vec::new() };
        let behind = self.domains.iter().find(|one| one.name == domain);
        if behind.is_some() {
            self.mx(&mut zone);
        }
        self.spf(&mut zone);
        self.dkim(&mut zone, keys)?;
        self.dmarc(&mut zone);
        if let Some(policy) = behind.and_then(|domain| domain.policy.as_ref()) {
            let text = format!("v=STSv1; id={};", mta_sts::id(policy));
            push(&mut zone, format!("_mta-sts.{domain}"), "TXT", text, "mta-sts");
            let host = format!("{}.", self.hostname);
            push(&mut zone, format!("mta-sts.{domain}"), "CNAME", host, "mta-sts");
            zone.notes.push(format!(
                "MTA-STS: where mta-sts.{domain} is a server of your own, it has to give, at /.well-known/mta-sts.txt: {}",
                policy.lines().join(" | ")
            ));
        }
        let text = format!("v=TLSRPTv1; rua=mailto:{}", self.reports);
        push(&mut zone, format!("_smtp._tls.{domain}"), "TXT", text, "tls-rpt");
        Ok(zone)
    }

    fn mx(&self, zone: &mut Zone) {
        match self.mode {
            Mode::Front => {
                push(zone, zone.domain.clone(), "MX", format!("10 {}.", self.hostname), "mx");
            }
            Mode::Gateway | Mode::Bridge => zone.notes.push(
                "MX stays as it is: it names the hidden server's address, and Postern stands on the way to it.".into(),
            ),
        }
    }

    fn spf(&self, zone: &mut Zone) {
        let mechanisms = match &self.leaves {
            Leaves::Hostname => format!("a:{}", self.hostname),
            Leaves::Addresses(addresses) => {
                let mechanism = |address: &IpAddr| match address {
                    IpAddr::V4(address) => format!("ip4:{address}"),
                    IpAddr::V6(address) => format!("ip6:{address}"),
                };
                addresses.iter().map(mechanism).collect::<Vec<_>>().join(" ")
            }
            Leaves::Relay(relay) => {
                zone.notes.push(format!(
                    "SPF: mail leaves through {relay}; its operator says what to include for that."
                ));
                return;
            }
            Leaves::Servers => {
                zone.notes
                    .push("SPF stays as it is: mail leaves from the hidden servers' own addresses.".into());
                return;
            }
        };
        push(zone, zone.domain.clone(), "TXT", format!("v=spf1 {mechanisms} -all"), "spf");
    }

    fn dkim(&self, zone: &mut Zone, keys: &Keys) -> Result<(), KeysError> {
        let is_own = zone.domain == self.hostname && !self.signs.is_empty();
        if !is_own && !self.signs.contains(&zone.domain) {
            return Ok(());
        }
        let duties = keys.duties(&zone.domain)?;
        if duties.is_empty() {
            zone.notes.push("DKIM: the keys are made when Postern first runs.".into());
        }
        for (duty, generation) in duties {
            for key in &generation.keys {
                let name = format!("{}._domainkey.{}", key.selector(), zone.domain);
                push(zone, name, "TXT", key.record().to_owned(), "dkim");
            }
            let selectors: Vec<_> = generation.keys.iter().map(|key| key.selector()).collect();
            match duty {
                Duty::Signs => {}
                Duty::Next => zone
                    .notes
                    .push(format!("{}: signs once all of its records are seen.", selectors.join(", "))),
                Duty::Retired => zone
                    .notes
                    .push(format!("{}: was replaced, and is kept for mail under way.", selectors.join(", "))),
            }
        }
        Ok(())
    }

    fn dmarc(&self, zone: &mut Zone) {
        let domain = &zone.domain;
        let (name, text) = (format!("_dmarc.{domain}"), format!("{DMARC}{}", self.reports));
        let reported_to = self.reports.rsplit_once('@').map(|(_, domain)| domain.to_lowercase());
        // Whoever receives reports for another domain has to want them (RFC 9990 §4).
        let registered = |domain: &str| psl::domain_str(domain).unwrap_or(domain).to_owned();
        let consent = reported_to
            .filter(|to| registered(to) != registered(domain))
            .map(|to| format!("{domain}._report._dmarc.{to}"));
        push(zone, name, "TXT", text, "dmarc");
        if let Some(consent) = consent {
            push(zone, consent, "TXT", "v=DMARC1".into(), "dmarc");
        }
    }

    fn own_zone(&self, keys: &Keys, associations: &[Association]) -> Result<Zone, KeysError> {
        let mut zone = Zone { domain: self.hostname.clone(), records: Vec::new(), notes: Vec::new() };
        // Of what Postern itself writes.
        self.dkim(&mut zone, keys)?;
        for association in associations {
            let digest: String = association.digest.iter().map(|octet| format!("{octet:02x}")).collect();
            let name = format!("_25._tcp.{}", association.host);
            push(&mut zone, name, "TLSA", format!("3 1 1 {digest}"), "tlsa");
        }
        if associations.is_empty() {
            zone.notes.push(
                "TLSA: only the running Postern knows the key that serves; `postern certs tlsa` asks it."
                    .into(),
            );
        } else {
            zone.notes.push("TLSA records count only in a zone that is signed (DNSSEC).".into());
        }
        match &self.leaves {
            Leaves::Addresses(addresses) => {
                for address in addresses {
                    push(&mut zone, reverse(*address), "PTR", format!("{}.", self.hostname), "ptr");
                }
            }
            Leaves::Hostname => zone.notes.push(format!(
                "PTR: whoever gave you the address that mail leaves from has to name it {}. in the reverse zone.",
                self.hostname
            )),
            Leaves::Relay(_) | Leaves::Servers => {}
        }
        Ok(zone)
    }
}

/// That there are no records of a domain, and of which there are.
pub(crate) fn unknown(facts: &Facts, domain: &str) -> String {
    let known: Vec<_> = facts.all().chain([&*facts.hostname]).collect();
    format!("{domain} is none of the domains in the config: {}", known.join(", "))
}

fn push(zone: &mut Zone, name: String, kind: &str, value: String, purpose: &str) {
    zone.records.push(ZoneRecord { name, kind: kind.into(), value, purpose: purpose.into(), found: None });
}

/// The name in the reverse zone (RFC 1035 §3.5, RFC 3596 §2.5).
pub(crate) fn reverse(address: IpAddr) -> String {
    match address.to_canonical() {
        IpAddr::V4(address) => {
            let [a, b, c, d] = address.octets();
            format!("{d}.{c}.{b}.{a}.in-addr.arpa")
        }
        IpAddr::V6(address) => {
            let nibbles = address.octets().into_iter().rev().flat_map(|octet| [octet & 15, octet >> 4]);
            let labels: String = nibbles.map(|nibble| format!("{nibble:x}.")).collect();
            format!("{labels}ip6.arpa")
        }
    }
}

/// A record as zone files write it (RFC 1035 §5.1).
pub(crate) fn line(record: &ZoneRecord) -> String {
    let data = match record.kind.as_str() {
        "TXT" => strings(&record.value),
        _ => record.value.clone(),
    };
    format!("{}. IN {} {data}", record.name, record.kind)
}

fn strings(text: &str) -> String {
    let mut quoted = Vec::new();
    let mut rest = text;
    loop {
        let (string, behind) = rest.split_at(rest.floor_char_boundary(MAX_STRING));
        quoted.push(format!("\"{}\"", string.replace('\\', "\\\\").replace('"', "\\\"")));
        rest = behind;
        if rest.is_empty() {
            return quoted.join(" ");
        }
    }
}

#[cfg(test)]
mod tests;
