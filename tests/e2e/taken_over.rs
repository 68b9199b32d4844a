//! A user's account in somebody else's hands: it is noticed by what it does, held, told of once, and let go by a person.

use std::time::Duration;

use nix::sys::signal::Signal;
use postern_tests::certificate::Authority;
use postern_tests::clients::{Client, How, Security, deliver};
use postern_tests::mail::Mail;
use postern_tests::needs;
use postern_tests::needs::{DOVECOT, POSTFIX};
use postern_tests::ports;
use postern_tests::postern::{Options, Postern, backend};
use postern_tests::postfix::{self, Postfix};

const USER: (&str, &str) = ("user@bench.test", "right");
/// On a busy machine.
const SOON: Duration = Duration::from_secs(150);
/// Recipients out there that are gone, and as many that are not.
const GONE: [&str; 12] = [
    "gone0@elsewhere.test",
    "gone1@elsewhere.test",
    "gone2@elsewhere.test",
    "gone3@elsewhere.test",
    "gone4@elsewhere.test",
    "gone5@elsewhere.test",
    "gone6@elsewhere.test",
    "gone7@elsewhere.test",
    "gone8@elsewhere.test",
    "gone9@elsewhere.test",
    "gone10@elsewhere.test",
    "gone11@elsewhere.test",
];

/// The user's server, which sends out through Postern; the postmaster's; and the world, behind one relay.
struct House {
    authority: Authority,
    _hidden: Postfix,
    office: Postfix,
    world: Postfix,
    postern: Postern,
}

impl House {
    fn start(judge: &str) -> Self {
        let authority = Authority::new();
        let certificate = || Some(authority.certify(&["localhost", "127.0.0.1"]));
        let smtp = ports::free();
        let world = Postfix::start(&postfix::Options {
            certificate: certificate(),
            // It slows down who names many that are not there.
            extra: vec!["smtpd_soft_error_limit = 100".to_owned(), "smtpd_hard_error_limit = 200".to_owned()],
            reject: GONE.iter().map(|gone| (*gone, "550 5.1.1 there is nobody of that name")).collect(),
            ..Default::default()
        });
        let office = Postfix::start(&postfix::Options::default());
        let hidden = Postfix::start(&postfix::Options {
            auth: Some(USER),
            certificate: certificate(),
            next_hop: Some(smtp),
            extra: vec!["smtpd_tls_auth_only = yes".to_owned()],
            ..Default::default()
        });
        let config = [
            backend(&["office.test"], office.address(), ""),
            backend(&["bench.test"], hidden.address(), &format!("submission = \"{}\"", hidden.address())),
            format!(
                "[outbound]\nrelay = \"{}\"\nca_file = {:?}\n[outbound.senders]\nper_hour = 5\n\
                 [resolver]\nservers = [\"127.0.0.1:1\"]\n",
                world.address(),
                authority.file()
            ),
        ];
        let postern = Postern::start(&Options {
            smtp: Some(smtp),
            config: config.concat(),
            certificate: certificate(),
            judge: judge.to_owned(),
            ..Default::default()
        });
        Self { authority, _hidden: hidden, office, world, postern }
    }

    /// By a real client, with the user's password.
    fn submit(&self, to: &[&str]) -> Mail {
        let mail = Mail::new(USER.0, to, "Dinner at eight?\n");
        let how = How { security: Security::StartTls(self.authority.file()), auth: Some(USER) };
        let result = deliver(Client::Python, self.postern.submission(), &mail, &how);
        assert!(result.accepted, "{}\n{}", result.output, self.postern.log());
        mail
    }

    /// Thirty recipients, of whom twelve are not there.
    fn run_of_spam(&self) {
        let there: Vec<String> = (0..18).map(|one| format!("there{one}@elsewhere.test")).collect();
        let all: Vec<&str> = there.iter().map(String::as_str).chain(GONE).collect();
        let spam = self.submit(&all);
        self.world.mailbox().wait_for_message(spam.message_id());
    }

    fn senders(&self) -> String {
        self.postern.ask(&["senders", "list"]).output
    }

    fn wait_for_case(&self, word: &str) {
        let told = || self.senders().contains(&format!("user@bench.test {word}")).then_some(());
        assert!(ports::wait_until(SOON, told).is_some(), "{}\n{}", self.senders(), self.postern.log());
    }

