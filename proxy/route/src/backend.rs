//! A backend: the servers that have the mailboxes of some domains, and how they are spoken to.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use smtp::{Capabilities, Domain, ForwardPath};
use tls::{Connector, LegPolicy};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::Instant;

use crate::recipients::Recipients;
use crate::server::Server;

/// How a server is told the client's address (DECISIONS 8).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ClientAddress {
    /// XCLIENT where the server offers it, else XFORWARD, else not at all. PROXY is never guessed.
    Auto,
    /// The connection is opened from the client's own address.
    Transparent,
    /// A PROXY v2 header goes before everything.
    Proxy,
    /// XCLIENT; a server without it is an error.
    Xclient,
    /// XFORWARD; a server without it is an error.
    Xforward,
    /// Not at all.
    None,
}

impl ClientAddress {
    /// The config's word.
    pub fn name(self) -> &'static str {
        match self {
            Self::Auto => "auto",
            Self::Transparent => "transparent",
            Self::Proxy => "proxy",
            Self::Xclient => "xclient",
            Self::Xforward => "xforward",
            Self::None => "none",
        }
    }
}

/// Whose banner a client sees.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Banner {
    /// Postern's.
    Postern,
    /// The server's, passed on.
    Server,
}

/// A backend as the config describes it, validated.
#[derive(Debug)]
pub struct BackendSettings {
    /// What it is called in logs and on the page.
    pub name: Box<str>,
    /// Whose mail it takes.
    pub domains: Vec<Domain>,
    /// Its servers for mail, in the order of preference; at least one.
    pub servers: Vec<Server>,
    /// Its servers for submission.
    pub submission: Vec<Server>,
    /// What TLS towards it must be.
    pub tls: LegPolicy,
    /// The connector that carries out `tls`.
    pub connector: Connector,
    /// How it is told the client's address.
    pub client_address: ClientAddress,
    /// Whose banner its clients see.
    pub banner: Banner,
    /// What is particular to servers in the world; `None` for the hidden ones.
    pub world: Option<World>,
}

/// How servers in the world are met: they are not the administrator's own.
#[derive(Clone, Debug, Default)]
pub struct World {
    /// The appliance's addresses to connect from; none of a family: the kernel's choice.
    pub addresses: Vec<IpAddr>,
    /// Postern's own name is said in EHLO even from the client's address: the inside stays hidden.
    pub hides_client_name: bool,
    /// What to authenticate with.
    pub login: Option<Login>,
    /// TLS begins with the first octet (RFC 8314 §3.3).
    pub implicit_tls: bool,
}

impl World {
    /// The address to connect from to `target`: always the same one for it, since receivers remember who sent them
    /// mail before (greylisting, reputation). `None`: the kernel's choice.
    pub fn address_towards(&self, target: SocketAddr) -> Option<IpAddr> {
        let fits = |address: &&IpAddr| address.is_ipv4() == target.is_ipv4();
        let own: Vec<&IpAddr> = self.addresses.iter().filter(fits).collect();
        let number = match target.ip() {
            IpAddr::V4(address) => u128::from(u32::from(address)),
            IpAddr::V6(address) => u128::from(address),
        };
        let count = u128::try_from(own.len()).unwrap_or(1).max(1);
        own.get(usize::try_from(number % count).unwrap_or_default()).map(|address| **address)
    }
}

/// Name and password at a relay. The password is not shown.
#[derive(Clone)]
pub struct Login {
    /// Who.
    pub user: Box<str>,
    /// The proof.
    pub password: Box<str>,
}

impl std::fmt::Debug for Login {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Login").field("user", &self.user).finish_non_exhaustive()
    }
}

/// Connections to a backend that are open at once on behalf of its own servers. Honest ones have mail for themselves scanned
/// that way, by twenty connections at most (Postfix and Exchange, unless told otherwise). Two Posterns that have each other for
/// their server ask back with every question, and no other limit holds for servers.
const ASKING_BACK: usize = 50;

/// The servers of a backend ask about their own mail too often at the same time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{ASKING_BACK} connections to it are open on its own behalf: does it send its mail back here?")]
pub struct AsksBack;

/// A connection on behalf of the server that it leads to; counted until this is dropped.
#[derive(Debug)]
pub struct AskingBack {
    _permit: OwnedSemaphorePermit,
}

/// A backend and what was learnt of its servers.
#[derive(Debug)]
pub struct Backend {
    settings: BackendSettings,
    servers: Vec<Arc<Server>>,
    submission: Vec<Arc<Server>>,
    recipients: Option<Recipients>,
    asking_back: Arc<Semaphore>,
}

impl Backend {
    /// From its settings.
    pub fn new(mut settings: BackendSettings) -> Self {
        let servers = std::mem::take(&mut settings.servers).into_iter().map(Arc::new).collect();
        let submission = std::mem::take(&mut settings.submission).into_iter().map(Arc::new).collect();
        let asking_back = Arc::new(Semaphore::new(ASKING_BACK));
        Self { settings, servers, submission, recipients: None, asking_back }
    }

