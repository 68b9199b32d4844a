//! Who may what, as a browser, a program and an attacker find it: over real sockets, with real users.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use record::SimulatedClock;
use tokio::sync::oneshot;

use super::routes::{self, Route};
use super::tests::{FINE, desk, say, start_guarded};
use crate::access::{Access, Client, NewToken, Role, Said, Scope, Sight};
use crate::recorder::samples;

const PASSWORD: &str = "correct horse battery";
const DENIED: &str = "this is not for you to see or to do";

/// A server where one has to log in, and its administrator `ann`.
pub(super) struct House {
    pub(super) address: SocketAddr,
    access: Arc<Access>,
    _folder: tempfile::TempDir,
    _stop: oneshot::Sender<()>,
}

/// Somebody in a browser.
#[derive(Clone)]
pub(super) struct Browser {
    pub(super) cookie: String,
    pub(super) token: String,
}

pub(super) fn access(folder: &tempfile::TempDir) -> Arc<Access> {
    let clock = SimulatedClock::starting_at(samples::BEGAN);
    Arc::new(Access::load(folder.path(), Arc::new(clock)).unwrap())
}

pub(super) fn said(name: &str, code: &str) -> Said {
    Said { name: name.to_owned(), password: PASSWORD.to_owned().into(), code: code.to_owned() }
}

pub(super) fn near() -> Client {
    Client { address: [127, 0, 0, 1].into(), agent: "<b>agent</b>".to_owned() }
}

impl House {
    pub(super) async fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let access = access(&folder);
        let code = access.standing_code().unwrap();
        access.redeem(said("ann", &code), &near()).await.unwrap();
        let (address, stop) = start_guarded(FINE, true, Arc::clone(&access), Some(&folder)).await;
        Self { address, access, _folder: folder, _stop: stop }
    }

    /// Another user, logged in.
    pub(super) async fn user(&self, name: &str, role: &str, domains: &[&str]) -> Browser {
        let domains: Vec<String> = domains.iter().map(|domain| (*domain).to_owned()).collect();
        let role = Role::of(role, &domains).unwrap();
        let (code, _) = self.access.add_user(&name.parse().unwrap(), role).await.unwrap();
        self.browser(self.access.redeem(said(name, &code), &near()).await.unwrap().opened.unwrap().secret)
    }

    pub(super) async fn ann(&self) -> Browser {
        self.browser(self.access.log_in(said("ann", ""), &near()).await.unwrap().opened.secret)
    }

    fn browser(&self, secret: String) -> Browser {
        let token = self.access.of_session(&secret, true).unwrap().1.token;
        Browser { cookie: format!("Cookie: postern={secret}\r\n"), token }
    }

    async fn token(&self, scopes: &[Scope], domains: &[&str]) -> String {
        let domains: Vec<String> = domains.iter().map(|domain| (*domain).to_owned()).collect();
        let new = NewToken {
            name: "program".parse().unwrap(),
            scopes: scopes.iter().copied().collect(),
            sight: Sight::of(&domains).unwrap(),
            life: None,
            owner: None,
        };
        format!("Authorization: Bearer {}\r\n", self.access.add_token(new).await.unwrap().0)
    }

    /// A program's that may do everything.
    pub(super) async fn administers(&self) -> String {
        self.token(&[Scope::Administer], &[]).await
    }

    pub(super) async fn get(&self, fields: &str, path: &str) -> String {
        let host = self.address;
        say(host, &format!("GET {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n{fields}\r\n")).await
    }

    pub(super) async fn post(&self, fields: &str, path: &str, kind: &str, body: &str) -> String {
        let (host, length) = (self.address, body.len());
        let request = format!(
            "POST {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n{fields}Content-Type: {kind}\r\n\
             Content-Length: {length}\r\n\r\n{body}"
        );
        say(host, &request).await
    }

    /// As a form of the page sends it.
    pub(super) async fn form(&self, browser: &Browser, path: &str, body: &str) -> String {
        let fields = format!("{}Origin: http://{}\r\n", browser.cookie, self.address);
        let body = format!("{body}&form_token={}", browser.token);
        self.post(&fields, path, FORM, &body).await
    }

    pub(super) async fn order(&self, fields: &str, path: &str, body: &str) -> String {
        self.post(fields, path, "application/json", body).await
    }
}

