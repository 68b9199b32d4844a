//! Messages that are handed in: to be judged without being sent, and to be learnt.

use std::sync::Arc;

use axum::Json;
use axum::extract::{Path, Request, State};
use axum::http::StatusCode;
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use judge::Class;
use tokio::sync::Semaphore;

use super::answers::Office;
use crate::report::{LearnOrder, NotJudging, ScanOrder, Taught};

/// Lets so many messages in at once as there are places; the others wait before their bodies are read.
pub(super) async fn in_turn(State(places): State<Arc<Semaphore>>, request: Request, next: Next) -> Response {
    // Nobody closes it; without a place nothing is read.
    let Ok(_place) = places.acquire().await else {
        return no(StatusCode::SERVICE_UNAVAILABLE, "Postern is ending");
    };
    next.run(request).await
}

pub(super) async fn scan(State(desk): Office, Json(order): Json<ScanOrder>) -> Response {
    answer(desk.live().scan(order).await)
}

pub(super) async fn learn(
    State(desk): Office,
    Path(class): Path<String>,
    Json(order): Json<LearnOrder>,
) -> Response {
    let class = match class.as_str() {
        "spam" => Class::Spam,
        "ham" => Class::Ham,
        _ => return no(StatusCode::NOT_FOUND, "a message is learnt as spam or as ham"),
    };
    answer(desk.live().learn(class, order).await.map(|learnt| Taught { learnt }))
}

fn answer(said: Result<impl serde::Serialize, NotJudging>) -> Response {
    match said {
        Ok(said) => Json(said).into_response(),
        Err(error) => {
            let status = match &error {
                NotJudging::Off => StatusCode::CONFLICT,
                NotJudging::Wrong(_) => StatusCode::UNPROCESSABLE_ENTITY,
                NotJudging::Failed(_) => StatusCode::SERVICE_UNAVAILABLE,
            };
            no(status, &error.to_string())
        }
    }
}

fn no(status: StatusCode, why: &str) -> Response {
    (status, Json(serde_json::json!({ "error": why }))).into_response()
}
