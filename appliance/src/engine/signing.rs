//! What leaves is signed by the domain of its author, if that is one of those here, and if whoever sends it may write for it.

use std::collections::{HashMap, HashSet};
use std::io;
use std::net::IpAddr;
use std::os::unix::fs::FileExt as _;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use delivery::notification::Signs;
use dns::DnsError;
use evidence::sealing::Sealer;
use evidence::signing::{Algorithm, Authorship, DkimKey, Signing, came_from_outside};
use relay::{HeldBody, Relay, Signed, Unsigned};
use route::Routing;

use super::outbound::Names;
use super::publishing::Publishing;
use crate::config::Config;
use crate::dkim::{Duty, Keys, Seen};

/// Octets that are read at once.
const PIECE: usize = 256 * 1024;
/// How often it is looked whether the records of keys are there while some are awaited; and else.
const LOOK_SOON: Duration = Duration::from_secs(10 * 60);
const LOOK: Duration = Duration::from_secs(6 * 3600);

/// The keys, and how the present config has mail signed.
pub(super) struct Present {
    pub(super) keys: Arc<Keys>,
    now: Mutex<Option<(Arc<Signatures>, Names)>>,
}

impl Present {
    pub(super) fn new(keys: Keys) -> Arc<Self> {
        Arc::new(Self { keys: Arc::new(keys), now: Mutex::default() })
    }

    /// From now on mail is signed as this config says; `None`: not at all.
    pub(super) fn config_is(
        &self,
        config: &Config,
        routing: &Routing,
        names: Names,
    ) -> Option<Arc<dyn relay::Signer>> {
        let signatures = config
            .outbound
            .dkim
            .enabled
            .then(|| Arc::new(Signatures::new(config, routing, Arc::clone(&self.keys))));
        let mut now = self.now.lock().unwrap_or_else(PoisonError::into_inner);
        *now = signatures.clone().map(|signatures| (signatures, names));
        self.keys.changed.notify_one();
        signatures.map(|signatures| Arc::new(Signer(signatures)) as _)
    }

    pub(super) fn now(&self) -> Option<(Arc<Signatures>, Names)> {
        self.now.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl Signs for Present {
    fn sign(&self, message: &[u8]) -> String {
        let Some((signatures, _)) = self.now() else { return String::new() };
        signatures.sign_whole(message).unwrap_or_else(|why| {
            tracing::warn!(why, "what Postern writes goes unsigned");
            String::new()
        })
    }
}

impl std::fmt::Debug for Present {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Present").finish_non_exhaustive()
    }
}

/// One config's worth.
pub(super) struct Signatures {
    keys: Arc<Keys>,
    hostname: Box<str>,
    /// Whose mail is signed.
    domains: HashSet<Box<str>>,
    /// The domains of hidden servers: one customer's server signs nothing in the name of another's.
    of_server: HashMap<IpAddr, HashSet<Box<str>>>,
    of_backends: HashSet<Box<str>>,
}

impl Signatures {
    pub(super) fn new(config: &Config, routing: &Routing, keys: Arc<Keys>) -> Self {
        let mut of_server: HashMap<IpAddr, HashSet<Box<str>>> = HashMap::new();
        let mut of_backends = HashSet::new();
        for backend in routing.backends() {
            let domains = || backend.domains().iter().map(|domain| lower(domain.as_str()));
            of_backends.extend(domains());
            for server in backend.servers().iter().chain(backend.submission()) {
                of_server.entry(server.address().ip().to_canonical()).or_default().extend(domains());
            }
        }
        let hostname = config.hostname.as_str().into();
        Self { keys, hostname, domains: domains(config).collect(), of_server, of_backends }
    }

    /// The domains that sign, and Postern's own name, in which nobody else does.
    pub(super) fn domains(&self) -> impl Iterator<Item = &str> {
        let own = Some(&*self.hostname).filter(|own| !self.domains.contains(*own));
        self.domains.iter().map(AsRef::as_ref).chain(own)
    }

    fn may_sign(&self, client: IpAddr, domain: &str) -> bool {
        let is_anothers = || {
            let own = self.of_server.get(&client.to_canonical());
            self.of_backends.contains(domain) && own.is_some_and(|own| !own.contains(domain))
        };
        self.domains.contains(domain) && !is_anothers()
    }

    /// Signs a message of Postern's own, which is all here.
    pub(super) async fn sign_own(self: Arc<Self>, message: Vec<u8>) -> Result<String, String> {
        let signed = tokio::task::spawn_blocking(move || self.sign_whole(&message));
        signed.await.unwrap_or_else(|error| Err(error.to_string()))
    }

