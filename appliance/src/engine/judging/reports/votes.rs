//! What was said of one kind of message, by whom, and who turns out to be right.

use std::time::Duration;

use judge::Class;
use smtp::{TraceId, TransactionId};

use super::super::accounts::Reading;

/// Votes on one kind of message that are kept; then the oldest go.
const MAX_VOTES: usize = 32;
/// Octets of a reporter's address.
pub(super) const MAX_REPORTER: usize = 320;
/// So many others are needed for their word to stand against a report.
const MANY: usize = 2;
/// Whose weight is less is not believed alone.
pub(super) const BELIEVED: f32 = 0.25;
/// An administrator's word weighs as much as so many reporters', and is enough alone.
const ADMINISTRATOR: f32 = 3.0;
/// Of the form in which votes are stored.
const VERSION: u8 = 1;

/// Who has a vote.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Voter {
    /// By `postern learn`, a release, or a word about a report.
    Administrator,
    /// By the address, in lower case.
    Reporter(String),
}

/// What one of them said.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Vote {
    pub(super) voter: Voter,
    pub(super) class: Class,
    pub(super) weight: f32,
    /// In seconds since 1970.
    pub(super) at: u64,
    /// The message that it was said of.
    pub(super) transaction: TransactionId,
    /// It counts for nothing until somebody agrees.
    pub(super) held: bool,
    /// Whether it turned out to be right, as far as that is known by now.
    pub(super) was_right: Option<bool>,
}

/// What is known of a vote now, and was known before: others can turn it round.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Finding {
    before: Option<bool>,
    is_right: bool,
}

/// All that was said of one kind of message, the oldest first.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Votes(pub(super) Vec<Vote>);

/// What follows from a vote.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Outcome {
    /// Reports that count from now on, the new one included; by message, with their weight.
    pub(super) learn: Vec<(TransactionId, Class, f32)>,
    /// Of which reporters it is known now whether they were right.
    pub(super) records: Vec<(String, Finding)>,
}

impl Votes {
    /// A reporter's word. Empty-handed: it is held, for it contradicts many others, or comes from who is seldom right.
    pub(super) fn report(&mut self, vote: Vote) -> Outcome {
        let has_said_so = |one: &&Vote| one.voter == vote.voter && one.class == vote.class;
        if let Some(before) = self.0.iter().find(has_said_so) {
            // Of another message of that kind, perhaps: it is learnt, and counts once.
            let weight = before.weight;
            let learn = if before.held { Vec::new() } else { vec![(vote.transaction, vote.class, weight)] };
            return Outcome { learn, ..Outcome::default() };
        }
        // Who changes their mind contradicts nobody else.
        self.0.retain(|one| one.voter != vote.voter);
        let held = vote.weight < BELIEVED || self.contradicts_many(&vote);
        self.push(Vote { held, ..vote.clone() });
        if held && !self.outweighs(vote.class) {
            return Outcome::default();
        }
        self.accept(vote.class)
    }

    /// An administrator's word is final: nobody's report stands against it.
    pub(super) fn decide(&mut self, transaction: TransactionId, class: Class, at: u64) -> Outcome {
        self.0.retain(|one| one.voter != Voter::Administrator);
        let (voter, weight) = (Voter::Administrator, ADMINISTRATOR);
        self.push(Vote { voter, class, weight, at, transaction, held: false, was_right: Some(true) });
        let mut outcome = self.accept(class);
        for one in self.0.iter().filter(|one| one.held) {
            if let Voter::Reporter(reporter) = &one.voter {
                outcome.records.push((reporter.clone(), Finding { before: one.was_right, is_right: false }));
            }
        }
        self.0.retain(|one| !one.held);
        outcome
    }

    /// A held report is thrown away; its reporter was wrong.
    pub(super) fn discard(&mut self, reporter: &str) -> Outcome {
        let is_meant = |one: &Vote| one.held && one.voter == Voter::Reporter(reporter.to_owned());
        let finding = Finding { before: None, is_right: false };
        let records =
            self.0.iter().filter(|one| is_meant(one)).map(|_| (reporter.to_owned(), finding)).collect();
        self.0.retain(|one| !is_meant(one));
        Outcome { records, ..Outcome::default() }
    }

