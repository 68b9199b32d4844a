use evidence::{Chain, Dkim, Dmarc};

use super::*;

fn authenticity(dmarc: Verdict, signer: Option<&str>) -> Authenticity {
    let dkim = signer.map(|domain| Dkim {
        verdict: Verdict::Pass,
        domain: domain.into(),
        selector: "".into(),
        reason: None,
    });
    Authenticity {
        dkim: dkim.into_iter().collect(),
        dmarc: Dmarc::new(dmarc, "Reports.Big.example"),
        arc: Chain { verdict: Verdict::None, seals: Vec::new() },
    }
}

#[test]
fn who_sent_a_report_is_said_by_dmarc_or_by_a_signature_where_there_is_no_policy() {
    let proven = |dmarc, signer| proven(&authenticity(dmarc, signer));
    let name = Some("reports.big.example".to_owned());
    assert_eq!(proven(Verdict::Pass, None), name);
    assert_eq!(proven(Verdict::None, Some("big.example")), name);
    assert_eq!(proven(Verdict::None, Some("small.example")), None, "another's signature");
    assert_eq!(proven(Verdict::None, None), None);
    assert_eq!(proven(Verdict::Fail, Some("big.example")), None, "its own policy says no");
    assert_eq!(proven(Verdict::TempError, Some("big.example")), None);
}

#[test]
fn domains_are_those_here_and_below() {
    let domains = ["corp.test".to_owned()];
    assert!(is_of("corp.test", &domains) && is_of("news.corp.test", &domains));
    assert!(!is_of("notcorp.test", &domains) && !is_of("test", &domains) && !is_of("", &domains));
}
