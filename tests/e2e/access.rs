//! Who may ask a running Postern, and give it orders: the command line by its socket, people by a login.

use std::net::TcpStream;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use nix::sys::signal::Signal;
use postern_tests::child;
use postern_tests::needs;
use postern_tests::needs::Need;
use postern_tests::ports;
use postern_tests::postern::{Options, Postern, backend, program};
use postern_tests::scratch::Scratch;

const LIMIT: Duration = Duration::from_secs(20);
pub(crate) const PASSWORD: &str = "correct horse battery";

fn postern(config: &str) -> Postern {
    // Nobody listens there: this is not about mail.
    let server = ports::free();
    Postern::start(&Options {
        config: format!("{}\n{config}", backend(&["bench.test"], server, "")),
        ..Default::default()
    })
}

/// curl as a browser would be: with a jar for cookies, and saying where the form comes from.
pub(crate) fn curl(jar: &Path, url: &str, more: &[&str]) -> String {
    let mut command = Command::new("curl");
    let origin = url.split('/').take(3).collect::<Vec<_>>().join("/");
    command.args(["-s", "-k", "-i", "--max-time", "20", "-b"]).arg(jar).arg("-c").arg(jar);
    command.args(["-H", &format!("Origin: {origin}"), "-H", "Accept: text/html"]).args(more).arg(url);
    child::run(&command, LIMIT).output
}

#[test]
fn commands_work_for_root_and_for_nobody_else_and_people_log_in() {
    needs!(&[Need::Root, Need::Program("curl"), Need::Program("setpriv")]);
    let mut postern = postern("");
    let status = postern.ask(&["status"]);
    assert!(status.success, "{}", status.output);
    let socket = postern.state().join("door/commands");
    let mode = |path: &Path| std::fs::metadata(path).expect("it is there").permissions().mode() & 0o777;
    assert_eq!((mode(&socket), mode(socket.parent().expect("a folder"))), (0o600, 0o700));

    // Somebody who may read the config and reach the port, and is nobody in particular.
    let scratch = Scratch::new("stranger");
    let config = scratch.write("postern.toml", std::fs::read(postern.config()).expect("the config"));
    // The one that was built may lie where strangers cannot go.
    let theirs = scratch.join("postern");
    std::fs::copy(program(), &theirs).expect("a copy of the program");
    for path in [&theirs, &config] {
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o755)).expect("readable");
    }
    let mut stranger = Command::new("setpriv");
    stranger.args(["--reuid=12345", "--regid=12345", "--clear-groups"]);
    stranger.arg(&theirs).arg("--config").arg(&config).args(["queue", "remove", "--all"]);
    let refused = child::run(&stranger, LIMIT);
    assert!(refused.output.contains("say it with sudo") && !refused.success, "{}", refused.output);
    assert!(postern.get_as_anybody("/api/v1/status").starts_with("HTTP/1.1 401 "));
    assert!(postern.get_as_anybody("/metrics").starts_with("HTTP/1.1 200 "));

    // The first login, by a code that root asks for.
    let code = postern.ask(&["users", "code"]).output;
    let code = code.lines().next().expect("a code").trim().to_owned();
    let (jar, page) = (scratch.join("jar"), format!("http://{}", postern.admin()));
    let first = curl(&jar, &format!("{page}/"), &[]);
    assert!(first.contains("location: /first"), "{first}");
    let password = format!("password={PASSWORD}");
    let filled =
        ["--data-urlencode", &format!("code={code}"), "-d", "name=ann", "--data-urlencode", &password];
    let entered = curl(&jar, &format!("{page}/first"), &filled);
    assert!(entered.contains("303 ") && entered.contains("HttpOnly; SameSite=Strict"), "{entered}");
    let again = curl(&scratch.join("other"), &format!("{page}/first"), &filled);
    assert!(again.contains("used, or has expired"), "{again}");
    assert!(curl(&jar, &format!("{page}/"), &[]).contains("Log out"));

    // A restart ends sessions, and keeps users.
    postern.restart(Signal::SIGTERM);
    assert!(curl(&jar, &format!("{page}/"), &[]).contains("location: /login"));
    let entered = curl(&jar, &format!("{page}/login"), &["-d", "name=ann", "--data-urlencode", &password]);
    assert!(entered.contains("location: /\r\n"), "{entered}");
    let shown = curl(&jar, &format!("{page}/account"), &[]);
    let token = shown.split("name=\"form_token\" value=\"").nth(1).and_then(|rest| rest.split('"').next());
    let token = format!("form_token={}", token.expect("a token in the form"));
    assert!(curl(&jar, &format!("{page}/queue/disaster"), &["-d", "disaster=on"]).contains("403 "));
    let switched = curl(&jar, &format!("{page}/queue/disaster"), &["-d", "disaster=on", "-d", &token]);
    assert!(switched.contains("303 "), "{switched}");
    let out = curl(&jar, &format!("{page}/logout"), &["-d", &token]);
    assert!(out.contains("Max-Age=0"), "{out}");
    assert!(curl(&jar, &format!("{page}/"), &[]).contains("location: /login"));

    let trail = postern.ask(&["audit"]).output;
    for part in
        ["ann from 127.0.0.1: queue disaster  disaster=on", "users code", "command line (user 0)", "logout"]
    {
        assert!(trail.contains(part), "{part}: {trail}");
    }
    assert!(!trail.contains(&code) && !trail.contains("horse"), "{trail}");
    let users = postern.ask(&["users", "list"]).output;
    assert!(users.contains("ann  administrator; without a second factor; last login"), "{users}");
    assert!(!postern.log().contains(&code) && !postern.log().contains("horse"));
}

