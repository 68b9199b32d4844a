//! Aliases and traps that domains decide on: the server sees where an alias leads and nothing else, the client hears what that server says.

use std::sync::Arc;

use record::Event;
use relay::{DomainEntries, Own, OwnAddresses};
use smtp::Mailbox;
use spool::Folder;

use super::choices::Choices;
use super::harness::{MODERN, OLD, Opening, Play, Stage};
use super::server::{Asked, Says, yes};

/// `info@one.example` and `chain@one.example` lead on, `bait@one.example` is a trap.
#[derive(Debug)]
struct Entries;

impl DomainEntries for Entries {
    fn is_trap(&self, mailbox: &Mailbox) -> bool {
        mailbox.as_str().eq_ignore_ascii_case("bait@one.example")
    }

    fn target(&self, mailbox: &Mailbox) -> Option<Mailbox> {
        let target = match mailbox.as_str().to_lowercase().as_str() {
            "info@one.example" | "in+fo=x@one.example" => "Ann@two.example",
            "chain@one.example" | "spam@one.example" => "info@one.example",
            "gone@one.example" => "ann@elsewhere.example",
            "near@one.example" => "ann@one.example",
            _ => return None,
        };
        target.parse().ok()
    }
}

fn stage() -> Stage {
    let own = OwnAddresses::default().with("spam@one.example", Own::Trap).beside(Arc::new(Entries));
    Stage { own, ..Stage::default() }
}

fn play(offers: &'static [&'static str], stage: Stage) -> Play {
    let doors = move |_: &str, _: usize| {
        Opening::Opens(
            offers,
            Box::new(|asked| match asked {
                Asked::Rcpt(path) if path.starts_with("nobody") => Says::reply("550 5.1.1 unknown"),
                asked => yes(asked),
            }),
        )
    };
    Play::on(stage, Box::new(doors), Choices::Plain)
}

fn message(recipients: &[&str]) -> String {
    let recipients: String = recipients.iter().map(|rcpt| format!("RCPT TO:{rcpt}\r\n")).collect();
    format!("EHLO client.example\r\nMAIL FROM:<a@x.example>\r\n{recipients}DATA\r\n\r\ntext\r\n.\r\n")
}

fn rcpts(play: &Play, backend: &str) -> Vec<String> {
    play.heard(backend).into_iter().filter(|line| line.starts_with("RCPT")).collect()
}

#[test]
fn the_server_sees_where_an_alias_leads_and_by_dsn_whom_the_sender_named() {
    for (offers, named, said) in [
        (MODERN, "<Info@one.example>", "RCPT TO:<Ann@two.example> ORCPT=rfc822;Info@one.example"),
        (MODERN, "<in+fo=x@one.example>", "RCPT TO:<Ann@two.example> ORCPT=rfc822;in+2Bfo+3Dx@one.example"),
        (
            MODERN,
            "<info@one.example> NOTIFY=NEVER ORCPT=rfc822;Bob@x.example",
            "RCPT TO:<Ann@two.example> NOTIFY=NEVER ORCPT=rfc822;Bob@x.example",
        ),
        (OLD, "<info@one.example> ORCPT=rfc822;Bob@x.example", "RCPT TO:<Ann@two.example>"),
        (OLD, "<info@one.example>", "RCPT TO:<Ann@two.example>"),
    ] {
        let mut play = play(offers, Stage { remembered: offers, ..stage() });
        play.client(message(&[named]));
        assert_eq!(play.codes().last(), Some(&250), "{named}");
        assert_eq!(rcpts(&play, "two"), [said], "{named}");
        assert!(play.heard("one").is_empty(), "{named}");
        let taken = play.taken();
        assert_eq!(taken[0].recipients, ["Ann@two.example"]);
        let content = String::from_utf8_lossy(&taken[0].content).to_lowercase();
        assert!(!content.contains("info@one.example"), "{content}");
        let told = play.events.iter().find_map(|event| match event {
            Event::Transaction(one) => Some(one.recipients.clone()),
            _ => None,
        });
        let told = told.unwrap();
        let named = named.trim_start_matches('<').split('>').next();
        assert_eq!((&*told[0].address, told[0].alias.as_deref()), ("Ann@two.example", named));
        play.end();
    }
}

#[test]
fn an_alias_is_one_step_and_each_recipient_goes_its_own_way() {
    let mut play = play(MODERN, stage());
    play.client(message(&[
        "<b@one.example>",
        "<chain@one.example>",
        "<info@one.example>",
        "<spam@one.example>",
        "<gone@one.example>",
        "<Bait@one.example>",
    ]));
    assert_eq!(play.codes(), [220, 250, 250, 250, 250, 250, 250, 250, 250, 354, 250]);
    let one = rcpts(&play, "one");
    let one: Vec<_> = one.iter().filter_map(|line| line.split(['<', '>']).nth(1)).collect();
    assert_eq!(
        one,
        ["b@one.example", "info@one.example", "gone@one.example"],
        "no second step, and none out"
    );
    assert_eq!(rcpts(&play, "two"), ["RCPT TO:<Ann@two.example> ORCPT=rfc822;info@one.example"]);
    let [trapped] = &play.spooled[..] else { panic!("{:?}", play.spooled) };
    assert_eq!(trapped.folder, Folder::Traps);
    assert_eq!(
        trapped.recipients,
        ["spam@one.example", "Bait@one.example"],
        "what the config names goes before"
    );
    play.end();
}

#[test]
fn an_alias_is_refused_as_where_it_leads_would_be() {
    let doors = |_: &str, _: usize| {
        Opening::Opens(
            MODERN,
            Box::new(|asked| match asked {
                Asked::Rcpt(path) if path.starts_with("Ann") => Says::reply("550 5.1.1 no such user"),
                asked => yes(asked),
            }),
        )
    };
    let mut play = Play::on(stage(), Box::new(doors), Choices::Plain);
    play.client("EHLO client.example\r\nMAIL FROM:<a@x.example>\r\nRCPT TO:<info@one.example>\r\n");
    assert_eq!(play.codes(), [220, 250, 250, 550]);
    play.end();

    // While its server is away, what is known of it counts.
    for (known, code) in [(&["Ann@two.example"][..], 250), (&["info@one.example", "b@two.example"], 450)] {
        let stage = Stage { own: stage().own, ..Stage::knowing(known) };
        let mut play = Play::on(stage, Box::new(|_, _| Opening::Fails), Choices::Plain);
        play.client(message(&["<info@one.example>"]));
        let rcpt = play.codes()[3];
        assert_eq!(rcpt / 100, code / 100, "{known:?}: {:?}", play.replies());
        if code == 250 {
            assert_eq!(play.spooled[0].recipients, ["Ann@two.example"]);
        }
        play.end();
    }
}

#[test]
fn who_came_to_one_server_reaches_aliases_of_that_one() {
    let mut play = play(MODERN, Stage { is_inbound: true, ..stage() });
    play.client(message(&["<near@one.example>", "<info@one.example>"]));
    let one = rcpts(&play, "one");
    let one: Vec<_> = one.iter().filter_map(|line| line.split(['<', '>']).nth(1)).collect();
    assert_eq!(one, ["ann@one.example", "info@one.example"]);
    assert!(play.heard("two").is_empty());
    play.end();
}
