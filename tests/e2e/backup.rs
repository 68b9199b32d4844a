//! `postern backup` and `postern restore`: made while mail comes in, opened by the right key only, restored into an empty folder and
//! delivered from there; and what does not verify changes nothing.
#![allow(
    clippy::disallowed_methods,
    reason = "real peers take real time: nothing here runs under a simulated clock"
)]

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use postern_tests::certificate::Authority;
use postern_tests::ports;
use postern_tests::postern::{self, Options, Postern};
use postern_tests::promises::{Ledger, Mood, Server, Told, keep_sending, send};

use crate::crash::waiting;

/// A message that was deferred once is tried again after a minute or so.
const DRAINED: Duration = Duration::from_secs(120);

/// The authority's files are read again after a restart and a restore.
fn start(server: &Server, authority: &Authority) -> Postern {
    let certificate = Some(authority.certify(&["localhost"]));
    Postern::start(&Options {
        config: postern::backend(&["corp.test"], server.address(), "tls = \"off\""),
        certificate,
        limits: "sessions_per_ip = 1000\n".into(),
        ..Options::default()
    })
}

/// Runs a command of the program with a passphrase in a file.
fn with_passphrase(postern: &Postern, arguments: &[&str], passphrase: &str) -> postern_tests::child::Ended {
    let file = postern.beside("passphrase");
    fs::write(&file, format!("{passphrase}\n")).expect("a file for the passphrase");
    let file = file.display().to_string();
    postern.ask(&[arguments, &["--passphrase-file", &file]].concat())
}

fn numbers(state: &Path) -> BTreeSet<u32> {
    waiting(state).into_iter().map(|(number, _)| number).collect()
}

#[test]
fn what_was_promised_before_a_backup_is_restored_into_an_empty_folder_and_delivered() {
    let server = Server::start(None);
    let authority = Authority::new();
    let mut postern = start(&server, &authority);
    server.is(Mood::Breaking);
    let early: BTreeSet<u32> = (1_000_000..1_000_012).collect();
    for &number in &early {
        assert_eq!(send(postern.smtp(), number), Told::Promised);
    }
    // It goes on while the backup is made.
    let (ledger, stop) = (Arc::new(Mutex::new(Ledger::default())), Arc::new(AtomicBool::new(false)));
    let (to, noting, stopped) = (postern.smtp(), Arc::clone(&ledger), Arc::clone(&stop));
    let sender = thread::spawn(move || keep_sending(to, &noting, &|| stopped.load(Ordering::Relaxed)));
    let promised = || ledger.lock().unwrap().promised.clone();
    ports::wait_until(DRAINED, || (promised().len() > 20).then_some(())).unwrap();
    let before = promised();
    let file = postern.beside("backup.age");
    let path = file.display().to_string();
    let made = with_passphrase(&postern, &["backup", &path], "correct horse");
    assert!(made.success && !made.output.contains("without what"), "{}", made.output);
    assert!(!postern.state().join("store.export").exists(), "it is in the backup, and nowhere else");
    stop.store(true, Ordering::Relaxed);
    sender.join().unwrap();
    // A second one does not write over it, and a wrong passphrase opens nothing.
    assert_eq!(with_passphrase(&postern, &["backup", &path], "x").code, Some(2));
    assert_eq!(with_passphrase(&postern, &["restore", &path, "--verify"], "wrong").code, Some(1));
    let whole = with_passphrase(&postern, &["restore", &path, "--verify"], "correct horse");
    assert!(whole.success && whole.output.contains("is whole"), "{}", whole.output);
    // Not while it runs.
    let refused = with_passphrase(&postern, &["restore", &path], "correct horse");
    assert!(refused.code == Some(3) && refused.output.contains("is in use"), "{}", refused.output);

    postern.stop();
    let (config, state) = (postern.config().to_owned(), postern.state());
    let text = fs::read_to_string(&config).unwrap();
    fs::remove_dir_all(&state).unwrap();
    fs::remove_file(&config).unwrap();
    let restored = with_passphrase(&postern, &["restore", &path], "correct horse");
    assert!(restored.success && restored.output.contains("messages in queue"), "{}", restored.output);
    assert_eq!(fs::read_to_string(&config).unwrap(), text);
    let found = numbers(&state);
    assert!(found.is_superset(&early) && found.is_superset(&before), "{found:?}\n{before:?}");
    // What was remembered is there, too: whom its servers had accepted, when none of them can be asked.
    server.is(Mood::Down);
    postern.start_again();
    let status = postern.get("/api/v1/status");
    let status = status.split_once("\r\n\r\n").map_or("", |(_, body)| body);
    let status: serde_json::Value = serde_json::from_str(status).unwrap();
    let known = status["backends"][0]["recipients"]["accepted"].as_u64().unwrap_or_default();
    assert!(known >= early.len() as u64, "{known} are known: {status}");
    server.is(Mood::Up);
    let delivered = ports::wait_until(DRAINED, || (server.deliveries() >= found.len()).then_some(()));
    assert!(delivered.is_some(), "{} of {}\n{}", server.deliveries(), found.len(), postern.log());
    ports::wait_until(Duration::from_secs(10), || {
        (postern.metric("postern_open_sessions") < 1.0).then_some(())
    });
    postern.stop();
    assert_eq!(numbers(&state), BTreeSet::new());
}

