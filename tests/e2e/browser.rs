//! The page in a real browser: every page at three widths in both themes, every kind of button, by keyboard alone, without scripts,
//! and by the rules of accessibility that a program can check.
#![allow(
    clippy::disallowed_methods,
    reason = "a real browser takes real time: nothing here runs under a simulated clock"
)]

use std::collections::BTreeSet;
use std::process::Command;
use std::time::Duration;

use nix::sys::signal::Signal;
use postern_tests::child;
use postern_tests::chromium::{Chromium, Seen};
use postern_tests::clients::{Client, How, deliver};
use postern_tests::mail::Mail;
use postern_tests::needs;
use postern_tests::needs::{CHROMIUM, Need};
use postern_tests::ports;
use postern_tests::postern::{Options, Postern, backend};
use postern_tests::scripted;
use postern_tests::sink::Sink;
use serde_json::{Value, json};

const PASSWORD: &str = "correct horse battery";
const SINK: &[Need] = &[Need::Program("smtp-sink")];
/// A telephone, a notebook, a large screen.
const SIZES: [(u32, u32); 3] = [(390, 844), (1280, 800), (2560, 1440)];
/// A first view has to come within a second or two over a poor line.
const FIRST_VIEW: u64 = 100_000;
/// Everything is held, but what comes from a friend.
const JUDGE: &str =
    "action = \"enforce\"\ntag = 0.0\nquarantine = 0.0\nreject = 1.0\nallow = [\"friend.test\"]\n";

/// Elements that make the page wider than the window, but for those that move within themselves.
const TOO_WIDE: &str = "document.documentElement.scrollWidth <= innerWidth ? [] :
    [...document.querySelectorAll('body *')].filter(e => e.getBoundingClientRect().right > innerWidth + 1)
        .slice(0, 5).map(e => e.outerHTML.slice(0, 160))";
/// What has the focus, and whether that is seen.
const FOCUSED: &str = "(e => ({ what: e.tagName + ' ' + (e.getAttribute('href') ?? e.name ?? '') + ' ' + e.textContent.trim().slice(0, 40),
    body: e === document.body, link: e.getAttribute('href'),
    seen: getComputedStyle(e).outlineStyle !== 'none' && parseFloat(getComputedStyle(e).outlineWidth) >= 2 }))(document.activeElement)";
/// Each form by which something is done: where it goes to, what its button says, and which one it is on the page.
const DEEDS: &str = "[...document.querySelectorAll('form')].flatMap((form, at) => [...form.querySelectorAll('button')].map((button, which) =>
    ({ at, which, action: new URL(form.action).pathname.replace(/[0-9a-f]{12,}/g, 'ID'), words: button.textContent.trim(),
       name: button.name + button.value })))";

/// A Postern with mail of every kind, its server, and somebody who is logged in.
struct House {
    postern: Postern,
    page: String,
    browser: Chromium,
    _sink: Sink,
}

impl House {
    fn new() -> Self {
        let (sink, away) = (Sink::start(&[]), Sink::start(&[]));
        let both = [("bench.test", &sink), ("away.test", &away)];
        let both = both.map(|(domain, sink)| backend(&[domain], sink.address(), ""));
        let postern =
            Postern::start(&Options { config: both.concat(), judge: JUDGE.into(), ..Default::default() });
        let page = format!("http://{}", postern.admin());
        let house = Self { postern, page, browser: Chromium::start(), _sink: sink };
        // What is let go while its server is away waits in the queue.
        house.send("ann@friend.test", "bob@away.test", 4);
        drop(away);
        let list = house.postern.ask(&["quarantine", "list"]).output;
        let held = list.lines().filter(|line| line.contains("ann@friend.test"));
        let ids = held.filter_map(|line| line.split_whitespace().next());
        let orders: Vec<&str> = ["quarantine", "release"].into_iter().chain(ids).collect();
        let released = house.postern.ask(&orders);
        assert!(released.success, "{}", released.output);
        house.send("who@source.test", "bob@bench.test", 8);
        house
    }

    fn send(&self, from: &str, to: &str, times: usize) {
        for number in 0..times {
            let mail = Mail::new(
                from,
                &[to],
                &format!("Das ist nicht der Brief, den Sie und ich wollten: {number}\n"),
            );
            let result = deliver(Client::Wire, self.postern.smtp(), &mail, &How::default());
            assert!(result.accepted, "{}", result.output);
        }
    }

    /// Goes there; nothing may be complained of, and nobody else asked.
    fn go(&mut self, path: &str) -> Seen {
        let seen = self.browser.go(&format!("{}{path}", self.page));
        self.is_fine(path, &seen);
        seen
    }

