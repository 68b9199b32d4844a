//! One config's worth of judging: it answers the relay, within the budget, whatever fails (law 8).

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use evidence::{Authenticator, Sender};
use judge::pretence::{self, Known};
use judge::{Check, Client, Features, Score, Thresholds, Transport, Whom};
use record::{Direction, MAX_CHECKS, MAX_WORDS, Opinion, Protocol, Verdict};
use relay::{
    AtTheDoor, Case, Fate, Judged as Judging, Judgement, Mark, OnFailure, Own, OwnAddresses, Unwelcome,
};
use sha2::{Digest as _, Sha256};
use sift::{Body, Content};
use smtp::{ForwardPath, No, ReversePath, TransactionId};
use tokio::sync::{OnceCell, Semaphore};
use tokio::time::{Instant, timeout_at};

use super::accounts::{Conduct, Limits, came_by};
use super::acquaintance::greylist::Greeting;
use super::acquaintance::{Acquaintance, noted};
use super::case_body::beginning;
use super::findings::Findings;
use super::kept::{AtOnce, Judged};
use super::lists::{self, Lists, Said};
use super::peers::Peers;
use super::policies::Policies;
use super::reports::kind;
use super::told::{otherwise, shortened, told, verdict_of};
use super::viruses::{self, Viruses};
use super::wishes::{Wish, Wishes};
use super::{Court, answers, attachments};
use crate::config::{self, Action, Config};
use crate::engine::dmarc_reports::{DmarcReports, Seen};
use crate::engine::entries::{Entries, folded_text};
use crate::engine::outbound::Names;
use crate::engine::signing::{Present, Unsealed};

/// Large messages in memory at once, each of up to [`super::case_body::MAX_LOOKED_AT`] octets; others wait within their budget.
const LARGE_AT_ONCE: usize = 8;
/// For the DNS, of the budget: a name server that is away must not hold every message for all of it.
const ASKING: Duration = Duration::from_secs(6);
/// Kept for the verdict itself, of the budget: what is not known by then counts as failed.
const RESERVE: Duration = Duration::from_millis(500);
/// Sure enough to look up why: words are told of what is not plainly ham.
const WORTH_EXPLAINING: f64 = 0.3;

/// A config's worth of judging.
pub(in crate::engine) struct Sitting(Arc<Rules>);

pub(super) struct Rules {
    pub(super) court: Arc<Court>,
    names: Names,
    hostname: Box<str>,
    authenticator: OnceCell<Authenticator>,
    pub(super) thresholds: Thresholds,
    pub(super) policies: Policies,
    pub(super) budget: Duration,
    action: Action,
    on_failure: config::OnFailures,
    pub(super) allow: Peers,
    pub(super) block: Peers,
    /// The config's, folded.
    pub(super) traps: BTreeSet<String>,
    viruses: Option<Viruses>,
    lists: Arc<Lists>,
    attachments: config::Attachments,
    /// Whose seals (ARC) are believed.
    sealers: Vec<String>,
    /// Whether what comes in is sealed.
    seals: bool,
    pub(super) told: Told,
    /// Zero: everybody is taken at once.
    greylist: Duration,
    /// Domains of the backends, as somebody registered them.
    own_domains: Vec<String>,
    large: Semaphore,
}

/// Who else wants to know of what was judged, or helps.
pub(in crate::engine) struct Told {
    /// Reports to others.
    pub(in crate::engine) dmarc: Arc<DmarcReports>,
    /// The keys that seal.
    pub(in crate::engine) signing: Arc<Present>,
    /// What domains decide for themselves.
    pub(in crate::engine) entries: Arc<Entries>,
}

/// What was found out of a message.
#[derive(Default)]
pub(super) struct Found {
    pub(super) content: Option<Content>,
    pub(super) findings: Option<Findings>,
    virus: Option<Check>,
    lists: Vec<Check>,
    acquaintance: Acquaintance,
    /// The submission that it came by, on its way out.
    pub(super) came_by: Option<TransactionId>,
    /// What is to be done for its sender's sake.
    pub(super) conduct: Conduct,
    /// Of what was looked at, where somebody asks for it.
    digest: [u8; 32],
    /// Kinds of checks that failed, with what is to follow, and why.
    pub(super) failed: Vec<(config::OnFailure, String)>,
}

