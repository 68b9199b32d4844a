//! The table: what a domain publishes, what its servers do, and what must become of mail for it.

use std::collections::BTreeSet;

use postern_tests::nameserver::Signing;
use postern_tests::policy_host::Answer;

use super::world::{ALL, Exchanger, World, ZoneText};

mod by_dane;
mod by_dns;
mod by_message;
mod by_sts;

/// What a message says of TLS.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Message {
    Plain,
    /// `REQUIRETLS` in MAIL.
    RequireTls,
    /// `TLS-Required: No` in its header.
    TlsNotRequired,
}

/// What must become of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Expect {
    /// It is delivered; how far the server was proved (or `plain`, `failed`), and what the trace says of the policy.
    Delivered(&'static str, &'static str),
    /// The client keeps it; what it is told.
    Deferred(&'static str),
    /// The client is told to give up: the code, and in words.
    Refused(&'static str, &'static str),
}

use Expect::Delivered;

/// A row of the table.
#[derive(Clone, Debug)]
pub(super) struct Situation {
    pub(super) what: &'static str,
    pub(super) domain: String,
    pub(super) message: Message,
    pub(super) expect: Expect,
    /// DANE decides: Postfix's own client for it must come to the same.
    pub(super) is_of_dane: bool,
}

/// A row as it is written down. In records `@` stands for the label, `{Own}` for the address of an exchanger, `{Own 3 1 1}` for
/// TLSA data of its certificate.
#[derive(Clone)]
struct Row {
    what: &'static str,
    label: &'static str,
    zone: &'static str,
    records: String,
    policy: Option<String>,
    message: Message,
    expect: Expect,
}

pub(super) const EXCEPTIONS: &str = "[[outbound.exceptions]]\ndomain = \"excepted.secure.test\"\ntls = \"encrypt\"\n\
     [[outbound.exceptions]]\ndomain = \"demanded.plain.test\"\ntls = \"dane\"\n\
     [[outbound.exceptions]]\ndomain = \"demanded.secure.test\"\ntls = \"dane\"\n";

const SECURE: &str = "secure.test";
const HASHED: &str = "hashed.test";
const PLAIN: &str = "plain.test";

const ZONES: [(&str, Signing); 6] = [
    (SECURE, Signing::Nsec),
    (HASHED, Signing::Nsec3(0)),
    (PLAIN, Signing::Unsigned),
    ("forged.test", Signing::WrongKey),
    ("unsigned.test", Signing::Stripped),
    ("old.test", Signing::Expired),
];

/// Where TLSA records are forged.
const FORGED: [&str; 4] = [
    "_tcp.mx.forgedtlsa.secure.test",
    "_tcp.a.doubtful.secure.test",
    "_tcp.mx.reqdoubt.secure.test",
    "_tcp.mx.nodoubt.secure.test",
];

/// One exchanger with these TLSA records.
fn one(exchanger: &str, records: &[&str]) -> String {
    let mut text = format!("@ MX 10 mx.@\nmx.@ A {{{exchanger}}}\n");
    for record in records {
        text.push_str(&format!("_25._tcp.mx.@ TLSA {record}\n"));
    }
    text
}

fn row(what: &'static str, label: &'static str, zone: &'static str, records: String, expect: Expect) -> Row {
    Row { what, label, zone, records, policy: None, message: Message::Plain, expect }
}

fn dane(what: &'static str, label: &'static str, exchanger: &str, records: &[&str], expect: Expect) -> Row {
    row(what, label, SECURE, one(exchanger, records), expect)
}

/// A domain with an MTA-STS policy that holds for a day.
fn sts(what: &'static str, label: &'static str, exchanger: &str, mode: &str, expect: Expect) -> Row {
    let policy = policy(mode, &format!("mx.{label}.{PLAIN}"), 86_400);
    Row {
        policy: Some(policy),
        ..row(
            what,
            label,
            PLAIN,
            format!("{}_mta-sts.@ TXT \"v=STSv1; id=1;\"\n", one(exchanger, &[])),
            expect,
        )
    }
}

/// A policy that allows one host.
pub(super) fn policy(mode: &str, mx: &str, max_age: u64) -> String {
    format!("version: STSv1\nmode: {mode}\nmx: {mx}\nmax_age: {max_age}\n")
}

pub(super) const WRONG: &str = "3 1 1 abababababababababababababababababababababababababababababababab";
const MATCHED: &str = "is of the server's certificates";
const MISMATCH: &str = "none of its domain's TLSA records";
const NOT_TOLD: &str = "has TLSA records cannot be told";
const UNUSABLE: &str = "no TLSA record can be used";
const UNTRUSTED: &str = "certificate was not accepted";
const OTHER_NAME: &str = "not valid for";

