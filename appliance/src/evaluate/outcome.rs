//! What `postern evaluate` found: measures, how sure they are, and the learning curve.

use std::time::Duration;

use judge::evaluation::{self, Measures};
use judge::verdict::log_odds;
use judge::{Class, Thresholds};
use serde::Serialize;

use super::Spent;
use crate::output;

/// Messages of one point of the curve.
const BLOCK: usize = 1_000;

/// What is printed. Per cent, where nothing else is said.
#[derive(Debug, Serialize)]
pub(super) struct Outcome {
    pub(super) messages: usize,
    ham: usize,
    spam: usize,
    pub(super) one_minus_roca_percent: f64,
    ham_misclassified_percent: f64,
    pub(super) spam_missed_percent: f64,
    lam_percent: f64,
    spam_missed_percent_at_ham_loss_01: f64,
    spam_missed_percent_at_ham_loss_1: f64,
    scored_per_second: f64,
    /// Milliseconds within which 99 of 100 messages of up to 256 KiB were read and scored.
    scored_p99_ms: f64,
    pub(super) learnt_per_second: f64,
    intervals: Intervals,
    curve: Vec<Point>,
}

/// The middle 95 % of bootstrap samples of the messages: the least and the most.
#[derive(Debug, Serialize)]
struct Intervals {
    one_minus_roca_percent: [f64; 2],
    ham_misclassified_percent: [f64; 2],
    spam_missed_percent: [f64; 2],
    lam_percent: [f64; 2],
    spam_missed_percent_at_ham_loss_01: [f64; 2],
    spam_missed_percent_at_ham_loss_1: [f64; 2],
}

/// A point of the learning curve: a thousand messages by themselves. A class that is not among them has no share.
#[derive(Debug, Serialize)]
struct Point {
    /// Messages that were measured up to its end.
    messages: usize,
    one_minus_roca_percent: Option<f64>,
    ham_misclassified_percent: Option<f64>,
    spam_missed_percent: Option<f64>,
}

impl Outcome {
    /// Of the scores in their order; none without both classes.
    pub(super) fn of(scores: &[(Class, f64)], spent: &Spent) -> Option<Self> {
        let (ham, spam) = number(scores);
        if ham == 0 || spam == 0 {
            return None;
        }
        let threshold = log_odds(Thresholds::default().tag);
        let measured = evaluation::measure(scores, threshold);
        let per_second = |number: f64, spent: Duration| number / spent.as_secs_f64().max(f64::MIN_POSITIVE);
        Some(Self {
            messages: scores.len(),
            ham,
            spam,
            one_minus_roca_percent: measured.one_minus_roca,
            ham_misclassified_percent: measured.ham_misclassified,
            spam_missed_percent: measured.spam_missed,
            lam_percent: measured.logistic_mean,
            spam_missed_percent_at_ham_loss_01: measured.spam_missed_at_a_thousandth,
            spam_missed_percent_at_ham_loss_1: measured.spam_missed_at_a_hundredth,
            scored_per_second: per_second(spent.scored.into(), spent.scoring),
            scored_p99_ms: percentile(&spent.ordinary, 0.99).as_secs_f64() * 1e3,
            learnt_per_second: if spent.learnt == 0 {
                0.0
            } else {
                per_second(spent.learnt.into(), spent.learning)
            },
            intervals: Intervals::of(&evaluation::spread(scores, threshold)),
            curve: curve(scores, threshold),
        })
    }

