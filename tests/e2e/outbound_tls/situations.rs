//! The table: what a domain publishes, what its servers do, and what must become of mail for it.

use std::collections::BTreeSet;

use postern_tests::nameserver::Signing;
use postern_tests::policy_host::Answer;

use super::world::{ALL, Exchanger, World, ZoneText};

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

use Expect::{Deferred, Delivered, Refused};

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

fn dane_rows() -> Vec<Row> {
    vec![
        dane("the key's SHA-256 is published", "ee311", "Own", &["{Own 3 1 1}"], by_dane()),
        dane("the certificate's SHA-256 is published", "ee301", "Own", &["{Own 3 0 1}"], by_dane()),
        dane("the key's SHA-512 is published", "ee312", "Own", &["{Own 3 1 2}"], by_dane()),
        dane("the certificate's SHA-512 is published", "ee302", "Own", &["{Own 3 0 2}"], by_dane()),
        dane("the whole key is published", "ee310", "Own", &["{Own 3 1 0}"], by_dane()),
        dane("the whole certificate is published", "ee300", "Own", &["{Own 3 0 0}"], by_dane()),
        dane("another key is published", "wrong", "Own", &[WRONG], Deferred(MISMATCH)),
        dane(
            "another key is published, and the certificate is one that everybody trusts",
            "wrongpub",
            "Public",
            &[WRONG],
            Deferred(MISMATCH),
        ),
        dane(
            "the old key is published beside the new one",
            "rolled",
            "Own",
            &[WRONG, "{Own 3 1 1}"],
            by_dane(),
        ),
        dane(
            "the next key is published too early, alone",
            "early",
            "Own",
            &["{Public 3 1 1}"],
            Deferred(MISMATCH),
        ),
        dane(
            "an authority's certificate is published and shown",
            "ta201",
            "Below",
            &["{Below 2 0 1}"],
            by_dane(),
        ),
        dane(
            "an authority's key is published, the authority shown",
            "ta211",
            "Below",
            &["{Below 2 1 1}"],
            by_dane(),
        ),
        dane("an authority's SHA-512 is published", "ta202", "Below", &["{Below 2 0 2}"], by_dane()),
        dane(
            "a whole authority is published and not shown",
            "ta200",
            "BelowHidden",
            &["{Below 2 0 0}"],
            by_dane(),
        ),
        dane(
            "an authority is published that is not shown",
            "tahidden",
            "BelowHidden",
            &["{Below 2 0 1}"],
            Deferred(MISMATCH),
        ),
        dane(
            "below a published authority, for another name",
            "taname",
            "BelowElsewhere",
            &["{Below 2 0 1}"],
            Deferred(OTHER_NAME),
        ),
        dane(
            "below a published authority, too old",
            "taold",
            "BelowExpired",
            &["{Below 2 0 1}"],
            Deferred("expired"),
        ),
        dane(
            "only usages that mean nothing for SMTP",
            "pkix",
            "Own",
            &["{Own 1 1 1}"],
            opportunistic(UNUSABLE),
        ),
        dane(
            "only a matching type that nobody knows",
            "odd",
            "Own",
            &["3 1 9 abababab"],
            opportunistic(UNUSABLE),
        ),
        dane(
            "nothing usable, and STARTTLS is gone",
            "pkixplain",
            "Stripped",
            &["{Own 1 1 1}"],
            Deferred("TLS is weaker"),
        ),
        dane(
            "something usable beside the unusable",
            "mixed",
            "Own",
            &["{Own 1 1 1}", "{Own 3 1 1}"],
            by_dane(),
        ),
        dane(
            "nothing usable but a record that does not fit",
            "mixedwrong",
            "Own",
            &["{Own 1 1 1}", WRONG],
            Deferred(MISMATCH),
        ),
        dane(
            "STARTTLS is stripped",
            "stripped",
            "Stripped",
            &["{Stripped 3 1 1}"],
            Deferred("TLS is weaker"),
        ),
        dane(
            "the handshake ends with an alert",
            "alert",
            "Alert",
            &["{Alert 3 1 1}"],
            Deferred("handshake_failure"),
        ),
        dane("STARTTLS is refused", "notnow", "NotNow", &["{NotNow 3 1 1}"], Deferred("TLS is weaker")),
        dane(
            "of two digests of one kind the stronger is wrong",
            "agility",
            "Own",
            &["{Own 3 1 1}", "{Public 3 1 2}"],
            Deferred(MISMATCH),
        ),
        dane("there are no records", "none", "Own", &[], opportunistic("no TLSA records")),
    ]
}

