//! Messages that are handed in: to be judged without being sent, and to be learnt.

use std::sync::Arc;

use axum::Json;
use axum::extract::{Path, Request, State};
use axum::http::StatusCode;
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use judge::Class;
use tokio::sync::Semaphore;

use super::answers::{No, Office, Refused};
use crate::report::{LearnOrder, NotJudging, ScanOrder, Scanned, Taught};

/// Lets so many messages in at once as there are places; the others wait before their bodies are read.
pub(super) async fn in_turn(State(places): State<Arc<Semaphore>>, request: Request, next: Next) -> Response {
    // Nobody closes it; without a place nothing is read.
    let Ok(_place) = places.acquire().await else {
        return No(StatusCode::SERVICE_UNAVAILABLE, "Postern is ending").into_response();
    };
    next.run(request).await
}

pub(super) async fn scan(
    State(desk): Office,
    Json(order): Json<ScanOrder>,
) -> Result<Json<Scanned>, Refused> {
    desk.live().scan(order).await.map(Json).map_err(refused)
}

/// As what a message is learnt.
pub(super) const CLASSES: [&str; 2] = ["spam", "ham"];

pub(super) async fn learn(
    State(desk): Office,
    Path(class): Path<String>,
    Json(order): Json<LearnOrder>,
) -> Result<Json<Taught>, Refused> {
    let class = match class.as_str() {
        "spam" => Class::Spam,
        "ham" => Class::Ham,
        _ => return Err(No(StatusCode::NOT_FOUND, "a message is learnt as spam or as ham").into()),
    };
    let learnt = desk.live().learn(class, order).await.map_err(refused)?;
    Ok(Json(Taught { learnt }))
}

fn refused(error: NotJudging) -> Refused {
    let status = match &error {
        NotJudging::Off => StatusCode::CONFLICT,
        NotJudging::Wrong(_) => StatusCode::UNPROCESSABLE_ENTITY,
        NotJudging::Failed(_) => StatusCode::SERVICE_UNAVAILABLE,
    };
    Refused(status, error.to_string())
}
