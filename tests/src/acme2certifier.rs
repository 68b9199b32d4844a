//! acme2certifier as the CA: renewal windows (ARI, RFC 9773) and profiles by somebody else's hand. It validates nothing here; that is
//! what [`crate::pebble`] is for.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use crate::certificate::Authority;
use crate::child::{self, Child};
use crate::needs::{Need, cache};
use crate::ports;
use crate::scratch::Scratch;

/// This CA.
pub const ACME2CERTIFIER: &[Need] =
    &[Need::Cached("python/acme2certifier/bin/python"), Need::Program("openssl")];

const OPENSSL_LIMIT: Duration = Duration::from_secs(60);

/// Serves it over TLS, which the program leaves to a web server.
const RUN: &str = "\
import ssl, sys
from wsgiref.simple_server import make_server
port, chain, key = int(sys.argv[1]), sys.argv[2], sys.argv[3]
sys.argv = sys.argv[:1]
from acme2certifier.share import acme2certifier_wsgi as wsgi
def application(environ, start_response):
    environ['wsgi.url_scheme'] = 'https'
    return wsgi.application(environ, start_response)
server = make_server('127.0.0.1', port, application, handler_class=wsgi.get_handler_cls())
context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
context.load_cert_chain(chain, key)
server.socket = context.wrap_socket(server.socket, server_side=True)
server.serve_forever()
";

/// A running CA with the profiles `classic` and `shortlived`, whose certificates last for 90 days.
#[derive(Debug)]
pub struct Acme2certifier {
    process: Option<Child>,
    address: SocketAddr,
    own: PathBuf,
    files: (PathBuf, PathBuf),
    scratch: Scratch,
}

impl Acme2certifier {
    /// Starts one whose windows last an hour and begin when so many hundredths of a certificate's life are over.
    ///
    /// # Panics
    ///
    /// If it does not start.
    pub fn start(hundredths: u8) -> Self {
        let scratch = Scratch::new("acme2certifier");
        let authority = Authority::new();
        let own = authority.certify(&["localhost"]);
        let copy = |from: &PathBuf, name: &str| scratch.write(name, std::fs::read(from).unwrap_or_default());
        let files = (copy(&own.chain, "own.pem"), copy(&own.key, "own.key"));
        let own = copy(&authority.file(), "own-ca.pem");
        let mut openssl = Command::new("openssl");
        openssl.args(["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"]);
        openssl.args(["-days", "365", "-subj", "/CN=acme2certifier", "-addext"]);
        openssl.args(["keyUsage=critical,keyCertSign,cRLSign", "-keyout"]).arg(scratch.join("ca.key"));
        openssl.arg("-out").arg(scratch.join("ca.pem"));
        let made = child::run(&openssl, OPENSSL_LIMIT);
        assert!(made.success, "{}", made.output);
        scratch.write("run.py", RUN);
        scratch.write("saved/kept", "");
        let mut ca = Self { process: None, address: ports::free(), own, files, scratch };
        ca.restart(hundredths);
        ca
    }

    /// Starts it again, with other windows for all certificates that it has issued.
    ///
    /// # Panics
    ///
    /// If it does not start.
    pub fn restart(&mut self, hundredths: u8) {
        self.process = None;
        let at = |name: &str| self.scratch.join(name).display().to_string();
        let config = format!(
            "[DEFAULT]\ndebug: False\n[CAhandler]\nhandler_module: acme2certifier.cahandlers.openssl_ca_handler\n\
             issuing_ca_key: {}\nissuing_ca_cert: {}\nissuing_ca_crl: {}\ncert_save_path: {}\ncert_validity_days: 90\n\
             [DBhandler]\nhandler_module: acme2certifier.dbhandlers.wsgi_handler\ndbfile: {}\n\
             [Challenge]\nchallenge_validation_disable: True\n[Order]\nprofiles_check_disable: False\n\
             profiles: {{\"classic\": \"https://ca.test/classic\", \"shortlived\": \"https://ca.test/shortlived\"}}\n\
             [Account]\ncontact_check_disable: True\ntos_check_disable: True\n\
             [Renewalinfo]\nrenewalthreshold_pctg: {hundredths}\nrenewal_window_duration: 3600\n",
            at("ca.key"),
            at("ca.pem"),
            at("crl.pem"),
            at("saved"),
            at("acme.db"),
        );
        let config = self.scratch.write("acme_srv.cfg", config);
        let mut command = Command::new(cache().join("python/acme2certifier/bin/python"));
        command.arg(self.scratch.join("run.py")).arg(self.address.port().to_string());
        command.args([&self.files.0, &self.files.1]).env("ACME_SRV_CONFIGFILE", config);
        command.env("ACME2CERTIFIER_I_KNOW_THE_RISK", "1");
        let mut process = Child::spawn("acme2certifier", &command, &self.scratch.join("output"));
        process.expect_listening(self.address);
        self.process = Some(process);
    }

    /// `[acme]` with this CA, in TOML.
    pub fn acme(&self, more: &str) -> String {
        format!(
            "directory = \"https://localhost:{}/directory\"\nca_file = {:?}\nchallenge = \"http-01\"\n{more}\n",
            self.address.port(),
            self.own
        )
    }

    /// The root of what it issues.
    pub fn root(&self) -> PathBuf {
        self.scratch.join("ca.pem")
    }

    /// What it has logged since it was started last.
    pub fn log(&self) -> String {
        self.process.as_ref().map(Child::output).unwrap_or_default()
    }
}
