//! What Pebble has not: renewal windows (ARI, RFC 9773) and profiles (draft-ietf-acme-profiles), by a server before it that passes
//! everything on, and adds or notes what belongs to these two.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use rustls::{ClientConfig, ClientConnection, ServerConfig, ServerConnection, StreamOwned};
use serde_json::{Value, json};

use crate::pebble::Pebble;
use crate::ports;

/// No exchange takes longer.
const PATIENCE: Duration = Duration::from_secs(30);

/// A CA with windows and profiles.
#[derive(Debug)]
pub struct RenewalInfo {
    address: SocketAddr,
    told: Arc<Mutex<Told>>,
    stop: Arc<AtomicBool>,
}

/// What it says, and what it was told.
#[derive(Debug)]
struct Told {
    profiles: Vec<String>,
    /// In RFC 3339; `None`: it knows none.
    window: Option<(String, String)>,
    retry_after: Option<String>,
    orders: Vec<Value>,
    asked: Vec<String>,
}

/// To whom what comes in goes on.
struct Front {
    upstream: SocketAddr,
    host: String,
    client: Arc<ClientConfig>,
    server: Arc<ServerConfig>,
    told: Arc<Mutex<Told>>,
}

/// A request or an answer, its body apart.
struct Message {
    head: String,
    body: Vec<u8>,
}

impl RenewalInfo {
    /// Stands before this CA.
    ///
    /// # Panics
    ///
    /// If it cannot listen.
    pub fn before(pebble: &Pebble, profiles: &[&str]) -> Self {
        let address = ports::free();
        let listener = TcpListener::bind(address).expect("a port that was free");
        let told = Told {
            profiles: profiles.iter().map(|&name| name.to_owned()).collect(),
            window: None,
            retry_after: None,
            orders: Vec::new(),
            asked: Vec::new(),
        };
        let told = Arc::new(Mutex::new(told));
        let (client, server) = pebble.both_sides();
        let (host, upstream) = (format!("localhost:{}", address.port()), pebble.directory());
        let front = Arc::new(Front { upstream, host, client, server, told: Arc::clone(&told) });
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        thread::spawn(move || {
            for stream in listener.incoming() {
                if stopped.load(Ordering::Relaxed) {
                    return;
                }
                let (Ok(stream), front) = (stream, Arc::clone(&front)) else { continue };
                // What goes wrong with a client is seen at the client.
                thread::spawn(move || drop(front.serve(stream)));
            }
        });
        Self { address, told, stop }
    }

    /// The port of its directory, in place of the CA's own.
    pub fn port(&self) -> u16 {
        self.address.port()
    }

    /// From now on it suggests this window for every certificate, in seconds since 1970.
    pub fn window_is(&self, start: u64, end: u64) {
        let date = |at| record::rfc3339_date(Duration::from_secs(at));
        lock(&self.told).window = Some((date(start), date(end)));
    }

    /// From now on it says when to ask again, in these words.
    pub fn retry_after_is(&self, words: &str) {
        lock(&self.told).retry_after = Some(words.to_owned());
    }

    /// All orders, as they were asked for (RFC 8555 §7.4).
    pub fn orders(&self) -> Vec<Value> {
        lock(&self.told).orders.clone()
    }

    /// The certificates whose window was asked for (RFC 9773 §4.1), each time anew.
    pub fn asked(&self) -> Vec<String> {
        lock(&self.told).asked.clone()
    }
}

impl Drop for RenewalInfo {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        // Wakes the thread that accepts.
        let _ = TcpStream::connect(self.address);
    }
}

impl Front {
    fn serve(&self, stream: TcpStream) -> std::io::Result<()> {
        patient(&stream)?;
        let connection = ServerConnection::new(Arc::clone(&self.server)).map_err(std::io::Error::other)?;
        let mut reader = BufReader::new(StreamOwned::new(connection, stream));
        let request = read(&mut reader)?;
        let answer = match request.head.strip_prefix("GET /renewal-info/") {
            Some(rest) => self.window(rest.split(' ').next().unwrap_or_default()),
            None => self.passed_on(&request)?,
        };
        let mut stream = reader.into_inner();
        stream.write_all(answer.head.as_bytes())?;
        stream.write_all(&answer.body)?;
        stream.conn.send_close_notify();
        stream.flush()
    }

