//! Servers whose replies answer nothing that was asked: the client never sees them, and nobody uses the connection again
//! (law 3).

use super::choices::Choices;
use super::harness::{MODERN, OLD, Opening, Play};
use super::server::{Asked, Says, yes};

const NAMED: &str = "EHLO client.example\r\nMAIL FROM:<a@x.example>\r\nRCPT TO:<a@one.example>\r\n";

/// The first connection says this in answer to `verb`; later ones agree.
fn says(verb: &'static str, words: &'static str, extensions: &'static [&'static str]) -> Play {
    let doors = move |_: &str, before: usize| match before {
        0 => Opening::Opens(
            extensions,
            Box::new(move |asked: Asked<'_>| match format!("{asked:?}").starts_with(verb) {
                true => Says::reply(words),
                false => yes(asked),
            }),
        ),
        _ => Opening::Opens(extensions, Box::new(yes)),
    };
    Play::new(Box::new(doors), Choices::Plain)
}

#[test]
fn a_354_to_mail_or_rcpt_does_not_reach_the_client() {
    for verb in ["Mail", "Rcpt"] {
        let mut play = says(verb, "354 go ahead", MODERN);
        play.client(NAMED);
        assert_eq!(play.codes(), [220, 250, 250, 250], "354 to {verb}: another connection is asked");
        assert_eq!((play.opened(), play.doubts.len()), (2, 1));
        play.end();
        assert_eq!(play.pooled(), 1, "the second one");
    }
}

#[test]
fn a_reply_behind_the_last_one_does_not_swallow_it() {
    let mut play = says("Rcpt", "250 2.1.5 fine\r\n250 2.1.5 again", MODERN);
    play.client(NAMED);
    assert_eq!(play.codes(), [220, 250, 250, 250], "what it said before it fell out of step counts");
    play.client("DATA\r\n\r\ntext\r\n.\r\n");
    assert_eq!(play.codes().last(), Some(&250));
    assert_eq!((play.opened(), play.taken().len()), (2, 1));
    play.end();
}

#[test]
fn a_250_that_comes_with_the_354_is_no_delivery() {
    let mut play = says("Data", "354 go ahead\r\n250 2.0.0 queued", OLD);
    play.client(NAMED).client("DATA\r\n\r\ntext\r\n.\r\n");
    assert_eq!(play.codes().last(), Some(&250));
    assert_eq!((play.opened(), play.taken().len()), (2, 1), "the message went over another connection");
    play.end();
}

#[test]
fn a_reply_behind_the_delivery_costs_the_connection() {
    for extensions in [OLD, MODERN] {
        let mut play = says("Content", "250 2.0.0 queued\r\n250 2.0.0 again", extensions);
        play.client(NAMED).client("DATA\r\n\r\ntext\r\n.\r\n");
        assert_eq!(play.codes().last(), Some(&250));
        play.end();
        assert_eq!((play.taken().len(), play.pooled()), (1, 0));
    }
}

#[test]
fn recipients_are_not_idle_commands_and_those_too_many_are_not_kept() {
    let mut play = Play::agreeable();
    play.client("EHLO client.example\r\nMAIL FROM:<a@x.example>\r\n");
    assert_eq!(play.codes(), [220, 250, 250]);
    for number in 0..1100 {
        play.client(format!("RCPT TO:<a{number}@one.example>\r\n"));
    }
    play.client("DATA\r\n\r\ntext\r\n.\r\n");
    let codes = play.codes();
    assert!(
        codes[..1000].iter().all(|&code| code == 250) && codes[1000..1100].iter().all(|&code| code == 452)
    );
    assert_eq!((&codes[1100..], play.taken()[0].recipients.len()), (&[354, 250][..], 1000));
    play.end();
}
