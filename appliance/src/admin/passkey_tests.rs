//! Passkeys over real sockets, as a browser's script and an attacker send them.

use axum::http::HeaderMap;
use axum::http::header::HOST;
use serde_json::Value;

use super::access_tests::{Browser, FORM, House, access, status};
use super::asker::{Came, Door};
use super::passkeys::site;
use super::tests::{FINE, desk, say};
use crate::access::soft::Soft;

const PASSWORD: &str = "password=correct+horse+battery";

/// The page by the name that passkeys are for.
struct Local(House);

impl Local {
    async fn new() -> Self {
        Self(House::new().await)
    }

    fn host(&self) -> String {
        format!("localhost:{}", self.0.address.port())
    }

    fn origin(&self) -> String {
        format!("http://{}", self.host())
    }

    async fn get(&self, fields: &str, path: &str) -> String {
        let host = self.host();
        say(
            self.0.address,
            &format!("GET {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n{fields}\r\n"),
        )
        .await
    }

    async fn post(&self, fields: &str, path: &str, body: &str) -> String {
        let (host, length) = (self.host(), body.len());
        let request = format!(
            "POST {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n{fields}Content-Type: {FORM}\r\n\
             Content-Length: {length}\r\n\r\n{body}"
        );
        say(self.0.address, &request).await
    }

    async fn form(&self, browser: &Browser, path: &str, body: &str) -> String {
        let fields = format!("{}Origin: {}\r\n", browser.cookie, self.origin());
        self.post(&fields, path, &format!("{body}&form_token={}", browser.token)).await
    }

    /// Adds a passkey as the script does it.
    async fn add(&self, browser: &Browser, soft: &mut Soft) -> String {
        let offer = self.form(browser, "/account/passkeys", &format!("name=My+key&{PASSWORD}")).await;
        let options = attribute(&offer, "data-options");
        let options: Value =
            serde_json::from_str(&options).unwrap_or_else(|error| panic!("{error}: {offer}"));
        let ticket = attribute(&offer, "name=\"ticket\" value");
        let answer = soft.make(&options, &self.origin());
        self.form(browser, "/account/passkeys/confirm", &sent(&ticket, &answer, "&name=My+key")).await
    }

    /// What the browser is asked for a login.
    async fn asked(&self) -> (Value, String) {
        let answer = self.get("", "/login/passkey").await;
        let body = answer.split_once("\r\n\r\n").unwrap().1;
        let asked: Value = serde_json::from_str(body).unwrap_or_else(|error| panic!("{error}: {answer}"));
        (asked["options"].clone(), asked["ticket"].as_str().unwrap().to_owned())
    }

    async fn enter(&self, soft: &mut Soft) -> String {
        let (options, ticket) = self.asked().await;
        let answer = soft.log_in(&options, &self.origin());
        let own = format!("Cookie: postern=chosen-by-somebody-else\r\nOrigin: {}\r\n", self.origin());
        self.post(&own, "/login/passkey", &sent(&ticket, &answer, "")).await
    }
}

fn attribute(page: &str, name: &str) -> String {
    let value = page.split(&format!("{name}=\"")).nth(1).and_then(|rest| rest.split('"').next());
    let value = value.unwrap_or_else(|| panic!("no {name}: {page}"));
    value.replace("&quot;", "\"").replace("&amp;", "&")
}

fn sent(ticket: &str, answer: &Value, more: &str) -> String {
    let mut body = url::form_urlencoded::Serializer::new(String::new());
    body.append_pair("ticket", ticket).append_pair("answer", &answer.to_string());
    format!("{}{more}", body.finish())
}

fn body(answer: &str) -> &str {
    answer.split_once("\r\n\r\n").map_or("", |(_, body)| body)
}

