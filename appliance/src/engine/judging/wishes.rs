//! What decides without weighing: the test string, traps, the administrator's lists; and what domains want of their own mail, which
//! counts for their recipients alone.

use judge::{Check, Verdict};
use record::Direction;
use relay::Case;
use smtp::{Domain, ForwardPath};

use super::findings::Findings;
use super::peers::is_proven;
use super::sitting::{Found, Rules};
use crate::engine::entries::{Entries, folded_text};
use crate::report::EntryKind;

/// What a domain wants of a message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Wish {
    /// Whose it is.
    pub(super) domain: Domain,
    kind: EntryKind,
    /// What it follows from.
    entry: String,
}

/// Those of all domains that a message is for; of each one at most.
#[derive(Clone, Debug, Default)]
pub(super) struct Wishes(Vec<Wish>);

impl Wishes {
    pub(super) fn are_none(&self) -> bool {
        self.0.is_empty()
    }

    /// The place of the one that counts for a recipient.
    pub(super) fn place_for(&self, path: &ForwardPath) -> Option<usize> {
        let domain = path.domain()?;
        self.0.iter().position(|wish| wish.domain == *domain)
    }

    pub(super) fn at(&self, place: usize) -> Option<&Wish> {
        self.0.get(place)
    }

    /// The one that counts for all recipients.
    pub(super) fn for_all(&self, case: &Case) -> Option<&Wish> {
        let mut places = paths(case).map(|path| self.place_for(path));
        let first = places.next()??;
        places.all(|place| place == Some(first)).then(|| self.at(first)).flatten()
    }

    /// Whether every recipient's domain lets the sender pass.
    pub(super) fn let_all_pass(&self, case: &Case) -> bool {
        let passes = |path: &ForwardPath| {
            let wish = self.place_for(path).and_then(|place| self.at(place));
            wish.is_some_and(|wish| wish.kind == EntryKind::Allow)
        };
        !self.are_none() && paths(case).all(passes)
    }
}

impl Wish {
    /// The check's name, as those of the config have it.
    pub(super) fn name(&self) -> &'static str {
        self.kind.name()
    }

    /// What it comes from and whose it is, for the trace.
    pub(super) fn words(&self) -> String {
        format!("{}, by {}", self.entry, self.domain)
    }

    /// For the sender.
    pub(super) fn reason(&self) -> Option<Box<str>> {
        (self.kind == EntryKind::Block).then(|| format!("its sender is blocked by {}", self.domain).into())
    }

    /// All checks, as they are for this domain's recipients. Theirs goes before what the administrator lets pass, and after what the
    /// administrator blocks.
    pub(super) fn among(&self, checks: &[Check]) -> Vec<Check> {
        let demand = match self.kind {
            EntryKind::Allow => Verdict::Pass,
            EntryKind::Block | EntryKind::Trap | EntryKind::Alias => Verdict::Reject,
        };
        let mut all: Vec<Check> = checks.iter().filter(|check| check.name != ALLOW).cloned().collect();
        if demand == Verdict::Pass {
            // As of whom `judge.allow` lets pass: they are named, and nothing else.
            all.iter_mut().filter(|check| check.name == ATTACHMENT).for_each(|check| check.demand = None);
        }
        all.push(Check::demanding(self.name(), self.words(), demand));
        all
    }
}

/// Names of checks.
const ALLOW: &str = "allow";
const ATTACHMENT: &str = "attachment";

fn paths(case: &Case) -> impl Iterator<Item = &ForwardPath> {
    let named = &case.envelope.recipients;
    case.recipients.iter().filter_map(move |index| Some(&named.get(index)?.forward_path))
}

