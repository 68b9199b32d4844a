//! Servers that are away, come back, or take little.

use super::server::Mood;
use super::*;

/// How many wait out the five days. The whole number of the promise takes minutes without optimisation.
fn many() -> u32 {
    std::env::var("POSTERN_OUTAGE").ok().and_then(|number| number.parse().ok()).unwrap_or(5_000)
}

#[tokio::test(start_paused = true)]
async fn after_five_days_without_a_server_everything_arrives_once_over_at_most_twenty_connections() {
    let world = World::new(|_| {});
    let many = many();
    for number in 1..=many {
        // Nobody wants to know that it takes long: a report would wait, too.
        let (from, to) = ("s@inside.test", ["a@hidden.test"]);
        world.store_as(number, from, SenderProof::Inside, &to, " NOTIFY=FAILURE").await;
    }
    world.pass(5 * DAY - HOUR, Duration::from_secs(20)).await;
    let (tries, opened, _) = world.servers.connections();
    // Two servers, about once a minute: not once a message.
    assert!(opened == 0 && tries < 2 * 5 * 24 * 60 * 2, "{tries} tries");
    assert_eq!(world.waiting(), many as usize);
    world.servers.are(at(FIRST), Mood::Up);
    world.until("the drain", |world| world.waiting() == 0).await;
    let taken = world.servers.taken();
    let counts = counted(taken.iter().map(server::Taken::number));
    assert!((1..=many).all(|number| counts.get(&number) == Some(&1)), "each once");
    let (_, opened, most) = world.servers.connections();
    // The server sees the end of one a moment after Postern has opened the next.
    assert!(most <= 20 + 1, "{most} connections at the same time");
    assert!(opened <= many as usize / 50 + 40, "{opened} connections for {many} messages: they are kept");
    let ages: Vec<_> = taken.iter().map(server::Taken::number).collect();
    let late = ages.iter().enumerate().filter(|(at, number)| at.abs_diff(**number as usize) > 200).count();
    assert!(late < ages.len() / 100, "the oldest first");
}

#[tokio::test(start_paused = true)]
async fn one_connection_tries_alone_and_what_was_never_tried_follows_at_once() {
    let world = World::new(|_| {});
    for number in 1..=50 {
        world.store(number, &["a@hidden.test"]).await;
    }
    world.servers.are(at(FIRST), Mood::SendsAway);
    world.pass(Duration::from_secs(600), Duration::from_secs(1)).await;
    let (_, opened, most) = world.servers.connections();
    assert!(most == 1 && opened <= 20, "{opened} connections, {most} at the same time");
    assert!(world.spool.entries().iter().all(|one| one.attempts == 0), "no message was at fault");
    let state = world.queue.destination("hidden").unwrap();
    let (words, since) = state.away.unwrap();
    assert!(words.to_string().contains("too busy") && since >= EPOCH && state.next.is_some(), "{words}");
    world.servers.are(at(FIRST), Mood::Up);
    world.queue.is_back("hidden");
    world.until("the drain", |world| world.waiting() == 0).await;
}

#[tokio::test(start_paused = true)]
async fn when_the_first_server_is_away_or_sends_away_the_next_one_is_used() {
    for mood in [Mood::Down, Mood::SendsAway, Mood::Silent] {
        let world = World::new(|_| {});
        world.servers.are(at(FIRST), mood.clone());
        world.servers.are(at(SECOND), Mood::Up);
        world.store(1, &["a@hidden.test"]).await;
        world.until("it is delivered", |world| world.waiting() == 0).await;
        assert_eq!(world.servers.taken()[0].server, at(SECOND), "{mood:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_message_on_which_the_server_breaks_off_waits_and_lets_the_others_pass() {
    let world = World::new(|_| {});
    world.servers.are(at(FIRST), Mood::BreaksOff);
    let id = world.store(1, &["a@hidden.test"]).await;
    world.until("it was tried", |world| world.spool.entry(id).is_some_and(|one| one.attempts == 1)).await;
    world.servers.are(at(FIRST), Mood::Up);
    world.store(2, &["a@hidden.test"]).await;
    world.until("all pass", |world| world.waiting() == 0).await;
    assert_eq!(world.servers.taken().len(), 2);
}

#[tokio::test(start_paused = true)]
async fn a_flood_to_one_domain_does_not_hold_up_the_others_of_its_server() {
    let world = World::new(|settings| settings.hidden.connections = 1);
    for number in 1..=300 {
        world.store(number, &["a@hidden.test"]).await;
    }
    world.store(301, &["a@other.test"]).await;
    world.servers.are(at(FIRST), Mood::Up);
    world.until("the drain", |world| world.waiting() == 0).await;
    let order: Vec<_> = world.servers.taken().iter().map(server::Taken::number).collect();
    let place = order.iter().position(|number| *number == 301).unwrap();
    assert!(place < 10, "behind {place} others");
}

#[tokio::test(start_paused = true)]
async fn the_client_of_each_message_is_told_as_it_was_in_the_session() {
    let world = World::new(|_| {});
    world.servers.offer_xforward();
    world.servers.are(at(FIRST), Mood::Up);
    for number in 1..=5 {
        world.store(number, &["a@hidden.test"]).await;
    }
    world.until("the drain", |world| world.waiting() == 0).await;
    for taken in world.servers.taken() {
        assert_eq!(taken.xforward, ["XFORWARD ADDR=192.0.2.1 HELO=client.example"]);
    }
}

#[tokio::test(start_paused = true)]
async fn a_throttle_spaces_what_goes_to_a_destination() {
    let world = World::new(|settings| settings.hidden.interval = Duration::from_secs(6));
    world.servers.are(at(FIRST), Mood::Up);
    for number in 1..=10 {
        world.store(number, &["a@hidden.test"]).await;
    }
    world.until("the drain", |world| world.waiting() == 0).await;
    let times: Vec<_> = world.servers.taken().iter().map(|taken| taken.at).collect();
    let closest = times.windows(2).map(|two| two[1] - two[0]).min().unwrap();
    assert!(closest >= Duration::from_secs(5), "{closest:?}");
}
