//! Which ports the public web server needs, and what happens where they cannot be had.
//!
//! Without a word in the config the ports are opened only if something asks for them: certificates that are ordered. A port
//! that cannot be had then is told of, and mail goes on; one that the config names is an error at start.

use std::net::{SocketAddr, TcpListener};

use crate::config::{Challenge, Config};
use crate::engine::EngineError;

/// A port of the public web server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Port {
    /// Where.
    pub address: SocketAddr,
    /// Whether TLS comes first.
    pub tls: bool,
}

/// The ports that this config needs.
pub fn wanted(config: &Config) -> Vec<Port> {
    let orders = orders(config);
    let by_http = config.acme.challenge == Challenge::Http01;
    let written = config.http.is_written;
    let plain = config.http.plain.filter(|_| written || (orders && by_http));
    let tls = config.http.tls.filter(|_| written || orders);
    let port = |address: Option<SocketAddr>, tls| address.map(|address| Port { address, tls });
    [port(plain, false), port(tls, true)].into_iter().flatten().collect()
}

/// Whether a certificate is ordered with this config.
pub fn orders(config: &Config) -> bool {
    let acme = &config.acme;
    acme.enabled
        && (acme::is_private(&acme.directory)
            || !acme::is_reserved(config.hostname.as_str())
            || acme.names.iter().any(|name| !acme::is_reserved(name.as_str())))
}

/// Binds one of them.
///
/// # Errors
///
/// It cannot be had.
pub fn bind(port: Port) -> Result<Vec<TcpListener>, EngineError> {
    let Port { address, .. } = port;
    TcpListener::bind(address).map(|bound| vec![bound]).map_err(|error| EngineError::Web { address, error })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ports(more: &str) -> Vec<String> {
        let text =
            format!("{more}\n[[backend]]\ndomains = [\"postern.example\"]\nservers = [\"10.0.0.1\"]\n");
        let config = crate::config::parse(&text, std::path::Path::new("p.toml")).unwrap();
        wanted(&config).iter().map(|port| port.address.to_string()).collect()
    }

    #[test]
    fn ports_are_opened_only_if_something_asks_for_them() {
        let real = "hostname = \"mx.postern.dev\"\n";
        assert_eq!(ports(real), ["[::]:80", "[::]:443"]);
        assert_eq!(ports(&format!("{real}acme.challenge = \"dns-01\"")), ["[::]:443"]);
        assert!(ports(&format!("{real}acme.enabled = false")).is_empty());
        assert!(ports("hostname = \"mx.postern.test\"").is_empty(), "a name that no CA certifies");
        let own = "hostname = \"mx.postern.test\"\nacme.directory = \"https://localhost:14000/dir\"";
        assert_eq!(ports(own), ["[::]:80", "[::]:443"]);
        let written = "hostname = \"mx.postern.test\"\nhttp.plain = \"127.0.0.1:8081\"\nhttp.tls = \"\"";
        assert_eq!(ports(written), ["127.0.0.1:8081"]);
    }
}