/// What the domains of these recipients want.
fn wishes(entries: &Entries, case: &Case, author: &str, findings: Option<&Findings>) -> Wishes {
    let mut found: Vec<Wish> = Vec::new();
    if case.direction != Direction::Inbound || entries.are_none() {
        return Wishes::default();
    }
    let mut seen: Vec<&Domain> = Vec::new();
    for domain in paths(case).filter_map(ForwardPath::domain) {
        if seen.contains(&domain) {
            continue;
        }
        seen.push(domain);
        let named = |kind, address: &str| entries.sender(domain.as_str(), kind, address);
        let senders = [case.envelope.mail.reverse_path.as_str(), author];
        let trap = || {
            let mut traps = paths(case).filter(|path| path.domain() == Some(domain));
            let trap = traps.find(|path| entries.has_trap(path)).filter(|_| case.trapped);
            trap.map(|path| (EntryKind::Trap, path.as_str().to_lowercase()))
        };
        let block = || {
            let mut blocked = senders.into_iter().filter_map(|address| named(EntryKind::Block, address));
            blocked.next().map(|entry| (EntryKind::Block, entry))
        };
        let allow = || {
            let proven = senders.into_iter().filter(|address| is_proven(address, findings));
            let mut allowed = proven.filter_map(|address| named(EntryKind::Allow, address));
            allowed.next().map(|entry| (EntryKind::Allow, entry))
        };
        if let Some((kind, entry)) = trap().or_else(block).or_else(allow) {
            found.push(Wish { domain: domain.clone(), kind, entry });
        }
    }
    Wishes(found)
}

impl Rules {
    /// What the recipients' domains want of it.
    pub(super) fn wishes(&self, case: &Case, found: &Found) -> Wishes {
        wishes(&self.told.entries, case, author(found), found.findings.as_ref())
    }

    /// What needs no weighing: the test string, traps, the administrator's lists.
    pub(super) fn rules_say(&self, case: &Case, found: &Found) -> Vec<Check> {
        let mut checks = Vec::new();
        let mut demand = |name: &'static str, result: String, demand| {
            checks.push(Check::demanding(name, result, demand));
        };
        if found.content.as_ref().is_some_and(|content| content.oddities.gtube) {
            demand("gtube", "found".into(), Verdict::Reject);
        }
        // A domain's own trap is nothing to others.
        let trapped =
            case.trapped && paths(case).any(|path| self.traps.contains(&folded_text(path.as_str())));
        if trapped {
            demand("trap", "among the recipients".into(), Verdict::Reject);
        }
        let author = author(found);
        let (client, sender) = (case.client.address.ip(), &case.envelope.mail.reverse_path);
        if case.direction == Direction::Inbound {
            let blocked = self.block.names(client, sender, author);
            if let Some(entry) = blocked.or_else(|| self.court.blocked.names(sender, author)) {
                demand("block", entry, Verdict::Reject);
            } else if let Some(entry) = self.allow.proves(client, (sender, author), found.findings.as_ref())
                && !trapped
            {
                demand(ALLOW, entry, Verdict::Pass);
            }
        }
        checks
    }
}

/// The address in `From`.
fn author(found: &Found) -> &str {
    let author = found.content.as_ref().and_then(|content| content.from.first());
    author.map_or("", |author| author.mailbox.as_str())
}

#[cfg(test)]
mod tests {
    use std::path::Path;
    use std::sync::Arc;
    use std::time::Duration;

    use evidence::Verdict as Proof;
    use judge::Thresholds;
    use record::{Protocol, TlsOutcome};
    use relay::{Fate, HeldBody, Judgement, Mark, OnFailure};
    use smtp::{Envelope, No, TraceId, TransactionId};

    use super::super::policies::Policies;
    use super::super::told::verdict_of;
    use super::*;
    use crate::config;
    use crate::report::EntryOrder;

    const NOW: Duration = Duration::from_secs(1_795_288_205);

    fn config() -> config::Config {
        let text = "hostname = \"mx.test\"\n[[backend]]\ndomains = [\"a.test\", \"b.test\"]\nservers = [\"192.0.2.1\"]\n\
             [judge]\naction = \"enforce\"\n";
        config::parse(text, Path::new("postern.toml")).unwrap()
    }

