//! The queue over HTTP: lists, single messages, and orders, which are POSTs and pass the guard's second look.

use axum::Json;
use axum::extract::{Form, Path, Query as Parameters, State};
use axum::http::StatusCode;
use axum::http::header::LOCATION;
use axum::response::{IntoResponse as _, Response};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use smtp::{Reply, ReplyCode};
use spool::{EntryId, Folder, Order, SpoolError};

use super::answers::{No, Office, html};
use super::desk::Desk;
use super::page::Frame;
use super::{sight, waiting};
use crate::report::{QueueState, QueuedMessage};

/// The most messages of one list.
const MAX_LAST: usize = 1000;
const DEFAULT_LAST: usize = 100;

/// `?folder=&domain=&last=`, all optional.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Wanted {
    #[serde(default)]
    /// `queue`, `quarantine`, `reports`, `traps` or `expired`; empty: all.
    pub(super) folder: String,
    /// Messages for this domain; empty: all.
    #[serde(default)]
    pub(super) domain: String,
    /// How many; 100 unless said, 1000 at most.
    pub(super) last: Option<usize>,
}

impl Wanted {
    /// The oldest first.
    fn ids(&self, desk: &Desk) -> Result<Vec<EntryId>, No> {
        let folder = (!self.folder.is_empty()).then(|| folder(&self.folder)).transpose()?;
        let name = (!self.domain.is_empty()).then(|| self.domain.to_ascii_lowercase());
        Ok(sight::select(desk, folder, name.as_deref()))
    }
}

fn folder(name: &str) -> Result<Folder, No> {
    const WRONG: &str = "`folder` is queue, quarantine, reports, traps or expired";
    Folder::from_name(name).ok_or(No(StatusCode::BAD_REQUEST, WRONG))
}

/// A list, and the numbers that go with it.
#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct Listed {
    pub(super) state: QueueState,
    /// How many there are; the list may have fewer.
    pub(super) found: usize,
    pub(super) messages: Vec<QueuedMessage>,
}

pub(super) async fn listed(desk: &Desk, wanted: &Wanted) -> Result<Listed, No> {
    let ids = wanted.ids(desk)?;
    let last = wanted.last.unwrap_or(DEFAULT_LAST).min(MAX_LAST);
    let mut messages = Vec::new();
    for id in ids.iter().take(last) {
        match QueuedMessage::of(desk.queue(), *id).await {
            Ok(message) => messages.extend(message.and_then(sight::message)),
            // Named in the log by whoever opens it; the list goes on.
            Err(error) => tracing::warn!(entry = %id, %error, "a message cannot be listed"),
        }
    }
    Ok(Listed { state: sight::state(desk), found: ids.len(), messages })
}

pub(super) async fn list(
    State(desk): Office,
    Parameters(wanted): Parameters<Wanted>,
) -> Result<Json<Listed>, No> {
    listed(&desk, &wanted).await.map(Json)
}

pub(super) async fn page(
    State(desk): Office,
    Parameters(wanted): Parameters<Wanted>,
) -> Result<Response, No> {
    let Listed { state, found, messages } = listed(&desk, &wanted).await?;
    let frame = Frame { hostname: desk.hostname().to_owned(), title: "Queue".to_owned() };
    Ok(html(waiting::queue(&frame, &state, &wanted, found, &messages, desk.now().as_secs())))
}

pub(super) async fn message(State(desk): Office, Path(id): Path<String>) -> Result<Json<QueuedMessage>, No> {
    one(&desk, &id).await.map(Json)
}

pub(super) async fn message_page(State(desk): Office, Path(id): Path<String>) -> Result<Response, No> {
    let message = one(&desk, &id).await?;
    let frame = Frame { hostname: desk.hostname().to_owned(), title: format!("Message {}", message.id) };
    Ok(html(waiting::message(&frame, &message)))
}

pub(super) async fn one(desk: &Desk, id: &str) -> Result<QueuedMessage, No> {
    let id = id.parse().map_err(|_| No(StatusCode::BAD_REQUEST, "not a message's identifier"))?;
    let found = QueuedMessage::of(desk.queue(), id).await.map_err(|error| broken(&error))?;
    sight::or_unknown(found)
}

pub(super) const UNKNOWN: No = No(StatusCode::NOT_FOUND, "no such message in the spool, or no longer");

fn broken(error: &SpoolError) -> No {
    tracing::error!(%error, "the spool does not do what the page asks of it");
    No(StatusCode::INTERNAL_SERVER_ERROR, "the spool says no; the log says why")
}

/// Which messages an order is for: exactly one of the first three.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Whom {
    #[serde(default)]
    /// These.
    ids: Vec<String>,
    /// Those for this domain.
    #[serde(default)]
    domain: String,
    /// All of them.
    #[serde(default)]
    all: bool,
    /// With `domain` and `all`: this folder; `queue` if nothing is said.
    #[serde(default)]
    folder: String,
}

impl Whom {
    /// These.
    pub(super) fn named(ids: Vec<String>) -> Self {
        Self { ids, ..Self::default() }
    }
}

