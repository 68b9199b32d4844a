//! From a config to what sessions begin with. A reload makes a new generation; what servers were found to offer and how
//! they fared goes over to it.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use acme::Certifier;
use delivery::notification::Reporter;
use delivery::{Network, Opener, Pool, ReportRate, Tcp};
use intercept::Networks;
use record::{Clock, Event, Recorder};
use relay::{CalledBefore, Driver, InboundPlain, InnerVerification, Limits, Reporting, Serving, Settings};
use route::{Backend, BackendSettings, Routing, Server};
use spool::{Schedule, Spool};
use tls::{Acceptor, Connector, Identities, Ladder, LegPolicy, Pin, Roots};

use super::dmarc_reports::DmarcReports;
use super::entries::{Entries, own_addresses};
use super::error::EngineError;
use super::hosted::Hosted;
use super::identity::{self, Own};
use super::judging::{Court, Sitting, Told};
use super::letters::Letters;
use super::outbound::{Means, Names, outbound, policy_hosts, sites};
use super::publishing::Publishing;
use super::received::Received;
use super::records::Records;
use super::remembering::Remembering;
use super::repute::Repute;
use super::senders::Senders;
use super::sites::Sites;
use super::tls_reports::TlsReports;
use super::webhooks::Webhooks;
use super::weekly::Weekly;
use super::zones::Zones;
use super::{open_spool, signing};
use crate::config::{self, Config, Host, ServerAddress};
use crate::dkim::Keys;
use crate::recorder::Recording;
use crate::roles::Roles;

/// What outlives a reload.
pub(super) struct Base {
    recording: Arc<Recording>,
    clock: Arc<dyn Clock>,
    state_dir: PathBuf,
    spool_settings: spool::Settings,
    loop_key: [u8; 32],
    roots: Roots,
    spool: tokio::sync::OnceCell<Spool>,
    remembering: Arc<Remembering>,
    entries: Arc<Entries>,
    /// Of the first generation that judges.
    court: Arc<tokio::sync::OnceCell<Arc<Court>>>,
    roles: Arc<Roles>,
    signing: Arc<signing::Present>,
    zones: Arc<Zones>,
    publishing: Arc<Publishing>,
    hosted: Arc<Hosted>,
    /// What is published is looked at.
    records: Arc<Records>,
    tls_reports: Arc<TlsReports>,
    webhooks: Arc<Webhooks>,
    repute: Arc<Repute>,
    weekly: Arc<Weekly>,
    dmarc_reports: Arc<DmarcReports>,
    received: Arc<Received>,
    verifying: InnerVerification,
    called: CalledBefore,
    /// How often senders are told, whatever of.
    report_rate: Arc<ReportRate>,
    certifier: Arc<Certifier>,
    /// No second Postern, and no restore, while this one lives.
    _lock: backup::StateLock,
}

/// One config's worth.
pub(super) struct Generation {
    pub(super) serving: Serving,
    pub(super) names: Names,
    pub(super) own: Own,
}

