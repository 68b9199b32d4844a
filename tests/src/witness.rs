//! Both ends of one SMTP session as they see each other, put down point by point: what is between them shows in what two
//! such sessions, with it and without it, have not in common.

use std::collections::BTreeMap;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::process::Command;
use std::sync::{Arc, mpsc};
use std::thread;
use std::time::Duration;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{WebPkiSupportedAlgorithms, verify_tls12_signature, verify_tls13_signature};
use rustls::server::Acceptor;
use rustls::{
    ClientConfig, ClientConnection, ConnectionCommon, DigitallySignedStruct, ServerConfig, SignatureScheme,
    StreamOwned,
};
use rustls_pki_types::{CertificateDer, ServerName, UnixTime};

use crate::child;
use crate::scratch::Scratch;

/// For one line, on a busy machine.
const PATIENCE: Duration = Duration::from_secs(60);

/// What one end saw, by the name of the point.
pub type Points = BTreeMap<&'static str, String>;

/// The points in which two sessions differ, each with what was seen in either.
pub fn differences(one: &Points, other: &Points) -> BTreeMap<&'static str, (String, String)> {
    let value = |points: &Points, name| points.get(name).cloned().unwrap_or_default();
    let names = one.keys().chain(other.keys());
    names
        .map(|&name| (name, (value(one, name), value(other, name))))
        .filter(|(_, (one, other))| one != other)
        .collect()
}

/// A server that takes part in one session after the other, and tells what it saw of each.
#[derive(Debug)]
pub struct Server {
    seen: mpsc::Receiver<Points>,
}

/// What it offers before TLS; behind it the same without STARTTLS.
const OFFER: [&str; 11] = [
    "server.test greets you",
    "PIPELINING",
    "SIZE 10485760",
    "VRFY",
    "ETRN",
    "STARTTLS",
    "ENHANCEDSTATUSCODES",
    "8BITMIME",
    "DSN",
    "SMTPUTF8",
    "CHUNKING",
];

impl Server {
    /// Listens there, with TLS by this configuration, until the test ends.
    ///
    /// # Panics
    ///
    /// If the address is taken.
    pub fn start(address: SocketAddr, tls: &Arc<ServerConfig>) -> Self {
        let listener = TcpListener::bind(address).unwrap_or_else(|error| panic!("{address}: {error}"));
        let (tell, seen) = mpsc::channel();
        let tls = Arc::clone(tls);
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let (tls, tell) = (Arc::clone(&tls), tell.clone());
                // Sessions without mail, as those that only look who is there, are nothing to tell.
                thread::spawn(move || drop(serve(&stream, &tls, &tell)));
            }
        });
        Self { seen }
    }

    /// What it saw of the next session that brought mail.
    ///
    /// # Panics
    ///
    /// If none comes.
    pub fn saw(&self) -> Points {
        self.seen.recv_timeout(PATIENCE).expect("a session that brought mail")
    }
}

/// Lines over whatever they come by.
struct Lines<S: Read + Write>(BufReader<S>);

impl<S: Read + Write> Lines<S> {
    fn new(stream: S) -> Self {
        Self(BufReader::new(stream))
    }

    fn line(&mut self) -> io::Result<String> {
        let mut line = Vec::new();
        if self.0.read_until(b'\n', &mut line)? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        Ok(String::from_utf8_lossy(&line).into_owned())
    }

    fn reply(&mut self) -> io::Result<String> {
        let mut reply = self.line()?;
        while reply.lines().last().is_some_and(|line| line.as_bytes().get(3) == Some(&b'-')) {
            reply.push_str(&self.line()?);
        }
        Ok(reply)
    }

    fn say(&mut self, text: &str) -> io::Result<()> {
        self.0.get_mut().write_all(text.as_bytes())?;
        self.0.get_mut().flush()
    }

    fn ask(&mut self, line: &str) -> io::Result<String> {
        self.say(&format!("{line}\r\n"))?;
        self.reply()
    }
}

fn serve(stream: &TcpStream, tls: &Arc<ServerConfig>, tell: &mpsc::Sender<Points>) -> io::Result<()> {
    stream.set_read_timeout(Some(PATIENCE))?;
    let mut seen = Points::new();
    seen.insert("client's address", stream.peer_addr()?.ip().to_canonical().to_string());
    seen.insert("client's port", stream.peer_addr()?.port().to_string());
    let mut clear = Lines::new(stream.try_clone()?);
    clear.say("220 server.test ESMTP Witness 1.0\r\n")?;
    loop {
        let line = clear.line()?;
        if line.starts_with("STARTTLS") {
            break;
        }
        seen.insert("EHLO in clear", line);
        clear.say(&offer(true))?;
    }
    clear.say("220 2.0.0 go ahead\r\n")?;
    let mut secure = Lines::new(shake_hands(stream, tls, &mut seen)?);
    converse(&mut secure, seen, tell)
}

