//! Charts of an hour, a day and thirty days. Each kind has a drawing of its own with its name and its sum beside it, so that nobody
//! has to tell colours apart; beneath is the same in tables.

use std::time::Duration;

use axum::Json;
use axum::extract::{Query as Parameters, State};
use maud::{Markup, html};
use schemars::JsonSchema;
use serde::Deserialize;

use super::answers::Office;
use super::chart;
use super::tables::{none, wide};
use crate::config::size_in_words;
use crate::report::{Count, Trend, TrendSpan, TrendStep};

/// Kinds that are drawn each; the rest is put together.
const MOST_DRAWN: usize = 6;

/// `?span=`, optional.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Wanted {
    /// Without, the last day.
    #[serde(default)]
    span: TrendSpan,
}

pub(super) async fn told(State(desk): Office, Parameters(wanted): Parameters<Wanted>) -> Json<Trend> {
    Json(desk.trend(wanted.span))
}

/// Of a page's address, where what makes no sense is nothing.
#[derive(Debug, Default, Deserialize)]
pub(super) struct Shown {
    span: Option<String>,
}

impl Shown {
    pub(super) fn span(&self) -> TrendSpan {
        let named = |span: &TrendSpan| self.span.as_deref() == Some(span.name());
        TrendSpan::ALL.into_iter().find(named).unwrap_or_default()
    }
}

/// One number of each step.
type Number = fn(&TrendStep) -> u64;
/// Counts by kind of each step.
type Kinds = fn(&TrendStep) -> &[Count];

const KINDS: [(&str, Kinds); 7] = [
    ("Mail from the world by verdict", |step| &step.inbound),
    ("Mail from here by verdict", |step| &step.outbound),
    ("TLS with clients", |step| &step.client_tls),
    ("Key exchange with clients", |step| &step.client_groups),
    ("TLS with servers", |step| &step.server_tls),
    ("Key exchange with servers", |step| &step.server_groups),
    ("Languages of judged mail", |step| &step.languages),
];

/// The section of the front page.
pub(super) fn section(trend: &Trend) -> Markup {
    wide(
        "trends",
        "In the course of time",
        html! {
            nav.spans aria-label="How far back" {
                @for span in TrendSpan::ALL {
                    a href=(format!("/?span={}#trends", span.name())) aria-current=[(span == trend.span).then_some("true")] { (span_words(span)) }
                }
            }
            @if trend.steps.iter().all(is_empty) { (none("Nothing was counted in this time.")) }
            @else {
                div.charts {
                    (numbers(trend, "Sessions", |step| step.sessions, |count| count.to_string()))
                    (numbers(trend, "Messages that wait", |step| step.waiting, |count| count.to_string()))
                    (numbers(trend, "From clients", |step| step.octets_in, size_in_words))
                    (numbers(trend, "To clients", |step| step.octets_out, size_in_words))
                    @for (title, of) in KINDS { (kinds(trend, title, of)) }
                }
                details id="trends-tables" {
                    summary { "The same as tables" }
                    (number_table(trend))
                    @for (title, of) in KINDS { (kind_table(trend, title, of)) }
                }
            }
        },
    )
}

fn is_empty(step: &TrendStep) -> bool {
    *step == TrendStep { at: step.at, ..TrendStep::default() }
}

fn span_words(span: TrendSpan) -> &'static str {
    match span {
        TrendSpan::Hour => "Last hour",
        TrendSpan::Day => "Last day",
        TrendSpan::Month => "Last 30 days",
    }
}

fn past(span: TrendSpan) -> &'static str {
    match span {
        TrendSpan::Hour => "1 h ago",
        TrendSpan::Day => "1 d ago",
        TrendSpan::Month => "30 d ago",
    }
}

/// A number over time.
fn numbers(trend: &Trend, title: &str, of: Number, words: fn(u64) -> String) -> Markup {
    let values: Vec<u64> = trend.steps.iter().map(of).collect();
    let highest = values.iter().copied().max().unwrap_or_default();
    let said = format!("{title}: at most {} in one step.", words(highest));
    html! {
        figure.chart {
            figcaption { span { (title) } span.peak { "peak " (words(highest)) } }
            (chart::bars(&values, highest, &said))
            div.axis aria-hidden="true" { span { (past(trend.span)) } span { "now" } }
        }
    }
}

/// Each kind over time, the most frequent first, all drawn to the same measure.
fn kinds(trend: &Trend, title: &str, of: Kinds) -> Markup {
    let rows = rows(trend, of);
    let highest = rows.iter().flat_map(|(_, values)| values).copied().max().unwrap_or_default();
    let whole: u64 = rows.iter().flat_map(|(_, values)| values).sum();
    html! {
        figure.chart {
            figcaption { span { (title) } span.peak { @if highest > 0 { "peak " (highest) } } }
            @if rows.is_empty() { (none("Nothing was counted in this time.")) }
            @else {
                ul.kinds {
                    @for (kind, values) in &rows {
                        @let sum = values.iter().sum::<u64>();
                        li {
                            span { (kind_words(kind)) }
                            span.number { (sum) " (" (percent(sum, whole)) " %)" }
                            (chart::bars(values, highest, &format!("{}: at most {} in one step.", kind_words(kind), values.iter().max().unwrap_or(&0))))
                        }
                    }
                }
                div.axis aria-hidden="true" { span { (past(trend.span)) } span { "now" } }
            }
        }
    }
}

fn percent(part: u64, whole: u64) -> u64 {
    part.saturating_mul(100).saturating_add(whole / 2).checked_div(whole).unwrap_or_default()
}

