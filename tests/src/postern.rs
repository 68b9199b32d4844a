//! Postern itself, as the built program, with a config of the test's.

use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use nix::sys::signal::Signal;

use crate::certificate::Certificate;
use crate::child::{self, Child, Ended};
use crate::needs::Need;
use crate::ports;
use crate::scratch::Scratch;

/// What a test's Postern is told.
#[derive(Clone, Debug)]
pub struct Options {
    /// What it is called.
    pub hostname: &'static str,
    /// Where its listeners are.
    pub address: IpAddr,
    /// Where the one for mail is; default: on a free port there.
    pub smtp: Option<SocketAddr>,
    /// `[[backend]]` tables and whatever else, in TOML, behind what every test has.
    pub config: String,
    /// Its certificate; self-signed without.
    pub certificate: Option<Certificate>,
    /// The `proxy_protocol_from` of the port for mail, as TOML.
    pub proxies: String,
    /// What `[limits]` says, as TOML.
    pub limits: String,
    /// What `[tls]` says besides certificates, as TOML.
    pub tls: String,
    /// What `[judge]` says, as TOML; judging is off without.
    pub judge: String,
    /// What `[acme]` says, as TOML; nothing is ordered without.
    pub acme: String,
    /// What `[http]` says, as TOML; no public web server without.
    pub http: String,
    /// Where its state is; without, in a folder of its own.
    pub state: Option<PathBuf>,
    /// Where the page is; default: on a free port of loopback.
    pub admin: Option<SocketAddr>,
    /// Where `postern rules` listens: it is started as [`USER`] then, with no capabilities but [`PORTS`].
    pub rules: Option<PathBuf>,
    /// All roles in one process, though this is root: without the capability to change users.
    pub one_process: bool,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            hostname: "mx.postern.test",
            address: Ipv4Addr::LOCALHOST.into(),
            smtp: None,
            config: String::new(),
            certificate: None,
            proxies: "[]".into(),
            limits: String::new(),
            tls: String::new(),
            judge: "enabled = false\n".into(),
            acme: "enabled = false\n".into(),
            http: "plain = \"\"\ntls = \"\"\n".into(),
            state: None,
            admin: None,
            rules: None,
            one_process: false,
        }
    }
}

/// Where Debian has it.
const FAKETIME: &str = "/usr/lib/x86_64-linux-gnu/faketime/libfaketime.so.1";
/// Another time for Postern.
pub const LATER: &[Need] = &[Need::Program("faketime")];
/// Has a program believe that it is so many hours later; what it waits for takes as long as it does.
pub fn later(command: &mut Command, hours: u32) {
    command.env("LD_PRELOAD", FAKETIME).env("FAKETIME", format!("+{hours}h"));
    command.env("FAKETIME_DONT_FAKE_MONOTONIC", "1").env("FAKETIME_DONT_RESET", "1");
}

/// Who has no files anywhere, and the group.
pub const USER: (&str, &str) = ("nobody", "nogroup");
/// What a service manager gives a Postern without root, as setpriv has it.
pub const PORTS: &str = "-all,+net_bind_service,+net_raw";

/// One backend for `domains`, on `server`, in TOML; `more` are further lines.
pub fn backend(domains: &[&str], server: SocketAddr, more: &str) -> String {
    format!("[[backend]]\ndomains = {domains:?}\nservers = [\"{server}\"]\n{more}\n")
}

/// A running Postern.
#[derive(Debug)]
pub struct Postern {
    smtp: SocketAddr,
    submission: SocketAddr,
    submissions: SocketAddr,
    admin: SocketAddr,
    config: PathBuf,
    process: Child,
    state: PathBuf,
    scratch: Scratch,
}

