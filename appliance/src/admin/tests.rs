//! The server over real sockets, with a fake engine behind it.

use std::sync::Arc;
use std::time::Duration;

use record::{Event, Recorder as _, SimulatedClock, TlsOutcome};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::oneshot;

use super::fakes::{self, certifying, sender, weeks};
use super::{Desk, Doors, serve};
use crate::access::Access;
use crate::recorder::{Recording, samples};
use crate::report::{
    AddressesState, ArmingState, Asking, AuthorityState, BackendState, BlockedSender, CertificateSource,
    CertificateState, CertifyingState, Deciding, DomainEntry, DomainReports, DomainState, EntryOrder, Found,
    Health, HeldReport, LearnOrder, LearningState, Lesson, ListenerState, Live, MailReporter, MailSource,
    NoZones, NotJudging, QueueState, ReceivedReports, RecordState, RoleState, RolesState, ScanOrder, Scanned,
    SenderState, ServerState, Status, Strain, StrainState, TlsSender, TlsTrouble, VerifyingState, WeekReport,
    Zone, ZoneQuestion, ZoneRecord, ZoneReport,
};

/// An engine with two backends, one of whose servers is down.
pub(crate) struct FakeEngine {
    pub(crate) all_down: bool,
    pub(crate) self_signed: bool,
}

impl Live for FakeEngine {
    fn listeners(&self) -> Vec<ListenerState> {
        [("[::]:25", "smtp"), ("[::]:587", "submission"), ("[::]:465", "submissions")]
            .map(|(address, protocol)| ListenerState {
                address: address.parse().unwrap(),
                protocol: protocol.to_owned(),
                problem: None,
            })
            .to_vec()
    }

    fn backends(&self) -> Vec<BackendState> {
        let down = Health::Down { since: 1_795_288_000, reason: "connection refused".to_owned() };
        let up = if self.all_down { down.clone() } else { Health::Up };
        let offers = "PIPELINING SIZE 8BITMIME CHUNKING DSN SMTPUTF8 STARTTLS XCLIENT";
        let server = |server: &str, health, client_address: &str| ServerState {
            server: server.to_owned(),
            health,
            capabilities: offers.split(' ').map(str::to_owned).collect(),
            client_address: client_address.to_owned(),
            tls: Some("TLSv1.3 TLS_AES_256_GCM_SHA384 X25519MLKEM768".to_owned()),
        };
        let backend = |name: &str, domains: &[&str], servers| BackendState {
            name: name.to_owned(),
            domains: domains.iter().map(|domain| (*domain).to_owned()).collect(),
            tls: "opportunistic".to_owned(),
            servers,
            recipients: crate::report::RecipientsState::default(),
        };
        vec![
            backend(
                "exchange",
                &["example.net", "example.org"],
                vec![server("10.0.0.10:25", up.clone(), "none"), server("10.0.0.11:25", down, "none")],
            ),
            backend("postfix", &["example.com"], vec![server("mail.inside:25", up, "xclient")]),
        ]
    }

    fn addresses(&self) -> AddressesState {
        AddressesState::default()
    }

    fn weeks(&self, domains: Vec<String>, _: Option<u64>) -> Asking<Vec<WeekReport>> {
        Box::pin(std::future::ready(Ok(weeks(&domains))))
    }

    fn certificates(&self) -> Vec<CertificateState> {
        let source = match self.self_signed {
            true => CertificateSource::SelfSigned,
            false => CertificateSource::File { path: "/etc/postern/mx1.pem".to_owned() },
        };
        let names = vec!["mx1.example.net".to_owned()];
        let fingerprint = ["AB"; 32].join(":");
        vec![CertificateState { names, expires: 1_800_000_000, source, fingerprint, renews: None }]
    }

    fn certifying(&self) -> CertifyingState {
        certifying(self.self_signed)
    }

