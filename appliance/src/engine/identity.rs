//! What Postern shows of itself: certificates from files, or a self-signed one until something better exists; and the
//! key of its loop tokens.

use std::collections::HashMap;
use std::fs::OpenOptions;
use std::io::{ErrorKind, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::time::Duration;

use tls::{Identity, Served};

use super::error::EngineError;
use crate::config::Config;
use crate::console::fingerprint;
use crate::report::{CertificateSource, CertificateState};
use crate::zone::Association;

/// The certificates of a config. `now` is the time since 1970.
pub(super) fn served(config: &Config, now: Duration) -> Result<(Served, Vec<CertificateState>), EngineError> {
    let mut identities = Vec::new();
    let mut states = Vec::new();
    for files in &config.tls.certificates {
        let identity = Identity::load(&files.chain, &files.key, now)?;
        let path = files.chain.display().to_string();
        states.push(state(&identity, CertificateSource::File { path }));
        identities.push(identity);
    }
    let hostname = config.hostname.to_string();
    if identities.is_empty() {
        let identity = Identity::self_signed(&[&hostname], now)?;
        states.push(state(&identity, CertificateSource::SelfSigned));
        identities.push(identity);
    }
    Ok((Served { identities, default: hostname, destinations: HashMap::new() }, states))
}

/// The TLSA records of what serves under `hostname`; none where that is a certificate of a moment.
pub(super) fn associations(served: &Served, config: &Config) -> Vec<Association> {
    if config.tls.certificates.is_empty() {
        return Vec::new();
    }
    let hostname = config.hostname.to_string().to_lowercase();
    let is_for_it = |identity: &&Identity| identity.names().iter().any(|name| **name == *hostname);
    let association = |identity: &Identity| Association {
        host: hostname.clone(),
        digest: identity.pin().digest(),
        serves: true,
    };
    served.identities.iter().filter(is_for_it).map(association).collect()
}

fn state(identity: &Identity, source: CertificateSource) -> CertificateState {
    CertificateState {
        names: identity.names().iter().map(ToString::to_string).collect(),
        expires: identity.not_after().as_secs(),
        source,
        fingerprint: identity.chain().first().map(fingerprint).unwrap_or_default(),
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
