//! When more is wanted than there is: refused before the promise, and those whose mail was taken before come first.

use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use postern_tests::needs;
use postern_tests::needs::Need;
use postern_tests::ports::{connect_from, wait_until};
use postern_tests::postern::{Options, Postern, backend};
use postern_tests::scratch::Scratch;
use postern_tests::sink::Sink;

use crate::roles::Processes;

const SINK: &[Need] = &[Need::Program("smtp-sink")];
const SINK_AND_ROLES: &[Need] = &[Need::Root, Need::Program("smtp-sink")];
const SINK_AND_MOUNT: &[Need] = &[Need::Root, Need::Program("smtp-sink"), Need::Program("mount")];
/// The backend's own address is nobody special here.
const STRANGERS: &str = "[outbound]\nnetworks = [\"203.0.113.0/24\"]";
const LIMIT: Duration = Duration::from_secs(30);

fn address(last: u8) -> Ipv4Addr {
    Ipv4Addr::new(127, 0, 0, last)
}

/// What comes until `wanted` does, or until the end.
fn read_until(stream: &mut TcpStream, wanted: &str) -> String {
    stream.set_read_timeout(Some(LIMIT)).expect("a timeout");
    let (mut text, mut buffer) = (String::new(), [0; 4096]);
    while !text.contains(wanted) {
        match stream.read(&mut buffer) {
            Ok(length @ 1..) => text.push_str(&String::from_utf8_lossy(&buffer[..length])),
            _ => break,
        }
    }
    text
}

/// A session from there that has its greeting, and the first words said to it.
fn knock(postern: &Postern, last: u8) -> (TcpStream, String) {
    let mut stream = connect_from(address(last), postern.smtp());
    let greeting = read_until(&mut stream, "\r\n");
    (stream, greeting)
}

fn send_mail(postern: &Postern, last: u8) {
    let (mut stream, greeting) = knock(postern, last);
    assert!(greeting.starts_with("220 "), "{greeting}");
    say(postern, &mut stream, "EHLO client.test", "250 ");
    send_message(postern, &mut stream);
    say(postern, &mut stream, "QUIT", "221 ");
}

fn send_message(postern: &Postern, stream: &mut TcpStream) {
    for (said, wanted) in [
        ("MAIL FROM:<a@source.test>", "250 "),
        ("RCPT TO:<b@bench.test>", "250 "),
        ("DATA", "354 "),
        ("Subject: x\r\n\r\nx\r\n.", "250 "),
    ] {
        say(postern, stream, said, wanted);
    }
}

fn say(postern: &Postern, stream: &mut TcpStream, said: &str, wanted: &str) {
    stream.write_all(format!("{said}\r\n").as_bytes()).expect("a session that lives");
    let heard = read_until(stream, wanted);
    assert!(heard.contains(wanted), "{said}: {heard}\n{}", postern.log());
}

#[test]
fn the_last_tenth_of_the_sessions_is_for_those_whose_mail_was_taken_before() {
    needs!(SINK);
    let sink = Sink::start(&[]);
    let config = format!("{}{STRANGERS}", backend(&["bench.test"], sink.address(), ""));
    let limits = "sessions = 20\nsessions_per_ip = 40".to_owned();
    let mut postern = Postern::start(&Options { config, limits, ..Default::default() });
    send_mail(&postern, 2);
    // That it was is not forgotten with a restart.
    postern.restart(Signal::SIGTERM);
    let open = || postern.metric("postern_open_sessions");
    assert!(wait_until(LIMIT, || (open() == 0.0).then_some(())).is_some(), "{}", open());

    let held: Vec<_> = (0..18).map(|_| knock(&postern, 3)).collect();
    assert!(held.iter().all(|(_, greeting)| greeting.starts_with("220 ")), "{:?}", held.last());
    let (_, stranger) = knock(&postern, 4);
    assert!(stranger.starts_with("421 4.3.2"), "{stranger}");
    send_mail(&postern, 2);
    // Its session is over for Postern a moment after its client has read the 221.
    assert!(wait_until(LIMIT, || (open() == 18.0).then_some(())).is_some(), "{}", open());
    let known: Vec<_> = (0..2).map(|_| knock(&postern, 2)).collect();
    assert!(known.iter().all(|(_, greeting)| greeting.starts_with("220 ")), "{known:?}");
    let (_, one_too_many) = knock(&postern, 2);
    assert!(one_too_many.starts_with("421 4.3.2"), "{one_too_many}");
    assert_eq!(postern.metric("postern_strain{resource=\"sessions\"}"), 2.0);
    let status = postern.ask(&["status"]).output;
    assert!(status.contains("no more open sessions"), "{status}");

    drop((held, known));
    assert!(wait_until(LIMIT, || (open() == 0.0).then_some(())).is_some(), "{}", open());
    send_mail(&postern, 4);
}

