//! Mail to the world: who may send it, where it goes, and how hidden servers are stood in for on their way there.

use std::collections::{HashMap, HashSet};
use std::net::IpAddr;
use std::path::Path;
use std::sync::Arc;

use delivery::{FarSide, Https, Network, PolicyHosts};
use dns::{DnsError, Proof, Resolver, Trust};
use record::Clock;
use relay::{CalledBefore, InnerVerification, Intercepting, OnInnerVerification};
use route::{
    Backend, BackendSettings, Banner, ClientAddress, Exception, ExchangerSettings, FarPolicies, Login,
    Lookup, Server, StsSource, World, WorldServers, WorldSettings,
};
use smtp::Domain;
use store::Store;
use tls::{Authority, Connector, Interception, Ladder, LegPolicy, Roots};
use tokio::sync::OnceCell;
use tokio::time::{Duration, timeout};

use super::error::EngineError;
use crate::config::{self, Config, Host, ServerAddress};

/// To find out whether the name servers hand on what DNSSEC needs; a client waits meanwhile, once.
const FIRST_LOOK: Duration = Duration::from_secs(3);

/// What a config makes of mail to the world.
pub(super) struct Outbound {
    pub(super) destinations: Arc<dyn route::Destinations>,
    pub(super) interception: Option<Intercepting>,
}

/// The name servers, asked at the first need.
#[derive(Clone)]
pub(super) struct Names {
    settings: dns::Settings,
    resolver: Arc<OnceCell<Resolver>>,
}

impl Names {
    pub(super) fn new(config: &config::Resolver) -> Result<Self, EngineError> {
        let settings = settings(config);
        // What is wrong with the settings is told at start.
        Resolver::new(&settings).map_err(EngineError::Resolver)?;
        Ok(Self { settings, resolver: Arc::default() })
    }

    /// Name servers that strip signatures make every signed domain look forged: with them nothing is validated.
    pub(super) async fn resolver(&self) -> Result<&Resolver, DnsError> {
        self.resolver.get_or_try_init(|| async {
            let resolver = Resolver::new(&self.settings).map_err(|_| DnsError::TimedOut)?;
            match timeout(FIRST_LOOK, resolver.check()).await {
                Ok(Ok(Proof::Secure)) => return Ok(resolver),
                Ok(Err(DnsError::Bogus)) if self.settings.trust == Trust::Root => {}
                // Whether they hand signatures on is not known; a private root is trusted as the config says.
                _ => return Ok(resolver),
            }
            tracing::warn!(
                "the name servers strip DNSSEC signatures: answers are not validated. Set [resolver] servers to ones \
                 that hand them on"
            );
            let settings = dns::Settings { trust: Trust::Nothing, ..self.settings.clone() };
            Resolver::new(&settings).map_err(|_| DnsError::TimedOut)
        })
        .await
    }
}

/// Whom the world trusts, as far as this Postern is told.
pub(super) fn roots(config: &Config) -> Result<Roots, EngineError> {
    match &config.outbound.ca_file {
        None => Ok(Roots::public()),
        Some(file) => Roots::public()
            .with_file(file)
            .map_err(|error| EngineError::CaFile { backend: "outbound".into(), error }),
    }
}

impl Lookup for Names {
    async fn mx(&self, domain: &Domain) -> Result<dns::Answer<dns::Mx>, DnsError> {
        self.resolver().await?.mx(domain).await
    }

    async fn addresses(&self, host: &Domain) -> Result<dns::Addresses, DnsError> {
        self.resolver().await?.addresses(host).await
    }

    async fn tlsa(&self, host: &Domain, port: u16) -> Result<dns::Answer<dns::Tlsa>, DnsError> {
        self.resolver().await?.tlsa(host, port).await
    }

    async fn alias(&self, name: &Domain) -> Result<Proof, DnsError> {
        self.resolver().await?.alias(name).await
    }

    async fn text(&self, name: &Domain) -> Result<dns::Answer<dns::Text>, DnsError> {
        self.resolver().await?.text(name).await
    }
}

/// What mail to the world is sent by.
pub(super) struct Means<'a> {
    pub(super) names: Names,
    pub(super) network: Arc<dyn Network>,
    /// Where what domains demand is kept.
    pub(super) store: Store,
    pub(super) state_dir: &'a Path,
    pub(super) clock: &'a Arc<dyn Clock>,
}

