//! What was decided about a message before a server saw it, and why.

use std::time::Duration;

/// Which way a message goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Direction {
    /// From the world.
    Inbound,
    /// From inside, or from who authenticated.
    Outbound,
}

impl Direction {
    /// The word in traces and metrics.
    pub fn name(self) -> &'static str {
        match self {
            Self::Inbound => "inbound",
            Self::Outbound => "outbound",
        }
    }
}

/// What was decided about a message before a server saw it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Verdict {
    /// There was no judgement: no content, or judging is off.
    Unjudged,
    /// Refused by one of Postern's own rules (smuggling, loop, size).
    Refused,
    /// It may pass.
    Pass,
    /// It passes with a mark.
    Tag,
    /// It is held for a person.
    Quarantine,
    /// Its sender is told no.
    Reject,
    /// Its sender is told to try later.
    Defer,
    /// It was for a trap: taken, learnt and thrown away.
    Discard,
}

impl Verdict {
    /// Those that a judge comes to, the mildest first.
    pub const JUDGED: [Self; 6] =
        [Self::Pass, Self::Tag, Self::Quarantine, Self::Reject, Self::Defer, Self::Discard];

    /// The word in traces and metrics.
    pub fn name(self) -> &'static str {
        match self {
            Self::Unjudged => "unjudged",
            Self::Refused => "refused",
            Self::Pass => "pass",
            Self::Tag => "tag",
            Self::Quarantine => "quarantine",
            Self::Reject => "reject",
            Self::Defer => "defer",
            Self::Discard => "discard",
        }
    }

    /// Whether a judge came to it.
    pub fn is_judged(self) -> bool {
        !matches!(self, Self::Unjudged | Self::Refused)
    }
}

/// The most checks that one opinion names.
pub const MAX_CHECKS: usize = 48;
/// The most things that would have changed a verdict, as one opinion names them.
pub const MAX_OTHERWISE: usize = 8;
/// The most words that one opinion names.
pub const MAX_WORDS: usize = 24;

/// Characters of a field of the message that are kept to find it by.
pub const MAX_NAMED: usize = 200;

/// The beginning of a field, as much as is kept of it.
pub fn named(field: &str) -> Box<str> {
    let end = field.char_indices().nth(MAX_NAMED).map_or(field.len(), |(end, _)| end);
    field.get(..end).unwrap_or_default().into()
}

/// Why a verdict is what it is, for those who run this Postern: nothing of it is ever told outside.
#[derive(Clone, Debug, PartialEq)]
pub struct Opinion {
    /// Which way the message goes.
    pub direction: Direction,
    /// What was done; the verdict says what would have been done where all of it is enforced.
    pub carried_out: Verdict,
    /// How probable it is that it is spam, 0 to 1; `None` where that could not be found out.
    pub probability: Option<f64>,
    /// What was looked at; at most [`MAX_CHECKS`].
    pub checks: Vec<Check>,
    /// What weighed most in its text, in log-odds, spam positive; at most [`MAX_WORDS`].
    pub words: Vec<(Box<str>, f64)>,
    /// Other verdicts, and what would have led there; at most [`MAX_OTHERWISE`].
    pub otherwise: Vec<(Verdict, Box<str>)>,
    /// Its `Subject`, decoded, by which people look for it; empty where it has none or was not read. At most [`MAX_NAMED`]
    /// characters.
    pub subject: Box<str>,
    /// Its `Message-ID`, by which other machines' logs name it; as the subject.
    pub message_id: Box<str>,
    /// The language of its text, or its script; empty where its text was not read.
    pub language: &'static str,
    /// What failed, in words; empty if nothing did.
    pub trouble: Box<str>,
    /// How long it took.
    pub took: Duration,
}

/// One thing that was looked at.
#[derive(Clone, Debug, PartialEq)]
pub struct Check {
    /// Its name.
    pub name: Box<str>,
    /// What came out, in a few words.
    pub result: Box<str>,
    /// Its share of the score in log-odds, spam positive.
    pub weight: f64,
    /// The least that it demands, whatever all weights come to.
    pub demand: Option<Verdict>,
}

impl Check {
    /// Which way it speaks, for metrics.
    pub fn speaks(&self) -> &'static str {
        match self.demand {
            Some(Verdict::Pass) => "for",
            Some(_) => "against",
            None if self.weight > 0.0 => "against",
            None if self.weight < 0.0 => "for",
            None => "neither",
        }
    }
}