impl Base {
    pub(super) fn prepare(
        config: &Config,
        recording: Arc<Recording>,
        clock: Arc<dyn Clock>,
        roles: Arc<Roles>,
    ) -> Result<Self, EngineError> {
        let state_dir = config.state_dir.clone();
        make_folder(&state_dir)?;
        let lock = state_lock(&state_dir)?;
        make_folder(&state_dir.join("spool"))?;
        make_folder(&state_dir.join("spill"))?;
        let loop_key = identity::loop_key(&state_dir.join("loop.key"))?;
        let schedule = Schedule { lifetime: config.queue.lifetime, ..Schedule::default() };
        let spool_settings =
            spool::Settings { max_bytes: config.queue.max_size, schedule, ..spool::Settings::default() };
        let (spool, verifying) = (tokio::sync::OnceCell::new(), InnerVerification::default());
        let certifier = Certifier::load(&state_dir.join("certificates"), Arc::clone(&clock))
            .map_err(|error| EngineError::Certificates(error.to_string()))?;
        let (roots, called) = (Roots::public(), CalledBefore::default());
        let remembering = match config.store {
            config::StoreEngine::Sled => Remembering::new(state_dir.join("store"), Arc::clone(&clock))?,
        };
        let keys = Keys::new(&state_dir, &config.outbound.dkim.selector_prefix, Arc::clone(&clock));
        let signing = signing::Present::new(keys);
        let letters = Arc::new(Letters::new(Arc::clone(&signing), Arc::clone(&clock)));
        let tls_reports = TlsReports::new(remembering.store(), Arc::clone(&clock), Arc::clone(&letters));
        let repute = Repute::new(Arc::clone(&clock));
        let weekly = Weekly::new(remembering.store(), Arc::clone(&clock), Arc::clone(&letters));
        let webhooks = Webhooks::new(remembering.store(), Arc::clone(&clock));
        let dmarc_reports = DmarcReports::new(remembering.store(), Arc::clone(&clock), letters);
        let received = Received::new(remembering.store(), Arc::clone(&roles), Arc::clone(&clock));
        let zones = Zones::new(Arc::clone(&signing.keys));
        let publishing = Publishing::new(Arc::clone(&certifier), remembering.store());
        let hosted = Hosted::new(
            Arc::clone(&zones),
            Arc::clone(&publishing),
            Arc::clone(&received),
            remembering.store(),
            Arc::clone(&clock),
        );
        let records = Records::new(Arc::clone(&zones), remembering.store(), Arc::clone(&clock));
        Ok(Self {
            recording,
            clock,
            state_dir,
            spool_settings,
            loop_key,
            roots,
            spool,
            entries: Entries::new(remembering.store()),
            remembering,
            court: Arc::default(),
            roles,
            zones,
            publishing,
            hosted,
            records,
            tls_reports,
            webhooks,
            repute,
            weekly,
            dmarc_reports,
            received,
            signing,
            verifying,
            called,
            report_rate: Arc::default(),
            certifier,
            _lock: lock,
        })
    }

    /// How often senders are told.
    pub(super) fn report_rate(&self) -> Arc<ReportRate> {
        Arc::clone(&self.report_rate)
    }

    /// Who orders certificates.
    pub(super) fn certifier(&self) -> &Arc<Certifier> {
        &self.certifier
    }

    /// Where all is that outlives a restart.
    pub(super) fn state_dir(&self) -> &Path {
        &self.state_dir
    }

    /// The keys that what leaves is signed with.
    pub(super) fn signing(&self) -> &Arc<signing::Present> {
        &self.signing
    }

    /// How the world sees where mail leaves from.
    pub(super) fn repute(&self) -> &Arc<Repute> {
        &self.repute
    }

    /// The domains' weeks.
    pub(super) fn weekly(&self) -> &Arc<Weekly> {
        &self.weekly
    }

    /// Who tells web sites of alerts.
    pub(super) fn webhooks(&self) -> &Arc<Webhooks> {
        &self.webhooks
    }

    /// What is to be reported of TLS with the world.
    pub(super) fn tls_reports(&self) -> &Arc<TlsReports> {
        &self.tls_reports
    }

    /// The authorities that are trusted where the config names none of its own.
    pub(super) fn roots(&self) -> &Roots {
        &self.roots
    }

    /// What others report about the domains here.
    pub(super) fn received(&self) -> &Arc<Received> {
        &self.received
    }

    /// What is to be reported of mail in the names of others.
    pub(super) fn dmarc_reports(&self) -> &Arc<DmarcReports> {
        &self.dmarc_reports
    }

    /// The DNS records of the present config.
    pub(super) fn zones(&self) -> &Arc<Zones> {
        &self.zones
    }

    /// Who writes TXT records.
    pub(super) fn publishing(&self) -> &Arc<Publishing> {
        &self.publishing
    }

    /// The MTA-STS policies that are hosted.
    pub(super) fn hosted(&self) -> &Arc<Hosted> {
        &self.hosted
    }

    /// What the daily look at published records finds.
    pub(super) fn records(&self) -> &Arc<Records> {
        &self.records
    }

    /// What is known of servers and recipients.
    pub(super) fn remembering(&self) -> &Arc<Remembering> {
        &self.remembering
    }

    /// What domains decide for themselves.
    pub(super) fn entries(&self) -> &Arc<Entries> {
        &self.entries
    }

    pub(super) async fn generation(
        &self,
        config: &Config,
        before: Option<&Routing>,
    ) -> Result<Generation, EngineError> {
        let watched = self.remembering.forget_files();
        let made = self.make_generation(config, before).await;
        if made.is_err() {
            self.remembering.watch_again(watched);
        }
        made
    }

