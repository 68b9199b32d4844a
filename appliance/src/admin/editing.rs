//! The config edited on the page: its text or one key, what would be other, and then in force; what was changed before, and back.

use axum::extract::{Form, Path, State};
use axum::http::StatusCode;
use axum::http::header::LOCATION;
use axum::response::{IntoResponse as _, Response};
use maud::{Markup, html};
use serde::Deserialize;

use super::answers::{No as Word, Office, html};
use super::configs::{by, did, status};
use super::desk::Desk;
use super::form;
use super::page::Frame;
use super::tables::{none, still, when_seconds};
use crate::settings::difference::{Line, Sign};
use crate::settings::history::Change;
use crate::settings::{Checked, No, Settings, Shown, in_words};

const FOOT: &str = "All times are UTC";
const NONE: Word = Word(StatusCode::NOT_FOUND, "there is no config file: this is a demo");
const UNKNOWN: Word = Word(StatusCode::NOT_FOUND, "there is no such change; the last twenty are kept");
const OFF: &str = "The config says that it is not edited here: [admin] edit = false";

/// What the forms send.
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct Filled {
    base: String,
    text: String,
    section: String,
    number: usize,
    key: String,
    value: String,
    change: u64,
}

fn settings(desk: &Desk) -> Result<&Settings, Word> {
    desk.settings().ok_or(NONE)
}

fn frame(desk: &Desk, title: &str, content: Markup) -> Markup {
    let frame = Frame { hostname: desk.hostname().to_owned(), title: title.to_owned() };
    frame.around(
        FOOT,
        html! {
            p.back { a href="/" { "Status" } " · " a href="/settings" { "Settings" } " · " a href="/settings/history" { "Changes of the config" } }
            (content)
        },
    )
}

/// `/settings/text`
pub(super) async fn text(State(desk): Office) -> Result<Response, Word> {
    let shown = settings(&desk)?.present().await;
    Ok(match shown {
        Ok(shown) => {
            html(frame(&desk, "Edit the config", editor(&shown.text, &shown.base.words(), shown.edit)))
        }
        Err(no) => failed(&desk, &no, html! {}),
    })
}

fn editor(text: &str, base: &str, edit: bool) -> Markup {
    still(
        "edit",
        "The config",
        html! {
            p.note { "Secrets are not shown: what stands in their place leaves them as they are. Nothing changes before you have seen the difference." }
            @if edit {
                form.editor method="post" action="/settings/check" {
                    (form::token())
                    input type="hidden" name="base" value=(base);
                    label for="config-text" { "Text of the config file" }
                    textarea.words #config-text name="text" rows="30" spellcheck="false" wrap="off" { "\n" (text) }
                    button { "Check, and show the difference" }
                }
            } @else {
                p.problem { (OFF) "." }
                textarea.words readonly rows="30" wrap="off" aria-label="Text of the config file" { "\n" (text) }
            }
        },
    )
}

fn failed(desk: &Desk, no: &No, more: Markup) -> Response {
    let problems = match no {
        No::Wrong(problems) => problems.iter().map(in_words).collect(),
        other => vec![other.to_string()],
    };
    let page = frame(
        desk,
        "Edit the config",
        html! {
            section.state.bad role="alert" {
                h1 { "Nothing was changed" }
                ul.plain { @for problem in &problems { li.words { (problem) } } }
            }
            (more)
        },
    );
    // Who changes nothing has done nothing wrong.
    let status = if matches!(no, No::Same) { StatusCode::OK } else { status(no) };
    (status, html(page)).into_response()
}

/// `/settings/check`, `/settings/key`: what would be other. `/settings/change`, `/settings/undo`: it is in force.
pub(super) async fn button(
    State(desk): Office,
    Path(verb): Path<String>,
    Form(filled): Form<Filled>,
) -> Result<Response, Word> {
    const ORDERS: Word = Word(StatusCode::NOT_FOUND, "an order is check, key, change or undo");
    if !["check", "key", "change", "undo"].contains(&verb.as_str()) {
        return Err(ORDERS);
    }
    let settings = settings(&desk)?;
    let Filled { base, text, section, number, key, value, change } = filled;
    Ok(match verb.as_str() {
        "key" => {
            let key = (section, number, key);
            let base = (!base.is_empty()).then_some(base);
            match settings.with_key(key, value, base).await {
                Ok(checked) => preview(&desk, &checked, None).await,
                Err(no) => failed(&desk, &no, html! {}),
            }
        }
        "check" => match settings.check(text.clone(), base.clone()).await {
            Ok(checked) => preview(&desk, &checked, Some(text)).await,
            Err(no) => failed(&desk, &no, again(settings, &text, base).await),
        },
        "undo" => match settings.undoing(change, Some(base)).await {
            Ok(checked) => in_force(&desk, settings, checked, format!("{change} undone")).await,
            Err(no) => failed(&desk, &no, html! {}),
        },
        _ => match settings.check(text.clone(), base.clone()).await {
            Ok(checked) => in_force(&desk, settings, checked, "edited".to_owned()).await,
            Err(no) => failed(&desk, &no, again(settings, &text, base).await),
        },
    })
}

