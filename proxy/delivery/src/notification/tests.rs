//! Whole reports as they leave, and read back as a mail program reads them.

use mail_parser::{MessageParser, MimeHeaders, PartType};
use proptest::prelude::*;
use smtp::{EnhancedCode, TraceId};

use super::*;

/// 2027-01-15 08:00:00 UTC.
const NOON: Duration = Duration::from_secs(1_800_000_000);

fn reporter() -> Reporter {
    Reporter { hostname: "mx1.example.net".into(), postmaster: "postmaster@example.net".into(), signer: None }
}

fn id(number: u32) -> TransactionId {
    TransactionId { session: TraceId::new(1_800_000_000_000, 7), number }
}

fn envelope(text: &str) -> Envelope {
    Envelope::read(text.replace('\n', "\r\n").as_bytes()).unwrap()
}

fn excerpt(content: &[u8]) -> Excerpt {
    let mut excerpt = Excerpt::new();
    content.chunks(1000).for_each(|piece| excerpt.push(piece));
    excerpt
}

fn original<'a>(envelope: &'a Envelope, excerpt: &'a Excerpt) -> Original<'a> {
    let transaction = TransactionId { session: TraceId::new(1_799_000_000_000, 3), number: 1 };
    Original { transaction, envelope, sender: SenderProof::Spf, received_at: NOON - HOUR, excerpt }
}

const HOUR: Duration = Duration::from_secs(3600);
const CONTENT: &[u8] =
    b"Received: from client.example by mx1.example.net; Fri, 15 Jan 2027 07:00:00 +0000\r\n\
    From: Ada <ada@sender.example>\r\nTo: bob@example.net\r\nSubject: Greetings\r\n\r\nThe body.\r\n";

fn no_such_user() -> Reply {
    let text = "<bob@example.net>: Recipient address rejected: User unknown in local recipient table\nsee your \
                administrator";
    Reply::new(ReplyCode::new(550).unwrap(), Some(EnhancedCode(5, 1, 1)), text)
}

fn lost() -> Reply {
    Reply::new(ReplyCode::new(451).unwrap(), Some(EnhancedCode(4, 4, 1)), "the server did not answer in time")
}

fn fate(recipient: usize, outcome: Outcome, reply: &Reply) -> Fate<'_> {
    Fate { recipient, outcome, reply, speaker: Speaker::Hidden, last_attempt: Some(NOON) }
}

fn only(mut reports: Vec<Notification>) -> Notification {
    assert_eq!(reports.len(), 1);
    reports.remove(0)
}

/// The report with line feeds, its boundary named; every line of it ended in CRLF.
fn shown(report: &Notification) -> String {
    let text = String::from_utf8(report.content.clone()).unwrap();
    assert_eq!(text.matches('\n').count(), text.matches("\r\n").count());
    assert_eq!(text.matches('\r').count(), text.matches("\r\n").count());
    let (_, after) = text.split_once("boundary=\"").unwrap();
    let boundary = after.split('"').next().unwrap();
    let mut envelope = Vec::new();
    report.entry.envelope.write(&mut envelope);
    let envelope = String::from_utf8(envelope).unwrap();
    format!("{envelope}\r\n{}", text.replace(boundary, "BOUNDARY")).replace("\r\n", "\n")
}

/// The three parts' types and decoded contents.
fn parts(report: &Notification) -> Vec<(String, Vec<u8>)> {
    let message = MessageParser::new().parse(&report.content).unwrap();
    let root = &message.parts[0];
    assert_eq!(root.content_type().unwrap().ctype(), "multipart");
    assert_eq!(root.content_type().unwrap().subtype(), Some("report"));
    let PartType::Multipart(children) = &root.body else { panic!("no multipart") };
    assert_eq!(children.len(), 3);
    let part = |&child: &u32| {
        let part = &message.parts[child as usize];
        let kind = part.content_type().unwrap();
        let name = format!("{}/{}", kind.ctype(), kind.subtype().unwrap());
        (name, part.contents().to_vec())
    };
    children.iter().map(part).collect()
}