impl Postern {
    /// Starts it and waits until it takes mail.
    ///
    /// # Panics
    ///
    /// If it does not.
    pub fn start(options: &Options) -> Self {
        let scratch = Scratch::new("postern");
        let address = options.address;
        let (smtp, submission, submissions) = (
            options.smtp.unwrap_or_else(|| ports::free_on(address)),
            ports::free_on(address),
            ports::free_on(address),
        );
        let admin = options.admin.unwrap_or_else(ports::free);
        let certificates = options.certificate.as_ref().map_or_else(String::new, |certificate| {
            format!("certificates = [{{ chain = {:?}, key = {:?} }}]\n", certificate.chain, certificate.key)
        });
        let state = options.state.clone().unwrap_or_else(|| scratch.join("state"));
        let text = format!(
            "hostname = \"{hostname}\"\nstate_dir = {state:?}\n\
             [[listener]]\naddress = \"{smtp}\"\nprotocol = \"smtp\"\nproxy_protocol_from = {proxies}\n\
             [[listener]]\naddress = \"{submission}\"\nprotocol = \"submission\"\n\
             [[listener]]\naddress = \"{submissions}\"\nprotocol = \"submissions\"\n\
             {config}\n[acme]\n{acme}\n[judge]\n{judge}\n[http]\n{http}\n\
             [admin]\nlisten = \"{admin}\"\n[tls]\n{certificates}{tls}\n[limits]\n{limits}\n",
            hostname = options.hostname,
            proxies = options.proxies,
            config = options.config,
            tls = options.tls,
            judge = options.judge,
            acme = options.acme,
            http = options.http,
            limits = options.limits,
        );
        let config = scratch.write("postern.toml", text.as_bytes());
        let run = match &options.rules {
            None if options.one_process => without_roles(&config),
            None => command(&config, &["run"]),
            Some(rules) => {
                scratch.folder("state", USER.0);
                without_root(&config, rules)
            }
        };
        let mut process = Child::spawn("postern", &run, &scratch.join("output"));
        process.expect_listening(admin);
        process.expect_listening(smtp);
        Self { smtp, submission, submissions, admin, config, process, state, scratch }.when_it_answers()
    }

    /// Ports are open before there is somebody to serve them: who changes files next must wait until they were read.
    fn when_it_answers(self) -> Self {
        let answers = ports::wait_until(ports::START_LIMIT, || self.is_alive().then_some(()));
        assert!(answers.is_some(), "it does not answer:\n{}", self.log());
        self
    }

    /// Starts a gateway on the machine where this runs, whose interfaces are `outside` and `inside`. `config` is all of its
    /// config but for the host's name, the state folder and the mode. Waits until it takes mail.
    ///
    /// # Panics
    ///
    /// If it does not.
    pub fn gateway(config: &str) -> Self {
        let scratch = Scratch::new("postern");
        let (smtp, submission, submissions, admin) =
            (local(25), local(587), local(465), SocketAddr::from((Ipv4Addr::LOCALHOST, 8080)));
        let text = format!(
            "hostname = \"mx.postern.test\"\nstate_dir = {:?}\n[network]\nmode = \"gateway\"\n\
             outside = \"outside\"\ninside = \"inside\"\n[acme]\nenabled = false\n{judge}[http]\nplain = \"\"\ntls = \"\"\n{config}\n",
            scratch.join("state"),
            judge = if config.contains("[judge]") { "" } else { "[judge]\nenabled = false\n" },
        );
        let state = scratch.join("state");
        let config = scratch.write("postern.toml", text.as_bytes());
        let mut process = Child::spawn("postern", &command(&config, &["run"]), &scratch.join("output"));
        process.expect_listening(admin);
        process.expect_listening(smtp);
        Self { smtp, submission, submissions, admin, config, process, state, scratch }.when_it_answers()
    }

    /// Where mail comes in.
    pub fn smtp(&self) -> SocketAddr {
        self.smtp
    }

    /// Submission with STARTTLS.
    pub fn submission(&self) -> SocketAddr {
        self.submission
    }

    /// Submission with implicit TLS.
    pub fn submissions(&self) -> SocketAddr {
        self.submissions
    }

    /// The status page.
    pub fn admin(&self) -> SocketAddr {
        self.admin
    }

    /// Its config file, to be changed before a reload.
    pub fn config(&self) -> &Path {
        &self.config
    }

