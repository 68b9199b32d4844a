//! Pebble as the CA (ACME, RFC 8555): it validates for real, and is told what to be awkward about. Beside it the name server that it
//! asks: every name is on loopback there, but for those that a test moves.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use rustls::{ClientConfig, ServerConfig};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};

use crate::certificate::{Authority, client_tls};
use crate::child::{self, Child};
use crate::needs::Need;
use crate::ports;
use crate::scratch::Scratch;
use crate::scripted::Tls;

/// A CA.
pub const PEBBLE: &[Need] =
    &[Need::Program("pebble"), Need::Program("pebble-challtestsrv"), Need::Program("curl")];

/// A customer's number at the CA and its key, where it wants one.
pub const CUSTOMER: (&str, &str) =
    ("kid-1", "zWNDZM6eQGHWpSRTPal5eIUYFTu7EajVIoguysqZ9wG44nMEtx3MUAsUDkMTQ12W");

const CURL_LIMIT: Duration = Duration::from_secs(20);

/// What a CA is told.
#[derive(Clone, Debug)]
pub struct Options {
    /// Good nonces that it refuses, in percent.
    pub refused_nonces: u8,
    /// At most so many seconds before it looks.
    pub sleep: u8,
    /// Whether it serves customers only.
    pub customers_only: bool,
    /// How long its certificates last, in seconds.
    pub validity: u32,
    /// The name server that it asks; default: its own.
    pub names: Option<SocketAddr>,
    /// A name that it wants nothing to do with.
    pub blocked: &'static str,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            refused_nonces: 0,
            sleep: 0,
            customers_only: false,
            validity: 90 * 86_400,
            names: None,
            blocked: "blocked.test",
        }
    }
}

/// A running CA.
#[derive(Debug)]
pub struct Pebble {
    _names: Child,
    process: Child,
    directory: SocketAddr,
    management: SocketAddr,
    names_management: SocketAddr,
    plain: SocketAddr,
    tls: SocketAddr,
    own: PathBuf,
    scratch: Scratch,
}

impl Pebble {
    /// Starts one.
    ///
    /// # Panics
    ///
    /// If it does not start.
    pub fn start(options: &Options) -> Self {
        let scratch = Scratch::new("pebble");
        let authority = Authority::new();
        let own = authority.certify(&["localhost", "127.0.0.1"]);
        let copy = |from: &Path, name: &str| scratch.write(name, std::fs::read(from).unwrap_or_default());
        let (chain, key) = (copy(&own.chain, "own.pem"), copy(&own.key, "own.key"));
        let own = copy(&authority.file(), "ca.pem");
        let [directory, management, plain, tls, dns, names_management] = [(); 6].map(|()| ports::free());
        let config = serde_json::json!({ "pebble": {
            "listenAddress": directory.to_string(),
            "managementListenAddress": management.to_string(),
            "certificate": chain,
            "privateKey": key,
            "httpPort": plain.port(),
            "tlsPort": tls.port(),
            "ocspResponderURL": "",
            "externalAccountBindingRequired": options.customers_only,
            "externalAccountMACKeys": { CUSTOMER.0: CUSTOMER.1 },
            "domainBlocklist": [options.blocked],
            "certificateValidityPeriod": options.validity,
        }});
        let config = scratch.write("pebble.json", config.to_string());
        let mut names = Command::new("pebble-challtestsrv");
        names.args(["-defaultIPv4", "127.0.0.1", "-defaultIPv6", "", "-http01", "", "-https01", ""]);
        names.args([
            "-tlsalpn01",
            "",
            "-dns01",
            &dns.to_string(),
            "-management",
            &names_management.to_string(),
        ]);
        let mut names = Child::spawn("pebble-challtestsrv", &names, &scratch.join("names-output"));
        names.expect_listening(names_management);
        let mut command = Command::new("pebble");
        command.arg("-strict").arg("-config").arg(config);
        command.arg("-dnsserver").arg(options.names.unwrap_or(dns).to_string());
        // It would take some authorizations over from orders before, by chance.
        command.env("PEBBLE_AUTHZREUSE", "0");
        command.env("PEBBLE_WFE_NONCEREJECT", options.refused_nonces.to_string());
        match options.sleep {
            0 => command.env("PEBBLE_VA_NOSLEEP", "1"),
            seconds => command.env("PEBBLE_VA_SLEEPTIME", seconds.to_string()),
        };
        let mut process = Child::spawn("pebble", &command, &scratch.join("output"));
        process.expect_listening(directory);
        Self { _names: names, process, directory, management, names_management, plain, tls, own, scratch }
    }

