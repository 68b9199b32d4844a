//! The server over real sockets.

use std::collections::HashMap;
use std::time::Duration;

use tls::{Identity, Served};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use super::*;

async fn started() -> SocketAddr {
    let identity = Identity::self_signed(&["mx.example.net"], Duration::from_secs(1_795_288_205)).unwrap();
    let served = Served {
        identities: vec![identity],
        default: "mx.example.net".to_owned(),
        destinations: HashMap::new(),
    };
    let identities = Identities::new(served);
    let policy: Policy = Arc::new(|_| None);
    let web =
        Web::new(Answers::default(), policy, tls::Settings::default(), move || Some(Arc::clone(&identities)));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(web.serve(listener, false));
    address
}

async fn said(address: SocketAddr, request: &str) -> String {
    let mut stream = TcpStream::connect(address).await.unwrap();
    // It may have heard enough before the end.
    let _ = stream.write_all(request.as_bytes()).await;
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer).await;
    String::from_utf8_lossy(&answer).into_owned()
}

#[tokio::test]
async fn what_is_not_there_is_404_and_a_header_without_end_is_refused() {
    let address = started().await;
    let answer = said(address, "GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").await;
    assert!(answer.starts_with("HTTP/1.1 404 "), "{answer}");
    let long = format!("GET / HTTP/1.1\r\nHost: x\r\nX: {}\r\n\r\n", "y".repeat(64 << 10));
    let answer = said(address, &long).await;
    assert!(!answer.contains(" 404 ") && !answer.contains(" 200 "), "{answer}");
    let many = format!("GET / HTTP/1.1\r\nHost: x\r\n{}\r\n", "X: y\r\n".repeat(100));
    let answer = said(address, &many).await;
    assert!(answer.starts_with("HTTP/1.1 431 "), "{answer}");
}

#[tokio::test]
async fn a_client_gets_no_more_connections_than_its_share() {
    let address = started().await;
    let mut held = Vec::new();
    for _ in 0..MAX_OF_CLIENT {
        let mut stream = TcpStream::connect(address).await.unwrap();
        stream.write_all(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n").await.unwrap();
        assert!(stream.read_u8().await.is_ok());
        held.push(stream);
    }
    let answer = said(address, "GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").await;
    assert!(answer.is_empty(), "{answer}");
}