/// The kinds with what each step counted of them; of many the last is all the rest.
fn rows(trend: &Trend, of: Kinds) -> Vec<(String, Vec<u64>)> {
    let mut rows: Vec<(String, Vec<u64>)> = Vec::new();
    for (at, step) in trend.steps.iter().enumerate() {
        for Count { what, count } in of(step) {
            let place = rows.iter().position(|(kind, _)| kind == what).unwrap_or_else(|| {
                rows.push((what.clone(), vec![0; trend.steps.len()]));
                rows.len() - 1
            });
            rows[place].1[at] += count;
        }
    }
    rows.sort_by_key(|(kind, values)| (std::cmp::Reverse(values.iter().sum::<u64>()), kind.clone()));
    if rows.len() > MOST_DRAWN {
        let rest = rows.split_off(MOST_DRAWN - 1);
        let sum = |at: usize| rest.iter().map(|(_, values)| values[at]).sum();
        rows.push(("others".to_owned(), (0..trend.steps.len()).map(sum).collect()));
    }
    rows
}

fn kind_words(kind: &str) -> &str {
    match kind {
        "unjudged" => "not judged",
        "plain" => "plain text",
        "failed" => "handshake failed",
        other => other,
    }
}

/// A table that is wider than the page moves within itself, by the keyboard too.
fn table(title: &str, heads: &[&str], rows: impl Iterator<Item = (Markup, Vec<String>)>) -> Markup {
    html! {
        div.aside tabindex="0" role="group" aria-label=(title) {
            table {
                caption { (title) }
                thead { tr { th scope="col" { "Time" } @for head in heads { th.number scope="col" { (head) } } } }
                tbody {
                    @for (time, cells) in rows {
                        tr { th scope="row" { (time) } @for cell in cells { td.number { (cell) } } }
                    }
                }
            }
        }
    }
}

fn number_table(trend: &Trend) -> Markup {
    let heads = ["Sessions", "Messages that wait", "From clients", "To clients"];
    let counted = trend.steps.iter().rev().filter(|step| !is_empty(step));
    let row = |step: &TrendStep| {
        let octets = [step.octets_in, step.octets_out].map(size_in_words);
        let cells = [step.sessions.to_string(), step.waiting.to_string()].into_iter().chain(octets);
        (time(trend.span, step.at), cells.collect())
    };
    table("Sessions, the queue and octets", &heads, counted.map(row))
}

fn kind_table(trend: &Trend, title: &str, of: Kinds) -> Markup {
    let rows = rows(trend, of);
    let heads: Vec<&str> = rows.iter().map(|(kind, _)| kind_words(kind)).collect();
    let counted = trend.steps.iter().enumerate().rev().filter(|(_, step)| !of(step).is_empty());
    let row = |(at, step): (usize, &TrendStep)| {
        (time(trend.span, step.at), rows.iter().map(|(_, values)| values[at].to_string()).collect())
    };
    html! { @if !rows.is_empty() { (table(title, &heads, counted.map(row))) } }
}

/// When a step began, as much as tells it from others.
fn time(span: TrendSpan, at: u64) -> Markup {
    let whole = record::rfc3339_date(Duration::from_secs(at));
    let short = match (span, whole.split_once('T')) {
        (TrendSpan::Month, Some((date, _))) => date.to_owned(),
        (_, Some((_, time))) => time.get(..5).unwrap_or(time).to_owned(),
        (_, None) => whole.clone(),
    };
    html! { time datetime=(whole) { (short) } }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn count(what: &str, count: u64) -> Count {
        Count { what: what.to_owned(), count }
    }

    fn trend(span: TrendSpan) -> Trend {
        let (step_seconds, steps) = span.steps();
        let first = 1_795_288_200 / step_seconds - steps + 1;
        let step = |number: u64| TrendStep {
            at: (first + number) * step_seconds,
            sessions: number,
            waiting: 3,
            client_tls: vec![count("TLSv1.3", number + 1), count("plain", 1)],
            languages: (0..9).map(|kind| count(&format!("kind {kind}"), 10 - kind)).collect(),
            ..TrendStep::default()
        };
        Trend { span, step_seconds, steps: (0..steps).map(step).collect() }
    }

    #[test]
    fn what_is_drawn_is_said_in_words_and_in_tables_without_style() {
        let page = section(&trend(TrendSpan::Day)).into_string();
        for part in [
            "Sessions: at most 23 in one step.",
            "peak 23",
            "plain text</span><span class=\"number\">24 (7 %)",
            "others</span><span class=\"number\">",
            "<caption>Languages of judged mail</caption>",
            "aria-current=\"true\">Last day",
            "<td class=\"number\">23</td><td class=\"number\">3</td>",
        ] {
            assert!(page.contains(part), "{part}: {page}");
        }
        assert!(!page.contains("style=") && !page.contains("<script"), "{page}");
        assert!(!page.contains("<caption>TLS with servers"), "a table of nothing: {page}");
        let hour = section(&trend(TrendSpan::Hour)).into_string();
        assert!(hour.contains("1 h ago") && hour.len() < 60_000, "{}", hour.len());
        let month = section(&trend(TrendSpan::Month)).into_string();
        assert!(month.contains(">2026-11-21</time>"), "{month}");
    }

    #[test]
    fn a_time_without_mail_has_no_charts() {
        let steps = vec![TrendStep { at: 60, ..TrendStep::default() }];
        let page = section(&Trend { steps, ..Trend::default() }).into_string();
        assert!(page.contains("Nothing was counted") && !page.contains("<svg"), "{page}");
        for (named, span) in
            [(Some("hour"), TrendSpan::Hour), (Some("<"), TrendSpan::Day), (None, TrendSpan::Day)]
        {
            assert_eq!(Shown { span: named.map(str::to_owned) }.span(), span);
        }
    }
}
