//! From a verdict to what is done, as far as the config lets verdicts act; by recipient, for whom thresholds and action can be others
//! than [judge] says (`[[judge.rules]]`, DECISIONS 5).

use std::collections::BTreeMap;

use judge::{Check, Thresholds};
use record::{Direction, MAX_CHECKS, Verdict};
use relay::{Case, Fate, Judgement, Mark};
use smtp::No;

use super::accounts::Conduct;
use super::custody::TAKEN_OVER;
use super::sitting::Found;
use super::told::{told, verdict_of};
use super::wishes::{Wish, Wishes};
use crate::config::{self, Action, Judge};

/// Rules that are named in the trace of one message.
const MAX_TOLD: usize = 8;

/// Thresholds, and what they may do.
#[derive(Clone, Debug)]
struct Policy {
    thresholds: Thresholds,
    action: Action,
}

/// Those of all recipients.
#[derive(Clone, Debug)]
pub(super) struct Policies {
    /// The first one is [judge]'s own; then the rules', in their order.
    all: Vec<Policy>,
    /// In lower case, with the place in `all`.
    recipients: BTreeMap<String, usize>,
    domains: BTreeMap<String, usize>,
}

/// Verdict, what becomes of the message, and what that comes to.
type Sentence = (Verdict, Fate, Verdict);

/// The places of a policy and of a domain's wish.
type Group = (usize, Option<usize>);

impl Policies {
    pub(super) fn new(judge: &Judge) -> Self {
        let thresholds = Thresholds { tag: judge.tag, quarantine: judge.quarantine, reject: judge.reject };
        let mut policies = Self {
            all: vec![Policy { thresholds, action: judge.action }],
            recipients: BTreeMap::new(),
            domains: BTreeMap::new(),
        };
        for rule in &judge.rules {
            let place = policies.all.len();
            let thresholds = Thresholds { tag: rule.tag, quarantine: rule.quarantine, reject: rule.reject };
            policies.all.push(Policy { thresholds, action: rule.action });
            // The config has each of them once.
            policies.recipients.extend(rule.recipients.iter().map(|one| (one.to_lowercase(), place)));
            policies.domains.extend(rule.domains.iter().map(|one| (one.as_str().to_lowercase(), place)));
        }
        policies
    }

    /// The place of a recipient's policy: its own rule's, else its domain's, else [judge]'s.
    fn of(&self, recipient: &str) -> usize {
        let recipient = recipient.to_lowercase();
        let domain = recipient.rsplit_once('@').map_or("", |(_, domain)| domain);
        let own = self.recipients.get(&recipient).or_else(|| self.domains.get(domain));
        own.copied().unwrap_or_default()
    }

    /// Says what becomes of a message. `by` is what other thresholds than [judge]'s, and a domain's wish, come to.
    pub(super) fn sentence(
        &self,
        case: &Case,
        judgement: &mut Judgement,
        (weighed, found): (&judge::Judgement, &Found),
        wishes: &Wishes,
        by: impl Fn(&Thresholds, Option<&Wish>) -> judge::Judgement,
    ) {
        let groups = self.groups(case, wishes);
        let first = groups.keys().next().copied().unwrap_or_default();
        let mut told_of = Vec::new();
        let mut sentence_by = |(place, wish): Group| {
            let policy = self.all.get(place)?;
            let wish = wish.and_then(|wish| wishes.at(wish));
            let own = (place > 0 || wish.is_some()).then(|| by(&policy.thresholds, wish));
            let verdict = own.as_ref().map_or(judgement.verdict, |own| verdict_of(own.verdict));
            let sentence = sentence(policy.action, verdict, (own.as_ref().unwrap_or(weighed), wish), found);
            let outcome = format!("{}, done: {}", sentence.0.name(), sentence.2.name());
            if let Some(wish) = wish {
                told_of.push(Check::weighing(wish.name(), format!("{}: {outcome}", wish.words()), 0.0));
            }
            if place > 0 {
                told_of.push(Check::weighing("rule", format!("{place}: {outcome}"), 0.0));
            }
            Some(sentence)
        };
        let Some((verdict, fate, carried_out)) = sentence_by(first) else { return };
        let mut apart = Vec::new();
        for (group, indexes) in groups.into_iter().filter(|(group, _)| *group != first) {
            if let Some((_, other, _)) = sentence_by(group).filter(|(_, other, _)| *other != fate) {
                apart.extend(indexes.into_iter().map(|index| (index, other.clone())));
            }
        }
        (judgement.verdict, judgement.fate, judgement.apart) = (verdict, fate, apart);
        judgement.opinion.carried_out = carried_out;
        let room = MAX_CHECKS.saturating_sub(judgement.opinion.checks.len());
        judgement.opinion.checks.extend(told_of.iter().take(room.min(MAX_TOLD)).map(told));
    }

