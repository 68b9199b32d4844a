//! Sessions by chance: thousands of seeds, each a client, its servers and an order of events. `STEP_SEED=n` plays one again.

use super::choices::Choices;
use super::differential::play;

const SEEDS: u64 = 4000;

/// A client that mostly knows what it does.
pub(super) fn wire(choices: &mut Choices) -> Vec<u8> {
    let mut wire = b"EHLO client.example\r\n".to_vec();
    for _ in 0..=choices.below(4) {
        message(choices, &mut wire);
    }
    if choices.below(2) == 0 {
        wire.extend_from_slice(b"QUIT\r\n");
    }
    wire
}

fn message(choices: &mut Choices, wire: &mut Vec<u8>) {
    stray(choices, wire);
    wire.extend_from_slice(b"MAIL FROM:<sender@client.example>\r\n");
    for number in 0..=choices.below(4) {
        let domain = ["one.example", "two.example", "one.example", "elsewhere.example"][choices.below(4)];
        wire.extend_from_slice(format!("RCPT TO:<user{number}@{domain}>\r\n").as_bytes());
        stray(choices, wire);
    }
    let content = content(choices);
    if choices.below(2) == 0 {
        wire.extend_from_slice(b"DATA\r\n");
        let mut encoder = smtp::content::DataEncoder::new();
        encoder.encode(&content, wire);
        encoder.finish(wire);
        return;
    }
    let cut = choices.below(content.len() + 1);
    if choices.below(2) == 0 {
        wire.extend_from_slice(format!("BDAT {cut}\r\n").as_bytes());
        wire.extend_from_slice(&content[..cut]);
        stray(choices, wire);
        wire.extend_from_slice(format!("BDAT {} LAST\r\n", content.len() - cut).as_bytes());
        wire.extend_from_slice(&content[cut..]);
    } else {
        wire.extend_from_slice(format!("BDAT {} LAST\r\n", content.len()).as_bytes());
        wire.extend_from_slice(&content);
    }
}

/// Commands that have no place, or none worth anything.
fn stray(choices: &mut Choices, wire: &mut Vec<u8>) {
    if choices.below(8) == 7 {
        let lines =
            ["NOOP", "RSET", "EHLO again.example", "DATA", "MAIL FROM:<>", "VRFY x", "WHAT", "BDAT 3\r\nabc"];
        let line = lines[choices.below(lines.len())];
        let end = if line.starts_with("BDAT") { "" } else { "\r\n" };
        wire.extend_from_slice(format!("{line}{end}").as_bytes());
    }
}

/// Header fields, some of them forged, and a body with everything that could be taken for something else.
fn content(choices: &mut Choices) -> Vec<u8> {
    let fields =
        ["Subject: x\r\n", "X-Postern-Verdict: pass\r\n\tid=1\r\n", "X-Spam-Flag: NO\r\n", "To: y\r\n"];
    let body =
        [".\r\n", "..\r\n", "MAIL FROM:<a@one.example>\r\n", "text\r\n", "\r\n", "a\rb", "a\nb\r\n", "text"];
    let mut content = Vec::new();
    for _ in 0..choices.below(4) {
        content.extend_from_slice(fields[choices.below(fields.len())].as_bytes());
    }
    content.extend_from_slice(b"\r\n");
    for _ in 0..choices.below(6) {
        let faulty = if choices.below(8) == 7 { 8 } else { 5 };
        content.extend_from_slice(body[choices.below(faulty)].as_bytes());
    }
    if choices.below(40) == 39 {
        content.extend_from_slice("A line that repeats itself.\r\n".repeat(40_000).as_bytes());
    }
    content
}

#[test]
fn no_order_of_events_loses_doubles_or_changes_a_message() {
    let one = std::env::var("STEP_SEED").ok().and_then(|seed| seed.parse().ok());
    for seed in one.map_or(0..SEEDS, |seed: u64| seed..seed + 1) {
        let played = std::panic::catch_unwind(|| {
            let mut choices = Choices::of_seed(seed);
            let wire = wire(&mut choices);
            if one.is_some() {
                eprintln!("{}", String::from_utf8_lossy(&wire));
            }
            play(choices, &wire);
        });
        assert!(played.is_ok(), "again with STEP_SEED={seed}");
    }
}