pub(super) const FORM: &str = "application/x-www-form-urlencoded";

pub(super) fn status(answer: &str) -> u16 {
    answer.split(' ').nth(1).and_then(|status| status.parse().ok()).unwrap_or_default()
}

/// Paths that need no login, and those that need one.
const FOR_ANYBODY: [&str; 14] = [
    "GET /api/v1/openapi.json",
    "GET /assets/postern.css",
    "GET /assets/postern.js",
    "GET /assets/passkeys.js",
    "GET /language/{tag}",
    "GET /healthz",
    "GET /readyz",
    // From this machine.
    "GET /metrics",
    "GET /login",
    "POST /login",
    "GET /login/passkey",
    "POST /login/passkey",
    "GET /first",
    "POST /first",
];
/// For everybody who is logged in with a browser.
const FOR_USERS: [&str; 10] = [
    "POST /logout",
    "GET /account",
    "POST /account/password",
    "POST /account/totp",
    "POST /account/totp/confirm",
    "POST /account/totp/remove",
    "POST /account/passkeys",
    "POST /account/passkeys/confirm",
    "POST /account/passkeys/remove",
    "POST /account/sessions/end",
];
/// For whoever sees some domain's mail.
const FOR_SOME_DOMAINS: [&str; 24] = [
    "GET /domains",
    "GET /domains/{domain}",
    "GET /api/v1/domains",
    "GET /api/v1/domains/{domain}/entries",
    "GET /weekly",
    "GET /weekly/{domain}",
    "GET /api/v1/weekly",
    "GET /api/v1/events",
    "GET /",
    "GET /messages",
    "GET /transactions/{id}",
    "GET /api/v1/transactions",
    "GET /api/v1/transactions/{id}",
    "GET /queue",
    "GET /queue/{id}",
    "GET /api/v1/queue",
    "GET /api/v1/queue/{id}",
    "GET /quarantine",
    "GET /api/v1/quarantine",
    "GET /api/v1/quarantine/{id}",
    "GET /reports",
    "GET /api/v1/reports",
    "GET /senders",
    "GET /api/v1/senders",
];
/// For whoever sees all mail.
const FOR_ALL_DOMAINS: [&str; 14] = [
    "GET /api/v1/trends",
    "GET /dns",
    "GET /domain-reports",
    "GET /api/v1/domain-reports",
    "GET /api/v1/trace",
    "GET /api/v1/status",
    "GET /api/v1/dns",
    "GET /api/v1/sessions",
    "GET /api/v1/sessions/{id}",
    "GET /api/v1/certificates",
    "GET /interception-ca.pem",
    "GET /block",
    "GET /api/v1/block",
    "POST /api/v1/scan",
];
/// For whoever may do something with some mail.
const TO_ACT: [&str; 10] = [
    "POST /domains/{domain}",
    "POST /api/v1/domains/{domain}/entries",
    "POST /queue/{id}",
    "POST /api/v1/queue/{id}",
    "POST /quarantine/{verb}",
    "POST /api/v1/quarantine/{id}",
    "POST /reports/{verb}",
    "POST /api/v1/reports/{verb}",
    "POST /senders/{verb}",
    "POST /api/v1/senders/{verb}",
];
/// For whoever may do something with all of it.
const TO_ACT_ON_ALL: [&str; 4] = [
    "POST /queue/disaster",
    "POST /api/v1/queue/disaster",
    "POST /block/{verb}",
    "POST /api/v1/block/{verb}",
];
/// For administrators, of some domains at least.
const TO_MANAGE: [&str; 4] =
    ["GET /users", "POST /users/{verb}", "GET /api/v1/users", "POST /api/v1/users/{verb}"];
