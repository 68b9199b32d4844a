//! Postern itself, as the built program, with a config of the test's.

use std::io::{Read as _, Write as _};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use nix::sys::signal::Signal;

use crate::certificate::Certificate;
use crate::child::{self, Child, Ended};
use crate::ports;
use crate::scratch::Scratch;

/// What a test's Postern is told.
#[derive(Clone, Debug)]
pub struct Options {
    /// Where its listeners are.
    pub address: IpAddr,
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
}

impl Default for Options {
    fn default() -> Self {
        Self {
            address: Ipv4Addr::LOCALHOST.into(),
            config: String::new(),
            certificate: None,
            proxies: "[]".into(),
            limits: String::new(),
            tls: String::new(),
        }
    }
}

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
        let (smtp, submission, submissions) =
            (ports::free_on(address), ports::free_on(address), ports::free_on(address));
        let admin = ports::free();
        let certificates = options.certificate.as_ref().map_or_else(String::new, |certificate| {
            format!("certificates = [{{ chain = {:?}, key = {:?} }}]\n", certificate.chain, certificate.key)
        });
        let text = format!(
            "hostname = \"mx.postern.test\"\nstate_dir = {state:?}\n\
             [[listener]]\naddress = \"{smtp}\"\nprotocol = \"smtp\"\nproxy_protocol_from = {proxies}\n\
             [[listener]]\naddress = \"{submission}\"\nprotocol = \"submission\"\n\
             [[listener]]\naddress = \"{submissions}\"\nprotocol = \"submissions\"\n\
             {config}\n[acme]\nenabled = false\n[judge]\nenabled = false\n[http]\nplain = \"\"\ntls = \"\"\n\
             [admin]\nlisten = \"{admin}\"\n[tls]\n{certificates}{tls}\n[limits]\n{limits}\n",
            state = scratch.join("state"),
            proxies = options.proxies,
            config = options.config,
            tls = options.tls,
            limits = options.limits,
        );
        let config = scratch.write("postern.toml", text.as_bytes());
        let mut process = Child::spawn("postern", &command(&config, &["run"]), &scratch.join("output"));
        process.expect_listening(admin);
        process.expect_listening(smtp);
        Self { smtp, submission, submissions, admin, config, process, scratch }
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
        self.scratch.join("state")
    }

    /// What it has logged.
    pub fn log(&self) -> String {
        self.process.output()
    }

    /// Its process.
    pub fn process(&mut self) -> &mut Child {
        &mut self.process
    }

    /// SIGHUP.
    pub fn reload(&self) {
        self.process.signal(Signal::SIGHUP);
    }

    /// Runs another command of the program with this one's config.
    pub fn ask(&self, arguments: &[&str]) -> Ended {
        child::run(&command(&self.config, arguments), Duration::from_secs(20))
    }

    /// GET from the admin address: status line, headers and body.
    ///
    /// # Panics
    ///
    /// If there is no answer.
    pub fn get(&self, path: &str) -> String {
        let mut stream = TcpStream::connect(self.admin).expect("the status page");
        write!(stream, "GET {path} HTTP/1.1\r\nHost: {}\r\nConnection: close\r\n\r\n", self.admin)
            .expect("a request");
        let mut answer = String::new();
        stream.read_to_string(&mut answer).expect("an answer");
        answer
    }

    /// The number behind a metric whose line begins with `name` (labels included); 0 where there is none.
    pub fn metric(&self, name: &str) -> f64 {
        let metrics = self.get("/metrics");
        let line = metrics.lines().find(|line| line.starts_with(name) && !line.starts_with('#'));
        line.and_then(|line| line.rsplit(' ').next()?.parse().ok()).unwrap_or(0.0)
    }
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

/// The built program: from `POSTERN_BIN`, or beside the test's own binary.
pub fn program() -> PathBuf {
    if let Some(program) = std::env::var_os("POSTERN_BIN") {
        return program.into();
    }
    let workspace = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap_or_else(|| Path::new("."));
    workspace.join("target/debug/postern")
}
