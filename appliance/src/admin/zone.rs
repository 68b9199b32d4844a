//! What is to be published in the DNS.

use axum::Json;
use axum::extract::{RawQuery, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use serde::Deserialize;

use super::answers::Office;
use crate::report::{NoZones, ZoneQuestion, ZoneReport};

/// `?domain=&domain=&verify=true`, all optional.
pub(super) async fn dns(State(desk): Office, RawQuery(query): RawQuery) -> Response {
    let Some(question) = question(query.as_deref().unwrap_or_default()) else {
        return no(StatusCode::BAD_REQUEST, "`domain`, as often as wanted, and `verify`, `true` or `false`");
    };
    answered(desk.live().zones(question).await)
}

/// `{"domain": "example.net"}`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct OfDomain {
    domain: String,
}

pub(super) async fn replace_dkim(State(desk): Office, Json(of): Json<OfDomain>) -> Response {
    answered(desk.live().replace_dkim(of.domain.to_lowercase()).await)
}

fn answered(zones: Result<ZoneReport, NoZones>) -> Response {
    match zones {
        Ok(report) => Json(report).into_response(),
        Err(error) if error.is_unknown_domain() => no(StatusCode::NOT_FOUND, &error.to_string()),
        Err(error) if error.is_refusal() => no(StatusCode::CONFLICT, &error.to_string()),
        Err(error) => no(StatusCode::SERVICE_UNAVAILABLE, &error.to_string()),
    }
}

pub(super) fn question(query: &str) -> Option<ZoneQuestion> {
    let mut question = ZoneQuestion::default();
    for (name, value) in url::form_urlencoded::parse(query.as_bytes()) {
        match &*name {
            "domain" => question.domains.push(value.to_lowercase()),
            "verify" => question.verify = value.parse().ok()?,
            _ => return None,
        }
    }
    Some(question)
}

fn no(status: StatusCode, why: &str) -> Response {
    (status, Json(serde_json::json!({ "error": why }))).into_response()
}
