//! The gate: becomes a user without rights, takes what the guard hands over, and runs the engine. All rights are gone
//! before the first thread is started and the first octet of the network is read.

use std::collections::HashMap;
use std::net::{SocketAddr, TcpListener};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::net::sockopt::{Timeout, set_socket_timeout};
use rustix::thread::CapabilitySet;
use sift::packet::{self, MAX_DESCRIPTORS};

use super::account::Account;
use super::confine::{alone, become_gate, files, lock_gate, privileges};
use super::error::RoleError;
use super::inherited;
use super::link::{Handed, Roles};
use super::message::{ORDER, Order};
use crate::admin::DOOR;
use crate::command::{CommandLine, Exit};
use crate::config::{self, Config, Mode, Recipients};
use crate::{engine, output};

/// The guard has everything ready before it starts a gate.
const HAND_OVER: Duration = Duration::from_secs(10);

/// What a resolver, TLS and the look at what is left of the memory need of the system, besides what the config names.
const SYSTEM: [&str; 15] = [
    "/proc/meminfo",
    "/proc/self/cgroup",
    "/sys/fs/cgroup",
    "/etc/resolv.conf",
    "/run/systemd/resolve",
    "/etc/hosts",
    "/etc/nsswitch.conf",
    "/etc/host.conf",
    "/etc/gai.conf",
    "/etc/services",
    "/etc/ssl",
    "/etc/pki",
    "/usr/share/ca-certificates",
    "/usr/local/share/ca-certificates",
    "/etc/localtime",
];

/// Runs the engine until it ends.
///
/// # Errors
///
/// The guard hands over nothing, or a right cannot be given away.
pub(super) fn run(line: &CommandLine, account: &Account) -> Result<Exit, RoleError> {
    let socket = inherited::socket()?;
    alone()?;
    let shares_user = rustix::process::geteuid().as_raw() == account.user;
    // Asked before the system's own files are out of reach.
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    become_gate(account)?;
    let file = line.config_file();
    // As the user who will read it again at a reload.
    let config = match config::load(&file) {
        Ok(config) => config,
        Err(error) => {
            output::diagnosis(&error.to_string());
            output::diagnosis(&format!(
                "The gate runs as user {}, who must be able to read it.",
                account.user
            ));
            return Ok(Exit::Wrong);
        }
    };
    let handed = take_over(&socket)?;
    make_door(&config.state_dir);
    let keep = if is_transparent(&config) { privileges::TRANSPARENT } else { CapabilitySet::empty() };
    let enforced = lock_gate(keep, &access(&config, &file))?;
    if enforced == files::Enforced::Not {
        tracing::warn!("this kernel has no Landlock: what files the gate may open is up to their owners");
    }
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(threads).enable_all().build();
    let runtime = runtime.map_err(|error| RoleError::Start { what: "the runtime", error })?;
    let roles = {
        let _within = runtime.enter();
        Roles::separate(socket, handed, enforced, shares_user)
            .map_err(|error| RoleError::Start { what: "the talk with the guard", error })?
    };
    Ok(runtime.block_on(engine::run(line, roles)))
}

/// Whether it speaks with addresses that are not its own.
fn is_transparent(config: &Config) -> bool {
    let by_config = |backend: &config::Backend| backend.client_address == config::ClientAddress::Transparent;
    config.network.mode != Mode::Front || config.backends.iter().any(by_config)
}

/// The folder of the command line's socket must be there for a right to it. What is wrong with it is told by who opens the socket.
fn make_door(state_dir: &Path) {
    let _ = std::fs::DirBuilder::new().mode(0o700).create(state_dir.join(DOOR));
}