    /// What the postmaster was told.
    fn notices(&self) -> Vec<String> {
        let stored = self.office.mailbox().read();
        let texts = stored.iter().map(|one| String::from_utf8_lossy(&one.whole).into_owned());
        texts.filter(|text| text.contains("\nSubject: user@bench.test looks taken over")).collect()
    }

    fn wait_for_notice(&self) -> String {
        let told = || self.notices().pop();
        ports::wait_until(SOON, told).unwrap_or_else(|| panic!("{}", self.postern.log()))
    }
}

fn count(list: &str) -> usize {
    list.lines().filter(|line| line.contains(" quarantine ")).count()
}

#[test]
fn an_account_that_looks_taken_over_is_held_and_told_of_once_until_a_person_lets_it_go() {
    needs!(POSTFIX, DOVECOT, Client::Python.needs());
    let mut house = House::start("action = \"enforce\"\n");
    house.run_of_spam();
    house.wait_for_case("HELD");
    let notice = house.wait_for_notice();
    for part in [
        "Subject: user@bench.test looks taken over: its mail is held",
        "30 recipients within an hour; the limit is 5",
        "refused them",
        "127.0.0.1",
        "A test",
        "postern senders release user@bench.test",
    ] {
        assert!(notice.contains(part), "{part} is not in\n{notice}");
    }
    assert!(!notice.contains("Dinner"), "no content: {notice}");

    // Held at the door, for the world and for colleagues; whoever else sends is not concerned.
    let held = house.submit(&["a@elsewhere.test", "b@office.test"]);
    let list = house.postern.ask(&["quarantine", "list"]).output;
    assert_eq!(count(&list), 2, "{list}");
    assert!(list.contains("its sender's account looks taken over"), "{list}");
    let other = Mail::new("other@bench.test", &["a@elsewhere.test"], "Dinner at nine?\n");
    let result = deliver(Client::Wire, house.postern.smtp(), &other, &How::default());
    assert!(result.accepted, "{}", result.output);
    house.world.mailbox().wait_for_message(other.message_id());
    // What the server still has of it is held on its way out.
    let late = Mail::new(USER.0, &["c@elsewhere.test"], "Dinner at ten?\n");
    let result = deliver(Client::Wire, house.postern.smtp(), &late, &How::default());
    assert!(result.accepted, "{}", result.output);
    assert_eq!(count(&house.postern.ask(&["quarantine", "list"]).output), 3);

    house.postern.restart(Signal::SIGKILL);
    house.wait_for_case("HELD");
    house.submit(&["d@elsewhere.test"]);
    assert_eq!(count(&house.postern.ask(&["quarantine", "list"]).output), 4);
    assert!(
        house
            .postern
            .ask(&["status"])
            .output
            .contains("user@bench.test looks taken over, and what it sends is held")
    );

    let released = house.postern.ask(&["senders", "release", "User@bench.test", "--with-mail"]);
    assert!(released.success && released.output.contains("4 held messages released"), "{}", released.output);
    house.world.mailbox().wait_for_message(held.message_id());
    house.world.mailbox().wait_for_message(late.message_id());
    house.office.mailbox().wait_for_message(held.message_id());
    let free = house.submit(&["e@elsewhere.test"]);
    house.world.mailbox().wait_for_message(free.message_id());
    assert_eq!(house.notices().len(), 1, "one mail for one case");
    assert_eq!(house.postern.ask(&["senders", "release", "user@bench.test"]).code, Some(1));
}

#[test]
fn where_nothing_is_enforced_the_postmaster_is_told_and_mail_goes_out() {
    needs!(POSTFIX, DOVECOT, Client::Python.needs());
    let house = House::start("action = \"observe\"\n");
    house.run_of_spam();
    house.wait_for_case("LOOKS TAKEN OVER");
    let notice = house.wait_for_notice();
    assert!(notice.contains("Its mail still goes out"), "{notice}");
    let next = house.submit(&["a@elsewhere.test"]);
    house.world.mailbox().wait_for_message(next.message_id());
    // A person's word holds it even so.
    let stopped = house.postern.ask(&["senders", "stop", "user@bench.test"]);
    assert!(stopped.success, "{}", stopped.output);
    house.submit(&["b@elsewhere.test"]);
    assert_eq!(count(&house.postern.ask(&["quarantine", "list"]).output), 1);
    assert_eq!(house.notices().len(), 1);
}
