//! The config changed while it serves: on the page by curl, by the API and by the command line; in three processes as root, in one,
//! and as the appliance has it, where only who keeps the rule set may write it.

use std::fs;
use std::net::{SocketAddr, TcpListener};
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::PathBuf;
use std::time::Duration;

use nix::unistd::{Group, chown};
use postern_tests::needs;
use postern_tests::needs::Need;
use postern_tests::ports;
use postern_tests::postern::{Options, Postern, USER, backend};
use postern_tests::scratch::Scratch;
use postern_tests::scripted::Client as Scripted;
use postern_tests::sink::Sink;

use crate::access::{PASSWORD, curl};
use crate::own_user::{Manager, OWN_USER};

const NEEDED: &[Need] =
    &[Need::Root, Need::Program("curl"), Need::Program("setpriv"), Need::Program("smtp-sink")];
const LIMIT: Duration = Duration::from_secs(20);
const SECRET: &str = "aHVudGVyMg";

fn options(server: SocketAddr) -> Options {
    let config = format!(
        "{}\n# password = \"{SECRET}-once\"\n[log]\nalerts_key = \"{SECRET}\" # ours\n",
        backend(&["bench.test"], server, "")
    );
    Options { config, ..Default::default() }
}

/// As an administrator does it: readable to Postern's user by the group alone.
fn for_its_group(postern: &Postern) {
    let group = Group::from_name(USER.1).ok().flatten().expect("the group").gid;
    chown(postern.config(), None, Some(group)).expect("another group");
    fs::set_permissions(postern.config(), fs::Permissions::from_mode(0o640)).expect("other rights");
}

/// Somebody in a browser.
struct Browser {
    jar: PathBuf,
    page: String,
    _scratch: Scratch,
}

impl Browser {
    fn new(postern: &Postern, name: &str, code: &str) -> Self {
        let scratch = Scratch::new(name);
        let browser =
            Self { jar: scratch.join("jar"), page: format!("http://{}", postern.admin()), _scratch: scratch };
        let code = code.lines().flat_map(str::split_whitespace).find(|word| word.matches('-').count() == 3);
        let code = format!("code={}", code.unwrap_or_default());
        let (name, password) = (format!("name={name}"), format!("password={PASSWORD}"));
        let entered =
            browser.send("/first", &["--data-urlencode", &code, "-d", &name, "--data-urlencode", &password]);
        assert!(entered.contains("303 "), "{entered}");
        browser
    }

    fn send(&self, path: &str, more: &[&str]) -> String {
        curl(&self.jar, &format!("{}{path}", self.page), more)
    }

    /// A form of the page, with the fields that the page gave it.
    fn fill(&self, shown: &str, path: &str, fields: &[(&str, &str)]) -> String {
        let mut filled = vec![("form_token", value(shown, "form_token"))];
        filled.extend(fields.iter().map(|(name, value)| (*name, (*value).to_owned())));
        let filled: Vec<String> = filled.into_iter().map(|(name, value)| format!("{name}={value}")).collect();
        let words: Vec<&str> = filled.iter().flat_map(|field| ["--data-urlencode", field]).collect();
        self.send(path, &words)
    }

    /// Changes the text and goes through the difference.
    fn change(&self, change: impl Fn(&str) -> String) -> String {
        let shown = self.send("/settings/text", &[]);
        let (text, base) = (change(&text(&shown)), value(&shown, "base"));
        let looked = self.fill(&shown, "/settings/check", &[("base", &base), ("text", &text)]);
        if !looked.contains("Put it in force") {
            return looked;
        }
        self.fill(&looked, "/settings/change", &[("base", &base), ("text", &text)])
    }
}

fn value(page: &str, name: &str) -> String {
    let after = page.split(&format!("name=\"{name}\" value=\"")).nth(1);
    after.and_then(|rest| rest.split('"').next()).unwrap_or_default().to_owned()
}

fn text(page: &str) -> String {
    let area = page.split("<textarea").nth(1).and_then(|rest| rest.split_once('>')).map(|(_, rest)| rest);
    let text = area.and_then(|rest| rest.split("</textarea>").next()).unwrap_or_default();
    let plain = text.replace("&quot;", "\"").replace("&lt;", "<").replace("&gt;", ">").replace("&amp;", "&");
    plain.strip_prefix('\n').unwrap_or(&plain).to_owned()
}

fn takes(postern: &Postern, domain: &str) -> bool {
    let mut client = Scripted::greeted(postern.smtp(), None);
    client.says("EHLO source.test", "250");
    client.says("MAIL FROM:<a@source.test>", "250 ");
    client.command(&format!("RCPT TO:<b@{domain}>")).unwrap_or_default().starts_with("250 ")
}