/// The editor with what was written, so that it is not lost.
async fn again(settings: &Settings, text: &str, base: String) -> Markup {
    match settings.present().await {
        Ok(Shown { base: now, edit, .. }) if now.words() == base => editor(text, &base, edit),
        Ok(Shown { text: now, base, edit }) => html! {
            (still("written", "What you wrote", html! {
                p.note { "The file is another one meanwhile. Put into the text below what is still to be changed." }
                textarea.words readonly rows="15" wrap="off" aria-label="What you wrote" { "\n" (text) }
            }))
            (editor(&now, &base.words(), edit))
        },
        Err(_) => html! {},
    }
}

async fn in_force(desk: &Desk, settings: &Settings, checked: Checked, what: String) -> Response {
    match settings.change(checked, by(desk, what)).await {
        Ok(change) => {
            let place = format!("/settings/history/{}", change.number);
            let mut response = (StatusCode::SEE_OTHER, [(LOCATION, place)]).into_response();
            response.extensions_mut().insert(did(&change));
            response
        }
        Err(no) => failed(desk, &no, html! {}),
    }
}

/// What would be other, and the button for it. `edited` is the text as it was written on the page.
async fn preview(desk: &Desk, checked: &Checked, edited: Option<String>) -> Response {
    let text = match edited {
        Some(text) => text,
        // As the next step reads it: with the stand-ins of what serves now.
        None => match with_stand_ins(desk, checked).await {
            Ok(text) => text,
            Err(no) => return failed(desk, &no, html! {}),
        },
    };
    html(frame(
        desk,
        "Edit the config",
        html! {
            (still("difference", "What would be other", html! {
                (lines(&checked.difference))
                @if !checked.later.is_empty() { p { "After a restart only: " span.words { (checked.later.join(", ")) } } }
                @for key in &checked.inactive { p.note { "Without effect as things are: " span.words { (key) } } }
                form.actions method="post" action="/settings/change" {
                    (form::token())
                    input type="hidden" name="base" value=(checked.base.words());
                    textarea.words hidden name="text" { "\n" (text) }
                    button { "Put it in force" }
                }
                p.note { "The file is written and read again at once. If it cannot be put in force, the config before stays. It can be undone." }
            }))
            (editor(&text, &checked.base.words(), true))
        },
    ))
}

/// The new text as it is edited: a new secret stands in it, for whoever has just written it.
async fn with_stand_ins(desk: &Desk, checked: &Checked) -> Result<String, No> {
    let Some(settings) = desk.settings() else { return Err(No::Unknown) };
    settings.stand_ins(checked).await
}

/// Lines with their signs and numbers, for eyes that see no colour and for who has them read out.
fn lines(lines: &[Line]) -> Markup {
    html! {
        @if lines.is_empty() { (none("Nothing.")) }
        @else {
            table.difference {
                thead { tr { th { "Line" } th { "Change" } th { "Text" } } }
                tbody {
                    @for line in lines {
                        tr.(class(line.sign)) {
                            td.number { (line.number) }
                            td { @match line.sign { Sign::Added => "+ added", Sign::Removed => "− removed", Sign::Kept => "" } }
                            td.words { code { (line.text) } }
                        }
                    }
                }
            }
        }
    }
}

fn class(sign: Sign) -> &'static str {
    match sign {
        Sign::Added => "added",
        Sign::Removed => "removed",
        Sign::Kept => "kept",
    }
}

/// `/settings/history`
pub(super) async fn history(State(desk): Office) -> Result<Response, Word> {
    let changes = settings(&desk)?.history().await.unwrap_or_default();
    Ok(html(frame(
        &desk,
        "Changes of the config",
        still(
            "history",
            "The last changes that were made here",
            html! {
                @if changes.is_empty() { (none("There are none.")) }
                ul.plain { @for change in &changes { li { (one(change)) } } }
                p.note { "What somebody writes into the file by hand is not among them." }
            },
        ),
    )))
}

fn one(change: &Change) -> Markup {
    html! {
        p {
            a href=(format!("/settings/history/{}", change.number)) { (change.number) } " · "
            span.words { (change.what) } " · " (when_seconds(change.at)) " · "
            strong.words { (change.who) } @if !change.from.is_empty() { " " span.note.words { (change.from) } }
        }
        p.note { (change.added) " lines added, " (change.removed) " removed" }
    }
}

/// `/settings/history/{id}`
pub(super) async fn change(State(desk): Office, Path(id): Path<String>) -> Result<Response, Word> {
    let settings = settings(&desk)?;
    let number = id.parse().map_err(|_| UNKNOWN)?;
    let whole = settings.one(number).await.map_err(|_| UNKNOWN)?;
    let undoing = settings.undoing(number, None).await;
    Ok(html(frame(
        &desk,
        "A change of the config",
        html! {
            (still("change", "The change", html! { (one(&whole.change)) (lines(&whole.difference)) }))
            (still("undo", "Undo it", html! {
                p.note { "The config becomes what it was before this change; later changes go with it. That is a change, too, and can be undone." }
                @match &undoing {
                    Ok(checked) => {
                        (lines(&checked.difference))
                        (form::button("/settings/undo", &[("change", &number.to_string()), ("base", &checked.base.words())], "Undo"))
                    }
                    Err(No::Same) => { (none("The config is what it was before this change already.")) }
                    Err(no) => p.problem.words { (no) "." },
                }
            }))
        },
    )))
}
