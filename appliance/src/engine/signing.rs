//! What leaves is signed by the domain of its author, if that is one of those here, and if whoever sends it may write for it.

use std::collections::{HashMap, HashSet};
use std::io;
use std::net::IpAddr;
use std::os::unix::fs::FileExt as _;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use dns::DnsError;
use evidence::signing::{Authorship, DkimKey, Signing};
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

    /// The domains that sign.
    pub(super) fn domains(&self) -> impl Iterator<Item = &str> {
        self.domains.iter().map(AsRef::as_ref)
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
        let signed = tokio::task::spawn_blocking(move || {
            let end = memchr::memmem::find(&message, b"\r\n\r\n").map_or(message.len(), |at| at + 4);
            let header = &message[..end];
            let Some(domain) = Authorship::of(header).domain.filter(|domain| self.domains.contains(domain))
            else {
                return Ok(String::new());
            };
            let keys = self.keys.signing(&domain).map_err(|error| error.to_string())?;
            sign(&keys, &domain, header, std::iter::once(Ok(&message)))
        });
        signed.await.unwrap_or_else(|error| Err(error.to_string()))
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

/// Whether a message came in through this Postern, without AUTH, before its server sent it on: forwarded mail may only pretend to be
/// from here, and a signature would make it true. The field that counts is the uppermost of Postern's own, which nobody outside can
/// put there.
fn came_from_outside(header: &[u8], hostname: &str) -> bool {
    let text = String::from_utf8_lossy(header).replace("\r\n\t", " ").replace("\r\n ", " ");
    let by = format!("by {hostname} (Postern) with ");
    let received = |line: &&str| line.get(..9).is_some_and(|name| name.eq_ignore_ascii_case("received:"));
    let protocol = text.lines().filter(received).find_map(|line| line.split_once(&by)?.1.split(' ').next());
    // RFC 3848: an `A` at the end says that the client authenticated.
    protocol.is_some_and(|protocol| !protocol.ends_with('A'))
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

#[cfg(test)]
mod tests {
    use super::came_from_outside;

    #[test]
    fn the_uppermost_field_of_ones_own_tells_where_a_message_came_from() {
        let came = |header: &str| came_from_outside(header.as_bytes(), "mx.test");
        let field = |protocol: &str| {
            format!(
                "Received: from x.test ([192.0.2.1])\r\n\tby mx.test (Postern) with {protocol} id 0000000000001.1\r\n"
            )
        };
        assert!(!came("From: a@x.test\r\n\r\n"), "from within");
        assert!(!came("Received: from x by y.test with ESMTP\r\n\r\n"));
        assert!(came(&field("ESMTPS")) && came(&field("ESMTP")) && came(&field("UTF8SMTPS")));
        assert!(!came(&field("ESMTPSA")) && !came(&field("UTF8SMTPSA")));
        // What is below was there when the message came.
        assert!(came(&format!("{}{}", field("ESMTPS"), field("ESMTPSA"))), "forged");
        assert!(!came(&format!("X-A: by mx.test (Postern) with ESMTPS\r\n{}", field("ESMTPSA"))));
    }
}
