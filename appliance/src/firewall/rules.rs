//! From the config to the rule set.

use std::collections::{BTreeSet, HashMap};
use std::io;
use std::net::{IpAddr, SocketAddr};

use ::firewall::{Gateway, Invalid, Mode, Port, Redirect, RuleSet, Service, Settings};
use ipnet::IpNet;
use record::Protocol;

use crate::config::{self, Arm, Backend, ClientAddress, Config, Listener, ServerAddress};
use crate::engine::{INBOUND_PORT, OUTBOUND_PORT};
use crate::web;

/// Below it only root may listen, so that nobody needs a redirect to there.
const UNPRIVILEGED: u16 = 1024;
/// Submission over TLS (RFC 8314 §3.3): on the host of every submission server, without being named.
const SUBMISSIONS: u16 = 465;

/// Why the config leads to no rule set.
#[derive(Debug, thiserror::Error)]
pub enum RulesError {
    /// A value that rules cannot have.
    #[error(transparent)]
    Invalid(#[from] Invalid),
    /// A server's name stands for no address now.
    #[error(
        "{server} cannot be looked up ({error}): write its address, or make its name known to the resolver"
    )]
    Unknown {
        /// The server.
        server: ServerAddress,
        /// What the resolver said.
        error: io::Error,
    },
}

/// The addresses that the backends' servers stand for.
#[derive(Clone, Debug, Default)]
pub struct Servers(HashMap<ServerAddress, Vec<SocketAddr>>);

impl Servers {
    /// Asks the system's resolver for those that are given by name.
    ///
    /// # Errors
    ///
    /// One of them has no address.
    pub async fn look_up(config: &Config) -> Result<Self, RulesError> {
        let mut found = HashMap::new();
        for server in config.backends.iter().flat_map(all_servers) {
            if !found.contains_key(server) {
                let unknown = |error| RulesError::Unknown { server: server.clone(), error };
                found.insert(server.clone(), server.look_up().await.map_err(unknown)?);
            }
        }
        Ok(Self(found))
    }

    fn of(&self, server: &ServerAddress) -> impl Iterator<Item = SocketAddr> {
        self.0.get(server).into_iter().flatten().copied()
    }

    /// Where a backend takes mail.
    pub fn targets(&self, backend: &Backend) -> BTreeSet<SocketAddr> {
        let mut targets: BTreeSet<_> = all_servers(backend).flat_map(|server| self.of(server)).collect();
        let implicit = self.of(&backend.submission).map(|target| SocketAddr::new(target.ip(), SUBMISSIONS));
        targets.extend(implicit);
        targets
    }
}

fn all_servers(backend: &Backend) -> impl Iterator<Item = &ServerAddress> {
    backend.servers.iter().chain([&backend.submission])
}

/// The rule set of a config. `armed` are servers, beside those with `arm = "now"`, that may be intercepted; those with `arm =
/// "never"` are not. `protected` are networks that may not be banned, beside those that the config names.
///
/// # Errors
///
/// [`RulesError::Invalid`].
pub fn rule_set(
    config: &Config,
    servers: &Servers,
    armed: &BTreeSet<SocketAddr>,
    mut protected: Vec<IpNet>,
) -> Result<RuleSet, RulesError> {
    let (services, redirects) = offered(config);
    protected.extend(&config.admin.networks);
    protected.extend(config.outbound.networks.iter().flatten());
    protected.extend(config.backends.iter().flat_map(|backend| hosts(&servers.targets(backend))));
    let mode = match config.network.mode {
        config::Mode::Front => {
            let transparent = |backend: &Backend| backend.client_address == ClientAddress::Transparent;
            Mode::Front { transparent_source: config.backends.iter().any(transparent) }
        }
        config::Mode::Gateway => Mode::Gateway(gateway(config, servers, armed)),
        config::Mode::Bridge => Mode::Bridge,
    };
    Ok(RuleSet::new(Settings { mode, services, redirects, protected })?)
}

