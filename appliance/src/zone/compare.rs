//! What is published in place of the records that are to be.

use std::net::IpAddr;

use dns::{Answer, DnsError, Proof, Resolver, Text};
use evidence::{Authenticator, Sender, Verdict};
use futures_util::future::join_all;
use route::{StsFetch, StsPolicy};
use smtp::ReversePath;
use tokio::time::{Duration, Instant};

use super::{Domain, Facts, Leaves};
use crate::config::Mode;
use crate::mta_sts;
use crate::report::{Found, RecordState, Zone, ZoneRecord, ZoneReport};

/// For the evaluation of one domain's SPF, which asks up to ten times.
const EVALUATION: Duration = Duration::from_secs(15);

/// Asks the DNS, and notes beside each record what is there.
///
/// # Errors
///
/// The name servers do not answer at all.
pub(crate) async fn compare(
    facts: &Facts,
    (resolver, fetch): (&Resolver, Option<&dyn StsFetch>),
    report: &mut ZoneReport,
) -> Result<(), DnsError> {
    if let Err(DnsError::TimedOut) = resolver.check().await {
        return Err(DnsError::TimedOut);
    }
    let own = match facts.hostname.parse() {
        Ok(hostname) => addresses(resolver, &hostname).await,
        Err(_) => Err(DnsError::NotAName),
    };
    let looking = Looking { facts, resolver, fetch, authenticator: Authenticator::new(resolver), own };
    // All at once: the resolver bounds how much of that is under way.
    join_all(report.zones.iter_mut().map(|zone| looking.look(zone))).await;
    Ok(())
}

/// Whether everything is as it should be; `None` where some of it could not be found out.
pub(crate) fn all_right(report: &ZoneReport) -> Option<bool> {
    let found =
        || report.zones.iter().flat_map(|zone| &zone.records).filter_map(|record| record.found.as_ref());
    let has = |state| found().any(|found| found.state == state);
    match has(RecordState::Missing) || has(RecordState::Wrong) {
        true => Some(false),
        false if has(RecordState::Unknown) => None,
        false => Some(true),
    }
}

struct Looking<'a> {
    facts: &'a Facts,
    resolver: &'a Resolver,
    /// How the policies of other hosts are had; `None`: nobody is trusted who could prove one.
    fetch: Option<&'a dyn StsFetch>,
    authenticator: Authenticator,
    /// The addresses of Postern's own name.
    own: Result<Vec<IpAddr>, DnsError>,
}