    /// Its state folder.
    pub fn state(&self) -> PathBuf {
        self.state.clone()
    }

    /// What it has logged.
    pub fn log(&self) -> String {
        self.process.output()
    }

    /// Its process.
    pub fn process(&mut self) -> &mut Child {
        &mut self.process
    }

    /// The process that serves clients: the gate, where it is one of its own (as root).
    pub fn serving(&mut self) -> Option<u32> {
        let first = self.process.pid()?;
        let is_gate = |pid: &u32| {
            let words = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
            words.split(|octet| *octet == 0).any(|word| word == b"gate")
        };
        let children = std::fs::read_to_string(format!("/proc/{first}/task/{first}/children")).ok()?;
        let mut children = children.split_whitespace().filter_map(|pid| pid.parse().ok());
        Some(children.find(is_gate).unwrap_or(first))
    }

    /// Ends it by SIGTERM, or at once by SIGKILL, and starts it with the same config and state.
    ///
    /// # Panics
    ///
    /// If it does not end, or does not start.
    pub fn restart(&mut self, how: Signal) {
        self.process.signal(how);
        assert!(self.process.wait(Duration::from_secs(60)).is_some(), "it does not end:\n{}", self.log());
        let gone = || (!ports::wait(self.smtp, Duration::ZERO)).then_some(());
        assert!(ports::wait_until(ports::START_LIMIT, gone).is_some(), "somebody still listens");
        self.start_again();
    }

    /// SIGKILL to the first process; the kernel ends the others with it. Waits until nothing of it is left.
    ///
    /// # Panics
    ///
    /// If something stays.
    pub fn kill(&mut self) {
        let serving = self.serving();
        self.process.signal(Signal::SIGKILL);
        let gone = ports::wait_until(ports::START_LIMIT, || {
            let alive = |pid: u32| Path::new(&format!("/proc/{pid}/fd/0")).symlink_metadata().is_ok();
            // A process that is gone to the eye may still be closing what it had open.
            let closed = || TcpListener::bind(self.smtp).is_ok() && TcpListener::bind(self.admin).is_ok();
            (self.process.ended().is_some() && !serving.is_some_and(alive) && closed()).then_some(())
        });
        assert!(gone.is_some(), "it survives being killed");
    }

    /// Starts it with the same config and state, after it ended or was killed, and waits until it takes mail.
    ///
    /// # Panics
    ///
    /// If it does not.
    pub fn start_again(&mut self) {
        let run = command(&self.config, &["run"]);
        self.start_with(&run);
    }

    fn start_with(&mut self, run: &Command) {
        self.process = Child::spawn("postern", run, &self.scratch.join("output-again"));
        self.process.expect_listening(self.admin);
        self.process.expect_listening(self.smtp);
        let answers = ports::wait_until(ports::START_LIMIT, || self.is_alive().then_some(()));
        assert!(answers.is_some(), "it does not answer:\n{}", self.log());
    }

    /// As [`start_again`](Self::start_again), with a clock that is so many hours ahead.
    ///
    /// # Panics
    ///
    /// If it does not start.
    pub fn start_later(&mut self, hours: u32) {
        let mut run = command(&self.config, &["run"]);
        later(&mut run, hours);
        self.start_with(&run);
    }

    /// SIGTERM, and waits for its end.
    ///
    /// # Panics
    ///
    /// If it does not end.
    pub fn stop(&mut self) {
        self.process.signal(Signal::SIGTERM);
        let ended = self.process.wait(Duration::from_secs(60));
        assert!(ended.is_some(), "it does not end:\n{}", self.log());
    }

    /// A file of the test's own beside its config.
    pub fn beside(&self, name: &str) -> PathBuf {
        self.scratch.join(name)
    }

    /// SIGHUP.
    pub fn reload(&self) {
        self.process.signal(Signal::SIGHUP);
    }

    /// Runs another command of the program with this one's config.
    pub fn ask(&self, arguments: &[&str]) -> Ended {
        self.ask_within(arguments, Duration::from_secs(20))
    }

