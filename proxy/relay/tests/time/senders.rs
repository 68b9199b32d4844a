//! What is spooled keeps what proves its sender; and who asked is told of what a server without DSN has.

use spool::SenderProof;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::server::{Asked, Says, Voice, yes};
use crate::world::{CALM, World};

/// The session's replies to all of it, sent at once.
async fn converse(world: &World, mail: &str, rcpt: &str) -> String {
    let (mut client, session) = world.session().await;
    let words = format!("EHLO x\r\n{mail}\r\n{rcpt}\r\nDATA\r\nSubject: x\r\n\r\ntext\r\n.\r\nQUIT\r\n");
    client.write_all(words.as_bytes()).await.unwrap();
    let mut said = String::new();
    client.read_to_string(&mut said).await.unwrap();
    session.await.unwrap();
    said
}

/// The first connection ends at DATA, and there is no other.
fn goes_away() -> World {
    let mut before = 0;
    let voices = move |_: &str| {
        before += 1;
        let voice: Voice = Box::new(|asked| match asked {
            Asked::Data => Says::Closes(String::new()),
            asked => yes(asked),
        });
        (before == 1).then_some(voice)
    };
    World::new(Box::new(voices), CALM, 1)
}

#[tokio::test(start_paused = true)]
async fn what_is_spooled_keeps_what_proves_its_sender() {
    for (sender, proof) in [("spf", SenderProof::Spf), ("forged", SenderProof::Unknown)] {
        let world = goes_away();
        let mail = format!("MAIL FROM:<{sender}@x.example>");
        let said = converse(&world, &mail, "RCPT TO:<a@one.example>").await;
        assert!(said.contains("\r\n250 2.0.0 ") || said.contains("\r\n250 2.6.0 "), "{said}");
        let [summary] = &world.spool().entries()[..] else { panic!("{said}") };
        let opened = world.spool().open_entry(summary.id).await.unwrap();
        assert_eq!(opened.entry.sender, proof, "{sender}");
        assert_eq!(opened.entry.client.unwrap().address.port(), 40_000);
    }
}

#[tokio::test(start_paused = true)]
#[expect(
    clippy::disallowed_methods,
    reason = "the spool's thread takes real time, of which the runtime has none"
)]
async fn a_report_waits_in_the_queue_for_who_asked_and_is_who_he_says() {
    for (sender, reports) in [("spf", 1), ("forged", 0)] {
        let world = World::new(Box::new(|_| Some(Box::new(yes))), CALM, 1);
        let mail = format!("MAIL FROM:<{sender}@two.example>");
        converse(&world, &mail, "RCPT TO:<a@one.example> NOTIFY=SUCCESS").await;
        for _ in 0..200 {
            // The disk has a thread of its own; the question is answered after some simulated seconds.
            tokio::time::sleep(std::time::Duration::from_secs(1)).await;
            std::thread::sleep(std::time::Duration::from_millis(2));
            if world.spool().entries().len() == reports && reports > 0 {
                break;
            }
        }
        let entries = world.spool().entries();
        assert_eq!(entries.len(), reports, "{sender}");
        for summary in entries {
            let entry = world.spool().open_entry(summary.id).await.unwrap().entry;
            assert_eq!(entry.envelope.mail.reverse_path, smtp::ReversePath::Null);
            assert_eq!(entry.envelope.recipients[0].forward_path.as_str(), "spf@two.example");
            assert!(entry.client.is_none());
        }
    }
}

#[tokio::test(start_paused = true)]
#[expect(
    clippy::disallowed_methods,
    reason = "the spool's thread takes real time, of which the runtime has none"
)]
async fn who_asks_for_very_many_reports_gets_no_more_of_them() {
    let world = World::new(Box::new(|_| Some(Box::new(yes))), CALM, 1);
    let Ok(smtp::Command::Mail(mail)) = smtp::Command::parse(b"MAIL FROM:<spf@two.example>") else {
        panic!("a command")
    };
    while world.report_rate().allows(&mail.reverse_path, world.now()) {}
    for (domain, reports) in [("two.example", 0), ("six.example", 1)] {
        let line = format!("MAIL FROM:<spf@{domain}>");
        converse(&world, &line, "RCPT TO:<a@one.example> NOTIFY=SUCCESS").await;
        for _ in 0..200 {
            tokio::time::sleep(std::time::Duration::from_secs(1)).await;
            std::thread::sleep(std::time::Duration::from_millis(2));
            if world.spool().entries().len() == reports && reports > 0 {
                break;
            }
        }
        assert_eq!(world.spool().entries().len(), reports, "{domain}");
    }
}