/// What TLS towards whom must be.
fn policies(own: &config::Outbound) -> FarPolicies {
    let exceptions: HashMap<Domain, Exception> = own
        .exceptions
        .iter()
        .map(|(domain, tls)| {
            let exception = match tls {
                config::ExceptionTls::Off => Exception::Ladder(Ladder::Off),
                config::ExceptionTls::Opportunistic => Exception::Ladder(Ladder::Opportunistic),
                config::ExceptionTls::Encrypt => Exception::Ladder(Ladder::Encrypt),
                config::ExceptionTls::Verify => Exception::Ladder(Ladder::Verify),
                config::ExceptionTls::Dane => Exception::Dane,
            };
            (domain.clone(), exception)
        })
        .collect();
    let default = super::generation::ladder(own.tls);
    FarPolicies { default, dane: own.dane, mta_sts: own.mta_sts, exceptions }
}

/// How MTA-STS policies are had; not at all where nobody is trusted who could prove a policy host.
fn sts_source(
    tls: &tls::Settings,
    roots: &Roots,
    means: &Means<'_>,
) -> Result<Option<StsSource>, tls::TlsError> {
    if roots.is_empty() {
        return Ok(None);
    }
    let policy = LegPolicy { ladder: Ladder::Verify, roots: roots.clone(), ..LegPolicy::default() };
    let connector = Connector::new(tls, &policy, Arc::clone(means.clock))?;
    let fetch = Arc::new(PolicyHosts::new(Arc::clone(&means.network), connector));
    Ok(Some(StsSource { fetch, store: Some(means.store.clone()) }))
}

/// The name servers of a config.
pub(crate) fn resolver(config: &Config) -> Result<Resolver, dns::SettingsError> {
    Resolver::new(&settings(&config.resolver))
}

fn settings(config: &config::Resolver) -> dns::Settings {
    let trust = config.dnssec_trust_anchor.clone().map_or(Trust::Root, Trust::File);
    dns::Settings { servers: config.servers.clone(), trust, ..dns::Settings::default() }
}

/// How the policies of a config's own domains are had where another host has them; `None`: nobody is trusted who could prove one.
pub(crate) fn policy_hosts(config: &Config, clock: Arc<dyn Clock>) -> Option<PolicyHosts> {
    let roots = roots(config).ok().filter(|roots| !roots.is_empty())?;
    let policy = LegPolicy { ladder: Ladder::Verify, roots, ..LegPolicy::default() };
    let connector = Connector::new(&super::generation::tls_settings(config), &policy, clock).ok()?;
    Some(PolicyHosts::new(Arc::new(delivery::Tcp::default()), connector))
}

/// How sites are asked; `None` where nobody is trusted who could prove one.
pub(super) fn sites(
    config: &Config,
    means: &Means<'_>,
    tls: &tls::Settings,
) -> Result<Option<Https>, EngineError> {
    let roots = roots(config)?;
    if roots.is_empty() {
        return Ok(None);
    }
    let policy = LegPolicy { ladder: Ladder::Verify, roots, ..LegPolicy::default() };
    let connector = Connector::new(tls, &policy, Arc::clone(means.clock));
    let connector =
        connector.map_err(|error| EngineError::Tls { what: "sites of the world".into(), error })?;
    Ok(Some(Https::new(Arc::clone(&means.network), connector)))
}