    async fn make_generation(
        &self,
        config: &Config,
        before: Option<&Routing>,
    ) -> Result<Generation, EngineError> {
        match config.network.mode {
            config::Mode::Front | config::Mode::Gateway => {}
            config::Mode::Bridge => return Err(EngineError::Mode("bridge")),
        }
        let tls = tls_settings(config);
        let mut backends = Vec::new();
        for backend in &config.backends {
            backends.push(self.backend(config, backend, &tls).await?);
        }
        refuse_own_listeners(config, &backends)?;
        let routing = Routing::new(backends)?;
        if let Some(before) = before {
            routing.inherit(before);
        }
        let own = Own::load(config, &self.certifier, self.clock.now())?;
        let served = own.served(self.certifier.identities());
        let acceptor = Acceptor::new(&tls, Identities::new(served.clone()));
        let acceptor = acceptor.map_err(|error| EngineError::Tls { what: "the listeners".into(), error })?;
        let names = Names::new(&config.resolver)?;
        let associations = identity::associations(&served, config, &self.certifier.state());
        let fetch = policy_hosts(config, Arc::clone(&self.clock)).map(|hosts| Arc::new(hosts) as _);
        self.zones.config_is(config, names.clone(), associations, fetch);
        self.hosted.config_is(config, names.clone());
        self.records.config_is_another();
        self.dmarc_reports.config_is(config, names.clone());
        self.received.config_is(config, names.clone());
        self.entries.config_is(config).await;
        let judge = self.judge(config, names.clone()).await?;
        let signer = self.signing.config_is(config, &routing, names.clone());
        let settings = Settings { signs: signer.is_some(), ..self.settings(config, routing) };
        let mut driver = self.driver(config, acceptor, &tls, names.clone()).await?;
        driver.judge = judge;
        driver.signer = signer;
        let serving = Serving { settings: Arc::new(settings), driver: Arc::new(driver) };
        Ok(Generation { serving, names, own })
    }

    fn settings(&self, config: &Config, routing: Routing) -> Settings {
        let limits = &config.limits;
        Settings {
            hostname: config.hostname.to_string().into(),
            inside: inside(config, &routing),
            originators: inside(config, &routing),
            mends_lines_of: config.outbound.fix_bare_lf.iter().copied().collect(),
            hides: config.outbound.hide,
            routing: Arc::new(routing),
            limits: Limits {
                message_size: limits.message_size,
                sessions: limits.sessions,
                sessions_per_ip: limits.sessions_per_ip,
                recipients: limits.recipients,
                in_flight: limits.in_flight,
                errors: limits.errors,
                pregreet: limits.pregreet,
            },
            inbound_plain: match config.tls.inbound_plain {
                config::PlainText::Accept => InboundPlain::Accept,
                config::PlainText::Refuse => InboundPlain::Refuse,
            },
            offers_tls: true,
            loop_key: self.loop_key,
            signs: false,
            judging: config.judge.enabled.then(|| Sitting::settings(config)),
            own: own_addresses(config, &self.entries),
        }
    }

    async fn driver(
        &self,
        config: &Config,
        acceptor: Acceptor,
        tls: &tls::Settings,
        names: Names,
    ) -> Result<Driver, EngineError> {
        let reporting = reporting(config, names.clone(), Arc::clone(&self.report_rate), &self.signing);
        let mark = (config.network.mode != config::Mode::Front).then_some(firewall::marks::OWN);
        let network: Arc<dyn Network> = Arc::new(Tcp { mark });
        let means = Means {
            names,
            network: Arc::clone(&network),
            store: self.remembering.store(),
            state_dir: &self.state_dir,
            clock: &self.clock,
        };
        let https = sites(config, &means, tls)?;
        let sites = Arc::new(Sites { names: means.names.clone(), https });
        self.tls_reports.config_is(config, Arc::clone(&sites));
        self.webhooks.config_is(config, sites);
        self.repute.config_is(config, means.names.clone());
        self.weekly.config_is(config);
        let outbound = outbound(config, means, tls, (&self.verifying, &self.called)).await?;
        let folder = self.state_dir.join("spool");
        let open = || open_spool(folder, self.spool_settings.clone(), Arc::clone(&self.clock));
        let spool = self.spool.get_or_try_init(open).await?.clone();
        Ok(Driver {
            opener: Opener {
                network,
                hostname: config.hostname.to_string().into(),
                recorder: self.recorder(),
                clock: Arc::clone(&self.clock),
                pool: Pool::default(),
                tally: Some(Arc::clone(&self.tls_reports) as _),
            },
            spool,
            recorder: self.recorder(),
            acceptor: Some(acceptor),
            destinations: Some(outbound.destinations),
            interception: outbound.interception,
            reporting: Some(Arc::new(reporting)),
            judge: None,
            signer: None,
            spill: self.state_dir.join("spill"),
        })
    }

