//! A report on a message: whatever server and sender wrote, it is three parts, every line of it ends in CRLF, and no field of
//! the part that programs read is anybody's but Postern's.
#![no_main]

use std::time::Duration;

use delivery::notification::{Excerpt, Fate, Original, Outcome, Reporter, Speaker};
use libfuzzer_sys::fuzz_target;
use smtp::{Envelope, Reply, ReplyCode, TraceId, TransactionId};
use spool::SenderProof;

/// Of the group of a recipient.
const FIELDS: [&[u8]; 9] = [
    b"Original-Recipient",
    b"Final-Recipient",
    b"Action",
    b"Status",
    b"Remote-MTA",
    b"Diagnostic-Code",
    b"Last-Attempt-Date",
    b"Final-Log-ID",
    b"Will-Retry-Until",
];

fuzz_target!(|input: (&[u8], &str, &[u8], &[u8])| {
    let (words, server, content, stored) = input;
    let envelope = Envelope::read(stored).or_else(|_| {
        Envelope::read(b"MAIL FROM:<a@b.example> RET=FULL\r\nRCPT TO:<c@d.example> NOTIFY=FAILURE\r\n")
    });
    let (Ok(envelope), Some(code)) = (envelope, ReplyCode::new(550)) else { return };
    let mut excerpt = Excerpt::new();
    content.chunks(1000).for_each(|piece| excerpt.push(piece));
    let reply = Reply::new(code, None, words);
    let fates: Vec<_> = (0..envelope.recipients.len())
        .map(|recipient| Fate {
            recipient,
            outcome: Outcome::Failed,
            reply: &reply,
            speaker: Speaker::World(server),
            last_attempt: Some(Duration::ZERO),
        })
        .collect();
    let id = TransactionId { session: TraceId::new(1, 1), number: 1 };
    let original = Original {
        transaction: id,
        envelope: &envelope,
        sender: SenderProof::Spf,
        received_at: Duration::ZERO,
        excerpt: &excerpt,
    };
    let reporter =
        Reporter { hostname: "mx.example".into(), postmaster: "postmaster@example".into(), signer: None };
    for report in reporter.compose(&original, &fates, id, Duration::ZERO) {
        check(&report.content);
        let mut written = Vec::new();
        report.entry.envelope.write(&mut written);
        assert_eq!(Envelope::read(&written), Ok(report.entry.envelope));
    }
});

fn check(report: &[u8]) {
    let text = report.strip_suffix(b"\r\n").unwrap_or_else(|| panic!("no end"));
    let boundary = memchr::memmem::find(report, b"boundary=\"").map(|at| &report[at + 10..]);
    let boundary = boundary.and_then(|rest| rest.split(|&byte| byte == b'"').next()).unwrap_or_default();
    let delimiter = [b"--", boundary].concat();
    let mut part = 0;
    let mut in_fields = false;
    for line in text.split(|&byte| byte == b'\n') {
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        if line.starts_with(&delimiter) {
            part += 1;
            in_fields = false;
        } else if part == 2 {
            in_fields |= line.is_empty();
            // The first group is the message's, and has other fields.
            let known = |name: &&[u8]| line.starts_with(name) && line.get(name.len()) == Some(&b':');
            let of_message = [&b"Original-Envelope-Id"[..], b"Reporting-MTA", b"Arrival-Date"];
            let is_ours = line.is_empty() || line.starts_with(b"  ");
            assert!(
                !in_fields || is_ours || FIELDS.iter().any(known) || of_message.iter().any(known),
                "{}",
                line.escape_ascii()
            );
        }
    }
    assert_eq!(part, 4, "three parts and the end");
}
