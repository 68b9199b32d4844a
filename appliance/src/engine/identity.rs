//! What Postern shows of itself: ordered certificates, those from files, or a self-signed one until something better exists; and
//! the key of its loop tokens.

use std::collections::HashMap;
use std::fs::OpenOptions;
use std::io::{ErrorKind, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::time::Duration;

use acme::Certifier;
use tls::{Identity, Served};

use super::error::EngineError;
use crate::config::Config;
use crate::console::fingerprint;
use crate::report::{CertificateSource, CertificateState};
use crate::zone::Association;

/// What a config gives by itself: the administrator's certificates, and one made here for as long as there is nothing better.
pub(super) struct Own {
    hostname: String,
    files: Vec<(Identity, String)>,
    self_signed: Identity,
}

impl Own {
    /// `now` is the time since 1970.
    pub(super) fn load(config: &Config, certifier: &Certifier, now: Duration) -> Result<Self, EngineError> {
        let mut files = Vec::new();
        for file in &config.tls.certificates {
            let identity = Identity::load(&file.chain, &file.key, now)?;
            files.push((identity, file.chain.display().to_string()));
        }
        let hostname = config.hostname.to_string();
        let self_signed = certifier.self_signed(&hostname)?;
        Ok(Self { hostname, files, self_signed })
    }

    /// Whether the administrator brought certificates.
    pub(super) fn has_files(&self) -> bool {
        !self.files.is_empty()
    }

    /// Whether a certificate from files is for this name, also by a wildcard.
    pub(super) fn is_for(&self, name: &str) -> bool {
        let wildcard = name.split_once('.').map(|(_, parent)| format!("*.{parent}"));
        let names = self.files.iter().flat_map(|(identity, _)| identity.names());
        names.into_iter().any(|proved| **proved == *name || Some(&**proved) == wildcard.as_deref())
    }

    /// Everything that serves beside what was ordered.
    pub(super) fn served(&self, mut identities: Vec<Identity>) -> Served {
        self.retain_needed(&mut identities);
        identities.extend(self.files.iter().map(|(identity, _)| identity.clone()));
        if self.needs_self_signed(&identities) {
            identities.push(self.self_signed.clone());
        }
        Served { identities, default: self.hostname.clone(), destinations: HashMap::new() }
    }

    /// What the administrator brought goes before what was ordered earlier for the same names.
    fn retain_needed(&self, ordered: &mut Vec<Identity>) {
        ordered.retain(|identity| !identity.names().iter().all(|name| self.is_for(name)));
    }

    fn needs_self_signed(&self, others: &[Identity]) -> bool {
        self.files.is_empty()
            && !others.iter().any(|other| other.names().iter().any(|name| **name == *self.hostname))
    }

    /// The same for the page. `ordered` comes first, with the CA and when each is renewed.
    pub(super) fn states(
        &self,
        mut ordered: Vec<Identity>,
        directory: &str,
        renews: impl Fn(&Identity) -> Option<u64>,
    ) -> Vec<CertificateState> {
        let mut states = Vec::new();
        self.retain_needed(&mut ordered);
        for identity in &ordered {
            let source = CertificateSource::Acme { directory: directory.to_owned() };
            states.push(CertificateState { renews: renews(identity), ..state(identity, source) });
        }
        let file = |(identity, path): &(Identity, String)| {
            state(identity, CertificateSource::File { path: path.clone() })
        };
        states.extend(self.files.iter().map(file));
        if self.needs_self_signed(&ordered) {
            states.push(state(&self.self_signed, CertificateSource::SelfSigned));
        }
        states
    }
}

/// The TLSA records of what serves under `hostname`, and of the key that will.
pub(super) fn associations(served: &Served, config: &Config, keys: &acme::State) -> Vec<Association> {
    let hostname = config.hostname.to_string().to_lowercase();
    let is_for_it = |identity: &&Identity| identity.names().iter().any(|name| **name == *hostname);
    let pins: Vec<_> = served.identities.iter().filter(is_for_it).map(Identity::pin).collect();
    let promised = keys.keys.iter().filter(|key| pins.contains(&key.current));
    let next: Vec<_> = promised.map(|key| (key.next, false)).collect();
    let all = pins.into_iter().map(|pin| (pin, true)).chain(next);
    all.map(|(pin, serves)| Association { host: hostname.clone(), digest: pin.digest(), serves }).collect()
}

fn state(identity: &Identity, source: CertificateSource) -> CertificateState {
    CertificateState {
        names: identity.names().iter().map(ToString::to_string).collect(),
        expires: identity.not_after().as_secs(),
        source,
        fingerprint: identity.chain().first().map(fingerprint).unwrap_or_default(),
        renews: None,
    }
}

/// The key of the loop tokens, made at the first start: a loop that outlives a restart is still one.
pub(super) fn loop_key(path: &Path) -> Result<[u8; 32], EngineError> {
    let failed = |error| EngineError::State { path: path.into(), error };
    match std::fs::read(path) {
        Ok(bytes) => match bytes.try_into() {
            Ok(key) => return Ok(key),
            Err(_) => {
                tracing::warn!(path = %path.display(), "the key of the loop tokens is damaged, a new one is made")
            }
        },
        Err(error) if error.kind() == ErrorKind::NotFound => {}
        Err(error) => return Err(failed(error)),
    }
    let key: [u8; 32] = rand::random();
    let mut file =
        OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(path).map_err(failed)?;
    file.write_all(&key).and_then(|()| file.sync_all()).map_err(failed)?;
    Ok(key)
}
