//! The resolver against servers that fail, as no real one does on cue.

#![allow(clippy::unwrap_used, reason = "a test's own functions may panic, too")]

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use dns::{DnsError, Proof, Resolver, Settings, SettingsError, Trust};
use hickory_resolver::proto::op::{Message, ResponseCode};
use hickory_resolver::proto::rr::rdata::A;
use hickory_resolver::proto::rr::{RData, Record, RecordType};
use smtp::Domain;
use tokio::net::UdpSocket;

fn domain(text: &str) -> Domain {
    text.parse().unwrap()
}

/// Ends with the test's runtime.
struct Server {
    address: SocketAddr,
    asked: Arc<AtomicUsize>,
}

/// A server on UDP alone that answers each question with what `answer` makes of the empty response; `None`: not at all.
async fn server(answer: impl Fn(Message) -> Option<Vec<u8>> + Send + 'static) -> Server {
    let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let server = Server { address: socket.local_addr().unwrap(), asked: Arc::default() };
    let asked = Arc::clone(&server.asked);
    tokio::spawn(async move {
        let mut buffer = [0; 4096];
        while let Ok((length, peer)) = socket.recv_from(&mut buffer).await {
            asked.fetch_add(1, Ordering::Relaxed);
            let question = Message::from_vec(&buffer[..length]).unwrap();
            let mut response = Message::response(question.metadata.id, question.metadata.op_code);
            response.metadata.recursion_desired = true;
            response.metadata.recursion_available = true;
            response.add_query(question.queries[0].clone());
            if let Some(bytes) = answer(response) {
                socket.send_to(&bytes, peer).await.unwrap();
            }
        }
    });
    server
}

fn resolver(server: &Server) -> Resolver {
    within(server, Duration::from_secs(60))
}

/// For servers that do not answer, or not what was asked.
fn impatient(server: &Server) -> Resolver {
    within(server, Duration::from_secs(2))
}

fn within(server: &Server, timeout: Duration) -> Resolver {
    Resolver::new(&Settings {
        servers: vec![server.address],
        trust: Trust::Nothing,
        timeout,
        ..Settings::default()
    })
    .unwrap()
}

fn address_for(mut response: Message) -> Message {
    let question = response.queries[0].clone();
    if question.query_type() == RecordType::A {
        let address = RData::A(A(Ipv4Addr::new(192, 0, 2, 1)));
        response.answers.push(Record::from_rdata(question.name().clone(), 600, address));
    }
    response
}

#[tokio::test]
async fn a_server_that_is_silent_is_given_up() {
    let server = server(|_| None).await;
    assert_eq!(impatient(&server).mx(&domain("example.net")).await, Err(DnsError::TimedOut));
}

#[tokio::test]
async fn a_server_that_cannot_tell_has_failed_for_now() {
    for code in [ResponseCode::ServFail, ResponseCode::Refused, ResponseCode::NotImp] {
        let server = server(move |mut response| {
            response.metadata.response_code = code;
            response.to_vec().ok()
        })
        .await;
        let error = resolver(&server).mx(&domain("example.net")).await.unwrap_err();
        assert!(matches!(&error, DnsError::ServerFailure(_)), "{code}: {error}");
        assert!(error.is_temporary());
    }
}

#[tokio::test]
async fn garbage_is_no_word_of_the_domain() {
    let server = server(|response| response.to_vec().ok().map(|bytes| bytes[..5].to_vec())).await;
    let error = impatient(&server).mx(&domain("example.net")).await.unwrap_err();
    assert!(error.is_temporary(), "{error}");
}

#[tokio::test]
async fn an_answer_to_another_question_is_not_believed() {
    let server = server(|mut response| {
        response.metadata.id = response.metadata.id.wrapping_add(1);
        address_for(response).to_vec().ok()
    })
    .await;
    let error = impatient(&server).addresses(&domain("mx.example.net")).await.unwrap_err();
    assert!(error.is_temporary(), "{error}");
}

#[tokio::test]
async fn nobody_at_the_servers_address_is_a_failure_for_now() {
    let closed = UdpSocket::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    let server = Server { address: closed, asked: Arc::default() };
    let error = impatient(&server).mx(&domain("example.net")).await.unwrap_err();
    assert!(error.is_temporary(), "{error}");
}

#[tokio::test]
async fn what_was_answered_is_not_asked_again() {
    let server = server(|response| address_for(response).to_vec().ok()).await;
    let resolver = resolver(&server);
    let first = resolver.addresses(&domain("mx.example.net")).await.unwrap();
    assert_eq!(first.iter().collect::<Vec<_>>(), [(Ipv4Addr::new(192, 0, 2, 1).into(), Proof::Insecure)]);
    assert!(matches!(first.v6, Err(DnsError::NoRecords { .. })), "{:?}", first.v6);
    let asked = server.asked.load(Ordering::Relaxed);
    for name in ["mx.example.net", "MX.Example.NET."] {
        let again = resolver.addresses(&domain(name)).await.unwrap();
        assert_eq!(again.v4.unwrap().records, [Ipv4Addr::new(192, 0, 2, 1)]);
        assert!(again.v6.is_err());
    }
    assert_eq!(server.asked.load(Ordering::Relaxed), asked);
}

#[tokio::test]
async fn without_a_cache_every_lookup_asks() {
    let server = server(|response| address_for(response).to_vec().ok()).await;
    let settings =
        Settings { servers: vec![server.address], trust: Trust::Nothing, cache: 0, ..Settings::default() };
    let resolver = Resolver::new(&settings).unwrap();
    for round in 1..=3 {
        resolver.addresses(&domain("mx.example.net")).await.unwrap();
        assert!(server.asked.load(Ordering::Relaxed) >= 2 * round);
    }
}

#[tokio::test]
async fn many_lookups_at_once_all_come_to_an_end() {
    let server = server(|response| address_for(response).to_vec().ok()).await;
    let resolver = Arc::new(resolver(&server));
    let mut tasks = tokio::task::JoinSet::new();
    for number in 0..2 * dns::LOOKUPS_AT_ONCE {
        let resolver = Arc::clone(&resolver);
        tasks.spawn(async move { resolver.addresses(&domain(&format!("mx{number}.example.net"))).await });
    }
    let results = tasks.join_all().await;
    assert!(results.iter().all(Result::is_ok), "{:?}", results.iter().find(|result| result.is_err()));
}

#[tokio::test]
async fn a_trust_anchor_that_is_none_is_refused_at_the_start() {
    let folder = std::env::temp_dir().join(format!("postern-anchor-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    let start = |name: &str, content: Option<&str>| {
        let file = folder.join(name);
        if let Some(content) = content {
            std::fs::write(&file, content).unwrap();
        }
        Resolver::new(&Settings {
            trust: Trust::File(file),
            servers: vec![([127, 0, 0, 1], 53).into()],
            ..Settings::default()
        })
    };
    assert!(matches!(start("missing", None), Err(SettingsError::Anchor { .. })));
    assert!(matches!(start("garbage", Some("what is this")), Err(SettingsError::Anchor { .. })));
    assert!(matches!(start("empty", Some("")), Err(SettingsError::NoAnchor(_))));
    std::fs::remove_dir_all(&folder).unwrap();
}