/// A small file system of the test's own.
struct SmallDisk(PathBuf);

impl SmallDisk {
    fn mount(at: &Path) -> Self {
        std::fs::create_dir_all(at).expect("a folder");
        let options = ["-t", "tmpfs", "-o", "size=64m,mode=755", "tmpfs"];
        assert!(Command::new("mount").args(options).arg(at).status().expect("mount").success());
        Self(at.into())
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(&self.0).status();
    }
}

#[test]
fn with_a_full_disk_nobody_is_let_in_until_there_is_room_again() {
    needs!(SINK_AND_MOUNT);
    let scratch = Scratch::new("small");
    let disk = SmallDisk::mount(&scratch.join("disk"));
    let sink = Sink::start(&[]);
    let config = format!("{}{STRANGERS}", backend(&["bench.test"], sink.address(), ""));
    let state = Some(disk.0.join("state"));
    let postern = Postern::start(&Options { config, state, ..Default::default() });
    let strain = || postern.metric("postern_strain{resource=\"disk\"}");
    let becomes = |wanted: f64| {
        let there = wait_until(LIMIT, || (strain() == wanted).then_some(()));
        assert!(there.is_some(), "{} instead of {wanted}\n{}", strain(), postern.log());
    };
    send_mail(&postern, 2);
    // 64 MiB: below 3.2 free only known senders are let in, below 1.28 nobody is.
    let filling = disk.0.join("filling");
    std::fs::write(&filling, vec![0; 61 << 20]).unwrap();
    becomes(1.0);
    send_mail(&postern, 2);
    let (_, stranger) = knock(&postern, 3);
    assert!(stranger.starts_with("421 4.3.2"), "{stranger}");
    std::fs::write(&filling, vec![0; 63 << 20]).unwrap();
    becomes(2.0);
    let (_, known) = knock(&postern, 2);
    assert!(known.starts_with("421 4.3.2"), "{known}");
    std::fs::remove_file(&filling).unwrap();
    becomes(0.0);
    send_mail(&postern, 3);
    drop(postern);
}

/// Sessions that bring one message after the other.
const BUSY: usize = 20;

#[test]
fn while_those_who_read_mail_hang_strangers_wait_outside_and_who_is_in_is_served() {
    needs!(SINK_AND_ROLES);
    let sink = Sink::start(&[]);
    let more = format!("{STRANGERS}\n[resolver]\nservers = [\"127.0.0.1:1\"]\n");
    let config = format!("{}{more}", backend(&["bench.test"], sink.address(), ""));
    let judge = "action = \"enforce\"\n".to_owned();
    let mut postern = Postern::start(&Options { config, judge, ..Default::default() });
    let guard = postern.process().pid().expect("a guard");
    let strain = || postern.metric("postern_strain{resource=\"judge\"}");
    send_mail(&postern, 2);
    let busy: Vec<_> = (0..BUSY).map(|_| knock(&postern, 3)).collect();
    let stop = AtomicBool::new(false);
    thread::scope(|scope| {
        let sessions: Vec<_> = busy
            .into_iter()
            .map(|(mut stream, greeting)| {
                let (postern, stop) = (&postern, &stop);
                scope.spawn(move || {
                    assert!(greeting.starts_with("220 "), "{greeting}");
                    say(postern, &mut stream, "EHLO client.test", "250 ");
                    while !stop.load(Ordering::Relaxed) {
                        send_message(postern, &mut stream);
                    }
                })
            })
            .collect();
        // A reader that hangs is ended after ten seconds, and another takes its place.
        let refused = (0..5).find_map(|_| {
            for worker in Processes::of(guard).workers {
                let pid = i32::try_from(worker).expect("a process");
                let _ = kill(Pid::from_raw(pid), Signal::SIGSTOP);
            }
            wait_until(LIMIT / 2, || {
                let (_, words) = knock(&postern, 4);
                words.starts_with("421 4.3.2").then(|| postern.ask(&["status"]).output)
            })
        });
        stop.store(true, Ordering::Relaxed);
        let status = refused.unwrap_or_else(|| panic!("strangers are let in:\n{}", postern.log()));
        for session in sessions {
            session.join().expect("every message has its 250");
        }
        assert!(
            postern.log().contains("resource=\"judge\"") || status.contains("time for verdicts"),
            "{status}"
        );
    });
    assert!(
        wait_until(LIMIT, || (strain() == 0.0).then_some(())).is_some(),
        "{}\n{}",
        strain(),
        postern.log()
    );
    send_mail(&postern, 4);
}