    fn is_fine(&self, what: &str, seen: &Seen) {
        assert!(seen.complaints.is_empty(), "{what}: {:?}\n{}", seen.complaints, self.postern.log());
        for request in &seen.requests {
            assert!(request.starts_with(&self.page) || request.starts_with("data:"), "{what} asks {request}");
        }
        assert!((200..400).contains(&seen.status), "{what}: {}\n{}", seen.status, self.postern.log());
    }

    /// The administrator's first login, by the keyboard alone.
    fn first_login(&mut self) {
        self.first_login_of("ann", &["users", "code"]);
    }

    /// Of whoever gets a code by this command.
    fn first_login_of(&mut self, name: &str, command: &[&str]) {
        let code = self.postern.ask(command).output;
        let code = code.lines().next().expect("a code").trim().to_owned();
        self.go("/first");
        for text in [&code, name, PASSWORD] {
            self.browser.types(text);
            self.browser.press("Tab");
        }
        let seen = self.browser.leads_on(|browser| browser.press("Enter"));
        self.is_fine("the first login", &seen);
        assert_eq!(self.path(), "/");
    }

    fn path(&mut self) -> Value {
        self.browser.evaluate("location.pathname")
    }

    fn log_in(&mut self, code: &str) {
        self.go("/login");
        for text in ["ann", PASSWORD, code] {
            self.browser.types(text);
            self.browser.press("Tab");
        }
        let seen = self.browser.leads_on(|browser| browser.press("Enter"));
        self.is_fine("the login", &seen);
        assert_eq!(self.path(), "/");
    }

    /// Pages that one gets to from everywhere, and those behind them.
    fn pages(&mut self) -> Vec<String> {
        self.go("/");
        let linked =
            "[...document.querySelectorAll('nav.places a, .top a')].map(a => a.getAttribute('href'))";
        let mut pages = self.all(linked);
        pages.extend(
            ["/tokens", "/audit", "/?span=hour", "/?span=month", "/messages?q=bench"].map(str::to_owned),
        );
        for list in ["/messages", "/queue", "/quarantine"] {
            self.go(list);
            let one = "[...document.querySelectorAll('main a')].map(a => a.getAttribute('href'))
                .filter(h => /^.(transactions|queue).[^?]+$/.test(h)).slice(0, 1)";
            pages.extend(self.all(one));
        }
        let known: BTreeSet<String> = pages.into_iter().filter(|page| page.starts_with('/')).collect();
        known.into_iter().collect()
    }

    fn all(&mut self, expression: &str) -> Vec<String> {
        let found = self.browser.evaluate(expression);
        let found = found.as_array().unwrap_or_else(|| panic!("{expression}: {found}"));
        found.iter().filter_map(Value::as_str).map(str::to_owned).collect()
    }

    /// Looks at the page that is there: not wider than the window, in any size and theme, and without barriers.
    fn look(&mut self, page: &str, wrong: &mut Vec<String>) {
        for (width, height) in SIZES {
            for dark in [false, true] {
                self.browser.looks(width, height, dark);
                let wide = self.browser.evaluate(TOO_WIDE);
                if wide != json!([]) {
                    wrong.push(format!("{page} is wider than {width}: {wide}"));
                }
                // Colours are the same at each width; what is folded away for a telephone is not.
                if (width, dark) == (390, true) || (width, dark) == (1280, false) {
                    let found = self.browser.barriers();
                    wrong.extend(
                        found.into_iter().map(|one| format!("{page} at {width}, dark: {dark}: {one}")),
                    );
                }
            }
        }
    }
}

