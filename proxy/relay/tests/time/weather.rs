//! Random schedules: pieces, delays, and connections that break on both sides. `TIME_SEED=n` plays one again.

use std::time::Duration;

use record::SessionEnd;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::choices::Choices;
use crate::server::{Asked, Says, Voice, yes};
use crate::world::{Weather, World};

const SEEDS: u64 = 1500;
const MESSAGES: usize = 3;

fn voice(mut choices: Choices) -> Voice {
    Box::new(move |asked| match choices.below(16) {
        13 if matches!(asked, Asked::Content) => Says::reply("451 4.3.0 not now"),
        14 => Says::Nothing,
        15 => Says::Closes(String::new()),
        _ => yes(asked),
    })
}

/// BDAT needs no 354 to wait for. The content names its message, so that what arrived is known by it.
fn message(number: usize) -> String {
    let content = format!("Subject: number {number}\r\n\r\n.text {number}\r\n");
    format!(
        "MAIL FROM:<a@x.example>\r\nRCPT TO:<a@one.example>\r\nRCPT TO:<b@two.example>\r\nBDAT {} LAST\r\n{content}",
        content.len()
    )
}

/// How many messages were promised.
async fn play(seed: u64) -> usize {
    let mut choices = Choices::of_seed(seed);
    let delay = Duration::from_secs([0, 1, 30, 200][choices.below(4)]);
    let weather = Weather { delay, drops: [1, 40, 8][choices.below(3)] };
    let mut moods = choices.clone();
    let voices =
        move |_: &str| (moods.below(10) != 9).then(|| voice(Choices::of_seed(moods.below(1 << 20) as u64)));
    let world = World::new(Box::new(voices), weather, seed);
    // Of some recipients it is known that they exist: without their server mail for them is kept.
    for known in ["a@one.example", "b@two.example"] {
        if choices.below(2) == 0 {
            world.knows(known);
        }
    }
    let (client, session) = world.session().await;
    let (mut reader, mut writer) = tokio::io::split(client);
    let writing = tokio::spawn(async move {
        let mut wire = b"EHLO client.example\r\n".to_vec();
        (0..MESSAGES).for_each(|number| wire.extend_from_slice(message(number).as_bytes()));
        wire.extend_from_slice(b"QUIT\r\n");
        let mut rest = wire.as_slice();
        while !rest.is_empty() {
            let length = if choices.below(2) == 0 { rest.len() } else { 1 + choices.below(rest.len()) };
            tokio::time::sleep(delay.mul_f64(choices.below(100) as f64 / 100.0)).await;
            if writer.write_all(&rest[..length]).await.is_err() {
                return;
            }
            rest = &rest[length..];
        }
    });
    let mut said = Vec::new();
    reader.read_to_end(&mut said).await.unwrap();
    session.await.unwrap();
    writing.await.unwrap();
    let said = String::from_utf8(said).unwrap();
    if std::env::var_os("TIME_SEED").is_some() {
        eprintln!("{said}");
    }
    check(&world, &said).await
}

/// Whoever was promised a message has it, whole; and the session came to an end of its own.
async fn check(world: &World, said: &str) -> usize {
    let mut copies: Vec<(String, String)> = Vec::new();
    for taken in world.ledger.lock().unwrap().iter().filter(|taken| taken.is_accepted()) {
        let content = String::from_utf8(taken.content.clone()).unwrap();
        copies.extend(taken.recipients.iter().map(|recipient| (recipient.clone(), content.clone())));
    }
    for summary in world.spool().entries() {
        let mut opened = world.spool().open_entry(summary.id).await.unwrap();
        let content = String::from_utf8(opened.content.next().await.unwrap().unwrap()).unwrap();
        let named = &opened.entry.envelope.recipients;
        copies.extend(
            opened
                .entry
                .recipients
                .iter()
                .map(|at| (named[at].forward_path.as_str().to_owned(), content.clone())),
        );
    }
    let events = world.record.events.lock().unwrap().clone();
    let transactions = events.iter().filter_map(|event| match event {
        record::Event::Transaction(transaction) => Some(transaction),
        _ => None,
    });
    let mut promised = 0;
    for transaction in transactions {
        let id = format!(" id {}", transaction.id);
        let kept = transaction.reply.as_ref().is_some_and(|reply| reply.code().is_positive());
        promised += usize::from(kept);
        for recipient in &transaction.recipients {
            let accepted = recipient.reply.as_ref().is_some_and(|reply| reply.code().is_positive());
            let has =
                copies.iter().filter(|(to, content)| **to == *recipient.address && content.contains(&id));
            let has: Vec<_> = has.collect();
            assert!(
                !(kept && accepted && has.is_empty()),
                "{} of {id} was promised\n{said}",
                recipient.address
            );
            for (_, content) in has {
                let number =
                    (0..MESSAGES).find(|number| content.ends_with(&format!("\r\n.text {number}\r\n")));
                assert!(number.is_some(), "{content}");
            }
        }
    }
    let told = said.lines().filter(|line| line.starts_with("250 2.0.0")).count();
    assert_eq!(told, promised, "as many promises as the record says\n{said}");
    let end = events.iter().find_map(|event| match event {
        record::Event::Session(session) => Some(session.end.clone()),
        _ => None,
    });
    assert!(!matches!(end, None | Some(SessionEnd::Broken(_))), "{end:?}\n{said}");
    promised
}

#[test]
fn in_any_weather_what_was_promised_was_kept() {
    let one = std::env::var("TIME_SEED").ok().and_then(|seed| seed.parse().ok());
    let mut promised = 0;
    for seed in one.map_or(0..SEEDS, |seed: u64| seed..seed + 1) {
        let played = std::panic::catch_unwind(|| {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_time()
                .start_paused(true)
                .build()
                .unwrap();
            runtime.block_on(async {
                let day = Duration::from_secs(86_400);
                let Ok(promised) = tokio::time::timeout(day, play(seed)).await else {
                    panic!("the session hangs")
                };
                promised
            })
        });
        let Ok(of_this) = played else { panic!("again with TIME_SEED={seed}") };
        promised += of_this;
    }
    assert!(one.is_some() || promised > 500, "most weather lets mail through: {promised}");
}