fn offer(in_clear: bool) -> String {
    let words: Vec<_> = OFFER.into_iter().filter(|word| in_clear || *word != "STARTTLS").collect();
    let (last, others) = words.split_last().expect("it offers something");
    let lines: String = others.iter().map(|word| format!("250-{word}\r\n")).collect();
    format!("{lines}250 {last}\r\n")
}

/// As the server; what the client offers is put down before an answer is chosen.
fn shake_hands(
    stream: &TcpStream,
    tls: &Arc<ServerConfig>,
    seen: &mut Points,
) -> io::Result<StreamOwned<rustls::ServerConnection, TcpStream>> {
    let mut acceptor = Acceptor::default();
    let accepted = loop {
        acceptor.read_tls(&mut &*stream)?;
        match acceptor.accept() {
            Ok(Some(accepted)) => break accepted,
            Ok(None) => {}
            Err((error, _)) => return Err(io::Error::other(error)),
        }
    };
    let hello = accepted.client_hello();
    seen.insert("TLS: name asked for", hello.server_name().unwrap_or("(none)").to_owned());
    seen.insert("TLS: suites offered", format!("{:?}", hello.cipher_suites()));
    seen.insert("TLS: signatures offered", format!("{:?}", hello.signature_schemes()));
    seen.insert("TLS: groups offered", format!("{:?}", hello.named_groups().unwrap_or_default()));
    let connection =
        accepted.into_connection(Arc::clone(tls)).map_err(|(error, _)| io::Error::other(error))?;
    let mut secure = StreamOwned::new(connection, stream.try_clone()?);
    secure.conn.complete_io(&mut secure.sock)?;
    put_down(&secure.conn, seen);
    Ok(secure)
}

/// What both ends of a handshake agreed on.
fn put_down<D>(connection: &ConnectionCommon<D>, seen: &mut Points) {
    seen.insert("TLS: version", format!("{:?}", connection.protocol_version()));
    let suite = connection.negotiated_cipher_suite().map(|suite| suite.suite());
    seen.insert("TLS: suite", format!("{suite:?}"));
    let group = connection.negotiated_key_exchange_group().map(|group| group.name());
    seen.insert("TLS: group", format!("{group:?}"));
}

fn converse<S: Read + Write>(
    lines: &mut Lines<S>,
    mut seen: Points,
    tell: &mpsc::Sender<Points>,
) -> io::Result<()> {
    loop {
        let line = lines.line()?;
        let command = line.split([' ', '\r']).next().unwrap_or_default().to_ascii_uppercase();
        match command.as_str() {
            "EHLO" => {
                seen.insert("EHLO behind TLS", line);
                lines.say(&offer(false))?;
            }
            "MAIL" => {
                seen.insert("MAIL", line);
                lines.say("250 2.1.0 a sender\r\n")?;
            }
            "RCPT" if line.contains("<nobody@") => {
                seen.insert("RCPT that is refused", line);
                lines.say("550 5.1.1 nobody lives here\r\n")?;
            }
            "RCPT" => {
                seen.insert("RCPT", line);
                lines.say("250 2.1.5 a recipient\r\n")?;
            }
            "DATA" => {
                seen.insert("content by", "DATA".into());
                lines.say("354 the message\r\n")?;
                seen.insert("content", until_dot(lines)?);
                lines.say("250 2.6.0 taken as 4711\r\n")?;
                // The connection may be kept for the next mail.
                let _ = tell.send(seen.clone());
            }
            "BDAT" => {
                let size = line.split_whitespace().nth(1).and_then(|size| size.parse().ok());
                let mut content = vec![0; size.unwrap_or_default()];
                lines.0.read_exact(&mut content)?;
                seen.insert("content by", "BDAT".into());
                seen.insert("content", latin1(&content));
                lines.say("250 2.6.0 taken as 4711\r\n")?;
                let _ = tell.send(seen.clone());
            }
            "QUIT" => {
                lines.say("221 2.0.0 gone\r\n")?;
                return Ok(());
            }
            "NOOP" => lines.say("250 2.0.0 nothing done\r\n")?,
            "VRFY" => lines.say("252 2.1.5 who knows\r\n")?,
            _ => lines.say("502 5.5.1 unheard of\r\n")?,
        }
    }
}

fn until_dot<S: Read + Write>(lines: &mut Lines<S>) -> io::Result<String> {
    let mut content = String::new();
    loop {
        let mut line = Vec::new();
        lines.0.read_until(b'\n', &mut line)?;
        match line.as_slice() {
            b".\r\n" => return Ok(content),
            b"" => return Err(io::ErrorKind::UnexpectedEof.into()),
            [b'.', rest @ ..] => content.push_str(&latin1(rest)),
            whole => content.push_str(&latin1(whole)),
        }
    }
}

/// Octets as characters, so that each has its own.
fn latin1(octets: &[u8]) -> String {
    octets.iter().map(|&octet| char::from(octet)).collect()
}