#[test]
fn every_page_fits_every_screen_and_has_no_barriers() {
    needs!(SINK, CHROMIUM);
    let mut house = House::new();
    let mut wrong = Vec::new();
    for page in ["/first", "/login"] {
        house.go(page);
        house.look(page, &mut wrong);
    }
    house.first_login();
    house.browser.call("Network.clearBrowserCache", &json!({}));
    let seen = house.go("/");
    assert!(seen.octets > 5000 && seen.octets < FIRST_VIEW, "the first view has {} octets", seen.octets);
    assert!(seen.requests.iter().any(|request| request.ends_with("/assets/postern.js")), "{seen:?}");
    let pages = house.pages();
    assert!(pages.len() > 18, "{pages:?}");
    for page in &pages {
        house.go(page);
        if page.starts_with("/?") {
            house.browser.evaluate("document.querySelector('details').open = true");
        }
        house.look(page, &mut wrong);
    }
    for language in ["de", "fr", "it"] {
        house.browser.evaluate(&format!("document.cookie = 'postern-language={language}; path=/'"));
        house.go("/");
        house.look(&format!("/ in {language}"), &mut wrong);
        assert_eq!(house.browser.evaluate("document.documentElement.lang"), language);
    }
    house.browser.call("Network.clearBrowserCookies", &json!({}));
    let role = ["--role", "domain-administrator", "--domain", "bench.test"];
    house.first_login_of("dora", &[&["users", "add", "dora"], &role[..]].concat());
    for page in ["/", "/quarantine", "/account"] {
        house.go(page);
        house.look(&format!("{page} of one domain"), &mut wrong);
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// What would show that a stranger's words became part of a page.
const FOREIGN_PARTS: &str = "[typeof owned, document.querySelectorAll('script:not([src=\"/assets/postern.js\"]), img, iframe, [onerror], [onload], .evil, \
    a[href^=javascript], meta[http-equiv]').length]";

/// Every field that the Internet fills: none of it is anything but text on any page, in any language.
#[test]
fn what_strangers_write_is_text_on_every_page() {
    needs!(SINK, CHROMIUM);
    let mut house = House::new();
    let mut stranger = scripted::Client::greeted(house.postern.smtp(), None);
    stranger.says("EHLO [evil]<script>owned=1</script>", "");
    stranger.says("EHLO client.test", "250");
    for what in ["<script>owned=1</script>", "<img src=x onerror=owned=1>", "'+owned+'"] {
        let entity = what.replace('<', "&lt;");
        stranger.says(&format!("MAIL FROM:<\"{what}evil\"@source.test>"), "250");
        stranger.says(&format!("RCPT TO:<\"{what}evil\"@bench.test>"), "250");
        stranger.says("DATA", "354");
        stranger.says(
            &format!(
                "From: \"{what}evil\" <a@evil.test>\r\nTo: b@bench.test\r\nSubject: {what}{entity}\" class=evil x='evil\u{202e}\r\n\
                 Message-ID: <{what}@evil.test>\r\nContent-Type: multipart/mixed; boundary=\"=\"\r\n\r\n--=\r\n\
                 Content-Type: text/html\r\n\r\n<a href=\"javascript:owned=1\">{what}</a> http://evil.test/\"><script>owned=1</script>\r\n--=\r\n\
                 Content-Type: application/octet-stream; name=\"{what}.exe\"\r\n\r\nMZ\r\n--=--\r\n."
            ),
            // Held, or refused for its attachment: its words are in the trace either way.
            "",
        );
    }
    stranger.says("VRFY <script>owned=1</script>", "");
    house.first_login();
    let mut pages = house.pages();
    house.go("/messages?q=evil");
    pages.extend(house.all("[...document.querySelectorAll('main a')].map(a => a.getAttribute('href')).filter(h => h.startsWith('/transactions/'))"));
    pages.push(
        "/messages?q=%3Cscript%3Eowned=1%3C/script%3E&from=%22%3E%3Cimg%20src=x%20onerror=owned=1%3E"
            .to_owned(),
    );
    pages.push("/messages?subject=%27%22%3E%3Csvg/onload=owned=1%3E".to_owned());
    let mut shown = 0;
    for language in ["en", "de"] {
        house.browser.evaluate(&format!("document.cookie = 'postern-language={language}; path=/'"));
        for page in &pages {
            house.go(page);
            assert_eq!(
                house.browser.evaluate(FOREIGN_PARTS),
                json!(["undefined", 0]),
                "{page} in {language}"
            );
            let words =
                house.browser.evaluate("document.body.innerText.includes('<script>owned=1</script>')");
            shown += usize::from(words == true);
        }
    }
    assert!(shown >= 8, "they are on {shown} pages of {pages:?}");
}

/// The charts' numbers.
fn are_there_after_a_restart(house: &mut House) {
    let count = |postern: &Postern, span: &str, of: &str| {
        let answer = postern.get(&format!("/api/v1/trends?span={span}"));
        let body = answer.split_once("\r\n\r\n").map_or("", |(_, body)| body);
        let trend: Value = serde_json::from_str(body).unwrap_or_else(|error| panic!("{error}: {answer}"));
        let steps = trend["steps"].as_array().expect("steps").iter();
        steps.filter_map(|step| step[of].as_u64()).sum::<u64>()
    };
    // The queue is looked at every ten seconds.
    let waits = || (count(&house.postern, "day", "waiting") >= 4).then_some(());
    assert!(ports::wait_until(Duration::from_secs(30), waits).is_some(), "{}", house.postern.log());
    let before = ["hour", "day", "month"].map(|span| count(&house.postern, span, "sessions"));
    assert!(before.iter().all(|sessions| *sessions >= 12), "{before:?}");
    house.postern.restart(Signal::SIGTERM);
    for span in ["hour", "day", "month"] {
        let after = count(&house.postern, span, "sessions");
        assert!(
            after >= 12,
            "{span}: {after}, {before:?} before\n{}",
            house.postern.get("/api/v1/trends?span=month")
        );
        assert!(count(&house.postern, span, "waiting") >= 4, "{span}");
    }
}

/// What a form wants, where it wants something.
fn filled(form: &str) -> String {
    format!(
        "(form => {{ for (const field of form.querySelectorAll('input:not([type=hidden]), select, textarea')) {{
            if (field.readOnly) continue;
            if (field.type === 'password') field.value = {PASSWORD:?};
            else if (field.type === 'checkbox' || field.type === 'radio') field.checked = true;
            else if (field.tagName === 'SELECT') field.value ||= field.options[0].value;
            else if (field.type === 'text' && field.required) field.value = field.name === 'entry' ? 'carol@spam.test' : 'carol';
        }} }})({form})"
    )
}