impl Looking<'_> {
    async fn look(&self, zone: &mut Zone) {
        let behind = self.facts.domains.iter().find(|domain| domain.name == zone.domain);
        let found = join_all(zone.records.iter().map(|record| self.find(&zone.domain, behind, record))).await;
        zone.records.iter_mut().zip(found).for_each(|(record, found)| record.found = found);
        if self.facts.mode != Mode::Front && behind.is_some() {
            let found = self.mx(&zone.domain, behind).await;
            if found.state != RecordState::Right {
                zone.notes.push(format!("MX: {}", found.words));
            }
        }
    }

    async fn find(&self, domain: &str, behind: Option<&Domain>, record: &ZoneRecord) -> Option<Found> {
        Some(match record.purpose.as_str() {
            "mx" => self.mx(domain, behind).await,
            "spf" => self.spf(domain).await,
            "dkim" => self.dkim(record).await,
            "dmarc" => self.text(record, "v=DMARC1").await,
            "tls-rpt" => self.text(record, "v=TLSRPTv1").await,
            "mta-sts" if record.kind == "TXT" => self.policy_id(record).await,
            "mta-sts" => self.policy_host(behind, record).await,
            "tlsa" => self.tlsa(record).await,
            "ptr" => self.ptr(record).await,
            _ => return None,
        })
    }

    /// Whether mail for a domain comes by here.
    async fn mx(&self, domain: &str, behind: Option<&Domain>) -> Found {
        let Ok(name) = domain.parse() else { return unknown(&DnsError::NotAName) };
        let answer = match self.resolver.mx(&name).await {
            Ok(answer) => answer,
            Err(error) if error.is_temporary() => return unknown(&error),
            Err(_) => return missing("There is no MX record: senders try the domain's own address."),
        };
        let (mut here, mut elsewhere) = (Vec::new(), Vec::new());
        for host in answer.records.iter().filter_map(|mx| mx.exchange.as_ref()) {
            let leads_here = match addresses(self.resolver, host).await {
                Ok(addresses) => addresses.iter().any(|address| self.is_here(address, behind)),
                Err(error) if error.is_temporary() => return unknown(&error),
                Err(_) => false,
            };
            let named = host.as_str().eq_ignore_ascii_case(&self.facts.hostname);
            if named || leads_here { here.push(host.as_str()) } else { elsewhere.push(host.as_str()) }
        }
        match (here.is_empty(), elsewhere.is_empty()) {
            (false, true) => right(format!("Mail comes to {}.", here.join(", "))),
            (false, false) => wrong(format!(
                "Mail comes to {}, but also to {}, past Postern: spam takes that way. Remove it, or point it here.",
                here.join(", "),
                elsewhere.join(", ")
            )),
            (true, _) => wrong(format!("Mail goes to {}, past Postern.", elsewhere.join(", "))),
        }
    }

    fn is_here(&self, address: &IpAddr, behind: Option<&Domain>) -> bool {
        match self.facts.mode {
            Mode::Front => self.own.as_ref().is_ok_and(|own| own.contains(address)),
            Mode::Gateway | Mode::Bridge => behind.is_some_and(|domain| domain.servers.contains(address)),
        }
    }

    /// Whether each address that mail leaves from may send for a domain.
    async fn spf(&self, domain: &str) -> Found {
        let leaving = match &self.facts.leaves {
            Leaves::Addresses(addresses) => addresses.clone(),
            _ => match &self.own {
                Ok(addresses) => addresses.clone(),
                Err(error) if error.is_temporary() => return unknown(error),
                Err(_) => {
                    return wrong(format!(
                        "{} has no address, so nothing can be allowed.",
                        self.facts.hostname
                    ));
                }
            },
        };
        let Ok(path) = format!("postmaster@{domain}").parse() else { return unknown(&DnsError::NotAName) };
        let reverse_path = ReversePath::Mailbox(path);
        for client in leaving {
            let sender = Sender { client, helo: &self.facts.hostname, reverse_path: &reverse_path };
            let spf = self.authenticator.spf(sender, Instant::now() + EVALUATION).await;
            match spf.verdict {
                Verdict::Pass => {}
                Verdict::None => return missing("There is no SPF record."),
                Verdict::TempError => return unknown(&DnsError::TimedOut),
                Verdict::PermError => return wrong("The SPF record cannot be read, or asks for too much."),
                verdict => {
                    return wrong(format!("The SPF record says {} of {client}.", verdict.name()));
                }
            }
        }
        right("The addresses that mail leaves from pass.")
    }

    async fn texts(&self, name: &str) -> Result<Answer<Text>, DnsError> {
        self.resolver.text(&name.parse().map_err(|_| DnsError::NotAName)?).await
    }

    async fn dkim(&self, record: &ZoneRecord) -> Found {
        let published = |text: &Text| evidence::signing::is_same_key(&text.0, &record.value);
        match self.texts(&record.name).await {
            Ok(answer) if answer.records.iter().any(published) => right("The key is published."),
            Ok(_) => wrong("Another key is published: what is signed here does not verify."),
            Err(error) if error.is_temporary() => unknown(&error),
            Err(_) => missing("The key is not published: what is signed with it does not verify."),
        }
    }

    /// A record that is the administrator's to word: one that begins so.
    async fn text(&self, record: &ZoneRecord, begins: &str) -> Found {
        match self.texts(&record.name).await {
            Ok(answer) => {
                let mut ours = answer.records.iter().filter(|text| text.0.starts_with(begins));
                match (ours.next(), ours.next()) {
                    (Some(text), None) => right(format!("There is {:?}.", text.0)),
                    (Some(_), Some(_)) => wrong("There are several: nobody believes any of them."),
                    (None, _) => missing(format!("There is no text that begins with {begins}.")),
                }
            }
            Err(error) if error.is_temporary() => unknown(&error),
            Err(_) => missing("It is not published."),
        }
    }

    async fn policy_id(&self, record: &ZoneRecord) -> Found {
        let id = |text: &str| {
            let mut tags = text.split(';').filter_map(|tag| tag.split_once('='));
            tags.find(|(name, _)| name.trim() == "id").map(|(_, id)| id.trim().to_owned())
        };
        let found = self.text(record, "v=STSv1").await;
        if found.state != RecordState::Right {
            return found;
        }
        let published = self.texts(&record.name).await.map(|answer| {
            answer.records.iter().find(|text| text.0.starts_with("v=STSv1")).and_then(|text| id(&text.0))
        });
        match published {
            Ok(published) if published == id(&record.value) => found,
            _ => wrong("The id is another one: senders that know it do not fetch the policy anew."),
        }
    }

    async fn policy_host(&self, behind: Option<&Domain>, record: &ZoneRecord) -> Found {
        let Ok(host) = record.name.parse() else { return unknown(&DnsError::NotAName) };
        match (addresses(self.resolver, &host).await, &self.own) {
            (Ok(found), Ok(own)) if found.iter().all(|address| own.contains(address)) => {
                right("It leads here.")
            }
            (Ok(found), Ok(_)) => self.other_policy_host(behind, host, found).await,
            (Err(error), _) if error.is_temporary() => unknown(&error),
            (_, Err(error)) if error.is_temporary() => unknown(error),
            (Err(_), _) => missing("The policy's host has no address."),
            (_, Err(_)) => wrong(format!("{} has no address.", self.facts.hostname)),
        }
    }

    /// Who has a policy host of his own gives it the file that is printed here.
    async fn other_policy_host(
        &self,
        behind: Option<&Domain>,
        host: smtp::Domain,
        addresses: Vec<IpAddr>,
    ) -> Found {
        let elsewhere = |why: String| {
            wrong(format!(
                "It leads elsewhere, and {why}: give that server the policy, or point it to {}.",
                self.facts.hostname
            ))
        };
        let (Some(fetch), Some(wanted)) = (self.fetch, behind.and_then(|domain| domain.policy.as_ref()))
        else {
            return elsewhere("its policy cannot be looked at".into());
        };
        match fetch.fetch(host, addresses).await.map(|text| text.parse::<StsPolicy>()) {
            Ok(Ok(found)) => match mta_sts::difference(&found, wanted) {
                None => right("It leads elsewhere, and the policy there is right."),
                Some(how) => elsewhere(format!("the policy there is another one, {how}")),
            },
            Ok(Err(error)) => elsewhere(format!("the policy there cannot be used: {error}")),
            Err(error) => elsewhere(error.to_string()),
        }
    }

    async fn tlsa(&self, record: &ZoneRecord) -> Found {
        let host = record.name.strip_prefix("_25._tcp.").and_then(|host| host.parse().ok());
        let Some(host) = host else { return unknown(&DnsError::NotAName) };
        let published = |one: &dns::Tlsa| {
            let digest: String = one.data.iter().map(|octet| format!("{octet:02x}")).collect();
            format!("{} {} {} {digest}", one.usage, one.selector, one.matching) == record.value
        };
        match self.resolver.tlsa(&host, 25).await {
            Ok(answer) if answer.proof != Proof::Secure => {
                right("The zone is not signed: nobody looks at TLSA records, and none has to be there.")
            }
            Ok(answer) if answer.records.iter().any(published) => right("It is published."),
            Ok(_) => wrong("Other records are published: servers that look at them send no mail."),
            Err(
                DnsError::NoRecords { proof: Proof::Secure }
                | DnsError::NoSuchDomain { proof: Proof::Secure },
            ) => missing("The zone is signed, and has no such record."),
            Err(error) if error.is_temporary() => unknown(&error),
            Err(_) => {
                right("The zone is not signed: nobody looks at TLSA records, and none has to be there.")
            }
        }
    }

    async fn ptr(&self, record: &ZoneRecord) -> Found {
        let Ok(name) = record.name.parse() else { return unknown(&DnsError::NotAName) };
        let wanted = record.value.trim_end_matches('.');
        match self.resolver.pointers(&name).await {
            Ok(answer) if answer.records.iter().any(|host| host.0.as_str().eq_ignore_ascii_case(wanted)) => {
                right("The address has this name.")
            }
            Ok(answer) => {
                let names: Vec<_> = answer.records.iter().map(|host| host.0.as_str()).collect();
                wrong(format!("The address is called {}.", names.join(", ")))
            }
            Err(error) if error.is_temporary() => unknown(&error),
            Err(_) => missing("The address has no name: many servers take no mail from it."),
        }
    }
}

async fn addresses(resolver: &Resolver, host: &smtp::Domain) -> Result<Vec<IpAddr>, DnsError> {
    let addresses = resolver.addresses(host).await?;
    Ok(addresses.iter().map(|(address, _)| address).collect())
}

fn found(state: RecordState, words: impl Into<String>) -> Found {
    Found { state, words: words.into() }
}

fn right(words: impl Into<String>) -> Found {
    found(RecordState::Right, words)
}

fn missing(words: impl Into<String>) -> Found {
    found(RecordState::Missing, words)
}

fn wrong(words: impl Into<String>) -> Found {
    found(RecordState::Wrong, words)
}

fn unknown(error: &DnsError) -> Found {
    found(RecordState::Unknown, format!("It cannot be looked up now: {error}."))
}
