//! What is taught: a message, what it is, who says so.

use std::time::Duration;

use crate::Features;

/// What a message is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Class {
    /// Wanted mail.
    Ham,
    /// Unwanted mail.
    Spam,
}

impl Class {
    /// The opposite.
    pub fn other(self) -> Self {
        match self {
            Self::Ham => Self::Spam,
            Self::Spam => Self::Ham,
        }
    }
}

/// Who says what a message is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Source {
    /// `postern learn`, or the page.
    Administrator,
    /// A person who reported it.
    Report,
    /// Somebody released it from the quarantine.
    Release,
    /// It was sent to a trap.
    Trap,
    /// A virus was found in it.
    Virus,
    /// It was sent by one of the site's own users.
    Outgoing,
    /// It answers mail of one of the site's own users.
    Answer,
    /// The model's own verdict: see [`crate::Model::teach_itself`].
    Own,
}

impl Source {
    /// Whether somebody other than the model says it: only these calibrate it.
    pub fn is_trusted(self) -> bool {
        self != Self::Own
    }
}

/// Whose mail it is: the keys of the overlays that lie over the site's counts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Whom<'a> {
    /// The recipient's domain (the sender's, of outgoing mail), in lower case; empty: the site alone.
    pub domain: &'a str,
    /// The recipient's mailbox, in lower case; empty: nobody in particular.
    pub user: &'a str,
}

/// One message to learn from.
#[derive(Clone, Copy, Debug)]
pub struct Lesson<'a> {
    /// The message.
    pub features: &'a Features,
    /// What it is.
    pub class: Class,
    /// Who says so.
    pub source: Source,
    /// How much it counts: 0 to 1, kept in eighths; a reporter with a bad record counts less.
    pub weight: f32,
    /// Whose overlays learn it, too. Given for reports and releases only: traps know nobody's taste.
    pub whom: Whom<'a>,
    /// The time since 1970.
    pub now: Duration,
}

/// What came of a lesson.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Learnt {
    /// It was new, and counts.
    New,
    /// It was known as this class, and counts once.
    Again,
    /// It had been learnt as the other class: that is undone, and it counts as this one.
    Corrected,
    /// It counts for nothing: no weight, or it is the model's own opinion on what a person has decided.
    Declined,
}
