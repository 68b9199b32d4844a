//! What comes in is sealed (RFC 8617), where that is wanted; dkimpy and Postern itself verify it.

use std::io::Write as _;
use std::process::{Command, Stdio};

use postern_tests::clients::{Client, How, deliver};
use postern_tests::mail::Mail;
use postern_tests::nameserver::{KNOT, NameServer, Signing, Zone};
use postern_tests::needs;
use postern_tests::needs::{Need, POSTFIX};
use postern_tests::postern::{self, Options, Postern};
use postern_tests::postfix::{self, Postfix};
use postern_tests::scratch::Scratch;

/// For Debian's Python: what dkimpy says of a chain, with the records of a zone.
const DKIMPY: &str = r#"
import json, sys, dkim
asked = json.load(sys.stdin)
records = {name.rstrip("."): text.encode() for name, text in asked["records"].items()}
def txt(name, timeout=5):
    return records.get(name.decode().rstrip(".") if isinstance(name, bytes) else name.rstrip("."))
cv, results, reason = dkim.arc_verify(bytes.fromhex(asked["message"]), dnsfunc=txt)
print((cv or b"none").decode(), len(results), reason)
"#;

fn dkimpy(message: &[u8], records: &serde_json::Value) -> String {
    let hexadecimal: String = message.iter().map(|octet| format!("{octet:02x}")).collect();
    let asked = serde_json::json!({ "message": hexadecimal, "records": records }).to_string();
    let mut python = Command::new("/usr/bin/python3");
    python.args(["-c", DKIMPY]).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = python.spawn().expect("python3");
    // Where it breaks off it says why.
    let _ = child.stdin.take().expect("its input").write_all(asked.as_bytes());
    let output = child.wait_with_output().expect("it ends");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// The keys' texts by their names.
fn keys(postern: &Postern) -> serde_json::Value {
    let report = postern.ask(&["dns", "corp.test", "--json"]).output;
    let report: serde_json::Value = serde_json::from_str(&report).expect("a report");
    let records = report["zones"][0]["records"].as_array().expect("records").iter();
    let keys = records.filter(|record| record["purpose"] == "dkim");
    keys.map(|key| (key["name"].as_str().expect("a name").to_owned(), key["value"].clone())).collect()
}

#[test]
fn a_chain_of_seals_holds_for_others_and_for_postern_itself() {
    needs!(KNOT, POSTFIX, &[Need::Program("dkimverify")]);
    let hidden = Postfix::start(&postfix::Options::default());
    let state = Scratch::new("state");
    let folder = state.folder("state", "nobody");
    let options = |resolver: &str, judge: &str| Options {
        config: format!(
            "{}[outbound]\nnetworks = [\"127.0.0.2/32\"]\n{resolver}",
            postern::backend(&["corp.test"], hidden.address(), "")
        ),
        judge: format!("enabled = true\n{judge}"),
        state: Some(folder.clone()),
        ..Options::default()
    };
    let mut first = Postern::start(&options("[resolver]\nservers = [\"127.0.0.1:1\"]\n", ""));
    let keys = keys(&first);
    first.stop();
    let string = |text: &str| {
        let chunks: Vec<_> = text.as_bytes().chunks(200).map(String::from_utf8_lossy).collect();
        chunks.iter().map(|chunk| format!("\"{chunk}\"")).collect::<Vec<_>>().join(" ")
    };
    let texts = keys.as_object().expect("keys").iter();
    let records: String = texts
        .map(|(name, text)| format!("{name}. TXT {}\n", string(text.as_str().unwrap_or_default())))
        .collect();
    let names = NameServer::start(&[
        Zone { name: "corp.test", signing: Signing::Unsigned, records: &records },
        Zone {
            name: "sender.test",
            signing: Signing::Unsigned,
            records: "@ TXT \"v=spf1 ip4:127.0.0.1 -all\"\n",
        },
    ]);
    let resolver = format!(
        "[resolver]\nservers = [\"{}\"]\ndnssec_trust_anchor = {:?}\n",
        names.address(),
        names.anchor()
    );
    let postern = Postern::start(&options(&resolver, "seal = true\n"));
    let send = |mail: &Mail| {
        let sent = deliver(Client::Wire, postern.smtp(), mail, &How::default());
        assert!(sent.accepted, "{}\n{}", sent.output, postern.log());
    };
    let body = format!("a body \r\n\r\n{}\r\n \r\n", "with lines of  some length\t\r\n".repeat(20_000));
    let mail = Mail::new("a@sender.test", &["b@corp.test"], &body);
    send(&mail);
    let sealed = hidden.mailbox().wait_for_message(mail.message_id()).content;
    let text = String::from_utf8_lossy(&sealed);
    assert!(
        text.contains("ARC-Seal: i=1; a=rsa-sha256; cv=none; d=corp.test;"),
        "{}\n{text:.3000}",
        postern.log()
    );
    assert!(text.contains("ARC-Authentication-Results: i=1; mx.postern.test;\r\n\tspf=pass"), "{text:.3000}");
    let said = dkimpy(&sealed, &keys);
    assert!(said.starts_with("pass 1 "), "{said}");
    // Passed on, it comes again, and is sealed once more.
    let again = Mail::raw("a@sender.test", &["b@corp.test"], sealed.clone());
    send(&again);
    let twice = hidden.mailbox().wait_for(2).into_iter().find(|one| {
        String::from_utf8_lossy(&one.content).contains("ARC-Seal: i=2; a=rsa-sha256; cv=pass; d=corp.test;")
    });
    let twice = twice.unwrap_or_else(|| panic!("no second seal\n{}", postern.log())).content;
    let said = dkimpy(&twice, &keys);
    assert!(said.starts_with("pass 2 "), "{said}");
    assert!(String::from_utf8_lossy(&twice).contains("\r\n\tarc=pass"), "Postern verifies its own");
    // The test can fail.
    let changed = String::from_utf8_lossy(&twice).replacen("with lines", "with limes", 1);
    assert!(dkimpy(changed.as_bytes(), &keys).starts_with("fail"), "a changed body");
}
