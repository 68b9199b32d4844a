//! A lab whose middle is a Postern in gateway mode, with the world's DNS as it sees it.

use std::net::{IpAddr, SocketAddr};
use std::process::Command;
use std::time::Duration;

use crate::clients::{Client, ClientResult, How, deliver};
use crate::lab::{HIDDEN, Host, Lab, WORLD};
use crate::mail::Mail;
use crate::nameserver::{NameServer, Signing, Zone};
use crate::ports;
use crate::postern::Postern;

/// For whatever a gateway does, on a busy machine.
pub const LIMIT: Duration = Duration::from_secs(60);

/// Port 25 there.
pub fn smtp(address: impl Into<IpAddr>) -> SocketAddr {
    SocketAddr::new(address.into(), 25)
}

/// A Postern whose hidden servers are those of [`HIDDEN`], for `hidden.test`, armed. `more` are further lines of their
/// backend, and tables.
///
/// # Panics
///
/// If it does not start, or puts up no rules.
pub fn start(lab: &Lab, more: &str) -> Postern {
    let config = format!(
        "[[backend]]\nname = \"hidden\"\ndomains = [\"hidden.test\"]\nservers = [\"{}\", \"{}\"]\narm = \"now\"\n{more}\n",
        smtp(HIDDEN.v4),
        smtp(HIDDEN.v6),
    );
    start_with(lab, config)
}

/// A Postern with this config but for its name, its state and its mode.
///
/// # Panics
///
/// As [`start`].
pub fn start_with(lab: &Lab, config: String) -> Postern {
    lab.postern.run(move || {
        let postern = Postern::gateway(&config);
        let rules = || Command::new("nft").args(["list", "table", "inet", "postern"]).output().ok();
        let put_up = || rules().filter(|rules| rules.status.success());
        assert!(ports::wait_until(LIMIT, put_up).is_some(), "no rule set:\n{}", postern.log());
        postern
    })
}

/// The world's DNS with these zones (name and records), unsigned, and the table of a config that points there.
pub fn names(lab: &Lab, zones: &[(&'static str, String)]) -> (NameServer, String) {
    let zones = zones.to_vec();
    let server = lab.postern.run(move || {
        let zones: Vec<Zone<'_>> =
            zones.iter().map(|(name, records)| Zone { name, signing: Signing::Unsigned, records }).collect();
        NameServer::start(&zones)
    });
    let config = format!(
        "[resolver]\nservers = [\"{}\"]\ndnssec_trust_anchor = {:?}\n",
        server.address(),
        server.anchor()
    );
    (server, config)
}

/// `v4.test` and `v6.test`, which have their mail at the world's machine.
pub fn both_families() -> [(&'static str, String); 2] {
    [
        ("v4.test", format!("@ MX 10 mx\nmx A {}\n", WORLD.v4)),
        ("v6.test", format!("@ MX 10 mx\nmx AAAA {}\n", WORLD.v6)),
    ]
}

/// No machine of the lab asks the names of others, nor waits for an answer.
pub fn without_dns(lab: &Lab) {
    for host in [&lab.world, &lab.inside] {
        host.etc("resolv.conf", "nameserver 127.0.0.1\noptions timeout:1 attempts:1\n");
    }
}

/// Sends a mail on a machine, with our own client.
pub fn submit(host: &Host, address: SocketAddr, mail: &Mail) -> ClientResult {
    let sent = mail.clone();
    host.run(move || deliver(Client::Wire, address, &sent, &How::default()))
}