    async fn entries(some: &[(&str, EntryKind, &str)]) -> (tempfile::TempDir, Arc<Entries>) {
        let folder = tempfile::tempdir().unwrap();
        let settings = store::Settings::in_folder(folder.path().to_owned());
        let store = store::Store::start(settings, Arc::new(record::SystemClock)).unwrap();
        let entries = Entries::new(store);
        entries.config_is(&config()).await;
        for (domain, kind, entry) in some {
            let (domain, entry) = (domain.parse().unwrap(), (*entry).to_owned());
            let (target, by) = (String::new(), "dom".to_owned());
            let order = EntryOrder { domain, adds: true, kind: *kind, entry, target, by };
            assert_eq!(entries.decide(&order, NOW).await, Ok(true));
        }
        (folder, entries)
    }

    fn case(from: &str, to: &[&str]) -> Case {
        let recipients: String = to.iter().map(|to| format!("RCPT TO:<{to}>\r\n")).collect();
        let envelope =
            Envelope::read(format!("MAIL FROM:<{from}> SMTPUTF8\r\n{recipients}").as_bytes()).unwrap();
        let nowhere = "192.0.2.7:25".parse().unwrap();
        Case {
            transaction: TransactionId { session: TraceId::new(1, 1), number: 1 },
            direction: Direction::Inbound,
            client: delivery::Client {
                address: nowhere,
                destination: nowhere,
                helo: "x".into(),
                esmtp: true,
            },
            protocol: Protocol::Smtp,
            tls: TlsOutcome::Plain,
            authenticated: false,
            user: None,
            recipients: (0..envelope.recipients.len()).collect(),
            envelope,
            trapped: false,
            received: NOW,
            body: HeldBody { file: None, stored: 0, tail: Arc::default() },
        }
    }

    /// What becomes of it, for each recipient.
    fn fates(
        entries: &Entries,
        case: &Case,
        checks: &[Check],
        findings: Option<&Findings>,
    ) -> (Vec<Fate>, Judgement) {
        let thresholds = Thresholds::default();
        let weighed = judge::judge(None, checks, &thresholds);
        let wishes = wishes(entries, case, "", findings);
        let mut judgement = Judgement::failed(OnFailure::Pass, Direction::Inbound, "", Duration::ZERO);
        judgement.verdict = verdict_of(weighed.verdict);
        let by = |thresholds: &Thresholds, wish: Option<&Wish>| {
            let own = wish.map(|wish| wish.among(checks));
            judge::judge(None, own.as_deref().unwrap_or(checks), thresholds)
        };
        let found = Found::default();
        Policies::new(&config().judge).sentence(case, &mut judgement, (&weighed, &found), &wishes, by);
        let fate = |index: usize| {
            let apart = judgement.apart.iter().find(|(apart, _)| *apart == index);
            apart.map_or(&judgement.fate, |(_, fate)| fate).clone()
        };
        ((0..case.envelope.recipients.len()).map(fate).collect(), judgement)
    }

    const PASSES: Fate = Fate::Deliver(Mark::PASS);

    #[tokio::test]
    async fn a_domain_blocks_for_its_own_recipients_alone() {
        let (_folder, entries) = entries(&[("a.test", EntryKind::Block, "shop.example")]).await;
        let case = case("news@mail.shop.example", &["x@b.test", "y@A.test", "z@b.test"]);
        let (got, judgement) = fates(&entries, &case, &[], None);
        let refused = Fate::Refuse(No::NotWanted("its sender is blocked by a.test".into()));
        assert_eq!(got, [PASSES, refused, PASSES]);
        assert_eq!(judgement.verdict, record::Verdict::Pass);
        let told: Vec<String> = judgement
            .opinion
            .checks
            .iter()
            .map(|check| format!("{}: {}", check.name, check.result))
            .collect();
        assert_eq!(told, ["block: shop.example, by a.test: reject, done: reject"]);
        // What the administrator lets pass a domain may still refuse.
        let allowed = [Check::demanding("allow", "shop.example", Verdict::Pass)];
        assert_eq!(fates(&entries, &case, &allowed, None).0[0..2], got[0..2]);
        let other = self::case("news@other.example", &["y@a.test"]);
        assert_eq!(fates(&entries, &other, &[], None).0, [PASSES]);
    }

