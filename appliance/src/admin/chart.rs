//! Bar charts as inline SVG: no script, no style attributes, readable without sight by a sentence.

use maud::{Markup, html};

use crate::report::{Period, Totals};

/// Units of the drawing; the page stretches it.
const HEIGHT: u64 = 100;
/// One bar and the gap beside it.
const STEP: usize = 10;
const BAR: usize = 8;

/// Messages over time: accepted, and on top of them those deferred and refused.
pub(super) fn messages(period: &Period, title: &str, past: &str) -> Markup {
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
                line.base x1="0" x2=(width) y1=(HEIGHT) y2=(HEIGHT) {}
                @for (at, step) in period.steps.iter().enumerate() {
                    (bar(at * STEP, step, highest.max(1)))
                }
            }
            div.axis aria-hidden="true" { span { (past) } span { "now" } }
        }
    }
}

fn all(step: &Totals) -> u64 {
    step.accepted + step.deferred + step.refused
}

fn bar(x: usize, step: &Totals, highest: u64) -> Markup {
    let mut top = HEIGHT;
    let parts = [("accepted", step.accepted), ("deferred", step.deferred), ("refused", step.refused)];
    html! {
        @for (class, count) in parts {
            @if let Some(height) = height(count, highest) {
                @let y = { top = top.saturating_sub(height); top };
                rect class=(class) x=(x) y=(y) width=(BAR) height=(height) {}
            }
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