    /// `[acme]` with this CA and this challenge, in TOML.
    pub fn acme(&self, challenge: &str, more: &str) -> String {
        format!(
            "directory = \"https://localhost:{}/dir\"\nca_file = {:?}\nchallenge = \"{challenge}\"\n{more}\n",
            self.directory.port(),
            self.own
        )
    }

    /// The same where another server stands before it.
    pub fn acme_at(&self, port: u16, challenge: &str, more: &str) -> String {
        let own = format!("localhost:{}/", self.directory.port());
        self.acme(challenge, more).replace(&own, &format!("localhost:{port}/"))
    }

    /// Where its directory is.
    pub fn directory(&self) -> SocketAddr {
        self.directory
    }

    /// TLS for whoever stands before it: towards it, and in its place.
    ///
    /// # Panics
    ///
    /// If its files cannot be read.
    pub fn both_sides(&self) -> (Arc<ClientConfig>, Arc<ServerConfig>) {
        let Tls::Client(client, _) = client_tls(&self.own, "localhost") else {
            unreachable!("it is a client's")
        };
        let chain: Vec<_> = CertificateDer::pem_file_iter(self.scratch.join("own.pem"))
            .and_then(Iterator::collect::<Result<_, _>>)
            .expect("the file that was written");
        let key =
            PrivateKeyDer::from_pem_file(self.scratch.join("own.key")).expect("the file that was written");
        let server =
            ServerConfig::builder_with_provider(Arc::new(rustls::crypto::aws_lc_rs::default_provider()))
                .with_safe_default_protocol_versions()
                .expect("a provider that has them")
                .with_no_client_auth()
                .with_single_cert(chain, key)
                .expect("a key that belongs to its certificate");
        (client, Arc::new(server))
    }

    /// `[http]` where the CA looks, in TOML.
    pub fn http(&self) -> String {
        format!("plain = \"{}\"\ntls = \"{}\"\n", self.plain, self.tls)
    }

    /// The public web server without TLS, as the CA expects it.
    pub fn plain(&self) -> SocketAddr {
        self.plain
    }

    /// The public web server with TLS, as the CA expects it.
    pub fn tls(&self) -> SocketAddr {
        self.tls
    }

    /// The root of what it issues, in a file.
    pub fn root(&self) -> PathBuf {
        let root = self.curl(&format!("https://{}/roots/0", self.management), &[]);
        self.scratch.write("root.pem", root)
    }

    /// From now on the CA finds this name at another address.
    pub fn moves(&self, name: &str, address: &str) {
        let order = serde_json::json!({ "host": name, "addresses": [address] });
        self.curl(&format!("http://{}/add-a", self.names_management), &["-d", &order.to_string()]);
    }

    /// The name is where the others are again.
    pub fn moves_back(&self, name: &str) {
        let order = serde_json::json!({ "host": name });
        self.curl(&format!("http://{}/clear-a", self.names_management), &["-d", &order.to_string()]);
    }

    /// What it has logged.
    pub fn log(&self) -> String {
        self.process.output()
    }

    fn curl(&self, address: &str, more: &[&str]) -> String {
        let mut command = Command::new("curl");
        command.args(["-sSf", "--cacert"]).arg(&self.own).arg(address).args(more);
        let ended = child::run(&command, CURL_LIMIT);
        assert!(ended.success, "{address}:\n{}", ended.output);
        ended.output
    }
}
