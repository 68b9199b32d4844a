//! The instrument: a labelled corpus as a stream, an empty model, each message scored before its label is given.

pub mod regime;

use std::io::{BufRead, Read as _};

use crate::error::JudgeError;
use crate::lesson::Class;

/// One line of an index.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Labelled {
    /// What it is.
    pub class: Class,
    /// Where it lies, as the index says.
    pub path: String,
}

/// Octets of a line: a path is no longer than 4,096 anywhere.
pub const MAX_LINE: u64 = 8 << 10;

/// Reads the lines of an index, `spam PATH` or `ham PATH`; what follows the path is left, so are empty lines and those with `#`.
///
/// # Errors
///
/// [`JudgeError::Index`] for a line that is neither, or longer than [`MAX_LINE`]; nothing is read behind it. [`JudgeError::Reading`]
/// if the lines cannot be read.
pub fn index(mut lines: impl BufRead) -> impl Iterator<Item = Result<Labelled, JudgeError>> {
    let (mut line, mut ended) = (0, false);
    std::iter::from_fn(move || {
        while !ended {
            line += 1;
            let mut text = Vec::new();
            let read = lines.by_ref().take(MAX_LINE).read_until(b'\n', &mut text);
            let found = match read {
                Ok(0) => return None,
                Ok(_) if text.len() as u64 == MAX_LINE => Err(JudgeError::Index { line }),
                Ok(_) => labelled(&text, line),
                Err(error) => Err(JudgeError::Reading(error)),
            };
            ended = found.is_err();
            if let Some(found) = found.transpose() {
                return Some(found);
            }
        }
        None
    })
}

/// What a line says; nothing if it is empty or a remark.
fn labelled(text: &[u8], line: u64) -> Result<Option<Labelled>, JudgeError> {
    let text = std::str::from_utf8(text).map_err(|_| JudgeError::Index { line })?;
    let mut words = text.split_ascii_whitespace();
    let Some(first) = words.next().filter(|word| !word.starts_with('#')) else { return Ok(None) };
    let class = match first {
        "spam" => Class::Spam,
        "ham" => Class::Ham,
        _ => return Err(JudgeError::Index { line }),
    };
    let path = words.next().ok_or(JudgeError::Index { line })?;
    Ok(Some(Labelled { class, path: path.to_owned() }))
}

/// What was measured.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Measures {
    /// A hundred times the chance that a ham outscores a spam.
    pub one_minus_roca: f64,
    /// Per cent of ham at or above the threshold.
    pub ham_misclassified: f64,
    /// Per cent of spam below it.
    pub spam_missed: f64,
    /// The logistic mean of both, in per cent.
    pub logistic_mean: f64,
    /// Per cent of spam missed where 0.1 % of ham is lost.
    pub spam_missed_at_a_thousandth: f64,
    /// Per cent of spam missed where 1 % of ham is lost.
    pub spam_missed_at_a_hundredth: f64,
}

/// Measures the scores of a stream; `threshold` is in the scores' own unit.
pub fn measure(scores: &[(Class, f64)], threshold: f64) -> Measures {
    let of = |class: Class| scores.iter().filter(move |score| score.0 == class).map(|score| score.1);
    let mut ham: Vec<f64> = of(Class::Ham).collect();
    let spam: Vec<f64> = of(Class::Spam).collect();
    if ham.is_empty() || spam.is_empty() {
        return Measures::default();
    }
    ham.sort_by(f64::total_cmp);
    let (hams, spams) = (ham.len() as f64, spam.len() as f64);
    let above: f64 = spam.iter().map(|score| outscored(&ham, *score)).sum();
    let lost = ham.iter().filter(|score| **score >= threshold).count() as f64;
    let missed = spam.iter().filter(|score| **score < threshold).count() as f64;
    let missed_at = |loss: f64| {
        let accepted = (hams * loss) as usize;
        let highest = ham[ham.len() - 1 - accepted.min(ham.len() - 1)];
        100.0 * spam.iter().filter(|score| **score <= highest).count() as f64 / spams
    };
    Measures {
        one_minus_roca: 100.0 * above / (hams * spams),
        ham_misclassified: 100.0 * lost / hams,
        spam_missed: 100.0 * missed / spams,
        logistic_mean: logistic_mean((lost + 0.5) / (hams + 1.0), (missed + 0.5) / (spams + 1.0)),
        spam_missed_at_a_thousandth: missed_at(0.001),
        spam_missed_at_a_hundredth: missed_at(0.01),
    }
}