/// What was found out, what the checks say, the classifier's score, and all of it weighed.
type Deliberated = (Found, Vec<Check>, Option<(Features, Score)>, judge::Judgement);

impl Found {
    /// What could not be found out, in words.
    pub(super) fn troubles(&self) -> Vec<String> {
        self.failed.iter().map(|(_, why)| why.clone()).collect()
    }
}

impl Sitting {
    pub(in crate::engine) fn new(config: &Config, court: Arc<Court>, (names, told): (Names, Told)) -> Self {
        let judge = &config.judge;
        let rules = Arc::new(Rules {
            court: Arc::clone(&court),
            hostname: config.hostname.to_string().into(),
            authenticator: OnceCell::new(),
            policies: Policies::new(judge),
            thresholds: Thresholds { tag: judge.tag, quarantine: judge.quarantine, reject: judge.reject },
            budget: judge.budget,
            action: judge.action,
            on_failure: judge.on_failure,
            allow: Peers::new(&judge.allow),
            block: Peers::new(&judge.block),
            traps: judge.traps.iter().map(|trap| folded_text(trap)).collect(),
            lists: Arc::new(Lists::new(&judge.dnsbl, names.clone())),
            own_domains: own_domains(config),
            attachments: judge.attachments.clone(),
            sealers: judge.trusted_sealers.iter().map(|sealer| sealer.as_str().to_lowercase()).collect(),
            seals: judge.seal,
            told,
            greylist: judge.greylist,
            names,
            viruses: judge.clamd.as_ref().map(Viruses::new),
            large: Semaphore::new(LARGE_AT_ONCE),
        });
        court.rules_are(&rules);
        court.accounts.limits_are(Limits::new(config));
        Self(rules)
    }

    /// How sessions have their mail judged.
    pub(in crate::engine) fn settings(config: &Config) -> relay::Judging {
        let judge = &config.judge;
        let virus = judge.on_failure.virus == config::OnFailure::Defer && judge.clamd.is_some();
        let others = [judge.on_failure.auth, judge.on_failure.content];
        let defers = virus || others.contains(&config::OnFailure::Defer);
        // Who only observes acts on nothing, and neither does a failure.
        let on_failure = match defers && judge.action == Action::Enforce {
            true => OnFailure::Defer,
            false => OnFailure::Pass,
        };
        relay::Judging { budget: judge.budget, on_failure, submissions: config.outbound.senders.watch }
    }

    /// Whom Postern answers itself.
    pub(in crate::engine) fn own_addresses(config: &Config) -> OwnAddresses {
        let judge = &config.judge;
        let reports = [&judge.report_spam, &judge.report_ham];
        let own =
            reports.into_iter().fold(OwnAddresses::default(), |own, address| own.with(address, Own::Report));
        judge.traps.iter().fold(own, |own, address| own.with(address, Own::Trap))
    }
}

impl relay::Judge for Sitting {
    fn judge(&self, case: Case, deadline: Instant) -> Judging {
        let rules = Arc::clone(&self.0);
        Box::pin(async move {
            match case.protocol {
                Protocol::Submission | Protocol::Submissions => rules.submitted(&case),
                Protocol::Smtp => rules.judge(case, deadline).await,
            }
        })
    }

    fn at_the_door(&self, client: IpAddr, deadline: Instant) -> AtTheDoor {
        let rules = Arc::clone(&self.0);
        Box::pin(async move {
            if rules.action != Action::Enforce || rules.allow.has_network_of(client) {
                return None;
            }
            let listed = rules.lists.turn_away(client, deadline).await;
            listed.or_else(|| rules.impostor()).map(Box::new)
        })
    }

    fn own_mail_came(&self) {
        self.0.court.own_mail.notify_one();
        self.0.court.received.has_come();
    }
}