#[tokio::test]
async fn a_passkey_is_added_with_the_password_lets_in_and_is_removed_with_it() {
    let local = Local::new().await;
    let ann = local.0.ann().await;
    let mut soft = Soft::with_p256(1);
    let refused = local.form(&ann, "/account/passkeys", "name=x&password=wrong+wrong+wrong").await;
    assert!(status(&refused) == 403 && !refused.contains("data-options"), "{refused}");
    let added = local.add(&ann, &mut soft).await;
    assert!(status(&added) == 303 && added.contains("location: /account\r\n"), "{added}");
    let page = local.get(&ann.cookie, "/account").await;
    assert!(page.contains("My key") && page.contains("not used yet"), "{page}");
    assert!(!page.contains(" style=") && !page.contains("<script>"), "{page}");

    let entered = local.enter(&mut soft).await;
    assert!(status(&entered) == 303 && entered.contains("location: /\r\n"), "{entered}");
    let cookie = entered.split("set-cookie: postern=").nth(1).unwrap().split(';').next().unwrap();
    assert!(
        cookie.len() >= 43
            && cookie != "chosen-by-somebody-else"
            && entered.contains("HttpOnly; SameSite=Strict")
    );
    let inside = local.get(&format!("Cookie: postern={cookie}\r\n"), "/api/v1/users").await;
    assert!(inside.contains("\"passkeys\":1"), "{inside}");

    let page = local.get(&ann.cookie, "/account").await;
    let id = page
        .split("/account/passkeys/remove")
        .nth(1)
        .map(|form| attribute(form, "name=\"id\" value"))
        .unwrap();
    let refused = local.form(&ann, "/account/passkeys/remove", &format!("id={id}&password=wrong")).await;
    assert_eq!(status(&refused), 403);
    let unknown = local.form(&ann, "/account/passkeys/remove", &format!("id=00&{PASSWORD}")).await;
    assert_eq!(status(&unknown), 404);
    let removed = local.form(&ann, "/account/passkeys/remove", &format!("id={id}&{PASSWORD}")).await;
    assert_eq!(status(&removed), 303, "{removed}");
    let refused = local.enter(&mut soft).await;
    assert!(status(&refused) == 403 && refused.contains("this passkey does not let you in"), "{refused}");
    let trail = local.get(&ann.cookie, "/api/v1/audit").await;
    for part in ["passkey added", "passkey removed", "login with a passkey", "\"about\":\"My key\""] {
        assert!(trail.contains(part), "{part}: {trail}");
    }
    assert!(!trail.contains("correct") && !trail.contains(&soft.handle), "{trail}");
}

#[tokio::test]
async fn other_sites_other_sessions_and_what_is_too_long_get_nowhere() {
    let local = Local::new().await;
    let (ann, eve) = (local.0.ann().await, local.0.user("eve", "viewer", &[]).await);
    let mut soft = Soft::with_p256(1);
    local.add(&ann, &mut soft).await;
    let (options, ticket) = local.asked().await;
    let answer = soft.log_in(&options, &local.origin());
    for fields in [
        String::new(),
        "Origin: null\r\n".to_owned(),
        "Origin: http://evil.example\r\n".to_owned(),
        format!("Origin: https://{}\r\n", local.host()),
        format!("Origin: {}\r\nSec-Fetch-Site: cross-site\r\n", local.origin()),
        // Who is logged in already says so in the form.
        format!("{}Origin: {}\r\n", eve.cookie, local.origin()),
    ] {
        let refused = local.post(&fields, "/login/passkey", &sent(&ticket, &answer, "")).await;
        assert_eq!(status(&refused), 403, "{fields}: {refused}");
        let refused = local.post(&format!("{fields}{}", ann.cookie), "/account/passkeys", PASSWORD).await;
        assert_eq!(status(&refused), 403, "{fields}: {refused}");
    }
    let own = format!("Origin: {}\r\n", local.origin());
    let unknown = local.post(&own, "/login/passkey", &sent(&ticket, &answer, "&more=1")).await;
    assert_eq!(status(&unknown), 422, "{unknown}");
    let long = local.post(&own, "/login/passkey", &format!("answer={}", "x".repeat(300_000))).await;
    assert_eq!(status(&long), 413, "{long}");
    assert_eq!(status(&local.post(&own, "/login/passkey", &sent(&ticket, &answer, "")).await), 303);
    // What is wrong is told to nobody: unknown, forged and used are the same.
    let mut others = Soft::with_p256(7);
    others.handle = soft.handle.clone();
    let wrong = [
        local.post(&own, "/login/passkey", &sent(&ticket, &answer, "")).await,
        local.enter(&mut others).await,
        local.post(&own, "/login/passkey", "answer=%7B&ticket=").await,
        local.post(&own, "/login/passkey", "").await,
    ];
    for answer in &wrong {
        assert_eq!((status(answer), body(answer)), (403, body(&wrong[0])));
    }
    // One that was made in a session of somebody else's.
    let offer = local.form(&ann, "/account/passkeys", &format!("name=x&{PASSWORD}")).await;
    let options = serde_json::from_str(&attribute(&offer, "data-options")).unwrap();
    let ticket = attribute(&offer, "name=\"ticket\" value");
    let answer = Soft::with_p256(9).make(&options, &local.origin());
    let taken = local.form(&eve, "/account/passkeys/confirm", &sent(&ticket, &answer, "")).await;
    assert!(status(&taken) == 400 && taken.contains("begin again with your password"), "{taken}");
}

