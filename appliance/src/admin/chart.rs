//! Bar charts as inline SVG: no script, no style attributes, readable without sight by a sentence. Parts of a bar differ by what fills
//! them and lines by their dashes, not by colour alone, and each has its sum beside its name.

use std::fmt::Write as _;

use maud::{Markup, html};

use super::learning::Point;
use crate::report::{LearningDay, Period, ReliabilityBin, Totals};

/// Units of the drawing; the page stretches it.
const HEIGHT: u64 = 100;
/// One bar and the gap beside it.
const STEP: usize = 10;
const BAR: usize = 8;

/// Messages over time: accepted, and on top of them those deferred and refused. `name` is the drawing's own on its page.
pub(super) fn messages(name: &str, period: &Period, title: &str, past: &str) -> Markup {
    let highest = period.steps.iter().map(all).max().unwrap_or_default();
    let width = period.steps.len() * STEP;
    let sums = &period.totals;
    let words = format!(
        "{title}: {} accepted, {} deferred, {} refused; at most {highest} in one step.",
        sums.accepted, sums.deferred, sums.refused
    );
    html! {
        figure.chart {
            figcaption {
                span { (title) }
                span.peak { @if highest > 0 { "peak " (highest) } }
            }
            svg viewBox=(format!("0 0 {width} {HEIGHT}")) preserveAspectRatio="none" role="img" aria-label=(words) {
                (fillings(name))
                line.base x1="0" x2=(width) y1=(HEIGHT) y2=(HEIGHT) {}
                @for (at, step) in period.steps.iter().enumerate() {
                    (bar(name, at * STEP, step, highest.max(1)))
                }
            }
            div.axis aria-hidden="true" { span { (past) } span { "now" } }
            (legend([
                ("accepted", "accepted", sums.accepted.to_string()),
                ("deferred", "deferred", sums.deferred.to_string()),
                ("refused", "refused", sums.refused.to_string()),
            ]))
        }
    }
}

/// Names with their sums; `class` says what their mark looks like.
fn legend<const PARTS: usize>(parts: [(&str, &str, String); PARTS]) -> Markup {
    html! {
        p.legend { @for (class, name, sum) in parts { span.(class) { (name) } " " b { (sum) } } }
    }
}

/// What fills the parts above the lowest: stripes, and a net. In units of the drawing, whose sides are stretched to about the same measure.
fn fillings(name: &str) -> Markup {
    html! {
        defs {
            pattern id=(format!("{name}-deferred")) width="4" height="4" patternUnits="userSpaceOnUse" {
                rect.deferred width="4" height="4" {}
                path.gap d="M0 4 4 0" {}
            }
            pattern id=(format!("{name}-refused")) width="5" height="5" patternUnits="userSpaceOnUse" {
                rect.refused width="5" height="5" {}
                path.gap d="M0 5 5 0M0 0 5 5" {}
            }
        }
    }
}

fn all(step: &Totals) -> u64 {
    step.accepted + step.deferred + step.refused
}

fn bar(name: &str, x: usize, step: &Totals, highest: u64) -> Markup {
    let mut top = HEIGHT;
    let parts = [("accepted", step.accepted), ("deferred", step.deferred), ("refused", step.refused)];
    html! {
        @for (class, count) in parts {
            @if let Some(height) = height(count, highest) {
                @let y = { top = top.saturating_sub(height); top };
                @let filling = (class != "accepted").then(|| format!("url(#{name}-{class})"));
                rect class=[filling.is_none().then_some(class)] fill=[filling] x=(x) y=(y) width=(BAR) height=(height) {}
            }
        }
    }
}

/// Verdicts day by day: passed, on top of them what was tagged or deferred, and what was held or refused.
pub(super) fn verdicts(days: &[LearningDay]) -> Markup {
    let steps: Vec<Totals> = days.iter().map(by_class).collect();
    let highest = steps.iter().map(all).max().unwrap_or_default();
    let sum = |of: fn(&Totals) -> u64| steps.iter().map(of).sum::<u64>();
    let (passed, marked, held) = (sum(|one| one.accepted), sum(|one| one.deferred), sum(|one| one.refused));
    let words = format!(
        "Verdicts of {} days: {passed} passed, {marked} tagged or deferred, {held} held or refused; at most {highest} a day.",
        days.len()
    );
    let width = steps.len() * STEP;
    html! {
        figure.chart {
            figcaption { span { "Verdicts by day" } span.peak { @if highest > 0 { "peak " (highest) } } }
            svg viewBox=(format!("0 0 {width} {HEIGHT}")) preserveAspectRatio="none" role="img" aria-label=(words) {
                (fillings("verdicts"))
                line.base x1="0" x2=(width) y1=(HEIGHT) y2=(HEIGHT) {}
                @for (at, step) in steps.iter().enumerate() { (bar("verdicts", at * STEP, step, highest.max(1))) }
            }
            div.axis aria-hidden="true" { span { (days.len()) " d ago" } span { "today" } }
            (legend([
                ("accepted", "passed", passed.to_string()),
                ("deferred", "tagged or deferred", marked.to_string()),
                ("refused", "held or refused", held.to_string()),
            ]))
        }
    }
}