    /// For people.
    pub(super) fn tell(&self) {
        let threshold = Thresholds::default().tag;
        let spread = &self.intervals;
        let line = |name: &str, value: f64, [least, most]: [f64; 2], digits: usize, more: &str| {
            let text = format!("{name:<21} {value:.digits$} % ({least:.digits$} to {most:.digits$}){more}");
            output::line(&text);
        };
        output::line(&format!(
            "messages              {} ({} ham, {} spam)",
            self.messages, self.ham, self.spam
        ));
        line("1-ROCA", self.one_minus_roca_percent, spread.one_minus_roca_percent, 4, "");
        let at = format!(", at a spam probability of {threshold} and more");
        line("ham misclassified", self.ham_misclassified_percent, spread.ham_misclassified_percent, 2, &at);
        line("spam misclassified", self.spam_missed_percent, spread.spam_missed_percent, 2, "");
        line("logistic mean", self.lam_percent, spread.lam_percent, 2, "");
        let rare = spread.spam_missed_percent_at_ham_loss_01;
        line("spam missed at h=.1", self.spam_missed_percent_at_ham_loss_01, rare, 2, "");
        let often = spread.spam_missed_percent_at_ham_loss_1;
        line("spam missed at h=1", self.spam_missed_percent_at_ham_loss_1, often, 2, "");
        output::line(&format!(
            "read and scored       {:.0} messages/s of a processor, 99 % of those up to 256 KiB within {:.1} ms",
            self.scored_per_second, self.scored_p99_ms
        ));
        output::line(&format!(
            "learnt                {:.0} messages/s of a processor",
            self.learnt_per_second
        ));
        output::line("");
        output::line("messages   1-ROCA %   ham misclassified %   spam misclassified %");
        let share = |share: Option<f64>, digits: usize| {
            share.map_or_else(|| "-".to_owned(), |share| format!("{share:.digits$}"))
        };
        for point in &self.curve {
            output::line(&format!(
                "{:>8} {:>10} {:>21} {:>22}",
                point.messages,
                share(point.one_minus_roca_percent, 4),
                share(point.ham_misclassified_percent, 2),
                share(point.spam_missed_percent, 2),
            ));
        }
    }
}

impl Intervals {
    fn of((least, most): &(Measures, Measures)) -> Self {
        let between = |of: fn(&Measures) -> f64| [of(least), of(most)];
        Self {
            one_minus_roca_percent: between(|measures| measures.one_minus_roca),
            ham_misclassified_percent: between(|measures| measures.ham_misclassified),
            spam_missed_percent: between(|measures| measures.spam_missed),
            lam_percent: between(|measures| measures.logistic_mean),
            spam_missed_percent_at_ham_loss_01: between(|measures| measures.spam_missed_at_a_thousandth),
            spam_missed_percent_at_ham_loss_1: between(|measures| measures.spam_missed_at_a_hundredth),
        }
    }
}

fn curve(scores: &[(Class, f64)], threshold: f64) -> Vec<Point> {
    let mut messages = 0;
    let point = |block: &[(Class, f64)]| {
        messages += block.len();
        let (ham, spam) = number(block);
        let share = |class: Class, number: usize| {
            let wrong =
                |(of, odds): &&(Class, f64)| *of == class && (*odds >= threshold) != (class == Class::Spam);
            (number > 0).then(|| 100.0 * block.iter().filter(wrong).count() as f64 / number as f64)
        };
        Point {
            messages,
            one_minus_roca_percent: (ham > 0 && spam > 0)
                .then(|| evaluation::measure(block, threshold).one_minus_roca),
            ham_misclassified_percent: share(Class::Ham, ham),
            spam_missed_percent: share(Class::Spam, spam),
        }
    };
    scores.chunks(BLOCK).map(point).collect()
}

fn percentile(times: &[Duration], share: f64) -> Duration {
    let mut sorted = times.to_vec();
    sorted.sort_unstable();
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a share of a length")]
    let place = (sorted.len() as f64 * share) as usize;
    sorted.get(place.min(sorted.len().saturating_sub(1))).copied().unwrap_or_default()
}

/// Ham and spam among them.
fn number(scores: &[(Class, f64)]) -> (usize, usize) {
    let ham = scores.iter().filter(|score| score.0 == Class::Ham).count();
    (ham, scores.len() - ham)
}