#[test]
fn off_loopback_the_page_speaks_tls_with_the_certificate_of_the_gate() {
    needs!(&[Need::Program("curl"), Need::Program("openssl")]);
    let port = ports::free().port();
    let mut postern = Postern::start(&Options {
        config: backend(&["bench.test"], ports::free(), ""),
        admin: Some(([0, 0, 0, 0], port).into()),
        ..Default::default()
    });
    let here = format!("127.0.0.1:{port}");
    let scratch = Scratch::new("off-loopback");
    let (jar, page) = (scratch.join("jar"), format!("https://{here}"));
    let hint = curl(&jar, &format!("http://{here}/"), &[]);
    assert!(hint.contains("400 ") && hint.contains("this is HTTPS"), "{hint}");
    let first = curl(&jar, &format!("{page}/first"), &[]);
    assert!(first.contains("200 ") && first.contains("strict-transport-security"), "{first}");
    let code = postern.ask(&["users", "code"]).output;
    let code = code.lines().next().expect("a code").trim().to_owned();
    let filled = [
        "--data-urlencode",
        &format!("code={code}"),
        "-d",
        "name=ann",
        "--data-urlencode",
        &format!("password={PASSWORD}"),
    ];
    let entered = curl(&jar, &format!("{page}/first"), &filled);
    assert!(entered.contains("__Host-postern=") && entered.contains("; Secure"), "{entered}");
    assert!(curl(&jar, &format!("{page}/"), &[]).contains("Log out"));
    // The certificate is the one that clients on 25 see.
    let served = |address: &str, more: &[&str]| {
        let mut command = Command::new("openssl");
        command.args(["s_client", "-connect", address, "-servername", "mx.postern.test"]).args(more);
        let output = child::run(&command, LIMIT).output;
        output
            .split("-----BEGIN CERTIFICATE-----")
            .nth(1)
            .map(|rest| rest.split("-----END").next().unwrap_or_default().to_owned())
    };
    let on_page = served(&here, &[]);
    assert!(on_page.is_some() && on_page == served(&postern.smtp().to_string(), &["-starttls", "smtp"]));
    // Who only holds a connection open holds up nobody.
    let _held: Vec<_> = (0..20).map(|_| TcpStream::connect(&here).expect("a connection")).collect();
    assert!(postern.ask(&["status"]).success);
    postern.stop();
}

#[test]
fn an_administrator_of_a_domain_adds_users_to_it_and_to_no_other() {
    needs!(&[Need::Root, Need::Program("curl")]);
    let postern = postern("");
    let code = |output: &str| {
        let code = output.split_whitespace().find(|word| word.matches('-').count() == 3);
        format!("code={}", code.unwrap_or_default())
    };
    let scratch = Scratch::new("domain-administrator");
    let (jar, page) = (scratch.join("jar"), format!("http://{}", postern.admin()));
    let password = format!("password={PASSWORD}");
    let enter = |jar: &Path, name: &str, code: &str| {
        let name = format!("name={name}");
        let filled = ["--data-urlencode", code, "-d", &name, "--data-urlencode", &password];
        let entered = curl(jar, &format!("{page}/first"), &filled);
        assert!(entered.contains("303 "), "{entered}");
    };
    enter(&scratch.join("ann"), "ann", &code(&postern.ask(&["users", "code"]).output));
    let added = ["users", "add", "dom", "--role", "domain-administrator", "--domain", "bench.test"];
    enter(&jar, "dom", &code(&postern.ask(&added).output));
    let shown = curl(&jar, &format!("{page}/users"), &[]);
    assert!(shown.contains("200 ") && shown.contains("dom") && !shown.contains("ann"), "{shown}");
    let token = shown.split("name=\"form_token\" value=\"").nth(1).and_then(|rest| rest.split('"').next());
    let token = format!("form_token={}", token.expect("a token in the form"));
    let add = |name: &str, role: &str, domains: &str| {
        let (name, role) = (format!("name={name}"), format!("role={role}"));
        let domains = format!("domains={domains}");
        curl(&jar, &format!("{page}/users/add"), &["-d", &token, "-d", &name, "-d", &role, "-d", &domains])
    };
    let made = add("eve", "viewer", "BENCH.test");
    assert!(made.contains("200 ") && made.contains("The code for"), "{made}");
    let made = made.split("class=\"record\">").nth(1).and_then(|rest| rest.split('<').next());
    enter(&scratch.join("eve"), "eve", &format!("code={}", made.expect("a code")));
    for (role, domains) in [
        ("viewer", "notbench.test"),
        ("viewer", "bench.test other.test"),
        ("domain-administrator", "sub.bench.test"),
        ("viewer", ""),
        ("administrator", ""),
    ] {
        let refused = add("bad", role, domains);
        assert!(refused.contains("400 "), "{role} {domains}: {refused}");
    }
    let removed = curl(&jar, &format!("{page}/users/remove"), &["-d", &token, "-d", "name=ann"]);
    assert!(removed.contains("404 "), "{removed}");
    let list = postern.ask(&["users", "list"]).output;
    assert!(list.contains("eve  viewer of bench.test") && list.contains("ann  administrator"), "{list}");
    let trail = postern.ask(&["audit"]).output;
    assert!(
        trail.contains("dom from 127.0.0.1: users add  name=eve role=viewer domains=BENCH.test"),
        "{trail}"
    );
}
