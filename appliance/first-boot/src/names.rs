//! Names of machines that a seed gives, checked once, so that they can be written into a file of lines.

use std::fmt;
use std::net::IpAddr;

use serde::{Deserialize, Serialize};

/// Octets of a host name (HOST_NAME_MAX of Linux).
const MAX_HOST_NAME: usize = 64;

/// The name of this machine: the first part of it or all of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct HostName(String);

impl HostName {
    /// What is expected.
    pub const EXPECTED: &'static str = "a host name: labels of letters, digits and hyphens";

    /// Reads a name; one that is too long for the kernel is cut after its first label.
    pub fn new(text: &str) -> Option<Self> {
        let text = text.strip_suffix('.').unwrap_or(text).to_ascii_lowercase();
        if !crate::network::is_domain_name(&text) || text.contains('_') || text.parse::<IpAddr>().is_ok() {
            return None;
        }
        let first = text.split('.').next().unwrap_or_default();
        Some(Self(if text.len() <= MAX_HOST_NAME { text.clone() } else { first.to_owned() }))
    }

    /// The name.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl TryFrom<String> for HostName {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        Self::new(&text).ok_or_else(|| format!("not {}", Self::EXPECTED))
    }
}

impl From<HostName> for String {
    fn from(name: HostName) -> Self {
        name.0
    }
}

impl fmt::Display for HostName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A time server: a name or an address.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct TimeServer(String);

impl TimeServer {
    /// What is expected.
    pub const EXPECTED: &'static str = "a time server: a name such as `ntp.example.net` or an IP address";

    /// Reads a name or an address.
    pub fn new(text: &str) -> Option<Self> {
        match text.parse::<IpAddr>() {
            Ok(address) => Some(Self(address.to_string())),
            Err(_) => HostName::new(text).map(|_| Self(text.to_ascii_lowercase())),
        }
    }
}

impl TryFrom<String> for TimeServer {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        Self::new(&text).ok_or_else(|| format!("not {}", Self::EXPECTED))
    }
}

impl From<TimeServer> for String {
    fn from(server: TimeServer) -> Self {
        server.0
    }
}

impl fmt::Display for TimeServer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn host_names_are_lower_case_and_short_enough_for_the_kernel() {
        assert_eq!(HostName::new("MX1.Example.NET.").unwrap().as_str(), "mx1.example.net");
        let long = format!("mx1.{}.example", "a".repeat(63));
        assert_eq!(HostName::new(&long).unwrap().as_str(), "mx1");
        for text in ["", "a b", "-a", "a_b", "192.0.2.1", "a\nb", "é"] {
            assert_eq!(HostName::new(text), None, "{text}");
        }
        assert!(serde_json::from_str::<HostName>("\"a\\nb\"").is_err());
    }

    #[test]
    fn time_servers_are_names_or_addresses() {
        assert!(TimeServer::new("2001:DB8::1").is_some_and(|server| server.to_string() == "2001:db8::1"));
        assert!(TimeServer::new("0.pool.ntp.org").is_some());
        assert!(TimeServer::new("a b").is_none() && TimeServer::new("x\nFallbackNTP=y").is_none());
    }
}
