//! The log goes to a syslog server, too: RFC 5424 messages over TLS (RFC 5425), the server verified by its name.
//!
//! Nothing waits for that server: what it does not take in time is dropped and counted, and the count is told when it answers again.

use std::fmt::{self, Write as _};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use record::Clock;
use tls::{Connector, Ladder, LegPolicy, Roots, Settings};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tokio::time::timeout;
use tracing::field::{Field, Visit};
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::Layer;
use tracing_subscriber::layer::Context;

/// Lines that wait for the server.
const WAITING: usize = 8192;
/// Octets of one line's text: what receivers should take (RFC 5425 §4.3.1), less its header.
const MOST: usize = 7 << 10;
/// A connection, and each write.
const PATIENCE: Duration = Duration::from_secs(10);
/// Between two attempts: doubled each time up to this.
const LONGEST_PAUSE: Duration = Duration::from_secs(60);
/// The facility `mail` (RFC 5424 §6.2.1).
const FACILITY: u8 = 2;
/// Set before the sending task logs anything itself, so that its own trouble does not feed it.
const OWN_TARGET: &str = "postern::syslog";

static LINES: OnceLock<mpsc::Sender<Line>> = OnceLock::new();
static LOST: AtomicU64 = AtomicU64::new(0);

/// An event on its way.
struct Line {
    severity: u8,
    at: Duration,
    /// What of Postern it is from.
    id: String,
    text: String,
}

/// Takes every event that the log takes, once [`send`] was called.
pub(super) struct ToSyslog;

impl<S: Subscriber> Layer<S> for ToSyslog {
    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        let Some(lines) = LINES.get() else { return };
        let metadata = event.metadata();
        if metadata.target() == OWN_TARGET {
            return;
        }
        let mut words = Words::default();
        event.record(&mut words);
        let id = metadata.target().rsplit("::").next().unwrap_or_default().chars().take(32).collect();
        let line = Line {
            severity: severity(*metadata.level()),
            at: record::SystemClock.now(),
            id,
            text: words.in_one_line(),
        };
        if lines.try_send(line).is_err() {
            LOST.fetch_add(1, Ordering::Relaxed);
        }
    }
}

/// RFC 5424 §6.2.1.
fn severity(level: Level) -> u8 {
    match level {
        Level::ERROR => 3,
        Level::WARN => 4,
        Level::INFO => 6,
        Level::DEBUG | Level::TRACE => 7,
    }
}

/// The message first, then `name=value`.
#[derive(Default)]
struct Words {
    message: String,
    fields: String,
}

impl Words {
    fn add(&mut self, field: &Field, value: fmt::Arguments<'_>) {
        // Writing to a string does not fail.
        let _ = match field.name() {
            "message" => write!(self.message, "{value}"),
            name => write!(self.fields, " {name}={value}"),
        };
    }

    /// A line end would begin a line of the sender's own at receivers that split there.
    fn in_one_line(self) -> String {
        let mut text = self.message + &self.fields;
        if text.len() > MOST {
            let end = (0..=MOST).rev().find(|end| text.is_char_boundary(*end)).unwrap_or_default();
            text.truncate(end);
        }
        text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect()
    }
}

impl Visit for Words {
    fn record_str(&mut self, field: &Field, value: &str) {
        self.add(field, format_args!("{value}"));
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.add(field, format_args!("{value:?}"));
    }
}

/// Where the log goes, and as whose.
#[derive(Clone, Debug)]
pub struct Destination {
    /// Host and port.
    pub server: String,
    /// The authorities that are trusted.
    pub roots: Roots,
    /// Of this Postern.
    pub hostname: String,
}

/// Sends the log to this server from now on, until the process ends; a second time is without effect.
///
/// # Errors
///
/// TLS cannot be set up.
pub fn send(destination: Destination, clock: Arc<dyn Clock>) -> Result<(), tls::TlsError> {
    let policy =
        LegPolicy { ladder: Ladder::Verify, roots: destination.roots.clone(), ..LegPolicy::default() };
    let connector = Connector::new(&Settings::default(), &policy, clock)?;
    let (lines, waiting) = mpsc::channel(WAITING);
    if LINES.set(lines).is_ok() {
        tokio::spawn(keep_sending(destination, connector, waiting));
    }
    Ok(())
}

