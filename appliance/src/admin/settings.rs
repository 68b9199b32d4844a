//! The config as its file has it now, with what each key means.

use std::path::Path;

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;
use maud::{Markup, html};
use tokio::io::AsyncReadExt as _;

use super::answers::{No, Office, html};
use super::desk::Desk;
use super::page::Frame;
use super::tables::still;
use crate::config::manual::{self, Section, Setting};

/// Octets of a config; one with thousands of domains has some hundred thousand.
const MAX_FILE: u64 = 4 << 20;

async fn read(file: &Path) -> std::io::Result<String> {
    let mut text = String::new();
    tokio::fs::File::open(file).await?.take(MAX_FILE).read_to_string(&mut text).await?;
    Ok(text)
}

async fn settings(desk: &Desk) -> Result<Vec<Section>, No> {
    const NONE: No = No(StatusCode::NOT_FOUND, "there is no config file: this is a demo");
    const UNREADABLE: No =
        No(StatusCode::SERVICE_UNAVAILABLE, "the config file cannot be read; the log says why");
    const WRONG: No =
        No(StatusCode::CONFLICT, "the config file is wrong as it is now; `postern check` says where");
    let file = desk.config_file().ok_or(NONE)?;
    let text = read(file).await.map_err(|error| {
        tracing::error!(%error, file = %file.display(), "the config cannot be shown");
        UNREADABLE
    })?;
    manual::settings(&text).map_err(|_| WRONG)
}

pub(super) async fn list(State(desk): Office) -> Result<Json<Vec<Section>>, No> {
    settings(&desk).await.map(Json)
}

pub(super) async fn page(State(desk): Office) -> Result<Response, No> {
    let sections = settings(&desk).await?;
    let frame = Frame { hostname: desk.hostname().to_owned(), title: "Settings".to_owned() };
    let file = desk.config_file().map(|file| file.display().to_string()).unwrap_or_default();
    Ok(html(frame.around(
        "As the file is now: what was changed since the last reload is not in force yet",
        html! {
            p.back { a href="/" { "Status" } }
            p.note { "From " span.words { (file) } ". After a change: `postern check`, then a reload (SIGHUP). Secrets are not shown." }
            @for section in &sections { (one(section)) }
        },
    )))
}

fn one(section: &Section) -> Markup {
    let title = match (section.name.as_str(), section.number) {
        ("", _) => "At the head".to_owned(),
        (name, 0) => format!("[{name}]"),
        (name, number) => format!("[[{name}]], the {number}."),
    };
    let id = format!("settings-{}-{}", section.name.replace('.', "-"), section.number);
    still(
        &id,
        &title,
        html! {
            @if !section.meaning.is_empty() { p.note { (section.meaning) } }
            table {
                thead { tr { th { "Key" } th { "Value" } th { "Meaning" } } }
                tbody { @for setting in &section.settings { (row(setting)) } }
            }
        },
    )
}

fn row(setting: &Setting) -> Markup {
    html! {
        tr {
            th scope="row" { (setting.key) }
            td.words {
                @match &setting.value {
                    Some(value) => { strong { (value) } }
                    None => { span.note { "not set; for example, or by default: " (setting.default) } }
                }
            }
            td.words { (setting.meaning) }
        }
    }
}
