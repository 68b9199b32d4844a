//! What the world finds here, and what judging asks out there: DNS records, the public web server's ports, the virus scanner, DNS
//! lists.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Duration;

use dns::{DnsError, Resolver};
use evidence::clamd::Octets;
use evidence::lists::About;
use smtp::Domain;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout};

use super::online::Finding;
use crate::ask;
use crate::config::{Config, DnsList};
use crate::engine;
use crate::report::{RecordState, ZoneRecord};
use crate::web;
use crate::zone::{self, Facts, Leaves};

/// For a port, or for the scanner, to answer.
const PATIENCE: Duration = Duration::from_secs(10);
/// Octets of an answer of the web server that are read; its own has some hundred.
const MAX_ANSWER: u64 = 4096;
/// A token that no CA ever gave: the public web server says that there is none.
const NO_TOKEN: &str = "/.well-known/acme-challenge/postern-check";

/// The records that decide whether mail comes and is believed: MX, PTR, TLSA, MTA-STS. Names that are set aside are looked up only
/// where the config has name servers of its own.
pub(super) async fn records(config: &Config) -> Vec<Finding> {
    let reserved = |name: &Domain| acme::is_reserved(name.as_str());
    let domains = config.backends.iter().flat_map(|backend| &backend.domains);
    if config.resolver.servers.is_empty() && domains.chain([&config.hostname]).all(reserved) {
        return Vec::new();
    }
    let report = match ask::verified_records(config).await {
        Ok(report) => report,
        Err(words) => return vec![Finding::unreachable("DNS records", words)],
    };
    let mut findings = Vec::new();
    for zone in &report.zones {
        let wanted =
            |record: &&ZoneRecord| ["mx", "ptr", "tlsa", "mta-sts"].contains(&record.purpose.as_str());
        findings.extend(zone.records.iter().filter(wanted).filter_map(record));
    }
    if let Ok(resolver) = engine::resolver(config) {
        findings.extend(pointers(config, &resolver).await);
    }
    findings
}

fn record(record: &ZoneRecord) -> Option<Finding> {
    let found = record.found.as_ref()?;
    let what = format!("{} {}", record.kind, record.name);
    Some(match found.state {
        RecordState::Right => Finding::good(&what, found.words.clone()),
        RecordState::Missing | RecordState::Wrong => Finding::wrong(&what, found.words.clone()),
        RecordState::Unknown => Finding::unreachable(&what, found.words.clone()),
    })
}

/// The names of the host's own addresses, where mail leaves from these. What the config names is among the records.
async fn pointers(config: &Config, resolver: &Resolver) -> Vec<Finding> {
    if Facts::new(config).leaves != Leaves::Hostname {
        return Vec::new();
    }
    let Ok(addresses) = resolver.addresses(&config.hostname).await else { return Vec::new() };
    let mut findings = Vec::new();
    for (address, _) in addresses.iter().filter(|(address, _)| !is_inside(*address)) {
        let what = format!("PTR {address}");
        let Ok(name) = zone::reverse(address).parse::<Domain>() else { continue };
        findings.push(match resolver.pointers(&name).await {
            Ok(answer) if answer.records.iter().any(|host| host.0 == config.hostname) => {
                Finding::good(&what, "it is called by this name")
            }
            Ok(answer) => {
                let names: Vec<_> = answer.records.iter().map(|host| host.0.to_string()).collect();
                Finding::wrong(&what, format!("it is called {}, not {}", names.join(", "), config.hostname))
            }
            Err(error) if error.is_temporary() => Finding::unreachable(&what, error.to_string()),
            Err(_) => Finding::wrong(&what, "it has no name: many servers take no mail from it"),
        });
    }
    findings
}

fn is_inside(address: IpAddr) -> bool {
    match address.to_canonical() {
        IpAddr::V4(v4) => v4.is_loopback() || v4.is_private() || v4.is_link_local(),
        IpAddr::V6(v6) => v6.is_loopback() || v6.is_unique_local() || v6.is_unicast_link_local(),
    }
}

