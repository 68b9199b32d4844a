//! Hosts of MTA-STS policies: HTTPS on one address, each name with its own certificate and answer, which a test may change.

use std::collections::HashMap;
use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use rustls::{ServerConfig, ServerConnection, StreamOwned};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};

use crate::certificate::Certificate;

/// No request takes longer.
const PATIENCE: Duration = Duration::from_secs(20);

/// What a policy host answers with.
#[derive(Clone, Debug)]
pub struct Answer {
    /// `200 OK` and the like.
    pub status: &'static str,
    /// Header lines beside those for the length.
    pub header: String,
    /// The body.
    pub body: String,
}

impl Answer {
    /// A policy as it should be served.
    pub fn policy(text: &str) -> Self {
        Self {
            status: "200 OK",
            header: "Content-Type: text/plain\r\n".into(),
            body: text.replace('\n', "\r\n"),
        }
    }
}

type Sites = Arc<Mutex<HashMap<String, (Arc<CertifiedKey>, Answer)>>>;

/// Running hosts.
#[derive(Debug)]
pub struct PolicyHost {
    address: SocketAddr,
    sites: Sites,
    asked: Arc<Mutex<Vec<String>>>,
    stop: Arc<AtomicBool>,
}

#[derive(Debug)]
struct BySni(Sites);

impl ResolvesServerCert for BySni {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let sites = lock(&self.0);
        sites.get(hello.server_name()?).map(|(key, _)| Arc::clone(key))
    }
}

impl PolicyHost {
    /// Starts them at an address of the machine where this runs; nobody is served yet.
    ///
    /// # Panics
    ///
    /// If it cannot listen.
    pub fn start(address: SocketAddr) -> Self {
        let listener = TcpListener::bind(address).unwrap_or_else(|error| panic!("a policy host: {error}"));
        let host = Self { address, sites: Sites::default(), asked: Arc::default(), stop: Arc::default() };
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .expect("a provider that has them")
            .with_no_client_auth()
            .with_cert_resolver(Arc::new(BySni(Arc::clone(&host.sites))));
        let (config, sites) = (Arc::new(config), Arc::clone(&host.sites));
        let (asked, stop) = (Arc::clone(&host.asked), Arc::clone(&host.stop));
        thread::spawn(move || {
            for stream in listener.incoming() {
                if stop.load(Ordering::Relaxed) {
                    return;
                }
                let (Ok(stream), config) = (stream, Arc::clone(&config)) else { continue };
                let (sites, asked) = (Arc::clone(&sites), Arc::clone(&asked));
                // What goes wrong with a client is seen at the client.
                thread::spawn(move || drop(serve(stream, config, &sites, &asked)));
            }
        });
        host
    }

    /// Serves an answer under a name, with this certificate.
    ///
    /// # Panics
    ///
    /// If the certificate cannot be read.
    pub fn serve(&self, name: &str, certificate: &Certificate, answer: Answer) {
        let chain: Vec<_> = CertificateDer::pem_file_iter(&certificate.chain)
            .and_then(Iterator::collect::<Result<_, _>>)
            .expect("the file that was written");
        let key = PrivateKeyDer::from_pem_file(&certificate.key).expect("the file that was written");
        let key = rustls::crypto::aws_lc_rs::sign::any_supported_type(&key).expect("a key of a known kind");
        let certified = Arc::new(CertifiedKey::new(chain, key));
        lock(&self.sites).insert(name.to_owned(), (certified, answer));
    }

    /// Serves nothing under a name any more: handshakes fail.
    pub fn withdraw(&self, name: &str) {
        lock(&self.sites).remove(name);
    }

    /// The names whose policy was asked for, each time anew.
    pub fn asked(&self) -> Vec<String> {
        lock(&self.asked).clone()
    }
}

impl Drop for PolicyHost {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        // Wakes the thread that accepts.
        let _ = TcpStream::connect(self.address);
    }
}

fn serve(
    stream: TcpStream,
    config: Arc<ServerConfig>,
    sites: &Sites,
    asked: &Mutex<Vec<String>>,
) -> std::io::Result<()> {
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    let connection = ServerConnection::new(config).map_err(std::io::Error::other)?;
    let mut reader = BufReader::new(StreamOwned::new(connection, stream));
    let mut request = Vec::new();
    loop {
        let mut line = String::new();
        if reader.read_line(&mut line)? == 0 || line == "\r\n" {
            break;
        }
        request.push(line.trim_end().to_owned());
    }
    let host = request.iter().find_map(|line| {
        let (name, value) = line.split_once(": ")?;
        name.eq_ignore_ascii_case("host").then(|| value.to_owned())
    });
    let host = host.unwrap_or_default();
    lock(asked).push(host.clone());
    let known = lock(sites).get(&host).map(|(_, answer)| answer.clone());
    let answer = known
        .filter(|_| request.first().is_some_and(|line| line.starts_with("GET /.well-known/mta-sts.txt ")));
    let answer =
        answer.unwrap_or(Answer { status: "404 Not Found", header: String::new(), body: String::new() });
    let Answer { status, header, body } = answer;
    let length = body.len();
    let text =
        format!("HTTP/1.1 {status}\r\n{header}Content-Length: {length}\r\nConnection: close\r\n\r\n{body}");
    let mut stream = reader.into_inner();
    stream.write_all(text.as_bytes())?;
    stream.conn.send_close_notify();
    stream.flush()
}

fn lock<T>(of: &Mutex<T>) -> MutexGuard<'_, T> {
    of.lock().unwrap_or_else(PoisonError::into_inner)
}