const FOR_ADMINISTRATORS: [&str; 22] = [
    "GET /settings/text",
    "POST /settings/{verb}",
    "GET /settings/history",
    "GET /settings/history/{id}",
    "GET /api/v1/config",
    "GET /api/v1/config/history",
    "GET /api/v1/config/history/{id}",
    "POST /api/v1/config/{verb}",
    "GET /settings",
    "GET /api/v1/settings",
    "POST /api/v1/certificates/renew",
    "POST /api/v1/certificates/roll",
    "POST /api/v1/dns/replace-dkim",
    "POST /api/v1/backup/store",
    "POST /api/v1/learn/{class}",
    "GET /api/v1/console",
    "GET /tokens",
    "POST /tokens/{verb}",
    "GET /api/v1/tokens",
    "POST /api/v1/tokens/{verb}",
    "GET /audit",
    "GET /api/v1/audit",
];

/// What somebody is let do, group by group in the order above.
const GROUPS: [&[&str]; 8] = [
    &FOR_ANYBODY,
    &FOR_USERS,
    &FOR_SOME_DOMAINS,
    &FOR_ALL_DOMAINS,
    &TO_ACT,
    &TO_ACT_ON_ALL,
    &TO_MANAGE,
    &FOR_ADMINISTRATORS,
];

fn named(route: &Route) -> String {
    format!("{} {}", route.method, route.path)
}

/// Whether it was let through to its handler, whatever that said.
async fn is_let_in(house: &House, who: &str, token: &str, route: &Route) -> bool {
    let path = route
        .path
        .replace("{id}", "x")
        .replace("{verb}", "x")
        .replace("{class}", "x")
        .replace("{domain}", "x");
    let answer = if route.method == "GET" {
        house.get(who, &path).await
    } else if path.starts_with("/api/") {
        house.order(&format!("{who}Origin: http://{}\r\n", house.address), &path, "{}").await
    } else {
        let fields = format!("{who}Origin: http://{}\r\n", house.address);
        house.post(&fields, &path, FORM, &format!("form_token={token}")).await
    };
    assert!(answer.starts_with("HTTP/1.1 ") && status(&answer) != 500, "{path}: {answer}");
    let is_sent_away =
        status(&answer) == 303 && (answer.contains("location: /login\r\n") && path != "/logout");
    status(&answer) != 401 && !is_sent_away && !answer.contains(DENIED)
}

#[tokio::test]
async fn every_path_is_open_to_those_who_may_and_to_nobody_else() {
    let house = House::new().await;
    let (_, table) = desk(FINE, false, Arc::clone(&house.access)).await;
    let (_, mut table) = routes::all(&table);
    // It ends the session that the others need.
    table.sort_by_key(|route| route.path == "/logout");
    let all: BTreeSet<&str> = GROUPS.iter().flat_map(|group| group.iter().copied()).collect();
    let known: BTreeSet<String> = table.iter().map(named).collect();
    assert_eq!(known.iter().map(String::as_str).collect::<BTreeSet<_>>(), all, "each path is in one group");

    let viewer = house.user("eve", "viewer", &[]).await;
    let some = house.user("sam", "viewer", &["example.net"]).await;
    let domains = house.user("dom", "domain-administrator", &["example.net"]).await;
    let ann = house.ann().await;
    let nobody = Browser { cookie: String::new(), token: String::new() };
    let program = |fields: String| Browser { cookie: fields, token: String::new() };
    let metrics = program(house.token(&[Scope::Metrics], &[]).await);
    let reads = program(house.token(&[Scope::Read], &[]).await);
    let writes = program(house.token(&[Scope::Write], &["example.net"]).await);
    let administers = program(house.token(&[Scope::Administer], &[]).await);
    let wrong = program("Authorization: Bearer postern_x\r\n".to_owned());
    for (name, browser, may) in [
        ("nobody", &nobody, [true, false, false, false, false, false, false, false]),
        ("a wrong token", &wrong, [true, false, false, false, false, false, false, false]),
        ("a token for metrics", &metrics, [true, false, false, false, false, false, false, false]),
        ("a token to read", &reads, [true, false, true, true, false, false, false, false]),
        ("a token to write", &writes, [true, false, true, false, true, false, false, false]),
        ("a token to administer", &administers, [true, false, true, true, true, true, true, true]),
        ("a viewer", &viewer, [true, true, true, true, false, false, false, false]),
        ("a viewer of a domain", &some, [true, true, true, false, false, false, false, false]),
        ("a domain administrator", &domains, [true, true, true, false, true, false, true, false]),
        ("an administrator", &ann, [true; 8]),
    ] {
        for route in &table {
            let group = GROUPS.iter().position(|group| group.contains(&named(route).as_str())).unwrap();
            let let_in = is_let_in(&house, &browser.cookie, &browser.token, route).await;
            assert_eq!(let_in, may[group], "{name} and {}", named(route));
        }
    }
}

