//! What a config means: every default filled in, every value checked.

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use evidence::lists::{About, Code};
use ipnet::IpNet;
use record::Protocol;
use smtp::Domain;

use super::attachments::Attachments;
use super::choices::{
    Action, Arm, Banner, Challenge, ClientAddress, ExceptionTls, HostedMode, MinimumTls, Mode, OnFailure,
    OnInnerVerification, PlainText, SendersAction, Source, TlsPolicy,
};
use super::inactive::Inactive;
use super::network::ServerAddress;
use super::secret::Secret;

/// The whole config.
#[derive(Clone, Debug)]
pub struct Config {
    /// The name in the greeting, the PTR record and the certificate.
    pub hostname: Domain,
    /// Who runs this, as `local@domain`.
    pub postmaster: String,
    /// Where everything is kept that outlives a restart.
    pub state_dir: PathBuf,
    /// How it stands in the network.
    pub network: Network,
    /// Where it listens for mail; at least one.
    pub listeners: Vec<Listener>,
    /// The servers behind it; at least one, and no domain twice.
    pub backends: Vec<Backend>,
    /// Mail to the world.
    pub outbound: Outbound,
    /// TLS with clients.
    pub tls: Tls,
    /// Certificates from a CA.
    pub acme: Acme,
    /// DNS updates; `None` without a server.
    pub dns_update: Option<DnsUpdate>,
    /// How DNS is asked.
    pub resolver: Resolver,
    /// Judging.
    pub judge: Judge,
    /// Reports on TLS and DMARC.
    pub reports: Reports,
    /// The queue.
    pub queue: Queue,
    /// The trace.
    pub trace: Trace,
    /// Limits.
    pub limits: Limits,
    /// The public HTTP listeners.
    pub http: Http,
    /// The status page and its API.
    pub admin: Admin,
    /// Where else the log goes.
    pub log: Log,
    /// What keeps small facts.
    pub store: StoreEngine,
    /// What the config says and this version does not do.
    pub inactive: Vec<Inactive>,
}

/// `[network]`
#[derive(Clone, Debug)]
pub struct Network {
    /// How it stands in the network.
    pub mode: Mode,
    /// The interface towards the world (gateway and bridge).
    pub outside: String,
    /// The interface towards the servers (gateway and bridge).
    pub inside: String,
    /// Whether Postern changes the rule set itself.
    pub manage_firewall: bool,
    /// Ports of inside hosts that can be reached from outside, beside the servers' mail ports (gateway).
    pub forward: Vec<firewall::Port>,
    /// Ports of the appliance itself that can be reached beside Postern's.
    pub open: Vec<firewall::Port>,
}

/// `[[listener]]`
#[derive(Clone, Debug)]
pub struct Listener {
    /// Where.
    pub address: SocketAddr,
    /// What is spoken.
    pub protocol: Protocol,
    /// Networks whose PROXY header is believed, and who must send one.
    pub proxy_protocol_from: Vec<IpNet>,
}

/// `[[backend]]`
#[derive(Clone, Debug)]
pub struct Backend {
    /// For people; no other backend has it.
    pub name: String,
    /// Its domains; at least one.
    pub domains: Vec<Domain>,
    /// Its servers, tried in order; at least one.
    pub servers: Vec<ServerAddress>,
    /// Where AUTH sessions go; default the first server's host at port 587.
    pub submission: ServerAddress,
    /// Whether the config names it: who did not name it may well have none.
    pub submission_is_named: bool,
    /// How far TLS goes.
    pub tls: TlsPolicy,
    /// The name to verify, where it is not the server's.
    pub tls_name: Option<Domain>,
    /// A private CA, as a readable PEM file.
    pub ca_file: Option<PathBuf>,
    /// SHA-256 digests of accepted SubjectPublicKeyInfo.
    pub pins: Vec<[u8; 32]>,
    /// How it is told the client's address.
    pub client_address: ClientAddress,
    /// Whose greeting the client sees.
    pub banner: Banner,
    /// When it stops being spliced (gateway and bridge).
    pub arm: Arm,
    /// How strict the MTA-STS policy is that is hosted for its domains.
    pub mta_sts: HostedMode,
    /// Where its recipients are known from.
    pub recipients: Recipients,
    /// How long delivery to it is tried, where that is not `queue.lifetime`.
    pub lifetime: Option<Duration>,
}

