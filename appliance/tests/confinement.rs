//! What the gate and a sift worker may not do: this program starts itself anew, lets the child give away its rights with
//! the same functions as the roles, and has it try one thing. The same tries succeed where nothing was given away.
//!
//! Needs root; says SKIP where it is not.

#![allow(clippy::unwrap_used, reason = "what fails here fails the test")]

use std::fs::File;
use std::io::{self, Write as _};
use std::net::{TcpListener, UdpSocket};
use std::os::unix::process::ExitStatusExt as _;
use std::path::Path;
use std::process::{Command, ExitStatus};

use appliance::roles::Account;
use appliance::roles::confine::files::Access;
use appliance::roles::confine::{become_gate, limits, lock_gate, lock_worker};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use nix::libc;
use rustix::net::{AddressFamily, SocketType, socket};
use rustix::thread::{CapabilitySet, Uid, set_thread_uid};

const TRY: &str = "POSTERN_TRY";
const FOLDER: &str = "POSTERN_TRY_FOLDER";
const NOBODY: u32 = 65_534;

/// What a child tells by its exit status.
const SUCCEEDED: i32 = 40;
const REFUSED: i32 = 41;
const NOT_CONFINED: i32 = 42;

/// What is tried, and how.
type Try = (&'static str, fn() -> io::Result<()>);

/// What a child may try. Each must succeed for root.
const TRIES: [Try; 22] = [
    ("exec", || match nix::unistd::execv(c"/bin/sh", &[c"sh", c"-c", c"exit 40"])? {}),
    ("kill", || Ok(nix::sys::signal::kill(nix::unistd::Pid::from_raw(1), None)?)),
    ("memory", || {
        let mut memory: Vec<u8> = Vec::new();
        memory
            .try_reserve_exact(2 * usize::try_from(limits::MEMORY).unwrap_or(usize::MAX))
            .map_err(io::Error::other)
    }),
    ("namespace", || Ok(nix::sched::unshare(nix::sched::CloneFlags::CLONE_NEWNET)?)),
    ("netlink", || socket(AddressFamily::NETLINK, SocketType::RAW, None).map(drop).map_err(Into::into)),
    ("open anything", || File::open("/etc/passwd").map(drop)),
    ("open shadow", || File::open("/etc/shadow").map(drop)),
    ("packet", || socket(AddressFamily::PACKET, SocketType::RAW, None).map(drop).map_err(Into::into)),
    ("other memory", || {
        let (mut here, there) = ([0; 1], [1; 1]);
        let remote = nix::sys::uio::RemoteIoVec { base: there.as_ptr() as usize, len: 1 };
        let local = &mut [io::IoSliceMut::new(&mut here)];
        Ok(nix::sys::uio::process_vm_readv(nix::unistd::Pid::this(), local, &[remote]).map(drop)?)
    }),
    ("read mail", read_mail),
    ("read much mail", read_much_mail),
    ("read own state", || File::open(folder().join("state/file")).map(drop)),
    ("raw socket", || {
        socket(AddressFamily::INET, SocketType::RAW, Some(rustix::net::ipproto::ICMP))
            .map(drop)
            .map_err(Into::into)
    }),
    ("root again", || Ok(set_thread_uid(Uid::ROOT)?)),
    ("named socket", || std::os::unix::net::UnixListener::bind(folder().join("state/named")).map(drop)),
    ("named socket in its place", || {
        std::os::unix::net::UnixListener::bind(folder().join("state/door/named")).map(drop)
    }),
    ("socket", || UdpSocket::bind("127.0.0.1:0").map(drop)),
    ("spawn", || Command::new("/bin/true").status().map(drop)),
    ("tcp", || TcpListener::bind("127.0.0.1:0").map(drop)),
    ("thread", || std::thread::Builder::new().spawn(|| ()).map(drop)),
    ("write elsewhere", || File::create(folder().join("elsewhere/file")).map(drop)),
    ("write own state", || File::create(folder().join("state/new")).map(drop)),
];

fn folder() -> std::path::PathBuf {
    std::env::var_os(FOLDER).unwrap_or_default().into()
}

/// A tar in gzip, in which there is a zip with `run.exe`.
const ARCHIVE: &str = concat!(
    "H4sIAAAAAAACA0vUq8osYKAtMAACMxMTMA0E6LSBoTmCDRE3MzcwZ1AwYKADKC0uSSwCWskwMkGANzOLCJDmAGLFGIGSs4og",
    "1hkgZgfiotI8vdSK1M+9sw4YxIAUMzKJMONWDgMNjAwIzQHerGwgLiMQmgJpXYZRMApGwSgYBaNgFIyCUTBwAAB2w8IHAAwA",
    "AA==",
);

/// What a worker does, with each of its parsers.
fn read_mail() -> io::Result<()> {
    let message = format!(
        "From: =?koi8-r?Q?=F0?= <a@b.example>\r\nContent-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\n\
         Content-Type: text/html; charset=iso-2022-jp\r\n\r\n<style>.x{{display:none}}</style><p class=x>hidden</p>\
         <a href='http://b\u{fc}cher.example/'>shown</a>\r\n--b\r\nContent-Transfer-Encoding: base64\r\n\
         Content-Disposition: attachment; filename=a.tar.gz\r\n\r\n{ARCHIVE}\r\n--b\r\n\r\n%PDF-1.5 /ObjStm stream\r\n--b--\r\n"
    );
    let content = sift::read(message.as_bytes(), &sift::Bounds::default());
    let octets = sift::encoded::encode(&content).map_err(io::Error::other)?;
    let has_program = content.parts.iter().any(|part| part.name == "run.exe");
    let is_whole = content.text.start == "shown" && content.hidden == "hidden" && has_program;
    if is_whole && !octets.is_empty() { Ok(()) } else { Err(io::Error::other(format!("{content:?}"))) }
}

/// The largest body that is read, made so that as much as possible of it is in memory more than once.
fn read_much_mail() -> io::Result<()> {
    // A worker reads 64 MiB of a body; each level of base64 takes a quarter off.
    const INNERMOST: usize = 35 << 20;
    let header = "Content-Type: message/rfc822\r\nContent-Transfer-Encoding: base64\r\n\r\n";
    let mut whole = "x".repeat(INNERMOST);
    for _ in 0..2 {
        let encoded = STANDARD.encode(whole);
        whole = [header, &encoded].concat();
    }
    let content = sift::read(whole.as_bytes(), &sift::Bounds::default());
    if content.parts.len() > 2 && content.text.octets > 0 {
        Ok(())
    } else {
        Err(io::Error::other(format!("{content:?}")))
    }
}

/// The child's side; in the parent it finds nothing to do.
#[test]
fn a_child_does_as_it_was_told() {
    let Ok(told) = std::env::var(TRY) else { return };
    let (role, what) = told.split_once(':').unwrap();
    let account = Account { user: NOBODY, group: NOBODY, groups: Vec::new(), name: "nobody".into() };
    let try_it = TRIES.iter().find(|(name, _)| *name == what).map(|(_, try_it)| *try_it);
    let confined = match role {
        "nobody in particular" => Ok(()),
        "worker" => lock_worker(&account),
        "gate" | "transparent gate" => become_gate(&account).and_then(|()| {
            let access = Access {
                read: Vec::new(),
                write: vec![folder().join("state")],
                sockets: vec![folder().join("state/door")],
            };
            let keep = if role == "gate" { CapabilitySet::empty() } else { CapabilitySet::NET_RAW };
            lock_gate(keep, &access).map(drop)
        }),
        other => panic!("{other}"),
    };
    if confined.is_err() {
        std::process::exit(NOT_CONFINED);
    }
    if what == "trace" {
        // A process that nobody traces: an error at most, where tracing is allowed.
        let _ = nix::sys::ptrace::cont(nix::unistd::Pid::this(), None);
        std::process::exit(REFUSED);
    }
    if what == "spin" {
        limits::renew_cpu();
        loop {
            std::hint::spin_loop();
        }
    }
    let outcome = try_it.unwrap()();
    std::process::exit(if outcome.is_ok() { SUCCEEDED } else { REFUSED });
}

struct Lab(tempfile::TempDir);

impl Lab {
    /// A folder that everybody may write to by its mode, so that only the confinement can be in the way.
    fn new() -> Option<Self> {
        if !rustix::process::geteuid().is_root() {
            // Past the test harness, which keeps to itself what a test prints that passes.
            io::stderr().write_all(b"SKIP: to become somebody else needs root\n").unwrap();
            return None;
        }
        let lab = Self(tempfile::tempdir().unwrap());
        for name in ["", "state", "state/door", "elsewhere"] {
            let path = lab.0.path().join(name);
            std::fs::create_dir_all(&path).unwrap();
            open_to_all(&path);
        }
        std::fs::write(lab.0.path().join("state/file"), b"x").unwrap();
        Some(lab)
    }

    fn attempt(&self, role: &str, what: &str) -> ExitStatus {
        Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "a_child_does_as_it_was_told", "--test-threads=1"])
            .env(TRY, format!("{role}:{what}"))
            .env(FOLDER, self.0.path())
            .output()
            .unwrap()
            .status
    }

    fn succeeds(&self, role: &str, what: &str) {
        let status = self.attempt(role, what);
        assert_eq!(status.code(), Some(SUCCEEDED), "{role} cannot {what}: {status}");
    }

    fn fails(&self, role: &str, what: &str) {
        let status = self.attempt(role, what);
        assert_eq!(status.code(), Some(REFUSED), "{role} and {what}: {status}");
    }

    fn is_killed(&self, role: &str, what: &str, signal: i32) {
        let status = self.attempt(role, what);
        assert_eq!(status.signal(), Some(signal), "{role} and {what}: {status}");
    }
}

