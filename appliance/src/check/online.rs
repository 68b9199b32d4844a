//! What only the network can tell: whether each server answers, how far TLS with it goes, whether it can be told the
//! client's address, and whether the ports are free or the running Postern's. What the world finds is in [`super::world`].

use std::fmt;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use delivery::{OpenError, Opener, Pool, Tcp};
use intercept::Source;
use record::{Clock, NoRecord, Protocol, SystemClock};
use route::{Backend, Offered, Server};
use serde::Serialize;
use smtp::Extension;
use tls::Roots;
use tokio::time::{Instant, timeout};

use super::world;
use crate::client::{self, Running};
use crate::config::{self, ClientAddress, Config, Recipients, ServerAddress, TlsPolicy};
use crate::engine;
use crate::report::Status;

/// How long one server may take for all that is asked of it.
const PATIENCE: Duration = Duration::from_secs(30);
/// For the handshake of a connection with a foreign source address, whose answer gets lost if routes are wrong.
const TRANSPARENT_PATIENCE: Duration = Duration::from_secs(5);
/// Nobody's (RFC 5737, RFC 3849): only a server whose answers come back through this machine can answer them.
const NOBODY_V4: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 25);
const NOBODY_V6: Ipv6Addr = Ipv6Addr::new(0x2001, 0xDB8, 0, 0, 0, 0, 0, 25);

/// Something that only the network could tell.
#[derive(Clone, Debug, Serialize)]
pub struct Finding {
    /// What was tried.
    pub what: String,
    /// Whether it is as it should be.
    pub good: bool,
    /// Whether it could be reached at all.
    pub reached: bool,
    /// What was found, in words.
    pub words: String,
}

impl Finding {
    pub(super) fn good(what: &str, words: impl Into<String>) -> Self {
        Self { what: what.to_owned(), good: true, reached: true, words: words.into() }
    }

    pub(super) fn wrong(what: &str, words: impl Into<String>) -> Self {
        Self { good: false, ..Self::good(what, words) }
    }

    pub(super) fn unreachable(what: &str, words: impl Into<String>) -> Self {
        Self { reached: false, ..Self::wrong(what, words) }
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "  {} {}: {}", if self.good { "ok" } else { "NOT" }, self.what, self.words)
    }
}

/// Looks at everything, one after the other.
pub(super) async fn look(config: &Config) -> Vec<Finding> {
    let running = running(config).await;
    let mut findings = ports(config, running.as_ref()).await;
    let clock: Arc<dyn Clock> = Arc::new(SystemClock);
    let opener = Opener {
        network: Arc::new(Tcp::default()),
        hostname: config.hostname.to_string().into(),
        recorder: Arc::new(NoRecord),
        clock: Arc::clone(&clock),
        pool: Pool::default(),
        tally: None,
    };
    findings.extend(ca(config, Arc::clone(&clock)).await);
    findings.extend(world::web_ports(config, running.is_some()).await);
    findings.extend(world::records(config).await);
    findings.extend(world::scanner(config).await);
    findings.extend(world::lists(config).await);
    let (tls, roots) = (engine::tls_settings(config), Roots::public());
    for backend in &config.backends {
        // Without the way out into plain text that `opportunistic` has: why it would be taken is what is asked.
        let mut strict = backend.clone();
        if strict.tls == TlsPolicy::Opportunistic {
            strict.tls = TlsPolicy::Encrypt;
        }
        let leg = |backend| engine::leg(backend, &tls, &roots, Arc::clone(&clock), (Vec::new(), Vec::new()));
        match leg(&strict).and_then(|strict| Ok((strict, Arc::new(leg(backend)?)))) {
            Ok((leg, lenient)) => {
                findings.extend(look_at(&opener, backend, &leg, &lenient).await);
                if config.listeners.iter().any(|listener| listener.protocol != Protocol::Smtp) {
                    findings.push(submission(&opener, backend, &leg).await);
                }
            }
            Err(error) => {
                findings.push(Finding::wrong(&format!("backend {}", backend.name), error.to_string()));
            }
        }
    }
    findings
}