/// What a client says.
#[derive(Clone, Copy, Debug)]
pub struct Session<'a> {
    /// Behind MAIL FROM:.
    pub sender: &'a str,
    /// Behind RCPT TO:; the server refuses `nobody@`.
    pub recipients: [&'a str; 2],
    /// As DATA sends it, with its final dot.
    pub content: &'a [u8],
}

/// Goes through a whole session with TLS, whoever the server is; what the client saw.
///
/// # Panics
///
/// If the session breaks off.
pub fn send(address: SocketAddr, session: Session<'_>) -> Points {
    let mut seen = Points::new();
    match try_send(address, session, &mut seen) {
        Ok(()) => seen,
        Err(error) => panic!("{error} after {seen:#?}"),
    }
}

/// As far as TLS and no further: what a server shows of itself.
///
/// # Panics
///
/// If it does not come to that.
pub fn look(address: SocketAddr) -> Points {
    let mut seen = Points::new();
    let left = begin(address, &mut seen).and_then(|mut lines| lines.ask("QUIT"));
    left.unwrap_or_else(|error| panic!("{error} after {seen:#?}"));
    seen
}

type Secure = StreamOwned<ClientConnection, TcpStream>;

/// Until TLS is there.
fn begin(address: SocketAddr, seen: &mut Points) -> io::Result<Lines<Secure>> {
    let stream = TcpStream::connect_timeout(&address, PATIENCE)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    seen.insert("server's address", stream.peer_addr()?.to_string());
    seen.insert("own port", stream.local_addr()?.port().to_string());
    let mut clear = Lines::new(stream.try_clone()?);
    seen.insert("banner", clear.reply()?);
    seen.insert("offer in clear", clear.ask("EHLO client.test")?);
    seen.insert("reply to STARTTLS", clear.ask("STARTTLS")?);
    let config = ClientConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()
        .map_err(io::Error::other)?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(Anybody(provider().signature_verification_algorithms)))
        .with_no_client_auth();
    // An address is not sent as a name: most mail servers ask for none.
    let connection =
        ClientConnection::new(Arc::new(config), ServerName::from(address.ip())).map_err(io::Error::other)?;
    let mut secure = StreamOwned::new(connection, stream);
    secure.conn.complete_io(&mut secure.sock)?;
    put_down(&secure.conn, seen);
    if let Some(certificate) = secure.conn.peer_certificates().and_then(<[_]>::first) {
        describe(certificate, seen);
    }
    Ok(Lines::new(secure))
}

fn try_send(address: SocketAddr, session: Session<'_>, seen: &mut Points) -> io::Result<()> {
    let mut lines = begin(address, seen)?;
    seen.insert("offer behind TLS", lines.ask("EHLO client.test")?);
    seen.insert("reply to NOOP", lines.ask("NOOP")?);
    seen.insert("reply to VRFY", lines.ask("VRFY <b@x.test>")?);
    seen.insert("reply to what nobody knows", lines.ask("XYZZY")?);
    seen.insert("reply to MAIL", lines.ask(&format!("MAIL FROM:{}", session.sender))?);
    let [right, wrong] = session.recipients;
    seen.insert("reply to RCPT", lines.ask(&format!("RCPT TO:{right}"))?);
    seen.insert("reply to RCPT that is refused", lines.ask(&format!("RCPT TO:{wrong}"))?);
    seen.insert("reply to DATA", lines.ask("DATA")?);
    lines.0.get_mut().write_all(session.content)?;
    lines.0.get_mut().flush()?;
    seen.insert("reply to the message", lines.reply()?);
    seen.insert("reply to QUIT", lines.ask("QUIT")?);
    Ok(())
}

/// What a person would look at.
fn describe(certificate: &CertificateDer<'_>, seen: &mut Points) {
    let scratch = Scratch::new("certificate");
    let file = scratch.write("seen.der", certificate.as_ref());
    let ask = |option: &[&str]| {
        let mut command = Command::new("openssl");
        command.args(["x509", "-inform", "DER", "-noout", "-in"]).arg(&file).args(option);
        let ended = child::run(&command, PATIENCE);
        assert!(ended.success, "{}", ended.output);
        ended.output
    };
    seen.insert("certificate: names", ask(&["-ext", "subjectAltName"]));
    seen.insert("certificate: subject", ask(&["-subject"]));
    seen.insert("certificate: issuer", ask(&["-issuer"]));
    seen.insert("certificate: dates", ask(&["-dates"]));
    seen.insert("certificate: key", ask(&["-pubkey"]));
}

fn provider() -> Arc<rustls::crypto::CryptoProvider> {
    Arc::new(rustls::crypto::aws_lc_rs::default_provider())
}

/// Takes every certificate, as mail servers do that encrypt where they can.
#[derive(Debug)]
struct Anybody(WebPkiSupportedAlgorithms);

impl ServerCertVerifier for Anybody {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(message, certificate, signed, &self.0)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, certificate, signed, &self.0)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.supported_schemes()
    }
}
