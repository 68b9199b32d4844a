//! One function for each path.

use std::sync::Arc;

use axum::Json;
use axum::extract::{Path, Query as Parameters, State};
use axum::http::StatusCode;
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse, Response};

use schemars::JsonSchema;
use serde::Serialize;

use super::desk::Desk;
use super::{asker, lookup, page, sight, told, trends};
use crate::access::Needs;
use crate::recorder::Query;
use crate::report::{self, Status};

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

/// The same, in words that are made at the time; for programs.
#[derive(Debug)]
pub(super) struct Refused(pub(super) StatusCode, pub(super) String);

impl From<No> for Refused {
    fn from(No(status, words): No) -> Self {
        Self(status, words.to_owned())
    }
}

impl IntoResponse for Refused {
    fn into_response(self) -> Response {
        (self.0, Json(serde_json::json!({ "error": self.1 }))).into_response()
    }
}

pub(super) async fn front(State(desk): Office, Parameters(shown): Parameters<trends::Shown>) -> Response {
    if !asker::may(Needs::SeeAll) {
        return sight::front(&desk).await;
    }
    let query = Query { last: 25, ..Query::default() };
    let turned_away = Query { last: 10, ..Query::default() };
    let (transactions, sessions) =
        (lookup::transactions(&desk, query).await, lookup::sessions(&desk, turned_away).await);
    html(page::front(&desk.status(), &desk.trend(shown.span()), &transactions.found, &sessions.found))
}

pub(super) async fn transaction_page(State(desk): Office, Path(id): Path<String>) -> Response {
    let frame = |title| page::Frame { hostname: desk.hostname().to_owned(), title };
    match lookup::transaction(&desk, &id).await {
        Some(story) => html(told::transaction(&frame(format!("Transaction {}", story.id)), &story)),
        None => {
            (StatusCode::NOT_FOUND, html(told::unknown(&frame("Not found".to_owned()), &id))).into_response()
        }
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

pub(super) async fn passkeys_script() -> Response {
    ([(CONTENT_TYPE, "text/javascript; charset=utf-8")], include_str!("assets/passkeys.js")).into_response()
}

pub(super) async fn status(State(desk): Office) -> Json<Status> {
    Json(desk.status())
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

/// What was written down.
#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct Written {
    /// How many records it has.
    records: u64,
}

/// For a backup, which finds it in the state folder.
pub(super) async fn write_store_down(State(desk): Office) -> Result<Json<Written>, No> {
    match desk.live().write_store_down().await {
        Ok(records) => Ok(Json(Written { records })),
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
