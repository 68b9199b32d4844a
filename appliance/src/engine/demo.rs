//! `postern demo`: the whole thing on a laptop, without root and without config.
//!
//! A gate as `run` makes it, from a config like anybody's, with a small mail server of its own behind it and an own
//! certificate authority for both legs. Everything is kept in a temporary folder that goes with the demo.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use record::{Clock as _, SystemClock, rfc5322_date};
use tempfile::TempDir;
use tls::{Acceptor, Connector, Identities, Identity, Ladder, LegPolicy, Roots, Served, TlsError};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

use super::error::EngineError;
use super::{Engine, Entry, Signals, Wish};
use crate::command::{Demo, Exit};
use crate::config::{self, ConfigError};
use crate::output;
use crate::roles::Roles;

mod authority;
mod hidden;
mod inbox;
mod names;
mod samples;
mod sender;
mod told;
mod trial;

use authority::Authority;
use inbox::Inbox;
use told::Told;
use trial::Bench;

/// The gate's name, in its greeting and in its certificate.
const GATE: &str = "mx.demo.example";
/// A demo's sessions are its own; whoever waits for Ctrl-C does not wait for them.
const DRAIN: Duration = Duration::from_secs(2);
const OUTBOUND: &str = "a demo sends nothing to the world; `run` does, for the networks in `outbound`";
/// Who may send to the world: the samples come from this machine, and none of them may leave it.
const NOBODY: &str = "192.0.2.0/24";

