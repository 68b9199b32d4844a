//! What the DNS does on the way to TLSA records (RFC 7672 §2).

use super::Expect::{Deferred, Delivered};
use super::{HASHED, MISMATCH, NOT_TOLD, PLAIN, Row, SECURE, WRONG, by_dane, one, opportunistic, row};

pub(super) fn rows() -> Vec<Row> {
    [proofs(), aliases_and_foreign_hosts(), wildcards_and_choices()].concat()
}

/// What is signed, and what only seems to be.
fn proofs() -> Vec<Row> {
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
    ]
}

/// Exchangers that are aliases, or live in other zones.
fn aliases_and_foreign_hosts() -> Vec<Row> {
    vec![
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
    ]
}

/// Wildcards, several exchangers, and what the config says instead.
fn wildcards_and_choices() -> Vec<Row> {
    vec![
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