    /// Whoever watches senders hears of all that is recorded, too.
    fn recorder(&self) -> Arc<dyn Recorder> {
        let (recording, court) = (Arc::clone(&self.recording), Arc::clone(&self.court));
        Arc::new(Witness { recording, court, weekly: Arc::clone(&self.weekly) })
    }

    /// `None` where judging is off.
    async fn judge(
        &self,
        config: &Config,
        names: Names,
    ) -> Result<Option<Arc<dyn relay::Judge>>, EngineError> {
        if !config.judge.enabled {
            return Ok(None);
        }
        let (store, roles) = (self.remembering.store(), Arc::clone(&self.roles));
        let open = || async {
            Court::open(&self.state_dir, store, roles, (Arc::clone(&self.clock), Arc::clone(&self.received)))
                .await
        };
        let court = self.court.get_or_try_init(open).await?;
        court.reports_go_to(&config.judge.report_spam, &config.judge.report_ham);
        let (dmarc, signing) = (Arc::clone(&self.dmarc_reports), Arc::clone(&self.signing));
        let told = Told { dmarc, signing, entries: Arc::clone(&self.entries) };
        Ok(Some(Arc::new(Sitting::new(config, Arc::clone(court), (names, told)))))
    }

    /// The court, if some generation has judged.
    pub(super) fn court(&self) -> &Arc<tokio::sync::OnceCell<Arc<Court>>> {
        &self.court
    }

    async fn backend(
        &self,
        config: &Config,
        backend: &config::Backend,
        tls: &tls::Settings,
    ) -> Result<Backend, EngineError> {
        let mut servers = Vec::new();
        for server in &backend.servers {
            servers.extend(look_up(&backend.name, server).await?);
        }
        // Without a word about submission most servers have none on 587; that is found out by the probe.
        let mut submission = look_up(&backend.name, &backend.submission).await?;
        // The default, the same host on 587, is Postern's own port where the server is on the same machine.
        submission.retain(|server| !is_own(config, server));
        let leg = leg(backend, tls, &self.roots, Arc::clone(&self.clock), (servers, submission))?;
        Ok(leg.with_recipients(self.remembering.recipients(backend, tls, &self.roots)?))
    }
}

/// Records, and has the court hear of it.
struct Witness {
    recording: Arc<Recording>,
    court: Arc<tokio::sync::OnceCell<Arc<Court>>>,
    weekly: Arc<Weekly>,
}

impl Recorder for Witness {
    fn record(&self, event: Event) {
        self.weekly.hears_of(&event);
        if let Some(court) = self.court.get() {
            court.hears_of(&event);
        }
        self.recording.record(event);
    }
}

/// Who tells senders what became of their messages.
fn reporting(
    config: &Config,
    names: Names,
    rate: Arc<ReportRate>,
    signing: &Arc<signing::Present>,
) -> Reporting {
    let hostname = config.hostname.to_string();
    let senders = Senders::new(names);
    let reporter = Reporter {
        hostname: hostname.into(),
        postmaster: config.postmaster.as_str().into(),
        signer: Some(Arc::clone(signing) as _),
    };
    Reporting::new(reporter, Arc::new(senders), rate)
}

/// A backend by its config, with its servers for mail and for submission.
pub(crate) fn leg(
    backend: &config::Backend,
    tls: &tls::Settings,
    roots: &Roots,
    clock: Arc<dyn Clock>,
    (servers, submission): (Vec<Server>, Vec<Server>),
) -> Result<Backend, EngineError> {
    let policy = policy(backend, roots)?;
    let connector = Connector::new(tls, &policy, clock)
        .map_err(|error| EngineError::Tls { what: format!("backend {}", backend.name), error })?;
    Ok(Backend::new(BackendSettings {
        name: backend.name.as_str().into(),
        domains: backend.domains.clone(),
        servers,
        submission,
        tls: policy,
        connector,
        client_address: client_address(backend.client_address),
        banner: match backend.banner {
            config::Banner::Postern => route::Banner::Postern,
            config::Banner::Server => route::Banner::Server,
        },
        world: None,
    }))
}

