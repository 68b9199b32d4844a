//! What verdicts hold: the queue's lists and orders, for one folder. Whoever releases a message says that it is wanted, and the
//! classifier learns it.

use axum::Json;
use axum::extract::{Form, Path, Query as Parameters, State};
use axum::http::StatusCode;
use axum::http::header::LOCATION;
use axum::response::{IntoResponse as _, Response};
use schemars::JsonSchema;
use serde::Deserialize;
use spool::Folder;

use super::answers::{No, Office, html};
use super::desk::Desk;
use super::page::Frame;
use super::queue::{self, Done, Listed, Wanted, Whom};
use super::{asker, sight, waiting};
use crate::access::Needs;
use crate::report::{NotJudging, QueuedMessage};

const NOT_HELD: No = No(StatusCode::NOT_FOUND, "no such message in the quarantine, or no longer");

/// Orders for messages that are held.
pub(super) const VERBS: [&str; 4] = ["release", "remove", "report", "block"];

/// `?domain=&last=`, both optional.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct WantedHeld {
    #[serde(default)]
    domain: String,
    last: Option<usize>,
}

impl WantedHeld {
    fn in_folder(self) -> Wanted {
        Wanted { folder: Folder::Quarantine.name().to_owned(), domain: self.domain, last: self.last }
    }
}

pub(super) async fn list(
    State(desk): Office,
    Parameters(wanted): Parameters<WantedHeld>,
) -> Result<Json<Listed>, No> {
    queue::listed(&desk, &wanted.in_folder()).await.map(Json)
}

pub(super) async fn message(State(desk): Office, Path(id): Path<String>) -> Result<Json<QueuedMessage>, No> {
    held(&desk, &id).await.map(Json)
}

async fn held(desk: &Desk, id: &str) -> Result<QueuedMessage, No> {
    let message = queue::one(desk, id).await?;
    if message.folder == Folder::Quarantine.name() { Ok(message) } else { Err(NOT_HELD) }
}

/// `{"ids": [...]}`
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Named {
    ids: Vec<String>,
}

pub(super) async fn order(
    State(desk): Office,
    Path(verb): Path<String>,
    Json(named): Json<Named>,
) -> Result<Json<Done>, No> {
    carry_out(&desk, &verb, named.ids).await.map(Json)
}

async fn carry_out(desk: &Desk, verb: &str, ids: Vec<String>) -> Result<Done, No> {
    if !VERBS.contains(&verb) {
        return Err(No(StatusCode::NOT_FOUND, "an order is release, remove, report or block"));
    }
    let mut messages = Vec::new();
    for id in &ids {
        messages.push(held(desk, id).await?);
    }
    if verb == "release" {
        return queue::carry_out(desk, verb, &Whom::named(ids)).await;
    }
    if verb == "block" && !asker::may(Needs::ActOnAll) {
        return Err(No(
            StatusCode::FORBIDDEN,
            "senders are blocked for everybody; an administrator has to do this",
        ));
    }
    // All of them are the asker's own, before anything is learnt of one.
    let named = ids.iter().filter_map(|id| id.parse().ok()).collect();
    sight::ordered(desk, named, true).await?;
    if verb == "block" {
        for message in &messages {
            block(desk, message).await?;
        }
    }
    if verb != "remove" {
        let transactions = messages.iter().filter_map(|message| message.transaction.parse().ok());
        transactions.for_each(|transaction| desk.live().was_reported(transaction));
    }
    queue::carry_out(desk, "remove", &Whom::named(ids)).await
}

/// Nothing more from the sender of a message.
async fn block(desk: &Desk, message: &QueuedMessage) -> Result<(), No> {
    if !may_be_blocked(message) {
        return Err(No(
            StatusCode::CONFLICT,
            "it has no sender who could be blocked: it comes from nobody, or from here",
        ));
    }
    match desk.live().block(message.from.clone()).await {
        Ok(_) => Ok(()),
        Err(NotJudging::Failed(_)) => {
            Err(No(StatusCode::INTERNAL_SERVER_ERROR, "it is not stored; the log says why"))
        }
        Err(_) => Err(No(
            StatusCode::CONFLICT,
            "the sender cannot be blocked: the list is full, or nothing is judged",
        )),
    }
}

/// Whether there is a sender from outside.
pub(super) fn may_be_blocked(message: &QueuedMessage) -> bool {
    !message.from.is_empty() && !["inside", "authenticated"].contains(&message.sender.as_str())
}

pub(super) async fn page(
    State(desk): Office,
    Parameters(wanted): Parameters<WantedHeld>,
) -> Result<Response, No> {
    let Listed { state, found, messages } = queue::listed(&desk, &wanted.in_folder()).await?;
    let frame = Frame { hostname: desk.hostname().to_owned(), title: "Quarantine".to_owned() };
    Ok(html(waiting::quarantine(&frame, &state, found, &messages)))
}

/// What a form of the page sends.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Filled {
    id: String,
}

/// A button of the page; afterwards the page is shown again.
pub(super) async fn button(
    State(desk): Office,
    Path(verb): Path<String>,
    Form(filled): Form<Filled>,
) -> Result<Response, No> {
    carry_out(&desk, &verb, vec![filled.id]).await?;
    Ok((StatusCode::SEE_OTHER, [(LOCATION, "/quarantine")]).into_response())
}
