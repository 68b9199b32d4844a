//! Viruses are found by a real clamd, whatever they are packed in, and a scanner that is away costs no mail.

use std::process::Command;
use std::time::Duration;

use postern_tests::child;
use postern_tests::clamd::{CLAMD, Clamd, EICAR, SIGNATURE};
use postern_tests::clients::{Client, ClientResult, How, deliver};
use postern_tests::mail::{Mail, unique};
use postern_tests::needs;
use postern_tests::needs::POSTFIX;
use postern_tests::ports;
use postern_tests::postern::{Options, Postern, trace_id};
use postern_tests::postfix::{self, Postfix};

/// On a busy machine.
const SOON: Duration = Duration::from_secs(60);
/// Packs what it is given into archives, and says them in base64, a line each.
const PACK: &str = "
import base64, io, sys, tarfile, zipfile
def zipped(name, octets):
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, 'w', zipfile.ZIP_DEFLATED) as archive:
        archive.writestr(name, octets)
    return packed.getvalue()
once = zipped('eicar.com', sys.argv[1].encode())
twice = zipped('inner.zip', once)
packed = io.BytesIO()
with tarfile.open(fileobj=packed, mode='w:gz') as archive:
    member = tarfile.TarInfo('inner.zip')
    member.size = len(twice)
    archive.addfile(member, io.BytesIO(twice))
for octets in [sys.argv[1].encode(), once, twice, packed.getvalue()]:
    print(base64.b64encode(octets).decode())
";

fn start(hidden: &Postfix, clamd: &str, judge: &str) -> Postern {
    let config = format!(
        "[[backend]]\nname = \"hidden\"\ndomains = [\"bench.test\"]\nservers = [\"{}\"]\n\
         [outbound]\nnetworks = [\"203.0.113.0/24\"]\n[resolver]\nservers = [\"127.0.0.1:1\"]\n",
        hidden.address()
    );
    let judge = format!("action = \"enforce\"\nclamd = \"{clamd}\"\n{judge}");
    Postern::start(&Options { config, judge, ..Default::default() })
}

/// A message with an attachment, in base64.
fn attached(media_type: &str, name: &str, base64: &str) -> String {
    let lines: Vec<&str> =
        base64.as_bytes().chunks(76).filter_map(|line| std::str::from_utf8(line).ok()).collect();
    format!(
        "From: <a@source.test>\r\nTo: <b@bench.test>\r\nSubject: A file\r\nDate: Sat, 21 Nov 2026 19:10:05 +0000\r\n\
         Message-ID: <{}@postern.test>\r\nMIME-Version: 1.0\r\nContent-Type: multipart/mixed; boundary=\"x\"\r\n\r\n\
         --x\r\nContent-Type: text/plain\r\n\r\nHere it is\r\n--x\r\nContent-Type: {media_type}; name=\"{name}\"\r\n\
         Content-Transfer-Encoding: base64\r\nContent-Disposition: attachment; filename=\"{name}\"\r\n\r\n\
         {}\r\n--x--\r\n",
        unique(),
        lines.join("\r\n"),
    )
}

fn send(postern: &Postern, mail: &Mail) -> ClientResult {
    deliver(Client::Wire, postern.smtp(), mail, &How::default())
}

fn story(postern: &Postern, output: &str) -> String {
    let id = output.lines().rev().map(trace_id).find(|id| id.contains('.')).unwrap_or_default().to_owned();
    postern.ask(&["trace", "--id", &id]).output
}