/// Samples that a spread is taken from.
const SAMPLES: usize = 200;

/// Where the middle 95 % of 200 bootstrap samples of the messages lie, for each measure: its least and its most.
pub fn spread(scores: &[(Class, f64)], threshold: f64) -> (Measures, Measures) {
    let mut state = 0x2545_F491_4F6C_DD1D_u64;
    let mut draw = || {
        // xorshift64: the same samples in each run.
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        scores[(state % scores.len().max(1) as u64) as usize]
    };
    let samples: Vec<Measures> = (0..SAMPLES)
        .map(|_| {
            let sample: Vec<_> = scores.iter().map(|_| draw()).collect();
            measure(&sample, threshold)
        })
        .collect();
    let at = |share: f64| {
        Measures::from_each(|of| {
            let mut values: Vec<f64> = samples.iter().map(of).collect();
            values.sort_by(f64::total_cmp);
            values[(SAMPLES as f64 * share) as usize]
        })
    };
    (at(0.025), at(0.975))
}

impl Measures {
    /// Measures of which each is made from what reads it.
    fn from_each(make: impl Fn(&dyn Fn(&Self) -> f64) -> f64) -> Self {
        Self {
            one_minus_roca: make(&|of| of.one_minus_roca),
            ham_misclassified: make(&|of| of.ham_misclassified),
            spam_missed: make(&|of| of.spam_missed),
            logistic_mean: make(&|of| of.logistic_mean),
            spam_missed_at_a_thousandth: make(&|of| of.spam_missed_at_a_thousandth),
            spam_missed_at_a_hundredth: make(&|of| of.spam_missed_at_a_hundredth),
        }
    }
}

/// Ham that outscores a spam; ties count half.
fn outscored(ham: &[f64], spam: f64) -> f64 {
    let below = ham.partition_point(|score| *score < spam);
    let not_above = ham.partition_point(|score| *score <= spam);
    (ham.len() - not_above) as f64 + (not_above - below) as f64 / 2.0
}

fn logistic_mean(ham: f64, spam: f64) -> f64 {
    let logit = |share: f64| (share / (1.0 - share)).ln();
    100.0 / (1.0 + (-(logit(ham) + logit(spam)) / 2.0).exp())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_index_and_its_measures() {
        let lines = "# head\nspam a.eml 0 x\n\nham b/c.eml\nperhaps d\n";
        let read: Vec<_> = index(lines.as_bytes()).collect();
        assert_eq!(read[0].as_ref().unwrap(), &Labelled { class: Class::Spam, path: "a.eml".into() });
        assert_eq!(read[1].as_ref().unwrap().path, "b/c.eml");
        assert!(matches!(read[2], Err(JudgeError::Index { line: 5 })));
        let endless = "spam a\nham ".to_owned() + &"b".repeat(9 << 10) + "\nham c\n";
        let read: Vec<_> = index(endless.as_bytes()).collect();
        assert!(matches!(read[..], [Ok(_), Err(JudgeError::Index { line: 2 })]), "{read:?}");
        let scores = [(Class::Ham, 0.1), (Class::Ham, 0.9), (Class::Spam, 0.5), (Class::Spam, 0.95)];
        let measures = measure(&scores, 0.8);
        assert_eq!(measures.one_minus_roca, 25.0);
        assert_eq!((measures.ham_misclassified, measures.spam_missed), (50.0, 50.0));
    }

    #[test]
    fn a_spread_holds_its_measure_and_is_wider_where_there_is_less() {
        let scores = |number: usize| -> Vec<_> {
            let classes = [Class::Ham, Class::Ham, Class::Ham, Class::Spam];
            (0..number)
                .map(|place| (classes[place % 4], f64::from(u8::try_from(place % 10).unwrap())))
                .collect()
        };
        let width = |scores: &[(Class, f64)]| {
            let (least, most) = spread(scores, 5.0);
            let measured = measure(scores, 5.0);
            assert!(least.ham_misclassified <= measured.ham_misclassified);
            assert!(measured.ham_misclassified <= most.ham_misclassified);
            most.ham_misclassified - least.ham_misclassified
        };
        let (few, many) = (width(&scores(100)), width(&scores(2_000)));
        assert!(few > 2.0 * many && many > 0.0, "{few} {many}");
    }
}