fn file(postern: &Postern) -> String {
    fs::read_to_string(postern.config()).expect("the config")
}

/// What the page, the API and the command line do, wherever the config is written.
fn is_edited(postern: &mut Postern) {
    let ann = Browser::new(postern, "ann", &postern.ask(&["users", "code"]).output);
    let first = file(postern);
    let facts = fs::metadata(postern.config()).expect("its facts");
    let shown = ann.send("/settings/text", &[]);
    assert!(shown.contains("(not shown: 1)") && !shown.contains(SECRET), "{shown}");
    assert!(!takes(postern, "new.test"));

    // A domain more.
    let looked = ann.fill(
        &shown,
        "/settings/check",
        &[
            ("base", &value(&shown, "base")),
            ("text", &text(&shown).replace("[\"bench.test\"]", "[\"bench.test\", \"new.test\"]")),
        ],
    );
    assert!(
        looked.contains("+ added") && looked.contains("− removed") && !looked.contains(SECRET),
        "{looked}"
    );
    assert_eq!(file(postern), first, "a look changes nothing");
    let changed = ann.change(|text| text.replace("[\"bench.test\"]", "[\"bench.test\", \"new.test\"]"));
    assert!(changed.contains("location: /settings/history/1\r\n"), "{changed}\n{}", postern.log());
    assert!(takes(postern, "new.test") && takes(postern, "bench.test"));
    let second = first.replace("[\"bench.test\"]", "[\"bench.test\", \"new.test\"]");
    assert_eq!(file(postern), second, "secrets and comments are what they were");
    let now = fs::metadata(postern.config()).expect("its facts");
    assert_eq!((now.uid(), now.gid(), now.mode()), (facts.uid(), facts.gid(), facts.mode()));

    // What is wrong, and what is not changed here, is told and not written.
    let taken = TcpListener::bind("127.0.0.1:0").expect("a port");
    let listener = format!("[[listener]]\naddress = \"{}\"\n", taken.local_addr().expect("its address"));
    for (more, words) in [
        ("[limits]\nsesions = 3\n".to_owned(), "is no key here"),
        ("[outbound.relay]\npassword = { file = \"/etc/shadow\" }\n".to_owned(), "/etc/shadow"),
        (listener, "cannot be"),
    ] {
        let refused = ann.change(|text| format!("{}\n{more}", text.replace("\n[limits]\n", "\n")));
        assert!(refused.contains("Nothing was changed") && refused.contains(words), "{words}: {refused}");
        assert_eq!(file(postern), second, "{words}");
    }
    let moved = ann.change(|text| text.replace("state_dir = \"", "state_dir = \"/etc"));
    assert!(moved.contains("changes in the file alone"), "{moved}");
    assert!(takes(postern, "new.test"), "{}", postern.log());

    // One key, by the page and by the command line.
    let settings = ann.send("/settings", &[]);
    let key = ann.fill(
        &settings,
        "/settings/key",
        &[
            ("base", &value(&settings, "base")),
            ("section", "limits"),
            ("number", "0"),
            ("key", "recipients"),
            ("value", "200"),
        ],
    );
    assert!(key.contains("+ added") && key.contains("recipients = 200"), "{key}");
    let set = postern.ask(&["config", "set", "limits.recipients", "300"]);
    assert!(
        set.success && set.output.contains("+") && set.output.contains("config undo 2"),
        "{}",
        set.output
    );
    assert!(file(postern).contains("recipients = 300\n"));
    let wrong = postern.ask(&["config", "set", "limits.recipients", "3"]);
    assert!(wrong.code == Some(2) && wrong.output.contains("limits.recipients"), "{}", wrong.output);

    // Somebody edits the file meanwhile.
    let shown = ann.send("/settings/text", &[]);
    let by_hand = format!("# by hand\n{}", file(postern));
    fs::write(postern.config(), &by_hand).expect("an edit");
    let edited = text(&shown).replace("recipients = 300", "recipients = 400");
    for path in ["/settings/check", "/settings/change"] {
        let late = ann.fill(&shown, path, &[("base", &value(&shown, "base")), ("text", &edited)]);
        assert!(late.contains("409 ") && late.contains("has changed since it was shown"), "{late}");
        assert!(late.contains("recipients = 400"), "what was written is not lost: {late}");
    }
    assert_eq!(file(postern), by_hand);

    // Back, and back again.
    let change = ann.send("/settings/history/1", &[]);
    assert!(change.contains("+ added") && change.contains("ann"), "{change}");
    let undone = ann.fill(&change, "/settings/undo", &[("change", "1"), ("base", &value(&change, "base"))]);
    assert!(undone.contains("location: /settings/history/3\r\n"), "{undone}");
    assert_eq!(file(postern), first);
    assert!(!takes(postern, "new.test"));
    let again = postern.ask(&["config", "undo", "3"]);
    assert!(again.success, "{}", again.output);
    assert_eq!(file(postern), by_hand);
    assert!(takes(postern, "new.test"));

    let history = postern.ask(&["config", "history"]).output;
    assert!(
        history.contains("ann from 127.0.0.1: 1 undone") && history.contains("limits.recipients set"),
        "{history}"
    );
    let difference = postern.ask(&["config", "difference", "1"]).output;
    assert!(difference.contains("new.test") && difference.contains("\n-"), "{difference}");
    let trail = postern.ask(&["audit"]).output;
    assert!(trail.contains("ann from 127.0.0.1: config changed  change 1: edited"), "{trail}");
    for told in [history, difference, trail, postern.ask(&["config", "show"]).output, postern.log()] {
        assert!(!told.contains(SECRET), "{told}");
    }
    is_for_administrators_alone(postern, &ann);
    // The next start finds what was put in place.
    postern.stop();
    assert!(postern.ask(&["check"]).success);
}

