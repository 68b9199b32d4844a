//! What the resolver is told.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use hickory_resolver::TokioResolver;
use hickory_resolver::config::{
    ConnectionConfig, NameServerConfig, ResolveHosts, ResolverConfig, ResolverOpts,
};
use hickory_resolver::net::runtime::TokioRuntimeProvider;
use hickory_resolver::proto::dnssec::TrustAnchors;
use hickory_resolver::proto::serialize::txt::ParseError;
use hickory_resolver::system_conf::read_system_conf;

use crate::error::SettingsError;

/// Tries of one question within a lookup's time: the first, and two more.
const RETRIES: usize = 2;
/// A lookup's time holds all tries of one question, and some of a chain of them.
const TRIES_IN_BUDGET: u32 = 4;
/// Questions in flight to one server over one TCP connection. A validated lookup is a handful of questions.
const MAX_QUESTIONS: usize = 1024;

/// Where proofs begin.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Trust {
    /// At the keys of the DNS root (KSK-2017 and KSK-2024), which are built in.
    #[default]
    Root,
    /// At the keys in a file of DNSKEY records of a private root.
    File(PathBuf),
    /// Nowhere: nothing is validated, and all that is found is [`crate::Proof::Insecure`]. For servers that strip what
    /// DNSSEC needs; with them every signed domain would be bogus.
    Nothing,
}

/// What the resolver is told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// The servers to ask; they must resolve for others. Empty: those of `/etc/resolv.conf`.
    pub servers: Vec<SocketAddr>,
    /// Where proofs begin.
    pub trust: Trust,
    /// How long one lookup may take in all, with its retries, aliases and signatures.
    pub timeout: Duration,
    /// How much is remembered, in octets for each kind of record; 0: nothing.
    pub cache: usize,
}

impl Default for Settings {
    /// The system's servers, the root's keys, 15 seconds (a client waits five minutes for its RCPT, RFC 5321 §4.5.3.2.3),
    /// 4 MiB, which is some 10,000 domains.
    fn default() -> Self {
        Self {
            servers: Vec::new(),
            trust: Trust::Root,
            timeout: Duration::from_secs(15),
            cache: 4 * 1024 * 1024,
        }
    }
}

impl Settings {
    pub(crate) fn build(&self) -> Result<TokioResolver, SettingsError> {
        // The search list is left out: a mail domain is always a full name.
        let config = ResolverConfig::from_name_servers(self.name_servers()?);
        let mut builder = TokioResolver::builder_with_config(config, TokioRuntimeProvider::default())
            .with_options(self.options());
        if let Some(anchors) = self.anchors()? {
            builder = builder.with_trust_anchor(Arc::new(anchors));
        }
        builder.build().map_err(|error| SettingsError::Start(error.to_string().into()))
    }

    fn name_servers(&self) -> Result<Vec<NameServerConfig>, SettingsError> {
        if self.servers.is_empty() {
            let (system, _) =
                read_system_conf().map_err(|error| SettingsError::System(error.to_string().into()))?;
            return Ok(system.name_servers);
        }
        let server = |address: &SocketAddr| {
            let (mut udp, mut tcp) = (ConnectionConfig::udp(), ConnectionConfig::tcp());
            udp.port = address.port();
            tcp.port = address.port();
            NameServerConfig::new(address.ip(), true, vec![udp, tcp])
        };
        Ok(self.servers.iter().map(server).collect())
    }

    fn options(&self) -> ResolverOpts {
        let mut options = ResolverOpts::default();
        options.timeout = self.timeout / TRIES_IN_BUDGET;
        options.attempts = RETRIES;
        options.max_active_requests = MAX_QUESTIONS;
        // A firewall may let TCP through alone.
        options.try_tcp_on_error = true;
        // Where mail goes is the DNS's to say; a line in /etc/hosts has no proof.
        options.use_hosts_file = ResolveHosts::Never;
        // Its cache counts answers, whatever their size. `crate::cache` counts octets.
        options.cache_size = 0;
        // An alias must be seen: its proof counts, and the name it leads to is one that TLS may verify.
        options.preserve_intermediates = true;
        options
    }

    fn anchors(&self) -> Result<Option<TrustAnchors>, SettingsError> {
        match &self.trust {
            Trust::Root => Ok(Some(TrustAnchors::default())),
            Trust::Nothing => Ok(None),
            Trust::File(file) => {
                let unreadable =
                    |reason: String| SettingsError::Anchor { file: file.clone(), reason: reason.into() };
                let text = std::fs::read_to_string(file).map_err(|error| unreadable(error.to_string()))?;
                let anchors: TrustAnchors =
                    with_class(&text).parse().map_err(|error: ParseError| unreadable(error.to_string()))?;
                if anchors.is_empty() {
                    return Err(SettingsError::NoAnchor(file.clone()));
                }
                Ok(Some(anchors))
            }
        }
    }
}

/// Says `IN` where a record does not: a zone file may leave it out, as Knot's `keymgr` does, and hickory's reader wants it.
fn with_class(text: &str) -> String {
    let mut read = String::with_capacity(text.len());
    for line in text.lines() {
        let mut words = line.split_whitespace();
        match (words.next(), words.next()) {
            (Some(name), Some(kind)) if kind.eq_ignore_ascii_case("DNSKEY") => {
                let rest: Vec<&str> = words.collect();
                read.push_str(&format!("{name} IN DNSKEY {}", rest.join(" ")));
            }
            _ => read.push_str(line),
        }
        read.push('\n');
    }
    read
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_anchors_of_every_tool_are_read() {
        let key = "257 3 13 zlnmJjx5Arg3ep7scXV5QeIzLcGfR8SQC2gN94cw3PScVH17TprDh4J6A2B3S0natYa3HsIKfZ6RZrW45O7nIA==";
        for text in [
            format!(". DNSKEY {key}\n"),
            format!(". IN DNSKEY {key}\n"),
            format!(". 3600 IN DNSKEY {key} ; a comment\n"),
            format!("; a comment\n\n.\tdnskey {key}"),
        ] {
            let anchors: TrustAnchors = with_class(&text).parse().unwrap();
            assert_eq!(anchors.len(), 1, "{text}");
        }
    }
}
