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
use super::form;
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
    let file = desk.settings().ok_or(NONE)?.file();
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
    let settings = desk.settings();
    let file = settings.map(|settings| settings.file().display().to_string()).unwrap_or_default();
    let shown = match settings {
        Some(settings) => settings.present().await.ok(),
        None => None,
    };
    let edits = shown.as_ref().is_some_and(|shown| shown.edit);
    let base = shown.map(|shown| shown.base.words()).filter(|_| edits);
    Ok(html(frame.around(
        "As the file is now: what was changed by hand since the last reload is not in force yet",
        html! {
            p.back {
                a href="/" { "Status" } " · " a href="/settings/text" { "Edit the text" } " · "
                a href="/settings/history" { "Changes of the config" }
            }
            p.note { "From " span.words { (file) } ". Secrets are not shown." }
            @if base.is_none() { p.note { "It is changed in the file alone: [admin] edit = false. Then `postern check`, and a reload (SIGHUP)." } }
            @for section in &sections { (one(section, base.as_deref())) }
        },
    )))
}

fn one(section: &Section, base: Option<&str>) -> Markup {
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
            table.keys {
                thead { tr { th { "Key" } th { "Value" } th { "Meaning" } @if base.is_some() { th { "Change" } } } }
                tbody { @for setting in &section.settings { (row(section, setting, base)) } }
            }
        },
    )
}

fn row(section: &Section, setting: &Setting, base: Option<&str>) -> Markup {
    let number = section.number.to_string();
    let value = setting.value.as_deref().filter(|value| !value.contains("(not shown)")).unwrap_or_default();
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
            @if let Some(base) = base { td {
                details {
                    summary aria-label=(format!("Change {}", setting.key)) { "Change" }
                    (form::form("/settings/key", html! {
                        input type="hidden" name="base" value=(base);
                        @if !section.name.is_empty() { input type="hidden" name="section" value=(section.name); }
                        input type="hidden" name="number" value=(number);
                        input type="hidden" name="key" value=(setting.key);
                        input name="value" value=(value) aria-label="As TOML; nothing takes it out" autocomplete="off" spellcheck="false";
                        button { "Show the difference" }
                    }))
                }
            } }
        }
    }
}
