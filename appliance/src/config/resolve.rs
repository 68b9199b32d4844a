//! From [`Raw`] to [`Config`]: defaults, checks, and what must agree between sections.

use std::collections::HashMap;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use record::Protocol;
use toml::Spanned;

use super::inactive;
use super::problem::Problems;
use super::raw::{Raw, RawAdmin, RawLimits, RawListener, RawNetwork, RawProtocol, RawTls, Text};
use super::resolve_backend;
use super::resolve_later as later;
use super::resolved::{Admin, CertificateFiles, Config, Limits, Listener, Network, Tls};
use super::resolver::{Reading, mail_address};

pub(super) const DEFAULT_STATE_DIR: &str = "/var/lib/postern";
const DEFAULT_ADMIN: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), 8080);

/// `None` only if something without which nothing can be built is missing; that is among the problems then.
pub(super) fn resolve(mut raw: Raw, problems: &mut Problems<'_>) -> Option<Config> {
    let mut reading = Reading { problems };
    let hostname = match &raw.hostname {
        Some(_) => reading.domain(&raw.hostname),
        None => {
            reading.problems.add_missing(&(0..0), "hostname", "`hostname = \"mx1.example.net\"` at the top");
            None
        }
    };
    let network = network(&raw.network, &mut reading);
    let listeners = listeners(raw.listener.as_deref(), &mut reading);
    let backends = resolve_backend::backends(raw.backend.as_deref(), network.mode, &mut reading);
    let tls = tls(&raw.tls, &mut reading);
    let limits = limits(&raw.limits, &mut reading);
    let admin = admin(&raw.admin, &mut reading);
    let postmaster = reading.mail_address(&raw.postmaster);
    let postmaster = postmaster.or_else(|| {
        let first = backends.iter().flat_map(|backend| &backend.domains).next()?;
        mail_address(&format!("postmaster@{first}"))
    });
    let later = later::resolve(&mut raw, network.mode, &mut reading);
    let hostname = hostname?;
    let postmaster = postmaster.unwrap_or_else(|| format!("postmaster@{hostname}"));
    let mut config = Config {
        postmaster: postmaster.clone(),
        state_dir: state_dir(&raw.state_dir, reading.problems),
        network,
        listeners,
        backends,
        outbound: later.outbound,
        tls,
        acme: later.acme,
        dns_update: later.dns_update,
        resolver: later.resolver,
        judge: later.judge,
        reports: later.reports,
        queue: later.queue,
        trace: later.trace,
        limits,
        http: later.http,
        admin,
        log: later.log,
        store: later.store,
        inactive: Vec::new(),
        hostname,
    };
    if config.acme.contact.is_empty() {
        config.acme.contact.push(postmaster);
    }
    let Config { judge, reports, hostname, .. } = &mut config;
    for address in [&mut judge.report_spam, &mut judge.report_ham, &mut reports.address] {
        *address = address.replace("{hostname}", hostname.as_str());
    }
    config.inactive = inactive::keys(&raw, &config);
    Some(config)
}

fn state_dir(text: &Text, problems: &Problems<'_>) -> PathBuf {
    let text = text.as_ref().map(|text| text.get_ref().as_str()).filter(|text| !text.is_empty());
    problems.folder().join(text.unwrap_or(DEFAULT_STATE_DIR))
}

fn network(raw: &RawNetwork, reading: &mut Reading<'_, '_>) -> Network {
    // IFNAMSIZ is 16 with the NUL.
    let interface = |text: &str| {
        let valid = text.len() <= 15 && text.bytes().all(|b| b.is_ascii_graphic() && !b"/\"\\*".contains(&b));
        valid.then(|| text.to_owned())
    };
    let expected = "an interface name of at most 15 characters, such as `eth0`";
    let outside = reading.one(&raw.outside, expected, interface).unwrap_or_else(|| "eth0".to_owned());
    let inside = reading.one(&raw.inside, expected, interface).unwrap_or_else(|| "eth1".to_owned());
    if let Some(place) = raw.inside.as_ref().filter(|_| inside == outside) {
        reading.problems.add(&place.span(), "is the same interface as `outside`", "another interface");
    }
    Network {
        mode: raw.mode.unwrap_or_default(),
        outside,
        inside,
        manage_firewall: raw.manage_firewall.unwrap_or(true),
        forward: reading.ports(&raw.forward),
        open: reading.ports(&raw.open),
    }
}

