//! What DNS lists hold of a client and of the domains in a message: as checks, and at the door.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::sync::Arc;

use evidence::EvidenceError;
use evidence::lists::{About, Entry, List, Listing, Weights};
use judge::{Check, Verdict};
use record::{Direction, Opinion};
use relay::{Judgement, OnFailure, Unwelcome};
use sift::Content;
use smtp::{Domain, No, ReversePath};
use tokio::task::JoinSet;
use tokio::time::{Instant, timeout_at};

use super::told::told;
use crate::config::DnsList;
use crate::engine::outbound::Names;

/// Domains of a message that are looked up: a newsletter has some three, and a list counts its questions.
const MAX_DOMAINS: usize = 12;

/// The lists of a config.
pub(super) struct Lists {
    lists: Vec<Listed>,
    names: Names,
}

struct Listed {
    list: Arc<List>,
    /// Who is on it is turned away before it sends anything.
    refuses: bool,
}

/// What they say.
#[derive(Default)]
pub(super) struct Said {
    pub(super) checks: Vec<Check>,
    /// Lists that could not be asked, and why.
    pub(super) failed: Vec<String>,
}

type Answer = (usize, Entry, Result<Option<Listing>, EvidenceError>);

impl Lists {
    pub(super) fn new(lists: &[DnsList], names: Names) -> Self {
        let listed = |list: &DnsList| Listed {
            list: Arc::new(List::new(
                list.zone.clone(),
                list.about,
                Weights { other: list.weight, codes: list.codes.clone() },
            )),
            refuses: list.refuse,
        };
        Self { lists: lists.iter().map(listed).collect(), names }
    }

    /// Asks about a client and about domains; what has not answered by the deadline has failed.
    pub(super) async fn ask(&self, client: IpAddr, domains: &[Domain], deadline: Instant) -> Said {
        let mut questions = Vec::new();
        for (at, listed) in self.lists.iter().enumerate() {
            match listed.list.about() {
                About::Addresses => {
                    questions.extend(is_public(client).then_some((at, Entry::Address(client))))
                }
                About::Domains => {
                    questions.extend(domains.iter().map(|domain| (at, Entry::Domain(domain.clone()))))
                }
            }
        }
        let mut said = Said::default();
        let mut answers = self.answers(questions, deadline).await;
        answers.sort_by_key(|(at, ..)| *at);
        for (at, listed) in self.lists.iter().enumerate() {
            let own = answers.iter().filter(|(of, ..)| *of == at);
            said.checks.extend(check(&listed.list, own.clone()));
            let error = own.clone().find_map(|(_, _, answer)| answer.as_ref().err());
            said.failed.extend(error.map(ToString::to_string));
        }
        said
    }

    /// Why the client is turned away, by the word of the first list that refuses and has it, and what that list holds.
    pub(super) async fn turn_away(&self, client: IpAddr, deadline: Instant) -> Option<Unwelcome> {
        let began = Instant::now();
        let refusing = self.lists.iter().enumerate();
        let refusing = refusing.filter(|(_, one)| one.refuses && one.list.about() == About::Addresses);
        let questions: Vec<_> = refusing.map(|(at, _)| (at, Entry::Address(client))).collect();
        if questions.is_empty() || !is_public(client) {
            return None;
        }
        let answers = self.answers(questions, deadline).await;
        let refused = answers.iter().find(|(.., answer)| {
            answer.as_ref().is_ok_and(|found| found.as_ref().is_some_and(|listing| listing.weight > 0.0))
        })?;
        let (at, entry, _) = refused;
        let list = &self.lists.get(*at)?.list;
        let mut check = check(list, std::iter::once(refused))?;
        check.demand = Some(Verdict::Reject);
        let resolver = timeout_at(deadline, self.names.resolver()).await.ok()?.ok()?;
        let reason = list.reason(resolver, entry, deadline).await;
        let reason = reason.as_deref().unwrap_or("it gives no reason");
        let no = No::Listed(format!("{client} is on the list {}: {reason}", list.zone()).into());
        let opinion = Opinion {
            checks: vec![told(&check)],
            carried_out: record::Verdict::Reject,
            ..Judgement::failed(OnFailure::Pass, Direction::Inbound, "", began.elapsed()).opinion
        };
        Some(Unwelcome { no, opinion, only_as: None })
    }