fn is_for_administrators_alone(postern: &Postern, ann: &Browser) {
    let viewer = postern.ask(&["users", "add", "eve", "--role", "viewer"]).output;
    let domains = ["users", "add", "dom", "--role", "domain-administrator", "--domain", "bench.test"];
    let domains = postern.ask(&domains).output;
    for (name, code) in [("eve", viewer), ("dom", domains)] {
        let other = Browser::new(postern, name, &code);
        let account = other.send("/account", &[]);
        for path in ["/settings", "/settings/text", "/settings/history", "/settings/history/1"] {
            assert!(other.send(path, &[]).contains("403 "), "{name} {path}");
        }
        for path in ["/settings/change", "/settings/undo", "/settings/key"] {
            let refused = other.fill(&account, path, &[("change", "1")]);
            assert!(refused.contains("403 "), "{name} {path}: {refused}");
        }
        for path in ["/api/v1/config", "/api/v1/config/history"] {
            assert!(other.send(path, &[]).contains("403 "), "{name} {path}");
        }
    }
    // Switched off by hand: it is so at once.
    let off = file(postern).replace("[admin]\n", "[admin]\nedit = false\n");
    fs::write(postern.config(), &off).expect("an edit");
    let shown = ann.send("/settings/text", &[]);
    assert!(shown.contains("[admin] edit = false") && !shown.contains("/settings/check"), "{shown}");
    let refused = postern.ask(&["config", "set", "limits.recipients", "500"]);
    assert!(!refused.success && refused.output.contains("[admin] edit = false"), "{}", refused.output);
    assert_eq!(file(postern), off);
}

#[test]
fn the_config_is_edited_while_three_roles_serve_it() {
    needs!(NEEDED);
    let sink = Sink::start(&[]);
    let mut postern = Postern::start(&options(sink.address()));
    for_its_group(&postern);
    is_edited(&mut postern);
    assert!(postern.log().contains("the gate has put a config in place"), "{}", postern.log());
}

#[test]
fn the_config_is_edited_while_one_process_serves_it() {
    needs!(NEEDED);
    let sink = Sink::start(&[]);
    let mut postern = Postern::start(&Options { one_process: true, ..options(sink.address()) });
    assert!(postern.ask(&["status"]).output.contains("roles: threads"), "{}", postern.log());
    for_its_group(&postern);
    is_edited(&mut postern);
}

#[test]
fn the_config_is_edited_where_no_role_is_root_and_the_config_is() {
    needs!(OWN_USER);
    needs!(NEEDED);
    let (manager, sink) = (Manager::new(), Sink::start(&[]));
    let mut postern =
        Postern::start(&Options { rules: Some(manager.path.clone()), ..options(sink.address()) });
    for_its_group(&postern);
    let _keeper = manager.keeper(postern.config());
    is_edited(&mut postern);
    assert!(manager.log().contains("a config was put in place"), "{}", manager.log());
}

#[test]
fn a_config_that_is_a_link_stays_what_it_leads_to() {
    needs!(NEEDED);
    let sink = Sink::start(&[]);
    let postern = Postern::start(&options(sink.address()));
    let real = postern.beside("real.toml");
    fs::rename(postern.config(), &real).expect("another name");
    std::os::unix::fs::symlink(&real, postern.config()).expect("a link");
    let before = file(&postern);
    let refused = postern.ask(&["config", "set", "limits.recipients", "500"]);
    assert!(!refused.success && refused.output.contains("is a link"), "{}", refused.output);
    assert_eq!(file(&postern), before);
    assert!(ports::wait_until(LIMIT, || takes(&postern, "bench.test").then_some(())).is_some());
}