/// Whether the CA answers, where certificates are ordered.
async fn ca(config: &Config, clock: Arc<dyn Clock>) -> Option<Finding> {
    if !crate::web::sockets::orders(config) {
        return None;
    }
    let what = format!("CA {}", config.acme.directory);
    let settings = match engine::ca_settings(config) {
        Ok(settings) => settings,
        Err(wrong) => return Some(Finding::wrong(&what, wrong)),
    };
    Some(match acme::reach(&settings, clock).await {
        Ok(()) => Finding::good(&what, "it answers"),
        Err(error) => Finding::unreachable(&what, error.to_string()),
    })
}

async fn look_at(
    opener: &Opener,
    backend: &config::Backend,
    leg: &Backend,
    lenient: &Arc<Backend>,
) -> Vec<Finding> {
    let mut findings = Vec::new();
    for server in &backend.servers {
        let what = format!("server {server} of {}", backend.name);
        match probe(opener, leg, server).await {
            Ok((address, probed)) => {
                findings.push(transport(&what, backend, &probed));
                if let Ok(offered) = &probed {
                    findings.push(told_the_address(&what, backend.client_address, offered, address).await);
                }
                if backend.recipients == Recipients::Ask {
                    findings.extend(recipients(opener, &what, lenient, address).await);
                }
            }
            Err(error) => findings.push(Finding::unreachable(&what, error)),
        }
    }
    findings
}

type Probed = Result<Offered, OpenError>;

/// The first address that can be connected to, and what was found there.
async fn probe(
    opener: &Opener,
    leg: &Backend,
    server: &ServerAddress,
) -> Result<(SocketAddr, Probed), String> {
    let name = match &server.host {
        config::Host::Address(address) => address.to_string(),
        config::Host::Name(name) => name.to_string(),
    };
    let addresses =
        server.look_up().await.map_err(|error| format!("the name cannot be resolved: {error}"))?;
    let mut reason = "the name has no address".to_owned();
    for address in addresses {
        let looked = timeout(PATIENCE, delivery::probe(opener, leg, &Server::new(address, &name))).await;
        match looked.unwrap_or(Err(OpenError::Silent)) {
            Err(error @ (OpenError::Connect(_) | OpenError::Silent)) => reason = error.to_string(),
            probed => return Ok((address, probed)),
        }
    }
    Err(reason)
}

/// What the server offers, and whether TLS with it is what the config demands.
fn transport(what: &str, backend: &config::Backend, probed: &Probed) -> Finding {
    let demands = matches!(backend.tls, TlsPolicy::Encrypt | TlsPolicy::Verify);
    let offered = match probed {
        Ok(offered) => offered,
        Err(OpenError::Tls(error)) => {
            let consequence = match backend.tls {
                TlsPolicy::Opportunistic if backend.pins.is_empty() => "mail goes to it in plain text",
                _ => "no mail can go to it",
            };
            let cause = match error.is_no_forward_secrecy() {
                true => {
                    "it has no TLS with forward secrecy (1.3, or 1.2 with ECDHE and AEAD), and no other is spoken"
                }
                false => "TLS failed",
            };
            return Finding::wrong(what, format!("{cause}: {error}; {consequence}"));
        }
        Err(error) => return Finding::unreachable(what, error.to_string()),
    };
    let offers = offered.effective().keywords().collect::<Vec<_>>().join(" ");
    match &offered.encrypted {
        Some(_) => Finding::good(what, format!("{}; offers {offers}", offered.tls)),
        None if demands || !backend.pins.is_empty() => {
            let demand = backend.tls.name();
            Finding::wrong(
                what,
                format!("offers no STARTTLS, which tls = \"{demand}\" demands; no mail can go to it"),
            )
        }
        None => Finding::good(what, format!("mail goes to it in plain text; offers {offers}")),
    }
}

/// Whether it accepts recipients that cannot exist (DECISIONS 31). That is no fault of the config, and worth knowing.
async fn recipients(
    opener: &Opener,
    server: &str,
    leg: &Arc<Backend>,
    address: SocketAddr,
) -> Option<Finding> {
    let what = format!("recipients at {server}");
    let nobody = format!("postern-{:016x}", rand::random::<u64>());
    let at = Server::new(address, address.ip().to_string().as_str());
    let asked = delivery::probe_recipients(opener, leg, &at, &nobody);
    let found = timeout(PATIENCE, asked).await.ok()?.ok()?;
    let everything: Vec<_> =
        found.iter().filter(|(_, everything)| *everything).map(|(domain, _)| domain.to_string()).collect();
    match (found.is_empty(), everything.is_empty()) {
        (true, _) => None,
        (_, true) => Some(Finding::good(&what, "those that do not exist are refused")),
        _ => Some(Finding::good(
            &what,
            format!(
                "every recipient of {} is accepted, existing or not: while the server is down only those are known who \
                 had mail; give [[backend]] recipients a file or LDAP",
                everything.join(", ")
            ),
        )),
    }
}