    /// All at once.
    async fn answers(&self, questions: Vec<(usize, Entry)>, deadline: Instant) -> Vec<Answer> {
        let mut asked = JoinSet::new();
        for (at, entry) in questions {
            let Some(listed) = self.lists.get(at) else { continue };
            let (list, names) = (Arc::clone(&listed.list), self.names.clone());
            asked.spawn(async move {
                let away = |why: String| EvidenceError::ListFailed {
                    zone: list.zone().as_str().into(),
                    why: why.into(),
                };
                let found = match timeout_at(deadline, names.resolver()).await {
                    Ok(Ok(resolver)) => list.look_up(resolver, &entry, deadline).await,
                    Ok(Err(error)) => Err(away(error.to_string())),
                    Err(_) => Err(away("the DNS does not answer".into())),
                };
                (at, entry, found)
            });
        }
        asked.join_all().await
    }
}

/// The gravest of what a list holds; one that holds something good and something bad says both.
fn check<'a>(list: &List, answers: impl Iterator<Item = &'a Answer> + Clone) -> Option<Check> {
    let found = answers.filter_map(|(_, entry, answer)| Some((entry, answer.as_ref().ok()?.as_ref()?)));
    let gravest = found.clone().max_by(|(_, a), (_, b)| a.weight.total_cmp(&b.weight));
    let (entry, listing) = gravest?;
    let codes: BTreeSet<String> = listing.codes.iter().map(ToString::to_string).collect();
    let codes: Vec<String> = codes.into_iter().collect();
    let entry = match entry {
        Entry::Address(address) => address.to_string(),
        Entry::Domain(domain) => domain.to_string(),
    };
    let result = format!("{entry} listed as {}", codes.join(", "));
    Some(Check::weighing(format!("dnsbl:{}", list.zone()), result, listing.weight))
}

/// The domains that lists of domains are asked about, as somebody registered them: the sender's first, then those of links.
pub(super) fn domains(
    content: &Content,
    reverse_path: &ReversePath,
    own: impl Fn(&str) -> bool,
) -> Vec<Domain> {
    let sender = reverse_path.as_str().rsplit_once('@').map_or("", |(_, domain)| domain);
    let named = content.from.iter().chain(&content.reply_to);
    let named = named.filter_map(|address| Some(address.mailbox.rsplit_once('@')?.1));
    let links = content.links.iter().map(|link| link.host.as_str());
    let mut domains: Vec<Domain> = Vec::new();
    for host in std::iter::once(sender).chain(named).chain(links) {
        if host.parse::<IpAddr>().is_ok() {
            continue;
        }
        let Some(registered) = psl::domain_str(host) else { continue };
        let Ok(domain) = registered.parse::<Domain>() else { continue };
        if !own(domain.as_str()) && !domains.contains(&domain) {
            domains.push(domain);
        }
        if domains.len() == MAX_DOMAINS {
            break;
        }
    }
    domains
}

/// Whether somebody else can know anything of it.
pub(in crate::engine) fn is_public(address: IpAddr) -> bool {
    match address.to_canonical() {
        IpAddr::V4(v4) => !(v4.is_loopback() || v4.is_private() || v4.is_link_local() || v4.is_unspecified()),
        IpAddr::V6(v6) => {
            !(v6.is_loopback() || v6.is_unique_local() || v6.is_unicast_link_local() || v6.is_unspecified())
        }
    }
}

#[cfg(test)]
mod tests {
    use sift::content::{Address, Link};

    use super::*;

    #[test]
    fn domains_are_those_that_somebody_registered_each_once_and_never_ones_own() {
        let link = |host: &str| Link { host: host.into(), ..Link::default() };
        let content = Content {
            from: vec![Address { name: String::new(), mailbox: "a@mail.shop.example.com".into() }],
            links: [
                "www.shop.example.com",
                "click.other.example.co.uk",
                "192.0.2.1",
                "intra.own.test",
                "com",
            ]
            .map(link)
            .to_vec(),
            ..Content::default()
        };
        let sender = ReversePath::Mailbox("bounce@x.news.example.net".parse().unwrap());
        let found: Vec<String> = domains(&content, &sender, |domain| domain == "own.test")
            .iter()
            .map(ToString::to_string)
            .collect();
        assert_eq!(found, ["example.net", "example.com", "example.co.uk"]);
    }

    #[test]
    fn of_addresses_inside_nobody_is_asked() {
        for (address, public) in [
            ("127.0.0.1", false),
            ("10.1.2.3", false),
            ("::ffff:192.168.1.1", false),
            ("fd00::1", false),
            ("192.0.2.1", true),
            ("2001:db8::1", true),
        ] {
            assert_eq!(is_public(address.parse().unwrap()), public, "{address}");
        }
    }
}
