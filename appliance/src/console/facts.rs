//! What the console shows, gathered from files below `/run`, the kernel, and the running Postern.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Read as _;
use std::net::IpAddr;
use std::path::Path;

use first_boot::{Report, read_report};
use ipnet::IpNet;
use nix::ifaddrs::getifaddrs;
use nix::net::if_::InterfaceFlags;
use nix::sys::socket::SockaddrStorage;
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject as _;
use sha2::{Digest as _, Sha256};

use crate::admin::UserDone;
use crate::client::{self, Running};
use crate::command::CommandLine;
use crate::config::{self, Config, ConfigError, Mode};
use crate::report::Status;

/// The interception CA's certificate, below the state folder.
const AUTHORITY: &str = "interception-ca.pem";
/// Octets of a certificate in PEM that are looked at.
const MAX_PEM: u64 = 64 << 10;
/// Interfaces that are looked at, and addresses of each.
const MAX_INTERFACES: usize = 64;
const MAX_ADDRESSES: usize = 16;

/// Everything that the console shows.
#[derive(Clone, Debug)]
pub struct Facts {
    /// The program's version.
    pub version: String,
    /// The machine's name.
    pub hostname: String,
    /// How it stands in the network, if there is a config.
    pub mode: Option<Mode>,
    /// All but loopback, by name.
    pub interfaces: Vec<InterfaceFacts>,
    /// What became of the seed.
    pub first_boot: Option<Report>,
    /// How Postern itself is.
    pub service: Service,
    /// SHA-256 of the interception CA's certificate, if there is one.
    pub authority: Option<String>,
}

/// An interface and its addresses.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InterfaceFacts {
    /// Its name.
    pub name: String,
    /// Whether a cable is in it.
    pub up: bool,
    /// Without those that are on every link.
    pub addresses: Vec<IpNet>,
}

/// How Postern itself is.
#[derive(Clone, Debug)]
pub enum Service {
    /// There is no config.
    Unconfigured,
    /// There is one, and it cannot be used.
    Wrong(String),
    /// It does not answer.
    Silent(String),
    /// It says how it is; and the code for a first login, as long as nobody can log in.
    Answers(Box<Status>, Option<String>),
}

/// Looks at everything once.
pub(super) async fn gather(line: &CommandLine) -> Facts {
    let file = line.config_file();
    let config = config::load(&file);
    let first_boot = read_report(Path::new("/"));
    let hostname = rustix::system::uname().nodename().to_string_lossy().into_owned();
    let authority = config.as_ref().ok().and_then(|config| fingerprint_of(&config.state_dir.join(AUTHORITY)));
    Facts {
        version: env!("CARGO_PKG_VERSION").to_owned(),
        hostname,
        mode: config.as_ref().ok().map(|config| config.network.mode),
        interfaces: interfaces(),
        first_boot,
        authority,
        service: service(config, file.exists()).await,
    }
}

async fn service(config: Result<Config, ConfigError>, exists: bool) -> Service {
    let config = match config {
        Ok(config) => config,
        Err(_) if !exists => return Service::Unconfigured,
        Err(error) => return Service::Wrong(error.to_string()),
    };
    let running = Running::of(&config);
    match client::get(&running, "/api/v1/status").await {
        Ok(answer) => match serde_json::from_slice(&answer.body) {
            Ok(status) => Service::Answers(Box::new(status), code(&running).await),
            Err(_) => Service::Silent(format!("what answers on {} is not Postern", config.admin.listen)),
        },
        Err(error) => Service::Silent(error.to_string()),
    }
}

async fn code(running: &Running) -> Option<String> {
    let answer = client::get(running, "/api/v1/console").await.ok().filter(|answer| answer.status == 200)?;
    serde_json::from_slice::<UserDone>(&answer.body).ok()?.code
}

/// SHA-256 of the first certificate in a file, as `openssl x509 -fingerprint -sha256` writes it.
fn fingerprint_of(path: &Path) -> Option<String> {
    let mut pem = Vec::new();
    File::open(path).ok()?.take(MAX_PEM).read_to_end(&mut pem).ok()?;
    Some(fingerprint(&CertificateDer::from_pem_slice(&pem).ok()?))
}

/// SHA-256 of a certificate, as `openssl x509 -fingerprint -sha256` writes it.
pub(crate) fn fingerprint(certificate: &CertificateDer<'_>) -> String {
    let octets: Vec<String> =
        Sha256::digest(certificate).iter().map(|octet| format!("{octet:02X}")).collect();
    octets.join(":")
}

fn interfaces() -> Vec<InterfaceFacts> {
    let Ok(entries) = getifaddrs() else { return Vec::new() };
    let mut found: BTreeMap<String, InterfaceFacts> = BTreeMap::new();
    for entry in entries.filter(|entry| !entry.flags.contains(InterfaceFlags::IFF_LOOPBACK)) {
        if found.len() >= MAX_INTERFACES && !found.contains_key(&entry.interface_name) {
            continue;
        }
        let name = entry.interface_name.clone();
        let new = InterfaceFacts { name: name.clone(), up: false, addresses: Vec::new() };
        let interface = found.entry(name).or_insert(new);
        interface.up |= entry.flags.contains(InterfaceFlags::IFF_RUNNING);
        let address = entry.address.as_ref().and_then(ip);
        let mask = entry.netmask.as_ref().and_then(ip).and_then(|mask| ipnet::ip_mask_to_prefix(mask).ok());
        if let (Some(address), Some(length)) = (address, mask)
            && interface.addresses.len() < MAX_ADDRESSES
            && !is_link_local(address)
        {
            interface.addresses.extend(IpNet::new(address, length));
        }
    }
    found.into_values().collect()
}

fn ip(address: &SockaddrStorage) -> Option<IpAddr> {
    let v4 = address.as_sockaddr_in().map(|address| IpAddr::V4(address.ip()));
    v4.or_else(|| address.as_sockaddr_in6().map(|address| IpAddr::V6(address.ip())))
}

/// Every interface has one of IPv6; it helps nobody to find the machine.
fn is_link_local(address: IpAddr) -> bool {
    matches!(address, IpAddr::V6(address) if address.segments()[0] & 0xffc0 == 0xfe80)
}