    fn renew(&self, name: Option<&str>) -> Option<usize> {
        self.self_signed.then(|| usize::from(name.is_none_or(|name| name == "mx1.example.net")))
    }

    fn roll(&self, _: crate::report::RollOrder) -> Option<Result<(), String>> {
        self.self_signed.then_some(Ok(()))
    }

    fn sessions_now(&self) -> usize {
        12
    }

    fn bytes_in_flight(&self) -> u64 {
        3 << 20
    }

    fn strains(&self) -> Vec<StrainState> {
        ["memory", "disk"]
            .map(|resource| StrainState { resource: resource.into(), strain: Strain::None })
            .into()
    }

    fn scan(&self, _: ScanOrder) -> Asking<Scanned> {
        Box::pin(async { Err(NotJudging::Off) })
    }

    fn zones(&self, question: ZoneQuestion) -> crate::report::Zoning {
        let found = |words: &str| Found { state: RecordState::Wrong, words: words.to_owned() };
        let record = ZoneRecord {
            name: "_dmarc.example.net".to_owned(),
            kind: "TXT".to_owned(),
            value: "v=DMARC1; p=none; <b>".to_owned(),
            purpose: "dmarc".to_owned(),
            found: question.verify.then(|| found("There are two records: remove one.")),
        };
        let (domain, notes) = ("example.net".to_owned(), vec!["MX stays as it is.".to_owned()]);
        let known = question.domains.iter().all(|one| *one == domain);
        let zones = vec![Zone { domain, records: vec![record], notes }];
        let report = ZoneReport { zones };
        let answer = known.then_some(report).ok_or_else(|| NoZones::UnknownDomain("nowhere.test".into()));
        Box::pin(std::future::ready(answer))
    }

    fn published(&self) -> crate::report::PublishedState {
        crate::report::PublishedState::default()
    }

    fn replace_dkim(&self, _: String) -> crate::report::Zoning {
        Box::pin(async { Err(NoZones::Refused("not this one".into())) })
    }

    fn learn(&self, _: judge::Class, _: LearnOrder) -> Asking<Lesson> {
        Box::pin(async { Err(NotJudging::Off) })
    }

    fn learning(&self) -> LearningState {
        LearningState::default()
    }

    fn blocked(&self) -> Vec<BlockedSender> {
        vec![BlockedSender { entry: "spam.example".to_owned(), since: 1_795_288_000 }]
    }

    fn block(&self, entry: String) -> Asking<bool> {
        let done = if entry == "nonsense" { Err(NotJudging::Wrong("no address")) } else { Ok(true) };
        Box::pin(std::future::ready(done))
    }

    fn unblock(&self, entry: String) -> Asking<bool> {
        Box::pin(std::future::ready(Ok(entry == "spam.example")))
    }

    fn domains(&self) -> Vec<DomainState> {
        fakes::domains()
    }

    fn domain_entries(&self, domain: &str) -> Option<Vec<DomainEntry>> {
        fakes::entries(domain)
    }

    fn decide(&self, order: EntryOrder) -> Deciding {
        Box::pin(std::future::ready(fakes::decide(&order)))
    }

    fn was_reported(&self, _: smtp::TransactionId) {}

    fn senders(&self, _: usize) -> Vec<SenderState> {
        vec![sender("ann@example.net", true), sender("news@example.net", false)]
    }

    fn suspects(&self) -> Vec<SenderState> {
        Vec::new()
    }

    fn release_sender(&self, name: &str) -> bool {
        name == "ann@example.net"
    }

    fn stop_sender(&self, _: &str) -> bool {
        true
    }

    fn sender_of(&self, _: smtp::TransactionId) -> Option<String> {
        None
    }

    fn held_reports(&self, _: usize) -> Asking<Vec<HeldReport>> {
        let report = HeldReport {
            id: "00c0ffee".to_owned(),
            reporter: "<b>@example.net".to_owned(),
            says: "ham".to_owned(),
            transaction: "6GZZ106S00007.2".to_owned(),
            at: 1_795_288_000,
            weight: 1.0,
            against: 2,
        };
        Box::pin(std::future::ready(Ok(vec![report])))
    }