#[test]
fn a_failure_is_told_in_the_servers_own_words() {
    let envelope = envelope(
        "MAIL FROM:<ada@sender.example> RET=FULL ENVID=QQ+2B314159\n\
         RCPT TO:<bob@example.net> NOTIFY=FAILURE ORCPT=rfc822;Bob+2Bx@example.org\n\
         RCPT TO:<carol@example.net> NOTIFY=NEVER\n\
         RCPT TO:<dave@example.net>\n",
    );
    let (excerpt, reply) = (excerpt(CONTENT), no_such_user());
    let fates = [0, 1, 2].map(|recipient| fate(recipient, Outcome::Failed, &reply));
    let report = only(reporter().compose(&original(&envelope, &excerpt), &fates, id(1), NOON));
    let parts = parts(&report);
    assert_eq!(parts[2], ("message/rfc822".into(), CONTENT.to_vec()));
    assert!(
        !String::from_utf8_lossy(&report.content).contains("carol@"),
        "who asked not to be told of is not"
    );
    insta::assert_snapshot!("failed", shown(&report));
}

#[test]
fn what_waits_and_what_has_waited_too_long_is_told_with_its_times() {
    let envelope = envelope(
        "MAIL FROM:<ada@sender.example> RET=HDRS\nRCPT TO:<bob@example.net>\nRCPT TO:<x@world.example> NOTIFY=DELAY\n",
    );
    let (excerpt, reply, lost) = (excerpt(CONTENT), no_such_user(), lost());
    let until = Outcome::Delayed { retry_until: NOON + 100 * HOUR };
    let expired = Fate { speaker: Speaker::Postern, ..fate(0, Outcome::Expired, &lost) };
    let delayed = Fate { speaker: Speaker::World("mx.world.example"), ..fate(1, until, &reply) };
    let report = only(reporter().compose(&original(&envelope, &excerpt), &[expired, delayed], id(2), NOON));
    assert_eq!(parts(&report)[2].0, "text/rfc822-headers");
    insta::assert_snapshot!("expired_and_delayed", shown(&report));
}

#[test]
fn what_a_server_without_dsn_took_is_relayed_and_only_the_header_comes_back() {
    let envelope = envelope(
        "MAIL FROM:<ada@sender.example> RET=FULL\n\
         RCPT TO:<bob@example.net> NOTIFY=SUCCESS,FAILURE ORCPT=rfc822;bob@example.net\n\
         RCPT TO:<carol@example.net>\n",
    );
    let excerpt = excerpt(CONTENT);
    let reply = Reply::new(ReplyCode::COMPLETED, Some(EnhancedCode(2, 6, 0)), "Ok: queued as 4711");
    let fates = [0, 1].map(|recipient| fate(recipient, Outcome::Relayed, &reply));
    let report = only(reporter().compose(&original(&envelope, &excerpt), &fates, id(3), NOON));
    assert!(!String::from_utf8_lossy(&report.content).contains("carol@"), "who did not ask is not told");
    insta::assert_snapshot!("relayed", shown(&report));
}

#[test]
fn addresses_beyond_ascii_go_out_as_they_are_only_to_a_sender_who_has_such_an_address() {
    let header = "From: \u{fc}ser@s\u{e4}nder.example\r\nSubject: Gr\u{fc}\u{df}e\r\n\r\nBody\r\n";
    let (excerpt, reply) = (excerpt(header.as_bytes()), no_such_user());
    let recipients = "RCPT TO:<gr\u{fc}n@example.net> ORCPT=utf-8;gr\\x{FC}n@example.net\n";
    for (name, mail) in [
        ("utf8", "MAIL FROM:<\u{fc}ser@s\u{e4}nder.example> SMTPUTF8\n"),
        ("utf8_to_an_ascii_sender", "MAIL FROM:<ada@sender.example> SMTPUTF8\n"),
    ] {
        let envelope = envelope(&format!("{mail}{recipients}"));
        let fates = [fate(0, Outcome::Failed, &reply)];
        let report = only(reporter().compose(&original(&envelope, &excerpt), &fates, id(4), NOON));
        let parts = parts(&report);
        assert!(String::from_utf8_lossy(&parts[0].1).contains("<gr\u{fc}n@example.net>"));
        assert_eq!(parts[2].0, "message/global-headers");
        assert_eq!(String::from_utf8_lossy(&parts[2].1), header.split_once("\r\nBody").unwrap().0);
        assert_eq!(report.content.is_ascii(), name != "utf8");
        insta::assert_snapshot!(name, shown(&report));
    }
}