async fn keep_sending(destination: Destination, connector: Connector, mut waiting: mpsc::Receiver<Line>) {
    let mut pause = Duration::from_secs(1);
    // The line that could not be written is the first of the next connection.
    let mut unsent = None;
    loop {
        match send_on(&destination, &connector, &mut waiting, &mut unsent, &mut pause).await {
            Ok(()) => return,
            Err(reason) => {
                tracing::warn!(target: OWN_TARGET, server = destination.server, reason, "the log cannot be sent; it is tried again");
            }
        }
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(LONGEST_PAUSE);
    }
}

/// Returns when nothing more comes.
async fn send_on(
    destination: &Destination,
    connector: &Connector,
    waiting: &mut mpsc::Receiver<Line>,
    unsent: &mut Option<Line>,
    pause: &mut Duration,
) -> Result<(), String> {
    let host = destination.server.rsplit_once(':').map_or(&*destination.server, |(host, _)| host);
    let name = host.trim_matches(['[', ']']);
    let connected = timeout(PATIENCE, async {
        let stream = TcpStream::connect(&*destination.server).await.map_err(|error| error.to_string())?;
        connector.connect(stream, name).await.map_err(|error| error.reason().to_string())
    });
    let (stream, ..) = connected.await.map_err(|_| "no answer within 10 s".to_owned())??;
    let (mut answers, mut stream) = tokio::io::split(stream);
    *pause = Duration::from_secs(1);
    loop {
        let line = match unsent.take() {
            Some(line) => line,
            None => tokio::select! {
                line = waiting.recv() => match line {
                    Some(line) => line,
                    None => return Ok(()),
                },
                reason = closed(&mut answers) => return Err(reason),
            },
        };
        let lost = LOST.swap(0, Ordering::Relaxed);
        if lost > 0 {
            let text = format!("{lost} lines of the log were not sent");
            let told = Line { severity: 4, at: line.at, id: "syslog".to_owned(), text };
            write(&mut stream, &told, destination).await.inspect_err(|_| {
                LOST.fetch_add(lost, Ordering::Relaxed);
            })?;
        }
        if let Err(reason) = write(&mut stream, &line, destination).await {
            *unsent = Some(line);
            return Err(reason);
        }
    }
}

/// A syslog server says nothing (RFC 5425 §4.3): whatever comes of reading is the end.
async fn closed(answers: &mut (impl AsyncRead + Unpin)) -> String {
    match answers.read(&mut [0; 64]).await {
        Ok(0) => "the server closed the connection".to_owned(),
        Ok(_) => "the server speaks, which no syslog server does".to_owned(),
        Err(error) => error.to_string(),
    }
}

async fn write(
    stream: &mut (impl AsyncWrite + Unpin),
    line: &Line,
    destination: &Destination,
) -> Result<(), String> {
    let frame = frame(line, &destination.hostname);
    let written = timeout(PATIENCE, async {
        stream.write_all(frame.as_bytes()).await?;
        stream.flush().await
    });
    match written.await {
        Ok(written) => written.map_err(|error| error.to_string()),
        Err(_) => Err("it takes nothing for 10 s".to_owned()),
    }
}

/// RFC 5425 §4.3: the length in octets, then an RFC 5424 message.
fn frame(line: &Line, hostname: &str) -> String {
    let date = record::rfc3339_date(line.at);
    let id = if line.id.is_empty() { "-" } else { &line.id };
    let priority = FACILITY * 8 + line.severity;
    let message =
        format!("<{priority}>1 {date} {hostname} postern {} {id} - {}", std::process::id(), line.text);
    format!("{} {message}", message.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_frame_is_its_length_and_a_message_of_one_line() {
        let at = Duration::from_secs(1_795_288_205);
        let line = Line { severity: 6, at, id: "mail".to_owned(), text: "mail accepted ü=1".to_owned() };
        let frame = frame(&line, "mx.test");
        let (length, message) = frame.split_once(' ').unwrap();
        assert_eq!(length.parse::<usize>().unwrap(), message.len());
        let start = format!(
            "<22>1 {} mx.test postern {} mail - mail accepted ü=1",
            record::rfc3339_date(at),
            std::process::id()
        );
        assert_eq!(message, start);
    }

    #[test]
    fn no_value_makes_a_line_of_its_own_or_a_long_one() {
        let words =
            Words { message: "one\r\n<22>1 two".to_owned(), fields: format!(" x={}", "ü".repeat(MOST)) };
        let line = words.in_one_line();
        assert!(line.starts_with("one  <22>1 two x=ü") && line.len() <= MOST && !line.contains('\n'));
    }
}