/// Whether it can be told who the client is, by the method that is configured.
async fn told_the_address(
    server: &str,
    method: ClientAddress,
    offered: &Offered,
    address: SocketAddr,
) -> Finding {
    let what = &format!("client's address to {server}");
    let has = |extension| offered.effective().has(extension);
    match method {
        ClientAddress::Auto if has(Extension::Xclient) => Finding::good(what, "by XCLIENT"),
        ClientAddress::Auto if has(Extension::Xforward) => Finding::good(what, "by XFORWARD, for its log"),
        ClientAddress::Auto | ClientAddress::None => {
            Finding::good(what, "not told: the server sees Postern's own address")
        }
        ClientAddress::Xclient if !has(Extension::Xclient) => {
            Finding::wrong(what, "the server does not offer XCLIENT to this machine")
        }
        ClientAddress::Xforward if !has(Extension::Xforward) => {
            Finding::wrong(what, "the server does not offer XFORWARD to this machine")
        }
        ClientAddress::Xclient => Finding::good(what, "by XCLIENT"),
        ClientAddress::Xforward => Finding::good(what, "by XFORWARD, for its log"),
        ClientAddress::Proxy => Finding::good(what, "by PROXY v2, which the server took"),
        ClientAddress::Transparent => transparent(what, address).await,
    }
}

/// A connection from an address that is nobody's: it comes about only if the server's answers are routed through here.
async fn transparent(what: &str, server: SocketAddr) -> Finding {
    let source = match server {
        SocketAddr::V4(_) => SocketAddr::from((NOBODY_V4, 0)),
        SocketAddr::V6(_) => SocketAddr::from((NOBODY_V6, 0)),
    };
    let deadline = Instant::now() + TRANSPARENT_PATIENCE;
    match intercept::connect(server, Source::Transparent(source), None, deadline).await {
        Ok(_) => Finding::good(what, "by transparent source, and its answers come back"),
        Err(error) => Finding::wrong(
            what,
            format!(
                "transparent source from {}: {error}; this needs CAP_NET_RAW here, and a route back through here \
                 on the server",
                source.ip()
            ),
        ),
    }
}

/// Where AUTH sessions go. Who did not name it may have none, which concerns nobody but those who try.
async fn submission(opener: &Opener, backend: &config::Backend, leg: &Backend) -> Finding {
    let what = format!("submission server {} of {}", backend.submission, backend.name);
    let missing = |words: String| match backend.submission_is_named {
        true => Finding::unreachable(&what, words),
        false => Finding::good(&what, format!("not there ({words}); clients of 587 and 465 will be told so")),
    };
    let probed = match probe(opener, leg, &backend.submission).await {
        Ok((_, probed)) => probed,
        Err(error) => return missing(error),
    };
    let finding = transport(&what, backend, &probed);
    let Ok(offered) = probed else { return finding };
    let mechanisms = offered.effective().relayable_mechanisms();
    match mechanisms.is_empty() && finding.good {
        true if backend.submission_is_named => {
            Finding::wrong(&what, "it offers no AUTH that can be passed on")
        }
        true => missing("it offers no AUTH that can be passed on".into()),
        false if finding.good => {
            Finding { words: format!("{}; AUTH {}", finding.words, mechanisms.join(" ")), ..finding }
        }
        false => finding,
    }
}

/// Free, or the running Postern's.
async fn ports(config: &Config, running: Option<&Status>) -> Vec<Finding> {
    let held = |address: SocketAddr| {
        running.is_some_and(|status| status.listeners.iter().any(|one| one.address == address))
    };
    let mut findings = Vec::new();
    for listener in &config.listeners {
        let what = format!("port {} for {}", listener.address, listener.protocol.name());
        findings.push(match intercept::Listener::bind(listener.address) {
            Ok(_) => Finding::good(&what, "free"),
            Err(_) if held(listener.address) => Finding::good(&what, "held by the running Postern"),
            Err(error) => Finding::unreachable(&what, error.to_string()),
        });
    }
    let what = format!("port {} for the status page", config.admin.listen);
    findings.push(match (running, std::net::TcpListener::bind(config.admin.listen)) {
        (Some(status), _) => {
            Finding::good(&what, format!("held by the running Postern on {}", status.hostname))
        }
        (None, Ok(_)) => Finding::good(&what, "free"),
        (None, Err(error)) => Finding::unreachable(&what, error.to_string()),
    });
    findings
}