/// Where a backend's recipients are known from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Recipients {
    /// The server is asked live.
    Ask,
    /// A list.
    File(PathBuf),
    /// A directory is asked.
    Ldap(Box<Directory>),
}

/// `recipients = { ldap = { ... } }`: a directory of recipients.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Directory {
    /// `ldap://host[:port]` or `ldaps://host[:port]`.
    pub url: String,
    /// On `ldap://`: TLS is begun before anything is said.
    pub starttls: bool,
    /// Under which entries are searched.
    pub base: String,
    /// Which of them have an address: `{address}`, `{local}` and `{domain}` stand for its parts.
    pub filter: String,
    /// As whom, with which password; `None`: anonymously.
    pub bind: Option<(String, Secret)>,
    /// A private CA, as a readable PEM file.
    pub ca_file: Option<PathBuf>,
}

/// `[store] engine`: what keeps small facts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum StoreEngine {
    /// sled, in the folder `store` of `state_dir`.
    #[default]
    Sled,
}

/// `[outbound]`
#[derive(Clone, Debug)]
pub struct Outbound {
    /// Who may send out without AUTH; `None`: the backends' own addresses.
    pub networks: Option<Vec<IpNet>>,
    /// Whose source address connections have.
    pub source: Source,
    /// Source addresses to use; empty: the kernel's choice.
    pub addresses: Vec<IpAddr>,
    /// A smarthost, where port 25 is closed.
    pub relay: Option<Relay>,
    /// Smarthosts of inner servers, verified by name.
    pub relays: Vec<ServerAddress>,
    /// How far TLS goes where neither DANE nor MTA-STS speaks.
    pub tls: TlsPolicy,
    /// Authorities that are trusted beside the public ones, as a readable PEM file.
    pub ca_file: Option<PathBuf>,
    /// Whether TLSA records count.
    pub dane: bool,
    /// Whether MTA-STS policies count.
    pub mta_sts: bool,
    /// Domains for whose servers something else holds, whatever they publish.
    pub exceptions: Vec<(Domain, ExceptionTls)>,
    /// Networks and peers passed through unread, as written.
    pub bypass: Vec<String>,
    /// Whether the inside is hidden in EHLO and Received.
    pub hide: bool,
    /// What becomes of hidden servers that verify the far side by themselves.
    pub on_inner_verification: OnInnerVerification,
    /// Networks inside whose bare line feeds are mended.
    pub fix_bare_lf: Vec<IpNet>,
    /// Signing.
    pub dkim: DkimSigning,
    /// How those are watched who send from here.
    pub senders: Senders,
}

/// `[outbound] senders`
#[derive(Clone, Debug)]
pub struct Senders {
    /// Whether they are watched at all; only where mail is judged.
    pub watch: bool,
    /// What becomes of the mail of who looks taken over; `None`: held if `[judge] action` is `enforce`.
    pub action: Option<SendersAction>,
    /// Recipients within an hour that are no matter, from 0 (no limit) to a million.
    pub per_hour: u32,
    /// The same within a day.
    pub per_day: u32,
    /// Users, addresses, domains and networks that send in bulk by right.
    pub exempt: Vec<String>,
}

impl Config {
    /// Whether the mail of who looks taken over is held.
    pub fn stops_senders(&self) -> bool {
        match self.outbound.senders.action {
            Some(action) => action == SendersAction::Enforce,
            None => self.judge.action == Action::Enforce,
        }
    }
}

/// A smarthost with credentials.
#[derive(Clone, Debug)]
pub struct Relay {
    /// Where.
    pub server: ServerAddress,
    /// The user, if it asks for one.
    pub user: Option<String>,
    /// The password that goes with it.
    pub password: Option<Secret>,
}

/// Signing of outbound mail.
#[derive(Clone, Debug)]
pub struct DkimSigning {
    /// Whether anything is signed.
    pub enabled: bool,
    /// Selectors are prefix-YYYYMM.
    pub selector_prefix: String,
    /// Which domains; empty: all backends' domains.
    pub domains: Vec<Domain>,
}

/// `[tls]`
#[derive(Clone, Debug)]
pub struct Tls {
    /// The oldest version.
    pub minimum: MinimumTls,
    /// Whether X25519MLKEM768 is preferred.
    pub post_quantum: bool,
    /// Own certificates, as readable PEM files.
    pub certificates: Vec<CertificateFiles>,
    /// What becomes of clients without TLS.
    pub inbound_plain: PlainText,
}