    fn settle_report(&self, id: String, _: bool) -> Asking<bool> {
        Box::pin(std::future::ready(Ok(id == "00c0ffee")))
    }

    fn received_reports(&self, _: Vec<String>) -> Asking<ReceivedReports> {
        let trouble = TlsTrouble {
            result: "certificate-expired".to_owned(),
            sessions: 3,
            reason: "an <i> reason".to_owned(),
            ..TlsTrouble::default()
        };
        let sender = TlsSender {
            sender: "big.example".to_owned(),
            organization: "<b> Mail".to_owned(),
            failed: 3,
            failures: vec![trouble],
            words: "3 of 10 sessions failed.".to_owned(),
            ..TlsSender::default()
        };
        let source = MailSource {
            source: [192, 0, 2, 7].into(),
            messages: 5,
            passed: 0,
            dkim: 0,
            spf: 0,
            quarantined: 0,
            rejected: 0,
            known_as: Vec::new(),
            words: "It sends as shop.example, and in the name of example.net without its proof: a service of yours that should sign for example.net, a forwarder, or nobody you know.".to_owned(),
        };
        let domain = DomainReports {
            domain: "example.net".to_owned(),
            tls: vec![sender],
            sources: vec![source],
            reporters: vec![MailReporter { sender: "sender.example".to_owned(), ..MailReporter::default() }],
            messages: 5,
            passed: 0,
        };
        let received = ReceivedReports { domains: vec![domain], set_aside: Vec::new() };
        Box::pin(std::future::ready(Ok(received)))
    }

    fn was_released(&self, _: smtp::TransactionId) {}

    fn write_store_down(&self) -> crate::report::Writing<'_> {
        Box::pin(std::future::ready(Ok(0)))
    }

    fn draining(&self) -> bool {
        false
    }

    fn roles(&self) -> RolesState {
        let process =
            |role: &str, pid, restarts| RoleState { role: role.to_owned(), pid, restarts, works: true };
        let processes = vec![process("guard", 100, 0), process("gate", 101, 1), process("sift 0", 102, 3)];
        RolesState { words: "separate processes".to_owned(), processes }
    }

    fn arming(&self) -> Vec<ArmingState> {
        let one = |server: &str, armed, why: &str| ArmingState {
            backend: "exchange".to_owned(),
            server: server.parse().unwrap(),
            armed,
            configured: "auto".to_owned(),
            names: vec!["mx1.example.net".to_owned()],
            why: why.to_owned(),
        };
        match self.self_signed {
            true => vec![one("198.51.100.25:25", false, "There is no certificate.")],
            false => vec![one("198.51.100.25:25", true, "There is a certificate for mx1.example.net.")],
        }
    }

    fn authority(&self) -> Option<AuthorityState> {
        let (pem, sha256) = ("-----BEGIN CERTIFICATE-----\n".to_owned(), "AB:CD".to_owned());
        Some(AuthorityState { pem, sha256, expires: 1_900_000_000 })
    }

    fn queue(&self) -> QueueState {
        QueueState::default()
    }

    fn verifying(&self) -> Vec<VerifyingState> {
        let (server, destination) = ("198.51.100.25".parse().unwrap(), "192.0.2.9:25".parse().unwrap());
        vec![VerifyingState { server, destination, times: 4 }]
    }
}

/// A server on a free port; it stops when the sender is dropped.
pub(crate) async fn start(live: FakeEngine, fill: bool) -> (std::net::SocketAddr, oneshot::Sender<()>) {
    start_with(live, fill, Some(tempfile::tempdir().unwrap())).await
}

