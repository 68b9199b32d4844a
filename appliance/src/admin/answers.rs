//! One function for each path.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Json;
use axum::extract::{Path, Query as Parameters, State};
use axum::http::StatusCode;
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse, Response};
use serde::{Deserialize, Serialize};
use smtp::{TraceId, TransactionId};

use super::desk::Desk;
use super::{asker, page, sight, told};
use crate::access::Needs;
use crate::config::parse_duration;
use crate::recorder::Query;
use crate::report::{self, SessionStory, Status, TransactionStory};

/// The most entries of one answer.
const MAX_LAST: usize = 1000;
const DEFAULT_LAST: usize = 20;

pub(super) type Office = State<Arc<Desk>>;

/// An answer that is no: a status and a sentence.
pub(super) struct No(pub(super) StatusCode, pub(super) &'static str);

/// Its words, for whoever makes a page of it.
#[derive(Clone, Copy)]
pub(super) struct Named(pub(super) &'static str);

impl IntoResponse for No {
    fn into_response(self) -> Response {
        let answer = Json(serde_json::json!({ "error": self.1 }));
        (self.0, axum::Extension(Named(self.1)), answer).into_response()
    }
}

pub(super) async fn front(State(desk): Office) -> Response {
    if !asker::may(Needs::SeeAll) {
        return sight::front(&desk);
    }
    let query = Query { last: 25, ..Query::default() };
    let (transactions, sessions) = desk.kept(|kept| {
        let turned_away = Query { last: 10, ..Query::default() };
        (kept.memory.transactions(&query), kept.memory.sessions_without_mail(&turned_away))
    });
    let transactions: Vec<_> = transactions.iter().map(|entry| TransactionStory::from(&**entry)).collect();
    let sessions: Vec<_> = sessions.iter().map(|entry| SessionStory::from(&**entry)).collect();
    html(page::front(&desk.status(), &transactions, &sessions))
}

pub(super) async fn transaction_page(State(desk): Office, Path(id): Path<String>) -> Response {
    let status = |state| page::Frame { hostname: desk.status().hostname, title: state };
    match found(&desk, &id) {
        Some(story) => html(told::transaction(&status(format!("Transaction {}", story.id)), &story)),
        None => {
            (StatusCode::NOT_FOUND, html(told::unknown(&status("Not found".to_owned()), &id))).into_response()
        }
    }
}

fn found(desk: &Desk, id: &str) -> Option<TransactionStory> {
    let id: TransactionId = id.parse().ok()?;
    let (transaction, afterwards) =
        desk.kept(|kept| (kept.memory.transaction(id), kept.memory.afterwards(id)));
    match transaction {
        Some(entry) => sight::story(TransactionStory::from(&*entry).then(&afterwards)),
        None if afterwards.is_empty() => None,
        None => sight::story(TransactionStory::without_beginning(id.to_string()).then(&afterwards)),
    }
}

pub(super) fn html(markup: maud::Markup) -> Response {
    ([(CONTENT_TYPE, "text/html; charset=utf-8")], markup.into_string()).into_response()
}

pub(super) async fn style() -> Response {
    ([(CONTENT_TYPE, "text/css; charset=utf-8")], include_str!("assets/postern.css")).into_response()
}

pub(super) async fn script() -> Response {
    ([(CONTENT_TYPE, "text/javascript; charset=utf-8")], include_str!("assets/postern.js")).into_response()
}

pub(super) async fn status(State(desk): Office) -> Json<Status> {
    Json(desk.status())
}

/// `?from=&to=&ip=&since=&last=`, all optional.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Asked {
    from: Option<String>,
    to: Option<String>,
    ip: Option<IpAddr>,
    since: Option<String>,
    last: Option<usize>,
}

impl Asked {
    fn query(self, now: Duration) -> Result<Query, No> {
        const WRONG: &str = "`since` is a duration such as `2h`, or a date such as `2026-11-21T19:00:00Z`";
        let since = match self.since {
            None => Duration::ZERO,
            Some(text) => since(&text, now).ok_or(No(StatusCode::BAD_REQUEST, WRONG))?,
        };
        let last = self.last.unwrap_or(DEFAULT_LAST).min(MAX_LAST);
        Ok(Query { from: self.from, to: self.to, ip: self.ip.map(|ip| ip.to_canonical()), since, last })
    }
}

/// So long ago, or at that date.
fn since(text: &str, now: Duration) -> Option<Duration> {
    if let Some(ago) = parse_duration(text) {
        return Some(now.saturating_sub(ago));
    }
    let date: jiff::Timestamp = text.parse().ok()?;
    Some(Duration::from_secs(u64::try_from(date.as_second()).unwrap_or_default()))
}

pub(super) async fn transactions(
    State(desk): Office,
    Parameters(asked): Parameters<Asked>,
) -> Result<Json<Vec<TransactionStory>>, No> {
    let query = asked.query(desk.now())?;
    Ok(Json(sight::stories(&desk, &query)))
}

pub(super) async fn transaction(
    State(desk): Office,
    Path(id): Path<String>,
) -> Result<Json<TransactionStory>, No> {
    let unknown = No(StatusCode::NOT_FOUND, "no such transaction in the trace");
    found(&desk, &id).map(Json).ok_or(unknown)
}

/// Sessions that brought no mail.
pub(super) async fn sessions(
    State(desk): Office,
    Parameters(asked): Parameters<Asked>,
) -> Result<Json<Vec<SessionStory>>, No> {
    let query = asked.query(desk.now())?;
    let entries = desk.kept(|kept| kept.memory.sessions_without_mail(&query));
    Ok(Json(entries.iter().map(|entry| SessionStory::from(&**entry)).collect()))
}

/// A session and its transactions, latest first.
#[derive(Debug, Serialize)]
pub(super) struct WholeSession {
    session: Option<SessionStory>,
    transactions: Vec<TransactionStory>,
}

pub(super) async fn session(State(desk): Office, Path(id): Path<String>) -> Result<Json<WholeSession>, No> {
    let id: TraceId = id.parse().map_err(|_| No(StatusCode::BAD_REQUEST, "not a session's identifier"))?;
    let (session, transactions) = desk.kept(|kept| {
        let (session, transactions) = kept.memory.session(id);
        let then = |entry: Arc<record::Transaction>| {
            TransactionStory::from(&*entry).then(&kept.memory.afterwards(entry.id))
        };
        (session, transactions.into_iter().map(then).collect::<Vec<_>>())
    });
    if session.is_none() && transactions.is_empty() {
        return Err(No(
            StatusCode::NOT_FOUND,
            "no such session in the trace; one that is still open comes into it with its first transaction",
        ));
    }
    Ok(Json(WholeSession { session: session.map(|session| SessionStory::from(&*session)), transactions }))
}

pub(super) async fn metrics(State(desk): Office) -> Response {
    let text = desk.recording().metrics().encode(desk.live(), desk.now());
    ([(CONTENT_TYPE, "application/openmetrics-text; version=1.0.0; charset=utf-8")], text).into_response()
}

pub(super) async fn authority(State(desk): Office) -> Response {
    match desk.live().authority() {
        Some(authority) => ([(CONTENT_TYPE, "application/x-pem-file")], authority.pem).into_response(),
        None => nothing_here().await.into_response(),
    }
}

/// For a backup, which finds it in the state folder.
pub(super) async fn write_store_down(State(desk): Office) -> Result<Json<serde_json::Value>, No> {
    match desk.live().write_store_down().await {
        Ok(records) => Ok(Json(serde_json::json!({ "records": records }))),
        Err(error) => {
            tracing::error!(%error, "what is remembered could not be written down for a backup");
            Err(No(StatusCode::INTERNAL_SERVER_ERROR, "it could not be written down; the log says why"))
        }
    }
}

pub(super) async fn healthz() -> &'static str {
    "alive\n"
}

pub(super) async fn readyz(State(desk): Office) -> (StatusCode, String) {
    let ready = report::State::is_ready(desk.live());
    let code = if ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    let words = match ready {
        true => "ready".to_owned(),
        // Names of servers are not for everybody who can connect.
        false if asker::may(Needs::SeeAll) || desk.is_on_loopback() => desk.status().state.sentence,
        false => "not ready".to_owned(),
    };
    (code, format!("{words}\n"))
}

pub(super) async fn nothing_here() -> No {
    No(StatusCode::NOT_FOUND, "there is nothing at this path")
}
