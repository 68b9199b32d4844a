//! Commands that come in one piece (RFC 2920), and servers that answer late, in another order, or with no.

use super::harness::{MODERN, Play};
use super::server::{Asked, Says, yes};

/// A voice that refuses some recipients.
fn refuses(part: &'static str) -> impl FnMut(Asked<'_>) -> Says + Send + Clone {
    move |asked| match asked {
        Asked::Rcpt(path) if path.contains(part) => Says::Reply(format!("550 5.1.1 {path} unknown")),
        asked => yes(asked),
    }
}

const HELLO: &str = "EHLO client.example\r\n";

#[test]
fn a_whole_session_in_one_piece_is_answered_command_by_command() {
    let mut play = Play::with_voice(MODERN, refuses("bad"));
    play.client(format!(
        "{HELLO}MAIL FROM:<a@x.example>\r\nRCPT TO:<b@one.example>\r\nRCPT TO:<bad@one.example>\r\nDATA\r\n\
         Subject: x\r\n\r\n..dot\r\n.\r\nNOOP\r\nQUIT\r\n"
    ));
    assert_eq!(play.codes(), [220, 250, 250, 250, 550, 354, 250, 250, 221]);
    let taken = play.taken();
    assert_eq!(taken.len(), 1);
    assert_eq!(taken[0].recipients, ["b@one.example"]);
    assert!(taken[0].content.ends_with(b"\r\nSubject: x\r\n\r\n.dot\r\n"));
}

#[test]
fn replies_keep_the_order_of_the_commands_when_servers_do_not() {
    let mut play = Play::agreeable();
    play.held = vec!["one"];
    play.client(format!(
        "{HELLO}MAIL FROM:<a@x.example>\r\nRCPT TO:<a@one.example>\r\nRCPT TO:<b@two.example>\r\n\
         RCPT TO:<c@one.example>\r\nRCPT TO:<d@nowhere.example>\r\nDATA\r\n"
    ));
    assert_eq!(play.codes(), [220, 250, 250], "the second server's word waits for the first's");
    play.held = vec![];
    play.run();
    let replies = play.replies();
    for (reply, expected) in
        replies.iter().zip(["250 2.1.5 a@one", "250 2.1.5 b@two", "250 2.1.5 c@one", "550", "354"])
    {
        assert!(reply.starts_with(expected), "{reply}");
    }
    assert_eq!(replies.len(), 5);
}

#[test]
fn recipients_named_while_the_connection_opens_are_asked_about_once_it_is() {
    let mut play = Play::agreeable();
    play.held = vec!["one", "two"];
    play.client(format!(
        "{HELLO}MAIL FROM:<a@x.example>\r\nRCPT TO:<a@one.example>\r\nRCPT TO:<b@one.example>\r\n"
    ));
    assert_eq!(play.codes(), [220, 250, 250]);
    play.held = vec![];
    play.run();
    assert_eq!(play.codes(), [250, 250]);
    let heard = play.heard("one");
    assert_eq!(heard.len(), 3, "{heard:?}");
    assert!(heard[0].starts_with("MAIL FROM:<a@x.example>"));
}

#[test]
fn a_refused_mail_is_told_at_each_recipient_in_the_servers_words() {
    let mut play = Play::with_voice(MODERN, |asked| match asked {
        Asked::Mail => Says::reply("550 5.7.1 not from you"),
        asked => yes(asked),
    });
    play.client(format!(
        "{HELLO}MAIL FROM:<a@x.example>\r\nRCPT TO:<a@one.example>\r\nRCPT TO:<b@one.example>\r\nDATA\r\nRSET\r\n"
    ));
    let replies = play.replies();
    assert!(replies[2].starts_with("250"), "MAIL itself is answered before a server is asked");
    assert!(
        replies[3].starts_with("550 5.7.1 not from you") && replies[4].starts_with("550 5.7.1 not from you")
    );
    assert!(replies[5].starts_with("554") && replies[6].starts_with("250"));
    play.client("MAIL FROM:<a@x.example>\r\nRCPT TO:<a@one.example>\r\n");
    assert_eq!(play.codes(), [250, 550]);
}

#[test]
fn data_behind_refused_recipients_gets_554_and_what_follows_is_commands() {
    // RFC 2920 §3.1: whoever pipelines DATA waits for 354 before content; none is due after 554.
    let mut play = Play::with_voice(MODERN, refuses("@"));
    play.client(format!(
        "{HELLO}MAIL FROM:<a@x.example>\r\nRCPT TO:<a@one.example>\r\nRCPT TO:<b@two.example>\r\nDATA\r\nRSET\r\nQUIT\r\n"
    ));
    assert_eq!(play.codes(), [220, 250, 250, 550, 550, 554, 250, 221]);
    assert!(play.taken().is_empty());
}