/// What the DNS does.
fn dns_rows() -> Vec<Row> {
    vec![
        row(
            "the question for TLSA records has a forged answer",
            "forgedtlsa",
            SECURE,
            format!(
                "{}_tcp.mx.@ NS ns.invalid.\n_tcp.mx.@ DS 12345 13 2 {}\n",
                one("Own", &[]),
                "ab".repeat(32)
            ),
            Deferred(NOT_TOLD),
        ),
        row(
            "the zone is signed by somebody else",
            "any",
            "forged.test",
            one("Own", &[]),
            Deferred("looked up"),
        ),
        row("the signatures are stripped", "any", "unsigned.test", one("Own", &[]), Deferred("looked up")),
        row(
            "the signatures have expired",
            "any",
            "old.test",
            one("Own", &["{Own 3 1 1}"]),
            Deferred("looked up"),
        ),
        row(
            "the zone is not signed",
            "wrong",
            PLAIN,
            one("Own", &[WRONG]),
            opportunistic("MX records are not signed"),
        ),
        row("the zone is signed with NSEC3", "ee", HASHED, one("Own", &["{Own 3 1 1}"]), by_dane()),
        row("NSEC3 denies the records", "none", HASHED, one("Own", &[]), opportunistic("no TLSA records")),
        row("NSEC3, and another key", "wrong", HASHED, one("Own", &[WRONG]), Deferred(MISMATCH)),
        row(
            "the exchanger is an alias, records where it leads",
            "alias",
            SECURE,
            "@ MX 10 mx.@\nmx.@ CNAME real.@\nreal.@ A {Own}\n_25._tcp.real.@ TLSA {Own 3 1 1}\n".into(),
            Delivered("dane", "_25._tcp.real.alias.secure.test"),
        ),
        row(
            "the exchanger is an alias, records at the alias",
            "aliased",
            SECURE,
            "@ MX 10 mx.@\nmx.@ CNAME real.@\nreal.@ A {Own}\n_25._tcp.mx.@ TLSA {Own 3 1 1}\n".into(),
            Delivered("dane", "_25._tcp.mx.aliased.secure.test"),
        ),
        row(
            "the exchanger is an alias, the record where it leads is wrong and the alias's right",
            "aliaswrong",
            SECURE,
            format!(
                "@ MX 10 mx.@\nmx.@ CNAME real.@\nreal.@ A {{Own}}\n_25._tcp.real.@ TLSA {WRONG}\n_25._tcp.mx.@ TLSA {{Own 3 \
                 1 1}}\n"
            ),
            Deferred(MISMATCH),
        ),
        row(
            "the exchanger is an alias into a zone that is not signed, records at the alias",
            "outside",
            SECURE,
            "@ MX 10 mx.@\nmx.@ CNAME host.plain.test.\n_25._tcp.mx.@ TLSA {Own 3 1 1}\n".into(),
            Delivered("dane", "_25._tcp.mx.outside.secure.test"),
        ),
        row(
            "the same, and another key",
            "outsidewrong",
            SECURE,
            format!("@ MX 10 mx.@\nmx.@ CNAME host.plain.test.\n_25._tcp.mx.@ TLSA {WRONG}\n"),
            Deferred(MISMATCH),
        ),
        row(
            "the exchanger lives in a zone that is not signed",
            "foreignhost",
            SECURE,
            "@ MX 10 host.plain.test.\n".into(),
            opportunistic("address is not signed"),
        ),
        row(
            "a domain that is not signed has an exchanger with records",
            "signedhost",
            PLAIN,
            "@ MX 10 mx.wrong.secure.test.\n".into(),
            opportunistic("MX records are not signed"),
        ),
        row(
            "the domain has its exchanger from a wildcard",
            "any.wild",
            HASHED,
            "*.wild MX 10 mx.wild\nmx.wild A {Own}\n_25._tcp.mx.wild TLSA {Own 3 1 1}\n".into(),
            by_dane(),
        ),
        row(
            "the records come from a wildcard",
            "wildtlsa",
            HASHED,
            "@ MX 10 mx.@\nmx.@ A {Own}\n*._tcp.mx.@ TLSA {Own 3 1 1}\n".into(),
            by_dane(),
        ),
        row(
            "the records are an alias",
            "tlsaalias",
            SECURE,
            "@ MX 10 mx.@\nmx.@ A {Own}\n_25._tcp.mx.@ CNAME dane.@\ndane.@ TLSA {Own 3 1 1}\n".into(),
            by_dane(),
        ),
        row(
            "the domain takes mail itself",
            "implicit",
            SECURE,
            "@ A {Own}\n_25._tcp.@ TLSA {Own 3 1 1}\n".into(),
            Delivered("dane", "_25._tcp.implicit.secure.test"),
        ),
        row(
            "the better exchanger is not who it should be, the other one is",
            "second",
            SECURE,
            format!(
                "@ MX 10 a.@\n@ MX 20 b.@\na.@ A {{Own}}\nb.@ A {{Public}}\n_25._tcp.a.@ TLSA {WRONG}\n_25._tcp.b.@ TLSA \
                 {{Public 3 1 1}}\n"
            ),
            Delivered("dane", "_25._tcp.b.second.secure.test"),
        ),
        row(
            "the better exchanger's records cannot be told, the other one has none",
            "doubtful",
            SECURE,
            format!(
                "@ MX 10 a.@\n@ MX 20 b.@\na.@ A {{Own}}\nb.@ A {{Public}}\n_tcp.a.@ NS ns.invalid.\n_tcp.a.@ DS 12345 13 2 \
                 {}\n",
                "ab".repeat(32)
            ),
            Delivered("unverified", "no TLSA records"),
        ),
        row(
            "an exception says encrypt",
            "excepted",
            SECURE,
            one("Own", &[WRONG]),
            opportunistic("configured for this domain"),
        ),
        row(
            "DANE is configured, and there is none",
            "demanded",
            PLAIN,
            one("Public", &[]),
            Deferred("DANE is configured"),
        ),
        row("DANE is configured, and there is", "demanded", SECURE, one("Own", &["{Own 3 1 1}"]), by_dane()),
    ]
}

