//! What each domain's week was, to be looked at and to be published: numbers alone.

use axum::Json;
use axum::extract::{Path, Query as Parameters, State};
use axum::http::StatusCode;
use axum::http::header::{CONTENT_DISPOSITION, CONTENT_TYPE};
use axum::response::{IntoResponse as _, Response};
use maud::html;
use schemars::JsonSchema;
use serde::Deserialize;

use super::answers::{No, Office, html};
use super::asker::sight;
use super::desk::Desk;
use super::page::Frame;
use super::tables::{none, still};
use crate::access::Sight;
use crate::report::WeekReport;
use crate::weekly::{date, monday, week_of, week_of_date};

const DAY: u64 = 86_400;

/// `?week=&domain=`, both optional.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Wanted {
    /// A day of the week, as `2026-11-23`; without, the week before this one. Ten weeks are kept.
    week: Option<String>,
    /// One domain; without, all that are seen.
    domain: Option<String>,
}

impl Wanted {
    fn number(&self, desk: &Desk) -> Result<u64, No> {
        const WRONG: No = No(StatusCode::BAD_REQUEST, "`week` is a day of it, such as `2026-11-23`");
        match self.week.as_deref().filter(|week| !week.is_empty()) {
            Some(day) => week_of_date(day).ok_or(WRONG),
            None => Ok(present(desk).saturating_sub(1)),
        }
    }

    /// Those of the week that whoever asks sees.
    async fn reports(&self, desk: &Desk) -> Result<Vec<WeekReport>, No> {
        const FAILED: No = No(StatusCode::INTERNAL_SERVER_ERROR, "the store says no; the log says why");
        let sight = sight();
        let wanted = self.domain.as_deref().map(str::to_lowercase).filter(|domain| !domain.is_empty());
        let domains = match (wanted, &sight) {
            (Some(domain), sight) if sight.has(&domain) => vec![domain],
            (Some(_), _) => return Ok(Vec::new()),
            (None, Sight::All) => Vec::new(),
            (None, Sight::Domains(domains)) if domains.is_empty() => return Ok(Vec::new()),
            (None, sight) => sight.domains(),
        };
        desk.live().weeks(domains, Some(self.number(desk)?)).await.map_err(|error| {
            tracing::error!(%error, "the weeks cannot be read");
            FAILED
        })
    }
}

/// This week.
fn present(desk: &Desk) -> u64 {
    week_of(desk.now().as_secs() / DAY)
}

pub(super) async fn list(
    State(desk): Office,
    Parameters(wanted): Parameters<Wanted>,
) -> Result<Json<Vec<WeekReport>>, No> {
    wanted.reports(&desk).await.map(Json)
}

/// One domain's, as a file to be put on a web site.
pub(super) async fn document(
    State(desk): Office,
    Path(domain): Path<String>,
    Parameters(wanted): Parameters<Wanted>,
) -> Result<Response, No> {
    let wanted = Wanted { domain: Some(domain), ..wanted };
    let reports = wanted.reports(&desk).await?;
    let report = reports.first().ok_or(No(StatusCode::NOT_FOUND, "there is no such domain"))?;
    // A domain's name and a date have no character that means anything here.
    let file = format!("attachment; filename=\"{}-{}.html\"", report.domain, report.begins);
    let fields = [(CONTENT_TYPE, "text/html; charset=utf-8".to_owned()), (CONTENT_DISPOSITION, file)];
    Ok((fields, report.document().into_string()).into_response())
}

pub(super) async fn page(
    State(desk): Office,
    Parameters(wanted): Parameters<Wanted>,
) -> Result<Response, No> {
    let (number, this) = (wanted.number(&desk)?, present(&desk));
    let reports = wanted.reports(&desk).await?;
    let frame = Frame { hostname: desk.hostname().to_owned(), title: "Weeks".to_owned() };
    let week = |number: u64| format!("/weekly?week={}", date(monday(number)));
    Ok(html(frame.around(
        "All times are UTC · each message is counted once",
        html! {
            p.back {
                a href="/" { "Status" }
                " · " a href=(week(number.saturating_sub(1))) { "The week before" }
                @if number < this { " · " a href=(week(number + 1)) { "The week after" } }
            }
            @if reports.is_empty() { (none("There is no domain.")) }
            @for report in &reports {
                (still(&format!("week-{}", report.domain), &report.title(), html! {
                    @if !report.is_over { p.note { "The week is not over; these are the numbers so far." } }
                    (report.tables())
                    p.note {
                        a href=(format!("/weekly/{}?week={}", report.domain, report.begins)) download { "As a page to be published" }
                        " · "
                        a href=(format!("/api/v1/weekly?domain={}&week={}", report.domain, report.begins)) { "As JSON" }
                    }
                }))
            }
        },
    )))
}