impl Rules {
    /// Nobody out there has this Postern's name: who says so wants to be let in by filters that ask for nothing else.
    fn impostor(&self) -> Option<Unwelcome> {
        let check =
            Check::demanding("helo", "calls itself as this Postern is called", judge::Verdict::Reject);
        let opinion = Opinion {
            checks: vec![told(&check)],
            carried_out: Verdict::Reject,
            ..Judgement::unjudged(Direction::Inbound).opinion
        };
        let (no, only_as) = (No::Impostor(self.hostname.clone()), Some(self.hostname.clone()));
        Some(Unwelcome { no, opinion, only_as })
    }

    async fn judge(&self, case: Case, deadline: Instant) -> Judgement {
        let began = Instant::now();
        let _turn = self.court.under_way.begin(began, deadline);
        let (mut found, checks, scored, mut weighed) = self.deliberate(&case, deadline).await;
        self.look_at_sender(&case, &mut found, &mut weighed, scored.is_some());
        let verdict = verdict_of(weighed.verdict);
        let words = match &scored {
            Some((features, _)) if weighed.probability > WORTH_EXPLAINING => self.words(features, &case),
            _ => Vec::new(),
        };
        let opinion = Opinion {
            direction: case.direction,
            carried_out: verdict,
            probability: scored.as_ref().map(|_| weighed.probability),
            checks: weighed.checks.iter().take(MAX_CHECKS).map(told).collect(),
            words,
            otherwise: otherwise(&weighed, &self.thresholds),
            subject: found
                .content
                .as_ref()
                .map(|content| record::named(&content.subject))
                .unwrap_or_default(),
            message_id: found
                .content
                .as_ref()
                .map(|content| record::named(&content.message_id))
                .unwrap_or_default(),
            language: scored.as_ref().map_or("", |(_, score)| score.language),
            trouble: found.troubles().join("; ").into(),
            took: began.elapsed(),
        };
        let results = found.findings.as_ref().filter(|_| case.direction == Direction::Inbound);
        let mut field = String::new();
        if let Some(findings) = results {
            let null_sender = case.envelope.mail.reverse_path == ReversePath::Null;
            let results = findings.field(&self.hostname, null_sender);
            field = self.seal(&case, findings, &results).await + &results;
        }
        let mut judgement = Judgement {
            verdict,
            fate: Fate::Deliver(Mark::PASS),
            apart: Vec::new(),
            results: field.into(),
            opinion,
        };
        let wishes = self.wishes(&case, &found);
        let by = |thresholds: &Thresholds, wish: Option<&Wish>| {
            let score = scored.as_ref().map(|(_, score)| score);
            let own = wish.map(|wish| wish.among(&checks));
            judge::judge(score, own.as_deref().unwrap_or(&checks), thresholds)
        };
        self.policies.sentence(&case, &mut judgement, (&weighed, &found), &wishes, by);
        self.greet(&case, &found, (&mut judgement, &wishes)).await;
        if let Some(content) = &found.content {
            let told = (content, found.findings.as_ref());
            // What one domain wants says nothing of the sender to others.
            let general = if wishes.are_none() { judgement.verdict } else { verdict };
            noted::note(&self.court.acquaintances, &case, told, general, &self.own_domains);
            self.report(&case, content, found.findings.as_ref(), &judgement);
        }
        if let Some((features, score)) = scored {
            self.keep(&case, (features, score), &judgement, found);
        }
        judgement
    }

    /// What is told of it to others, and what others tell in it.
    fn report(&self, case: &Case, content: &Content, findings: Option<&Findings>, judgement: &Judgement) {
        let Some(findings) = findings.filter(|_| case.direction == Direction::Inbound) else { return };
        if content.report.is_none() {
            self.told.dmarc.note(&Seen {
                client: case.client.address.ip(),
                reverse_path: &case.envelope.mail.reverse_path,
                spf: &findings.spf,
                authenticity: &findings.authenticity,
                verdict: judgement.verdict,
            });
        } else if matches!(judgement.fate, Fate::Deliver(_)) {
            self.court.received.note(case.transaction, content, &findings.authenticity);
        }
    }

