//! Submission on 587 and 465: AUTH is carried to the hidden server, over TLS only, and nothing is sent without it.

use std::process::Command;
use std::time::Duration;

use postern_tests::certificate::{Authority, Certificate};
use postern_tests::child;
use postern_tests::clients::{Client, How, REAL, Security, deliver};
use postern_tests::mail::Mail;
use postern_tests::needs;
use postern_tests::needs::{DOVECOT, POSTFIX};
use postern_tests::postern::{Options, Postern, backend};
use postern_tests::postfix::{self, Postfix};
use postern_tests::scratch::Scratch;
use postern_tests::scripted::{self, Client as Scripted, Step, say};

const USER: (&str, &str) = ("user@bench.test", "right");
/// `\0user@bench.test\0right` and, with another password, `\0user@bench.test\0wrong`.
const RIGHT: &str = "AHVzZXJAYmVuY2gudGVzdAByaWdodA==";
const WRONG: &str = "AHVzZXJAYmVuY2gudGVzdAB3cm9uZw==";
const LIMIT: Duration = Duration::from_secs(30);

/// A server that wants AUTH, over TLS, and Postern in front of it.
struct Submission {
    authority: Authority,
    hidden: Postfix,
    postern: Postern,
}

impl Submission {
    fn start() -> Self {
        let authority = Authority::new();
        let certificate = || -> Option<Certificate> { Some(authority.certify(&["localhost", "127.0.0.1"])) };
        let hidden = Postfix::start(&postfix::Options {
            auth: Some(USER),
            certificate: certificate(),
            extra: vec!["smtpd_tls_auth_only = yes".to_owned()],
            ..Default::default()
        });
        let lines = format!("submission = \"{}\"", hidden.address());
        let postern = Postern::start(&Options {
            config: backend(&["bench.test"], hidden.address(), &lines),
            certificate: certificate(),
            ..Default::default()
        });
        Self { authority, hidden, postern }
    }

    fn secured_client(&self) -> Scripted {
        let mut client =
            Scripted::greeted(self.postern.submission(), Some(self.authority.client_tls("localhost")));
        client.secure();
        client
    }
}

fn mail() -> Mail {
    // To the world: that is what AUTH is for.
    Mail::new("user@bench.test", &["somebody@elsewhere.test"], "x\n")
}

fn every_client_submits(submission: &Submission, implicit: bool) {
    let file = || submission.authority.file();
    for client in REAL {
        needs!(client.needs());
        let (address, security) = match implicit {
            false => (submission.postern.submission(), Security::StartTls(file())),
            true => (submission.postern.submissions(), Security::Implicit(file())),
        };
        let mail = mail();
        let how = How { security: security.clone(), auth: Some(USER) };
        let result = deliver(client, address, &mail, &how);
        assert!(result.accepted, "{client:?}: {}\n{}", result.output, submission.hidden.log());
        let stored = submission.hidden.mailbox().wait_for_message(mail.message_id());
        let (field, rest) = stored.one_hop_before();
        assert!(field.contains(" with ESMTPSA id "), "{field}");
        assert_eq!(String::from_utf8_lossy(rest), String::from_utf8_lossy(&mail.content));
    }
}

#[test]
fn every_client_submits_with_its_password_over_starttls() {
    needs!(POSTFIX, DOVECOT);
    every_client_submits(&Submission::start(), false);
}

#[test]
fn every_client_submits_with_its_password_over_implicit_tls() {
    needs!(POSTFIX, DOVECOT);
    every_client_submits(&Submission::start(), true);
}

#[test]
fn a_wrong_password_is_refused_in_the_servers_words() {
    needs!(POSTFIX, DOVECOT);
    let submission = Submission::start();
    for client in REAL {
        needs!(client.needs());
        let auth = Some((USER.0, "wrong"));
        let how = How { security: Security::StartTls(submission.authority.file()), auth };
        let result = deliver(client, submission.postern.submission(), &mail(), &how);
        assert!(!result.accepted && result.output.contains("535"), "{client:?}: {}", result.output);
    }
    let mut client = submission.secured_client();
    client.says(&format!("AUTH PLAIN {WRONG}"), "535 5.7.8 Error: authentication failed");
    client.says("MAIL FROM:<user@bench.test>", "530 5.7.0 ");
    assert!(submission.hidden.mailbox().read().is_empty());
    assert!(!submission.postern.log().contains(WRONG), "a password in the log");
}

#[test]
fn the_exchange_of_login_and_of_plain_without_initial_response_passes() {
    needs!(POSTFIX, DOVECOT);
    let submission = Submission::start();
    let mut client = submission.secured_client();
    client.says("AUTH LOGIN", "334 VXNlcm5hbWU6");
    client.says("dXNlckBiZW5jaC50ZXN0", "334 UGFzc3dvcmQ6");
    client.says("cmlnaHQ=", "235 ");
    client.says("AUTH LOGIN", "503 ");
    client.says("MAIL FROM:<user@bench.test>", "250 ");
    let mut client = submission.secured_client();
    client.says("AUTH PLAIN", "334");
    client.says("*", "501 ");
    client.says("AUTH PLAIN", "334");
    client.says(RIGHT, "235 ");
    client.says("MAIL FROM:<user@bench.test>", "250 ");
}

