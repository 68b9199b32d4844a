//! Passkeys in a real browser, with the authenticator that it imitates for tests
//! (<https://chromedevtools.github.io/devtools-protocol/tot/WebAuthn/>).
#![allow(
    clippy::disallowed_methods,
    reason = "a real browser takes real time: nothing here runs under a simulated clock"
)]

use std::time::Duration;

use nix::sys::signal::Signal;
use postern_tests::chromium::{Chromium, Seen};
use postern_tests::needs;
use postern_tests::needs::CHROMIUM;
use postern_tests::ports;
use postern_tests::postern::{Options, Postern, backend};
use serde_json::{Value, json};

use crate::access::PASSWORD;

const LIMIT: Duration = Duration::from_secs(30);

/// The page as whoever has a tunnel to it sees it.
struct House {
    postern: Postern,
    page: String,
    browser: Chromium,
}

impl House {
    fn new() -> Self {
        // Nobody listens there: this is not about mail.
        let config = backend(&["bench.test"], ports::free(), "");
        let postern = Postern::start(&Options { config, ..Default::default() });
        let page = format!("http://localhost:{}", postern.admin().port());
        Self { postern, page, browser: Chromium::start() }
    }

    fn go(&mut self, path: &str) {
        let seen = self.browser.go(&format!("{}{path}", self.page));
        self.is_fine(path, &seen, 200..400);
    }

    fn is_fine(&self, what: &str, seen: &Seen, statuses: std::ops::Range<u64>) {
        // A status that is no is an error to the browser's log.
        let complaints = seen.complaints.iter().filter(|one| !one.contains("status of 403"));
        assert_eq!(complaints.count(), 0, "{what}: {:?}\n{}", seen.complaints, self.postern.log());
        assert!(statuses.contains(&seen.status), "{what}: {}\n{}", seen.status, self.postern.log());
        let own = |request: &String| request.starts_with(&self.page) || request.starts_with("data:");
        assert!(seen.requests.iter().all(own), "{what} asks {:?}", seen.requests);
    }

    /// Fills in a form of the page and presses its button, which leads on.
    fn sends(&mut self, action: &str, fields: &[(&str, &str)], statuses: std::ops::Range<u64>) {
        let press = pressed(action, fields);
        let seen = self.browser.leads_on(|browser| {
            browser.evaluate(&press);
        });
        self.is_fine(action, &seen, statuses);
    }

    fn path(&mut self) -> Value {
        self.browser.evaluate("location.pathname")
    }

    fn text(&mut self, selector: &str) -> String {
        let text = self.browser.evaluate(&format!("document.querySelector({selector:?})?.innerText ?? ''"));
        text.as_str().unwrap_or_default().to_owned()
    }

    fn log_out(&mut self) {
        self.sends("/logout", &[], 200..400);
        assert_eq!(self.path(), "/login");
    }

    /// An authenticator that is in the machine, keeps passkeys, and knows its user.
    fn plug_in(&mut self) -> String {
        self.browser.call("WebAuthn.enable", &json!({}));
        let options = json!({ "protocol": "ctap2", "transport": "internal", "hasResidentKey": true,
            "hasUserVerification": true, "isUserVerified": true, "automaticPresenceSimulation": true });
        let added = self.browser.call("WebAuthn.addVirtualAuthenticator", &json!({ "options": options }));
        added["authenticatorId"].as_str().unwrap_or_default().to_owned()
    }

    fn add(&mut self, name: &str) {
        self.go("/account");
        self.sends("/account/passkeys", &[("name", name), ("password", PASSWORD)], 200..300);
        self.sends("/account/passkeys/confirm", &[], 200..400);
        assert_eq!(self.path(), "/account");
    }
}

fn pressed(action: &str, fields: &[(&str, &str)]) -> String {
    let fields = json!(fields.iter().map(|(name, value)| json!([name, value])).collect::<Vec<_>>());
    format!(
        "(form => {{ for (const [name, value] of {fields}) form.elements[name].value = value;
            form.querySelector('button').click(); }})(document.querySelector('form[action={action:?}]'))"
    )
}