#[tokio::test]
async fn at_an_address_there_are_none_and_the_pages_say_so() {
    let house = House::new().await;
    let ann = house.ann().await;
    let words = "open this page as localhost to use one";
    for page in [house.get("", "/login").await, house.get(&ann.cookie, "/account").await] {
        assert!(page.contains(words) && !page.contains("data-passkey="), "{page}");
    }
    assert_eq!(status(&house.get("", "/login/passkey").await), 404);
    let own = format!("Origin: http://{}\r\n", house.address);
    let refused = house.post(&own, "/login/passkey", FORM, "").await;
    assert!(status(&refused) == 404 && refused.contains(words), "{refused}");
    let local = Local(house);
    let page = local.get("", "/login").await;
    assert!(page.contains("data-passkey=\"get\" hidden") && !page.contains(words), "{page}");
    let german = local.get("Accept-Language: de\r\n", "/login").await;
    assert!(german.contains("Mit einem Passkey anmelden"), "{german}");
    let asked = format!("Accept-Language: de\r\nOrigin: {}\r\n", local.origin());
    let german = local.post(&asked, "/login/passkey", "").await;
    assert!(german.contains("dieser Passkey lässt Sie nicht ein"), "{german}");
}

#[tokio::test]
async fn they_are_for_the_host_name_over_tls_and_for_localhost() {
    let folder = tempfile::tempdir().unwrap();
    let (_, desk) = desk(FINE, false, access(&folder)).await;
    for (host, tls, expected) in [
        ("mx1.example.net:8443", true, Some(("mx1.example.net", "https://mx1.example.net:8443"))),
        ("mx1.example.net", true, Some(("mx1.example.net", "https://mx1.example.net"))),
        ("localhost:8443", true, Some(("localhost", "https://localhost:8443"))),
        ("localhost:8080", false, Some(("localhost", "http://localhost:8080"))),
        // No secure context to a browser.
        ("mx1.example.net:8080", false, None),
        ("192.0.2.1:8443", true, None),
        ("[::1]:8080", false, None),
        ("example.net:8443", true, None),
        ("evil.localhost:8080", false, None),
        ("", true, None),
    ] {
        let local = ([127, 0, 0, 1], 8443).into();
        let came = Came { door: Door::Web { tls }, peer: [192, 0, 2, 9].into(), local };
        let headers = HeaderMap::from_iter([(HOST, host.parse().unwrap())]);
        let found = site(&desk, &came, &headers).ok();
        let found = found.as_ref().map(|site| (site.name(), site.origin()));
        assert_eq!(found, expected, "{host} {tls}");
    }
}

#[tokio::test]
async fn administrators_take_passkeys_away_each_within_their_domains() {
    let local = Local::new().await;
    let ann = local.0.ann().await;
    let dom = local.0.user("dom", "domain-administrator", &["example.net"]).await;
    let bob = local.0.user("bob", "viewer", &["example.net"]).await;
    let (mut anns, mut bobs) = (Soft::with_p256(1), Soft::with_p256(2));
    local.add(&ann, &mut anns).await;
    local.add(&bob, &mut bobs).await;
    assert!(local.get(&dom.cookie, "/users").await.contains("/users/passkeys"));
    for (name, expected) in [("ann", 404), ("dom", 400), ("bob", 200)] {
        let answer = local.form(&dom, "/users/passkeys", &format!("name={name}")).await;
        assert_eq!(status(&answer), expected, "{name}: {answer}");
    }
    assert_eq!(status(&local.enter(&mut bobs).await), 403);
    assert_eq!(status(&local.get(&bob.cookie, "/account").await), 401, "the sessions end, too");
    assert_eq!(status(&local.enter(&mut anns).await), 303);
    // One's own, without being thrown out.
    assert_eq!(status(&local.form(&ann, "/users/passkeys", "name=ann").await), 200);
    assert_eq!(status(&local.enter(&mut anns).await), 403);
    assert_eq!(status(&local.get(&ann.cookie, "/account").await), 200);
    let trail = local.get(&ann.cookie, "/api/v1/audit").await;
    assert!(trail.contains("users passkeys") && trail.contains("name=bob"), "{trail}");
}