#[tokio::test]
async fn nobody_is_administrator_for_being_on_the_machine() {
    let folder = tempfile::tempdir().unwrap();
    let access = access(&folder);
    let (address, _stop) = start_guarded(FINE, false, Arc::clone(&access), None).await;
    let page = |path: &str| {
        format!("GET {path} HTTP/1.1\r\nHost: {address}\r\nAccept: text/html\r\nConnection: close\r\n\r\n")
    };
    let answer = say(address, &page("/")).await;
    assert!(answer.starts_with("HTTP/1.1 303") && answer.contains("location: /first"), "{answer}");
    assert!(say(address, &page("/first")).await.contains("postern users code"));
    let code = access.standing_code().unwrap();
    for path in ["/first", "/login", "/api/v1/console", "/healthz", "/readyz", "/metrics"] {
        assert!(!say(address, &page(path)).await.contains(&code), "{path}");
    }
    let body = format!("code={code}&name=ann&password=correct+horse+battery");
    let post = |origin: &str| {
        format!(
            "POST /first HTTP/1.1\r\nHost: {address}\r\nOrigin: {origin}\r\nConnection: close\r\n\
             Content-Type: {FORM}\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        )
    };
    assert_eq!(status(&say(address, &post("http://evil.example")).await), 403);
    let answer = say(address, &post(&format!("http://{address}"))).await;
    assert_eq!(status(&answer), 303, "{answer}");
    let cookie = answer.lines().find_map(|line| line.strip_prefix("set-cookie: ")).unwrap();
    assert!(cookie.starts_with("postern=") && cookie.contains("HttpOnly; SameSite=Strict"), "{cookie}");
    assert!(say(address, &page("/")).await.contains("location: /login"));
}

#[tokio::test]
async fn a_browser_gives_orders_from_this_page_alone() {
    let house = House::new().await;
    let (ann, eve) = (house.ann().await, house.user("eve", "administrator", &[]).await);
    let own = format!("Origin: http://{}\r\n", house.address);
    let (cookie, token) = (&ann.cookie, &ann.token);
    let token_field = format!("domain=example.org&form_token={token}");
    for (fields, kind, body) in [
        (cookie.clone(), FORM, token_field.as_str()),
        (format!("{cookie}Origin: http://evil.example\r\n"), FORM, &token_field),
        (format!("{cookie}Origin: null\r\n"), FORM, &token_field),
        (format!("{cookie}Origin: https://{}\r\n", house.address), FORM, &token_field),
        (format!("{cookie}{own}Sec-Fetch-Site: same-site\r\n"), FORM, &token_field),
        (format!("{cookie}{own}"), FORM, "domain=example.org"),
        (format!("{cookie}{own}"), FORM, &format!("domain=example.org&form_token={}", eve.token)),
        (cookie.clone(), "application/json", "{\"domain\":\"example.org\"}"),
        (format!("{cookie}{own}"), "text/plain", &token_field),
        (format!("{cookie}{own}"), "multipart/form-data; boundary=b", &token_field),
    ] {
        let path = if kind == "application/json" { "/api/v1/queue/remove" } else { "/queue/remove" };
        let answer = house.post(&fields, path, kind, body).await;
        assert!([403, 415].contains(&status(&answer)), "{fields} {kind} {body}: {answer}");
    }
    for path in ["/queue/remove?domain=example.org", "/api/v1/queue/remove"] {
        assert!([400, 404, 405].contains(&status(&house.get(cookie, path).await)), "a GET changes nothing");
    }
    assert!(house.access.trail().last(5).await.unwrap().is_empty());
    assert_eq!(status(&house.form(&ann, "/queue/remove", "domain=example.org").await), 303);
    let json =
        house.order(&format!("{cookie}{own}"), "/api/v1/queue/remove", "{\"domain\":\"example.net\"}").await;
    assert_eq!(status(&json), 200, "{json}");
    // A program has neither cookie nor origin.
    let bearer = house.token(&[Scope::Write], &[]).await;
    assert_eq!(status(&house.order(&bearer, "/api/v1/queue/hold", "{\"all\":true}").await), 200);
    let pages =
        ["/", "/queue", "/quarantine", "/senders", "/reports", "/block", "/users", "/tokens", "/account"];
    for path in pages {
        let page = house.get(cookie, path).await;
        let forms = page.matches("<form ").count();
        assert_eq!(
            page.matches(&format!("value=\"{token}\"")).count(),
            forms,
            "{path}: each form has the token"
        );
        assert!(forms > 0 && !page.contains(" style=") && !page.contains("<script>"), "{path}");
    }
}

#[tokio::test]
async fn a_session_begins_anew_with_each_login_and_ends_with_logging_out() {
    let house = House::new().await;
    let own = format!("Cookie: postern=chosen-by-somebody-else\r\nOrigin: http://{}\r\n", house.address);
    let body = "name=ann&password=correct+horse+battery&code=";
    let answer = house.post(&own, "/login", FORM, body).await;
    assert!(answer.contains("location: /\r\n"), "{answer}");
    let secret = answer.split("set-cookie: postern=").nth(1).unwrap().split(';').next().unwrap();
    assert!(secret.len() >= 43 && secret != "chosen-by-somebody-else");
    assert_eq!(
        status(&house.get("Cookie: postern=chosen-by-somebody-else\r\n", "/api/v1/status").await),
        401
    );
    let browser = house.browser(secret.to_owned());
    let page = house.get(&browser.cookie, "/account").await;
    assert!(page.contains("&lt;b&gt;agent") && !page.contains("<b>agent"), "{page}");
    let answer = house.form(&browser, "/logout", "").await;
    assert!(answer.contains("set-cookie: postern=; ") && answer.contains("Max-Age=0"), "{answer}");
    assert_eq!(status(&house.get(&browser.cookie, "/api/v1/status").await), 401);
    let wrong = house.post(&own, "/login", FORM, "name=ann&password=wrong+wrong+wrong").await;
    let nobody = house.post(&own, "/login", FORM, "name=nobody&password=wrong+wrong+wrong").await;
    let body = |answer: &str| answer.split_once("\r\n\r\n").unwrap().1.to_owned();
    assert_eq!((status(&wrong), body(&wrong)), (403, body(&nobody)), "who exists is not told");
    for _ in 0..5 {
        house.post(&own, "/login", FORM, "name=ann&password=wrong+wrong+wrong").await;
    }
    let slow = house.post(&own, "/login", FORM, "name=ann&password=wrong+wrong+wrong").await;
    assert!(status(&slow) == 429 && slow.contains("retry-after: "), "{slow}");
}

#[tokio::test]
async fn domains_are_kept_apart() {
    let house = House::new().await;
    let org = house.user("dom", "domain-administrator", &["example.org"]).await;
    let own = format!("{}Origin: http://{}\r\n", org.cookie, house.address);
    let queue = house.get(&org.cookie, "/api/v1/queue").await;
    assert!(queue.contains("b2@example.org") && !queue.contains("example.net"), "{queue}");
    let all = house.get(&house.ann().await.cookie, "/api/v1/queue").await;
    let ids: Vec<&str> = all.split("\"id\":\"").skip(1).map(|part| part.split('"').next().unwrap()).collect();
    assert_eq!(ids.len(), 3);
    for (at, id) in ids.iter().enumerate() {
        let (seen, path) = (at == 1, format!("/api/v1/queue/{id}"));
        assert_eq!(status(&house.get(&org.cookie, &path).await), if seen { 200 } else { 404 });
        assert_eq!(
            status(&house.get(&org.cookie, &format!("/queue/{id}")).await),
            if seen { 200 } else { 404 }
        );
        let held = house.order(&own, "/api/v1/queue/hold", &format!("{{\"ids\":[\"{id}\"]}}")).await;
        assert_eq!(status(&held), if seen { 200 } else { 404 }, "{held}");
        let foreign = house.form(&org, "/quarantine/release", &format!("id={id}")).await;
        assert_eq!(status(&foreign), 404, "nothing of it is in the quarantine");
    }
    let removed = house.order(&own, "/api/v1/queue/remove", "{\"domain\":\"example.net\"}").await;
    assert!(removed.contains("\"changed\":0"), "{removed}");
    let removed = house.order(&own, "/api/v1/queue/remove", "{\"all\":true}").await;
    assert!(removed.contains("\"changed\":1"), "{removed}");
    let all = house.get(&house.ann().await.cookie, "/api/v1/queue").await;
    assert_eq!(all.matches("\"id\":\"").count(), 2);

    // Senders and reports of example.net are nobody's business there.
    for path in ["/api/v1/senders", "/api/v1/reports", "/senders", "/reports", "/", "/queue"] {
        assert!(!house.get(&org.cookie, path).await.contains("example.net\""), "{path}");
    }
    assert_eq!(
        status(&house.order(&own, "/api/v1/senders/stop", "{\"sender\":\"ann@example.net\"}").await),
        404
    );
    assert_eq!(status(&house.order(&own, "/api/v1/reports/accept", "{\"ids\":[\"00c0ffee\"]}").await), 404);
    let blocks =
        house.order(&own, "/api/v1/quarantine/block", &format!("{{\"ids\":[\"{}\"]}}", ids[1])).await;
    assert!([403, 404].contains(&status(&blocks)), "{blocks}");
    let net = house.user("net", "domain-administrator", &["example.net"]).await;
    assert!(house.get(&net.cookie, "/api/v1/senders").await.contains("ann@example.net"));
    assert!(house.get(&net.cookie, "/api/v1/reports").await.contains("00c0ffee"));
    let transactions = house.get(&net.cookie, "/api/v1/transactions").await;
    assert!(
        transactions.contains("@example.net")
            && !house.get(&org.cookie, "/api/v1/transactions").await.contains("alice@")
    );
    // Nor are they found by a search, on disk as in memory.
    for question in
        ["/messages?q=alice@", "/api/v1/transactions?from=alice", "/api/v1/transactions?to=example.net"]
    {
        assert!(house.get(&net.cookie, question).await.contains("alice@sender.example"), "{question}");
        assert!(!house.get(&org.cookie, question).await.contains("alice@sender.example"), "{question}");
    }
    let id = samples::transaction(4).id;
    assert_eq!(status(&house.get(&org.cookie, &format!("/api/v1/transactions/{id}")).await), 404);
    assert_eq!(status(&house.get(&net.cookie, &format!("/api/v1/transactions/{id}")).await), 200);
}

#[tokio::test]
async fn what_was_changed_is_in_the_trail_and_secrets_are_not() {
    let house = House::new().await;
    let ann = house.ann().await;
    let added = house.form(&ann, "/users/add", "name=Bob&role=viewer&domains=example.net+example.org").await;
    let code = added.split("record\">").nth(1).unwrap().split('<').next().unwrap();
    assert_eq!(code.len(), 19, "{added}");
    let bad = house.form(&ann, "/users/add", "name=%3Cscript%3E&role=viewer").await;
    assert!(status(&bad) == 400 && !bad.contains("<script>"), "{bad}");
    let made = house.form(&ann, "/tokens/add", "name=scraper&scope=metrics&days=30").await;
    let secret = made.split("record\">").nth(1).unwrap().split('<').next().unwrap();
    assert!(secret.starts_with("postern_"), "{made}");
    assert!(
        !house.get(&ann.cookie, "/tokens").await.contains(secret)
            && !house.get(&ann.cookie, "/users").await.contains(code)
    );
    house.form(&ann, "/account/password", "password=correct+horse+battery&new=another+long+one").await;
    house.form(&ann, "/queue/hold", "domain=example.net").await;
    house.form(&ann, "/queue/release", "id=nonsense").await;
    let trail = house.get(&ann.cookie, "/api/v1/audit").await;
    let trail = trail.split_once("\r\n\r\n").unwrap().1;
    for part in [
        "users add",
        "name=Bob role=viewer",
        "tokens add",
        "own password changed",
        "queue hold",
        "\"from\":\"127.0.0.1\"",
    ] {
        assert!(trail.contains(part), "{part}: {trail}");
    }
    for part in ["correct", "another", secret, code, "nonsense", "script"] {
        assert!(!trail.contains(part), "{part}: {trail}");
    }
    let page = house.get(&ann.cookie, "/audit").await;
    assert!(page.contains("queue hold") && page.contains("domain=example.net"), "{page}");
}

#[tokio::test]
async fn a_second_factor_is_added_on_ones_own_page_without_scripts() {
    let house = House::new().await;
    let ann = house.ann().await;
    let unasked = house.form(&ann, "/account/totp/confirm", "code=000000").await;
    assert_eq!(status(&unasked), 409, "not without the password");
    let refused = house.form(&ann, "/account/totp", "password=wrong+wrong+wrong").await;
    assert!(status(&refused) == 403 && !refused.contains("otpauth"), "{refused}");
    let offer = house.form(&ann, "/account/totp", "password=correct+horse+battery").await;
    assert!(
        offer.contains("otpauth://totp/Postern%20mx1.example.net:ann") && offer.contains("<svg class=\"qr\""),
        "{offer}"
    );
    let secret = offer.split("<p class=\"record\">").nth(1).unwrap().split('<').next().unwrap();
    let wrong = house.form(&ann, "/account/totp/confirm", "code=000000").await;
    assert!(wrong.contains(secret) && wrong.contains("role=\"alert\""), "it can be tried again: {wrong}");
    let code = crate::access::shown(secret, samples::BEGAN);
    let taken = house.form(&ann, "/account/totp/confirm", &format!("code={code}")).await;
    assert!(taken.contains("Recovery codes") && taken.contains("never again"), "{taken}");
    let own = format!("Origin: http://{}\r\n", house.address);
    let without = house.post(&own, "/login", FORM, "name=ann&password=correct+horse+battery").await;
    assert_eq!(status(&without), 403);
    let next = crate::access::shown(secret, samples::BEGAN + Duration::from_secs(30));
    let with = house
        .post(&own, "/login", FORM, &format!("name=ann&password=correct+horse+battery&code={next}"))
        .await;
    assert_eq!(status(&with), 303, "{with}");
}