/// A certificate chain and its key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CertificateFiles {
    /// The chain, leaf first.
    pub chain: PathBuf,
    /// The private key.
    pub key: PathBuf,
}

/// `[acme]`
#[derive(Clone, Debug)]
pub struct Acme {
    /// Whether certificates are ordered.
    pub enabled: bool,
    /// The CA's directory.
    pub directory: String,
    /// Whom the CA writes to; default the postmaster.
    pub contact: Vec<String>,
    /// How control is proved.
    pub challenge: Challenge,
    /// Names beside those that follow from the rest.
    pub names: Vec<Domain>,
    /// The CA's profile, empty for its default.
    pub profile: String,
    /// Whether mail names get a certificate with an RSA key beside the ECDSA one.
    pub rsa: bool,
    /// External account binding (RFC 8555 §7.3.4).
    pub eab: Option<ExternalAccount>,
    /// An extra root for a private CA.
    pub ca_file: Option<PathBuf>,
}

/// An account at a CA that was opened elsewhere.
#[derive(Clone, Debug)]
pub struct ExternalAccount {
    /// The key's identifier.
    pub kid: String,
    /// The key.
    pub hmac: Secret,
}

/// `[dns_update]` (RFC 2136)
#[derive(Clone, Debug)]
pub struct DnsUpdate {
    /// The primary server.
    pub server: ServerAddress,
    /// The key that updates are signed with.
    pub tsig: Option<Tsig>,
}

/// A TSIG key (RFC 8945).
#[derive(Clone, Debug)]
pub struct Tsig {
    /// The key's name.
    pub name: Domain,
    /// Its algorithm.
    pub algorithm: String,
    /// The key.
    pub secret: Secret,
}

/// `[resolver]`
#[derive(Clone, Debug)]
pub struct Resolver {
    /// Servers to ask; empty: the system's.
    pub servers: Vec<SocketAddr>,
    /// A file with the trust anchor of a private root.
    pub dnssec_trust_anchor: Option<PathBuf>,
}

/// `[[judge.rules]]`: for mail from the world to these.
#[derive(Clone, Debug)]
pub struct Rule {
    /// Recipients' domains; a recipient's own rule goes before its domain's.
    pub domains: Vec<Domain>,
    /// Recipients.
    pub recipients: Vec<String>,
    /// As in [judge], which says what is not said here.
    pub tag: f64,
    /// From which it is held.
    pub quarantine: f64,
    /// From which it is refused.
    pub reject: f64,
    /// What verdicts do.
    pub action: Action,
}

/// `[judge]`
#[derive(Clone, Debug)]
pub struct Judge {
    /// Whether mail is judged.
    pub enabled: bool,
    /// Spam probability, 0 to 1, from which mail is tagged.
    pub tag: f64,
    /// From which it is held.
    pub quarantine: f64,
    /// From which it is refused.
    pub reject: f64,
    /// What a fault in judging leads to.
    pub on_failure: OnFailures,
    /// How long judging may take in all.
    pub budget: Duration,
    /// What verdicts may do.
    pub action: Action,
    /// The virus scanner; `None`: nobody looks for viruses.
    pub clamd: Option<Clamd>,
    /// DNS lists.
    pub dnsbl: Vec<DnsList>,
    /// Attachments that are not wanted.
    pub attachments: Attachments,
    /// How long senders wait that were never seen; zero: nobody does.
    pub greylist: Duration,
    /// Addresses that exist only to be spammed.
    pub traps: Vec<String>,
    /// Addresses, domains and networks whose authenticated mail passes.
    pub allow: Vec<String>,
    /// Addresses, domains and networks whose mail does not.
    pub block: Vec<String>,
    /// Where users forward missed spam.
    pub report_spam: String,
    /// Where users forward ham that was taken for spam.
    pub report_ham: String,
    /// How long what is held waits for a person.
    pub quarantine_for: Duration,
    /// Domains whose seals (ARC, RFC 8617) are believed: what passed DMARC with them passes here.
    pub trusted_sealers: Vec<Domain>,
    /// Whether what comes in is sealed (ARC) in the name of its recipients' domain.
    pub seal: bool,
    /// What is otherwise for some recipients.
    pub rules: Vec<Rule>,
}

/// Where clamd listens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Clamd {
    /// On this machine.
    Unix(PathBuf),
    /// On TCP.
    Tcp(ServerAddress),
}