fn policy(backend: &config::Backend, roots: &Roots) -> Result<LegPolicy, EngineError> {
    let roots = match &backend.ca_file {
        None => roots.clone(),
        Some(file) => roots
            .with_file(file)
            .map_err(|error| EngineError::CaFile { backend: backend.name.clone(), error })?,
    };
    Ok(LegPolicy {
        ladder: ladder(backend.tls),
        name: backend.tls_name.as_ref().map(ToString::to_string),
        also: None,
        roots,
        pins: backend.pins.iter().copied().map(Pin::from).collect(),
        dane: None,
    })
}

pub(super) fn ladder(step: config::TlsPolicy) -> Ladder {
    match step {
        config::TlsPolicy::Off => Ladder::Off,
        config::TlsPolicy::Opportunistic => Ladder::Opportunistic,
        config::TlsPolicy::Encrypt => Ladder::Encrypt,
        config::TlsPolicy::Verify => Ladder::Verify,
    }
}

pub(crate) fn tls_settings(config: &Config) -> tls::Settings {
    tls::Settings {
        minimum: match config.tls.minimum {
            config::MinimumTls::Tls12 => tls::Minimum::Tls12,
            config::MinimumTls::Tls13 => tls::Minimum::Tls13,
        },
        post_quantum: config.tls.post_quantum,
    }
}

fn client_address(method: config::ClientAddress) -> route::ClientAddress {
    match method {
        config::ClientAddress::Auto => route::ClientAddress::Auto,
        config::ClientAddress::Transparent => route::ClientAddress::Transparent,
        config::ClientAddress::Proxy => route::ClientAddress::Proxy,
        config::ClientAddress::Xclient => route::ClientAddress::Xclient,
        config::ClientAddress::Xforward => route::ClientAddress::Xforward,
        config::ClientAddress::None => route::ClientAddress::None,
    }
}

/// Who is inside: the networks that may send out, by default the servers themselves.
fn inside(config: &Config, routing: &Routing) -> Networks {
    match &config.outbound.networks {
        Some(networks) => networks.iter().copied().collect(),
        None => routing.server_addresses().map(ipnet::IpNet::from).collect(),
    }
}

/// A server that is Postern itself would ask itself about every recipient, session upon session, until nothing is left.
fn refuse_own_listeners(config: &Config, backends: &[Backend]) -> Result<(), EngineError> {
    for backend in backends {
        if let Some(server) = backend.servers().iter().find(|server| is_own(config, server)) {
            return Err(EngineError::Itself { backend: backend.name().into(), server: server.address() });
        }
    }
    Ok(())
}

fn is_own(config: &Config, server: &Server) -> bool {
    let address = server.address();
    config.listeners.iter().any(|listener| {
        let here = listener.address.ip();
        let same = here == address.ip() || (here.is_unspecified() && is_local(address.ip()));
        listener.address.port() == address.port() && same
    })
}

/// Only a local address can be bound to.
fn is_local(address: std::net::IpAddr) -> bool {
    std::net::UdpSocket::bind((address, 0)).is_ok()
}

async fn look_up(backend: &str, server: &ServerAddress) -> Result<Vec<Server>, EngineError> {
    let name = match &server.host {
        Host::Address(address) => address.to_string(),
        Host::Name(name) => name.to_string(),
    };
    match server.look_up().await {
        Ok(addresses) => Ok(addresses.into_iter().map(|address| Server::new(address, &name)).collect()),
        Err(error) => Err(EngineError::LookUp { backend: backend.into(), server: name, error }),
    }
}

/// Takes the state folder, unless a restore stopped in the middle of it: half of it may be the old and half the new.
pub(crate) fn state_lock(state_dir: &Path) -> Result<backup::StateLock, EngineError> {
    let lock = backup::StateLock::take(state_dir).map_err(|error| match error {
        backup::BackupError::InUse(path) => {
            EngineError::InUse(format!("{} is in use by another Postern or by a restore", path.display()))
        }
        other => EngineError::InUse(other.to_string()),
    })?;
    if backup::unfinished(state_dir) {
        let path = state_dir.display();
        return Err(EngineError::InUse(format!(
            "a restore into {path} was interrupted\nSay `postern restore --resume`: it knows how far it was."
        )));
    }
    Ok(lock)
}

pub(super) fn make_folder(path: &Path) -> Result<(), EngineError> {
    std::fs::create_dir_all(path).map_err(|error| EngineError::State { path: path.into(), error })
}