    fn sign_whole(&self, message: &[u8]) -> Result<String, String> {
        let end = memchr::memmem::find(message, b"\r\n\r\n").map_or(message.len(), |at| at + 4);
        let header = &message[..end];
        let is_ours = |domain: &str| self.domains().any(|own| own == domain);
        let Some(domain) = Authorship::of(header).domain.filter(|domain| is_ours(domain)) else {
            return Ok(String::new());
        };
        let keys = self.keys.signing(&domain).map_err(|error| error.to_string())?;
        sign(&keys, &domain, header, std::iter::once(Ok(message)))
    }

    /// Seals what came in for a domain here; empty where that has no key that everybody knows, or where nothing may be sealed.
    pub(super) async fn seal(self: Arc<Self>, sealed: Unsealed) -> Result<String, String> {
        let sealed = tokio::task::spawn_blocking(move || {
            let Unsealed { body, domain, chain, results, now } = sealed;
            let header = header(&body).map_err(|error| error.to_string())?;
            let Some(header) = header.filter(|_| self.domains.contains(&*domain)) else {
                return Ok(String::new());
            };
            let keys = self.keys.signing(&domain).map_err(|error| error.to_string())?;
            let Some(key) = keys.iter().find(|key| key.algorithm() == Algorithm::Rsa2048) else {
                return Ok(String::new());
            };
            let sealer = Sealer { key, domain: &domain, now: now.as_secs() };
            sealer.seal((&header, &chain, &results), pieces(&body)).map_err(|error| error.to_string())
        });
        sealed.await.unwrap_or_else(|error| Err(error.to_string()))
    }