    /// The seal over what was found, in the name of the recipients' domain.
    async fn seal(&self, case: &Case, findings: &Findings, results: &str) -> String {
        let (Some((signatures, _)), true) = (self.told.signing.now(), self.seals) else {
            return String::new();
        };
        let sealed = signatures.seal(Unsealed {
            body: case.body.clone(),
            domain: whom(case).0,
            chain: findings.authenticity.arc.clone(),
            results: results.split_once(':').map_or("", |(_, results)| results).to_owned(),
            now: self.court.clock.now(),
        });
        sealed.await.unwrap_or_else(|why| {
            tracing::warn!(transaction = %case.transaction, why, "a message is not sealed");
            String::new()
        })
    }

    /// All that is found out of a message, and what it weighs together.
    pub(super) async fn deliberate(&self, case: &Case, deadline: Instant) -> Deliberated {
        let found = self.find_out(case, deadline - RESERVE).await;
        let mut checks = found.findings.as_ref().map(Findings::checks).unwrap_or_default();
        checks.extend(found.virus.clone());
        checks.extend(found.lists.iter().cloned());
        checks.extend(self.strangers(case, &found));
        let rules = self.rules_say(case, &found);
        let is_excused = rules.iter().any(|rule| rule.demand == Some(judge::Verdict::Pass));
        if let Some(content) = &found.content {
            checks.extend(attachments::checks(&self.attachments, content, is_excused));
        }
        checks.extend(rules);
        let scored = found.content.as_ref().map(|content| self.score(case, content, found.findings.as_ref()));
        let weighed = judge::judge(scored.as_ref().map(|(_, score)| score), &checks, &self.thresholds);
        (found, checks, scored, weighed)
    }

    /// All that there is to be found out, at the same time.
    async fn find_out(&self, case: &Case, deadline: Instant) -> Found {
        let (mut found, virus) = tokio::join!(self.look_into(case, deadline), async {
            match &self.viruses {
                Some(viruses) => Some(viruses.look(&case.body, deadline).await),
                None => None,
            }
        });
        match virus {
            Some(Ok(check)) => found.virus = Some(check),
            Some(Err(error)) => found.failed.push((self.on_failure.virus, error.to_string())),
            None => {}
        }
        found
    }

    /// Reads the content and asks about the sender, both at the same time.
    async fn look_into(&self, case: &Case, deadline: Instant) -> Found {
        let mut found = Found::default();
        let _turn = match case.body.file.is_some() && case.body.stored > 0 {
            true => timeout_at(deadline, self.large.acquire()).await.ok(),
            false => None,
        };
        let message = match timeout_at(deadline, beginning(&case.body)).await {
            Ok(Ok(message)) => message,
            Ok(Err(error)) => {
                found.failed.push((self.on_failure.content, format!("the content cannot be read: {error}")));
                return found;
            }
            Err(_) => {
                found.failed.push((self.on_failure.content, "the content was not read in time".into()));
                return found;
            }
        };
        // A message that somebody hands in may have come from nowhere.
        let is_asked = case.direction == Direction::Inbound && !case.client.address.ip().is_unspecified();
        if case.direction == Direction::Outbound {
            found.came_by = came_by(&message, &self.hostname);
        }
        if is_asked && !self.greylist.is_zero() {
            found.digest = Sha256::digest(&message).into();
        }
        let asking = deadline.min(Instant::now() + ASKING);
        let read = async {
            let content = self.read(&message, deadline).await;
            let said = match is_asked {
                true => self.lists_say(case, content.as_ref().ok(), asking).await,
                false => Said::default(),
            };
            (content, said)
        };
        let ((content, said), findings) = tokio::join!(read, async {
            match is_asked {
                true => Some(self.ask(case, &message, asking).await),
                false => None,
            }
        });
        found.lists = said.checks;
        // A list that says nothing is one word less, and no reason to make mail wait.
        found.failed.extend(said.failed.into_iter().map(|why| (config::OnFailure::Pass, why)));
        match content {
            Ok(content) => found.content = Some(content),
            Err(why) => found.failed.push((self.on_failure.content, why)),
        }
        match findings {
            Some(Ok(findings)) => {
                if findings.is_incomplete() {
                    found.failed.push((self.on_failure.auth, "the DNS did not say who may send".into()));
                }
                found.findings = Some(findings);
            }
            Some(Err(why)) => found.failed.push((self.on_failure.auth, why)),
            None => {}
        }
        if let Some(content) = found.content.as_ref().filter(|_| is_asked) {
            let senders = noted::senders(case, found.findings.as_ref());
            let name = content.from.first().map_or("", |from| from.name.as_str());
            let known = self.court.acquaintances.of(author(content), name, &senders);
            found.acquaintance = timeout_at(deadline, known).await.unwrap_or_default();
        }
        found
    }

