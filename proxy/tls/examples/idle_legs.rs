//! Measures what an idle TLS session costs: `cargo run --release -p tls --example idle_legs [SESSIONS]`.
//!
//! The servers' ends live in this process, the clients' in a child, so that each side is measured alone. Every session
//! does a full handshake and carries one mail's worth of traffic before it idles, as its buffers only then have the size
//! that they keep.

#![expect(clippy::unwrap_used, reason = "a tool for developers: it stops where something is wrong")]

use std::process::Stdio;
use std::sync::Arc;

use record::{Clock as _, SystemClock};
use tls::{Acceptor, Connector, Identities, Identity, LegPolicy, Served, Settings};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

/// Octets that each session carries before it idles.
const MAIL: usize = 100_000;
/// Sessions that are set up before the first measurement, so that the allocator and the runtime are warm.
const WARM_UP: usize = 50;

#[tokio::main(flavor = "current_thread")]
async fn main() {
    let arguments: Vec<String> = std::env::args().collect();
    match arguments.get(1).map(String::as_str) {
        Some("client") => clients(&arguments[2], arguments[3].parse().unwrap()).await,
        sessions => servers(sessions.map_or(500, |n| n.parse().unwrap())).await,
    }
}

async fn servers(sessions: usize) {
    let identity = Identity::self_signed(&["mx.example.net"], SystemClock.now()).unwrap();
    let served = Served { identities: vec![identity], ..Served::default() };
    let acceptor = Acceptor::new(&Settings::default(), Identities::new(served)).unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let mut child = tokio::process::Command::new(std::env::current_exe().unwrap())
        .args(["client", &listener.local_addr().unwrap().to_string(), &sessions.to_string()])
        .stdin(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .unwrap();
    let mut open = Vec::with_capacity(sessions + WARM_UP);
    let mut before = 0;
    for number in 0..sessions + WARM_UP {
        if number == WARM_UP {
            before = resident();
        }
        let (stream, _) = listener.accept().await.unwrap();
        let (mut stream, _) = acceptor.accept(stream, None).await.unwrap();
        let mut rest = MAIL;
        let mut buffer = [0; 16 * 1024];
        while rest > 0 {
            rest -= stream.read(&mut buffer).await.unwrap();
        }
        stream.write_all(b"250 2.0.0 Ok\r\n").await.unwrap();
        stream.flush().await.unwrap();
        open.push(stream);
    }
    report("server", before, sessions);
    drop(child.stdin.take());
    child.wait().await.unwrap();
}

async fn clients(server: &str, sessions: usize) {
    let connector =
        Connector::new(&Settings::default(), &LegPolicy::default(), Arc::new(SystemClock)).unwrap();
    let mail = vec![b'x'; MAIL];
    let mut open = Vec::with_capacity(sessions + WARM_UP);
    let mut before = 0;
    for number in 0..sessions + WARM_UP {
        if number == WARM_UP {
            before = resident();
        }
        let stream = TcpStream::connect(server).await.unwrap();
        let (mut stream, _, _) = connector.connect(stream, "mx.example.net").await.unwrap();
        stream.write_all(&mail).await.unwrap();
        stream.flush().await.unwrap();
        stream.read_exact(&mut [0; 14]).await.unwrap();
        open.push(stream);
    }
    report("client", before, sessions);
    // The parent closes it when it has measured too.
    tokio::io::stdin().read_to_end(&mut Vec::new()).await.unwrap();
}

fn report(side: &str, before: usize, sessions: usize) {
    let each = (resident() - before) / sessions;
    println!("{side}: {each} octets of RSS a session, over {sessions} sessions");
}

/// Octets of resident memory: the second number of statm, in pages of 4096.
fn resident() -> usize {
    let statm = std::fs::read_to_string("/proc/self/statm").unwrap();
    statm.split(' ').nth(1).unwrap().parse::<usize>().unwrap() * 4096
}