fn by_class(day: &LearningDay) -> Totals {
    let mut totals = Totals::default();
    for count in &day.verdicts {
        match count.what.as_str() {
            "pass" => totals.accepted += count.count,
            "tag" | "defer" => totals.deferred += count.count,
            _ => totals.refused += count.count,
        }
    }
    totals
}

/// How much of ham would have been lost and of spam missed, week by week; the whole height is the worst of it.
pub(super) fn curve(points: &[Point]) -> Markup {
    let both = || points.iter().flat_map(|point| [point.ham_lost, point.spam_missed]).flatten();
    let highest = both().fold(0.01, f64::max);
    let last = |of: fn(&Point) -> Option<f64>| {
        points
            .iter()
            .rev()
            .find_map(of)
            .map_or_else(|| "not known".to_owned(), |share| format!("{:.1} %", share * 100.0))
    };
    let (ham, spam) = (last(|point| point.ham_lost), last(|point| point.spam_missed));
    let words = format!("Learning curve: at last {ham} of the ham lost and {spam} of the spam missed.");
    let width = points.len().saturating_sub(1).max(1) * STEP;
    html! {
        figure.chart {
            figcaption { span { "Learning curve: mistakes of a week" } span.peak { "top " (format!("{:.1} %", highest * 100.0)) } }
            svg viewBox=(format!("0 0 {width} {HEIGHT}")) preserveAspectRatio="none" role="img" aria-label=(words) {
                line.base x1="0" x2=(width) y1=(HEIGHT) y2=(HEIGHT) {}
                (polyline("dashed", points, highest, |point| point.ham_lost))
                (polyline("line", points, highest, |point| point.spam_missed))
            }
            div.axis aria-hidden="true" { span { (points.len()) " d ago" } span { "today" } }
            (legend([("dashed", "ham lost", ham), ("line", "spam missed", spam)]))
        }
    }
}

fn polyline(class: &str, points: &[Point], highest: f64, of: fn(&Point) -> Option<f64>) -> Markup {
    let place = |(at, point): (usize, &Point)| {
        of(point).map(|share| format!("{},{:.1}", at * STEP, place(share / highest)))
    };
    let places: Vec<String> = points.iter().enumerate().filter_map(place).collect();
    html! { polyline class=(class) points=(places.join(" ")) {} }
}

/// From the bottom up.
fn place(share: f64) -> f64 {
    100.0 - 100.0 * share.clamp(0.0, 1.0)
}

/// What share of mail was spam, by the probability that it was given: on the diagonal it is as probable as it says.
pub(super) fn reliability(bins: &[ReliabilityBin]) -> Markup {
    let filled: Vec<&ReliabilityBin> = bins.iter().filter(|bin| bin.messages > 0).collect();
    let said = filled
        .iter()
        .map(|bin| format!("of 100 by {}, {} of {} were spam", bin.percent_from + 5, bin.spam, bin.messages));
    let words = format!("Reliability: {}.", said.collect::<Vec<_>>().join("; "));
    let top = HEIGHT;
    html! {
        figure.chart {
            figcaption { span { "Reliability: spam by its probability" } span.peak { (bins.iter().map(|bin| bin.messages).sum::<u64>()) " messages" } }
            svg viewBox=(format!("0 0 100 {HEIGHT}")) preserveAspectRatio="none" role="img" aria-label=(words) {
                line.base x1="0" x2="100" y1=(top) y2="0" {}
                @for bin in &filled {
                    @let height = bin.spam.saturating_mul(HEIGHT) / bin.messages.max(1);
                    rect.spam x=(bin.percent_from + 1) y=(top - height.min(top)) width="8" height=(height.max(1)) {}
                }
            }
            div.axis aria-hidden="true" { span { "0 %" } span { "100 %" } }
        }
    }
}

/// One number over time, in one path: a page has many of them.
pub(super) fn bars(values: &[u64], highest: u64, words: &str) -> Markup {
    let width = values.len() * STEP;
    let mut path = String::new();
    for (at, value) in values.iter().enumerate() {
        if let Some(height) = height(*value, highest.max(1)) {
            // Writing to a String does not fail.
            let _ = write!(path, "M{} {HEIGHT}v-{height}h{BAR}v{height}z", at * STEP);
        }
    }
    html! {
        svg viewBox=(format!("0 0 {width} {HEIGHT}")) preserveAspectRatio="none" role="img" aria-label=(words) {
            line.base x1="0" x2=(width) y1=(HEIGHT) y2=(HEIGHT) {}
            @if !path.is_empty() { path d=(path) {} }
        }
    }
}

/// At least one unit for what is not zero, so that a single refusal is seen.
fn height(count: u64, highest: u64) -> Option<u64> {
    (count > 0).then(|| (count.saturating_mul(HEIGHT) / highest).max(1))
}

/// A share of a whole as a thin bar.
pub(super) fn share(count: u64, whole: u64, class: &str) -> Markup {
    let width = count.saturating_mul(HEIGHT).checked_div(whole).unwrap_or_default();
    html! {
        svg.share viewBox="0 0 100 4" preserveAspectRatio="none" aria-hidden="true" {
            rect.rest x="0" y="0" width="100" height="4" {}
            rect class=(class) x="0" y="0" width=(width) height="4" {}
        }
    }
}
