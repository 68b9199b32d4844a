//! Certificates on the page and over the API.

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use maud::{Markup, html};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::answers::{No, Office, Refused};
use super::tables::{expiry, none, section};
use crate::ask::{day, troubles, zone_line};
use crate::report::{CertificateSource, CertificateState, CertifyingState, RollOrder, TlsaState};

/// What serves, and how ordering goes.
#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct Listed {
    certificates: Vec<CertificateState>,
    certifying: CertifyingState,
}

pub(super) async fn list(State(desk): Office) -> Json<Listed> {
    Json(Listed { certificates: desk.live().certificates(), certifying: desk.live().certifying() })
}

const OFF: &str = "no certificates are ordered here; `postern certs list` says why";

/// `{"name": "mx1.example.net"}`; without a name everything is meant.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Named {
    #[serde(default)]
    name: Option<String>,
}

/// How many certificates are ordered anew.
#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct Ordered {
    orders: usize,
}

pub(super) async fn renew(State(desk): Office, Json(named): Json<Named>) -> Result<Json<Ordered>, No> {
    const UNKNOWN: &str = "no certificate that is ordered here has, or should have, that name";
    match desk.live().renew(named.name.as_deref()) {
        None => Err(No(StatusCode::NOT_FOUND, OFF)),
        Some(0) => Err(No(StatusCode::NOT_FOUND, UNKNOWN)),
        Some(orders) => Ok(Json(Ordered { orders })),
    }
}

pub(super) async fn roll(State(desk): Office, Json(order): Json<RollOrder>) -> Result<Json<Taken>, Refused> {
    match desk.live().roll(order) {
        None => Err(No(StatusCode::NOT_FOUND, OFF).into()),
        Some(Err(error)) => Err(Refused(StatusCode::INTERNAL_SERVER_ERROR, error)),
        Some(Ok(())) => Ok(Json(Taken { taken: true })),
    }
}

/// The order is under way.
#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct Taken {
    /// Always so.
    taken: bool,
}

/// What serves, and how ordering goes.
pub(super) fn table(certificates: &[CertificateState], certifying: &CertifyingState, now: u64) -> Markup {
    section(
        "certificates",
        "Certificates",
        html! {
            @if certificates.is_empty() { (none("None: TLS is not offered.")) }
            ul.plain {
                @for certificate in certificates {
                    li {
                        strong.words { (certificate.names.join(", ")) }
                        p.note {
                            (expiry(certificate.expires, now)) " · "
                            @match &certificate.source {
                                CertificateSource::SelfSigned => { "self-signed: senders that verify will not take it" }
                                CertificateSource::File { path } => { "from " (path) }
                                CertificateSource::Acme { directory } => { "from " (directory) }
                            }
                            @if let Some(at) = certificate.renews { " · renews " (day(at)) }
                        }
                    }
                }
            }
            @for trouble in troubles(certifying) { p.reason { (trouble) } }
            @if !certifying.tlsa.is_empty() {
                details {
                    summary { "TLSA records" }
                    @for host in &certifying.tlsa { (records(host)) }
                }
            }
        },
    )
}

/// What is to be published of a host's keys, in the form of a zone file.
fn records(host: &TlsaState) -> Markup {
    html! {
        p { strong.words { (host.host) } " " (host.words) }
        @for record in &host.publish { p.note.record { (zone_line(&host.host, record)) } }
    }
}