fn gateway(config: &Config, servers: &Servers, armed_otherwise: &BTreeSet<SocketAddr>) -> Gateway {
    let (mut targets, mut armed) = (BTreeSet::new(), BTreeSet::new());
    for backend in &config.backends {
        let own = servers.targets(backend);
        match backend.arm {
            Arm::Now => armed.extend(&own),
            Arm::Auto => armed.extend(own.intersection(armed_otherwise)),
            Arm::Never => {}
        }
        targets.extend(own);
    }
    let originators = config.outbound.networks.clone().unwrap_or_else(|| hosts(&armed));
    // Names are the session's matter: rules know addresses.
    let mut bypass: Vec<IpNet> = config.outbound.bypass.iter().filter_map(|text| network(text)).collect();
    // Servers that are not armed send as they always did.
    let spliced = hosts(&targets).into_iter();
    bypass.extend(spliced.filter(|host| !originators.iter().any(|network| network.contains(host))));
    Gateway {
        outside: config.network.outside.clone(),
        inside: config.network.inside.clone(),
        inbound_port: INBOUND_PORT,
        outbound_port: OUTBOUND_PORT,
        targets,
        armed,
        originators,
        bypass,
        forward: config.network.forward.clone(),
    }
}

fn hosts(endpoints: &BTreeSet<SocketAddr>) -> Vec<IpNet> {
    endpoints.iter().map(|endpoint| IpNet::from(endpoint.ip().to_canonical())).collect()
}

fn network(text: &str) -> Option<IpNet> {
    text.parse().or_else(|_| text.parse::<IpAddr>().map(IpNet::from)).ok()
}

/// What the appliance itself offers.
fn offered(config: &Config) -> (Vec<Service>, Vec<Redirect>) {
    let mut services = Vec::new();
    let mut redirects: Vec<Redirect> = Vec::new();
    for Listener { address, protocol, proxy_protocol_from } in &config.listeners {
        let public = public_port(*protocol);
        let at = Some(address.ip()).filter(|ip| !ip.is_unspecified());
        let is_taken = config.listeners.iter().any(|other| other.address.port() == public)
            || redirects.iter().any(|redirect| redirect.public == public);
        if address.ip().is_loopback() || address.port() == 0 {
            continue;
        }
        // A load balancer's header is only believed from there, and demanded.
        if address.port() < UNPRIVILEGED || is_taken || !proxy_protocol_from.is_empty() {
            services.push(Service { port: Port::tcp(address.port()), at, from: proxy_protocol_from.clone() });
        } else {
            redirects.push(Redirect { public, at, listening: address.port() });
        }
    }
    // Of the public web server's ports those that it opens with this config.
    let http = web::sockets::wanted(config).into_iter().map(|port| (port.address, Vec::new()));
    let admin = [(config.admin.listen, config.admin.networks.clone())];
    for (address, from) in http.chain(admin).filter(|(address, _)| !address.ip().is_loopback()) {
        let at = Some(address.ip()).filter(|ip| !ip.is_unspecified());
        services.push(Service { port: Port::tcp(address.port()), at, from });
    }
    services.extend(config.network.open.iter().map(|port| Service {
        port: *port,
        at: None,
        from: Vec::new(),
    }));
    (services, redirects)
}