    /// The same, with what is known of its recipients; without, nobody is.
    #[must_use]
    pub fn with_recipients(mut self, recipients: Recipients) -> Self {
        self.recipients = Some(recipients);
        self
    }

    /// What is known of its recipients.
    pub fn recipients(&self) -> Option<&Recipients> {
        self.recipients.as_ref()
    }

    /// What was seen of its recipients, where this one is in a domain of its own.
    pub fn recipients_with(&self, path: &ForwardPath) -> Option<&Recipients> {
        let own = path.domain().is_none_or(|domain| self.domains().contains(domain));
        self.recipients.as_ref().filter(|_| own)
    }

    /// What its servers offer, as far as they were seen: what all of them have, since any of them may get a message that is
    /// kept for them. `None` if none was seen.
    pub fn remembered(&self) -> Option<Capabilities> {
        let seen = self.servers.iter().filter_map(|server| server.offered());
        seen.map(|offered| offered.effective().clone()).reduce(|all, one| all.shared_with(&one))
    }

    /// The banner of the server at this address, or of the first that was seen.
    pub fn remembered_greeting(&self, destination: SocketAddr) -> Option<Box<str>> {
        let meant = self.server_at(destination).into_iter().chain(&self.servers);
        meant
            .filter_map(|server| server.offered())
            .map(|offered| offered.greeting)
            .find(|words| !words.is_empty())
    }

    /// Whether every connection to it is verified or pinned.
    pub fn is_proved(&self) -> bool {
        self.tls().ladder == tls::Ladder::Verify || !self.tls().pins.is_empty()
    }

    /// Whether a client is one of the servers itself. On loopback nobody can be told from anybody.
    pub fn is_itself(&self, client: IpAddr) -> bool {
        let client = client.to_canonical();
        let mut servers = self.servers.iter().chain(&self.submission);
        !client.is_loopback() && servers.any(|server| server.address().ip() == client)
    }

    /// Whether a client may have one more connection to its servers; `Some` if it is one of them.
    ///
    /// # Errors
    ///
    /// It is one of them, and has too many.
    pub fn asked_by(&self, client: IpAddr) -> Result<Option<AskingBack>, AsksBack> {
        if !self.is_itself(client) {
            return Ok(None);
        }
        let permit = Arc::clone(&self.asking_back).try_acquire_owned().map_err(|_| AsksBack)?;
        Ok(Some(AskingBack { _permit: permit }))
    }

    /// What it is called.
    pub fn name(&self) -> &str {
        &self.settings.name
    }

    /// Whose mail it takes.
    pub fn domains(&self) -> &[Domain] {
        &self.settings.domains
    }

    /// What TLS towards it must be.
    pub fn tls(&self) -> &LegPolicy {
        &self.settings.tls
    }

    /// The connector that carries out the TLS policy.
    pub fn connector(&self) -> &Connector {
        &self.settings.connector
    }

    /// What TLS towards one of its servers must be.
    pub fn tls_of<'a>(&'a self, server: &'a Server) -> &'a LegPolicy {
        server.far_tls().map_or_else(|| self.tls(), |far| far.policy())
    }

    /// The word for that.
    pub fn policy_of(&self, server: &Server) -> &'static str {
        server.far_tls().map_or_else(|| self.tls().ladder.name(), |far| far.demanded().policy.name())
    }

    /// How it is told the client's address.
    pub fn client_address(&self) -> ClientAddress {
        self.settings.client_address
    }

    /// Whose banner its clients see.
    pub fn banner(&self) -> Banner {
        self.settings.banner
    }

    /// What is particular to servers in the world; `None` for the hidden ones.
    pub fn world(&self) -> Option<&World> {
        self.settings.world.as_ref()
    }

    /// Whether one of its servers for mail listens there; its name.
    pub fn server_at(&self, address: SocketAddr) -> Option<&Arc<Server>> {
        self.servers.iter().find(|server| server.address() == address)
    }

    /// All of its servers for mail that listen there: several names may share an address.
    pub fn servers_at(&self, address: SocketAddr) -> impl Iterator<Item = &Arc<Server>> {
        self.servers.iter().filter(move |server| server.address() == address)
    }

    /// Its servers for mail.
    pub fn servers(&self) -> &[Arc<Server>] {
        &self.servers
    }

    /// Its servers for submission.
    pub fn submission(&self) -> &[Arc<Server>] {
        &self.submission
    }

    /// The servers in the order in which to try them now: the configured one, those that failed or broke off lately last.
    pub fn in_order(servers: &[Arc<Server>], now: Instant) -> Vec<Arc<Server>> {
        let (mut eligible, paused): (Vec<_>, Vec<_>) =
            servers.iter().cloned().partition(|server| server.is_eligible(now));
        eligible.extend(paused);
        eligible
    }
}
