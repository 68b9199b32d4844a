//! What TLSA records say, and what servers show (RFC 7672).

use super::Expect::Deferred;
use super::{MISMATCH, OTHER_NAME, Row, UNUSABLE, WRONG, by_dane, dane, opportunistic};

pub(super) fn rows() -> Vec<Row> {
    [of_servers(), of_authorities(), unusable_or_without_tls()].concat()
}

/// Usage 3: the server's own certificate or key.
fn of_servers() -> Vec<Row> {
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
            "the published key is in a certificate that has expired: usage 3 asks for no date",
            "eeold",
            "PublicExpired",
            &["{PublicExpired 3 1 1}"],
            by_dane(),
        ),
        dane(
            "the published key is in a certificate for another name: usage 3 asks for none",
            "eename",
            "PublicElsewhere",
            &["{PublicElsewhere 3 1 1}"],
            by_dane(),
        ),
    ]
}

/// Usage 2: an authority above it.
fn of_authorities() -> Vec<Row> {
    vec![
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
    ]
}

/// Records that mean nothing, and servers that have no TLS to show.
fn unusable_or_without_tls() -> Vec<Row> {
    vec![
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