/// The port by which the world knows a protocol.
fn public_port(protocol: Protocol) -> u16 {
    match protocol {
        Protocol::Smtp => 25,
        Protocol::Submission => 587,
        Protocol::Submissions => SUBMISSIONS,
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    const START: &str = "hostname = \"mx1.example.net\"\n";

    async fn rules(config: &str) -> Settings {
        let config = config::parse(&format!("{START}{config}"), Path::new("p.toml")).unwrap();
        let servers = Servers::look_up(&config).await.unwrap();
        let armed = BTreeSet::from(["198.51.100.26:25".parse().unwrap()]);
        rule_set(&config, &servers, &armed, Vec::new()).unwrap().settings().clone()
    }

    async fn gateway_of(config: &str) -> Gateway {
        let rules = rules(&format!("[network]\nmode = \"gateway\"\n{config}")).await;
        let Mode::Gateway(gateway) = rules.mode else { panic!("{rules:?}") };
        gateway
    }

    fn backend(name: &str, address: &str, arm: &str) -> String {
        format!("[[backend]]\ndomains = [\"{name}.example\"]\nservers = [\"{address}\"]\narm = \"{arm}\"\n")
    }

    fn texts<T: ToString>(values: impl IntoIterator<Item = T>) -> Vec<String> {
        values.into_iter().map(|value| value.to_string()).collect()
    }

    #[tokio::test]
    async fn armed_servers_originate_and_the_others_are_spliced_both_ways() {
        let backends = [
            backend("now", "198.51.100.25", "now"),
            backend("auto", "198.51.100.26", "auto"),
            backend("never", "198.51.100.27", "never"),
        ];
        let gateway = gateway_of(&backends.concat()).await;
        assert_eq!(gateway.targets.len(), 9);
        let now = ["198.51.100.25:25", "198.51.100.25:465", "198.51.100.25:587", "198.51.100.26:25"];
        assert_eq!(texts(&gateway.armed), now);
        assert_eq!(texts(&gateway.originators), ["198.51.100.25/32", "198.51.100.26/32"]);
        assert_eq!(texts(&gateway.bypass), ["198.51.100.27/32"]);
        assert_eq!((gateway.inbound_port, gateway.outbound_port), (20025, 20026));
    }

    #[tokio::test]
    async fn the_config_says_who_originates_and_whom_to_bypass() {
        let more =
            "[outbound]\nnetworks = [\"198.51.100.0/26\"]\nbypass = [\"203.0.113.0/24\", \"peer.example\"]\n";
        let config =
            format!("forward = [\"udp/443\", \"tcp/443\"]\n{}{more}", backend("a", "198.51.100.25", "auto"));
        let gateway = gateway_of(&config).await;
        assert_eq!(texts(&gateway.originators), ["198.51.100.0/26"]);
        assert_eq!(texts(&gateway.bypass), ["203.0.113.0/24"]);
        assert_eq!(texts(&gateway.forward), ["tcp/443", "udp/443"]);
    }

    #[tokio::test]
    async fn the_front_offers_its_listeners_and_what_is_open() {
        let listeners = "[[listener]]\naddress = \"[::]:2525\"\n[[listener]]\naddress = \"192.0.2.1:587\"\n\
            [[listener]]\naddress = \"127.0.0.1:2526\"\n\
            [[listener]]\naddress = \"0.0.0.0:2527\"\nproxy_protocol_from = [\"192.0.2.0/28\"]\n";
        let network = "[network]\nopen = [\"tcp/22\"]\n[http]\nplain = \"\"\ntls = \"[::]:443\"\n";
        let rules = rules(&format!("{listeners}{network}{}", backend("a", "198.51.100.25", "auto"))).await;
        assert!(matches!(rules.mode, Mode::Front { transparent_source: false }));
        assert_eq!(rules.redirects, [Redirect { public: 25, at: None, listening: 2525 }]);
        let service = |port, at: Option<&str>, from: Option<&str>| Service {
            port: Port::tcp(port),
            at: at.map(|at| at.parse().unwrap()),
            from: from.map(|from| from.parse().unwrap()).into_iter().collect(),
        };
        let expected = [
            service(22, None, None),
            service(443, None, None),
            service(587, Some("192.0.2.1"), None),
            service(2527, None, Some("192.0.2.0/28")),
        ];
        assert_eq!(rules.services, expected);
        assert_eq!(texts(&rules.protected), ["198.51.100.25/32"]);
    }

    #[tokio::test]
    async fn a_port_of_the_web_server_is_open_only_if_something_listens_there() {
        let ports = async |hostname: &str, more: &str| {
            let config =
                format!("hostname = \"{hostname}\"\n{more}{}", backend("a", "198.51.100.25", "auto"));
            let config = config::parse(&config, Path::new("p.toml")).unwrap();
            let servers = Servers::look_up(&config).await.unwrap();
            let rules = rule_set(&config, &servers, &BTreeSet::new(), Vec::new()).unwrap();
            rules.settings().services.iter().map(|service| service.port.number).collect::<Vec<_>>()
        };
        let mail = [25, 465, 587];
        assert_eq!(ports("mx.postern.test", "").await, mail, "a name that no CA certifies");
        assert_eq!(ports("mx.postern.dev", "acme.enabled = false\n").await, mail);
        assert_eq!(ports("mx.postern.dev", "").await, [25, 80, 443, 465, 587]);
        assert_eq!(ports("mx.postern.dev", "acme.challenge = \"dns-01\"\n").await, [25, 443, 465, 587]);
    }

    #[tokio::test]
    async fn a_front_with_a_transparent_source_needs_routes() {
        let rules =
            rules(&format!("{}client_address = \"transparent\"\n", backend("a", "198.51.100.25", "auto")))
                .await;
        assert!(matches!(rules.mode, Mode::Front { transparent_source: true }));
    }
}
