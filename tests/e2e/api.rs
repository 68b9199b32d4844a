//! The API as programs use it: schemathesis reads its description and sends what that allows, and what it does not.

use std::process::Command;
use std::time::Duration;

use postern_tests::child;
use postern_tests::clients::{Client, How, deliver};
use postern_tests::mail::Mail;
use postern_tests::needs;
use postern_tests::needs::Need;
use postern_tests::postern::{Options, Postern, backend};
use postern_tests::scratch::Scratch;
use postern_tests::sink::Sink;

const SINK: &[Need] = &[Need::Program("smtp-sink")];
const SCHEMATHESIS: &[Need] = &[Need::Cached("python/schemathesis/bin/schemathesis")];
/// Some thousand requests, on a busy machine.
const LIMIT: Duration = Duration::from_secs(900);

/// What is checked of each answer, and what is not: an order for a thing that is not there is no positive answer, whatever its fields.
const SETTINGS: &str = r#"
[checks.positive_data_acceptance]
expected-statuses = ["2xx", "400", "401", "403", "404", "409", "422", "429", "503"]
"#;

#[test]
fn schemathesis_finds_no_answer_that_the_description_does_not_have() {
    needs!(SINK, SCHEMATHESIS);
    let sink = Sink::start(&[]);
    let postern = Postern::start(&Options {
        config: backend(&["bench.test"], sink.address(), ""),
        judge: "enabled = true\n".into(),
        ..Default::default()
    });
    for number in 0..3 {
        let mail = Mail::new("a@source.test", &["b@bench.test"], &format!("{number}\n"));
        assert!(deliver(Client::Wire, postern.smtp(), &mail, &How::default()).accepted);
    }
    let made = postern.ask(&["tokens", "add", "schemathesis", "--scope", "administer"]).output;
    let token = made.split_whitespace().find(|word| word.starts_with("postern_"));
    let token = token.unwrap_or_else(|| panic!("no token: {made}"));
    let scratch = Scratch::new("schemathesis");
    let settings = scratch.write("schemathesis.toml", SETTINGS);
    let mut command = Command::new(needs::cache().join("python/schemathesis/bin/schemathesis"));
    command.current_dir(scratch.path()).arg("--config-file").arg(&settings);
    command.args(["run", "--seed", "1", "--max-examples", "30", "--no-color"]);
    // A stream has no end, and a token that is removed in passing would be this one.
    command.args(["--exclude-path", "/api/v1/events", "--phases", "examples,coverage,fuzzing"]);
    command.args(["-H", &format!("Authorization: Bearer {token}")]);
    command.arg(format!("http://{}/api/v1/openapi.json", postern.admin()));
    let ended = child::run(&command, LIMIT);
    assert!(ended.success, "{}\n{}", ended.output, postern.log());
    assert!(postern.ask(&["status"]).success, "{}", postern.log());
}