    fn window(&self, certificate: &str) -> Message {
        let mut told = lock(&self.told);
        told.asked.push(certificate.to_owned());
        let Some((start, end)) = &told.window else {
            return Message {
                head: "HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n".into(),
                body: Vec::new(),
            };
        };
        let body = json!({ "suggestedWindow": { "start": start, "end": end } }).to_string().into_bytes();
        let again = told.retry_after.as_ref().map(|words| format!("Retry-After: {words}\r\n"));
        let head = format!(
            "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n{}Content-Length: {}\r\n\r\n",
            again.unwrap_or_default(),
            body.len()
        );
        Message { head, body }
    }

    fn passed_on(&self, request: &Message) -> std::io::Result<Message> {
        let order = request.head.starts_with("POST /order-plz ").then(|| payload(&request.body)).flatten();
        if let Some(order) = &order {
            lock(&self.told).orders.push(order.clone());
        }
        let answer = self.ask(request)?;
        let mut body: Value = match serde_json::from_slice(&answer.body) {
            Ok(body) if order.is_some() || request.head.starts_with("GET /dir ") => body,
            _ => return Ok(answer),
        };
        match order {
            // RFC 9773 §5: what is replaced is repeated.
            Some(order) if order["replaces"].is_string() => body["replaces"] = order["replaces"].clone(),
            Some(_) => {}
            None => {
                let profiles = lock(&self.told).profiles.clone();
                body["renewalInfo"] = format!("https://{}/renewal-info", self.host).into();
                let named = profiles.into_iter().map(|name| (name, Value::from("https://localhost/about")));
                body["meta"]["profiles"] = Value::Object(named.collect());
            }
        }
        let body = body.to_string().into_bytes();
        let other = |line: &&str| !line.to_ascii_lowercase().starts_with("content-length:");
        let head: Vec<_> = answer.head.trim_end().split("\r\n").filter(other).collect();
        let head = format!("{}\r\nContent-Length: {}\r\n\r\n", head.join("\r\n"), body.len());
        Ok(Message { head, body })
    }

    /// As HTTP/1.0, so that the answer comes in one piece and ends with the connection.
    fn ask(&self, request: &Message) -> std::io::Result<Message> {
        let stream = TcpStream::connect(self.upstream)?;
        patient(&stream)?;
        let name = "localhost".try_into().map_err(std::io::Error::other)?;
        let connection =
            ClientConnection::new(Arc::clone(&self.client), name).map_err(std::io::Error::other)?;
        let mut stream = StreamOwned::new(connection, stream);
        stream.write_all(request.head.replacen("HTTP/1.1", "HTTP/1.0", 1).as_bytes())?;
        stream.write_all(&request.body)?;
        stream.flush()?;
        let mut reader = BufReader::new(stream);
        let head = head(&mut reader)?;
        let mut body = Vec::new();
        reader.read_to_end(&mut body)?;
        Ok(Message { head, body })
    }
}

fn patient(stream: &TcpStream) -> std::io::Result<()> {
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))
}

/// With the empty line.
fn head(reader: &mut impl BufRead) -> std::io::Result<String> {
    let mut head = String::new();
    while !head.ends_with("\r\n\r\n") {
        if reader.read_line(&mut head)? == 0 {
            return Err(std::io::ErrorKind::UnexpectedEof.into());
        }
    }
    Ok(head)
}

fn read(reader: &mut impl BufRead) -> std::io::Result<Message> {
    let head = head(reader)?;
    let length = head.lines().find_map(|line| {
        let (name, value) = line.split_once(':')?;
        name.eq_ignore_ascii_case("content-length").then(|| value.trim().parse().ok()).flatten()
    });
    let mut body = vec![0; length.unwrap_or(0)];
    reader.read_exact(&mut body)?;
    Ok(Message { head, body })
}

/// What is within a signed request (RFC 8555 §6.2).
fn payload(body: &[u8]) -> Option<Value> {
    let signed: Value = serde_json::from_slice(body).ok()?;
    let payload = BASE64_URL_SAFE_NO_PAD.decode(signed["payload"].as_str()?).ok()?;
    serde_json::from_slice(&payload).ok()
}

fn lock<T>(of: &Mutex<T>) -> MutexGuard<'_, T> {
    of.lock().unwrap_or_else(PoisonError::into_inner)
}
