//! What a domain's week was goes to its postmaster once the week is over: once, also over restarts, and as three things that each read
//! the same.

use std::process::Command;
use std::time::Duration;

use postern_tests::child;
use postern_tests::clients::{Client, How, deliver};
use postern_tests::mail::Mail;
use postern_tests::mailbox::Stored;
use postern_tests::needs;
use postern_tests::needs::POSTFIX;
use postern_tests::ports;
use postern_tests::postern::{LATER, Options, Postern};
use postern_tests::postfix::{self, Postfix};
use postern_tests::scratch::Scratch;
use record::Clock as _;
use serde_json::Value;

/// On a busy machine.
const SOON: Duration = Duration::from_secs(90);
/// Behind a midnight each hostname waits up to four hours.
const PAST_MIDNIGHT: u64 = 9;
const HOUR: u64 = 3600;
const DAY: u64 = 24 * HOUR;
/// Messages of the week.
const MESSAGES: u64 = 3;

/// The parts of a mail as Python's library reads them: kinds and names, and the numbers of the last one.
const PARTS: &str = r#"
import email, email.policy, json, sys
with open(sys.argv[1], "rb") as file:
    mail = email.message_from_binary_file(file, policy=email.policy.default)
parts = list(mail.iter_parts())
print(json.dumps({
    "subject": mail["Subject"], "automatic": mail["Auto-Submitted"], "text": parts[0].get_content(), "page": parts[1].get_content(),
    "names": [part.get_filename() for part in parts], "week": json.loads(parts[2].get_content()),
}))
"#;

/// Hours until the week is over and can be told of. The first day of 1970 was a Thursday.
fn until_monday() -> u32 {
    let now = record::SystemClock.now().as_secs();
    let monday = ((now / DAY + 3) / 7 + 1) * 7 - 3;
    u32::try_from((monday * DAY - now) / HOUR + PAST_MIDNIGHT).expect("less than two weeks")
}

fn read(mail: &Stored) -> Value {
    let scratch = Scratch::new("weekly");
    let file = scratch.write("mail.eml", &mail.content);
    let mut command = Command::new("/usr/bin/python3");
    command.args(["-c", PARTS]).arg(file);
    let ended = child::run(&command, SOON);
    assert!(ended.success, "{}", ended.output);
    serde_json::from_str(&ended.output).unwrap_or_else(|error| panic!("{error}: {}", ended.output))
}

fn to_the_postmaster(hidden: &Postfix) -> Vec<Stored> {
    let stored = hidden.mailbox().read();
    let is_one =
        |mail: &Stored| String::from_utf8_lossy(&mail.content).contains("To: <postmaster@corp.test>");
    stored.into_iter().filter(is_one).collect()
}

#[test]
fn a_week_that_is_over_is_told_once() {
    needs!(POSTFIX, LATER);
    let hidden = Postfix::start(&postfix::Options::default());
    let config = format!(
        "[[backend]]\ndomains = [\"corp.test\", \"quiet.test\"]\nservers = [\"{}\"]\n[outbound]\nnetworks = [\"127.0.0.2/32\"]\n\
         [reports]\nweekly = true\n[resolver]\nservers = [\"127.0.0.1:1\"]\n",
        hidden.address()
    );
    let mut postern = Postern::start(&Options { config, ..Options::default() });
    for number in 0..MESSAGES {
        let mail = Mail::new("a@source.test", &["b@corp.test"], &format!("Message {number} of the week.\n"));
        assert!(deliver(Client::Wire, postern.smtp(), &mail, &How::default()).accepted, "{}", postern.log());
    }
    postern.stop();
    let monday = until_monday();
    postern.start_later(monday);
    let came = ports::wait_until(SOON, || (!to_the_postmaster(&hidden).is_empty()).then_some(()));
    assert!(came.is_some(), "{}", postern.log());
    postern.stop();
    postern.start_later(monday + 1);
    // A later one would have had to wait for nothing that this one has not waited for.
    let mail = Mail::new("a@source.test", &["b@corp.test"], "Another week.\n");
    assert!(deliver(Client::Wire, postern.smtp(), &mail, &How::default()).accepted, "{}", postern.log());
    hidden.mailbox().wait_for_message(mail.message_id());
    let stored = to_the_postmaster(&hidden);
    assert_eq!(stored.len(), 1, "{}", postern.log());
    let told = read(&stored[0]);
    let week = &told["week"];
    assert_eq!(
        (week["domain"].as_str(), week["is_over"].as_bool()),
        (Some("corp.test"), Some(true)),
        "{told}"
    );
    assert_eq!(week["received"]["accepted"].as_u64(), Some(MESSAGES), "{told}");
    let begins = week["begins"].as_str().unwrap_or_default();
    assert!(told["subject"].as_str().is_some_and(|subject| subject.contains("corp.test")), "{told}");
    assert_eq!(told["automatic"], "auto-generated");
    assert_eq!(told["names"][1], format!("corp.test-{begins}.html"), "{told}");
    for form in ["text", "page"] {
        let words = told[form].as_str().unwrap_or_default();
        assert!(words.contains("corp.test") && words.contains(begins), "{form}: {words}");
    }
    let everything = hidden.mailbox().read();
    assert_eq!(everything.len() as u64, MESSAGES + 2, "nothing of a domain without mail");
}
