//! The queue over HTTP, with a real spool on a simulated disk behind it.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use delivery::notification::Reporter;
use delivery::{Opener, Pool, Queue, QueueSettings, Tcp, WayOut};
use record::Clock;
use route::{Destinations, Routing};
use serde_json::Value;
use smtp::{Envelope, Reply, ReplyCode, TraceId, TransactionId};
use spool::{ClientFacts, Content, Entry, Folder, SenderProof, SimulatedDisk, Spool};

use super::tests::{FINE, ask, say, start};
use crate::recorder::Recording;

struct Way {
    opener: Opener,
    routing: Routing,
    settings: QueueSettings,
}

impl WayOut for Way {
    fn opener(&self) -> &Opener {
        &self.opener
    }
    fn routing(&self) -> &Routing {
        &self.routing
    }
    fn destinations(&self) -> Option<&dyn Destinations> {
        None
    }
    fn settings(&self) -> &QueueSettings {
        &self.settings
    }
}

/// A queue that nobody drains, with a message in it for each of two domains and one in `expired`.
pub(super) async fn queue(recording: &Arc<Recording>, clock: Arc<dyn Clock>) -> Arc<Queue> {
    let spool = Spool::open(spool::Settings::default(), Arc::new(SimulatedDisk::new(0)), Arc::clone(&clock));
    let spool = spool.unwrap();
    let now = clock.now();
    for (number, domain, folder) in [
        (1, "example.net", Folder::Queue),
        (2, "example.org", Folder::Queue),
        (3, "example.net", Folder::Expired),
    ] {
        let content = Content::new().bytes("Subject: x\r\n\r\n<script>\r\n");
        let _ = spool.store(entry(number, domain, folder, now), content).await.unwrap();
    }
    let opener = Opener {
        network: Arc::new(Tcp::default()),
        hostname: "mx1.example.net".into(),
        recorder: Arc::clone(recording) as _,
        clock: Arc::clone(&clock),
        pool: Pool::default(),
        tally: None,
    };
    let reporter =
        Reporter { hostname: "mx1.example.net".into(), postmaster: "p@example.net".into(), signer: None };
    let settings = QueueSettings::new(reporter);
    let way: Arc<dyn WayOut> = Arc::new(Way { opener, routing: Routing::default(), settings });
    Queue::new(spool, clock, Box::new(move || Arc::clone(&way)), Arc::default())
}

fn entry(number: u32, domain: &str, folder: Folder, received_at: Duration) -> Entry {
    let envelope = format!("MAIL FROM:<a@sender.example>\r\nRCPT TO:<b{number}@{domain}>\r\n");
    let words = "4.3.0 <script>busy</script>";
    Entry {
        transaction: TransactionId { session: TraceId::new(7, 7), number },
        envelope: Envelope::read(envelope.as_bytes()).unwrap(),
        recipients: [0].into_iter().collect(),
        client: Some(ClientFacts {
            address: "192.0.2.1:2525".parse().unwrap(),
            helo: "client.example".into(),
            protocol: "ESMTP".into(),
            tls: None,
            authenticated: false,
        }),
        sender: SenderProof::Unknown,
        folder,
        backend: "exchange".into(),
        reason: Reply::new(ReplyCode::new(451).unwrap(), None, words),
        received_at,
    }
}

fn body(answer: &str) -> Value {
    serde_json::from_str(answer.split_once("\r\n\r\n").unwrap().1).unwrap()
}

async fn listed(address: SocketAddr, query: &str) -> Vec<Value> {
    let answer = ask(address, "localhost", &format!("/api/v1/queue?{query}")).await;
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    body(&answer)["messages"].as_array().unwrap().clone()
}

async fn order(address: SocketAddr, verb: &str, whom: &str) -> String {
    post(address, &format!("/api/v1/queue/{verb}"), "Content-Type: application/json\r\n", whom).await
}

async fn post(address: SocketAddr, path: &str, fields: &str, body: &str) -> String {
    let length = body.len();
    let request = format!(
        "POST {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n{fields}Content-Length: {length}\r\n\r\n{body}"
    );
    say(address, &request).await
}