/// Whether the public web server is reached by the host's name. From outside it may be otherwise, which only somebody outside can
/// tell.
pub(super) async fn web_ports(config: &Config, runs: bool) -> Vec<Finding> {
    let wanted = web::sockets::wanted(config);
    if !runs || wanted.is_empty() {
        return Vec::new();
    }
    let addresses = match engine::resolver(config) {
        Ok(resolver) => resolver.addresses(&config.hostname).await,
        Err(error) => return vec![Finding::wrong("name servers", error.to_string())],
    };
    let addresses: Vec<IpAddr> = match addresses {
        Ok(addresses) => addresses.iter().map(|(address, _)| address).collect(),
        Err(error) => {
            return vec![Finding::unreachable(
                &format!("addresses of {}", config.hostname),
                error.to_string(),
            )];
        }
    };
    let mut findings = Vec::new();
    for port in wanted {
        for address in &addresses {
            let target = SocketAddr::new(*address, port.address.port());
            let what = format!("web server at {target}");
            let asked = timeout(PATIENCE, ask_web(target, port.tls)).await;
            findings.push(match asked.unwrap_or_else(|_| Err("no answer".to_owned())) {
                Ok(()) => Finding::good(&what, "it is Postern's, as seen from here"),
                Err(why) => Finding::unreachable(
                    &what,
                    format!("{why}, as seen from here; a CA and senders come to it from outside"),
                ),
            });
        }
    }
    findings
}

async fn ask_web(target: SocketAddr, tls: bool) -> Result<(), String> {
    let mut stream = TcpStream::connect(target).await.map_err(|error| error.to_string())?;
    if tls {
        return Ok(());
    }
    let request = format!("GET {NO_TOKEN} HTTP/1.1\r\nHost: {target}\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await.map_err(|error| error.to_string())?;
    let mut answer = Vec::new();
    stream.take(MAX_ANSWER).read_to_end(&mut answer).await.map_err(|error| error.to_string())?;
    let answer = String::from_utf8_lossy(&answer);
    match answer.starts_with("HTTP/1.1 404 ") && answer.ends_with("\r\n\r\nnot found\n") {
        true => Ok(()),
        false => Err("somebody else answers there".to_owned()),
    }
}

/// Whether the virus scanner looks at what it is given.
pub(super) async fn scanner(config: &Config) -> Option<Finding> {
    let scanner = engine::scanner(config.judge.clamd.as_ref().filter(|_| config.judge.enabled)?);
    let what = format!("clamd at {}", scanner.address());
    let harmless = Octets::new(None, b"Subject: check\r\n\r\nNothing.\r\n"[..].into());
    Some(match scanner.scan(harmless, Instant::now() + PATIENCE).await {
        Ok(_) => Finding::good(&what, "it looks at messages"),
        Err(error) => Finding::unreachable(&what, error.to_string()),
    })
}

/// Whether DNS lists answer to the name servers here: each has an entry for tests, and one that is never on it (RFC 5782 §5).
pub(super) async fn lists(config: &Config) -> Vec<Finding> {
    let lists = &config.judge.dnsbl;
    if lists.is_empty() || !config.judge.enabled {
        return Vec::new();
    }
    let resolver = match engine::resolver(config) {
        Ok(resolver) => resolver,
        Err(error) => return vec![Finding::wrong("name servers", error.to_string())],
    };
    let mut findings = Vec::new();
    for list in lists {
        findings.push(of_list(list, &resolver).await);
    }
    findings
}

async fn of_list(list: &DnsList, resolver: &Resolver) -> Finding {
    let what = format!("list {}", list.zone);
    let (listed, never) = match list.about {
        About::Addresses => ("2.0.0.127", "1.0.0.127"),
        About::Domains => ("test", "invalid"),
    };
    let ask = async |entry: &str| {
        let name = format!("{entry}.{}", list.zone).parse().map_err(|_| DnsError::NotAName)?;
        let addresses = resolver.addresses(&name).await?;
        Ok::<_, DnsError>(addresses.iter().map(|(address, _)| address).collect::<Vec<_>>())
    };
    match (ask(listed).await, ask(never).await) {
        (Err(error), _) | (_, Err(error)) if error.is_temporary() => {
            Finding::unreachable(&what, error.to_string())
        }
        (Ok(codes), _) if codes.iter().any(|code| is_refusal(*code)) => Finding::wrong(
            &what,
            "it refuses to answer the name servers here: ask it by name servers of your own, or with a key",
        ),
        (Err(_), _) => Finding::wrong(&what, "it does not have the entry for tests: it may be gone"),
        (Ok(_), Ok(_)) => Finding::wrong(&what, "it lists everything: take it out of judge.dnsbl"),
        (Ok(_), Err(_)) => Finding::good(&what, "it answers"),
    }
}

/// 127.255.255.0/24: what lists answer to those whom they do not serve.
fn is_refusal(code: IpAddr) -> bool {
    matches!(code, IpAddr::V4(code) if code.octets()[..3] == Ipv4Addr::new(127, 255, 255, 0).octets()[..3])
}
