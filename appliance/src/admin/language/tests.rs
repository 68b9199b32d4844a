use super::*;
use crate::admin::tests::{FINE, FakeEngine, say, start};

/// Pages that everybody has, with everything on them.
const PAGES: [&str; 18] = [
    "/",
    "/messages",
    "/messages?q=nothing-like-this",
    "/queue",
    "/quarantine",
    "/reports",
    "/senders",
    "/block",
    "/dns",
    "/domain-reports",
    "/weekly",
    "/domains",
    "/domains/example.net",
    "/users",
    "/tokens",
    "/audit",
    "/login",
    "/first",
];
/// Words that are the same in all languages, are of the protocol, or are what a program takes.
const SAME: [&str; 12] = [
    "Postern",
    "Backends",
    "Message-ID",
    "Client",
    "Code",
    "TLS",
    "DKIM",
    "SPF",
    "DMARC",
    "MX",
    "TXT",
    "pid",
];

async fn page(address: std::net::SocketAddr, path: &str, fields: &str) -> String {
    say(address, &format!("GET {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n{fields}\r\n"))
        .await
}

/// What is read in a page.
fn texts(page: &str) -> Vec<String> {
    let mut texts = Vec::new();
    let body = page.split_once("\r\n\r\n").map_or(page, |(_, body)| body);
    markup::pieces(body, |piece| {
        if let markup::Piece::Text(text) = piece
            && !text.trim().is_empty()
        {
            texts.push(markup::unescaped(text.trim()).into_owned());
        }
    });
    texts
}

/// Whether a text has words in it that could be said in another language: two of them, or one that is a label.
fn is_prose(text: &str) -> bool {
    // A line of a zone file.
    if text.contains(". IN ") {
        return false;
    }
    let is_word = |word: &&str| {
        word.chars().count() > 2
            && word.chars().all(|c| c.is_alphabetic() || c == '\'')
            && !SAME.contains(word)
    };
    let words: Vec<_> =
        text.split_whitespace().map(|word| word.trim_matches([',', '.', ';', ':', '(', ')'])).collect();
    words.iter().filter(|word| is_word(word)).count() >= 2
        || (words.len() == 1
            && words.iter().any(|word| is_word(word) && word.starts_with(char::is_uppercase)))
}

#[tokio::test]
async fn what_the_pages_say_they_say_in_four_languages() {
    let mut left = std::collections::BTreeSet::new();
    for engine in [FINE, FakeEngine { all_down: true, self_signed: true }] {
        let (address, _stop) = start(engine, true).await;
        let front = page(address, "/", "").await;
        let one = front.split("href=\"").find(|after| after.starts_with("/transactions/"));
        let one = one.and_then(|after| after.split('"').next()).expect("a transaction").to_owned();
        for path in PAGES.into_iter().chain([&*one]) {
            let english = texts(&page(address, path, "").await);
            assert!(english.len() > 5, "{path}: {english:?}");
            for language in [Language::German, Language::French, Language::Italian] {
                let asked = format!("Accept-Language: {}\r\n", language.tag());
                let answer = page(address, path, &asked).await;
                assert!(answer.contains(&format!("<html lang=\"{}\"", language.tag())), "{path}");
                let other = texts(&answer);
                assert_eq!(english.len(), other.len(), "{path}");
                // Some words are the same in two languages, and known to be.
                let is_known = |text: &str| catalogue::CATALOGUE.find(text, language).is_some();
                let pairs = english.iter().zip(&other);
                let same = pairs.filter(|(one, other)| one == other && is_prose(one) && !is_known(one));
                left.extend(same.map(|(one, _)| format!("{path} {}: {one}", language.tag())));
            }
        }
    }
    assert!(left.is_empty(), "{left:#?}");
}

#[test]
fn what_is_wrong_with_a_login_is_said_in_its_language_with_and_without_a_full_stop() {
    let german = |text: &str| catalogue::CATALOGUE.find(text, Language::German);
    let wrong = "name, password or code is wrong";
    let bare = german(wrong).unwrap();
    assert!(bare != wrong && !bare.ends_with('.'), "{bare}");
    assert_eq!(german(&format!("{wrong}.")), Some(format!("{bare}.")));
    assert!(
        german("too many attempts; try again in 7 seconds.")
            .is_some_and(|text| text.contains('7') && text.ends_with('.'))
    );
    assert_eq!(german("."), None);
}

#[tokio::test]
async fn what_was_chosen_counts_before_what_the_browser_asks_for() {
    let (address, _stop) = start(FINE, true).await;
    let speaks = async |fields: &str| {
        let answer = page(address, "/", fields).await;
        let at = answer.find("<html lang=\"").unwrap() + "<html lang=\"".len();
        answer[at..at + 2].to_owned()
    };
    for (fields, language) in [
        ("", "en"),
        ("Accept-Language: fr-CH, fr;q=0.9, de;q=0.8\r\n", "fr"),
        ("Accept-Language: nl, it;q=0.5, de;q=0.7\r\n", "de"),
        ("Accept-Language: de;q=0, en\r\n", "en"),
        ("Accept-Language: ;;q=x,,*\r\n", "en"),
        ("Accept-Language: de\r\nCookie: postern-language=it\r\n", "it"),
        ("Accept-Language: de\r\nCookie: a=b; postern-language=nl\r\n", "de"),
    ] {
        assert_eq!(speaks(fields).await, language, "{fields}");
    }
    let answer =
        page(address, "/language/fr", &format!("Referer: http://{address}/queue?domain=a\r\n")).await;
    assert!(
        answer.starts_with("HTTP/1.1 303 ") && answer.contains("location: /queue?domain=a\r\n"),
        "{answer}"
    );
    assert!(answer.contains("set-cookie: postern-language=fr; Path=/; HttpOnly; SameSite=Lax"), "{answer}");
    for (referer, back) in
        [("http://evil.example//evil.example/", "/"), ("no uri", "/"), ("http://x/language/it", "/")]
    {
        let answer = page(address, "/language/de", &format!("Referer: {referer}\r\n")).await;
        assert!(answer.contains(&format!("location: {back}\r\n")), "{referer}: {answer}");
    }
    assert!(page(address, "/language/nl", "").await.starts_with("HTTP/1.1 404 "));
}

#[tokio::test]
async fn programs_are_answered_in_english() {
    let (address, _stop) = start(FINE, true).await;
    let asked = "Accept-Language: de\r\n";
    for path in ["/api/v1/status", "/metrics", "/healthz"] {
        let (english, german) = (page(address, path, "").await, page(address, path, asked).await);
        assert!(!german.contains("content-language") && german.len() == english.len(), "{path}");
    }
}
