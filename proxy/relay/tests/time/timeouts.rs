//! Each silence has its named time-out, and each its reply.

use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream};
use tokio::time::Instant;

use crate::server::{Asked, Says, yes};
use crate::world::{CALM, World};

fn silent_at(verb: &'static str) -> World {
    let voice = move |asked: Asked<'_>| {
        if format!("{asked:?}").starts_with(verb) { Says::Nothing } else { yes(asked) }
    };
    World::new(Box::new(move |_| Some(Box::new(voice))), CALM, 1)
}

/// Reads until a reply begins with `code`; how long it took.
async fn until(client: &mut DuplexStream, code: &str) -> Duration {
    let began = Instant::now();
    let (mut said, mut buffer) = (String::new(), [0; 4096]);
    while !said.lines().any(|line| line.starts_with(code)) {
        let length = client.read(&mut buffer).await.unwrap();
        assert!(length > 0, "closed without {code}: {said}");
        said.push_str(&String::from_utf8_lossy(&buffer[..length]));
    }
    began.elapsed()
}

const NAMED: &str = "EHLO client.example\r\nMAIL FROM:<a@x.example>\r\nRCPT TO:<a@one.example>\r\n";

fn about(minutes: f64) -> std::ops::RangeInclusive<Duration> {
    Duration::from_secs_f64(minutes * 60.0 - 1.0)..=Duration::from_secs_f64(minutes * 60.0 + 2.0)
}

#[tokio::test(start_paused = true)]
async fn a_server_that_is_silent_in_the_envelope_is_given_four_of_the_clients_five_minutes() {
    for verb in ["Mail", "Rcpt"] {
        let world = silent_at(verb);
        let (mut client, _session) = world.session().await;
        client.write_all(NAMED.as_bytes()).await.unwrap();
        let waited = until(&mut client, "451 4.4.2").await;
        assert!(about(4.0).contains(&waited), "{verb}: {waited:?}");
        client.write_all(b"QUIT\r\n").await.unwrap();
        until(&mut client, "221").await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_server_that_accepts_and_does_not_greet_is_given_a_minute() {
    let world = World::mute();
    let (mut client, _session) = world.session().await;
    client.write_all(NAMED.as_bytes()).await.unwrap();
    let waited = until(&mut client, "451 4.4.1").await;
    assert!(about(1.0).contains(&waited), "{waited:?}");
}

#[tokio::test(start_paused = true)]
async fn silence_after_the_dot_is_451_after_ten_minutes_and_never_spooled() {
    let world = silent_at("Content");
    let (mut client, session) = world.session().await;
    client.write_all(format!("{NAMED}DATA\r\n\r\ntext\r\n.\r\n").as_bytes()).await.unwrap();
    let waited = until(&mut client, "451 4.4.2").await;
    assert!(about(10.0).contains(&waited), "{waited:?}");
    session.await.unwrap();
    assert!(world.spool().entries().is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_server_that_is_silent_at_data_is_tried_again_and_then_the_message_is_spooled() {
    let world = silent_at("Data");
    let (mut client, _session) = world.session().await;
    client.write_all(format!("{NAMED}DATA\r\n\r\ntext\r\n.\r\n").as_bytes()).await.unwrap();
    until(&mut client, "354").await;
    let waited = until(&mut client, "250 2.0.0 message accepted").await;
    // Four minutes, and three seconds until it is known who the sender is (world::Vouching).
    assert!(about(4.05).contains(&waited), "{waited:?}");
    assert_eq!((world.spool().entries().len(), world.connections.load(Ordering::Relaxed)), (1, 2));
}

#[tokio::test(start_paused = true)]
async fn a_client_that_sends_a_byte_a_minute_is_sent_away() {
    let world = silent_at("never");
    let (mut client, session) = world.session().await;
    client.write_all(format!("{NAMED}DATA\r\n").as_bytes()).await.unwrap();
    until(&mut client, "354").await;
    let began = Instant::now();
    let (mut reader, mut writer) = tokio::io::split(client);
    let dawdling = tokio::spawn(async move {
        while writer.write_all(b"a").await.is_ok() {
            tokio::time::sleep(Duration::from_secs(60)).await;
        }
    });
    let mut said = String::new();
    reader.read_to_string(&mut said).await.unwrap();
    assert!(said.starts_with("421 4.4.2 the message comes too slowly"), "{said}");
    assert!(about(11.0).contains(&began.elapsed()), "{:?}", began.elapsed());
    session.await.unwrap();
    dawdling.abort();
}

#[tokio::test(start_paused = true)]
async fn a_connection_that_went_stale_during_the_upload_is_replaced() {
    for (pause, connections) in [(58, 1), (61, 2)] {
        let world = silent_at("never");
        let (mut client, _session) = world.session().await;
        client.write_all(format!("{NAMED}DATA\r\n").as_bytes()).await.unwrap();
        until(&mut client, "354").await;
        tokio::time::sleep(Duration::from_secs(pause)).await;
        client.write_all(b"\r\ntext\r\n.\r\n").await.unwrap();
        until(&mut client, "250 2.0.0 queued").await;
        assert_eq!(world.connections.load(Ordering::Relaxed), connections, "after {pause} s");
        assert_eq!(world.ledger.lock().unwrap().len(), 1);
    }
}

#[tokio::test(start_paused = true)]
async fn a_drain_waits_for_the_message_and_not_for_idle_clients() {
    let world = silent_at("never");
    let (mut idle, ended) = world.session().await;
    let (mut busy, _session) = world.session().await;
    busy.write_all(NAMED.as_bytes()).await.unwrap();
    until(&mut busy, "250 2.1.5").await;
    world.drain.send_replace(true);
    until(&mut idle, "421 4.3.2").await;
    ended.await.unwrap();
    busy.write_all(b"DATA\r\n\r\ntext\r\n.\r\n").await.unwrap();
    until(&mut busy, "421 4.3.2").await;
    assert_eq!(world.ledger.lock().unwrap().len(), 1);
}