#[test]
fn every_button_does_what_it_says() {
    needs!(SINK, CHROMIUM);
    let mut house = House::new();
    house.first_login();
    second_factor(&mut house);
    let mut pressed = BTreeSet::new();
    for page in house.pages() {
        // As long as there is one that has not been pressed: lists grow and shrink by it.
        while let Some((deed, words)) = next(&mut house, &page, &pressed) {
            pressed.insert(words.clone());
            let form = format!("document.querySelectorAll('form')[{}]", deed["at"]);
            house.browser.evaluate(&filled(&form));
            let press = format!("{form}.querySelectorAll('button')[{}].click()", deed["which"]);
            let seen = house.browser.leads_on(|browser| {
                browser.evaluate(&press);
            });
            house.is_fine(&words, &seen);
        }
    }
    let all = pressed.iter().map(String::as_str).collect::<Vec<_>>().join("\n");
    for part in [
        "/quarantine/release",
        "/quarantine/report",
        "/quarantine/remove",
        "/queue/disaster",
        "/block/",
        "/account/password",
        "/account/totp/remove",
        "/users/add",
        "/tokens/add",
        "/messages",
        "/queue/",
    ] {
        assert!(all.contains(part), "{part}:\n{all}");
    }
    copies(&mut house);
    house.go("/");
    for tag in ["de", "fr", "it", "en"] {
        let seen = house.browser.leads_on(|browser| {
            browser.evaluate(&format!("document.querySelector('.languages [href$=\"/{tag}\"]').click()"));
        });
        house.is_fine(tag, &seen);
        assert_eq!(house.browser.evaluate("document.documentElement.lang"), tag);
    }
    let seen = house.browser.leads_on(|browser| {
        browser.evaluate("document.querySelector('form[action=\"/logout\"] button').click()");
    });
    house.is_fine("logout", &seen);
    assert_eq!(house.path(), "/login");
}

/// Another button of the page, but for the one to leave by.
fn next(house: &mut House, page: &str, pressed: &BTreeSet<String>) -> Option<(Value, String)> {
    house.go(page);
    let found = house.browser.evaluate(DEEDS);
    let deeds = found.as_array().expect("a list").clone().into_iter();
    let text = |deed: &Value, key: &str| deed[key].as_str().unwrap_or_default().to_owned();
    let named = deeds.map(|deed| {
        let words = format!("{} {} {}", text(&deed, "action"), text(&deed, "words"), text(&deed, "name"));
        (deed, words)
    });
    // The last of its kind: the only administrator cannot be removed, and whoever was added comes behind.
    named.into_iter().rev().find(|(deed, words)| deed["action"] != "/logout" && !pressed.contains(words))
}