pub(super) async fn start_with(
    live: FakeEngine,
    fill: bool,
    trace: Option<tempfile::TempDir>,
) -> (std::net::SocketAddr, oneshot::Sender<()>) {
    let state = tempfile::tempdir().unwrap();
    let access = Access::open(state.path(), Arc::new(SimulatedClock::starting_at(samples::BEGAN))).unwrap();
    let (address, stop) = serve_desk(desk_with(live, fill, Arc::new(access), trace.as_ref()).await);
    // They go when the test does.
    tokio::spawn(async move {
        let _folders = (state, trace);
        std::future::pending::<()>().await;
    });
    (address, stop)
}

/// The same with an entrance of the test's own, and with a trace on disk or without.
pub(crate) async fn start_guarded(
    live: FakeEngine,
    fill: bool,
    access: Arc<Access>,
    disk: Option<&tempfile::TempDir>,
) -> (std::net::SocketAddr, oneshot::Sender<()>) {
    serve_desk(desk_with(live, fill, access, disk).await)
}

pub(super) fn serve_desk(
    (listener, desk): (TcpListener, Arc<Desk>),
) -> (std::net::SocketAddr, oneshot::Sender<()>) {
    let address = listener.local_addr().unwrap();
    let (stop, stopped) = oneshot::channel::<()>();
    tokio::spawn(async move {
        let doors = Doors { web: listener, terminal: None, commands: None };
        serve(doors, desk, async {
            let _ = stopped.await;
        })
        .await;
    });
    (address, stop)
}

/// What a server of a test answers from, and where.
pub(super) async fn desk(live: FakeEngine, fill: bool, access: Arc<Access>) -> (TcpListener, Arc<Desk>) {
    desk_with(live, fill, access, None).await
}

async fn desk_with(
    live: FakeEngine,
    fill: bool,
    access: Arc<Access>,
    disk: Option<&tempfile::TempDir>,
) -> (TcpListener, Arc<Desk>) {
    let clock = SimulatedClock::starting_at(samples::BEGAN);
    let (recording, _keeper) = Recording::start(Arc::new(clock));
    if let Some(folder) = disk {
        let bounds = trace::Bounds { octets: 1 << 30, age: Duration::from_secs(86_400) };
        recording.keep_on_disk(trace::Trace::open(folder.path().join("trace"), bounds).unwrap()).unwrap();
    }
    if fill {
        fill_with_mail(&recording).await;
    }
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let queue = super::queue_tests::queue(&recording, Arc::new(clock)).await;
    let desk = Desk::new(
        "mx1.example.net".to_owned(),
        address,
        Vec::new(),
        Arc::new(live),
        recording,
        queue,
        access,
    );
    (listener, Arc::new(desk))
}

