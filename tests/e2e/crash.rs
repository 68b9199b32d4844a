//! Law 1 with real processes: senders note every 250, the server behind notes every delivery, and Postern is killed with -9 again
//! and again while the server is up, down and flapping. What was promised was delivered or waits; what was delivered twice is what
//! SMTP cannot exclude.
//!
//! `POSTERN_KILLS=10000` kills as often; without, as often as every run can bear.
#![allow(
    clippy::disallowed_methods,
    reason = "real peers take real time: nothing here runs under a simulated clock"
)]

use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use postern_tests::ports;
use postern_tests::postern::{self, Options, Postern};
use postern_tests::promises::{
    Account, Kill, Ledger, Mood, Planted, Server, Waiting, content, keep_sending, number_of,
};
use record::SystemClock;
use spool::{Folder, RealDisk, Settings, Spool};

const KILLS: u32 = 200;
const SENDERS: usize = 4;
/// The server's moods, a turn each.
const MOODS: [&[Mood]; 4] =
    [&[Mood::Up], &[Mood::Down], &[Mood::Up, Mood::Breaking], &[Mood::Up, Mood::Down, Mood::Breaking]];
/// Some deliveries take no longer than this, also on a busy machine.
const ENOUGH: Duration = Duration::from_secs(60);
/// How long a mood lasts while it flaps.
const FLAP: Duration = Duration::from_millis(30);

fn kills() -> u32 {
    std::env::var("POSTERN_KILLS").ok().and_then(|text| text.parse().ok()).unwrap_or(KILLS)
}

/// What waits in a spool that nobody has open.
pub(crate) fn waiting(state: &Path) -> Vec<Waiting> {
    // The kernel takes a moment to let go of what killed processes held.
    let free = ports::wait_until(ports::START_LIMIT, || RealDisk::new(state.join("spool")).ok());
    let disk = Arc::new(free.expect("a spool that nobody has"));
    let spool = Spool::open(Settings::default(), disk, Arc::new(SystemClock)).expect("a spool that opens");
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    runtime.block_on(async {
        let mut found = Vec::new();
        for summary in spool.entries() {
            assert_eq!(summary.folder, Folder::Queue, "{}: {}", summary.folder.name(), summary.words);
            let mut opened = spool.open_entry(summary.id).await.expect("a sound message");
            let mut octets = Vec::new();
            while let Some(piece) = opened.content.next().await.expect("its content") {
                octets.extend_from_slice(&piece);
            }
            let number = number_of(&octets).expect("a message of ours");
            assert!(octets.ends_with(&content(number)), "{number} is not what was sent");
            let named = &opened.entry.envelope.recipients;
            let remain = opened.entry.recipients.iter().filter_map(|index| named.get(index));
            found.push((number, remain.map(|rcpt| rcpt.forward_path.as_str().to_owned()).collect()));
        }
        found
    })
}

fn kill_now(postern: &mut Postern) -> Kill {
    let begun = Instant::now();
    postern.kill();
    Kill { begun, over: Instant::now() }
}

/// Kills it so often, and what came of it.
fn life(kills: u32, planted: Option<Planted>) -> (Account, usize, usize) {
    let server = Server::start(planted);
    let options = Options {
        config: postern::backend(&["corp.test"], server.address(), "tls = \"off\""),
        limits: "sessions_per_ip = 1000\n".into(),
        ..Options::default()
    };
    let mut postern = Postern::start(&options);
    let (ledger, stop) = (Arc::new(Mutex::new(Ledger::default())), Arc::new(AtomicBool::new(false)));
    let stopped = |stop: &Arc<AtomicBool>| {
        let stop = Arc::clone(stop);
        move || stop.load(Ordering::Relaxed)
    };
    let mut threads: Vec<_> = (0..SENDERS)
        .map(|_| {
            let (to, ledger, stop) = (postern.smtp(), Arc::clone(&ledger), stopped(&stop));
            thread::spawn(move || keep_sending(to, &ledger, &stop))
        })
        .collect();
    let turn = Arc::new(Mutex::new(MOODS[0]));
    threads.push({
        let (server, turn, stop) = (server.clone(), Arc::clone(&turn), stopped(&stop));
        thread::spawn(move || {
            for step in 0.. {
                if stop() {
                    return;
                }
                let moods = *turn.lock().expect("no panic elsewhere");
                server.is(moods[step % moods.len()]);
                thread::sleep(FLAP);
            }
        })
    });
    let mut killed = Vec::new();
    for kill in 0..kills {
        *turn.lock().expect("no panic elsewhere") = MOODS[kill as usize % MOODS.len()];
        // Not in step with anything: 5 to 250 ms, the same in each run.
        thread::sleep(Duration::from_millis(u64::from(5 + kill * 7919 % 246)));
        if planted.is_some() {
            // One delivery in ten is wrong: there must have been some.
            *turn.lock().expect("no panic elsewhere") = MOODS[0];
            let enough = || (server.deliveries() >= 10 * (kill as usize + 1)).then_some(());
            ports::wait_until(ENOUGH, enough).expect("deliveries");
        }
        killed.push(kill_now(&mut postern));
        postern.start_again();
    }
    // What the last moods left may be drained by now. A server that breaks off takes nothing, so what is promised waits.
    *turn.lock().expect("no panic elsewhere") = &[Mood::Breaking];
    thread::sleep(2 * FLAP);
    let promised = || ledger.lock().expect("no panic elsewhere").promised.len();
    let before = promised() + SENDERS;
    ports::wait_until(ENOUGH, || (promised() > before).then_some(())).expect("promises while it breaks off");
    stop.store(true, Ordering::Relaxed);
    for thread in threads {
        thread.join().expect("no panic elsewhere");
    }
    killed.push(kill_now(&mut postern));
    let ledger =
        Arc::into_inner(ledger).and_then(|ledger| ledger.into_inner().ok()).expect("the senders are gone");
    let waiting = waiting(&postern.state());
    let account = Account::of(&ledger, &server, &waiting, &killed);
    println!(
        "{kills} kills, {} promised, {} deliveries, {} wait; too many: {} sent again unanswered, {} killed between, {} unexplained",
        ledger.promised.len(),
        server.deliveries(),
        waiting.len(),
        account.sent_again,
        account.killed_between,
        account.doubled.len(),
    );
    (account, ledger.promised.len(), waiting.len())
}

#[test]
fn kills_at_any_time_lose_nothing() {
    let kills = kills();
    let (account, promised, waiting) = life(kills, None);
    assert_eq!(account.lost, Vec::<String>::new(), "promised and lost");
    assert_eq!(account.changed, Vec::<u32>::new(), "changed on the way");
    assert_eq!(account.doubled, Vec::<String>::new(), "twice, and nothing explains it");
    assert!(2 * promised > kills as usize, "only {promised} were promised: nothing was tried");
    assert!(waiting > 0, "nothing was ever spooled: nothing was tried");
}

/// The harness complains where there is something to complain of, kills and all.
#[test]
fn a_lost_recipient_and_a_message_taken_twice_are_found() {
    let (account, ..) = life(4, Some(Planted::LosesRecipients));
    assert!(!account.lost.is_empty(), "{account:?}");
    let (account, ..) = life(4, Some(Planted::TakesTwice));
    assert!(!account.doubled.is_empty(), "{account:?}");
}