/// Everything up to [`Order::Begin`].
fn take_over(socket: &OwnedFd) -> Result<Handed, RoleError> {
    let failed = |error: std::io::Error| RoleError::Guard(error.to_string());
    set_socket_timeout(socket, Timeout::Recv, Some(HAND_OVER)).map_err(|error| failed(error.into()))?;
    let mut sockets: HashMap<SocketAddr, Vec<TcpListener>> = HashMap::new();
    loop {
        let (order, descriptors) = receive(socket)?;
        match order {
            Order::Sockets { address, .. } => {
                let listeners = descriptors.into_iter().map(TcpListener::from);
                sockets.entry(address).or_default().extend(listeners);
            }
            Order::Begin { guard, restarts } => return Ok(Handed { sockets, guard, restarts }),
            Order::Config { .. } | Order::Reload | Order::Worker { .. } => {
                return Err(RoleError::Guard("it orders before it has begun".into()));
            }
        }
    }
}

fn receive(socket: &OwnedFd) -> Result<(Order, Vec<OwnedFd>), RoleError> {
    let mut record = [0; ORDER];
    let packet = packet::receive(socket.as_fd(), &mut record, MAX_DESCRIPTORS)
        .map_err(|error| RoleError::Guard(error.to_string()))?;
    let octets = record.get(..packet.length).filter(|_| packet.whole).unwrap_or_default();
    let order = Order::read(octets).map_err(|error| RoleError::Guard(error.to_string()))?;
    Ok((order, packet.descriptors))
}

/// What the gate may open. Files that the config names are replaced by renaming, so that their folders have to be open
/// to it, too; links are followed now.
fn access(config: &Config, file: &Path) -> files::Access {
    let certificates = config.tls.certificates.iter().flat_map(|files| [&files.chain, &files.key]);
    let authorities = config.backends.iter().filter_map(|backend| backend.ca_file.as_ref());
    let recipients = config.backends.iter().filter_map(|backend| match &backend.recipients {
        Recipients::File(path) => Some(path),
        Recipients::Ldap(directory) => directory.ca_file.as_ref(),
        Recipients::Ask => None,
    });
    let authorities = authorities.chain(&config.outbound.ca_file).chain(&config.acme.ca_file);
    let authorities = authorities.chain(&config.log.syslog_ca_file);
    let others = config.resolver.dnssec_trust_anchor.iter();
    let named = certificates.chain(authorities).chain(recipients).chain(others);
    let own = named.map(PathBuf::as_path).chain([file]).flat_map(with_folder);
    let read = own.chain(SYSTEM.iter().map(PathBuf::from)).collect();
    let sockets = vec![config.state_dir.join(DOOR)];
    files::Access { read, write: vec![config.state_dir.clone()], sockets }
}

/// A file, what it links to, and the folders of both, but for those of the system that hold everything.
fn with_folder(file: &Path) -> Vec<PathBuf> {
    let mut paths = Vec::new();
    for path in [Some(file.to_owned()), file.canonicalize().ok()].into_iter().flatten() {
        let folder = path.parent().and_then(|folder| folder.canonicalize().ok());
        // `/`, `/etc`, `/srv`: a file right in there is opened, its neighbours are not.
        paths.extend(folder.filter(|folder| folder.components().count() > 2));
        paths.push(path);
    }
    paths
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_gate_may_open_what_its_config_names_and_not_what_lies_beside_it_in_etc() {
        let folder = tempfile::tempdir().unwrap();
        let (real, link) = (folder.path().join("archive"), folder.path().join("live"));
        std::fs::create_dir_all(&real).unwrap();
        std::fs::create_dir_all(&link).unwrap();
        std::fs::write(real.join("key1.pem"), b"x").unwrap();
        std::os::unix::fs::symlink(real.join("key1.pem"), link.join("key.pem")).unwrap();
        let paths = with_folder(&link.join("key.pem"));
        for expected in [&link, &real] {
            let expected = expected.canonicalize().unwrap();
            assert!(paths.contains(&expected), "{expected:?} of {paths:?}");
        }
        assert_eq!(
            with_folder(Path::new("/etc/hosts")).iter().filter(|path| path.ends_with("etc")).count(),
            0
        );
    }
}