async fn fill_with_mail(recording: &Recording) {
    for number in 1..=9 {
        // Two kinds, so that a search has something to tell apart.
        let judged = matches!(number, 2 | 3 | 7 | 8);
        let mut transaction = if judged { samples::judged(number) } else { samples::transaction(number) };
        match number {
            4 => transaction.reply = Some(samples::reply(550, "content refused")),
            6 => transaction.reply = Some(samples::reply(451, "no server can be reached")),
            _ => {}
        }
        recording.record(Event::Transaction(Box::new(transaction)));
        recording.record(Event::Session(Box::new(samples::session(samples::tls("mx1.example.net")))));
    }
    recording.record(Event::Session(Box::new(samples::session(TlsOutcome::Plain))));
    recording.record(Event::Session(Box::new(samples::refused_session())));
    recording.record(Event::LegFailed(Box::new(samples::leg_failure())));
    // The keeper takes them in order: once the last one is there, all are.
    while recording.kept().memory.not_reached(1).is_empty() {
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}

pub(super) async fn ask(address: std::net::SocketAddr, host: &str, path: &str) -> String {
    say(address, &format!("GET {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n")).await
}

pub(super) async fn say(address: std::net::SocketAddr, request: &str) -> String {
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = Vec::new();
    while stream.read_buf(&mut answer).await.unwrap() > 0 {
        let so_far = String::from_utf8_lossy(&answer);
        // A stream has no end of its own.
        if so_far.contains("content-type: text/event-stream\r\n") && so_far.contains("\r\n\r\n") {
            break;
        }
    }
    String::from_utf8(answer).unwrap()
}

pub(super) const FINE: FakeEngine = FakeEngine { all_down: false, self_signed: false };

#[tokio::test]
async fn the_page_shows_what_happened_and_trusts_nothing() {
    let (address, _stop) = start(FINE, true).await;
    let page = ask(address, "localhost", "/").await;
    assert!(page.starts_with("HTTP/1.1 200"), "{page}");
    assert!(page.contains("content-security-policy: default-src 'none'"));
    for text in
        ["server 10.0.0.11:25 of backend exchange does not answer", "alice@sender.example", "192.0.2.0/24"]
    {
        assert!(page.contains(text), "{text}");
    }
    assert!(!page.contains("<script>@") && !page.contains(" style=") && !page.contains("http://"));
    let id = samples::transaction(4).id;
    let story = ask(address, "127.0.0.1", &format!("/transactions/{id}")).await;
    for text in
        ["550 5.0.0 content refused", "&lt;script&gt;@example.net", "queued as 4XyZ", "X25519MLKEM768"]
    {
        assert!(story.contains(text), "{text}");
    }
    assert!(ask(address, "localhost", "/transactions/%3Cb%3E").await.contains("&lt;b&gt;"));
}

#[tokio::test]
async fn the_api_answers_with_the_same_numbers() {
    let (address, _stop) = start(FINE, true).await;
    let answer = ask(address, "localhost", "/api/v1/status").await;
    let body = answer.split_once("\r\n\r\n").unwrap().1;
    let status: Status = serde_json::from_str(body).unwrap();
    let sums = status.periods[0].totals;
    assert_eq!((sums.accepted, sums.refused, sums.deferred), (7, 1, 1));
    assert_eq!((sums.sessions, sums.plain_sessions), (11, 2));
    let id = samples::transaction(1).id;
    let one = ask(address, "localhost", &format!("/api/v1/transactions/{id}")).await;
    assert!(one.contains(&format!("\"id\":\"{id}\"")), "{one}");
    let some = ask(address, "localhost", "/api/v1/transactions?from=ALICE&last=3&since=1h").await;
    assert_eq!(some.matches("\"settled_in_ms\"").count(), 3);
    assert!(ask(address, "localhost", "/api/v1/transactions?since=x").await.starts_with("HTTP/1.1 400"));
    assert!(ask(address, "localhost", "/api/v1/transactions?sinc=x").await.starts_with("HTTP/1.1 400"));
    assert!(
        ask(address, "localhost", "/api/v1/sessions?ip=2001:db8:77::9").await.contains("too_many_errors")
    );
    let session = ask(address, "localhost", &format!("/api/v1/sessions/{}", id.session)).await;
    assert_eq!(session.matches("\"settled_in_ms\"").count(), 9);
}

/// Metrics that a text names, without what their kind appends.
fn names_in(text: &str) -> std::collections::HashSet<&str> {
    let starts = text.match_indices("postern_").map(|(at, _)| &text[at..]);
    let names = starts.map(|rest| {
        let end = rest.find(|c: char| !c.is_ascii_lowercase() && c != '_').unwrap_or(rest.len());
        rest[..end].trim_end_matches("_total").trim_end_matches("_bucket")
    });
    names.collect()
}

#[tokio::test]
async fn dashboard_and_alert_rules_ask_for_what_there_is() {
    let (address, _stop) = start(FINE, true).await;
    let text = ask(address, "localhost", "/metrics").await;
    let documented = names_in(include_str!("../../../docs/operate.md"));
    // A family without a value is not shown: the documentation has them all.
    for name in text.lines().filter_map(|line| line.strip_prefix("# HELP ")?.split(' ').next()) {
        assert!(documented.contains(name), "{name} is not documented");
    }
    let files = [
        include_str!("../../../docs/monitoring/alerts.yml"),
        include_str!("../../../docs/monitoring/grafana.json"),
    ];
    for file in files {
        let names = names_in(file);
        assert!(names.len() > 10);
        let unknown: Vec<_> = names.difference(&documented).collect();
        assert!(unknown.is_empty(), "{unknown:?}");
    }
    serde_json::from_str::<serde_json::Value>(files[1]).unwrap();
}

#[tokio::test]
async fn a_foreign_host_name_is_not_answered() {
    let (address, _stop) = start(FINE, false).await;
    for host in ["evil.example", "evil.example:80", ""] {
        assert!(ask(address, host, "/").await.starts_with("HTTP/1.1 421"), "{host}");
    }
    let own = [address.to_string(), "localhost".to_owned(), format!("[::1]:{}", address.port())];
    for host in own {
        assert!(ask(address, &host, "/healthz").await.starts_with("HTTP/1.1 200"), "{host}");
    }
}

#[tokio::test]
async fn readiness_needs_a_server_that_can_be_reached() {
    let (address, _stop) = start(FINE, false).await;
    assert!(ask(address, "localhost", "/readyz").await.starts_with("HTTP/1.1 200"));
    let (address, _stop) = start(FakeEngine { all_down: true, self_signed: true }, false).await;
    let answer = ask(address, "localhost", "/readyz").await;
    assert!(answer.starts_with("HTTP/1.1 503"), "{answer}");
    assert!(answer.contains("No server of backend exchange can be reached, for 3m 25s now"), "{answer}");
    assert!(ask(address, "localhost", "/healthz").await.starts_with("HTTP/1.1 200"));
}

#[tokio::test]
async fn more_connections_than_there_are_places_are_closed() {
    let (address, _stop) = start(FINE, false).await;
    let mut open = Vec::new();
    for _ in 0..super::MAX_CONNECTIONS {
        open.push(TcpStream::connect(address).await.unwrap());
    }
    let mut one_more = TcpStream::connect(address).await.unwrap();
    // Closed without a word: a read ends at once, or with a reset.
    assert!(matches!(one_more.read(&mut [0; 16]).await, Ok(0) | Err(_)));
    drop(open);
}

#[tokio::test]
async fn messages_that_are_handed_in_wait_for_their_turn_before_their_bodies_are_read() {
    let (address, _stop) = start(FINE, false).await;
    // Hyper says 100 when it is asked for the body.
    let head = "POST /api/v1/scan HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nContent-Type: application/json\r\n\
        Expect: 100-continue\r\nContent-Length: 14\r\n\r\n";
    let open = async || {
        let mut stream = TcpStream::connect(address).await.unwrap();
        stream.write_all(head.as_bytes()).await.unwrap();
        stream
    };
    let is_read = async |stream: &mut TcpStream| {
        let mut line = [0; 25];
        stream.read_exact(&mut line).await.unwrap();
        assert!(line.starts_with(b"HTTP/1.1 100 "), "{}", String::from_utf8_lossy(&line));
    };
    let mut within = Vec::new();
    for _ in 0..super::routes::MAX_MESSAGES {
        let mut stream = open().await;
        is_read(&mut stream).await;
        within.push(stream);
    }
    let mut waiting = open().await;
    let early = tokio::time::timeout(Duration::from_millis(300), is_read(&mut waiting)).await;
    assert!(early.is_err(), "there was no place for it");
    let mut first = within.remove(0);
    first.write_all(b"{\"message\":\"\"}").await.unwrap();
    let mut answer = String::new();
    first.read_to_string(&mut answer).await.unwrap();
    assert!(answer.contains("HTTP/1.1 4"), "{answer}");
    is_read(&mut waiting).await;
}