    /// Who it pretends to be, and what is known of who it is.
    fn strangers(&self, case: &Case, found: &Found) -> Vec<Check> {
        let Some(content) = found.content.as_ref().filter(|_| case.direction == Direction::Inbound) else {
            return Vec::new();
        };
        let findings = found.findings.as_ref();
        // Where nobody was asked, nobody is accused.
        let is_authentic = findings.is_none_or(|findings| findings.authenticated_domains().next().is_some());
        let mut checks = pretence::checks(content, &Known { own: &self.own_domains, is_authentic });
        let author = author(content);
        let (is_proven, now) = (noted::is_proven(author, findings), self.court.acquaintances.now());
        checks.extend(found.acquaintance.checks(author, is_proven, &self.own_domains, now));
        checks
    }

    /// Of the client at least; of domains only where the content is known.
    async fn lists_say(&self, case: &Case, content: Option<&Content>, deadline: Instant) -> Said {
        let own = |domain: &str| self.own_domains.iter().any(|own| own == domain);
        let sender = &case.envelope.mail.reverse_path;
        let domains = content.map(|content| lists::domains(content, sender, own)).unwrap_or_default();
        self.lists.ask(case.client.address.ip(), &domains, deadline).await
    }

    async fn read(&self, message: &[u8], deadline: Instant) -> Result<Content, String> {
        let workers = self.court.roles.workers().ok_or("no worker reads mail yet")?;
        let body = Body::from_bytes(message).map_err(|error| format!("no memory for a worker: {error}"))?;
        match timeout_at(deadline, workers.read(&body)).await {
            Ok(Ok(sifted)) => Ok(sifted.content),
            Ok(Err(error)) => Err(error.to_string()),
            Err(_) => Err("the content was not read in time".into()),
        }
    }

    async fn ask(&self, case: &Case, message: &[u8], deadline: Instant) -> Result<Findings, String> {
        let make = || async { self.names.resolver().await.map(Authenticator::new) };
        let authenticator = self.authenticator.get_or_try_init(make);
        let authenticator = match timeout_at(deadline, authenticator).await {
            Ok(Ok(authenticator)) => authenticator,
            Ok(Err(error)) => return Err(format!("the DNS cannot be asked: {error}")),
            Err(_) => return Err("the DNS does not answer".into()),
        };
        let sender = Sender {
            client: case.client.address.ip(),
            helo: &case.client.helo,
            reverse_path: &case.envelope.mail.reverse_path,
        };
        Ok(Findings::gather(authenticator, sender, message, &self.sealers, deadline).await)
    }

    fn score(&self, case: &Case, content: &Content, findings: Option<&Findings>) -> (Features, Score) {
        let words = findings.map(Findings::words).unwrap_or_default();
        let transport = Transport {
            helo: &case.client.helo,
            client: match case.direction {
                Direction::Inbound => Client::Unknown,
                Direction::Outbound => Client::Inside,
            },
            reverse_path: case.envelope.mail.reverse_path.as_str(),
            envelope: true,
            findings: &words,
            ..Transport::default()
        };
        let features = Features::of(content, &transport);
        let (domain, user) = whom(case);
        let score = self.court.model.score(&features, Whom { domain: &domain, user: &user }, case.received);
        (features, score)
    }

    /// What weighed most.
    fn words(&self, features: &Features, case: &Case) -> Vec<(Box<str>, f64)> {
        let (domain, user) = whom(case);
        let whom = Whom { domain: &domain, user: &user };
        let (clues, sequences) = self.court.model.weighed_most(features, whom);
        clues
            .into_iter()
            .chain(sequences)
            .take(MAX_WORDS)
            .map(|clue| (shortened(&clue.text), clue.weight))
            .collect()
    }

