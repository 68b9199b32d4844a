//! When a corpus' labels are given, and how far they can be trusted: the regimes that a filter is measured in.

use std::collections::VecDeque;
use std::str::FromStr;

use xxhash_rust::xxh3::xxh3_64_with_seed;

use crate::features::Features;
use crate::lesson::Class;

/// Messages by which a label may be late: they lie in memory meanwhile.
pub const MAX_DELAY: usize = 10_000;

/// When labels are given.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Feedback {
    /// Right after the score.
    Immediate,
    /// So many messages later; at most [`MAX_DELAY`].
    Delayed(usize),
    /// As users do.
    Reports(Reports),
    /// Never.
    None,
}

/// Labels as users give them: an administrator teaches the first messages, then some of the mistakes are reported, late.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Reports {
    /// Messages from the beginning whose labels are given at once.
    pub first: usize,
    /// The share of mistakes that is reported: 0 to 1.
    pub share: f64,
    /// Messages by which a report is late; at most [`MAX_DELAY`].
    pub late: usize,
}

impl Default for Reports {
    fn default() -> Self {
        Self { first: 500, share: 0.3, late: 200 }
    }
}

impl FromStr for Feedback {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let read = || match text.split_once(':') {
            None if text == "immediate" => Some(Self::Immediate),
            None if text == "none" => Some(Self::None),
            None if text == "reports" => Some(Self::Reports(Reports::default())),
            Some(("delayed", late)) => Some(Self::Delayed(delay(late)?)),
            Some(("reports", numbers)) => reports(numbers).map(Self::Reports),
            _ => None,
        };
        read().ok_or_else(|| {
            format!(
                "expected immediate, none, delayed:N, or reports:FIRST,SHARE,LATE, with N and LATE up to {MAX_DELAY} and \
                 SHARE from 0 to 1"
            )
        })
    }
}

fn delay(text: &str) -> Option<usize> {
    text.parse().ok().filter(|late| *late <= MAX_DELAY)
}

fn reports(text: &str) -> Option<Reports> {
    let mut numbers = text.split(',');
    let first = numbers.next()?.parse().ok()?;
    let share = numbers.next()?.parse().ok().filter(|share| (0.0..=1.0).contains(share))?;
    let late = delay(numbers.next()?)?;
    numbers.next().is_none().then_some(Reports { first, share, late })
}

/// A regime.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Regime {
    /// When labels are given.
    pub feedback: Feedback,
    /// The share of given labels, 0 to 1, that says the opposite: people err.
    pub flipped: f64,
    /// The share of spam, 0 to 1, whose label is given as ham: somebody means harm.
    pub poisoned: f64,
    /// Another number is another draw of what is reported, flipped and poisoned.
    pub seed: u64,
}

impl Default for Regime {
    fn default() -> Self {
        Self { feedback: Feedback::Immediate, flipped: 0.0, poisoned: 0.0, seed: 0 }
    }
}

/// Gives a stream's labels by a regime.
#[derive(Debug)]
pub struct Teacher {
    regime: Regime,
    /// Messages so far.
    number: usize,
    /// Labels and when they are given; in that order.
    waiting: VecDeque<(usize, Class, Features)>,
}

/// What is drawn by chance of a message.
#[derive(Clone, Copy)]
enum Drawn {
    Reported,
    Flipped,
    Poisoned,
}

impl Teacher {
    /// One that has seen nothing.
    pub fn new(regime: Regime) -> Self {
        Self { regime, number: 0, waiting: VecDeque::new() }
    }

    /// The next message of the stream, what it is, and what the filter took it for. Whether its label will be given.
    pub fn see(&mut self, class: Class, taken_for: Class, features: Features) -> bool {
        let Regime { feedback, flipped, poisoned, .. } = self.regime;
        let number = self.number;
        self.number += 1;
        let late = match feedback {
            Feedback::Immediate => 0,
            Feedback::Delayed(late) => late,
            Feedback::Reports(Reports { first, .. }) if number < first => 0,
            Feedback::Reports(Reports { share, late, .. })
                if class != taken_for && self.happens(number, Drawn::Reported, share) =>
            {
                late
            }
            Feedback::Reports(_) | Feedback::None => return false,
        };
        let turned = self.happens(number, Drawn::Flipped, flipped)
            || class == Class::Spam && self.happens(number, Drawn::Poisoned, poisoned);
        self.waiting.push_back((number + late, if turned { class.other() } else { class }, features));
        true
    }

