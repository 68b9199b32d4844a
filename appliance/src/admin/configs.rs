//! The config by API: its text, checks, changes, and what was changed before.

use axum::Json;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::answers::{Office, Refused};
use super::asker::asker;
use super::audit::Did;
use super::desk::Desk;
use super::openapi::{Book, Given};
use crate::settings::difference::Line;
use crate::settings::history::{By, Change};
use crate::settings::place::Refusal;
use crate::settings::{Checked, No, Settings, in_words};

/// The config as it is.
#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct Present {
    /// The file.
    file: String,
    /// What it has, without secrets: `(not shown: NUMBER)` stands for each. Left where they are they stay what they were.
    text: String,
    /// By which a change says what it is a change of: SHA-256 of the whole file.
    base: String,
    /// Whether it may be changed here (`[admin] edit`).
    edit: bool,
}

/// A text that was looked at, or what was changed.
#[derive(Debug, Default, Serialize, JsonSchema)]
pub(super) struct Answer {
    /// Whether it can be put in force.
    valid: bool,
    /// What is wrong, with line, column and key.
    problems: Vec<String>,
    /// Lines that would be, or were, new and gone, and those around them; without secrets.
    difference: Vec<Line>,
    /// Keys among them that count from a restart on.
    after_restart: Vec<String>,
    /// Keys without effect as things are.
    inactive: Vec<String>,
    /// The change, if one was made.
    change: Option<Change>,
}

/// What is ordered; `text` with `check` and `change`, `key` and `value` with `set`, `change` with `undo`.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Ordered {
    /// The `base` of the config that was seen: if the file is another one meanwhile, nothing is changed.
    #[serde(default)]
    base: String,
    /// All of the new text.
    #[serde(default)]
    text: String,
    /// As `/api/v1/settings` names it; empty for the keys at the head.
    #[serde(default)]
    section: String,
    /// Which of several such sections, from 1; 0 where there is one.
    #[serde(default)]
    number: usize,
    /// The key.
    #[serde(default)]
    key: String,
    /// Its value, as TOML; empty: none.
    #[serde(default)]
    value: String,
    /// The number of the change that is to be undone.
    #[serde(default)]
    change: u64,
}

/// One change, with its lines.
#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct Told {
    /// Who, when, what.
    change: Change,
    /// What it changed, without secrets.
    difference: Vec<Line>,
}

/// Orders for the config.
pub(super) const VERBS: [&str; 4] = ["check", "change", "set", "undo"];

pub(super) fn settings(desk: &Desk) -> Result<&Settings, Refused> {
    desk.settings()
        .ok_or_else(|| Refused(StatusCode::NOT_FOUND, "there is no config file: this is a demo".to_owned()))
}

pub(super) fn refused(no: &No) -> Refused {
    Refused(status(no), no.to_string())
}

pub(super) fn status(no: &No) -> StatusCode {
    match no {
        No::Unknown => StatusCode::NOT_FOUND,
        No::Wrong(_) | No::Unfit(_) | No::Refused(Refusal::Wrong | Refusal::Fixed) => StatusCode::BAD_REQUEST,
        No::Refused(Refusal::TooLong) => StatusCode::PAYLOAD_TOO_LARGE,
        No::Refused(Refusal::Silent | Refusal::Unwritable(_) | Refusal::Soon) => {
            StatusCode::SERVICE_UNAVAILABLE
        }
        No::Refused(_) | No::Same | No::Failed(_) => StatusCode::CONFLICT,
    }
}

pub(super) async fn present(State(desk): Office) -> Result<Json<Present>, Refused> {
    let settings = settings(&desk)?;
    let shown = settings.present().await.map_err(|no| refused(&no))?;
    let file = settings.file().display().to_string();
    Ok(Json(Present { file, text: shown.text, base: shown.base.words(), edit: shown.edit }))
}

pub(super) async fn history(State(desk): Office) -> Result<Json<Vec<Change>>, Refused> {
    settings(&desk)?.history().await.map(Json).map_err(|no| refused(&no))
}

pub(super) async fn one(State(desk): Office, Path(id): Path<String>) -> Result<Json<Told>, Refused> {
    let number = id.parse().map_err(|_| refused(&No::Unknown))?;
    let whole = settings(&desk)?.one(number).await.map_err(|no| refused(&no))?;
    Ok(Json(Told { change: whole.change, difference: whole.difference }))
}

/// Who asks, for the history.
pub(super) fn by(desk: &Desk, what: String) -> By {
    let asker = asker();
    By {
        who: asker.as_ref().map(|asker| asker.words()).unwrap_or_default(),
        from: asker.as_ref().map(|asker| asker.address()).unwrap_or_default(),
        what,
        at: desk.now().as_secs(),
    }
}

/// What goes into the trail of a change.
pub(super) fn did(change: &Change) -> Did {
    let Change { number, what, added, removed, .. } = change;
    Did {
        about: format!("change {number}: {what}, {added} lines added, {removed} removed"),
        ..Did::new("config changed")
    }
}

/// An answer, and what was done.
pub(super) struct Done(Answer, Option<Did>);

impl IntoResponse for Done {
    fn into_response(self) -> Response {
        let mut response = Json(self.0).into_response();
        if let Some(did) = self.1 {
            response.extensions_mut().insert(did);
        }
        response
    }
}

impl Given for Done {
    fn answer(book: &mut Book) -> serde_json::Value {
        Json::<Answer>::answer(book)
    }
}

fn looked_at(checked: &Checked) -> Answer {
    Answer {
        valid: true,
        difference: checked.difference.clone(),
        after_restart: checked.later.iter().map(|key| (*key).to_owned()).collect(),
        inactive: checked.inactive.clone(),
        ..Answer::default()
    }
}

pub(super) async fn order(
    State(desk): Office,
    Path(verb): Path<String>,
    Json(ordered): Json<Ordered>,
) -> Result<Done, Refused> {
    if !VERBS.contains(&verb.as_str()) {
        return Err(Refused(StatusCode::NOT_FOUND, "an order is check, change, set or undo".to_owned()));
    }
    let settings = settings(&desk)?;
    let Ordered { base, text, section, number, key, value, change } = ordered;
    let (what, checked) = match verb.as_str() {
        "set" => {
            let what = format!("{} set", name(&section, number, &key));
            (what, settings.with_key((section, number, key), value, Some(base)).await)
        }
        "undo" => (format!("{change} undone"), settings.undoing(change, Some(base)).await),
        _ => ("edited".to_owned(), settings.check(text, base).await),
    };
    if verb == "check" {
        return match checked {
            Err(No::Wrong(problems)) => {
                let problems = problems.iter().map(in_words).collect();
                Ok(Done(Answer { problems, ..Answer::default() }, None))
            }
            Err(No::Unfit(why)) => Ok(Done(Answer { problems: vec![why], ..Answer::default() }, None)),
            Err(No::Same) => Ok(Done(Answer { valid: true, ..Answer::default() }, None)),
            Err(no) => Err(refused(&no)),
            Ok(checked) => Ok(Done(looked_at(&checked), None)),
        };
    }
    let checked = checked.map_err(|no| refused(&no))?;
    let mut answer = looked_at(&checked);
    let change = settings.change(checked, by(&desk, what)).await.map_err(|no| refused(&no))?;
    let did = did(&change);
    answer.change = Some(change);
    Ok(Done(answer, Some(did)))
}

/// A key, in words.
fn name(section: &str, number: usize, key: &str) -> String {
    match (section, number) {
        ("", _) => key.to_owned(),
        (section, 0) => format!("{section}.{key}"),
        (section, number) => format!("{section}[{}].{key}", number - 1),
    }
}
