//! When the model may believe itself: `spam.md` of the design measured that only the middle band of confidence is worth it.

use std::collections::HashMap;

use crate::stack::Said;

/// Log-odds between which its own verdict teaches: below it guesses, above it knows already.
const BAND: (f64, f64) = (1.5, 6.0);
/// Of siblings, so many a day.
const SIBLINGS: u8 = 2;
/// So many lessons one class may have before the other has any,
const AHEAD: u32 = 100;
/// and for each of the other so many more: as much as mail has of one class and of the other. Whoever floods the site with one
/// sort of mail turns its model no further.
const TIMES: u32 = 4;
/// A member that says less than this, in its unit, says nothing.
const FAINT: f32 = 0.1;
/// Bodies that are remembered of one day.
const BODIES: usize = 100_000;

/// Whether a verdict of this confidence is one to learn from.
pub(crate) fn is_worth_it(log_odds: f64) -> bool {
    let sure = log_odds.abs();
    sure > BAND.0 && sure < BAND.1
}

/// How much was learned from itself lately.
#[derive(Debug, Default)]
pub(crate) struct Temperance {
    day: u32,
    bodies: HashMap<u64, u8>,
    /// Lessons of ham and of spam.
    taught: [u32; 2],
}

impl Temperance {
    /// Whether the model may learn its verdict on a message; if so, it is counted.
    pub(crate) fn allows(&mut self, body: u64, log_odds: f64, said: &Said, day: u32) -> bool {
        if self.day != day {
            *self = Self { day, taught: self.taught, ..Self::default() };
        }
        let spam = log_odds > 0.0;
        let agreeing = said.iter().filter(|member| member.abs() > FAINT && (**member > 0.0) == spam).count();
        let [own, other] = if spam { [self.taught[1], self.taught[0]] } else { self.taught };
        let balanced = own < AHEAD.saturating_add(other.saturating_mul(TIMES));
        if !(is_worth_it(log_odds) && agreeing >= 2 && balanced) || self.bodies.len() >= BODIES {
            return false;
        }
        let siblings = self.bodies.entry(body).or_default();
        if *siblings >= SIBLINGS {
            return false;
        }
        *siblings += 1;
        self.taught[usize::from(spam)] += 1;
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALL: Said = [1.0; 5];

    #[test]
    fn only_the_middle_band_agreed_on_by_two_and_few_siblings() {
        let mut temperance = Temperance::default();
        assert!(!temperance.allows(1, 0.5, &ALL, 1), "a guess");
        assert!(!temperance.allows(1, 9.0, &ALL, 1), "known well");
        assert!(!temperance.allows(1, 3.0, &[1.0, -1.0, 0.05, -0.2, 0.0], 1), "one member alone");
        assert!(temperance.allows(1, 3.0, &ALL, 1) && temperance.allows(1, 3.0, &ALL, 1));
        assert!(!temperance.allows(1, 3.0, &ALL, 1), "the third sibling");
        assert!(temperance.allows(1, 3.0, &ALL, 2), "another day");
    }

    #[test]
    fn one_class_does_not_run_ahead() {
        let mut temperance = Temperance::default();
        let taught = (0..1_000).filter(|body| temperance.allows(*body, 3.0, &ALL, 1)).count();
        assert_eq!(taught, 100);
        assert!(temperance.allows(2_000, -3.0, &ALL.map(|said| -said), 1));
        let taught = (3_000..4_000).filter(|body| temperance.allows(*body, 3.0, &ALL, 1)).count();
        assert_eq!(taught, 4);
    }
}
