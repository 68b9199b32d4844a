//! The language of the page: English, German, French or Italian, as the browser asks for it or its user has chosen.
//!
//! Pages are written in English, and nothing in them knows of other languages: what goes out is gone through text by text
//! ([`markup`]), and each text that the [`catalogue`] has is put into the other language. What it does not have stays as it is, and so
//! does what is marked `translate="no"`, or has the class of what others have written. The API, the log and the command line speak English.

mod catalogue;
mod markup;
#[cfg(test)]
mod tests;

use axum::body::{Body, to_bytes};
use axum::extract::{Extension, Path, Request};
use axum::http::header::{
    ACCEPT_LANGUAGE, CONTENT_LANGUAGE, CONTENT_LENGTH, CONTENT_TYPE, COOKIE, LOCATION, REFERER, SET_COOKIE,
    VARY,
};
use axum::http::{HeaderMap, HeaderValue, StatusCode, Uri};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use maud::{Markup, html};

use super::asker::{Came, Door};

/// The cookie that keeps a choice. It says nothing of anybody.
const COOKIE_NAME: &str = "postern-language";
/// For so many seconds: a year.
const KEPT: u32 = 365 * 86_400;
/// Octets of a page. The largest list has some thousand rows.
const MAX_PAGE: usize = 16 << 20;
/// Languages that a browser asks for are looked at up to so many.
const MAX_ASKED: usize = 32;

/// A language of the page.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Language {
    #[default]
    English,
    German,
    French,
    Italian,
}

impl Language {
    pub(super) const ALL: [Self; 4] = [Self::English, Self::German, Self::French, Self::Italian];

    /// As BCP 47 has it.
    pub(super) fn tag(self) -> &'static str {
        match self {
            Self::English => "en",
            Self::German => "de",
            Self::French => "fr",
            Self::Italian => "it",
        }
    }

    /// What it calls itself.
    fn name(self) -> &'static str {
        match self {
            Self::English => "English",
            Self::German => "Deutsch",
            Self::French => "Français",
            Self::Italian => "Italiano",
        }
    }

    /// By its tag, with or without a region (`de-CH`).
    fn tagged(tag: &str) -> Option<Self> {
        let primary = tag.split('-').next().unwrap_or_default();
        Self::ALL.into_iter().find(|language| language.tag().eq_ignore_ascii_case(primary))
    }

    /// What was chosen; else what the browser wants most (RFC 9110 §12.5.4).
    fn of(headers: &HeaderMap) -> Self {
        chosen(headers).or_else(|| asked(headers)).unwrap_or_default()
    }
}

fn chosen(headers: &HeaderMap) -> Option<Language> {
    let cookies = headers.get_all(COOKIE).iter().filter_map(|value| value.to_str().ok());
    let mut pairs = cookies.flat_map(|value| value.split(';')).filter_map(|pair| pair.trim().split_once('='));
    pairs.find(|(name, _)| *name == COOKIE_NAME).and_then(|(_, tag)| Language::tagged(tag))
}

fn asked(headers: &HeaderMap) -> Option<Language> {
    let value = headers.get(ACCEPT_LANGUAGE)?.to_str().ok()?;
    let mut best: Option<(Language, f32)> = None;
    for one in value.split(',').take(MAX_ASKED) {
        let (tag, parameters) = one.split_once(';').unwrap_or((one, ""));
        let quality = parameters.trim().strip_prefix("q=").map_or(Some(1.0), |quality| quality.parse().ok());
        let (Some(language), Some(quality)) = (Language::tagged(tag.trim()), quality) else { continue };
        // Of two that are wanted alike, the first.
        if quality > 0.0 && best.is_none_or(|(_, before)| quality > before) {
            best = Some((language, quality));
        }
    }
    best.map(|(language, _)| language)
}

/// Puts pages into the language of whoever asks.
pub(super) async fn speak(request: Request, next: Next) -> Response {
    let language = Language::of(request.headers());
    let mut response = next.run(request).await;
    let is_page = |value: &HeaderValue| value.as_bytes().starts_with(b"text/html");
    if !response.headers().get(CONTENT_TYPE).is_some_and(is_page) {
        return response;
    }
    let headers = response.headers_mut();
    headers.insert(CONTENT_LANGUAGE, HeaderValue::from_static(language.tag()));
    headers.append(VARY, HeaderValue::from_static("accept-language, cookie"));
    if language == Language::English {
        return response;
    }
    let (mut head, body) = response.into_parts();
    let Ok(page) = to_bytes(body, MAX_PAGE).await else {
        return StatusCode::INTERNAL_SERVER_ERROR.into_response();
    };
    head.headers.remove(CONTENT_LENGTH);
    let page = markup::translated(&String::from_utf8_lossy(&page), language);
    Response::from_parts(head, Body::from(page))
}

/// `/language/{tag}`: from now on this one, where the request came from.
pub(super) async fn choose(
    Extension(came): Extension<Came>,
    Path(tag): Path<String>,
    headers: HeaderMap,
) -> Response {
    let Some(language) = Language::tagged(&tag) else {
        return (StatusCode::NOT_FOUND, "the page speaks en, de, fr and it\n").into_response();
    };
    let secure = if came.door == (Door::Web { tls: true }) { "; Secure" } else { "" };
    let tag = language.tag();
    let cookie = format!("{COOKIE_NAME}={tag}; Path=/; HttpOnly; SameSite=Lax; Max-Age={KEPT}{secure}");
    let back = headers
        .get(REFERER)
        .and_then(|value| value.to_str().ok())
        .and_then(place)
        .unwrap_or_else(|| "/".to_owned());
    (StatusCode::SEE_OTHER, [(SET_COOKIE, cookie), (LOCATION, back)]).into_response()
}

/// The path of a page here, and nothing else: whoever links to `/language/de` from elsewhere does not lead back there.
fn place(referer: &str) -> Option<String> {
    let uri: Uri = referer.parse().ok()?;
    let place = uri.path_and_query()?.as_str();
    // Two slashes would be another host.
    (place.starts_with('/') && !place.starts_with("//") && !place.starts_with("/language/"))
        .then(|| place.to_owned())
}

/// The languages to choose from.
pub(super) fn choice() -> Markup {
    html! {
        nav.languages aria-label="Language" translate="no" {
            @for language in Language::ALL {
                a href=(format!("/language/{}", language.tag())) lang=(language.tag()) hreflang=(language.tag()) {
                    (language.name())
                }
            }
        }
    }
}