fn open_to_all(path: &Path) {
    let mode = std::os::unix::fs::PermissionsExt::from_mode(0o777);
    std::fs::set_permissions(path, mode).unwrap();
}

#[test]
fn everything_that_is_tried_can_be_done_by_root() {
    let Some(lab) = Lab::new() else { return };
    for (what, _) in TRIES {
        lab.succeeds("nobody in particular", what);
    }
    lab.fails("nobody in particular", "trace");
}

#[test]
fn the_gate_does_its_work() {
    let Some(lab) = Lab::new() else { return };
    for what in [
        "memory",
        "named socket in its place",
        "read own state",
        "socket",
        "tcp",
        "thread",
        "write own state",
    ] {
        lab.succeeds("gate", what);
    }
}

#[test]
fn the_gate_is_refused_files_that_are_not_its_own_other_sockets_and_other_processes() {
    let Some(lab) = Lab::new() else { return };
    for what in [
        "kill",
        "named socket",
        "netlink",
        "open anything",
        "open shadow",
        "packet",
        "raw socket",
        "root again",
        "spawn",
        "write elsewhere",
    ] {
        lab.fails("gate", what);
    }
}

#[test]
fn the_gate_is_ended_by_what_only_an_intruder_tries() {
    let Some(lab) = Lab::new() else { return };
    for what in ["exec", "namespace", "other memory", "trace"] {
        lab.is_killed("gate", what, libc::SIGSYS);
    }
}

