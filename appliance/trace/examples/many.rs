//! For tests/bench-trace: fills a trace with so many entries like those of mail, then searches it as people do.
//!
//! `many FOLDER COUNT` prints one JSON document: seconds and processor time to fill it, octets, and for each search what it found and the
//! milliseconds of each round.
#![allow(clippy::disallowed_methods, reason = "it measures")]

use std::path::PathBuf;
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};
use trace::{Bounds, Entry, Field, Search, Terms, Trace, Wanted};

const FROM: Field = Field(1);
const TO: Field = Field(2);
const SUBJECT: Field = Field(3);
const HELO: Field = Field(4);
const CLIENT: Field = Field(5);
const VERDICT: Field = Field(6);
const ID: Field = Field(7);
const ROUNDS: usize = 7;

/// As much as Postern's own entries say of a message, in their words.
#[derive(Serialize, Deserialize)]
struct Mail {
    at: u64,
    id: String,
    from: String,
    to: Vec<String>,
    subject: String,
    helo: String,
    client: String,
    verdict: String,
    rest: Vec<(String, String, f64)>,
    reply: String,
}

impl Entry for Mail {
    fn at(&self) -> Duration {
        Duration::from_secs(self.at)
    }

    fn describe(&self, terms: &mut Terms) {
        terms.exactly(ID, &self.id);
        terms.exactly(VERDICT, &self.verdict);
        terms.exactly(CLIENT, &self.client);
        for (field, text) in
            [(FROM, &self.from), (SUBJECT, &self.subject), (HELO, &self.helo), (ID, &self.id)]
        {
            terms.text(field, text);
        }
        terms.text(CLIENT, &self.client);
        self.to.iter().for_each(|to| terms.text(TO, to));
    }
}

const WORDS: [&str; 48] = [
    "invoice",
    "Rechnung",
    "meeting",
    "tomorrow",
    "Angebot",
    "re:",
    "fwd:",
    "your",
    "order",
    "shipped",
    "newsletter",
    "November",
    "urgent",
    "account",
    "reset",
    "password",
    "facture",
    "bonjour",
    "projet",
    "réunion",
    "lunch",
    "draft",
    "contract",
    "Vertrag",
    "Lieferung",
    "ticket",
    "build",
    "failed",
    "passed",
    "review",
    "request",
    "holiday",
    "photos",
    "from",
    "the",
    "weekend",
    "cheap",
    "pills",
    "winner",
    "claim",
    "now",
    "delivery",
    "notice",
    "parcel",
    "waiting",
    "statement",
    "bank",
    "update",
];

/// The same numbers each time (splitmix64).
struct Draw(u64);

impl Draw {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    fn word(&mut self) -> &'static str {
        let number = usize::try_from(self.skewed(48)).unwrap_or_default();
        WORDS.get(number).copied().unwrap_or_default()
    }

    /// Small numbers come far more often, as people and domains do.
    fn skewed(&mut self, most: u64) -> u64 {
        let (one, two) = (self.next() % most, self.next() % most);
        one.min(two).min(self.next() % most)
    }
}

fn mail(number: u64, draw: &mut Draw) -> Mail {
    let domain = draw.skewed(200_000);
    let own = draw.skewed(300);
    let words: Vec<_> = (0..4).map(|_| draw.word()).collect();
    let checks = ["spf", "dkim", "dmarc", "iprev", "content", "reputation", "link-text", "virus"];
    Mail {
        at: 1_700_000_000 + number / 4,
        id: format!("{:013X}.1", 0x0006_0000_0000_0000 + number * 977),
        from: format!("{}.{}@mail{domain}.example", draw.word().to_lowercase(), draw.skewed(5000)),
        to: vec![format!("user{}@customer{own}.example", draw.skewed(400))],
        subject: format!("{} {}", words.join(" "), draw.next() % 100_000),
        helo: format!("out{}.mail{domain}.example", draw.next() % 8),
        client: format!(
            "198.{}.{}.{}:{}",
            18 + domain % 2,
            domain / 256 % 256,
            domain % 256,
            1024 + draw.next() % 60_000
        ),
        verdict: if draw.next().is_multiple_of(20) { "reject" } else { "pass" }.to_owned(),
        rest: checks
            .map(|check| (check.to_owned(), "pass".to_owned(), (draw.next() % 1000) as f64 / 500.0))
            .to_vec(),
        reply: format!("250 2.6.0 <{}@customer{own}.example> queued as {:X}", draw.next(), draw.next()),
    }
}

