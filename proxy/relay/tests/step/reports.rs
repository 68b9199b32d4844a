//! Who is told that a message was relayed: those who asked, where the server sends no reports itself (RFC 3461 §5.2.2).

use spool::SenderProof;

use super::choices::Choices;
use super::harness::{MODERN, OLD, Opening, Play};
use super::server::{Asked, Says, yes};

/// Backend `one` offers this, `two` what is modern.
fn first_offers(extensions: &'static [&'static str]) -> Play {
    let doors = move |backend: &str, _: usize| {
        Opening::Opens(if backend == "one" { extensions } else { MODERN }, Box::new(yes))
    };
    Play::new(Box::new(doors), Choices::Plain)
}

const ENVELOPE: &str = "EHLO client.example\r\nMAIL FROM:<a@x.example> ENVID=5 RET=HDRS\r\n\
    RCPT TO:<a@one.example> NOTIFY=SUCCESS ORCPT=rfc822;a@y.example\r\nRCPT TO:<b@one.example>\r\n\
    RCPT TO:<c@one.example> NOTIFY=FAILURE\r\nRCPT TO:<d@two.example> NOTIFY=SUCCESS\r\n";

#[test]
fn dsn_is_offered_and_the_report_on_a_server_without_it_is_owed_to_who_asked() {
    let mut play = first_offers(OLD);
    play.client(ENVELOPE).client("DATA\r\nSubject: x\r\n\r\ntext\r\n.\r\n");
    assert!(String::from_utf8_lossy(&play.said).contains("250-DSN\r\n"));
    assert_eq!(play.codes().last(), Some(&250));
    assert_eq!(play.taken().len(), 2);
    let [relayed] = &play.relayed[..] else { panic!("{} reports", play.relayed.len()) };
    let told: Vec<_> = relayed.handed_on.iter().map(|handed_on| handed_on.recipient).collect();
    assert_eq!(told, [0], "only who asked, and whose server sends none");
    assert_eq!(relayed.sender, SenderProof::Unknown);
    assert_eq!(&*relayed.carriage.tail, b"Subject: x\r\n\r\ntext\r\n");
    play.end();
}

#[test]
fn nobody_is_told_of_what_was_refused_nor_of_a_report() {
    let refuses = |_: &str, _: usize| {
        Opening::Opens(
            OLD,
            Box::new(|asked| match asked {
                Asked::Content => Says::reply("550 5.7.1 not this"),
                asked => yes(asked),
            }),
        )
    };
    let mut play = Play::new(Box::new(refuses), Choices::Plain);
    play.client(
        "EHLO x\r\nMAIL FROM:<a@x.example>\r\nRCPT TO:<a@one.example> NOTIFY=SUCCESS\r\nDATA\r\n\r\n.\r\n",
    );
    assert_eq!(play.codes().last(), Some(&550));
    assert!(play.relayed.is_empty());
    play.end();
    let mut play = first_offers(OLD);
    play.client("EHLO x\r\nMAIL FROM:<>\r\nRCPT TO:<a@one.example> NOTIFY=SUCCESS\r\nDATA\r\n\r\n.\r\n");
    assert_eq!(play.codes().last(), Some(&250));
    assert!(play.relayed.is_empty());
    play.end();
}