#[test]
fn a_restore_puts_the_old_state_aside_and_leaves_out_what_it_is_told_to() {
    let server = Server::start(None);
    let authority = Authority::new();
    let mut postern = start(&server, &authority);
    server.is(Mood::Breaking);
    assert_eq!(send(postern.smtp(), 1), Told::Promised);
    let path = postern.beside("backup.age").display().to_string();
    assert!(with_passphrase(&postern, &["backup", &path], "correct horse").success);
    assert_eq!(send(postern.smtp(), 2), Told::Promised);
    postern.stop();
    let state = postern.state();
    let key = fs::read(state.join("loop.key")).unwrap();
    fs::write(state.join("loop.key"), [7; 32]).unwrap();
    let restored = with_passphrase(
        &postern,
        &["--json", "restore", &path, "--without-queue", "--without-config"],
        "correct horse",
    );
    assert!(restored.success, "{}", restored.output);
    let told: serde_json::Value = serde_json::from_str(&restored.output).unwrap();
    assert_eq!((&told["left_out"], &told["messages"]), (&1.into(), &serde_json::json!({})));
    assert_eq!(fs::read(state.join("loop.key")).unwrap(), key);
    assert_eq!(numbers(&state), BTreeSet::new());
    // Nothing of what was there is lost.
    let aside = Path::new(told["done"]["aside"].as_str().unwrap());
    assert_eq!(fs::read(aside.join("loop.key")).unwrap(), [7; 32]);
    assert_eq!(numbers(aside), BTreeSet::from([1, 2]));
    server.is(Mood::Up);
    postern.start_again();
    assert_eq!(send(postern.smtp(), 3), Told::Promised);
}

#[test]
fn a_backup_that_was_changed_or_cut_off_changes_nothing() {
    let server = Server::start(None);
    let authority = Authority::new();
    let mut postern = start(&server, &authority);
    let path = postern.beside("backup.age");
    let made = with_passphrase(&postern, &["backup", &path.display().to_string()], "correct horse");
    assert!(made.success, "{}", made.output);
    postern.stop();
    let (state, whole) = (postern.state(), fs::read(&path).unwrap());
    fs::write(state.join("mark"), "here").unwrap();
    let (half, other) = (whole.len() / 2, postern.beside("changed.age"));
    let mut changed = whole.clone();
    changed[half] ^= 1;
    let arguments = ["restore", &other.display().to_string()];
    for octets in [&changed[..], &whole[..half], &whole[..whole.len() - 1], b"no backup at all", b""] {
        fs::write(&other, octets).unwrap();
        let refused = with_passphrase(&postern, &arguments, "correct horse");
        assert_eq!(refused.code, Some(1), "{}", refused.output);
        assert_eq!(fs::read_to_string(state.join("mark")).unwrap(), "here");
        assert!(!state.join("restore.new").exists());
    }
    postern.start_again();
}

#[test]
fn it_does_not_start_on_half_a_restore() {
    let server = Server::start(None);
    let authority = Authority::new();
    let mut postern = start(&server, &authority);
    postern.stop();
    let ready = postern.state().join("restore.ready");
    fs::create_dir_all(ready.join("state")).unwrap();
    fs::write(ready.join("plan.json"), "{\"stamp\":1,\"outside\":[],\"left\":[]}").unwrap();
    fs::write(ready.join("state/mark"), "new").unwrap();
    let refused = postern.ask(&["run"]);
    assert!(refused.code == Some(3) && refused.output.contains("restore --resume"), "{}", refused.output);
    let resumed = postern.ask(&["restore", "--resume"]);
    assert!(resumed.success, "{}", resumed.output);
    assert_eq!(fs::read_to_string(postern.state().join("mark")).unwrap(), "new");
    assert!(postern.state().join("before-restore-1/loop.key").exists());
    postern.start_again();
    assert_eq!(send(postern.smtp(), 1), Told::Promised);
}