    /// Begins another command of the program with this one's config; its output goes beside that.
    pub fn begin(&self, name: &str, arguments: &[&str]) -> Child {
        Child::spawn(name, &command(&self.config, arguments), &self.scratch.join(&format!("output-{name}")))
    }

    /// The same for a command that takes its time.
    pub fn ask_within(&self, arguments: &[&str], limit: Duration) -> Ended {
        child::run(&command(&self.config, arguments), limit)
    }

    /// GET by the command line's socket, which needs no login: status line, headers and body.
    ///
    /// # Panics
    ///
    /// If there is no answer.
    pub fn get(&self, path: &str) -> String {
        self.try_get(path).expect("an answer of the status page")
    }

    fn try_get(&self, path: &str) -> io::Result<String> {
        let stream = UnixStream::connect(self.state.join("door/commands"))?;
        stream.set_read_timeout(Some(Duration::from_secs(10)))?;
        exchange(stream, "localhost", path)
    }

    fn is_alive(&self) -> bool {
        self.try_get("/healthz").is_ok_and(|answer| answer.starts_with("HTTP/1.1 200 "))
    }

    /// GET from the page's address, as anybody on the machine may.
    ///
    /// # Panics
    ///
    /// If there is no answer.
    pub fn get_as_anybody(&self, path: &str) -> String {
        get(self.admin, path)
    }

    /// The number behind a metric whose line begins with `name` (labels included); 0 where there is none.
    pub fn metric(&self, name: &str) -> f64 {
        let metrics = self.get("/metrics");
        let line = metrics.lines().find(|line| line.starts_with(name) && !line.starts_with('#'));
        line.and_then(|line| line.rsplit(' ').next()?.parse().ok()).unwrap_or(0.0)
    }
}

/// GET from an admin address, for who is on another machine than the test.
///
/// # Panics
///
/// If there is no answer.
pub fn get(admin: SocketAddr, path: &str) -> String {
    try_get(admin, path).expect("an answer of the status page")
}

fn try_get(admin: SocketAddr, path: &str) -> Option<String> {
    let stream = TcpStream::connect(admin).ok()?;
    stream.set_read_timeout(Some(Duration::from_secs(10))).ok()?;
    exchange(stream, &admin.to_string(), path).ok()
}

fn exchange(mut stream: impl io::Read + io::Write, host: &str, path: &str) -> io::Result<String> {
    write!(stream, "GET {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n")?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    Ok(answer)
}

fn local(port: u16) -> SocketAddr {
    SocketAddr::from((Ipv4Addr::LOCALHOST, port))
}

/// The identifier at the end of a reply of Postern's, in brackets; empty if there is none.
pub fn trace_id(reply: &str) -> &str {
    let inside = reply.trim_end().rsplit_once('(').and_then(|(_, rest)| rest.strip_suffix(')'));
    inside.unwrap_or_default()
}

fn command(config: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new(program());
    command.arg("--config").arg(config).args(arguments);
    command
}

fn without_roles(config: &Path) -> Command {
    let mut command = Command::new("setpriv");
    command.args(["--bounding-set=-setuid", "--inh-caps=-all"]).arg(program());
    command.arg("--config").arg(config).arg("run");
    command
}

fn without_root(config: &Path, rules: &Path) -> Command {
    let mut command = Command::new("setpriv");
    command.arg(format!("--reuid={}", USER.0)).arg(format!("--regid={}", USER.1)).arg("--clear-groups");
    for set in ["inh-caps", "ambient-caps", "bounding-set"] {
        command.arg(format!("--{set}={PORTS}"));
    }
    command.arg("--no-new-privs").arg(program()).arg("--config").arg(config).arg("run");
    command.arg("--rules").arg(rules);
    command
}

/// The built program: from `POSTERN_BIN`, or beside the test's own binary.
pub fn program() -> PathBuf {
    if let Some(program) = std::env::var_os("POSTERN_BIN") {
        return program.into();
    }
    let workspace = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap_or_else(|| Path::new("."));
    workspace.join("target/debug/postern")
}