/// The Postern that runs with this config, if one does.
async fn running(config: &Config) -> Option<Status> {
    let answer = client::get(&Running::of(config), "/api/v1/status").await.ok()?;
    serde_json::from_slice(&answer.body).ok()
}

#[cfg(test)]
pub(super) mod tests {
    use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader};
    use tokio::net::TcpListener;

    use super::*;
    use crate::config::parse;

    /// A server that greets, offers `keywords`, and breaks every handshake that it is asked for.
    pub(in crate::check) async fn server(keywords: &[&str]) -> SocketAddr {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let offers: String = keywords.iter().map(|keyword| format!("250-{keyword}\r\n")).collect();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(converse(stream, offers.clone()));
            }
        });
        address
    }

    async fn converse(mut stream: tokio::net::TcpStream, offers: String) -> std::io::Result<()> {
        let (reading, mut writing) = stream.split();
        let mut lines = BufReader::new(reading).lines();
        writing.write_all(b"220 server.example\r\n").await?;
        while let Some(line) = lines.next_line().await? {
            match line.get(..4) {
                Some("EHLO") => {
                    writing
                        .write_all(format!("250-server.example\r\n{offers}250 HELP\r\n").as_bytes())
                        .await?
                }
                Some("STAR") => break,
                _ => return Ok(()),
            }
        }
        writing.write_all(b"220 go\r\n").await?;
        // The ClientHello, and the alert handshake_failure.
        lines.into_inner().fill_buf().await?;
        writing.write_all(b"\x15\x03\x03\x00\x02\x02\x28").await?;
        Ok(())
    }

    /// What is found with these lines in `[[backend]]`.
    async fn found(server: SocketAddr, more: &str) -> Vec<Finding> {
        let text = format!(
            "hostname = \"mx.example\"\n[[listener]]\naddress = \"127.0.0.1:0\"\nprotocol = \"submission\"\n[admin]\nlisten = \"127.0.0.1:0\"\n\
             [[backend]]\ndomains = [\"a.example\"]\nservers = [\"{server}\"]\n{more}\n"
        );
        look(&parse(&text, std::path::Path::new("p.toml")).unwrap()).await
    }

    #[tokio::test]
    async fn a_server_in_plain_text_is_told_what_becomes_of_its_mail() {
        let server = server(&["PIPELINING", "XFORWARD NAME ADDR", "AUTH PLAIN EXTERNAL"]).await;
        let findings = found(server, &format!("submission = \"{server}\"")).await;
        let told: Vec<_> = findings.iter().map(|finding| (finding.good, finding.words.as_str())).collect();
        assert_eq!(told[..2], [(true, "free"), (true, "free")]);
        assert!(told[2].0 && told[2].1.starts_with("mail goes to it in plain text; offers "), "{told:?}");
        assert_eq!(told[3], (true, "by XFORWARD, for its log"));
        assert!(told[4].0 && told[4].1.ends_with("AUTH PLAIN"), "{told:?}");
    }

    #[tokio::test]
    async fn a_server_without_forward_secrecy_is_said_so_plainly() {
        let server = server(&["STARTTLS"]).await;
        for (tls, consequence) in
            [("opportunistic", "mail goes to it in plain text"), ("encrypt", "no mail can go to it")]
        {
            let findings = found(server, &format!("tls = \"{tls}\"")).await;
            let finding = findings.iter().find(|finding| finding.what.starts_with("server")).unwrap();
            assert!(!finding.good && finding.reached, "{finding:?}");
            assert!(finding.words.starts_with("it has no TLS with forward secrecy"), "{finding:?}");
            assert!(finding.words.ends_with(consequence), "{finding:?}");
        }
    }

    #[tokio::test]
    async fn a_method_that_the_server_does_not_offer_is_wrong() {
        let server = server(&["PIPELINING"]).await;
        let findings = found(server, "client_address = \"xclient\"").await;
        assert!(
            findings.iter().any(|finding| !finding.good && finding.words.contains("XCLIENT")),
            "{findings:?}"
        );
    }
}