#[test]
fn nobody_is_told_who_may_not_or_need_not_be() {
    let (excerpt, reply) = (excerpt(CONTENT), no_such_user());
    let count = |mail: &str, rcpt: &str, sender, outcome| {
        let envelope = envelope(&format!("MAIL FROM:<{mail}>\nRCPT TO:<bob@example.net>{rcpt}\n"));
        let original = Original { sender, ..original(&envelope, &excerpt) };
        let fates = [fate(0, outcome, &reply), fate(9, outcome, &reply)];
        reporter().compose(&original, &fates, id(1), NOON).len()
    };
    let delayed = Outcome::Delayed { retry_until: NOON };
    let spf = SenderProof::Spf;
    assert_eq!(count("a@b.example", "", spf, Outcome::Failed), 1);
    assert_eq!(count("a@b.example", "", spf, delayed), 1);
    assert_eq!(count("a@b.example", "", spf, Outcome::Relayed), 0);
    assert_eq!(count("a@b.example", " NOTIFY=SUCCESS", spf, Outcome::Expired), 0);
    assert_eq!(count("a@b.example", " NOTIFY=FAILURE", spf, delayed), 0);
    assert_eq!(count("a@b.example", " NOTIFY=NEVER", spf, Outcome::Failed), 0);
    assert_eq!(count("", "", spf, Outcome::Failed), 0, "a report on a report");
    assert_eq!(count("a@b.example", "", SenderProof::Unknown, Outcome::Failed), 0, "backscatter");
    assert_eq!(count("a@b.example", "", SenderProof::Inside, Outcome::Failed), 1);
}

#[test]
fn a_message_that_no_part_can_hold_comes_back_as_its_header() {
    let reply = no_such_user();
    let large = [CONTENT, "Line of text.\r\n".repeat(10_000).as_bytes()].concat();
    let broken = [CONTENT, b"bare\nline feed\r\n"].concat();
    for (content, parameters) in
        [(&large[..], ""), (&broken, ""), (CONTENT, " BODY=BINARYMIME"), (CONTENT, " REQUIRETLS")]
    {
        let envelope =
            envelope(&format!("MAIL FROM:<a@b.example> RET=FULL{parameters}\nRCPT TO:<bob@example.net>\n"));
        let excerpt = excerpt(content);
        let fates = [fate(0, Outcome::Failed, &reply)];
        let report = only(reporter().compose(&original(&envelope, &excerpt), &fates, id(1), NOON));
        let (kind, bytes) = parts(&report).remove(2);
        assert_eq!(kind, "text/rfc822-headers");
        assert!(bytes.ends_with(b"Subject: Greetings\r\n"), "{}", String::from_utf8_lossy(&bytes));
        assert_eq!(report.entry.envelope.mail.requiretls, parameters == " REQUIRETLS");
    }
}

#[test]
fn a_message_with_eight_bit_octets_says_so_and_comes_back_as_it_was() {
    let content = b"Subject: x\r\n\r\nGr\xFC\xDFe\r\n";
    let envelope = envelope("MAIL FROM:<a@b.example> RET=FULL\nRCPT TO:<bob@example.net>\n");
    let (excerpt, reply) = (excerpt(content), no_such_user());
    let fates = [fate(0, Outcome::Failed, &reply)];
    let report = only(reporter().compose(&original(&envelope, &excerpt), &fates, id(1), NOON));
    assert_eq!(report.entry.envelope.mail.body, Some(BodyType::EightBitMime));
    assert!(memchr::memmem::find(&report.content, content).is_some());
}

