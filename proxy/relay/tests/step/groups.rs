//! Several servers in one transaction, and what the client is told when they do not agree (DECISIONS 5).

use spool::Folder;

use super::choices::Choices;
use super::harness::{MODERN, Opening, Play};
use super::server::{Asked, Says, yes};

const MESSAGE: &str = "EHLO client.example\r\nMAIL FROM:<a@x.example>\r\nRCPT TO:<a@one.example>\r\n\
    RCPT TO:<b@two.example>\r\nDATA\r\n\r\ntext\r\n.\r\n";

/// Each backend's word on the content.
fn play(one: &'static str, two: &'static str) -> Play {
    let doors = move |backend: &str, _: usize| {
        let words = if backend == "one" { one } else { two };
        Opening::Opens(
            MODERN,
            Box::new(move |asked| match asked {
                Asked::Content if words == "closes" => Says::Closes(String::new()),
                Asked::Content => Says::reply(words),
                asked => yes(asked),
            }),
        )
    };
    Play::new(Box::new(doors), Choices::Plain)
}

#[test]
fn both_delivered_is_one_250() {
    let mut play = play("250 first", "250 second");
    play.client(MESSAGE);
    assert_eq!(play.codes(), [220, 250, 250, 250, 250, 354, 250]);
    let recipients: Vec<_> = play.taken().into_iter().map(|taken| taken.recipients).collect();
    assert_eq!(recipients, [["a@one.example"], ["b@two.example"]]);
    assert!(play.spooled.is_empty());
    play.end();
}

#[test]
fn one_delivered_and_one_refused_is_250_and_the_refused_copy_is_kept() {
    for (words, folder) in [("550 5.7.1 spam", Folder::Expired), ("451 4.3.0 later", Folder::Queue)] {
        for (one, two, kept) in [("250 ok", words, "b@two.example"), (words, "250 ok", "a@one.example")] {
            let mut play = play(one, two);
            play.client(MESSAGE);
            assert_eq!(play.codes().last(), Some(&250));
            assert_eq!(play.spooled.len(), 1);
            assert_eq!(play.spooled[0].recipients, [kept]);
            assert_eq!(play.spooled[0].folder, folder, "held for a person after a 5yz, else queued");
            play.end();
        }
    }
}

#[test]
fn refused_by_all_is_a_refusal_and_one_transient_word_makes_it_transient() {
    for (one, two, code) in [
        ("550 5.7.1 spam", "554 5.6.0 bad", 550),
        ("550 5.7.1 spam", "451 4.3.0 later", 451),
        ("451 4.3.0 later", "550 5.7.1 spam", 451),
        ("452 4.3.1 full", "451 4.3.0 later", 452),
        ("closes", "550 5.7.1 spam", 451),
    ] {
        let mut play = play(one, two);
        play.client(MESSAGE);
        assert_eq!(play.codes().last(), Some(&code), "{one}, {two}");
        assert!(play.spooled.is_empty());
        play.end();
    }
}

#[test]
fn a_full_disk_after_one_delivery_is_452() {
    let mut play = play("250 ok", "550 no");
    play.is_disk_full = true;
    play.client(MESSAGE);
    assert_eq!(play.codes().last(), Some(&452));
    play.end();
}

#[test]
fn a_group_without_accepted_recipients_hears_nothing_of_the_content() {
    let doors = |backend: &str, _: usize| {
        let refuses = backend == "two";
        Opening::Opens(
            MODERN,
            Box::new(move |asked| match asked {
                Asked::Rcpt(_) if refuses => Says::reply("550 5.1.1 unknown"),
                asked => yes(asked),
            }),
        )
    };
    let mut play = Play::new(Box::new(doors), Choices::Plain);
    play.client(MESSAGE);
    assert_eq!(play.codes(), [220, 250, 250, 250, 550, 354, 250]);
    assert!(play.taken().iter().all(|taken| taken.backend == "one"));
    assert!(!play.heard("two").iter().any(|line| line.starts_with("BDAT") || line == "DATA"));
    play.end();
}

#[test]
fn the_proof_covers_every_recipient_or_there_is_no_250() {
    // The server takes two of three: a 250 to the content speaks for those two, and they are all that were accepted.
    let mut play = Play::with_voice(MODERN, |asked| match asked {
        Asked::Rcpt(path) if path.starts_with('b') => Says::reply("452 4.5.3 one too many"),
        asked => yes(asked),
    });
    play.client(
        "EHLO client.example\r\nMAIL FROM:<a@x.example>\r\nRCPT TO:<a@one.example>\r\nRCPT TO:<b@one.example>\r\n\
         RCPT TO:<c@one.example>\r\nDATA\r\n\r\ntext\r\n.\r\n",
    );
    assert_eq!(play.codes(), [220, 250, 250, 250, 452, 250, 354, 250]);
    assert_eq!(play.taken()[0].recipients, ["a@one.example", "c@one.example"]);
    play.end();
}
