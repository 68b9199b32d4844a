//! What becomes of recipients that are refused, and of messages whose time is over.

use spool::Order;

use super::server::Mood;
use super::*;

const FOREVER: &str = "550 5.1.1 no such user";
const LATER: &str = "452 4.2.2 mailbox full";

fn reports(world: &World) -> Vec<server::Taken> {
    world.servers.taken().into_iter().filter(|taken| taken.from.is_empty()).collect()
}

#[tokio::test(start_paused = true)]
async fn each_recipient_is_settled_by_itself() {
    let world = World::new(|_| {});
    world.servers.are(at(FIRST), Mood::Up);
    world.servers.are(at(INSIDE), Mood::Up);
    world.servers.answer("gone@hidden.test", FOREVER);
    world.servers.answer("full@hidden.test", LATER);
    let id = world.store(1, &["ok@hidden.test", "gone@hidden.test", "full@hidden.test"]).await;
    world
        .until("one is left", |world| world.spool.entry(id).is_some_and(|one| one.recipients.len() == 1))
        .await;
    let summary = world.spool.entry(id).unwrap();
    assert!(summary.recipients.contains(2) && summary.attempts == 1, "{summary:?}");
    assert_eq!(summary.words.to_string(), LATER);
    world.until("the report", |world| !reports(world).is_empty()).await;
    let [report] = &reports(&world)[..] else { panic!("one report") };
    assert_eq!((report.server, &report.to[..]), (at(INSIDE), &["s@inside.test".to_owned()][..]));
    assert!(
        report.content.contains("gone@hidden.test") && report.content.contains("5.1.1"),
        "{}",
        report.content
    );
    assert!(!report.content.contains("full@hidden.test"), "{}", report.content);
    world.servers.answer("full@hidden.test", "");
    world.until("nothing waits", |world| world.spool.entries().is_empty()).await;
    let to: Vec<_> =
        world.servers.taken().into_iter().filter(|one| one.number() == 1).flat_map(|one| one.to).collect();
    assert_eq!(to, ["ok@hidden.test", "full@hidden.test"]);
}

#[tokio::test(start_paused = true)]
async fn nobody_who_proved_nothing_is_told_and_what_was_refused_lies_in_expired_for_its_term() {
    let world = World::new(|_| {});
    world.servers.are(at(FIRST), Mood::Up);
    world.servers.are(at(INSIDE), Mood::Up);
    world.servers.answer("gone@hidden.test", FOREVER);
    world.servers.answer("full@hidden.test", LATER);
    let unknown = |number, to| world.store_as(number, "s@inside.test", SenderProof::Unknown, to, "");
    unknown(1, &["gone@hidden.test"]).await;
    unknown(2, &["gone@hidden.test", "full@hidden.test"]).await;
    world.store_as(3, "s@inside.test", SenderProof::Spf, &["gone@hidden.test"], " NOTIFY=NEVER").await;
    let expired = |world: &World| world.spool.select(Some(Folder::Expired), None);
    world.until("three are set aside", |world| expired(world).len() == 3).await;
    assert_eq!(world.waiting(), 1, "one waits for the full mailbox");
    assert!(reports(&world).is_empty());
    let first = expired(&world)[0];
    assert_eq!(world.spool.entry(first).unwrap().words.to_string(), FOREVER);
    // Released, it is tried anew; the server has changed its mind.
    world.servers.answer("gone@hidden.test", "");
    let released = Reply::new(ReplyCode::COMPLETED, None, "go");
    assert_eq!(world.queue.order(&[first], &Order::Release(released)).await.unwrap(), 1);
    world
        .until("it is delivered", |world| expired(world).len() == 2 && world.spool.entry(first).is_none())
        .await;
    world.pass(31 * DAY, HOUR).await;
    assert!(expired(&world).len() == 1, "the two have left; the one whose lifetime ended since has not");
}

#[tokio::test(start_paused = true)]
async fn when_its_time_is_over_the_sender_is_told_once_before_and_once_after() {
    let world = World::new(|_| {});
    world.servers.are(at(INSIDE), Mood::Up);
    world.store(1, &["a@hidden.test"]).await;
    world.store_as(2, "s@inside.test", SenderProof::Unknown, &["a@hidden.test"], "").await;
    world.pass(4 * HOUR + Duration::from_secs(60), Duration::from_secs(5)).await;
    let told = reports(&world);
    assert_eq!(told.len(), 1, "after four hours");
    assert!(told[0].content.contains("Action: delayed"), "{}", told[0].content);
    world.pass(4 * DAY, Duration::from_secs(30)).await;
    assert_eq!((reports(&world).len(), world.waiting()), (1, 2));
    world.pass(DAY, Duration::from_secs(30)).await;
    let told = reports(&world);
    assert_eq!(told.len(), 2, "after five days");
    assert!(told[1].content.contains("Action: failed"), "{}", told[1].content);
    // Chance decides with which of the two the server was looked for at last; the other one knows what it was stored with.
    let knows = ["connection refused", "451 4.4.1 away"].iter().any(|words| told[1].content.contains(words));
    assert!(knows, "{}", told[1].content);
    assert_eq!((world.waiting(), world.spool.select(Some(Folder::Expired), None).len()), (0, 1));
}

#[tokio::test(start_paused = true)]
async fn in_disaster_mode_nothing_expires_and_that_outlives_a_restart() {
    let world = World::new(|settings| settings.schedule.lifetime = HOUR);
    world.store(1, &["a@hidden.test"]).await;
    world.spool.set_disaster(true).await.unwrap();
    world.pass(3 * HOUR, Duration::from_secs(5)).await;
    assert_eq!(world.waiting(), 1);
    world.running.abort();
    let _ = (&mut { world.running }).await;
    let disk = world.disk.crash(1);
    drop((world.spool, world.queue));
    let world = World::on(disk, |settings| settings.schedule.lifetime = Duration::from_secs(1));
    assert!(world.spool.disaster().is_some());
    world.pass(HOUR, Duration::from_secs(5)).await;
    assert_eq!(world.waiting(), 1);
    world.spool.set_disaster(false).await.unwrap();
    world.servers.are(at(INSIDE), Mood::Up);
    world.until("the sender is told", |world| !reports(world).is_empty()).await;
}

#[tokio::test(start_paused = true)]
async fn a_backend_may_have_a_lifetime_of_its_own() {
    let world = World::new(|settings| {
        settings.lifetimes.insert("hidden".into(), HOUR);
    });
    world.servers.are(at(INSIDE), Mood::Up);
    world.store(1, &["a@hidden.test"]).await;
    world.pass(HOUR + Duration::from_secs(120), Duration::from_secs(5)).await;
    assert_eq!((world.waiting(), reports(&world).len()), (0, 1));
}

#[tokio::test(start_paused = true)]
async fn what_a_person_holds_back_is_not_tried_until_it_is_released() {
    let world = World::new(|_| {});
    let id = world.store(1, &["a@hidden.test"]).await;
    assert_eq!(world.queue.order(&[id], &Order::Hold).await.unwrap(), 1);
    world.servers.are(at(FIRST), Mood::Up);
    world.pass(HOUR, Duration::from_secs(5)).await;
    assert!(world.servers.taken().is_empty());
    let go = Reply::new(ReplyCode::COMPLETED, None, "go");
    assert_eq!(world.queue.order(&[id], &Order::Release(go)).await.unwrap(), 1);
    world.until("it goes", |world| world.servers.taken().len() == 1).await;
}