/// Puts together what a config says of mail to the world. What is known of hidden servers that verify by themselves goes on to
/// be known.
pub(super) async fn outbound(
    config: &Config,
    means: Means<'_>,
    tls: &tls::Settings,
    (verifying, called): (&InnerVerification, &CalledBefore),
) -> Result<Outbound, EngineError> {
    let own = &config.outbound;
    let roots = roots(config)?;
    let world = World {
        addresses: own.addresses.clone(),
        hides_client_name: own.hide,
        login: None,
        implicit_tls: false,
    };
    let transparent = own.source == config::Source::Server;
    let (state_dir, clock) = (means.state_dir, means.clock);
    let makes = Makes { tls, roots: &roots, clock, world: &world };
    let relay = match &own.relay {
        Some(relay) => Some(makes.relay(&relay.server, login(relay)).await?),
        None => None,
    };
    let mut relays = Vec::new();
    for server in &own.relays {
        relays.push(makes.relay(server, None).await?);
    }
    let settings = WorldSettings {
        tls: *tls,
        roots: roots.clone(),
        policies: policies(own),
        world: world.clone(),
        transparent,
        relay,
        relays,
    };
    let of_world = |error| EngineError::Tls { what: "mail to the world".into(), error };
    let sts = sts_source(tls, &roots, &means).map_err(of_world)?;
    let servers = WorldServers::new(means.names, exchanger_settings(config), settings, sts, clock);
    let servers = servers.map_err(of_world)?;
    let interception = match config.network.mode {
        config::Mode::Front => None,
        _ => {
            let authority = Authority::load_or_create(state_dir, config.hostname.as_str(), clock.now())
                .map_err(EngineError::Authority)?;
            let connector = Connector::recording(tls, &roots, Arc::clone(clock)).map_err(of_world)?;
            Some(Intercepting {
                far_side: FarSide { connector, world, transparent },
                inner: Arc::new(verifying.with(match own.on_inner_verification {
                    config::OnInnerVerification::Defer => OnInnerVerification::Defer,
                    config::OnInnerVerification::Splice => OnInnerVerification::Splice,
                })),
                called: called.clone(),
                leaves: Arc::new(Interception::new(authority, tls, Arc::clone(clock))),
            })
        }
    };
    Ok(Outbound { destinations: Arc::new(servers), interception })
}

/// MX records that lead back here are no way out (RFC 5321 §5.1).
fn exchanger_settings(config: &Config) -> ExchangerSettings {
    let mut own_addresses = HashSet::new();
    for listener in &config.listeners {
        match listener.address.ip() {
            address if address.is_unspecified() => own_addresses.extend(interface_addresses()),
            address => drop(own_addresses.insert(address)),
        }
    }
    ExchangerSettings {
        own_names: HashSet::from([config.hostname.clone()]),
        own_addresses,
        inside: Vec::new(),
    }
}

/// All addresses of this machine.
pub(super) fn interface_addresses() -> Vec<IpAddr> {
    let Ok(interfaces) = nix::ifaddrs::getifaddrs() else { return Vec::new() };
    let address = |interface: nix::ifaddrs::InterfaceAddress| {
        let address = interface.address?;
        let v4 = address.as_sockaddr_in().map(|address| IpAddr::V4(address.ip()));
        v4.or_else(|| address.as_sockaddr_in6().map(|address| IpAddr::V6(address.ip())))
    };
    interfaces.filter_map(address).collect()
}

fn login(relay: &config::Relay) -> Option<Login> {
    let (user, password) = (relay.user.as_ref()?, relay.password.as_ref()?);
    Some(Login { user: user.as_str().into(), password: password.reveal().into() })
}

/// What relays are made from.
struct Makes<'a> {
    tls: &'a tls::Settings,
    roots: &'a Roots,
    clock: &'a Arc<dyn Clock>,
    world: &'a World,
}

impl Makes<'_> {
    /// A relay is verified by its name; one that is named by address, by that.
    async fn relay(&self, server: &ServerAddress, login: Option<Login>) -> Result<Arc<Backend>, EngineError> {
        let name = match &server.host {
            Host::Address(address) => address.to_string(),
            Host::Name(name) => name.to_string(),
        };
        let addresses = server.look_up().await.map_err(|error| EngineError::LookUp {
            backend: "outbound".into(),
            server: name.clone(),
            error,
        })?;
        let policy = LegPolicy { ladder: Ladder::Verify, roots: self.roots.clone(), ..LegPolicy::default() };
        let connector = Connector::new(self.tls, &policy, Arc::clone(self.clock))
            .map_err(|error| EngineError::Tls { what: format!("the relay {server}"), error })?;
        Ok(Arc::new(Backend::new(BackendSettings {
            name: server.to_string().into(),
            domains: Vec::new(),
            servers: addresses.into_iter().map(|address| Server::new(address, &name)).collect(),
            submission: Vec::new(),
            tls: policy,
            connector,
            client_address: ClientAddress::None,
            banner: Banner::Postern,
            world: Some(World { login, implicit_tls: server.port == 465, ..self.world.clone() }),
        })))
    }
}
