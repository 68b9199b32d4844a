//! Nothing hangs: in every state the deadline leads on, and a drain ends every session that has no transaction.

use std::time::Duration;

use delivery::timeouts;
use relay::Input;

use super::choices::Choices;
use super::harness::{MODERN, OLD, Opening, Play};
use super::server::{Asked, Says, yes};

const NAMED: &str = "EHLO client.example\r\nMAIL FROM:<a@x.example>\r\nRCPT TO:<a@one.example>\r\n";

fn silent_at(verb: &'static str) -> impl FnMut(Asked<'_>) -> Says + Send + Clone {
    move |asked| if format!("{asked:?}").starts_with(verb) { Says::Nothing } else { yes(asked) }
}

#[test]
fn a_client_that_falls_silent_gets_421_in_every_state() {
    let states = [
        "",
        "EHLO client.example\r\n",
        "EHL",
        NAMED,
        "BDAT 5\r\nab",
        "BDAT 2\r\nab",
        "DATA\r\nSubject",
        "DATA\r\n",
    ];
    for state in states {
        let mut play = Play::agreeable();
        if state.starts_with("DATA") || (state.starts_with("BDAT") && !state.is_empty()) {
            play.client(NAMED);
        }
        play.client(state).codes();
        let waited = play.session().deadline() - play.now;
        assert!(
            (Duration::from_secs(180)..=Duration::from_secs(300)).contains(&waited),
            "{state}: {waited:?}"
        );
        play.let_time_run_out();
        assert_eq!(play.codes(), [421], "{state}");
        assert!(play.is_finished && play.taken().is_empty() && play.spooled.is_empty());
        play.end();
    }
}

#[test]
fn a_discarded_chunk_that_never_ends_times_out() {
    let mut play = Play::agreeable();
    play.client("EHLO client.example\r\nBDAT 1000\r\nab").codes();
    play.let_time_run_out();
    assert_eq!(play.codes(), [421]);
    play.end();
}

#[test]
fn a_server_that_is_silent_before_the_content_costs_its_recipients() {
    for verb in ["Mail", "Rcpt"] {
        let mut play = Play::with_voice(MODERN, silent_at(verb));
        play.client(NAMED);
        assert_eq!(play.codes(), [220, 250, 250]);
        assert!(play.session().deadline() - play.now <= timeouts::ENVELOPE);
        play.let_time_run_out();
        assert_eq!(play.codes(), [451], "silent at {verb}");
        play.client("DATA\r\n");
        assert_eq!(play.codes(), [554]);
        play.end();
    }
}

#[test]
fn a_connection_that_never_opens_costs_its_recipients() {
    let mut play = Play::new(Box::new(|_, _| Opening::Hangs), Choices::Plain);
    play.client(NAMED).codes();
    play.let_time_run_out();
    let codes = play.codes();
    assert!(codes == [451] || codes == [451, 421], "{codes:?}");
    play.end();
}

#[test]
fn a_server_that_is_silent_after_data_is_asked_once_more_and_then_the_message_is_spooled() {
    let mut play = Play::with_voice(OLD, silent_at("Data"));
    play.client(NAMED).client("DATA\r\n\r\ntext\r\n.\r\n").codes();
    assert!(play.session().deadline() - play.now <= timeouts::DATA_START);
    play.let_time_run_out();
    play.let_time_run_out();
    assert_eq!(play.codes(), [250]);
    assert_eq!(play.spooled.len(), 1);
    play.end();
}

#[test]
fn silence_after_the_dot_is_waited_out_for_ten_minutes_and_never_spooled() {
    for extensions in [MODERN, OLD] {
        let mut play = Play::with_voice(extensions, silent_at("Content"));
        play.client(NAMED).client("DATA\r\n\r\ntext\r\n.\r\n").codes();
        assert_eq!(play.session().deadline() - play.now, timeouts::DATA_END);
        play.let_time_run_out();
        assert_eq!(play.codes(), [451]);
        assert!(play.is_finished && play.spooled.is_empty());
        play.end();
    }
}

#[test]
fn a_client_that_closes_after_the_dot_leaves_a_message_that_settles() {
    let mut play = Play::agreeable();
    play.client(NAMED).client("DATA\r\n");
    play.held = vec!["one"];
    play.client("\r\ntext\r\n.\r\n").codes();
    play.step(Input::ClientClosed);
    assert!(!play.is_finished);
    play.held = vec![];
    play.run();
    assert_eq!((play.codes(), play.is_finished), (vec![250], true));
    play.end();
}

#[test]
fn a_client_that_closes_half_way_leaves_nothing_behind() {
    for state in ["", NAMED, "BDAT 5\r\nab", "DATA\r\nabc"] {
        let mut play = Play::agreeable();
        if !state.starts_with("EHLO") {
            play.client(NAMED);
        }
        play.client(state);
        play.step(Input::ClientClosed);
        play.run();
        assert!(play.is_finished && play.taken().is_empty(), "{state}");
        play.end();
    }
}

#[test]
fn a_drain_ends_idle_sessions_at_once_and_others_after_their_message() {
    for state in ["", "EHLO client.example\r\n"] {
        let mut play = Play::agreeable();
        play.client(state).codes();
        play.step(Input::Drain);
        assert_eq!((play.codes(), play.is_finished), (vec![421], true));
        play.end();
    }
    for rest in ["DATA\r\n\r\ntext\r\n.\r\n", "BDAT 2\r\nabBDAT 2 LAST\r\ncd"] {
        let mut play = Play::agreeable();
        play.client(NAMED).codes();
        play.step(Input::Drain);
        assert!(!play.is_finished);
        play.client(rest);
        let codes = play.codes();
        assert_eq!(&codes[codes.len() - 2..], [250, 421]);
        assert_eq!((play.taken().len(), play.is_finished), (1, true));
        play.end();
    }
    for ending in ["RSET\r\n", "EHLO again.example\r\n"] {
        let mut play = Play::agreeable();
        play.client(NAMED).codes();
        play.step(Input::Drain);
        play.client(ending);
        assert_eq!((play.codes(), play.is_finished), (vec![250, 421], true), "{ending}");
    }
}

#[test]
fn a_message_that_is_refused_for_its_content_ends_a_draining_session() {
    let mut play = Play::agreeable();
    play.client(NAMED).client("DATA\r\nbare\nfeed").codes();
    play.step(Input::Drain);
    play.client("\r\n.\r\n");
    assert_eq!((play.codes(), play.is_finished), (vec![550, 421], true));
}

#[test]
fn a_byte_a_minute_is_too_slow() {
    let mut play = Play::agreeable();
    play.client(NAMED).client("DATA\r\n").codes();
    for _ in 0..12 {
        play.wait(Duration::from_secs(60));
        if !play.is_finished {
            play.client("a");
        }
    }
    assert_eq!((play.codes(), play.is_finished), (vec![421], true));
    assert_eq!(play.misbehaved, 1);
    play.end();
}
