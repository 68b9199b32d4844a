//! No server to ask: what is known of recipients decides, what MAIL asks for is held against what servers are known to offer,
//! and the message is kept (DESIGN §3, law 4).

use std::sync::{Arc, RwLock};

use record::{Event, GroupOutcome};
use route::{List, RecipientList};

use super::choices::Choices;
use super::harness::{Desk, MODERN, OLD, Opening, Play, Stage};
use super::server::{Asked, Says, Voice, yes};

const EHLO_MAIL: &str = "EHLO client.example\r\nMAIL FROM:<a@x.example>\r\n";
const CONTENT: &str = "DATA\r\nSubject: x\r\n\r\ntext\r\n.\r\n";

fn away(stage: Stage) -> Play {
    Play::on(stage, Box::new(|_, _| Opening::Fails), Choices::Plain)
}

/// The first connection speaks with this voice, there is no second one.
fn then_away(stage: Stage, voice: impl FnMut(Asked<'_>) -> Says + Send + Clone + 'static) -> Play {
    let doors = move |_: &str, before: usize| match before {
        0 => Opening::Opens(MODERN, Box::new(voice.clone()) as Voice),
        _ => Opening::Fails,
    };
    Play::on(stage, Box::new(doors), Choices::Plain)
}

fn has_opened(play: &Play) -> usize {
    play.opened()
}

#[test]
fn without_a_server_known_recipients_are_taken_for_and_the_message_is_kept_whole() {
    let mut play = away(Stage::knowing(&["anna@one.example"]));
    play.client(EHLO_MAIL)
        .client("RCPT TO:<anna@one.example>\r\nRCPT TO:<eve@one.example>\r\n")
        .client(CONTENT);
    let replies = play.replies();
    assert!(replies[3].starts_with("250 2.1.5 recipient ok"), "{replies:?}");
    assert!(
        replies[4].starts_with(
            "451 4.4.1 the mail server is away (nobody answers) and this recipient was not seen before"
        ),
        "{replies:?}"
    );
    assert!(replies[6].starts_with("250 2.0.0 message accepted"), "{replies:?}");
    assert_eq!(play.spooled.len(), 1);
    assert_eq!(play.spooled[0].recipients, ["anna@one.example"]);
    assert!(
        play.spooled[0].folder == spool::Folder::Queue
            && play.spooled[0].content.ends_with(b"Subject: x\r\n\r\ntext\r\n")
    );
    let outcome = play.events.iter().find_map(|event| match event {
        Event::Transaction(transaction) => transaction.groups.first().cloned(),
        _ => None,
    });
    let Some(GroupOutcome::Spooled { folder: "queue", reason }) = outcome else { panic!("{outcome:?}") };
    assert!(reason.to_string().contains("nobody answers"), "the record says why: {reason}");
    play.end();
}

#[test]
fn a_server_that_does_not_want_this_client_is_not_away() {
    let stage = Stage::knowing(&["anna@one.example"]);
    let mut play = Play::on(stage, Box::new(|_, _| Opening::Refused), Choices::Plain);
    play.client(EHLO_MAIL).client("RCPT TO:<anna@one.example>\r\n");
    let replies = play.replies();
    assert!(replies[3].starts_with("451 4.4.1 the mail server refuses: 554 go away"), "{replies:?}");
    play.end();
}

#[test]
fn what_a_server_says_is_remembered_for_the_time_when_it_is_away() {
    let voice = |asked: Asked<'_>| match asked {
        Asked::Rcpt(path) if path.starts_with("eve") => Says::reply("550 5.1.1 unknown"),
        Asked::Rcpt(path) if path.starts_with("poor") => Says::reply("550 5.7.1 your address is listed"),
        Asked::Rcpt(path) if path.starts_with("grey") => Says::reply("450 4.2.0 greylisted"),
        asked => yes(asked),
    };
    let known = Arc::default();
    let names =
        ["anna", "eve", "poor", "grey"].map(|name| format!("RCPT TO:<{name}@one.example>\r\n")).concat();
    let stage = || Stage { known: Arc::clone(&known), ..Stage::default() };
    let doors = move |_: &str, _: usize| Opening::Opens(MODERN, Box::new(voice) as Voice);
    let mut play = Play::on(stage(), Box::new(doors), Choices::Plain);
    play.client(EHLO_MAIL).client(&names);
    assert_eq!(play.codes(), [220, 250, 250, 250, 550, 550, 450]);
    play.end();

    let mut play = away(stage());
    play.client(EHLO_MAIL).client(&names).client("RCPT TO:<Anna@ONE.example>\r\n");
    let replies = play.replies();
    let codes: Vec<&str> = replies.iter().map(|reply| &reply[..3]).collect();
    assert_eq!(codes, ["220", "250", "250", "250", "451", "451", "451", "451"]);
    assert!(replies[4].contains("it refused this recipient lately"), "{replies:?}");
    assert!(replies[5].contains("not seen before") && replies[6].contains("not seen before"), "{replies:?}");
    play.end();
}