fn listeners(raw: Option<&[Spanned<RawListener>]>, reading: &mut Reading<'_, '_>) -> Vec<Listener> {
    let Some(raw) = raw else { return default_listeners() };
    let mut seen: HashMap<SocketAddr, usize> = HashMap::new();
    let mut listeners = Vec::new();
    for (at, table) in raw.iter().enumerate() {
        let listener = table.get_ref();
        let Some(text) = listener.address.as_ref() else {
            let key = format!("listener[{at}].address");
            reading.problems.add_missing(&table.span(), &key, "`address = \"[::]:25\"`");
            continue;
        };
        let proxy_protocol_from = reading.networks(&listener.proxy_protocol_from);
        let Some(address) = reading.socket_address(&listener.address) else { continue };
        match seen.insert(address, at) {
            // Port 0 is a different port each time.
            Some(other) if address.port() != 0 => {
                let wrong = format!("is the address of listener[{other}] too");
                reading.problems.add(&text.span(), wrong, "an address that no other listener has");
            }
            _ => {
                let protocol = protocol(listener.protocol, address.port());
                listeners.push(Listener { address, protocol, proxy_protocol_from });
            }
        }
    }
    listeners
}

/// The protocol that goes with a well-known port, unless one is named.
fn protocol(named: Option<RawProtocol>, port: u16) -> Protocol {
    match (named, port) {
        (Some(RawProtocol::Submission), _) | (None, 587) => Protocol::Submission,
        (Some(RawProtocol::Submissions), _) | (None, 465) => Protocol::Submissions,
        (Some(RawProtocol::Smtp) | None, _) => Protocol::Smtp,
    }
}

fn default_listeners() -> Vec<Listener> {
    let listener = |port, protocol| Listener {
        address: (Ipv6Addr::UNSPECIFIED, port).into(),
        protocol,
        proxy_protocol_from: Vec::new(),
    };
    vec![
        listener(25, Protocol::Smtp),
        listener(587, Protocol::Submission),
        listener(465, Protocol::Submissions),
    ]
}

fn tls(raw: &RawTls, reading: &mut Reading<'_, '_>) -> Tls {
    let mut certificates = Vec::new();
    for (at, table) in raw.certificates.iter().flatten().enumerate() {
        let files = table.get_ref();
        for (name, text) in [("chain", &files.chain), ("key", &files.key)] {
            if text.as_ref().is_none_or(|text| text.get_ref().is_empty()) {
                let key = format!("tls.certificates[{at}].{name}");
                reading.problems.add_missing(&table.span(), &key, "the path of a PEM file");
            }
        }
        let (chain, key) = (reading.readable_file(&files.chain), reading.readable_file(&files.key));
        certificates.extend(chain.zip(key).map(|(chain, key)| CertificateFiles { chain, key }));
    }
    Tls {
        minimum: raw.minimum.unwrap_or_default(),
        post_quantum: raw.post_quantum.unwrap_or(true),
        certificates,
        inbound_plain: raw.inbound_plain.unwrap_or_default(),
    }
}

fn limits(raw: &RawLimits, reading: &mut Reading<'_, '_>) -> Limits {
    // RFC 5321 §4.5.3.1.7 wants 64 KiB at least; the upper ends keep sums far from overflow.
    let message_size = reading.size(&raw.message_size, 50 << 20, 64 << 10..=4 << 30);
    let in_flight = reading.size(&raw.in_flight, 512 << 20, 1 << 20..=1 << 40);
    if in_flight < message_size {
        let place =
            raw.in_flight.as_ref().or(raw.message_size.as_ref()).map(Spanned::span).unwrap_or_default();
        let wrong = "one message of `message_size` does not fit into `in_flight`";
        reading.problems.add(&place, wrong, "`in_flight` at least as large as `message_size`");
    }
    let pregreet = reading.duration(&raw.pregreet, Duration::ZERO);
    // RFC 5321 §4.5.3.2.1: the client waits five minutes for the greeting, in theory.
    if let Some(text) = raw.pregreet.as_ref().filter(|_| pregreet > Duration::from_secs(30)) {
        reading.problems.add(&text.span(), format!("cannot be `{}`", text.get_ref()), "at most `30s`");
    }
    Limits {
        message_size,
        sessions: reading.number(&raw.sessions, 10_000, 1..=1_000_000),
        sessions_per_ip: reading.number(&raw.sessions_per_ip, 50, 1..=1_000_000),
        pregreet,
        // RFC 5321 §4.5.3.1.8 wants a hundred at least.
        recipients: reading.number(&raw.recipients, 1000, 100..=50_000),
        in_flight,
        errors: reading.number(&raw.errors, 20, 1..=1000),
    }
}

fn admin(raw: &RawAdmin, reading: &mut Reading<'_, '_>) -> Admin {
    let listen = reading.socket_address(&raw.listen).unwrap_or(DEFAULT_ADMIN);
    Admin { listen, networks: reading.networks(&raw.networks), edit: raw.edit.unwrap_or(true) }
}