#[test]
fn chunks_behind_refused_recipients_are_skipped_to_the_octet() {
    let chunk = "RSET\r\nMAIL FROM:<evil@x.example>\r\nRCPT TO:<a@one.example>\r\nDATA\r\nQUIT\r\n";
    for piece in [1, 2, 7, usize::MAX] {
        let mut play = Play::with_voice(MODERN, refuses("@"));
        play.pieces.0 = piece;
        play.client(format!(
            "{HELLO}MAIL FROM:<a@x.example>\r\nRCPT TO:<a@one.example>\r\nBDAT {}\r\n{chunk}BDAT {} LAST\r\n{chunk}\
             BDAT 0 LAST\r\nNOOP\r\n",
            chunk.len(),
            chunk.len()
        ));
        assert_eq!(play.codes(), [220, 250, 250, 550, 554, 554, 554, 250], "pieces of {piece}");
        assert_eq!(play.heard("one").iter().filter(|line| line.starts_with("MAIL")).count(), 1);
    }
}

#[test]
fn chunks_before_any_recipient_are_skipped_to_the_octet() {
    let mut play = Play::agreeable();
    play.client(format!("{HELLO}BDAT 6\r\nQUIT\r\nMAIL FROM:<>\r\nBDAT 6 LAST\r\nQUIT\r\nNOOP\r\n"));
    assert_eq!(play.codes(), [220, 250, 503, 250, 554, 250]);
}

#[test]
fn chunks_make_one_message_and_each_has_its_reply() {
    let mut play = Play::agreeable();
    play.client(format!(
        "{HELLO}MAIL FROM:<a@x.example> BODY=BINARYMIME\r\nRCPT TO:<a@one.example>\r\nBDAT 5\r\na: b\rBDAT 0\r\n\
         BDAT 3 LAST\r\n\0\n.QUIT\r\n"
    ));
    assert_eq!(play.codes(), [220, 250, 250, 250, 250, 250, 250, 221]);
    assert!(play.taken()[0].content.ends_with(b"\r\na: b\r\0\n."));
}

#[test]
fn ehlo_and_rset_end_a_transaction_in_every_state_that_reads_commands() {
    let before = [
        "",
        "MAIL FROM:<a@x.example>\r\n",
        "MAIL FROM:<a@x.example>\r\nRCPT TO:<a@one.example>\r\n",
        "MAIL FROM:<a@x.example>\r\nRCPT TO:<a@one.example>\r\nBDAT 2\r\nab",
    ];
    for state in before {
        for command in ["RSET", "EHLO again.example", "HELO again.example"] {
            let mut play = Play::agreeable();
            play.client(format!("{HELLO}{state}{command}\r\n"));
            assert_eq!(play.codes().last(), Some(&250), "{command} after {state}");
            play.client("DATA\r\nRCPT TO:<a@one.example>\r\n");
            assert_eq!(play.codes(), [503, 503], "{command} after {state}");
            play.client("MAIL FROM:<b@x.example>\r\nRCPT TO:<b@one.example>\r\nDATA\r\n\r\ntext\r\n.\r\n");
            assert_eq!(play.codes(), [250, 250, 354, 250], "{command} after {state}");
            let taken = play.taken();
            assert_eq!((taken.len(), taken[0].recipients.as_slice()), (1, &["b@one.example".to_owned()][..]));
        }
    }
}

#[test]
fn a_server_that_pipelines_nothing_gets_one_command_at_a_time() {
    let mut play = Play::with_voice(super::harness::OLD, yes);
    play.client(format!(
        "{HELLO}MAIL FROM:<a@x.example>\r\nRCPT TO:<a@one.example>\r\nRCPT TO:<b@one.example>\r\nDATA\r\n.\r\nQUIT\r\n"
    ));
    // The model server stops the test if a second command comes before the first is answered.
    assert_eq!(play.codes(), [220, 250, 250, 250, 250, 354, 250, 221]);
    assert_eq!(play.taken()[0].recipients.len(), 2);
}

#[test]
fn a_second_message_goes_over_the_connection_that_is_in_step() {
    let message = "MAIL FROM:<a@x.example>\r\nRCPT TO:<a@one.example>\r\nDATA\r\n\r\ntext\r\n.\r\n";
    let mut play = Play::agreeable();
    play.client(format!("{HELLO}{message}{message}"));
    assert_eq!(play.codes(), [220, 250, 250, 250, 354, 250, 250, 250, 354, 250]);
    assert_eq!(play.pooled(), 1);
    assert_eq!(play.heard("one").iter().filter(|line| line.starts_with("MAIL")).count(), 2);
}