    /// Has a sender come again that nobody here knows, where mail of it would pass (DECISIONS 28).
    async fn greet(&self, case: &Case, found: &Found, (judgement, wishes): (&mut Judgement, &Wishes)) {
        let applies = self.action == Action::Enforce && case.direction == Direction::Inbound && !case.trapped;
        // Where it passes for some alone, those would have it in the quarantine, who are to have it a moment later.
        let passes = matches!(judgement.fate, Fate::Deliver(_)) && judgement.apart.is_empty();
        let Some(content) = found.content.as_ref().filter(|_| applies && passes && !self.greylist.is_zero())
        else {
            return;
        };
        let (findings, acquaintances) = (found.findings.as_ref(), &self.court.acquaintances);
        let author = author(content);
        let is_proven = noted::is_proven(author, findings);
        let is_allowed = judgement.opinion.checks.iter().any(|check| check.demand == Some(Verdict::Pass));
        if is_allowed
            || wishes.let_all_pass(case)
            || found.acquaintance.is_known(author, is_proven, acquaintances.now())
        {
            return;
        }
        let (senders, path) = (noted::senders(case, findings), case.envelope.mail.reverse_path.as_str());
        let greeting = acquaintances.greet(&senders, path, &found.digest, self.greylist).await;
        let result = match greeting {
            Ok(Greeting::NotYet(left)) => {
                judgement.fate = Fate::Refuse(No::NotYetKnown(left.as_secs().max(1)));
                judgement.verdict = Verdict::Defer;
                judgement.opinion.carried_out = Verdict::Defer;
                format!("not known here, is to come again in {} s", left.as_secs().max(1))
            }
            Ok(Greeting::CameAgain(waited)) => format!("came again after {} s", waited.as_secs()),
            Err(error) => format!("whether it came before is not known: {error}"),
        };
        if judgement.opinion.checks.len() < MAX_CHECKS {
            judgement.opinion.checks.push(told(&Check::weighing("greylist", result, 0.0)));
        }
    }

    /// For reports, and for what it teaches by itself.
    fn keep(&self, case: &Case, (features, score): (Features, Score), judgement: &Judgement, found: Found) {
        let lesson = match (case.trapped, case.direction, judgement.verdict) {
            (true, ..) => AtOnce::Trap,
            _ if found.virus.as_ref().is_some_and(viruses::is_certain) => AtOnce::Virus,
            (_, Direction::Outbound, Verdict::Pass) => AtOnce::Outgoing(answers::asked(case)),
            (_, Direction::Outbound, _) => AtOnce::Nothing,
            (_, Direction::Inbound, verdict) => {
                let content = found.content.as_ref();
                match content.and_then(|content| answers::answer(content, found.findings.as_ref(), verdict)) {
                    Some(answer) => AtOnce::Answer(answer, score),
                    None => AtOnce::Own(score),
                }
            }
        };
        let kind = found.content.as_ref().map(kind).unwrap_or_default();
        let message_id = found.content.map(|content| content.message_id).unwrap_or_default();
        self.court.kept.keep(Judged { transaction: case.transaction, features, message_id, kind, lesson });
    }
}

/// The domain in `From`, as somebody registered it.
fn author(content: &Content) -> &str {
    let author = content.from.first().and_then(|from| from.mailbox.rsplit_once('@'));
    author.map_or("", |(_, domain)| pretence::registered(domain))
}

fn own_domains(config: &Config) -> Vec<String> {
    let domains = config.backends.iter().flat_map(|backend| &backend.domains);
    domains.map(|domain| pretence::registered(domain.as_str()).to_owned()).collect()
}

/// The overlays of a message: its one recipient's, or the domain that all recipients are in.
pub(super) fn whom(case: &Case) -> (String, String) {
    let named = &case.envelope.recipients;
    let paths: Vec<&ForwardPath> =
        case.recipients.iter().filter_map(|index| Some(&named.get(index)?.forward_path)).collect();
    let Some(first) = paths.first() else { return Default::default() };
    let domain = first.domain().map(|domain| domain.as_str().to_lowercase()).unwrap_or_default();
    let same = paths.iter().all(|path| path.domain() == first.domain());
    match (same, paths.len()) {
        (true, 1) => (domain, first.as_str().to_lowercase()),
        (true, _) => (domain, String::new()),
        (false, _) => Default::default(),
    }
}