#[test]
fn where_a_server_accepts_everybody_only_who_had_mail_is_known() {
    let known = Arc::default();
    let stage = || Stage { known: Arc::clone(&known), ..Stage::default() };
    let mut play = Play::on(stage(), Box::new(|_, _| Opening::agreeable()), Choices::Plain);
    play.client(EHLO_MAIL).client("RCPT TO:<anna@one.example>\r\n").client(CONTENT);
    play.client("MAIL FROM:<a@x.example>\r\nRCPT TO:<guess@one.example>\r\nRSET\r\n");
    assert_eq!(play.codes(), [220, 250, 250, 250, 354, 250, 250, 250, 250]);
    play.end();
    let recipients = route::Recipients::new("one", Arc::clone(&known), List::Ask);
    if let Ok(domain) = "one.example".parse() {
        recipients.found(&domain, true, super::harness::WALL);
    }

    let mut play = away(stage());
    play.client(EHLO_MAIL)
        .client("RCPT TO:<guess@one.example>\r\nRCPT TO:<anna@one.example>\r\n")
        .client(CONTENT);
    let replies = play.replies();
    assert!(replies[3].contains("it accepts every recipient"), "{replies:?}");
    assert_eq!((replies[3].get(..3), replies[4].get(..3)), (Some("451"), Some("250")));
    assert_eq!(play.spooled.len(), 1);
    play.end();
}

#[test]
fn a_server_that_dies_in_the_envelope_leaves_who_was_accepted_and_who_is_known() {
    for last in ["421 4.3.2 shutting down", ""] {
        let voice = move |asked: Asked<'_>| match asked {
            Asked::Rcpt(path) if path.starts_with("first") => yes(asked),
            Asked::Rcpt(_) => Says::Closes(last.to_owned()),
            asked => yes(asked),
        };
        let mut play = then_away(Stage::knowing(&["anna@one.example"]), voice);
        play.client(EHLO_MAIL).client(
            "RCPT TO:<first@one.example>\r\nRCPT TO:<anna@one.example>\r\nRCPT TO:<eve@one.example>\r\n",
        );
        assert_eq!(play.codes(), [220, 250, 250, 250, 250, 451], "{last}");
        assert_eq!((has_opened(&play), play.doubts.len()), (2, 1));
        play.client(CONTENT);
        assert_eq!(play.codes(), [354, 250]);
        assert_eq!(play.spooled[0].recipients, ["first@one.example", "anna@one.example"]);
        play.end();
    }
}

#[test]
fn a_server_that_falls_silent_is_not_waited_for_again() {
    let mut play = Play::on(
        Stage::knowing(&["anna@one.example"]),
        Box::new(|_, _| Opening::Opens(MODERN, Box::new(|_| Says::Nothing))),
        Choices::Plain,
    );
    play.client(EHLO_MAIL).client("RCPT TO:<anna@one.example>\r\nRCPT TO:<eve@one.example>\r\n");
    assert_eq!(play.codes(), [220, 250, 250]);
    play.let_time_run_out();
    assert_eq!(play.codes(), [250, 451], "the client is told within its own five minutes");
    assert_eq!(
        (has_opened(&play), play.doubts.as_slice()),
        (1, &["it did not answer in time".to_owned()][..])
    );
    play.end();
}

