//! Connections to servers that break, in every state: nothing is lost, and nothing is promised twice (DECISIONS 3, 4).

use std::time::Duration;

use super::choices::Choices;
use super::harness::{MODERN, OLD, Opening, Play};
use super::server::{Asked, Says, yes};

const NAMED: &str = "EHLO client.example\r\nMAIL FROM:<a@x.example>\r\nRCPT TO:<a@one.example>\r\n";

/// The first connection breaks at this; later ones agree, or fail.
fn breaks_at(verb: &'static str, extensions: &'static [&'static str], then_opens: bool) -> Play {
    let doors = move |_: &str, before: usize| match before {
        0 => Opening::Opens(
            extensions,
            Box::new(move |asked| {
                if format!("{asked:?}").starts_with(verb) { Says::Closes(String::new()) } else { yes(asked) }
            }),
        ),
        _ if then_opens => Opening::Opens(extensions, Box::new(yes)),
        _ => Opening::Fails,
    };
    Play::new(Box::new(doors), Choices::Plain)
}

#[test]
fn a_connection_lost_in_the_envelope_is_opened_again_and_what_was_asked_is_asked_there() {
    for verb in ["Mail", "Rcpt"] {
        let mut play = breaks_at(verb, MODERN, true);
        play.client(NAMED).client("RCPT TO:<b@one.example>\r\nDATA\r\n\r\ntext\r\n.\r\n");
        assert_eq!(play.codes(), [220, 250, 250, 250, 250, 354, 250], "lost at {verb}");
        assert_eq!((play.taken().len(), play.taken()[0].recipients.len(), play.opened()), (1, 2, 2));
        assert_eq!(play.doubts, ["the server closed the connection"]);
        play.end();
    }
}

#[test]
fn a_connection_lost_in_the_envelope_that_cannot_be_had_again_refuses_its_recipients_for_now() {
    for verb in ["Mail", "Rcpt"] {
        let mut play = breaks_at(verb, MODERN, false);
        play.client(NAMED).client("RCPT TO:<b@one.example>\r\nDATA\r\n");
        assert_eq!(play.codes(), [220, 250, 250, 451, 451, 554], "lost at {verb}");
        assert_eq!(play.opened(), 2, "it is tried once more, not again and again");
        play.end();
    }
}

#[test]
fn no_server_refuses_recipients_for_now() {
    let mut play = Play::new(Box::new(|_, _| Opening::Fails), Choices::Plain);
    play.client(NAMED).client("DATA\r\n");
    assert_eq!(play.codes(), [220, 250, 250, 451, 554]);
    play.end();
}

#[test]
fn a_connection_lost_while_the_client_uploads_is_opened_again_and_the_envelope_replayed() {
    for framing in ["DATA\r\n", "BDAT 3\r\nabc"] {
        let mut play = Play::agreeable();
        play.client(NAMED).client(framing);
        play.lose("one");
        play.client(if framing.starts_with('D') { "\r\ntext\r\n.\r\n" } else { "BDAT 2 LAST\r\nde" });
        assert_eq!(play.codes().last(), Some(&250));
        assert_eq!((play.taken().len(), play.spooled.len()), (1, 0));
        play.end();
    }
}

#[test]
fn a_connection_lost_while_the_client_uploads_whose_server_stays_away_is_spooled() {
    let mut play = breaks_at("never", MODERN, false);
    play.client(NAMED).client("DATA\r\n");
    play.lose("one");
    play.client("X-Spam-Flag: NO\r\nSubject: x\r\n\r\ntext\r\n.\r\n");
    assert_eq!(play.codes().last(), Some(&250));
    assert_eq!(play.spooled.len(), 1);
    assert!(
        play.spooled[0].content.ends_with(b"\r\nSubject: x\r\n\r\ntext\r\n")
            && play.spooled[0].folder == spool::Folder::Queue
    );
    play.end();
}

#[test]
fn a_connection_lost_at_data_is_tried_once_more_and_then_the_message_is_spooled() {
    for (then_opens, taken, spooled) in [(true, 1, 0), (false, 0, 1)] {
        let mut play = breaks_at("Data", OLD, then_opens);
        play.client(NAMED).client("DATA\r\n\r\ntext\r\n.\r\n");
        assert_eq!(play.codes().last(), Some(&250));
        assert_eq!((play.taken().len(), play.spooled.len()), (taken, spooled));
        play.end();
    }
}

#[test]
fn a_connection_lost_after_the_content_is_451_and_the_message_is_neither_sent_again_nor_spooled() {
    for extensions in [MODERN, OLD] {
        let mut play = breaks_at("Content", extensions, true);
        play.client(NAMED).client("DATA\r\n\r\ntext\r\n.\r\n");
        assert_eq!(play.codes().last(), Some(&451));
        assert_eq!((play.taken().len(), play.spooled.len()), (1, 0));
        play.end();
    }
}

#[test]
fn a_421_to_the_content_is_451() {
    let mut play = Play::with_voice(MODERN, |asked| match asked {
        Asked::Content => Says::Closes("421 4.3.2 shutting down".into()),
        asked => yes(asked),
    });
    play.client(NAMED).client("DATA\r\n\r\ntext\r\n.\r\n");
    let replies = play.replies();
    assert!(replies.last().is_some_and(|reply| reply.starts_with("451")), "{replies:?}");
    assert!(play.spooled.is_empty());
    play.end();
}

#[test]
fn a_connection_that_idled_a_minute_during_the_upload_is_replaced() {
    for (pause, connections) in [(59, 1), (61, 2)] {
        let mut play = Play::agreeable();
        play.client(NAMED).client("DATA\r\n\r\n");
        play.wait(Duration::from_secs(pause));
        play.client("text\r\n.\r\n");
        assert_eq!(play.codes().last(), Some(&250));
        let envelopes = play.opened();
        assert_eq!((play.taken().len(), envelopes), (1, connections), "after {pause} s");
        play.end();
    }
}

#[test]
fn a_server_that_takes_back_a_recipient_at_the_replay_leads_to_the_spool() {
    let doors = |_: &str, before: usize| {
        Opening::Opens(
            MODERN,
            Box::new(move |asked| match asked {
                Asked::Rcpt(_) if before > 0 => Says::reply("550 5.1.1 not any more"),
                asked => yes(asked),
            }),
        )
    };
    let mut play = Play::new(Box::new(doors), Choices::Plain);
    play.client(NAMED).client("DATA\r\n");
    play.lose("one");
    play.client("\r\ntext\r\n.\r\n");
    assert_eq!((play.codes().last(), play.spooled.len()), (Some(&250), 1));
    play.end();
}

#[test]
fn a_pooled_connection_that_died_is_replaced_without_a_word_to_the_client() {
    let message = "MAIL FROM:<a@x.example>\r\nRCPT TO:<a@one.example>\r\nDATA\r\n\r\ntext\r\n.\r\n";
    let mut play = breaks_at("never", MODERN, true);
    play.client("EHLO client.example\r\n").client(message).codes();
    play.close_pooled();
    play.client(message);
    assert_eq!(play.codes(), [250, 250, 354, 250]);
    assert_eq!(play.opened(), 2);
    play.end();
}

#[test]
fn large_content_is_given_away_fetched_again_and_arrives_whole() {
    let text = "A line of text that is neither long nor short.\r\n".repeat(12_000);
    for extensions in [MODERN, OLD] {
        let mut play = Play::with_voice(extensions, yes);
        play.pieces.0 = 65_536;
        play.client(NAMED).client(format!("DATA\r\nX-Postern-Verdict: x\r\nSubject: x\r\n\r\n{text}.\r\n"));
        assert_eq!(play.codes().last(), Some(&250));
        assert!(play.taken()[0].content.ends_with(format!("\r\nSubject: x\r\n\r\n{text}").as_bytes()));
        play.end();
    }
    let mut play = breaks_at("Data", OLD, false);
    play.client(NAMED).client(format!("DATA\r\n\r\n{text}.\r\n"));
    assert_eq!((play.codes().last(), play.spooled.len()), (Some(&250), 1));
    assert!(play.spooled[0].content.ends_with(format!("\r\n\r\n{text}").as_bytes()));
    play.end();
}

#[test]
fn a_connection_lost_while_a_chunk_is_skipped_is_opened_again_behind_it() {
    let refuses = |asked: Asked<'_>| match asked {
        Asked::Rcpt(path) if path.starts_with('x') => Says::reply("550 5.1.1 unknown"),
        asked => yes(asked),
    };
    let mut play = Play::with_voice(MODERN, refuses);
    play.client("EHLO client.example\r\nMAIL FROM:<a@x.example>\r\nRCPT TO:<x@one.example>\r\nBDAT 4\r\nab")
        .codes();
    play.lose("one");
    play.client("cdRCPT TO:<a@one.example>\r\n");
    assert_eq!((play.codes(), play.opened()), (vec![554, 250], 2));
    play.end();
}

#[test]
fn a_session_that_ends_inside_a_skipped_chunk_leaves_no_connection() {
    let mut play = Play::with_voice(MODERN, |asked| match asked {
        Asked::Rcpt(_) => Says::reply("550 5.1.1 unknown"),
        asked => yes(asked),
    });
    play.client("EHLO client.example\r\nMAIL FROM:<a@x.example>\r\nRCPT TO:<x@one.example>\r\nBDAT 4\r\nab")
        .codes();
    play.let_time_run_out();
    assert_eq!(play.codes(), [421]);
    play.end();
}