    /// A label whose time has come: to be asked after each message until there is none.
    pub fn due(&mut self) -> Option<(Class, Features)> {
        let (when, ..) = self.waiting.front()?;
        if *when >= self.number {
            return None;
        }
        self.waiting.pop_front().map(|(_, class, features)| (class, features))
    }

    fn happens(&self, number: usize, drawn: Drawn, share: f64) -> bool {
        let mut octets = [0; 9];
        octets[..8].copy_from_slice(&(number as u64).to_le_bytes());
        octets[8] = drawn as u8;
        let chance = xxh3_64_with_seed(&octets, self.regime.seed) >> 11;
        (chance as f64) / ((1_u64 << 53) as f64) < share
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use sift::Bounds;

    fn features(text: &str) -> Features {
        let content = sift::read(format!("Subject: x\n\n{text}\n").as_bytes(), &Bounds::default());
        Features::of(&content, &crate::Transport::default())
    }

    /// For each message, spam that was taken for ham, how many labels were given after it, and as what.
    fn given(regime: Regime, messages: usize) -> Vec<Vec<Class>> {
        let mut teacher = Teacher::new(regime);
        let see = |_| {
            teacher.see(Class::Spam, Class::Ham, features("x"));
            std::iter::from_fn(|| teacher.due().map(|(class, _)| class)).collect()
        };
        (0..messages).map(see).collect()
    }

    #[test]
    fn labels_come_when_the_regime_says() {
        let after = |feedback| {
            let given = given(Regime { feedback, ..Regime::default() }, 6);
            given.iter().map(Vec::len).collect::<Vec<_>>()
        };
        assert_eq!(after(Feedback::Immediate), [1; 6]);
        assert_eq!(after(Feedback::Delayed(2)), [0, 0, 1, 1, 1, 1]);
        assert_eq!(after(Feedback::None), [0; 6]);
        assert_eq!(after("reports:2,1,3".parse().unwrap()), [1, 1, 0, 0, 0, 1]);
        assert_eq!(after("reports:2,0,3".parse().unwrap()), [1, 1, 0, 0, 0, 0]);
    }

    #[test]
    fn what_was_right_is_not_reported() {
        let mut teacher =
            Teacher::new(Regime { feedback: "reports:0,1,0".parse().unwrap(), ..Regime::default() });
        assert!(!teacher.see(Class::Spam, Class::Spam, features("x")));
        assert!(teacher.see(Class::Ham, Class::Spam, features("x")));
        assert!(matches!(teacher.due(), Some((Class::Ham, _))));
    }

    #[test]
    fn shares_of_labels_are_turned_and_another_seed_turns_others() {
        let turned = |regime| {
            let given = given(regime, 2_000);
            given.iter().map(|labels| labels[0] == Class::Ham).collect::<Vec<_>>()
        };
        let number = |turned: &[bool]| turned.iter().filter(|turned| **turned).count();
        let one = turned(Regime { flipped: 0.1, ..Regime::default() });
        assert!((140..260).contains(&number(&one)), "{}", number(&one));
        assert_ne!(one, turned(Regime { flipped: 0.1, seed: 1, ..Regime::default() }));
        assert_eq!(number(&turned(Regime { poisoned: 1.0, ..Regime::default() })), 2_000);
    }

    #[test]
    fn a_regime_is_read_or_it_is_said_what_would_do() {
        assert_eq!("reports".parse(), Ok(Feedback::Reports(Reports { first: 500, share: 0.3, late: 200 })));
        assert_eq!("delayed:7".parse(), Ok(Feedback::Delayed(7)));
        for wrong in [
            "delayed:10001",
            "delayed:",
            "reports:1",
            "reports:1,2,3",
            "reports:1,.5,3,4",
            "reports:1,nan,3",
            "now",
        ] {
            assert!(wrong.parse::<Feedback>().unwrap_err().contains("SHARE"), "{wrong}");
        }
    }
}