    #[tokio::test]
    async fn a_domain_lets_pass_who_is_proven_and_no_virus() {
        let (_folder, entries) = entries(&[("a.test", EntryKind::Allow, "friend.example")]).await;
        let case = case("f@friend.example", &["x@a.test", "y@b.test"]);
        let spam = [
            Check::demanding("attachment", "program: x.exe", Verdict::Reject),
            Check::weighing("classifier", "sure", 10.0),
        ];
        let proof = |proof| Findings::by_spf(proof, "friend.example");
        let passed = fates(&entries, &case, &spam, Some(&proof(Proof::Pass))).0;
        assert_eq!(passed[0], PASSES);
        assert!(matches!(passed[1], Fate::Refuse(_)), "not for others");
        for findings in [None, Some(&proof(Proof::Fail))] {
            let unproven = fates(&entries, &case, &spam, findings).0;
            assert!(unproven.iter().all(|fate| matches!(fate, Fate::Refuse(_))), "{unproven:?}");
        }
        for check in ["virus", "block", "trap", "gtube"] {
            let worse = [Check::demanding(check, "x", Verdict::Reject)];
            let got = fates(&entries, &case, &worse, Some(&proof(Proof::Pass))).0;
            assert!(got.iter().all(|fate| matches!(fate, Fate::Refuse(_))), "{check}: {got:?}");
        }
    }

    #[tokio::test]
    async fn a_domains_trap_speaks_against_a_message_for_its_own_recipients_alone() {
        let (_folder, entries) = entries(&[
            ("a.test", EntryKind::Trap, "old@a.test"),
            ("a.test", EntryKind::Allow, "friend.example"),
        ])
        .await;
        let case =
            Case { trapped: true, ..case("f@friend.example", &["OLD@a.test", "x@a.test", "y@b.test"]) };
        let proof = Findings::by_spf(Proof::Pass, "friend.example");
        let got = fates(&entries, &case, &[], Some(&proof)).0;
        assert!(matches!(got[1], Fate::Refuse(_)) && got[2] == PASSES, "{got:?}");
        // From inside it is none.
        let wishes = |direction| wishes(&entries, &Case { direction, ..case_of(&case) }, "", None);
        assert!(wishes(Direction::Outbound).are_none() && !wishes(Direction::Inbound).are_none());
    }

    fn case_of(other: &Case) -> Case {
        let to: Vec<&str> = other.envelope.recipients.iter().map(|rcpt| rcpt.forward_path.as_str()).collect();
        Case { trapped: other.trapped, ..case(other.envelope.mail.reverse_path.as_str(), &to) }
    }

    #[tokio::test]
    async fn what_counts_for_all_recipients_is_known() {
        let (_folder, entries) = entries(&[
            ("a.test", EntryKind::Allow, "friend.example"),
            ("b.test", EntryKind::Allow, "f@friend.example"),
        ])
        .await;
        let proof = Findings::by_spf(Proof::Pass, "friend.example");
        let of = |to: &[&str]| {
            let case = case("f@friend.example", to);
            let wishes = wishes(&entries, &case, "", Some(&proof));
            (wishes.let_all_pass(&case), wishes.for_all(&case).map(Wish::words))
        };
        assert_eq!(of(&["x@a.test", "y@a.test"]), (true, Some("friend.example, by a.test".into())));
        assert_eq!(of(&["x@a.test", "y@b.test"]), (true, None), "each has a reason of its own");
        assert_eq!(of(&["x@a.test", "postmaster"]), (false, None));
        assert_eq!(of(&["postmaster"]), (false, None));
    }
}
