//! `postern run --rules`, as the appliance's units start it: no root, three roles of one user, and a process of its own that keeps
//! the rule set.

use std::fs;
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use nix::unistd::{Uid, User, chown};
use postern_tests::clients::{Client, How, deliver};
use postern_tests::lab::{LAB, Lab, OUTSIDE, WORLD};
use postern_tests::mail::Mail;
use postern_tests::needs;
use postern_tests::needs::Need;
use postern_tests::ports;
use postern_tests::postern::{Options, Postern, USER, backend, program};
use postern_tests::scratch::Scratch;
use postern_tests::scripted::Client as Scripted;
use postern_tests::sink::Sink;
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType, bind, listen, socket_with};

use crate::roles::{Processes, be_rude, connects, number, status};

pub(crate) const OWN_USER: &[Need] = &[Need::Root, Need::Program("setpriv"), Need::Program("smtp-sink")];
const LIMIT: Duration = Duration::from_secs(60);
/// CAP_NET_BIND_SERVICE, CAP_NET_RAW.
const PORTS: u64 = 1 << 10 | 1 << 13;

/// Where the service manager listens for the keeper of the rule set.
pub(crate) struct Manager {
    scratch: Scratch,
    pub(crate) path: PathBuf,
    socket: OwnedFd,
}

impl Manager {
    pub(crate) fn new() -> Self {
        let scratch = Scratch::new("rules");
        let path = scratch.join("rules");
        let socket = socket_with(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None)
            .expect("a socket");
        bind(&socket, &SocketAddrUnix::new(&path).expect("a path that fits")).expect("a name");
        listen(&socket, 16).expect("a listening socket");
        chown(&path, Some(user()), None).expect("the user's socket");
        Self { scratch, path, socket }
    }

    /// What the first connection starts.
    pub(crate) fn keeper(&self, config: &Path) -> Keeper {
        let mut command = Command::new("setpriv");
        command.arg(format!("--regid={}", USER.1)).args([
            "--clear-groups",
            "--inh-caps=-all",
            "--bounding-set=-all,+net_admin",
            "--no-new-privs",
        ]);
        command.arg(program()).arg("--config").arg(config).arg("rules");
        let output = fs::File::create(self.scratch.join("output")).expect("a file");
        let socket = self.socket.try_clone().expect("a descriptor");
        command.stdin(socket).stdout(Stdio::null()).stderr(output);
        Keeper(command.spawn().expect("the keeper of the rule set"))
    }

    pub(crate) fn log(&self) -> String {
        fs::read_to_string(self.scratch.join("output")).unwrap_or_default()
    }
}

/// Ends when it is dropped.
pub(crate) struct Keeper(Child);

