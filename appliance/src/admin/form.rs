//! Forms of the page: each carries its session's token, without which the guard takes none. And the cookie that names a session.

use axum::body::Bytes;
use axum::http::HeaderMap;
use axum::http::header::COOKIE;
use maud::{Markup, html};
use url::form_urlencoded;

use super::asker::asker;

/// The field that has the token.
pub(super) const TOKEN: &str = "form_token";

/// A form that is sent by a POST.
pub(super) fn form(action: &str, content: Markup) -> Markup {
    html! {
        form.actions method="post" action=(action) { (token()) (content) }
    }
}

/// The token of the asker's session; nothing where there is no session.
pub(super) fn token() -> Markup {
    let asker = asker();
    let session = asker.as_ref().and_then(|asker| asker.user()).map(|(_, session)| session);
    html! { @if let Some(session) = session { input type="hidden" name=(TOKEN) value=(session.token); } }
}

/// A form with nothing to fill in: fields that go along, and a button.
pub(super) fn button(action: &str, fields: &[(&str, &str)], words: &str) -> Markup {
    html! {
        form method="post" action=(action) {
            (token())
            @for (name, value) in fields {
                @if !value.is_empty() { input type="hidden" name=(name) value=(value); }
            }
            button { (words) }
        }
    }
}

/// The content of a form without its token, if that is the right one.
pub(super) fn without_token(content: &[u8], token: &str) -> Option<Bytes> {
    let is_right = |(name, value): (_, std::borrow::Cow<'_, str>)| {
        let name: std::borrow::Cow<'_, str> = name;
        name == TOKEN
            && aws_lc_rs::constant_time::verify_slices_are_equal(value.as_bytes(), token.as_bytes()).is_ok()
    };
    form_urlencoded::parse(content).any(is_right).then(|| without_any_token(content))
}

/// The content of a form without whatever token it has.
pub(super) fn without_any_token(content: &[u8]) -> Bytes {
    let mut rest = form_urlencoded::Serializer::new(String::new());
    rest.extend_pairs(form_urlencoded::parse(content).filter(|(name, _)| name != TOKEN));
    rest.finish().into()
}

/// The cookie's name. With the prefix a browser takes it from a page over TLS alone, for this very host (RFC 6265bis §4.1.3.2); without
/// TLS, on loopback, there can be no prefix.
fn cookie_name(tls: bool) -> &'static str {
    if tls { "__Host-postern" } else { "postern" }
}

/// The session's secret, as the browser brings it along.
pub(super) fn cookie(headers: &HeaderMap, tls: bool) -> Option<&str> {
    let all = headers.get_all(COOKIE).iter().filter_map(|cookies| cookies.to_str().ok());
    let mut pairs = all.flat_map(|cookies| cookies.split(';')).filter_map(|pair| pair.trim().split_once('='));
    pairs.find(|(name, _)| *name == cookie_name(tls)).map(|(_, secret)| secret)
}

/// `Set-Cookie` for a session that begins, or without a secret for one that ends.
pub(super) fn set_cookie(secret: Option<(&str, std::time::Duration)>, tls: bool) -> String {
    let (secret, seconds) = secret.map_or(("", 0), |(secret, life)| (secret, life.as_secs()));
    let secure = if tls { "; Secure" } else { "" };
    let name = cookie_name(tls);
    format!("{name}={secret}; Path=/; HttpOnly; SameSite=Strict; Max-Age={seconds}{secure}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_token_is_looked_at_and_taken_away() {
        let content = b"form_token=abc&id=a%26b&x=1+2";
        assert_eq!(without_token(content, "abc").unwrap(), "id=a%26b&x=1+2");
        assert!(without_token(content, "abd").is_none() && without_token(b"id=1", "").is_none());
        assert_eq!(without_any_token(b"form_token=1&form_token=2&id=3"), "id=3");
    }

    #[test]
    fn the_cookie_is_found_among_others() {
        let mut headers = HeaderMap::new();
        headers.append(COOKIE, "a=b; postern=one".parse().unwrap());
        headers.append(COOKIE, "__Host-postern=two;c".parse().unwrap());
        assert_eq!((cookie(&headers, false), cookie(&headers, true)), (Some("one"), Some("two")));
        assert_eq!(cookie(&HeaderMap::new(), false), None);
        let set = set_cookie(Some(("x", std::time::Duration::from_secs(60))), true);
        assert_eq!(set, "__Host-postern=x; Path=/; HttpOnly; SameSite=Strict; Max-Age=60; Secure");
    }
}
