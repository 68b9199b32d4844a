//! A list that changes what it passes on, and says under its seal (ARC, RFC 8617) what it had found before: who trusts it believes that.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use postern_tests::child;
use postern_tests::nameserver::{KNOT, NameServer, Signing, Zone};
use postern_tests::needs;
use postern_tests::needs::{Need, POSTFIX};
use postern_tests::postern::{Options, Postern};
use postern_tests::postfix::{self, Postfix};

const TOOLS: &[Need] = &[Need::Program("swaks"), Need::Program("openssl"), Need::Program("dkimverify")];
/// On a busy machine.
const LIMIT: Duration = Duration::from_secs(90);

/// Seals as the list, with python3-dkim: the private key, the message, and where the sealed one goes.
const SEAL: &str = r#"
import dkim, sys
key, message, sealed = sys.argv[1:]
message = open(message, "rb").read()
fields = dkim.arc_sign(message, b"seal", b"lists.test", open(key, "rb").read(), b"lists.test",
                       include_headers=[b"from", b"to", b"subject"])
assert fields, "nothing was sealed"
open(sealed, "wb").write(b"".join(fields) + message)
"#;

/// From an author whose domain wants what fails DMARC refused, by a list that has seen it pass.
fn message(subject: &str) -> String {
    format!(
        "Authentication-Results: lists.test; dmarc=pass header.from=author.test\r\nFrom: Ann <ann@author.test>\r\n\
         To: members@lists.test\r\nSubject: [list] {subject}\r\nMessage-ID: <{subject}@author.test>\r\n\r\nAs changed by the list.\r\n"
    )
}

fn openssl(arguments: &[&str]) {
    let mut command = Command::new("openssl");
    let ended = child::run(command.args(arguments), LIMIT);
    assert!(ended.success, "{}", ended.output);
}

/// The list's key, and its record.
fn key(folder: &Path) -> (String, String) {
    let path = |name: &str| folder.join(name).display().to_string();
    let (private, public) = (path("seal.pem"), path("seal.pub"));
    openssl(&["genrsa", "-traditional", "-out", &private, "2048"]);
    openssl(&["rsa", "-in", &private, "-pubout", "-out", &public]);
    let pem = fs::read_to_string(&public).expect("a key");
    let base64: String = pem.lines().filter(|line| !line.starts_with('-')).collect();
    let (first, rest) = base64.split_at(200);
    (private, format!("seal._domainkey TXT \"v=DKIM1; k=rsa; p={first}\" \"{rest}\"\n"))
}

fn start(hidden: &Postfix, dns: &NameServer, judge: &str) -> Postern {
    let config = format!(
        "[[backend]]\nname = \"hidden\"\ndomains = [\"bench.test\"]\nservers = [\"{}\"]\n\
         [resolver]\nservers = [\"{}\"]\ndnssec_trust_anchor = \"{}\"\n",
        hidden.address(),
        dns.address(),
        dns.anchor().display(),
    );
    Postern::start(&Options {
        config,
        judge: judge.into(),
        proxies: "[\"127.0.0.0/8\"]".into(),
        ..Default::default()
    })
}

/// The `Authentication-Results` that the server gets.
fn results(postern: &Postern, hidden: &Postfix, file: &Path, subject: &str) -> String {
    let mut swaks = Command::new("swaks");
    swaks.args(["--server", &postern.smtp().to_string(), "--proxy", "TCP4 192.0.2.50 192.0.2.50 4711 25"]);
    swaks.args([
        "--helo",
        "lists.test",
        "--from",
        "bounces@lists.test",
        "--to",
        "b@bench.test",
        "--timeout",
        "60",
    ]);
    let data = format!("@{}", file.display());
    let ended = child::run(swaks.args(["--data", &data]), LIMIT);
    assert!(ended.output.contains("250 "), "{}", ended.output);
    let stored = hidden.mailbox().wait_for_message(&format!("<{subject}@author.test>"));
    let whole = String::from_utf8_lossy(&stored.whole).replace("\r\n", "\n").replace("\n\t", " ");
    let field = whole.lines().find(|line| line.starts_with("Authentication-Results: mx.postern.test"));
    field.unwrap_or_else(|| panic!("{whole}")).to_owned()
}

#[test]
fn who_is_trusted_to_seal_is_believed_about_dmarc_and_nobody_else() {
    needs!(POSTFIX, KNOT, TOOLS);
    let hidden = Postfix::start(&postfix::Options::default());
    let scratch = postern_tests::scratch::Scratch::new("sealer");
    let (private, record) = key(scratch.path());
    let zone = |name, records| Zone { name, signing: Signing::Unsigned, records };
    let author = "@ TXT \"v=spf1 -all\"\n_dmarc TXT \"v=DMARC1; p=reject\"\n";
    let dns = NameServer::start(&[zone("lists.test", &record), zone("author.test", author)]);
    let sealed = |subject: &str, change: &str| {
        let (plain, file) = (scratch.join("plain.eml"), scratch.join(&format!("{subject}.eml")));
        fs::write(&plain, message(subject)).expect("a file");
        let mut python = Command::new("/usr/bin/python3");
        python.args(["-c", SEAL, &private]).arg(&plain).arg(&file);
        let ended = child::run(&python, LIMIT);
        assert!(ended.success, "{}", ended.output);
        let text = fs::read_to_string(&file).expect("a sealed message");
        fs::write(&file, text.replace("As changed by the list", change)).expect("a file");
        file
    };
    let intact = "As changed by the list";
    let said = "dmarc=pass reason=\"by the ARC seal of lists.test\"";
    let mut postern = start(&hidden, &dns, "action = \"tag\"\ntrusted_sealers = [\"lists.test\"]\n");
    let believed = results(&postern, &hidden, &sealed("believed", intact), "believed");
    assert!(believed.contains("arc=pass") && believed.contains(said), "{believed}");
    let changed = results(&postern, &hidden, &sealed("changed", "As changed by somebody"), "changed");
    assert!(changed.contains("arc=fail") && changed.contains("dmarc=fail"), "{changed}");
    postern.kill();
    let postern = start(&hidden, &dns, "action = \"tag\"\n");
    let unknown = results(&postern, &hidden, &sealed("unknown", intact), "unknown");
    assert!(unknown.contains("arc=pass") && unknown.contains("dmarc=fail"), "{unknown}");
}
