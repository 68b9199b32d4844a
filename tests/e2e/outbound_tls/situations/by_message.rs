//! What messages say of TLS (RFC 8689).

use super::Expect::{Deferred, Delivered, Refused};
use super::{
    MISMATCH, Message, NOT_TOLD, PLAIN, Row, SECURE, WRONG, by_dane, dane, one, opportunistic, row, sts,
};

const NOT_COUNTED: &str = "so that this does not count";

fn requires(row: Row) -> Row {
    Row { message: Message::RequireTls, ..row }
}

fn regardless(row: Row) -> Row {
    Row { message: Message::TlsNotRequired, ..row }
}

pub(super) fn rows() -> Vec<Row> {
    [with_requiretls(), with_tls_not_required()].concat()
}

/// `REQUIRETLS` in MAIL.
fn with_requiretls() -> Vec<Row> {
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
    ]
}

/// `TLS-Required: No` in the header.
fn with_tls_not_required() -> Vec<Row> {
    vec![
        regardless(dane(
            "TLS-Required: No to another key",
            "now",
            "Own",
            &[WRONG],
            opportunistic(NOT_COUNTED),
        )),
        regardless(dane(
            "TLS-Required: No without STARTTLS",
            "noplain",
            "Stripped",
            &[WRONG],
            Delivered("plain", NOT_COUNTED),
        )),
        regardless(dane("TLS-Required: No to the right key", "noneed", "Own", &["{Own 3 1 1}"], by_dane())),
        regardless(sts(
            "TLS-Required: No against a policy",
            "nosts",
            "Below",
            "enforce",
            opportunistic(NOT_COUNTED),
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
            opportunistic(NOT_COUNTED),
        )),
    ]
}