impl Drop for Keeper {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn user() -> Uid {
    User::from_name(USER.0).ok().flatten().expect("the user").uid
}

fn options(manager: &Manager, server: SocketAddr) -> Options {
    Options {
        config: backend(&["bench.test"], server, ""),
        rules: Some(manager.path.clone()),
        ..Default::default()
    }
}

#[test]
fn no_role_is_root_and_the_gate_has_nothing() {
    needs!(OWN_USER);
    let (manager, sink) = (Manager::new(), Sink::start(&[]));
    let mut postern = Postern::start(&options(&manager, sink.address()));
    let Processes { guard, gate, workers } = Processes::of(postern.process().pid().expect("a guard"));
    for pid in workers.iter().chain([&gate, &guard]) {
        let status = status(*pid);
        let id = user().to_string();
        assert!(status["Uid"].split_whitespace().all(|own| own == id), "{pid}: {}", status["Uid"]);
        assert_eq!((status["NoNewPrivs"].as_str(), number(&status, "CapBnd")), ("1", PORTS));
        let may = if *pid == guard { PORTS } else { 0 };
        assert_eq!((number(&status, "CapEff"), number(&status, "CapPrm")), (may, may), "{pid}");
        assert_eq!(status["Seccomp"], if *pid == guard { "0" } else { "2" });
    }
    let shown = postern.ask(&["status"]).output;
    assert!(shown.contains("roles: separate processes of one user"), "{shown}");
    let mail = Mail::new("a@source.test", &["b@bench.test"], "x\n");
    let result = deliver(Client::Wire, postern.smtp(), &mail, &How::default());
    assert!(result.accepted, "{}\n{}", result.output, postern.log());
}

#[test]
fn whom_a_gate_without_root_bans_the_kernel_turns_away() {
    needs!(LAB, OWN_USER);
    let lab = Lab::new();
    let (postern, manager, keeper, smtp) = lab.postern.run(|| {
        let manager = Manager::new();
        let postern = Postern::start(&Options {
            address: OUTSIDE.v4.into(),
            limits: "errors = 2".into(),
            ..options(&manager, ports::free())
        });
        let applied = postern.ask(&["firewall", "apply"]);
        assert!(applied.success, "{}", applied.output);
        let keeper = manager.keeper(postern.config());
        (postern, manager, keeper, SocketAddr::from((OUTSIDE.v4, 25)))
    });
    lab.world.run(move || Scripted::greeted(smtp, None).says("QUIT", "221 "));
    lab.world.run(move || be_rude(smtp));
    let client = format!("{}/32", WORLD.v4);
    let (postern, listed) = lab.postern.run(move || {
        let bans = || postern.ask(&["firewall", "bans"]).output;
        let listed = ports::wait_until(LIMIT, || bans().contains(&client).then_some(()));
        (postern, listed)
    });
    assert!(listed.is_some(), "{}\n{}", postern.log(), manager.log());
    assert!(!lab.world.run(move || connects(smtp)), "the kernel lets nothing of it through");
    lab.postern.run(move || {
        let removed = postern.ask(&["firewall", "remove"]);
        assert!(removed.success, "{}", removed.output);
        drop((postern, keeper));
    });
}

#[test]
fn who_asks_for_anything_but_the_three_verbs_is_heard_no_more() {
    needs!(OWN_USER);
    let (manager, sink) = (Manager::new(), Sink::start(&[]));
    let postern = Postern::start(&options(&manager, sink.address()));
    let _keeper = manager.keeper(postern.config());
    let line = sift_line(&manager.path);
    rustix::net::send(&line, b"nft flush ruleset", rustix::net::SendFlags::NOSIGNAL).expect("a listener");
    let heard = || manager.log().contains("is none of the four verbs").then_some(());
    assert!(ports::wait_until(LIMIT, heard).is_some(), "{}", manager.log());
    // Its end is closed.
    let closed = rustix::net::recv(&line, &mut [0; 1], rustix::net::RecvFlags::empty());
    assert!(matches!(closed, Ok((_, 0)) | Err(rustix::io::Errno::CONNRESET)), "{closed:?}");
}

fn sift_line(path: &Path) -> OwnedFd {
    let line = socket_with(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None)
        .expect("a socket");
    rustix::net::connect(&line, &SocketAddrUnix::new(path).expect("a path that fits")).expect("a listener");
    line
}

#[test]
fn root_is_told_that_this_is_not_for_root() {
    needs!(OWN_USER);
    let manager = Manager::new();
    let scratch = Scratch::new("root");
    let config = scratch.write(
        "postern.toml",
        format!(
            "hostname = \"mx.postern.test\"\nstate_dir = {:?}\n{}",
            scratch.join("state"),
            backend(&["bench.test"], ports::free(), "")
        ),
    );
    let ended = Command::new(program())
        .arg("--config")
        .arg(&config)
        .args(["run", "--rules"])
        .arg(&manager.path)
        .output();
    let ended = ended.expect("an end");
    let said = String::from_utf8_lossy(&ended.stderr);
    assert!(ended.status.code() == Some(2) && said.contains("is root"), "{:?}: {said}", ended.status);
}