fn sts_rows() -> Vec<Row> {
    let by_sts = || Delivered("mta-sts", "MTA-STS enforce, policy 1");
    let listed = |label: &'static str, text: String, expect| Row {
        policy: Some(text),
        ..sts("", label, "Public", "enforce", expect)
    };
    vec![
        sts("the policy is satisfied", "enforced", "Public", "enforce", by_sts()),
        sts(
            "the certificate is for another name",
            "stsname",
            "PublicElsewhere",
            "enforce",
            Deferred(OTHER_NAME),
        ),
        sts("the certificate has expired", "stsold", "PublicExpired", "enforce", Deferred("expired")),
        sts("nobody knows who signed the certificate", "stsown", "Below", "enforce", Deferred(UNTRUSTED)),
        sts(
            "STARTTLS is stripped, against a policy",
            "stsplain",
            "Stripped",
            "enforce",
            Deferred("TLS is weaker"),
        ),
        sts("an alert, against a policy", "stsalert", "Alert", "enforce", Deferred("handshake_failure")),
        Row {
            what: "a wildcard names the exchanger",
            ..listed("stswild", policy("enforce", "*.stswild.plain.test", 86_400), by_sts())
        },
        Row {
            what: "a wildcard stands for one label",
            ..listed(
                "stswilder",
                policy("enforce", "*.plain.test", 86_400),
                Deferred("not in the domain's MTA-STS policy"),
            )
        },
        Row {
            what: "the MX record is forged",
            ..listed(
                "stsforged",
                policy("enforce", "mx.other.test", 86_400),
                Deferred("not in the domain's MTA-STS policy"),
            )
        },
        sts(
            "testing, and nobody knows the certificate",
            "testing",
            "Below",
            "testing",
            opportunistic("MTA-STS testing"),
        ),
        sts(
            "testing, and no STARTTLS",
            "testplain",
            "Stripped",
            "testing",
            Delivered("plain", "MTA-STS testing"),
        ),
        Row {
            what: "testing, and the MX record is forged",
            ..listed(
                "testforged",
                policy("testing", "mx.other.test", 86_400),
                Delivered("verified", "MTA-STS testing"),
            )
        },
        sts("a policy of mode none", "modenone", "Below", "none", opportunistic("MTA-STS none")),
        Row {
            policy: None,
            ..sts(
                "the policy host is not there",
                "nohost",
                "Below",
                "enforce",
                opportunistic("no MTA-STS policy"),
            )
        },
        Row {
            policy: None,
            ..sts(
                "the policy host's certificate is nobody's",
                "strange-host",
                "Below",
                "enforce",
                opportunistic("not proved"),
            )
        },
        Row {
            what: "what is served is no policy",
            ..listed("nopolicy", "<html>\n".into(), Delivered("verified", "cannot be used"))
        },
        Row {
            policy: None,
            ..sts("the policy host leads elsewhere", "moved", "Below", "enforce", opportunistic("status 301"))
        },
        Row {
            policy: None,
            ..sts("the policy is a web page", "html", "Below", "enforce", opportunistic("not text/plain"))
        },
        Row {
            policy: None,
            ..sts("the policy is too long", "long", "Below", "enforce", opportunistic("more than 64 KiB"))
        },
        Row {
            records: format!(
                "{}_mta-sts.@ TXT \"v=STSv1; id=1;\"\n_mta-sts.@ TXT \"v=STSv1; id=2;\"\n",
                one("Below", &[])
            ),
            ..sts(
                "two records say that there is a policy",
                "twice",
                "Below",
                "enforce",
                opportunistic("configured: opportunistic"),
            )
        },
        Row {
            zone: SECURE,
            policy: Some(policy("enforce", "mx.both.secure.test", 86_400)),
            records: format!("{}_mta-sts.@ TXT \"v=STSv1; id=1;\"\n", one("Public", &[WRONG])),
            ..sts("DANE says no where MTA-STS would say yes", "both", "Public", "enforce", Deferred(MISMATCH))
        },
        Row {
            zone: SECURE,
            policy: Some(policy("enforce", "mx.other.test", 86_400)),
            records: format!("{}_mta-sts.@ TXT \"v=STSv1; id=1;\"\n", one("Own", &["{Own 3 1 1}"])),
            ..sts("DANE says yes where MTA-STS would say no", "either", "Own", "enforce", by_dane())
        },
        Row {
            zone: SECURE,
            policy: Some(policy("enforce", "mx.unusable.secure.test", 86_400)),
            records: format!("{}_mta-sts.@ TXT \"v=STSv1; id=1;\"\n", one("Own", &["{Own 1 1 1}"])),
            ..sts(
                "no TLSA record can be used where MTA-STS would say no",
                "unusable",
                "Own",
                "enforce",
                opportunistic(UNUSABLE),
            )
        },
    ]
}

