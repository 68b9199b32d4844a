//! How the classifier does, in three drawings.

use maud::{Markup, html};

use super::chart;
use super::tables::{none, wide};
use crate::report::{LearningDay, LearningState};

/// Days whose mail is put together for a point of the curve: single days have too few labels to say much.
const WINDOW: usize = 7;

/// The section of the front page.
pub(super) fn section(learning: &LearningState) -> Markup {
    let labels: u64 = learning.days.iter().map(|day| day.ham + day.spam).sum();
    let judged: u64 = learning.days.iter().flat_map(|day| &day.verdicts).map(|count| count.count).sum();
    wide(
        "learning",
        "Judging and learning",
        html! {
            @if judged == 0 && labels == 0 && learning.ham + learning.spam < 1.0 { (none("Nothing was judged or learnt yet.")) }
            @else {
                div.charts {
                    (chart::verdicts(&learning.days))
                    (chart::curve(&curve(&learning.days)))
                    (chart::reliability(&learning.reliability))
                }
                p.note {
                    "Learnt: " (format!("{:.0}", learning.ham)) " wanted and " (format!("{:.0}", learning.spam)) " unwanted messages. "
                    "Curve and reliability are of mail that somebody vouched for, by what the classifier said before it was told: reports name its mistakes, so that it looks worse than it is."
                }
            }
        },
    )
}

/// Shares of a week up to a day: of ham that would have been lost, of spam that would have been missed.
pub(super) struct Point {
    pub(super) ham_lost: Option<f64>,
    pub(super) spam_missed: Option<f64>,
}

fn curve(days: &[LearningDay]) -> Vec<Point> {
    let point = |last: usize| {
        let week = &days[(last + 1).saturating_sub(WINDOW)..=last];
        let sum = |of: fn(&LearningDay) -> u64| week.iter().map(of).sum::<u64>();
        Point {
            ham_lost: share(sum(|day| day.ham_lost), sum(|day| day.ham)),
            spam_missed: share(sum(|day| day.spam_missed), sum(|day| day.spam)),
        }
    };
    (0..days.len()).map(point).collect()
}

#[expect(clippy::cast_precision_loss, reason = "counts of mail")]
fn share(part: u64, whole: u64) -> Option<f64> {
    (whole > 0).then(|| part as f64 / whole as f64)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::{Count, ReliabilityBin};

    fn day(ham: u64, spam: u64, missed: u64) -> LearningDay {
        let verdicts =
            vec![Count { what: "pass".into(), count: 9 }, Count { what: "reject".into(), count: 1 }];
        LearningDay { day: 0, verdicts, ham, ham_lost: 0, spam, spam_missed: missed }
    }

    #[test]
    fn a_point_is_of_the_week_before_and_none_where_nothing_is_known() {
        let days: Vec<_> =
            [day(0, 0, 0), day(0, 4, 4)].into_iter().chain((0..7).map(|_| day(1, 1, 0))).collect();
        let points = curve(&days);
        assert!(points[0].spam_missed.is_none() && points[0].ham_lost.is_none());
        assert_eq!(points[1].spam_missed, Some(1.0));
        assert_eq!((points[8].spam_missed, points[8].ham_lost), (Some(0.0), Some(0.0)));
    }

    #[test]
    fn drawings_say_in_words_what_they_show_and_carry_no_style() {
        let reliability =
            (0..10).map(|at| ReliabilityBin { percent_from: at * 10, messages: 4, spam: at as u64 % 4 });
        let learning = LearningState {
            ham: 3.0,
            spam: 2.0,
            days: vec![day(5, 4, 1); 9],
            reliability: reliability.collect(),
        };
        let page = section(&learning).into_string();
        for part in [
            "81 passed",
            "25.0 % of the spam missed",
            "of 100 by 95, 1 of 4 were spam",
            "polyline",
            "3 wanted",
        ] {
            assert!(page.contains(part), "{part}: {page}");
        }
        assert!(!page.contains("style=") && !page.contains("<script"));
        assert!(section(&LearningState::default()).into_string().contains("Nothing was judged"));
    }
}
