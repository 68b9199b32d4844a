//! The instrument: a labelled corpus as a stream, an empty model, each message scored before its label is given.

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
}