#[test]
fn a_passkey_is_added_lets_in_and_does_no_longer_when_it_is_removed() {
    needs!(CHROMIUM);
    let mut house = House::new();
    let authenticator = house.plug_in();
    let code = house.postern.ask(&["users", "code"]).output;
    let code = code.lines().next().expect("a code").trim().to_owned();
    house.go("/first");
    house.sends("/first", &[("code", &code), ("name", "ann"), ("password", PASSWORD)], 200..400);

    house.add("notebook");
    let listed = house.text("#passkeys");
    assert!(listed.contains("notebook") && listed.contains("not used yet"), "{listed}");
    let credentials =
        house.browser.call("WebAuthn.getCredentials", &json!({ "authenticatorId": authenticator }));
    let made = &credentials["credentials"][0];
    assert!(made["isResidentCredential"] == true && made["rpId"] == "localhost", "{credentials}");
    assert_eq!(made["userName"].as_str().unwrap_or("ann"), "ann", "{credentials}");
    // The device has one of ours already: the browser says so, and nothing is sent.
    house.sends("/account/passkeys", &[("name", "again"), ("password", PASSWORD)], 200..300);
    house.browser.evaluate(&pressed("/account/passkeys/confirm", &[]));
    let told = ports::wait_until(LIMIT, || {
        let told = house.text("#offer");
        told.contains("has a passkey of yours already").then_some(())
    });
    assert!(told.is_some(), "{}", house.text("#offer"));

    // Twice, also after a restart, which ends sessions and keeps passkeys.
    for _ in 0..2 {
        house.go("/account");
        house.log_out();
        house.sends("/login/passkey", &[], 200..400);
        assert_eq!(house.path(), "/");
        // Nothing that would miss its server meanwhile.
        house.browser.go("about:blank");
        house.postern.restart(Signal::SIGTERM);
        house.go("/login");
        house.sends("/login/passkey", &[], 200..400);
        assert_eq!(house.path(), "/");
    }
    house.go("/account");
    assert!(house.text("#passkeys").contains("last used"));
    let users = house.postern.ask(&["users", "list"]).output;
    assert!(users.contains("without a second factor; passkeys: 1; last login"), "{users}");

    house.go("/account");
    house.sends("/account/passkeys/remove", &[("password", PASSWORD)], 200..400);
    house.log_out();
    house.sends("/login/passkey", &[], 403..404);
    assert!(house.text(".problem:not([hidden])").contains("this passkey does not let you in"));
    // An authenticator that has none says nothing to the server at all.
    house.browser.call("WebAuthn.clearCredentials", &json!({ "authenticatorId": authenticator }));
    house.go("/login");
    house.browser.evaluate(&pressed("/login/passkey", &[]));
    let told = ports::wait_until(LIMIT, || {
        let told = house.text("[data-when=NotAllowedError]");
        told.contains("log in with your password").then_some(())
    });
    assert!(told.is_some(), "{:?}", house.browser.seen());
    house.sends("/login", &[("name", "ann"), ("password", PASSWORD)], 200..400);
    assert_eq!(house.path(), "/");

    // What somebody has lost is taken away by the command.
    house.add("telephone");
    let done = house.postern.ask(&["users", "passkeys", "ann"]);
    assert!(done.success, "{}", done.output);
    house.go("/login");
    assert_eq!(house.path(), "/login", "the session ends with it");
    house.sends("/login/passkey", &[], 403..404);
    let trail = house.postern.ask(&["audit"]).output;
    for part in
        ["passkey added  notebook", "login with a passkey", "passkey removed", "users passkeys  name=ann"]
    {
        assert!(trail.contains(part), "{part}: {trail}");
    }
    assert!(house.postern.log().contains("nobody has this passkey"), "{}", house.postern.log());
}

#[test]
fn without_scripts_and_at_an_address_the_page_is_complete_without_passkeys() {
    needs!(CHROMIUM);
    let mut house = House::new();
    let visible = "[...document.querySelectorAll('[data-passkey]')].filter(e => e.offsetParent).length";
    house.go("/login");
    assert_eq!(house.browser.evaluate(visible), 1);
    house.browser.scripts(false);
    house.go("/login");
    assert_eq!(house.browser.evaluate(visible), 0);
    house.browser.scripts(true);
    house.page = format!("http://{}", house.postern.admin());
    house.go("/login");
    assert_eq!(house.browser.evaluate(visible), 0);
    assert!(house.text("main").contains("open this page as localhost to use one"));
}