    /// The recipients, those together for whom the same policy and the same wish count.
    fn groups(&self, case: &Case, wishes: &Wishes) -> BTreeMap<Group, Vec<usize>> {
        let mut groups: BTreeMap<Group, Vec<usize>> = BTreeMap::new();
        if case.direction == Direction::Inbound && (self.all.len() > 1 || !wishes.are_none()) {
            for index in case.recipients.iter() {
                let path = case.envelope.recipients.get(index).map(|rcpt| &rcpt.forward_path);
                let place = path.map_or(0, |path| self.of(path.as_str()));
                groups.entry((place, path.and_then(|path| wishes.place_for(path)))).or_default().push(index);
            }
        }
        groups
    }
}

fn sentence(
    action: Action,
    verdict: Verdict,
    (weighed, wish): (&judge::Judgement, Option<&Wish>),
    found: &Found,
) -> Sentence {
    let why = reason(weighed, wish);
    let is_stopped = matches!(found.conduct, Conduct::Stopped(_));
    let failed = found.failed.iter().find(|(follows, _)| *follows == config::OnFailure::Defer);
    let word = match verdict {
        Verdict::Pass => "pass",
        Verdict::Tag => "tag",
        _ => "quarantine",
    };
    match (action, verdict, failed) {
        // Whatever else is found: it is a person's to decide, and nothing is bounced to who is not the user.
        _ if is_stopped => (verdict, Fate::Hold(No::NotWanted(TAKEN_OVER.into())), Verdict::Quarantine),
        (Action::Enforce, Verdict::Reject, _) => (verdict, Fate::Refuse(No::NotWanted(why)), Verdict::Reject),
        (Action::Enforce, _, Some((_, why))) => {
            (Verdict::Defer, Fate::Refuse(No::NotJudged(why.as_str().into())), Verdict::Defer)
        }
        (Action::Enforce, Verdict::Quarantine, _) => {
            (verdict, Fate::Hold(No::NotWanted(why)), Verdict::Quarantine)
        }
        (Action::Enforce, Verdict::Defer, _) => (verdict, Fate::Refuse(No::NotJudged(why)), Verdict::Defer),
        (_, Verdict::Pass, _) => (verdict, Fate::Deliver(Mark::PASS), Verdict::Pass),
        (Action::Observe, ..) => (verdict, Fate::Deliver(Mark { word, spam_flag: false }), Verdict::Pass),
        (Action::Tag | Action::Enforce, ..) => {
            (verdict, Fate::Deliver(Mark { word: "tag", spam_flag: true }), Verdict::Tag)
        }
    }
}

/// For the sender: which kind of check it was, and no number by which the next run could be tuned.
fn reason(weighed: &judge::Judgement, wish: Option<&Wish>) -> Box<str> {
    let demanded = weighed.checks.iter().find(|check| {
        check.demand.is_some_and(|demand| demand == weighed.verdict && demand != judge::Verdict::Pass)
    });
    match demanded.map(|check| &*check.name) {
        Some("gtube") => "it holds the test string for spam".into(),
        Some("attachment") => "it holds a kind of attachment that is not taken here".into(),
        Some("virus") => "it holds a virus".into(),
        Some("block") => wish.and_then(Wish::reason).unwrap_or_else(|| "its sender is blocked here".into()),
        Some("dmarc") => "its author's domain says that it is not theirs".into(),
        Some(_) | None => "it looks like spam".into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config;

    fn policies(rules: &str) -> Policies {
        let text = format!(
            "hostname = \"mx.test\"\n[[backend]]\ndomains = [\"a.test\", \"b.test\"]\nservers = [\"192.0.2.1\"]\n\
             [judge]\naction = \"enforce\"\n{rules}"
        );
        Policies::new(&config::parse(&text, std::path::Path::new("postern.toml")).unwrap().judge)
    }

    #[test]
    fn a_recipients_own_rule_goes_before_its_domains_and_what_it_does_not_say_is_as_for_all() {
        let policies = policies(
            "[[judge.rules]]\ndomains = [\"a.test\"]\naction = \"tag\"\n\
             [[judge.rules]]\nrecipients = [\"Sales@a.test\"]\ntag = 0.5\nquarantine = 0.7\n",
        );
        assert_eq!(
            ["x@A.test", "sales@a.test", "x@b.test", "postmaster"].map(|one| policies.of(one)),
            [1, 2, 0, 0]
        );
        assert_eq!((policies.all[1].action, policies.all[1].thresholds.tag), (Action::Tag, 0.80));
        let own = &policies.all[2];
        assert_eq!((own.action, own.thresholds.tag, own.thresholds.reject), (Action::Enforce, 0.5, 0.999));
    }
}