    /// How many others say something else, as far as it counts.
    pub(super) fn against(&self, class: Class) -> usize {
        self.0.iter().filter(|one| one.class != class && !one.held).count()
    }

    fn push(&mut self, vote: Vote) {
        self.0.push(vote);
        let surplus = self.0.len().saturating_sub(MAX_VOTES);
        self.0.drain(..surplus);
    }

    fn contradicts_many(&self, vote: &Vote) -> bool {
        let others = || self.0.iter().filter(|one| one.class != vote.class && !one.held);
        let is_final = others().any(|one| one.voter == Voter::Administrator);
        let against: f32 = others().map(|one| one.weight).sum();
        let with: f32 = self.0.iter().filter(|one| one.class == vote.class).map(|one| one.weight).sum();
        is_final || (others().count() >= MANY && against >= with + vote.weight)
    }

    /// Whether those who say this, the held ones included, weigh more than the others, and are several.
    fn outweighs(&self, class: Class) -> bool {
        let of = |class| self.0.iter().filter(move |one: &&Vote| one.class == class);
        let is_final = of(other(class)).any(|one| one.voter == Voter::Administrator);
        let (with, against): (f32, f32) = (
            of(class).map(|one| one.weight).sum(),
            of(other(class)).filter(|one| !one.held).map(|one| one.weight).sum(),
        );
        !is_final && of(class).count() > MANY && with > against
    }

    /// Those who say this are believed; and if it is clear who is right, that is noted.
    fn accept(&mut self, class: Class) -> Outcome {
        let mut outcome = Outcome::default();
        let newest = self.0.len().saturating_sub(1);
        for (at, one) in self.0.iter_mut().enumerate().filter(|(_, one)| one.class == class) {
            if one.held || (at == newest && one.voter != Voter::Administrator) {
                one.held = false;
                outcome.learn.push((one.transaction, class, one.weight));
            }
        }
        let of = |class| self.0.iter().filter(move |one: &&Vote| one.class == class && !one.held);
        let (with, against): (f32, f32) =
            (of(class).map(|one| one.weight).sum(), of(other(class)).map(|one| one.weight).sum());
        let is_final = of(class).any(|one| one.voter == Voter::Administrator);
        let is_clear = of(class).count() >= MANY && with >= 2.0 * against;
        if is_final || is_clear {
            for one in self.0.iter_mut().filter(|one| !one.held) {
                let (before, is_right) = (one.was_right, one.class == class);
                if let Voter::Reporter(reporter) = &one.voter
                    && before != Some(is_right)
                {
                    outcome.records.push((reporter.clone(), Finding { before, is_right }));
                    one.was_right = Some(is_right);
                }
            }
        }
        outcome
    }

    pub(super) fn newest(&self) -> u64 {
        self.0.iter().map(|one| one.at).max().unwrap_or_default()
    }

    pub(super) fn to_bytes(&self) -> Vec<u8> {
        let mut out = vec![VERSION];
        for one in &self.0 {
            let name = match &one.voter {
                Voter::Administrator => "",
                Voter::Reporter(reporter) => reporter,
            };
            out.extend(u16::try_from(name.len()).unwrap_or_default().to_be_bytes());
            out.extend(name.as_bytes());
            let flag = |set: bool, bit: u8| if set { bit } else { 0 };
            out.push(
                flag(one.class == Class::Spam, 1)
                    | flag(one.held, 2)
                    | flag(one.was_right.is_some(), 4)
                    | flag(one.was_right == Some(true), 8),
            );
            out.extend(one.weight.to_be_bytes());
            out.extend(one.at.to_be_bytes());
            out.extend(one.transaction.session.to_bits().to_be_bytes());
            out.extend(one.transaction.number.to_be_bytes());
        }
        out
    }

    /// What is no vote is left out.
    pub(super) fn from_bytes(bytes: &[u8]) -> Self {
        let mut from = Reading(bytes);
        let mut votes = Vec::new();
        if from.octet() == Some(VERSION) {
            while let Some(vote) = read(&mut from) {
                votes.push(vote);
            }
        }
        votes.truncate(MAX_VOTES);
        Self(votes)
    }
}

