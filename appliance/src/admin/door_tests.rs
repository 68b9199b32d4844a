//! How connections get in, and how much of them: bounds, the command line's socket, TLS.

use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt as _;
use std::sync::Arc;

use record::SimulatedClock;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::sync::oneshot;

use super::access_tests::{FORM, House, access, near, said, status};
use super::tests::{FINE, desk, say};
use super::{Doors, Terminal, serve};
use crate::client::{self, Running};
use crate::recorder::samples;

/// The server may have heard enough before the end.
async fn said_bluntly(address: SocketAddr, request: String) -> u16 {
    let mut stream = TcpStream::connect(address).await.unwrap();
    let _ = stream.write_all(request.as_bytes()).await;
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer).await;
    status(&String::from_utf8_lossy(&answer))
}

#[tokio::test]
async fn what_is_too_much_is_refused() {
    let house = House::new().await;
    let host = house.address;
    let body = format!("name=ann&password={}", "x".repeat(300 << 10));
    let fields =
        format!("Host: {host}\r\nOrigin: http://{host}\r\nContent-Type: {FORM}\r\nConnection: close\r\n");
    let large = format!("POST /login HTTP/1.1\r\n{fields}Content-Length: {}\r\n\r\n{body}", body.len());
    // Or a reset, which is no answer.
    assert!([413, 0].contains(&said_bluntly(host, large).await));
    let page =
        |more: String| format!("GET /login HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n{more}\r\n");
    assert_eq!(said_bluntly(host, page(String::new())).await, 200);
    assert_eq!(said_bluntly(host, page("X: y\r\n".repeat(200))).await, 431);
    assert!([431, 0].contains(&said_bluntly(host, page(format!("X: {}\r\n", "y".repeat(64 << 10)))).await));
    let cookies = format!("Cookie: {}\r\n", "postern=x; ".repeat(1000));
    assert_eq!(status(&house.get(&cookies, "/api/v1/status").await), 401);
}

#[tokio::test]
async fn the_command_line_comes_by_a_socket_that_is_its_own() {
    let folder = tempfile::tempdir().unwrap();
    let access = access(&folder);
    let (web, desk) = desk(FINE, false, Arc::clone(&access)).await;
    let address = web.local_addr().unwrap();
    let commands = super::open_for_commands(folder.path()).unwrap();
    let path = super::command_socket(folder.path());
    assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    assert_eq!(std::fs::metadata(path.parent().unwrap()).unwrap().permissions().mode() & 0o777, 0o700);
    let (_stop, stopped) = oneshot::channel::<()>();
    tokio::spawn(serve(Doors { web, terminal: None, commands: Some(commands) }, desk, async {
        let _ = stopped.await;
    }));
    let text = format!(
        "hostname = \"mx1.example.net\"\nstate_dir = {:?}\n[[backend]]\ndomains = [\"example.net\"]\n\
         servers = [\"10.0.0.10\"]\n[admin]\nlisten = \"{address}\"\n",
        folder.path()
    );
    let running = Running::of(&crate::config::parse(&text, std::path::Path::new("p.toml")).unwrap());
    assert_eq!(client::get(&running, "/api/v1/status").await.unwrap().status, 200);
    assert_eq!(client::get(&Running::at(address), "/api/v1/status").await.unwrap().status, 401);
    let order = serde_json::json!({ "name": "bob", "role": "viewer" });
    assert_eq!(client::post(&running, "/api/v1/users/add", &order).await.unwrap().status, 200);
    let who = access.trail().last(1).await.unwrap().remove(0).who;
    assert_eq!(who, format!("command line (user {})", rustix::process::geteuid().as_raw()));
    // A second start finds the first one's socket.
    assert!(super::open_for_commands(folder.path()).is_ok());
}

#[tokio::test]
async fn off_loopback_there_is_tls_and_nothing_else() {
    let folder = tempfile::tempdir().unwrap();
    let access = access(&folder);
    let code = access.standing_code().unwrap();
    access.redeem(said("ann", &code), &near()).await.unwrap();
    let (web, desk) = desk(FINE, false, access).await;
    let address = web.local_addr().unwrap();
    let identity = tls::Identity::self_signed(&["mx1.example.net"], samples::BEGAN).unwrap();
    let served = tls::Served {
        identities: vec![identity],
        default: "mx1.example.net".to_owned(),
        ..Default::default()
    };
    let acceptor = tls::Acceptor::new(&tls::Settings::default(), tls::Identities::new(served)).unwrap();
    let terminal = Terminal::new(move || Some(acceptor.clone()));
    let (_stop, stopped) = oneshot::channel::<()>();
    tokio::spawn(serve(Doors { web, terminal: Some(terminal), commands: None }, desk, async {
        let _ = stopped.await;
    }));
    let plain = say(address, &format!("GET /login HTTP/1.1\r\nHost: {address}\r\n\r\n")).await;
    assert!(plain.starts_with("HTTP/1.1 400") && plain.contains("this is HTTPS"), "{plain}");
    let clock = Arc::new(SimulatedClock::starting_at(samples::BEGAN));
    let policy = tls::LegPolicy { ladder: tls::Ladder::Encrypt, ..Default::default() };
    let connector = tls::Connector::new(&tls::Settings::default(), &policy, clock).unwrap();
    let ask = async |request: String| {
        let stream = TcpStream::connect(address).await.unwrap();
        let (mut stream, _, _) = connector.connect(stream, "mx1.example.net").await.unwrap();
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = Vec::new();
        let _ = stream.read_to_end(&mut answer).await;
        String::from_utf8(answer).unwrap()
    };
    let host = format!("mx1.example.net:{}", address.port());
    let page = ask(format!("GET /login HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n")).await;
    assert!(
        page.starts_with("HTTP/1.1 200") && page.contains("strict-transport-security: max-age="),
        "{page}"
    );
    let body = "name=ann&password=correct+horse+battery";
    for (scheme, expected) in [("http", 403), ("https", 303)] {
        let answer = ask(format!(
            "POST /login HTTP/1.1\r\nHost: {host}\r\nOrigin: {scheme}://{host}\r\nConnection: close\r\n\
             Content-Type: {FORM}\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        ))
        .await;
        assert_eq!(status(&answer), expected, "{answer}");
        assert!(
            expected != 303 || answer.contains("set-cookie: __Host-postern=") && answer.contains("; Secure"),
            "{answer}"
        );
    }
    let foreign =
        ask("GET /login HTTP/1.1\r\nHost: evil.example\r\nConnection: close\r\n\r\n".to_owned()).await;
    assert_eq!(status(&foreign), 421);
}