#[test]
fn a_server_that_is_back_at_the_dot_gets_the_message_itself() {
    let doors = |_: &str, before: usize| if before == 0 { Opening::Fails } else { Opening::agreeable() };
    let mut play = Play::on(Stage::knowing(&["anna@one.example"]), Box::new(doors), Choices::Plain);
    play.client(EHLO_MAIL).client("RCPT TO:<anna@one.example>\r\n").client(CONTENT);
    assert_eq!(play.codes(), [220, 250, 250, 250, 354, 250]);
    assert_eq!((play.taken().len(), play.spooled.len()), (1, 0));
    play.end();
}

#[test]
fn one_backend_away_and_one_there_each_get_their_share() {
    let doors = |name: &str, _: usize| if name == "one" { Opening::Fails } else { Opening::agreeable() };
    let mut play = Play::on(Stage::knowing(&["anna@one.example"]), Box::new(doors), Choices::Plain);
    play.client(EHLO_MAIL)
        .client("RCPT TO:<anna@one.example>\r\nRCPT TO:<new@two.example>\r\n")
        .client(CONTENT);
    assert_eq!(play.codes(), [220, 250, 250, 250, 250, 354, 250]);
    assert_eq!((play.taken().len(), play.spooled.len()), (1, 1));
    play.end();
}

#[test]
fn what_servers_are_not_known_to_take_is_not_promised_for_them() {
    for (parameter, code) in
        [("BODY=8BITMIME", "550 5.6.3"), ("SIZE=999999", "552 5.3.4"), ("BODY=7BIT", "250 2.1.5")]
    {
        let stage = Stage { remembered: OLD, ..Stage::knowing(&["anna@one.example"]) };
        let mut play = away(stage);
        play.client(format!("EHLO client.example\r\nMAIL FROM:<a@x.example> {parameter}\r\n"));
        let replies = play.replies();
        assert!(!replies[1].contains("SMTPUTF8"), "{replies:?}");
        if replies[2].starts_with("250") {
            play.client("RCPT TO:<anna@one.example>\r\n");
            let replies = play.replies();
            assert!(replies[0].starts_with(code), "{parameter}: {replies:?}");
        } else {
            assert!(replies[2].starts_with(code), "{parameter}: {replies:?}");
        }
        play.end();
    }
}

#[test]
fn no_room_on_disk_is_no_promise() {
    let mut play = away(Stage::knowing(&["anna@one.example"]));
    play.is_disk_full = true;
    play.client(EHLO_MAIL).client("RCPT TO:<anna@one.example>\r\n").client(CONTENT);
    assert_eq!(play.codes(), [220, 250, 250, 250, 354, 452]);
    play.end();
}

#[test]
fn on_the_way_in_greeting_and_offers_come_from_memory() {
    let stage = Stage { is_inbound: true, ..Stage::knowing(&["anna@one.example"]) };
    let mut play = away(stage);
    play.run();
    play.client(EHLO_MAIL)
        .client("RCPT TO:<anna@one.example>\r\nRCPT TO:<eve@one.example>\r\n")
        .client(CONTENT);
    let replies = play.replies();
    assert!(replies[0].starts_with("220 one.example remembered"), "{replies:?}");
    for extension in ["SMTPUTF8", "BINARYMIME", "DSN", "8BITMIME"] {
        assert!(replies[1].contains(extension), "{replies:?}");
    }
    let codes: Vec<&str> = replies.iter().map(|reply| &reply[..3]).collect();
    assert_eq!(codes, ["220", "250", "250", "250", "451", "354", "250"]);
    assert_eq!(play.spooled.len(), 1);
    play.end();
}

#[test]
fn on_the_way_in_a_session_goes_on_with_its_server_once_that_is_back() {
    let stage = Stage { is_inbound: true, ..Stage::knowing(&["anna@one.example"]) };
    let doors = |_: &str, before: usize| if before == 0 { Opening::Fails } else { Opening::agreeable() };
    let mut play = Play::on(stage, Box::new(doors), Choices::Plain);
    play.run();
    play.client(EHLO_MAIL).client("RCPT TO:<new@one.example>\r\n").client(CONTENT);
    assert_eq!(play.codes(), [220, 250, 250, 250, 354, 250]);
    assert_eq!((play.taken().len(), play.spooled.len()), (1, 0));
    play.end();
}

#[test]
fn on_the_way_in_nobody_is_greeted_for_a_server_of_which_nothing_is_known() {
    for stage in [Stage::default(), Stage::knowing(&["anna@two.example"])] {
        let mut play = away(Stage { is_inbound: true, ..stage });
        play.run();
        assert_eq!(play.codes(), [421]);
        play.end();
    }
}