/// What becomes of mail when a check fails, by kind of check.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OnFailures {
    /// SPF, DKIM, DMARC.
    pub auth: OnFailure,
    /// The virus scanner.
    pub virus: OnFailure,
    /// The classifier.
    pub content: OnFailure,
}

/// A DNS list.
#[derive(Clone, Debug, PartialEq)]
pub struct DnsList {
    /// Its zone.
    pub zone: Domain,
    /// What it is about.
    pub about: About,
    /// What a listing weighs that has none of the codes, in log-odds.
    pub weight: f64,
    /// What those with these codes weigh.
    pub codes: Vec<(Code, f64)>,
    /// Whose address is on it is refused before it sends anything.
    pub refuse: bool,
}

/// `[reports]`
#[derive(Clone, Debug)]
pub struct Reports {
    /// Where others are to send theirs, as `local@domain`.
    pub address: String,
    /// Whether reports on TLS are sent.
    pub tls: bool,
    /// Whether reports on DMARC are sent.
    pub dmarc: bool,
    /// Whether each domain's postmaster is told of its week.
    pub weekly: bool,
    /// Whose reports on TLS move a policy from `testing` to `enforce` (DECISIONS 27): large receivers that nobody can play.
    pub trusted: Vec<Domain>,
}

impl Config {
    /// Whether what others report comes to Postern itself, and not to somebody's mailbox.
    pub fn reports_come_here(&self) -> bool {
        let domain = self.reports.address.rsplit_once('@').map_or("", |(_, domain)| domain);
        domain.eq_ignore_ascii_case(self.hostname.as_str())
    }
}

/// `[queue]`
#[derive(Clone, Debug)]
pub struct Queue {
    /// How long delivery is tried.
    pub lifetime: Duration,
    /// The most octets on disk.
    pub max_size: u64,
    /// After this long the sender is told that a message waits.
    pub tell_after: Duration,
    /// How long what could not be delivered, and of which nobody may be told, is kept.
    pub keep_expired: Duration,
    /// Domains of the world that get mail slower than others.
    pub throttles: Vec<Throttle>,
}

/// `[trace]`
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Trace {
    /// How long it is kept; zero: not on disk at all.
    pub keep: Duration,
    /// The most octets on disk.
    pub max_size: u64,
    /// Whether subjects are in it, in memory as on disk.
    pub subjects: bool,
}

/// `[queue] throttles`
#[derive(Clone, Debug)]
pub struct Throttle {
    /// Whose servers.
    pub domain: Domain,
    /// Connections at the same time.
    pub connections: usize,
    /// Messages within a minute; 0: as many as it takes.
    pub per_minute: u32,
}

/// `[limits]`
#[derive(Clone, Debug)]
pub struct Limits {
    /// The largest message, in octets.
    pub message_size: u64,
    /// Sessions at once.
    pub sessions: usize,
    /// Sessions at once from one address (IPv6: one /64).
    pub sessions_per_ip: usize,
    /// How long the greeting waits for clients that speak too early; zero: not at all.
    pub pregreet: Duration,
    /// Recipients of one transaction.
    pub recipients: usize,
    /// Octets of messages in memory and in spill files at once.
    pub in_flight: u64,
    /// Refused commands after which a session is closed.
    pub errors: u32,
}

/// `[http]`: public, for the certificate authority and MTA-STS only.
#[derive(Clone, Debug)]
pub struct Http {
    /// Without TLS; `None`: no listener.
    pub plain: Option<SocketAddr>,
    /// With TLS; `None`: no listener.
    pub tls: Option<SocketAddr>,
    /// Whether the config has the section: then a port that cannot be had is an error at start.
    pub is_written: bool,
}

/// `[admin]`
#[derive(Clone, Debug)]
pub struct Admin {
    /// Where the page listens; a loopback address in this version.
    pub listen: SocketAddr,
    /// Who may connect; empty: any that can reach it.
    pub networks: Vec<IpNet>,
    /// Whether this file is edited on the page, by the API and by `postern config`.
    pub edit: bool,
}

/// `[log]`
#[derive(Clone, Debug)]
pub struct Log {
    /// A syslog server (RFC 5425), `host:port`.
    pub syslog: Option<String>,
    /// An authority of one's own for it.
    pub syslog_ca_file: Option<PathBuf>,
    /// Addresses and webhooks that alarms go to.
    pub alerts: Vec<String>,
    /// What webhooks are signed with.
    pub alerts_key: Option<Secret>,
}