fn read(from: &mut Reading<'_>) -> Option<Vote> {
    let length: [u8; 2] = from.octets(2)?.try_into().ok()?;
    let length = usize::from(u16::from_be_bytes(length));
    let name = std::str::from_utf8(from.octets(length).filter(|_| length <= MAX_REPORTER)?).ok()?;
    let (flags, weight, at) = (from.octet()?, f32::from_bits(from.number()?), from.long()?);
    let (session, number) = (from.long()?, from.number()?);
    Some(Vote {
        voter: if name.is_empty() { Voter::Administrator } else { Voter::Reporter(name.to_owned()) },
        class: if flags & 1 != 0 { Class::Spam } else { Class::Ham },
        weight: Some(weight).filter(|weight| (0.0..=ADMINISTRATOR).contains(weight))?,
        at,
        transaction: TransactionId { session: TraceId::from_bits(session), number },
        held: flags & 2 != 0,
        was_right: (flags & 4 != 0).then_some(flags & 8 != 0),
    })
}

fn other(class: Class) -> Class {
    match class {
        Class::Ham => Class::Spam,
        Class::Spam => Class::Ham,
    }
}

/// How often a reporter was right, where what is long ago counts less.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Standing {
    last: u64,
    right: f32,
    wrong: f32,
}

/// Counts lose half their weight in this time, in seconds: half a year.
const HALF_LIFE: f64 = 180.0 * 86_400.0;

impl Standing {
    pub(super) fn new(now: Duration) -> Self {
        Self { last: now.as_secs(), right: 0.0, wrong: 0.0 }
    }

    pub(super) fn with(self, finding: Finding, now: Duration) -> Self {
        let kept = self.kept(now);
        let count = |count: f32, which: bool| {
            let before = f32::from(u8::from(finding.before == Some(which)));
            (count * kept - before).max(0.0) + f32::from(u8::from(finding.is_right == which))
        };
        Self { last: now.as_secs(), right: count(self.right, true), wrong: count(self.wrong, false) }
    }

    /// What a report weighs, 0 to 1: all of it for who was never wrong, a quarter after some five times.
    pub(super) fn weight(self, now: Duration) -> f32 {
        let kept = self.kept(now);
        let (right, wrong) = (self.right * kept + 3.0, self.wrong * kept);
        right / (right + 2.0 * wrong)
    }

    pub(super) fn last(self) -> u64 {
        self.last
    }

    #[expect(clippy::cast_possible_truncation, reason = "a share from 0 to 1")]
    fn kept(self, now: Duration) -> f32 {
        let age = now.saturating_sub(Duration::from_secs(self.last)).as_secs_f64();
        (-age / HALF_LIFE).exp2() as f32
    }

    pub(super) fn to_bytes(self) -> Vec<u8> {
        [&self.last.to_be_bytes()[..], &self.right.to_be_bytes(), &self.wrong.to_be_bytes()].concat()
    }

    pub(super) fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let mut from = Reading(bytes);
        let last = from.long()?;
        let mut count =
            || from.number().map(f32::from_bits).filter(|count| count.is_finite() && *count >= 0.0);
        Some(Self { last, right: count()?, wrong: count()? })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Duration = Duration::from_secs(1_795_288_205);

    const WRONG: Finding = Finding { before: None, is_right: false };
    const RIGHT: Finding = Finding { before: None, is_right: true };

    fn vote(reporter: &str, class: Class, weight: f32) -> Vote {
        let transaction =
            TransactionId { session: TraceId::new(1, 2), number: u32::from(reporter.as_bytes()[0]) };
        let voter = Voter::Reporter(reporter.to_owned());
        Vote { voter, class, weight, at: 7, transaction, held: false, was_right: None }
    }

    fn said(votes: &[(&str, Class)]) -> (Votes, Vec<bool>) {
        let mut all = Votes::default();
        let learnt = votes.iter().map(|(who, class)| !all.report(vote(who, *class, 1.0)).learn.is_empty());
        let learnt = learnt.collect();
        (all, learnt)
    }