#[test]
fn swaks_and_curl_submit_with_login() {
    needs!(POSTFIX, DOVECOT, Client::Swaks.needs(), Client::Curl.needs());
    let submission = Submission::start();
    let (user, password) = USER;
    let mut swaks = Command::new("swaks");
    swaks.args([
        "--server",
        "127.0.0.1",
        "--port",
        &submission.postern.submission().port().to_string(),
        "--tls",
    ]);
    swaks.args(["--from", user, "--to", "b@elsewhere.test", "--auth", "LOGIN"]);
    swaks.args(["--auth-user", user, "--auth-password", password]);
    let scratch = Scratch::new("message");
    let message = scratch.write("message", "Subject: x\r\n\r\nx\r\n");
    let mut curl = Command::new("curl");
    curl.args(["--silent", "--show-error", "--verbose", "--ssl-reqd", "--login-options", "AUTH=LOGIN"]);
    curl.arg("--cacert").arg(submission.authority.file()).args(["--user", &format!("{user}:{password}")]);
    curl.args(["--mail-from", user, "--mail-rcpt", "b@elsewhere.test"]);
    curl.arg("--upload-file").arg(message);
    curl.args(["--url", &format!("smtps://{}", submission.postern.submissions())]);
    for command in [swaks, curl] {
        let ended = child::run(&command, LIMIT);
        assert!(ended.success, "{}\n{}", ended.output, submission.hidden.log());
    }
    submission.hidden.mailbox().wait_for(2);
    let log = submission.hidden.log();
    assert_eq!(log.matches("sasl_method=LOGIN, sasl_username=user@bench.test").count(), 2, "{log}");
}

#[test]
fn nothing_is_authenticated_before_tls() {
    needs!(POSTFIX, DOVECOT);
    let submission = Submission::start();
    let mut client = Scripted::connect(submission.postern.submission(), None);
    client.hears("220 ");
    let offer = client.says("EHLO client.test", "250");
    assert!(!offer.contains("AUTH") && offer.contains("STARTTLS"), "{offer}");
    client.says(&format!("AUTH PLAIN {RIGHT}"), "5");
    client.says("MAIL FROM:<user@bench.test>", "530 ");
    assert!(!submission.hidden.log().contains("sasl_username"), "{}", submission.hidden.log());
}

#[test]
fn nothing_is_sent_before_authentication() {
    needs!(POSTFIX, DOVECOT);
    let submission = Submission::start();
    let mut client = submission.secured_client();
    let offer = client.says("EHLO client.test", "250");
    assert!(offer.contains("AUTH ") && offer.contains("PLAIN") && offer.contains("LOGIN"), "{offer}");
    // Two TLS sessions have two bindings: what binds to one cannot be carried over the other.
    assert!(!offer.contains("-PLUS"), "{offer}");
    client.says("MAIL FROM:<user@bench.test>", "530 5.7.0 ");
    client.says("RCPT TO:<b@bench.test>", "503 ");
    client.says(&format!("AUTH PLAIN {RIGHT}"), "235 ");
    client.says("MAIL FROM:<user@bench.test>", "250 ");
    client.says("RCPT TO:<b@elsewhere.test>", "250 ");
}

#[test]
fn a_recipient_that_the_server_refuses_to_an_authenticated_user_is_refused_in_its_words() {
    needs!(POSTFIX, DOVECOT);
    let hidden = Postfix::start(&postfix::Options {
        auth: Some(USER),
        reject: vec![("nobody@elsewhere.test", "550 5.1.1 there is no nobody there")],
        ..Default::default()
    });
    let authority = Authority::new();
    let lines = format!("submission = \"{}\"", hidden.address());
    let postern = Postern::start(&Options {
        config: backend(&["bench.test"], hidden.address(), &lines),
        certificate: Some(authority.certify(&["localhost"])),
        ..Default::default()
    });
    let mut client = Scripted::greeted(postern.submission(), Some(authority.client_tls("localhost")));
    client.secure();
    client.says(&format!("AUTH PLAIN {RIGHT}"), "235 ");
    client.says("MAIL FROM:<user@bench.test>", "250 ");
    let refusal = client.says("RCPT TO:<nobody@elsewhere.test>", "550 5.1.1 ");
    assert!(refusal.contains("there is no nobody there"), "{refusal}");
}

/// Kept in the queue it would be given to the server without the password, which takes it from nobody.
#[test]
fn a_submission_whose_server_is_lost_is_not_kept_but_stays_with_its_user() {
    let offer = "250-hidden.test\r\n250-PIPELINING\r\n250 AUTH PLAIN\r\n";
    let mut script = vec![say("220 hidden.test ESMTP\r\n"), Step::Expect("EHLO"), say(offer)];
    script.extend([Step::Expect("AUTH PLAIN"), say("235 2.7.0 welcome\r\n")]);
    script.extend([Step::Expect("MAIL"), say("250 ok\r\n"), Step::Expect("RCPT"), say("250 ok\r\n")]);
    script.extend([Step::Expect("DATA"), Step::Reset]);
    let hidden = scripted::Server::start(vec![script]);
    let probed = scripted::Server::with_personality(postern_tests::personalities::GROUPWISE, None);
    let authority = Authority::new();
    let lines = format!("submission = \"{}\"", hidden.address());
    let postern = Postern::start(&Options {
        config: backend(&["bench.test"], probed.address(), &lines),
        certificate: Some(authority.certify(&["localhost"])),
        ..Default::default()
    });
    let mut client = Scripted::greeted(postern.submission(), Some(authority.client_tls("localhost")));
    client.secure();
    client.says(&format!("AUTH PLAIN {RIGHT}"), "235 ");
    client.says("MAIL FROM:<user@bench.test>", "250 ");
    client.says("RCPT TO:<somebody@elsewhere.test>", "250 ");
    client.says("DATA", "354 ");
    client.says("Subject: x\r\n\r\nx\r\n.", "451 4.4.");
}