#[tokio::test]
async fn the_list_says_what_waits_why_and_for_whom() {
    let (address, _stop) = start(FINE, false).await;
    let all = listed(address, "").await;
    assert_eq!(all.len(), 3);
    assert_eq!(all[0]["to"][0]["address"], "b1@example.net");
    assert_eq!((&all[0]["folder"], &all[2]["folder"]), (&"queue".into(), &"expired".into()));
    assert!(all[0]["reason"].as_str().unwrap().contains("busy"), "{}", all[0]);
    assert!(all[0]["until"].as_u64() > all[0]["next"].as_u64() && all[2]["next"].is_null());
    assert_eq!(listed(address, "domain=EXAMPLE.net&folder=queue").await.len(), 1);
    assert_eq!(listed(address, "last=2").await.len(), 2);
    assert!(ask(address, "localhost", "/api/v1/queue?folder=x").await.starts_with("HTTP/1.1 400"));
    let id = all[0]["id"].as_str().unwrap();
    let one = ask(address, "localhost", &format!("/api/v1/queue/{id}")).await;
    assert_eq!(body(&one)["id"], id);
    assert!(ask(address, "localhost", "/api/v1/queue/1").await.starts_with("HTTP/1.1 404"));
    for path in ["/queue".to_owned(), format!("/queue/{id}")] {
        let page = ask(address, "localhost", &path).await;
        assert!(page.starts_with("HTTP/1.1 200") && page.contains("&lt;script&gt;busy"), "{page}");
        assert!(!page.contains("<script>busy"), "{page}");
    }
}

#[tokio::test]
async fn orders_are_carried_out_for_messages_domains_and_all() {
    let (address, _stop) = start(FINE, false).await;
    let all = listed(address, "").await;
    let id = all[0]["id"].as_str().unwrap();
    let held = order(address, "hold", &format!("{{\"ids\":[\"{id}\"]}}")).await;
    assert_eq!((body(&held)["changed"].as_u64(), body(&held)["found"].as_u64()), (Some(1), Some(1)));
    assert_eq!(listed(address, "").await[0]["held"], true);
    let again = order(address, "hold", &format!("{{\"ids\":[\"{id}\"]}}")).await;
    assert!(again.starts_with("HTTP/1.1 404"), "{again}");
    let released = order(address, "release", "{\"all\":true,\"folder\":\"expired\"}").await;
    assert_eq!(body(&released)["changed"], 1);
    assert_eq!(listed(address, "folder=expired").await.len(), 0);
    let removed = order(address, "remove", "{\"domain\":\"example.net\"}").await;
    assert_eq!(body(&removed)["changed"], 2);
    assert_eq!(listed(address, "").await.len(), 1);
    assert_eq!(body(&order(address, "retry", "{\"all\":true}").await)["changed"], 1);
    for wrong in ["{}", "{\"all\":true,\"domain\":\"x\"}", "{\"ids\":[\"?\"]}", "{\"al\":true}", "x"] {
        let answer = order(address, "remove", wrong).await;
        assert!(answer.starts_with("HTTP/1.1 4"), "{wrong}: {answer}");
    }
    assert!(order(address, "explode", "{\"all\":true}").await.starts_with("HTTP/1.1 404"));
    assert_eq!(listed(address, "").await.len(), 1);
}

#[tokio::test]
async fn disaster_mode_is_switched_and_told() {
    let (address, _stop) = start(FINE, false).await;
    let on = order(address, "disaster", "{\"on\":true}").await;
    assert!(body(&on)["disaster"].as_u64().is_some(), "{on}");
    let list = body(&ask(address, "localhost", "/api/v1/queue").await);
    assert!(list["messages"][0]["until"].is_null() && list["state"]["disaster"].as_u64().is_some(), "{list}");
    let off = order(address, "disaster", "{\"on\":false}").await;
    assert!(body(&off)["disaster"].is_null(), "{off}");
}

#[tokio::test]
async fn no_other_site_gives_orders() {
    let (address, _stop) = start(FINE, false).await;
    let form = "Content-Type: application/x-www-form-urlencoded\r\n";
    let own = format!("Origin: http://{address}\r\n");
    let foreign = [
        form.to_owned(),
        format!("{form}Origin: http://evil.example\r\n"),
        format!("{form}Origin: null\r\n"),
        format!("{form}{own}Sec-Fetch-Site: cross-site\r\n"),
        "Content-Type: application/json\r\nOrigin: http://evil.example\r\n".to_owned(),
        "Content-Type: text/plain\r\n".to_owned(),
    ];
    for fields in foreign {
        for path in ["/queue/remove", "/api/v1/queue/remove", "/queue/disaster"] {
            let answer = post(address, path, &fields, "folder=queue").await;
            assert!(answer.starts_with("HTTP/1.1 403"), "{fields}{path}: {answer}");
        }
    }
    assert_eq!(listed(address, "").await.len(), 3);
    let answer = post(address, "/queue/remove", &format!("{form}{own}"), "domain=example.org").await;
    assert!(answer.starts_with("HTTP/1.1 303") && answer.contains("location: /queue"), "{answer}");
    assert_eq!(listed(address, "").await.len(), 2);
    let answer = post(address, "/queue/disaster", &format!("{form}{own}"), "disaster=on").await;
    assert!(answer.starts_with("HTTP/1.1 303"), "{answer}");
}
