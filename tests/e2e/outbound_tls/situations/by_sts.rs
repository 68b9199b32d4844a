//! What MTA-STS policies say, and what servers show (RFC 8461).

use super::Expect::{Deferred, Delivered};
use super::{
    Expect, MISMATCH, OTHER_NAME, Row, SECURE, UNTRUSTED, UNUSABLE, WRONG, by_dane, one, opportunistic,
    policy, sts,
};

pub(super) fn rows() -> Vec<Row> {
    [in_force(), not_to_be_had(), beside_dane()].concat()
}

fn by_sts() -> Expect {
    Delivered("mta-sts", "MTA-STS enforce, policy 1")
}

/// With a policy of this text.
fn listed(label: &'static str, text: String, expect: Expect) -> Row {
    Row { policy: Some(text), ..sts("", label, "Public", "enforce", expect) }
}

/// Policies that were fetched.
fn in_force() -> Vec<Row> {
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
    ]
}

/// Policies that nobody can have.
fn not_to_be_had() -> Vec<Row> {
    vec![
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
    ]
}

/// DANE has the last word (RFC 8461 §2).
fn beside_dane() -> Vec<Row> {
    vec![
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