fn contains(text: &str, wanted: &str) -> bool {
    text.to_lowercase().contains(&wanted.to_lowercase())
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut arguments = std::env::args().skip(1);
    let folder = PathBuf::from(arguments.next().ok_or("which folder?")?);
    let count: u64 = arguments.next().ok_or("how many entries?")?.parse()?;
    let bounds = Bounds { octets: u64::MAX, age: Duration::from_secs(u64::from(u32::MAX)) };
    let trace: Trace<Mail> = Trace::open(folder.clone(), bounds)?;
    let (mut draw, begun) = (Draw(1), Instant::now());
    for number in 0..count {
        trace.append(&mail(number, &mut draw))?;
        if number % 1_000_000 == 0 {
            eprintln!("{number} of {count} entries");
        }
    }
    trace.flush()?;
    let filled = begun.elapsed().as_secs_f64();
    drop(trace);
    let begun = Instant::now();
    let trace: Trace<Mail> = Trace::open(folder, bounds)?;
    let opened = begun.elapsed().as_secs_f64();
    let mut searches = serde_json::Map::new();
    for (name, result) in [
        (
            "a sender who wrote once",
            search(&trace, Wanted::default().contains(FROM, "review.4321@"), |m| {
                contains(&m.from, "review.4321@")
            }),
        ),
        (
            "a recipient with much mail",
            search(&trace, Wanted::default().contains(TO, "user3@customer1."), |m| {
                contains(&m.to[0], "user3@customer1.")
            }),
        ),
        (
            "nobody",
            search(&trace, Wanted::default().contains(FROM, "nobody@nowhere.invalid"), |m| {
                contains(&m.from, "nobody@nowhere.invalid")
            }),
        ),
        (
            "words of a subject",
            search(&trace, Wanted::default().contains(SUBJECT, "Vertrag parcel"), |m| {
                contains(&m.subject, "Vertrag parcel")
            }),
        ),
        (
            "a number in a subject",
            search(&trace, Wanted::default().contains(SUBJECT, " 31415"), |m| contains(&m.subject, " 31415")),
        ),
        (
            "a client's address",
            search(&trace, Wanted::default().contains(CLIENT, "198.18.77.33:"), |m| {
                contains(&m.client, "198.18.77.33:")
            }),
        ),
        (
            "a sender, refused, to a domain",
            search(
                &trace,
                Wanted::default()
                    .contains(FROM, "pills.")
                    .contains(TO, "@customer250.")
                    .is(VERDICT, "reject"),
                |m| {
                    contains(&m.from, "pills.")
                        && contains(&m.to[0], "@customer250.")
                        && m.verdict == "reject"
                },
            ),
        ),
        (
            "anything",
            search(
                &trace,
                Wanted::default().contains_in(&[FROM, TO, SUBJECT, HELO, ID], "winner.77@"),
                |m| {
                    [&m.from, &m.to[0], &m.subject, &m.helo, &m.id]
                        .iter()
                        .any(|text| contains(text, "winner.77@"))
                },
            ),
        ),
        (
            "an identifier",
            search(
                &trace,
                Wanted::default().is(ID, &format!("{:013X}.1", 0x0006_0000_0000_0000_u64 + count / 3 * 977)),
                |m| m.id == format!("{:013X}.1", 0x0006_0000_0000_0000_u64 + count / 3 * 977),
            ),
        ),
    ] {
        searches.insert(name.to_owned(), result?);
    }
    let (octets, entries, _) = trace.extent();
    let all = serde_json::json!({
        "entries": entries, "octets": octets, "filled_seconds": filled, "opened_seconds": opened, "searches": searches
    });
    println!("{all}");
    Ok(())
}

fn search(
    trace: &Trace<Mail>,
    wanted: Wanted,
    fits: impl Fn(&Mail) -> bool,
) -> Result<serde_json::Value, trace::TraceError> {
    let search = Search { wanted, since: Duration::ZERO, before: None, last: 50, looks: 20_000 };
    let (mut rounds, mut found, mut more) = (Vec::new(), 0, false);
    for _ in 0..ROUNDS {
        let begun = Instant::now();
        let page = trace.search(&search, |mail| fits(mail))?;
        rounds.push(begun.elapsed().as_secs_f64() * 1000.0);
        (found, more) = (page.entries.len(), page.reached.is_some());
    }
    Ok(serde_json::json!({ "found": found, "more": more, "milliseconds": rounds }))
}