/// What came of an order.
#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct Done {
    /// Messages for which it had a meaning.
    changed: usize,
    /// Messages that were named or found.
    found: usize,
}

impl Done {
    pub(super) fn changed(&self) -> usize {
        self.changed
    }
}

pub(super) async fn order(
    State(desk): Office,
    Path(verb): Path<String>,
    Json(whom): Json<Whom>,
) -> Result<Json<Done>, No> {
    carry_out(&desk, &verb, &whom).await.map(Json)
}

pub(super) async fn carry_out(desk: &Desk, verb: &str, whom: &Whom) -> Result<Done, No> {
    let order = order_of(verb)?;
    let ids = sight::ordered(desk, ids_of(desk, whom)?, !whom.ids.is_empty()).await?;
    let held = if verb == "release" { held_by_verdicts(desk, &ids) } else { Vec::new() };
    let changed = desk.queue().order(&ids, &order).await.map_err(|error| broken(&error))?;
    held.into_iter().for_each(|transaction| desk.live().was_released(transaction));
    tracing::info!(verb, found = ids.len(), changed, "an order for the queue was carried out");
    if !whom.ids.is_empty() && changed == 0 {
        return Err(No(
            StatusCode::NOT_FOUND,
            "no such message, or the order has no meaning for it as it is now",
        ));
    }
    Ok(Done { changed, found: ids.len() })
}

/// The transactions of those that lie in the quarantine.
fn held_by_verdicts(desk: &Desk, ids: &[EntryId]) -> Vec<smtp::TransactionId> {
    let entries = ids.iter().filter_map(|id| desk.queue().spool().entry(*id));
    let held = entries.filter(|entry| entry.folder == Folder::Quarantine);
    held.map(|entry| entry.transaction).collect()
}

/// Orders for messages.
pub(super) const VERBS: [&str; 4] = ["retry", "hold", "release", "remove"];

fn order_of(verb: &str) -> Result<Order, No> {
    match verb {
        "retry" => Ok(Order::Hasten),
        "hold" => Ok(Order::Hold),
        "release" => Ok(Order::Release(Reply::new(ReplyCode::COMPLETED, None, "released by a person"))),
        "remove" => Ok(Order::Remove),
        _ => Err(No(StatusCode::NOT_FOUND, "an order is retry, hold, release or remove")),
    }
}

fn ids_of(desk: &Desk, whom: &Whom) -> Result<Vec<EntryId>, No> {
    const ONE_OF: &str = "name messages by `ids`, or a `domain`, or `all`: one of the three";
    let ways = [!whom.ids.is_empty(), !whom.domain.is_empty(), whom.all];
    if ways.iter().filter(|given| **given).count() != 1 {
        return Err(No(StatusCode::BAD_REQUEST, ONE_OF));
    }
    if !whom.ids.is_empty() {
        let ids = whom.ids.iter().map(|id| id.parse()).collect::<Result<_, _>>();
        return ids.map_err(|_| No(StatusCode::BAD_REQUEST, "not a message's identifier"));
    }
    let folder = if whom.folder.is_empty() { "queue" } else { &whom.folder };
    Wanted { folder: folder.to_owned(), domain: whom.domain.clone(), last: None }.ids(desk)
}

/// `{"on": true}`
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Disaster {
    on: bool,
}

pub(super) async fn disaster(
    State(desk): Office,
    Json(wanted): Json<Disaster>,
) -> Result<Json<QueueState>, No> {
    switch(&desk, wanted.on).await?;
    Ok(Json(QueueState::of(desk.queue(), desk.now())))
}

async fn switch(desk: &Desk, on: bool) -> Result<(), No> {
    desk.queue().spool().set_disaster(on).await.map_err(|error| broken(&error))?;
    tracing::warn!(on, "disaster mode was switched");
    Ok(())
}

/// What a form of the page sends.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Filled {
    #[serde(default)]
    id: String,
    #[serde(default)]
    domain: String,
    #[serde(default)]
    folder: String,
    /// `on` or `off`, for disaster mode.
    #[serde(default)]
    disaster: String,
}

/// The button of disaster mode.
pub(super) async fn disaster_button(State(desk): Office, Form(filled): Form<Filled>) -> Result<Response, No> {
    switch(&desk, filled.disaster == "on").await?;
    Ok(back())
}

/// A button of the page; afterwards the page is shown again.
pub(super) async fn button(
    State(desk): Office,
    Path(verb): Path<String>,
    Form(filled): Form<Filled>,
) -> Result<Response, No> {
    let all = filled.id.is_empty() && filled.domain.is_empty();
    // The page has no button for that: it is a form that has lost its field.
    if verb == "remove" && all {
        return Err(No(
            StatusCode::BAD_REQUEST,
            "which message? All are removed by `postern queue remove --all`",
        ));
    }
    let ids = if filled.id.is_empty() { Vec::new() } else { vec![filled.id] };
    carry_out(&desk, &verb, &Whom { ids, domain: filled.domain, all, folder: filled.folder }).await?;
    Ok(back())
}

fn back() -> Response {
    (StatusCode::SEE_OTHER, [(LOCATION, "/queue")]).into_response()
}
