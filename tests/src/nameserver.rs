//! Knot as the whole DNS: a root of its own, signed, and the zones of a test below it, signed or not, or broken on purpose.
//! It answers for all of them on one port of loopback, so that a resolver which is pointed at it needs nothing else.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use crate::child::{self, Child};
use crate::needs::Need;
use crate::ports;
use crate::scratch::Scratch;

/// A name server with keys of its own.
pub const KNOT: &[Need] = &[Need::Program("knotd"), Need::Program("keymgr"), Need::Program("knotc")];

/// Whoever has this key may change every zone: its name, and the secret in base64.
pub const KEY: (&str, &str) = ("postern.key", "c2VjcmV0IG9mIHRoZSB0ZXN0cywga25vd24gdG8gYWxsLg==");

/// How long one of Knot's tools may take.
const TOOL_LIMIT: Duration = Duration::from_secs(30);
/// How long signatures hold that are to be too old.
const BRIEF: Duration = Duration::from_secs(8);
/// What every zone has at its head; a denial holds for a minute.
const HEAD: &str = "@ 3600 SOA ns.invalid. host.invalid. 1 3600 600 86400 60\n@ 3600 NS ns.invalid.\n";

/// The same for one whose signatures last a moment: nothing in it may be remembered for longer.
const BRIEF_HEAD: &str = "$TTL 1\n@ 1 SOA ns.invalid. host.invalid. 1 3600 600 86400 1\n@ 1 NS ns.invalid.\n";

/// How a zone is signed, and what its parent says of that.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Signing {
    /// Signed with ECDSA P-256 and NSEC, and its parent vouches for the key.
    Nsec,
    /// Signed with NSEC3 and this many extra iterations, and its parent vouches for the key.
    Nsec3(u16),
    /// Not signed, and the parent says so.
    Unsigned,
    /// Signed, but the parent vouches for another key: as if somebody else had signed it.
    WrongKey,
    /// Not signed, but the parent vouches for a key: as if somebody had stripped the signatures.
    Stripped,
    /// Signed, and its parent vouches for the key, but by the time the server is there the signatures are too old.
    Expired,
}

/// A zone below the root.
#[derive(Clone, Copy, Debug)]
pub struct Zone<'a> {
    /// Its name, without a final dot.
    pub name: &'a str,
    /// How it is signed.
    pub signing: Signing,
    /// Its records beside SOA and NS, as a zone file has them; names are relative to the zone.
    pub records: &'a str,
}

/// A running name server.
#[derive(Debug)]
pub struct NameServer {
    _process: Child,
    scratch: Scratch,
    address: std::net::SocketAddr,
}