/// Adds a second factor on the own page, and logs in with it.
fn second_factor(house: &mut House) {
    house.go("/account");
    let press = |browser: &mut Chromium, action: &str, field: &str, text: &str| {
        let fill = format!(
            "(f => {{ f.querySelector('[name={field}]').value = {text:?}; f.querySelector('button').click() }})
             (document.querySelector('form[action=\"{action}\"]'))"
        );
        browser.leads_on(|browser| {
            browser.evaluate(&fill);
        })
    };
    let seen = press(&mut house.browser, "/account/totp", "password", PASSWORD);
    house.is_fine("a second factor is offered", &seen);
    let secret = house.browser.evaluate("document.querySelector('#offer .record').textContent");
    let secret = secret.as_str().unwrap_or_default().to_owned();
    let seen = press(&mut house.browser, "/account/totp/confirm", "code", &code(&secret, 0));
    house.is_fine("a second factor is confirmed", &seen);
    // A page that answers a form cannot be asked for again, and is renewed all the same.
    let renewed = "document.activeElement.blur(), renew().then(() => document.body.className)";
    assert_eq!(house.browser.evaluate(renewed), "");
    let seen = house.browser.seen();
    assert!(
        seen.complaints.is_empty() && seen.requests.iter().any(|asked| asked.ends_with("/account")),
        "{seen:?}"
    );
    let recovery = house.all("[...document.querySelectorAll('#recovery li')].map(e => e.textContent.trim())");
    assert!(recovery.len() > 4, "{recovery:?}");
    house.browser.leads_on(|browser| {
        browser.evaluate("document.querySelector('form[action=\"/logout\"] button').click()");
    });
    // The code that was just used counts once: the next one is taken already.
    house.log_in(&code(&secret, 1));
}

/// RFC 6238, so many steps from now.
fn code(secret: &str, ahead: u32) -> String {
    const PROGRAM: &str = "import base64, hmac, struct, sys, time\n\
        secret = sys.argv[1].replace(' ', '').upper()\n\
        key = base64.b32decode(secret + '=' * (-len(secret) % 8))\n\
        digest = hmac.new(key, struct.pack('>Q', int(time.time()) // 30 + int(sys.argv[2])), 'sha1').digest()\n\
        at = digest[-1] & 15\n\
        print('%06d' % ((struct.unpack('>I', digest[at:at + 4])[0] & 0x7fffffff) % 1000000))";
    let mut command = Command::new("python3");
    command.args(["-c", PROGRAM, secret, &ahead.to_string()]);
    let ended = child::run(&command, Duration::from_secs(20));
    assert!(ended.success, "{}", ended.output);
    ended.output.trim().to_owned()
}

fn copies(house: &mut House) {
    house.go("/dns");
    let words = house.browser.evaluate(
        "(async () => { const field = document.querySelector('[data-copy]'); const button = field.parentElement.querySelector('button');
            button.click(); for (let at = 0; at < 50 && button.textContent === 'Copy'; at++) await new Promise(r => setTimeout(r, 20));
            return button.textContent; })()",
    );
    assert!(words == "Copied" || words == "Selected", "{words}");
}

#[test]
fn it_is_complete_by_keyboard_and_without_scripts() {
    needs!(SINK, CHROMIUM);
    let mut house = House::new();
    house.first_login();
    house.browser.looks(1280, 800, false);
    for scripts in [true, false] {
        house.browser.scripts(scripts);
        house.go("/");
        let wanted = house.all(
            "[...document.querySelectorAll('nav a, .top a, .languages a')].map(a => a.getAttribute('href'))",
        );
        assert!(wanted.len() > 14, "{wanted:?}");
        let mut reached = BTreeSet::new();
        for _ in 0..300 {
            house.browser.press("Tab");
            let focused = house.browser.evaluate(FOCUSED);
            if focused["body"] == true {
                break;
            }
            assert!(focused["seen"] == true, "the focus is not seen: {focused}");
            reached.insert(focused["link"].as_str().unwrap_or("button").to_owned());
        }
        for link in wanted.iter().map(String::as_str).chain(["button"]) {
            assert!(reached.contains(link), "{link} is not reached: {reached:?}");
        }
    }
    // A message that is held is let go by the keyboard, with scripts still off.
    house.go("/quarantine");
    house.browser.evaluate("document.querySelector('form[action=\"/quarantine/release\"] button').focus()");
    let seen = house.browser.leads_on(|browser| browser.press("Enter"));
    house.is_fine("a release", &seen);
    let list = house.postern.ask(&["quarantine", "list"]).output;
    assert_eq!(list.lines().filter(|line| line.contains("who@source.test")).count(), 7, "{list}");
    house.go("/messages?q=source.test");
    assert!(house.browser.evaluate("document.querySelectorAll('tbody tr').length").as_u64() > Some(3));
    house.go("/?span=hour");
    let charts = "[...document.querySelectorAll('#trends svg')].filter(e => e.querySelector('path')).length";
    assert!(house.browser.evaluate(charts).as_u64() > Some(4), "sessions, octets, TLS and a language");
    let languages = house.browser.evaluate("document.querySelector('#trends').textContent");
    assert!(languages.as_str().unwrap_or_default().contains("German"), "{languages}");
    are_there_after_a_restart(&mut house);
}
