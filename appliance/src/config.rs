//! The config file, in two steps: `raw` is the file's own shape, read by serde and nothing more; [`Config`] is what
//! it means, with every address, duration and file checked and every default filled in.
//!
//! All that is wrong is reported at once, each with file, line, column, key, what was expected and the nearest valid
//! key. A config that loads can be run: nothing in it is checked for the first time later, but what only the network
//! can tell.

mod attachments;
mod choices;
mod document;
mod inactive;
pub(crate) mod manual;
mod network;
mod places;
mod problem;
mod raw;
mod recipients;
mod resolve;
mod resolve_backend;
mod resolve_later;
mod resolved;
mod resolver;
mod secret;
mod units;

#[cfg(test)]
mod tests;

use std::path::Path;

pub use attachments::{Attachment, Attachments};
pub use choices::{
    Action, Arm, Banner, Challenge, ClientAddress, ExceptionTls, HostedMode, MinimumTls, Mode, OnFailure,
    OnInnerVerification, PlainText, SendersAction, Source, TlsPolicy,
};
pub use inactive::Inactive;
pub use network::{Host, ServerAddress};
pub use places::Places;
pub use problem::{ConfigError, Problem};
pub use resolved::{
    Acme, Admin, Backend, CertificateFiles, Clamd, Config, Directory, DkimSigning, DnsList, DnsUpdate,
    ExternalAccount, Http, Judge, Limits, Listener, Log, Network, OnFailures, Outbound, Queue, Recipients,
    Relay, Resolver, Rule, Senders, StoreEngine, Throttle, Tls, Tsig,
};
pub use secret::Secret;
pub(crate) use units::duration as parse_duration;
pub use units::{duration_in_words, size_in_words};

/// A config file larger than this is not one.
const MAX_CONFIG: u64 = 4 << 20;

/// Reads and checks a config file.
///
/// # Errors
///
/// The file cannot be read, or something in it is wrong: then every problem that could be found.
pub fn load(file: &Path) -> Result<Config, ConfigError> {
    let unreadable = |source| ConfigError::Unreadable { file: file.to_owned(), source };
    if std::fs::metadata(file).map_err(unreadable)?.len() > MAX_CONFIG {
        return Err(unreadable(std::io::Error::other("larger than 4 MiB")));
    }
    parse(&std::fs::read_to_string(file).map_err(unreadable)?, file)
}

/// Checks the text of a config file; `file` is for messages, and relative paths in the config start at its folder.
///
/// # Errors
///
/// Something in it is wrong: every problem that could be found.
pub fn parse(text: &str, file: &Path) -> Result<Config, ConfigError> {
    let (raw, mut problems) = document::read(text, file);
    let config = raw.and_then(|raw| resolve::resolve(raw, &mut problems));
    problems.into_result(config)
}