#[test]
fn many_recipients_are_told_of_in_several_reports() {
    let recipients: String = (0..250).map(|i| format!("RCPT TO:<r{i}@example.net>\n")).collect();
    let envelope = envelope(&format!("MAIL FROM:<a@b.example>\n{recipients}"));
    let (excerpt, reply) = (excerpt(CONTENT), no_such_user());
    let fates: Vec<_> = (0..250).map(|recipient| fate(recipient, Outcome::Failed, &reply)).collect();
    let reports = reporter().compose(&original(&envelope, &excerpt), &fates, id(5), NOON);
    let numbers: Vec<_> = reports.iter().map(|report| report.entry.transaction.number).collect();
    assert_eq!(numbers, [5, 6, 7]);
    let text = reports.iter().map(|report| String::from_utf8_lossy(&report.content)).collect::<String>();
    assert!((0..250).all(|i| text.contains(&format!("Final-Recipient: rfc822; r{i}@example.net\r\n"))));
}

/// Fields as a reader of RFC 3464 sees them: name and unfolded value, in groups.
fn groups(status: &[u8]) -> Vec<Vec<(String, String)>> {
    let text = String::from_utf8(status.to_vec()).unwrap().replace("\r\n ", " ");
    let field = |line: &str| {
        let (name, value) = line.split_once(':').unwrap_or_else(|| panic!("no field: {line}"));
        (name.to_owned(), value.trim().to_owned())
    };
    let lines = text.trim_end().split("\r\n\r\n");
    lines.map(|group| group.split("\r\n").filter(|line| !line.is_empty()).map(field).collect()).collect()
}

const STATUS_FIELDS: [&str; 10] = [
    "Original-Recipient",
    "Final-Recipient",
    "Action",
    "Status",
    "Remote-MTA",
    "Diagnostic-Code",
    "Last-Attempt-Date",
    "Final-Log-ID",
    "Will-Retry-Until",
    "Original-Envelope-Id",
];

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    #[test]
    fn nothing_that_others_wrote_leaves_its_place(
        words in proptest::collection::vec(any::<u8>(), 0..3000),
        enhanced in any::<bool>(),
        envid in "[!-~]{1,200}",
        orcpt in "[a-z0-9]{1,8};[!-~]{1,300}",
        server in "\\PC{0,80}",
        header in "[\\PC\r\n]{0,400}",
        ret in any::<bool>(),
        smtputf8 in any::<bool>(),
    ) {
        let reply = Reply::new(ReplyCode::new(550).unwrap(), enhanced.then_some(EnhancedCode(5, 999, 1)), words);
        let sender = if smtputf8 { "\u{fc}@b.example> SMTPUTF8" } else { "a@b.example>" };
        let ret = if ret { "FULL" } else { "HDRS" };
        let text = format!("MAIL FROM:<{sender} RET={ret} ENVID={envid}\r\nRCPT TO:<c@d.example> ORCPT={orcpt}\r\n");
        let envelope = Envelope::read(text.as_bytes()).unwrap();
        let content = format!("X: {header}\r\n--=_{}\r\nContent-Type: text/html\r\n\r\n", "0".repeat(32));
        let excerpt = excerpt(content.as_bytes());
        let fates = [Fate { speaker: Speaker::World(&server), ..fate(0, Outcome::Failed, &reply) }];
        let report = only(reporter().compose(&original(&envelope, &excerpt), &fates, id(1), NOON));
        let parts = parts(&report);
        prop_assert!(report.content.len() < 3 * MAX_RETURNED + 16 * 1024);
        let status = groups(&parts[1].1);
        prop_assert_eq!(status.len(), 2, "one group for the message, one for the recipient");
        for (name, value) in &status[1] {
            prop_assert!(STATUS_FIELDS.contains(&name.as_str()), "{}", name);
            prop_assert!(!value.contains(['\r', '\n', '\0']));
            prop_assert!(smtputf8 || value.is_ascii());
        }
        let actions = status[1].iter().filter(|(name, _)| name == "Action").count();
        prop_assert_eq!(actions, 1);
        for line in report.content.split(|&byte| byte == b'\n') {
            prop_assert!(line.len() <= 999);
            prop_assert!(line.is_empty() || line.ends_with(b"\r"));
        }
        // It is read again as it goes to the disk.
        let mut stored = Vec::new();
        report.entry.envelope.write(&mut stored);
        prop_assert_eq!(Envelope::read(&stored).unwrap(), report.entry.envelope);
    }
}