/// RFC 8689.
fn message_rows() -> Vec<Row> {
    let requires = |row: Row| Row { message: Message::RequireTls, ..row };
    let regardless = |row: Row| Row { message: Message::TlsNotRequired, ..row };
    let not_counted = "so that this does not count";
    vec![
        requires(dane(
            "REQUIRETLS to a server that DANE proves",
            "req",
            "OwnPromising",
            &["{OwnPromising 3 1 1}"],
            by_dane(),
        )),
        requires(dane(
            "REQUIRETLS to a proved server that does not offer it",
            "reqless",
            "Own",
            &["{Own 3 1 1}"],
            Refused("5.7.30", "does not take REQUIRETLS"),
        )),
        requires(dane(
            "REQUIRETLS to another key",
            "reqwrong",
            "OwnPromising",
            &[WRONG],
            Refused("5.7.10", MISMATCH),
        )),
        requires(dane(
            "REQUIRETLS without STARTTLS",
            "reqplain",
            "Stripped",
            &[],
            Refused("5.7.10", "nothing proves"),
        )),
        requires(dane(
            "REQUIRETLS to the name of a signed MX record",
            "reqsigned",
            "PublicPromising",
            &[],
            Delivered("verified", "no TLSA records"),
        )),
        requires(sts(
            "REQUIRETLS to a server that MTA-STS proves",
            "reqsts",
            "PublicPromising",
            "enforce",
            Delivered("mta-sts", "MTA-STS enforce"),
        )),
        requires(sts(
            "REQUIRETLS to a name that a policy in testing vouches for",
            "reqtest",
            "PublicPromising",
            "testing",
            Delivered("verified", "MTA-STS testing"),
        )),
        requires(row(
            "REQUIRETLS to the name of an MX record that anybody may have made",
            "reqany",
            PLAIN,
            one("PublicPromising", &[]),
            Refused("5.7.10", "nothing proves"),
        )),
        requires(row(
            "REQUIRETLS, and whether there are records cannot be told",
            "reqdoubt",
            SECURE,
            format!(
                "{}_tcp.mx.@ NS ns.invalid.\n_tcp.mx.@ DS 12345 13 2 {}\n",
                one("OwnPromising", &[]),
                "ab".repeat(32)
            ),
            Deferred(NOT_TOLD),
        )),
        regardless(dane(
            "TLS-Required: No to another key",
            "now",
            "Own",
            &[WRONG],
            opportunistic(not_counted),
        )),
        regardless(dane(
            "TLS-Required: No without STARTTLS",
            "noplain",
            "Stripped",
            &[WRONG],
            Delivered("plain", not_counted),
        )),
        regardless(dane("TLS-Required: No to the right key", "noneed", "Own", &["{Own 3 1 1}"], by_dane())),
        regardless(sts(
            "TLS-Required: No against a policy",
            "nosts",
            "Below",
            "enforce",
            opportunistic(not_counted),
        )),
        regardless(row(
            "TLS-Required: No, and whether there are records cannot be told",
            "nodoubt",
            SECURE,
            format!(
                "{}_tcp.mx.@ NS ns.invalid.\n_tcp.mx.@ DS 12345 13 2 {}\n",
                one("Own", &[]),
                "ab".repeat(32)
            ),
            opportunistic(not_counted),
        )),
    ]
}

fn rows() -> Vec<Row> {
    [dane_rows(), dns_rows(), sts_rows(), message_rows()].into_iter().flatten().collect()
}

/// All of them.
pub(super) fn all() -> Vec<Situation> {
    let excepted = |row: &Row| EXCEPTIONS.contains(&format!("{}.{}", row.label, row.zone));
    let situation = |row: Row| Situation {
        domain: format!("{}.{}", row.label, row.zone),
        what: row.what,
        message: row.message,
        is_of_dane: row.message == Message::Plain && row.policy.is_none() && !excepted(&row),
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