impl NameServer {
    /// Starts one with these zones.
    ///
    /// # Panics
    ///
    /// If it does not start or does not load the zones.
    pub fn start(zones: &[Zone<'_>]) -> Self {
        let scratch = Scratch::new("knot");
        let address = ports::free();
        for folder in ["run", "keys", "zones"] {
            scratch.folder(folder, "root");
        }
        let config = scratch.write("knot.conf", config(scratch.path(), address, zones));
        let mut root = HEAD.to_owned();
        for zone in zones {
            let head = if zone.signing == Signing::Expired { BRIEF_HEAD } else { HEAD };
            scratch.write(&format!("zones/{}.zone", zone.name), format!("{head}{}\n", zone.records));
            root.push_str(&delegation(&config, zone));
        }
        scratch.write("zones/root.zone", root);
        generate(&config, ".");
        scratch.write("anchor", keymgr(&config, ".", &["dnskey"]));
        let mut command = Command::new("knotd");
        command.arg("-c").arg(&config);
        let mut process = Child::spawn("knotd", &command, &scratch.join("output"));
        process.expect_listening(address);
        for zone in zones.iter().map(|zone| zone.name).chain(["."]) {
            let loaded = ports::wait_until(ports::START_LIMIT, || has_zone(&config, zone).then_some(()));
            assert!(loaded.is_some(), "knotd has not loaded {zone}:\n{}", process.output());
        }
        for zone in zones.iter().filter(|zone| zone.signing == Signing::Expired) {
            let ended = child::run(&knotc(&config, &["zone-freeze", zone.name]), TOOL_LIMIT);
            assert!(ended.success, "knotc: {}", ended.output);
            // Nobody signs it again.
            ports::wait_until(BRIEF + Duration::from_secs(1), || None::<()>);
        }
        Self { _process: process, scratch, address }
    }

    /// Where it answers, over UDP and TCP.
    pub fn address(&self) -> std::net::SocketAddr {
        self.address
    }

    /// Puts other records into a zone.
    ///
    /// # Panics
    ///
    /// If they are not loaded.
    pub fn change(&self, zone: &str, records: &str) {
        self.scratch.write(&format!("zones/{zone}.zone"), format!("{HEAD}{records}\n"));
        let config = self.scratch.join("knot.conf");
        let ended = child::run(&knotc(&config, &["-b", "zone-reload", zone]), TOOL_LIMIT);
        assert!(ended.success, "knotc zone-reload {zone}: {}", ended.output);
    }

    /// A file with the root's key as a DNSKEY record: what a resolver has to trust.
    pub fn anchor(&self) -> PathBuf {
        self.scratch.join("anchor")
    }
}

fn config(folder: &Path, address: std::net::SocketAddr, zones: &[Zone<'_>]) -> String {
    let folder = folder.display();
    let user = nix::unistd::User::from_uid(nix::unistd::geteuid()).ok().flatten();
    let user = user.map_or_else(|| "root".to_owned(), |user| user.name);
    let mut text = format!(
        "server:\n  listen: {}@{}\n  rundir: {folder}/run\n  user: {user}\n  udp-workers: 1\n  tcp-workers: 1\n  \
         background-workers: 1\n\
         log:\n  - target: stderr\n    any: warning\n\
         database:\n  storage: {folder}/keys\n\
         key:\n  - id: {key}\n    algorithm: hmac-sha256\n    secret: {secret}\n\
         acl:\n  - id: changes\n    key: {key}\n    action: update\n\
         policy:\n{}{}",
        address.ip(),
        address.port(),
        policy("nsec", "off", 0),
        policy("nsec3-0", "on", 0),
        key = KEY.0,
        secret = KEY.1,
    );
    text.push_str(&policy("brief", "off", 0));
    text.push_str(&format!(
        "    rrsig-lifetime: {}\n    rrsig-refresh: 3\n    rrsig-pre-refresh: 0\n    propagation-delay: 0\n    \
         zone-max-ttl: 1\n    dnskey-ttl: 1\n",
        BRIEF.as_secs()
    ));
    for zone in zones {
        if let Signing::Nsec3(iterations @ 1..) = zone.signing {
            text.push_str(&policy(&format!("nsec3-{iterations}"), "on", iterations));
        }
    }
    // The journal's content takes the place of the file's, which is never written to.
    text.push_str(&format!(
        "template:\n  - id: default\n    storage: {folder}/zones\n    zonefile-sync: -1\n    zonefile-load: \
         difference-no-serial\n    journal-content: all\n    acl: changes\n\
         zone:\n  - domain: .\n    file: root.zone\n    dnssec-signing: on\n    dnssec-policy: nsec\n"
    ));
    for zone in zones {
        text.push_str(&format!("  - domain: {}\n    file: {}.zone\n", zone.name, zone.name));
        let policy = match zone.signing {
            Signing::Nsec | Signing::WrongKey => "nsec".to_owned(),
            Signing::Nsec3(iterations) => format!("nsec3-{iterations}"),
            Signing::Expired => "brief".to_owned(),
            Signing::Unsigned | Signing::Stripped => continue,
        };
        text.push_str(&format!("    dnssec-signing: on\n    dnssec-policy: {policy}\n"));
    }
    text
}

fn policy(id: &str, nsec3: &str, iterations: u16) -> String {
    format!(
        "  - id: {id}\n    algorithm: ecdsap256sha256\n    manual: on\n    nsec3: {nsec3}\n    nsec3-iterations: \
         {iterations}\n    nsec3-salt-length: 0\n"
    )
}

/// What the root says of a zone.
fn delegation(config: &Path, zone: &Zone<'_>) -> String {
    let name = zone.name;
    let ns = format!("{name}. 3600 NS ns.invalid.\n");
    let foreign = format!("{name}. 3600 DS 12345 13 2 {}\n", "ab".repeat(32));
    match zone.signing {
        Signing::Nsec | Signing::Nsec3(_) | Signing::Expired => {
            generate(config, name);
            ns + &keymgr(config, name, &["ds"])
        }
        Signing::WrongKey => {
            generate(config, name);
            ns + &foreign
        }
        Signing::Unsigned => ns,
        Signing::Stripped => ns + &foreign,
    }
}

fn generate(config: &Path, zone: &str) {
    keymgr(config, zone, &["generate", "algorithm=ecdsap256sha256", "ksk=yes", "zsk=yes"]);
}

fn keymgr(config: &Path, zone: &str, arguments: &[&str]) -> String {
    let mut command = Command::new("keymgr");
    command.arg("-c").arg(config).arg(zone).args(arguments);
    let ended = child::run(&command, TOOL_LIMIT);
    assert!(ended.success, "keymgr {zone} {arguments:?}:\n{}", ended.output);
    ended.output
}

fn has_zone(config: &Path, zone: &str) -> bool {
    child::run(&knotc(config, &["zone-read", zone, "@", "SOA"]), TOOL_LIMIT).success
}

fn knotc(config: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new("knotc");
    command.arg("-c").arg(config).args(arguments);
    command
}