#[test]
fn a_virus_is_found_in_whatever_it_is_packed_and_its_name_is_in_the_trace() {
    needs!(POSTFIX, CLAMD);
    let packed = child::run(Command::new("python3").args(["-c", PACK, EICAR]), SOON);
    let forms: Vec<&str> = packed.output.lines().collect();
    assert_eq!(forms.len(), 4, "{}", packed.output);
    let (hidden, clamd) = (Postfix::start(&postfix::Options::default()), Clamd::start(""));
    let inline = format!("Run this:\r\n\r\n{EICAR}\r\n");
    let mails = [
        Mail::new("a@source.test", &["b@bench.test"], &inline),
        Mail::raw(
            "a@source.test",
            &["b@bench.test"],
            attached("application/octet-stream", "eicar.com", forms[0]),
        ),
        Mail::raw("a@source.test", &["b@bench.test"], attached("image/png", "photo.png", forms[0])),
        Mail::raw("a@source.test", &["b@bench.test"], attached("application/zip", "eicar.zip", forms[1])),
        Mail::raw("a@source.test", &["b@bench.test"], attached("application/zip", "eicar2.zip", forms[2])),
        Mail::raw("a@source.test", &["b@bench.test"], attached("application/gzip", "all.tar.gz", forms[3])),
    ];
    for address in [clamd.local(), clamd.tcp()] {
        let postern = start(&hidden, &address, "");
        for (form, mail) in mails.iter().enumerate() {
            let result = send(&postern, mail);
            let refused = !result.accepted
                && result.output.contains("550 5.7.1 the message is not wanted: it holds a virus");
            assert!(refused, "form {form} over {address}: {}", result.output);
            let told = story(&postern, &result.output);
            assert!(told.contains(&format!("virus: {SIGNATURE}.UNOFFICIAL (reject)")), "form {form}: {told}");
        }
        let clean = Mail::new("a@source.test", &["b@bench.test"], "Dinner at eight?\n");
        let result = send(&postern, &clean);
        assert!(result.accepted, "{}", result.output);
        hidden.mailbox().wait_for_message(clean.message_id());
        let told = story(&postern, &result.output);
        assert!(told.contains("virus: none"), "{told}");
        let counted =
            |speaks| postern.metric(&format!("postern_checks_total{{check=\"virus\",speaks=\"{speaks}\"}}"));
        assert!(counted("against") >= 6.0 && counted("neither") >= 1.0);
    }
}

#[test]
fn a_virus_in_a_large_message_is_found_on_disk() {
    needs!(POSTFIX, CLAMD);
    let (hidden, clamd) = (Postfix::start(&postfix::Options::default()), Clamd::start(""));
    let postern = start(&hidden, &clamd.local(), "");
    let large = Mail::large("a@source.test", &["b@bench.test"], 9 << 20);
    let result = send(&postern, &large);
    assert!(result.accepted, "{}", result.output);
    let mut holding = large.content;
    holding.extend_from_slice(format!("{EICAR}\r\n").as_bytes());
    let result = send(&postern, &Mail::raw("a@source.test", &["b@bench.test"], holding));
    assert!(!result.accepted && result.output.contains("it holds a virus"), "{}", result.output);
}

#[test]
fn a_scanner_that_is_away_defers_or_passes_as_configured_and_is_asked_again_when_it_is_back() {
    needs!(POSTFIX, CLAMD);
    let (hidden, mut clamd) = (Postfix::start(&postfix::Options::default()), Clamd::start(""));
    let postern = start(&hidden, &clamd.local(), "");
    let passing = start(&hidden, &clamd.local(), "on_failure = { virus = \"pass\" }\n");
    let mail = || Mail::new("a@source.test", &["b@bench.test"], "Dinner at eight?\n");
    // So that there is a connection to be lost.
    assert!(send(&postern, &mail()).accepted);
    clamd.stop();
    for _ in 0..2 {
        let result = send(&postern, &mail());
        let deferred = result.output.contains("451 4.7.1 the message cannot be judged at the moment");
        assert!(!result.accepted && deferred, "{}", result.output);
        let told = story(&postern, &result.output);
        assert!(told.contains("failed: ") && told.contains("the virus scanner"), "{told}");
        assert!(send(&passing, &mail()).accepted);
    }
    clamd.start_again();
    let passes = || send(&postern, &mail()).accepted.then_some(());
    assert!(ports::wait_until(SOON, passes).is_some(), "{}", postern.log());
}

#[test]
fn a_scanner_that_takes_less_than_it_is_sent_is_told_of_and_no_reason_to_leave_it_alone() {
    needs!(POSTFIX, CLAMD);
    let (hidden, clamd) =
        (Postfix::start(&postfix::Options::default()), Clamd::start("StreamMaxLength 1M\n"));
    let postern = start(&hidden, &clamd.tcp(), "");
    let result = send(&postern, &Mail::large("a@source.test", &["b@bench.test"], 3 << 20));
    assert!(!result.accepted && result.output.contains("451 4.7.1"), "{}", result.output);
    let told = story(&postern, &result.output);
    assert!(told.contains("raise its StreamMaxLength"), "{told}");
    let result = send(&postern, &Mail::new("a@source.test", &["b@bench.test"], "Dinner at eight?\n"));
    assert!(result.accepted, "{}", result.output);
}