/// Why there is no demo.
#[derive(Debug, thiserror::Error)]
pub(super) enum DemoError {
    /// The authority cannot sign.
    #[error("the demo's certificates cannot be made: {0}")]
    Certificates(#[from] rcgen::Error),
    /// The demo's own config is wrong: a fault of this version.
    #[error("the demo's config is wrong, please report this: {0}")]
    Config(#[from] ConfigError),
    /// The gate does not start.
    #[error(transparent)]
    Engine(#[from] EngineError),
    /// A certificate cannot be served.
    #[error("the demo's certificates cannot be used: {0}")]
    Identity(#[from] tls::IdentityError),
    /// The temporary folder or the mail server's port.
    #[error("the demo cannot have {what}: {error}")]
    Io {
        /// What was wanted.
        what: &'static str,
        /// Why not.
        error: std::io::Error,
    },
    /// The status page is for loopback.
    #[error(
        "a demo's page has no login, so that it is for this machine only, not for {0}\n\
         Choose an address such as 127.0.0.1:8080 with --admin."
    )]
    NotLoopback(SocketAddr),
    /// A port is not free.
    #[error("{reason}\nChoose another address with {option}, such as {option} 127.0.0.1:{port}.")]
    Taken {
        /// What is not free.
        reason: String,
        /// The option that changes it.
        option: &'static str,
        /// A port to try.
        port: u16,
    },
    /// TLS cannot be set up.
    #[error("TLS for the demo cannot be set up: {0}")]
    Tls(#[from] TlsError),
}

impl DemoError {
    pub(super) fn exit(&self) -> Exit {
        match self {
            Self::Engine(error) => error.exit(),
            Self::NotLoopback(_) => Exit::Wrong,
            _ => Exit::Unreachable,
        }
    }

    /// What the engine says of its config, in terms of the command line.
    fn of_engine(error: EngineError) -> Self {
        match error {
            EngineError::Listen(error) => {
                Self::Taken { reason: error.to_string(), option: "--smtp", port: 2526 }
            }
            EngineError::Admin { address, error } => {
                let reason = format!("the status page cannot listen on {address}: {error}");
                Self::Taken { reason, option: "--admin", port: 8081 }
            }
            other => Self::Engine(other),
        }
    }
}

pub(super) async fn demo(options: Demo, json: bool) -> Result<Exit, DemoError> {
    if !options.admin.ip().is_loopback() {
        return Err(DemoError::NotLoopback(options.admin));
    }
    let mut signals = Signals::new().map_err(EngineError::Signals)?;
    let show = Show::start(options).await?;
    if !json {
        show.introduction().iter().for_each(|line| output::line(line));
    }
    let told = tokio::select! {
        told = show.try_all(json) => Some(told),
        () = ended(&mut signals, &show.engine.roles) => None,
    };
    if let Some(told) = &told {
        show.conclude(told, json);
        if !options.once {
            if !json {
                show.invitation().iter().for_each(|line| output::line(line));
            }
            ended(&mut signals, &show.engine.roles).await;
        }
    }
    show.engine.stop(DRAIN).await;
    show.hidden.abort();
    show.names.abort();
    match told {
        Some(told) if options.once && !told.iter().all(|one| one.as_it_should) => Ok(Exit::No),
        _ => Ok(Exit::Done),
    }
}

/// Until Ctrl-C or SIGTERM. There is no config to reload.
async fn ended(signals: &mut Signals, roles: &Roles) {
    // It has no config that could be changed.
    let (_, mut orders) = tokio::sync::mpsc::channel(1);
    while !matches!(signals.next(roles, &mut orders).await, Wish::End) {}
}

/// Everything that runs.
struct Show {
    engine: Engine,
    hidden: JoinHandle<()>,
    names: JoinHandle<()>,
    hidden_address: SocketAddr,
    bench: Bench,
    /// Where the samples come in, as bound.
    smtp: SocketAddr,
    /// Goes with all that is in it.
    folder: TempDir,
}

impl Show {
    async fn start(options: Demo) -> Result<Self, DemoError> {
        let no_folder = |error| DemoError::Io { what: "a temporary folder", error };
        let folder = tempfile::Builder::new().prefix("postern-demo-").tempdir().map_err(no_folder)?;
        let authority = Authority::new()?;
        let at_gate = authority.certify(GATE)?;
        for (name, pem) in
            [("ca.pem", authority.pem()), ("gate.pem", &at_gate.chain), ("gate.key", &at_gate.key)]
        {
            write(&folder.path().join(name), pem).map_err(no_folder)?;
        }
        let inbox = Arc::new(Inbox::default());
        let (hidden, hidden_address) = start_hidden(&authority, Arc::clone(&inbox)).await?;
        let no_names = |error| DemoError::Io { what: "a port for its name server", error };
        let (names, names_address) = names::start().await.map_err(no_names)?;
        let file = folder.path().join("postern.toml");
        let text = config_text(folder.path(), (options.smtp, options.admin), hidden_address, names_address);
        let config = config::parse(&text, &file)?;
        let engine = Engine::start(&config, Roles::threads("demo"), Entry::Free, None)
            .await
            .map_err(DemoError::of_engine)?;
        let smtp = engine.listening().unwrap_or(options.smtp);
        // With the ports as they are, for the commands that ask a running Postern.
        let text = config_text(folder.path(), (smtp, engine.admin), hidden_address, names_address);
        write(&file, &text).map_err(no_folder)?;
        let bench = Bench {
            gate: reachable(smtp),
            gate_name: GATE,
            connector: connector(folder.path())?,
            inbox,
            recording: Arc::clone(&engine.recording),
        };
        Ok(Self { engine, hidden, names, hidden_address, bench, smtp, folder })
    }

    /// Sends the samples one after the other, and tells of each as soon as it is known.
    async fn try_all(&self, json: bool) -> Vec<Told> {
        let mut all = Vec::new();
        for sample in samples::all(&rfc5322_date(SystemClock.now())) {
            let told = self.bench.try_out(&sample).await;
            if !json {
                told.lines().iter().for_each(|line| output::line(line));
            }
            all.push(told);
        }
        all
    }

    fn introduction(&self) -> Vec<String> {
        vec![
            format!(
                "The gate is {} ({GATE}). Hidden behind it: {} ({}).",
                self.smtp,
                self.hidden_address,
                hidden::NAME
            ),
            format!(
                "Its users: {}. All files are in {} and go when the demo ends.",
                hidden::USERS.map(|user| format!("{user}@{}", hidden::DOMAIN)).join(", "),
                self.folder.path().display()
            ),
            String::new(),
            told::heading(),
        ]
    }

    fn conclude(&self, told: &[Told], json: bool) {
        let good = told.iter().filter(|one| one.as_it_should).count();
        if json {
            return output::json(&serde_json::json!({
                "smtp": self.smtp,
                "admin": self.engine.admin,
                "config": self.config(),
                "mails": told,
                "as_they_should": good == told.len(),
                "outbound": OUTBOUND,
            }));
        }
        output::line("");
        output::line(&format!("{good} of {} went as they should.", told.len()));
        output::line(&format!("Note: {OUTBOUND}."));
    }

    fn invitation(&self) -> Vec<String> {
        let (gate, anna) = (self.bench.gate, format!("anna@{}", hidden::DOMAIN));
        // Whoever came by `cargo run` has no `postern` on the path.
        let program =
            std::env::current_exe().map_or_else(|_| "postern".into(), |path| path.display().to_string());
        vec![
            String::new(),
            format!("status page   http://{}/ (a demo's needs no login)", self.engine.admin),
            format!("send one      swaks --server {} --port {} -tls --to {anna}", gate.ip(), gate.port()),
            format!(
                "  or          printf 'Subject: hello\\n\\nhello\\n' | curl -k --ssl-reqd --crlf smtp://{gate} \
                 --mail-from you@example.org --mail-rcpt {anna} -T -"
            ),
            format!("what became   {program} --config {} trace", self.config()),
            "Ctrl-C ends the demo.".to_owned(),
        ]
    }

    fn config(&self) -> String {
        self.folder.path().join("postern.toml").display().to_string()
    }
}

/// The server behind, on a port of the kernel's choice.
async fn start_hidden(
    authority: &Authority,
    inbox: Arc<Inbox>,
) -> Result<(JoinHandle<()>, SocketAddr), DemoError> {
    let no_port = |error| DemoError::Io { what: "a port for its mail server", error };
    let certified = authority.certify(hidden::NAME)?;
    let now = SystemClock.now();
    let identity = Identity::from_pem(certified.chain.as_bytes(), certified.key.as_bytes(), now)?;
    let served = Served { identities: vec![identity], default: hidden::NAME.to_owned(), ..Served::default() };
    let acceptor = Acceptor::new(&tls::Settings::default(), Identities::new(served))?;
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.map_err(no_port)?;
    let address = listener.local_addr().map_err(no_port)?;
    Ok((tokio::spawn(hidden::serve(listener, acceptor, inbox)), address))
}

/// For the samples' client: it trusts the demo's authority and nobody else.
fn connector(folder: &Path) -> Result<Connector, DemoError> {
    let roots = Roots::none().with_file(&folder.join("ca.pem"));
    let roots = roots.map_err(|error| EngineError::CaFile { backend: "demo".into(), error })?;
    let policy = LegPolicy { ladder: Ladder::Verify, roots, ..LegPolicy::default() };
    Ok(Connector::new(&tls::Settings::default(), &policy, Arc::new(SystemClock))?)
}

/// A config as anybody would write it.
fn config_text(
    folder: &Path,
    (smtp, admin): (SocketAddr, SocketAddr),
    server: SocketAddr,
    names: SocketAddr,
) -> String {
    let file = |name: &str| toml::Value::String(folder.join(name).display().to_string());
    format!(
        "hostname = \"{GATE}\"\nstate_dir = {state}\n\n\
         [[listener]]\naddress = \"{smtp}\"\nprotocol = \"smtp\"\n\n\
         [[backend]]\nname = \"hidden\"\ndomains = [\"{domain}\"]\nservers = [\"{server}\"]\nsubmission = \"{server}\"\n\
         tls = \"verify\"\ntls_name = \"{name}\"\nca_file = {ca}\n\n\
         [outbound]\nnetworks = [\"{NOBODY}\"]\n\n\
         [judge]\naction = \"enforce\"\n\n\
         [resolver]\nservers = [\"{names}\"]\n\n\
         [tls]\ncertificates = [{{ chain = {chain}, key = {key} }}]\n\n[admin]\nlisten = \"{admin}\"\n",
        state = file("state"),
        domain = hidden::DOMAIN,
        name = hidden::NAME,
        ca = file("ca.pem"),
        chain = file("gate.pem"),
        key = file("gate.key"),
    )
}

/// Where a client on this machine finds a listener that is bound to every address.
fn reachable(address: SocketAddr) -> SocketAddr {
    let ip: IpAddr = match address.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(ip) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        ip => ip,
    };
    (ip, address.port()).into()
}

/// For the owner alone: among them is a private key.
fn write(path: &Path, text: &str) -> std::io::Result<()> {
    use std::io::Write as _;
    use std::os::unix::fs::OpenOptionsExt as _;
    let mut options = std::fs::OpenOptions::new();
    options.write(true).create(true).truncate(true).mode(0o600).open(path)?.write_all(text.as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn options(smtp: SocketAddr, admin: SocketAddr) -> Demo {
        Demo { smtp, admin, once: true }
    }

    fn free() -> SocketAddr {
        (Ipv4Addr::LOCALHOST, 0).into()
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn every_sample_goes_as_it_should() {
        let show = Show::start(options(free(), free())).await.unwrap();
        let told = show.try_all(true).await;
        let wrong: Vec<_> = told.iter().filter(|one| !one.as_it_should).collect();
        assert!(wrong.is_empty(), "{wrong:#?}");
        assert_eq!(told[0].tls_on.as_ref().unwrap().proof, "verified");
        assert!(config::load(Path::new(&show.config())).is_ok(), "the other commands can use its config");
        show.engine.stop(DRAIN).await;
        show.hidden.abort();
        show.names.abort();
    }

    #[tokio::test]
    async fn a_taken_port_is_told_with_the_option_that_changes_it() {
        let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let address = taken.local_addr().unwrap();
        for (options, option) in [(options(address, free()), "--smtp"), (options(free(), address), "--admin")]
        {
            let error = demo(options, false).await.unwrap_err();
            assert!(error.to_string().contains(option), "{error}");
            assert_eq!(error.exit(), Exit::Unreachable);
        }
        let error = demo(options(free(), "0.0.0.0:0".parse().unwrap()), false).await.unwrap_err();
        assert!(error.exit() == Exit::Wrong && error.to_string().contains("--admin"), "{error}");
    }
}
