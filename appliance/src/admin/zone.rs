//! What is to be published in the DNS.

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use schemars::JsonSchema;
use serde::Deserialize;

use super::answers::{Office, Refused};
use super::asked::{FromPairs, Pairs};
use crate::report::{NoZones, ZoneQuestion, ZoneReport};

/// `?domain=&domain=&verify=true`, all optional.
#[derive(Debug, Default, JsonSchema)]
#[serde(default)]
pub(super) struct Wanted {
    /// As often as wanted; without any, all domains.
    domain: Vec<String>,
    /// Whether the DNS is asked what is there.
    verify: bool,
}

impl FromPairs for Wanted {
    const WORDS: &'static str = "`domain`, as often as wanted, and `verify`, `true` or `false`";

    fn take(&mut self, name: &str, value: &str) -> Option<()> {
        match name {
            "domain" => self.domain.push(value.to_lowercase()),
            "verify" => self.verify = value.parse().ok()?,
            _ => return None,
        }
        Some(())
    }
}

pub(super) async fn dns(
    State(desk): Office,
    Pairs(wanted): Pairs<Wanted>,
) -> Result<Json<ZoneReport>, Refused> {
    answered(desk.live().zones(wanted.question()).await)
}

/// `{"domain": "example.net"}`.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct OfDomain {
    domain: String,
}

pub(super) async fn replace_dkim(
    State(desk): Office,
    Json(of): Json<OfDomain>,
) -> Result<Json<ZoneReport>, Refused> {
    answered(desk.live().replace_dkim(of.domain.to_lowercase()).await)
}

fn answered(zones: Result<ZoneReport, NoZones>) -> Result<Json<ZoneReport>, Refused> {
    zones.map(Json).map_err(|error| {
        let status = match &error {
            NoZones::UnknownDomain(_) => StatusCode::NOT_FOUND,
            NoZones::Refused(_) => StatusCode::CONFLICT,
            NoZones::Failed(_) => StatusCode::SERVICE_UNAVAILABLE,
        };
        Refused(status, error.to_string())
    })
}

impl Wanted {
    pub(super) fn question(self) -> ZoneQuestion {
        ZoneQuestion { domains: self.domain, verify: self.verify }
    }
}