#[test]
fn a_gate_in_transparent_mode_has_one_capability_and_still_no_packet_sockets() {
    let Some(lab) = Lab::new() else { return };
    lab.succeeds("transparent gate", "raw socket");
    for what in ["packet", "netlink", "open shadow", "root again"] {
        lab.fails("transparent gate", what);
    }
}

#[test]
fn a_worker_is_ended_by_whatever_is_not_its_work() {
    let Some(lab) = Lab::new() else { return };
    for what in [
        "exec",
        "kill",
        "namespace",
        "netlink",
        "open anything",
        "other memory",
        "packet",
        "raw socket",
        "read own state",
        "root again",
        "socket",
        "spawn",
        "thread",
        "trace",
        "write own state",
    ] {
        lab.is_killed("worker", what, libc::SIGSYS);
    }
}

#[test]
fn a_worker_reads_mail_with_what_it_has() {
    let Some(lab) = Lab::new() else { return };
    for what in ["read mail", "read much mail"] {
        lab.succeeds("worker", what);
    }
}

#[test]
fn a_worker_gets_no_more_memory_than_it_may() {
    let Some(lab) = Lab::new() else { return };
    lab.fails("worker", "memory");
}

#[test]
fn a_worker_that_spins_is_ended_when_its_time_is_up() {
    let Some(lab) = Lab::new() else { return };
    lab.is_killed("worker", "spin", libc::SIGXCPU);
}