#[test]
fn on_the_way_in_a_server_that_dies_at_mail_is_stood_in_for() {
    let voice = |asked: Asked<'_>| match asked {
        Asked::Mail => Says::Closes(String::new()),
        asked => yes(asked),
    };
    let stage = Stage { is_inbound: true, ..Stage::knowing(&["anna@one.example"]) };
    let mut play = then_away(stage, voice);
    play.run();
    play.client(EHLO_MAIL).client("RCPT TO:<anna@one.example>\r\n").client(CONTENT);
    assert_eq!(play.codes(), [220, 250, 250, 250, 354, 250]);
    assert_eq!(play.spooled.len(), 1);
    play.end();
}

#[test]
fn on_the_way_in_mail_that_met_a_dying_server_is_asked_of_the_next_one() {
    let doors = |_: &str, before: usize| match before {
        0 => Opening::Opens(MODERN, Box::new(|_| Says::Closes("421 4.3.2 closing".to_owned()))),
        _ => Opening::Opens(
            MODERN,
            Box::new(|asked| match asked {
                Asked::Mail => Says::reply("250 2.1.0 from the next one"),
                asked => yes(asked),
            }),
        ),
    };
    let mut play = Play::on(Stage { is_inbound: true, ..Stage::default() }, Box::new(doors), Choices::Plain);
    play.run();
    play.client(EHLO_MAIL);
    let replies = play.replies();
    assert!(replies[2].starts_with("250 2.1.0 from the next one"), "{replies:?}");
    play.end();
}

fn list(text: &str) -> List {
    List::File(Arc::new(RwLock::new(RecipientList::read(text).0)))
}

#[test]
fn who_is_not_on_the_list_is_refused_without_asking_and_who_is_is_asked() {
    let refuses = |asked: Asked<'_>| match asked {
        Asked::Rcpt(path) if path.starts_with("gone") => Says::reply("550 5.1.1 gone"),
        asked => yes(asked),
    };
    let stage = Stage { list: list("anna@one.example\ngone@one.example"), ..Stage::default() };
    let doors = move |_: &str, _: usize| Opening::Opens(MODERN, Box::new(refuses) as Voice);
    let mut play = Play::on(stage, Box::new(doors), Choices::Plain);
    play.client(EHLO_MAIL).client("RCPT TO:<eve@one.example>\r\n");
    let replies = play.replies();
    assert!(replies[3].starts_with("550 5.1.1 there is no such recipient here"), "{replies:?}");
    assert_eq!(has_opened(&play), 0, "nobody was asked");
    play.client("RCPT TO:<Anna@one.example>\r\nRCPT TO:<gone@one.example>\r\n");
    assert_eq!(play.codes(), [250, 550]);
    assert_eq!(play.heard("one").iter().filter(|line| line.starts_with("RCPT")).count(), 2);
    play.end();
}

#[test]
fn without_a_server_who_is_on_the_list_is_taken_for() {
    let mut play = away(Stage { list: list("@one.example"), ..Stage::default() });
    play.client(EHLO_MAIL)
        .client("RCPT TO:<anna@one.example>\r\nRCPT TO:<anna@two.example>\r\n")
        .client(CONTENT);
    assert_eq!(play.codes(), [220, 250, 250, 250, 550, 354, 250]);
    assert_eq!(play.spooled.len(), 1);
    play.end();
}

#[test]
fn a_directory_is_asked_once_for_each_name_and_replies_keep_their_order() {
    let stage = Stage { list: List::Directory(Arc::new(Desk)), ..Stage::default() };
    let mut play = Play::on(stage, Box::new(|_, _| Opening::agreeable()), Choices::Plain);
    play.listed = vec!["anna@one.example"];
    play.client(EHLO_MAIL).client(
        "RCPT TO:<eve@one.example>\r\nRCPT TO:<anna@one.example>\r\nRCPT TO:<postmaster>\r\nRCPT TO:<anna@one.example>\r\n",
    );
    assert_eq!(play.codes(), [220, 250, 250, 550, 250, 250, 250]);
    play.client(CONTENT);
    assert_eq!(play.codes(), [354, 250]);
    play.end();
}