fn by_dane() -> Expect {
    Delivered("dane", MATCHED)
}

fn opportunistic(why: &'static str) -> Expect {
    Delivered("unverified", why)
}

fn rows() -> Vec<Row> {
    [by_dane::rows(), by_dns::rows(), by_sts::rows(), by_message::rows()].into_iter().flatten().collect()
}

/// All of them.
pub(super) fn all() -> Vec<Situation> {
    let excepted = |row: &Row| EXCEPTIONS.contains(&format!("{}.{}", row.label, row.zone));
    let situation = |row: Row| Situation {
        domain: format!("{}.{}", row.label, row.zone),
        what: row.what,
        message: row.message,
        is_of_dane: row.message == Message::Plain && !row.records.contains("_mta-sts") && !excepted(&row),
        expect: row.expect,
    };
    rows().into_iter().map(situation).collect()
}

/// The names that good certificates are for.
pub(super) fn hosts() -> Vec<String> {
    let mut hosts: BTreeSet<String> =
        ["mx.lasting.plain.test", "mx.brief.plain.test"].map(str::to_owned).into();
    for row in rows().iter().filter(|row| {
        row.policy.is_some() || row.records.contains("{Below") || row.message == Message::RequireTls
    }) {
        hosts.insert(format!("mx.{}.{}", row.label, row.zone));
    }
    hosts.into_iter().collect()
}

/// What policy hosts serve.
pub(super) fn policies() -> Vec<(String, Answer)> {
    let mut policies: Vec<(String, Answer)> = rows()
        .iter()
        .filter_map(|row| {
            Some((format!("{}.{}", row.label, row.zone), Answer::policy(row.policy.as_deref()?)))
        })
        .collect();
    let good = |label: &str| Answer::policy(&policy("enforce", &format!("mx.{label}.plain.test"), 86_400));
    policies.push((
        "moved.plain.test".into(),
        Answer {
            status: "301 Moved Permanently",
            header: "Location: https://mta-sts.enforced.plain.test/.well-known/mta-sts.txt\r\n".into(),
            ..good("moved")
        },
    ));
    policies.push((
        "html.plain.test".into(),
        Answer { header: "Content-Type: text/html\r\n".into(), ..good("html") },
    ));
    let long = Answer { body: format!("{}{}", good("long").body, "x: y\r\n".repeat(12_000)), ..good("long") };
    policies.push(("long.plain.test".into(), long));
    policies
}

/// The zones with all of that in them.
pub(super) fn zones(world: &World) -> Vec<ZoneText> {
    let mut zones: Vec<ZoneText> =
        ZONES.iter().map(|(name, signing)| (*name, *signing, String::new())).collect();
    for row in rows() {
        let zone = zones.iter_mut().find(|(name, ..)| *name == row.zone).expect("a zone of the list");
        let mut text = row.records.replace('@', row.label);
        if row.records.contains("_mta-sts") && row.label != "nohost" {
            text.push_str(&format!("mta-sts.{} A 192.0.2.9\n", row.label));
        }
        zone.2.push_str(&filled_in(&text, world));
    }
    let plain = zones.iter_mut().find(|(name, ..)| *name == PLAIN).expect("a zone of the list");
    plain.2.push_str(&filled_in(&format!("host A {{Own}}\n_25._tcp.host TLSA {WRONG}\n"), world));
    // Below a signed zone that vouches for a key they do not have.
    zones.extend(FORGED.map(|name| (name, Signing::Unsigned, format!("_25 TLSA {WRONG}\n"))));
    zones
}

/// Addresses and TLSA data in place of what stands for them.
fn filled_in(text: &str, world: &World) -> String {
    let mut whole = String::new();
    let mut rest = text;
    while let Some((before, behind)) = rest.split_once('{') {
        let (meant, after) = behind.split_once('}').expect("a closing brace");
        let mut words = meant.split(' ');
        let name = words.next().unwrap_or_default();
        let exchanger: Exchanger = *ALL
            .iter()
            .find(|known| format!("{known:?}") == name)
            .unwrap_or_else(|| panic!("no exchanger {name}"));
        let numbers: Vec<u8> = words.map(|word| word.parse().expect("a number")).collect();
        whole.push_str(before);
        match numbers[..] {
            [] => whole.push_str(&exchanger.address().to_string()),
            [usage, selector, matching] => whole.push_str(&world.tlsa(exchanger, usage, selector, matching)),
            _ => panic!("{meant}"),
        }
        rest = after;
    }
    whole.push_str(rest);
    whole
}