    fn sign_held(&self, message: &Unsigned) -> Result<String, String> {
        let header = header(&message.body).map_err(|error| error.to_string())?;
        let Some(header) = header else { return Err("its header section is too long".into()) };
        let Authorship { domain: Some(domain), signed_by } = Authorship::of(&header) else {
            return Ok(String::new());
        };
        let is_ours = self.may_sign(message.client, &domain) && !came_from_outside(&header, &self.hostname);
        if signed_by.contains(&domain) || !is_ours {
            return Ok(String::new());
        }
        let keys = self.keys.signing(&domain).map_err(|error| error.to_string())?;
        sign(&keys, &domain, &header, pieces(&message.body))
    }
}

/// What is to be sealed.
pub(super) struct Unsealed {
    pub(super) body: HeldBody,
    /// In whose name, in lower case.
    pub(super) domain: String,
    pub(super) chain: evidence::Chain,
    /// What was found, as `Authentication-Results` has it behind its colon.
    pub(super) results: String,
    pub(super) now: Duration,
}

/// [`Signatures`] for sessions.
struct Signer(Arc<Signatures>);

impl relay::Signer for Signer {
    fn sign(&self, message: Unsigned) -> Signed {
        let signatures = Arc::clone(&self.0);
        Box::pin(async move {
            let transaction = message.transaction;
            let signed = tokio::task::spawn_blocking(move || signatures.sign_held(&message)).await;
            match signed {
                Ok(Ok(fields)) => fields.into(),
                Ok(Err(why)) => {
                    tracing::warn!(%transaction, why, "a message goes unsigned");
                    "".into()
                }
                Err(error) => {
                    tracing::error!(%transaction, %error, "a message goes unsigned");
                    "".into()
                }
            }
        })
    }
}

fn sign<P: AsRef<[u8]>>(
    keys: &[Arc<DkimKey>],
    domain: &str,
    header: &[u8],
    pieces: impl Iterator<Item = io::Result<P>>,
) -> Result<String, String> {
    let keys: Vec<&DkimKey> = keys.iter().map(AsRef::as_ref).collect();
    Signing::new(&keys, domain, header).sign(pieces).map_err(|error| error.to_string())
}

fn domains(config: &Config) -> impl Iterator<Item = Box<str>> {
    let own = &config.outbound.dkim.domains;
    let of_backends = config.backends.iter().flat_map(|backend| &backend.domains);
    own.iter().chain(of_backends.filter(|_| own.is_empty())).map(|domain| lower(domain.as_str()))
}

fn lower(domain: &str) -> Box<str> {
    domain.to_lowercase().into()
}

/// The header section with the empty line behind it; `None` if it is longer than anybody's.
fn header(body: &HeldBody) -> io::Result<Option<Vec<u8>>> {
    let mut header = Vec::new();
    for piece in pieces(body) {
        let from = header.len().saturating_sub(3);
        header.extend_from_slice(&piece?);
        if let Some(at) = memchr::memmem::find(&header[from..], b"\r\n\r\n") {
            header.truncate(from + at + 4);
            return Ok(Some(header).filter(|header| header.len() <= evidence::MAX_HEADER));
        }
        if header.len() > evidence::MAX_HEADER {
            return Ok(None);
        }
    }
    Ok(Some(header))
}

/// All of the content, from the file and from memory.
fn pieces(body: &HeldBody) -> impl Iterator<Item = io::Result<Vec<u8>>> {
    let mut position = 0;
    let mut tail = Some(body.tail.to_vec()).filter(|tail| !tail.is_empty());
    std::iter::from_fn(move || {
        let left = body.stored - position;
        let Some(file) = body.file.as_ref().filter(|_| left > 0) else { return tail.take().map(Ok) };
        let length = usize::try_from(left).unwrap_or(PIECE).min(PIECE);
        let mut piece = vec![0; length];
        let read = file.read_exact_at(&mut piece, position);
        // After a failure nothing follows.
        position = if read.is_ok() { position + length as u64 } else { body.stored };
        Some(read.map(|()| piece))
    })
}

/// Makes the keys of all domains, looks whether their records are published, and replaces them in time.
pub(super) async fn keep_keys(relay: Arc<Relay>, signing: Arc<Present>, publishing: Arc<Publishing>) {
    while !relay.is_draining() {
        let mut awaited = false;
        if let Some((signatures, names)) = signing.now() {
            for domain in signatures.domains() {
                awaited |= keep_keys_of(&signing.keys, &names, &publishing, domain).await;
            }
        }
        let look = if awaited { LOOK_SOON } else { LOOK };
        // A reload may have brought domains, an order new keys.
        let _ = tokio::time::timeout(look, signing.keys.changed.notified()).await;
    }
}

/// Whether a record is missing.
async fn keep_keys_of(keys: &Arc<Keys>, names: &Names, publishing: &Publishing, domain: &str) -> bool {
    for first in [true, false] {
        let (shared, of) = (Arc::clone(keys), domain.to_owned());
        let kept = tokio::task::spawn_blocking(move || shared.keep(&of).map_err(|error| error.to_string()));
        if let Err(error) = kept.await.unwrap_or_else(|error| Err(error.to_string())) {
            tracing::error!(domain, error, "DKIM keys cannot be kept; mail of this domain goes unsigned");
            return true;
        }
        if first {
            publish(keys, publishing, domain).await;
            look_for_records(keys, names, domain).await;
        }
    }
    publish(keys, publishing, domain).await;
    let duties = keys.duties(domain).unwrap_or_default();
    let current = duties.iter().filter(|(duty, _)| *duty != Duty::Retired);
    let mut selectors = current.flat_map(|(_, generation)| &generation.keys);
    selectors.any(|key| keys.seen(domain, key.selector()) != Seen::Published)
}

/// Writes the records of all keys, and takes away those of keys that are gone, where records are written here.
async fn publish(keys: &Keys, publishing: &Publishing, domain: &str) {
    let Ok(duties) = keys.duties(domain) else { return };
    let mut present = HashSet::new();
    for key in duties.iter().flat_map(|(_, generation)| &generation.keys) {
        let Ok(owner) = format!("{}._domainkey.{domain}", key.selector()).parse::<smtp::Domain>() else {
            continue;
        };
        let is_it = |text: &str| key.is_published_in(text);
        publishing.write(&owner, Some(key.record()), is_it, |text| text.contains("p=")).await;
        present.insert(owner);
    }
    for owner in publishing.owners_below(&format!("._domainkey.{domain}")).await {
        if !present.contains(&owner) {
            publishing.write(&owner, None, |_| false, |_| false).await;
        }
    }
}

async fn look_for_records(keys: &Keys, names: &Names, domain: &str) {
    let Ok(duties) = keys.duties(domain) else { return };
    for key in duties.iter().flat_map(|(_, generation)| &generation.keys) {
        let Ok(name) = format!("{}._domainkey.{domain}", key.selector()).parse() else { continue };
        let answer = match names.resolver().await {
            Ok(resolver) => resolver.text(&name).await,
            Err(error) => Err(error),
        };
        let seen = match answer {
            Ok(answer) if answer.records.iter().any(|text| key.is_published_in(&text.0)) => Seen::Published,
            Ok(_) | Err(DnsError::NoRecords { .. } | DnsError::NoSuchDomain { .. }) => Seen::Missing,
            Err(_) => Seen::Unknown,
        };
        keys.saw(domain, key.selector(), seen);
    }
}