    #[test]
    fn a_report_against_many_others_is_held_and_one_against_one_other_is_not() {
        use Class::{Ham, Spam};
        assert_eq!(said(&[("a", Spam), ("b", Ham)]).1, [true, true]);
        let (votes, learnt) = said(&[("a", Spam), ("b", Spam), ("c", Ham)]);
        assert_eq!(learnt, [true, true, false]);
        assert_eq!((votes.against(Ham), votes.against(Spam)), (2, 0), "what is held does not count");
        assert_eq!(said(&[("a", Spam), ("b", Spam), ("a", Spam)]).1, [true, true, true], "again");
        assert_eq!(said(&[("a", Spam), ("b", Spam), ("a", Ham)]).1, [true, true, true], "another mind");
    }

    #[test]
    fn held_reports_count_once_enough_others_agree() {
        use Class::{Ham, Spam};
        let (mut votes, _) = said(&[("a", Spam), ("b", Spam), ("c", Ham), ("d", Ham)]);
        let outcome = votes.report(vote("e", Ham, 1.0));
        assert_eq!(outcome.learn.len(), 3, "{outcome:?}");
        assert!(outcome.records.is_empty(), "three against two are no clear matter");
        let outcome = votes.report(vote("f", Ham, 1.0));
        assert_eq!(outcome.records.iter().filter(|(_, found)| !found.is_right).count(), 2, "{outcome:?}");
    }

    #[test]
    fn an_administrators_word_is_final_and_tells_who_was_right() {
        let (mut votes, _) = said(&[("a", Class::Spam), ("b", Class::Spam), ("c", Class::Ham)]);
        let outcome = votes.decide(vote("x", Class::Ham, 1.0).transaction, Class::Ham, 8);
        assert_eq!(outcome.learn.len(), 1);
        let mut records = outcome.records;
        records.sort();
        let found: Vec<_> =
            records.iter().map(|(who, found)| (who.as_str(), found.before, found.is_right)).collect();
        assert_eq!(found, [("a", Some(true), false), ("b", Some(true), false), ("c", None, true)]);
        assert!(votes.report(vote("d", Class::Spam, 1.0)).learn.is_empty());
        assert_eq!(votes.discard("d").records, [("d".to_owned(), WRONG)]);
        assert!(votes.discard("d").records.is_empty());
    }

    #[test]
    fn who_is_seldom_right_is_not_believed_alone() {
        let mut standing = Standing::new(NOW);
        assert_eq!(standing.weight(NOW), 1.0);
        for _ in 0..5 {
            standing = standing.with(WRONG, NOW);
        }
        assert!(standing.weight(NOW) < BELIEVED);
        let mut votes = Votes::default();
        assert!(votes.report(vote("a", Class::Spam, standing.weight(NOW))).learn.is_empty());
        let better = (0..20).fold(standing, |standing, _| standing.with(RIGHT, NOW));
        assert!(better.weight(NOW) > 0.6);
        assert!(standing.weight(NOW + Duration::from_secs(400 * 86_400)) > 0.5, "it is long ago");
        let turned =
            Standing::new(NOW).with(RIGHT, NOW).with(Finding { before: Some(true), is_right: false }, NOW);
        assert_eq!(turned, Standing::new(NOW).with(WRONG, NOW));
        assert_eq!(Standing::from_bytes(&better.to_bytes()), Some(better));
        assert_eq!(Standing::from_bytes(&[0xff; 16]), None);
    }

    #[test]
    fn votes_read_back_as_written_and_are_bounded() {
        let (mut votes, _) = said(&[("a", Class::Spam), ("b", Class::Ham)]);
        votes.decide(vote("x", Class::Ham, 1.0).transaction, Class::Ham, 8);
        assert_eq!(Votes::from_bytes(&votes.to_bytes()), votes);
        for number in 0..100 {
            votes.report(vote(&format!("r{number}"), Class::Ham, 1.0));
        }
        assert_eq!(votes.0.len(), MAX_VOTES);
        let bytes = votes.to_bytes();
        (0..bytes.len()).for_each(|length| drop(Votes::from_bytes(&bytes[..length])));
        assert_eq!(Votes::from_bytes(&[0xff; 99]), Votes::default());
    }
}
