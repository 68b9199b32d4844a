//! What a fake engine says.

use crate::report::{
    CertifyingState, DomainEntry, DomainState, EntryError, EntryKind, EntryOrder, KeyState, OrderState,
    SenderState, TlsaMatch, TlsaState, WeekReport,
};

/// A CA that says no, and records that match.
pub(super) fn certifying(orders: bool) -> CertifyingState {
    let record = |digit: &str| format!("3 1 1 {}", digit.repeat(64));
    let tlsa = TlsaState {
        host: "mx1.example.net".to_owned(),
        publish: vec![record("a"), record("b")],
        published: vec![record("a")],
        state: TlsaMatch::NextMissing,
        words: "They match.".to_owned(),
    };
    let order = OrderState {
        id: "mail".to_owned(),
        names: vec!["mx1.example.net".to_owned()],
        expires: None,
        renews: None,
        again: Some(1_795_290_000),
        problem: Some("the CA says: no".to_owned()),
        advice: "Ask it.".to_owned(),
        waits: false,
        under_way: false,
        attempts: 1,
        left_out: Vec::new(),
    };
    CertifyingState {
        directory: orders.then(|| "https://ca.example/directory".to_owned()),
        orders: orders.then_some(order).into_iter().collect(),
        tlsa: vec![tlsa],
        keys: vec![KeyState {
            current: "a".repeat(64),
            next: "b".repeat(64),
            next_ready: None,
            next_may_serve: false,
            serves: true,
            order: None,
        }],
        ..CertifyingState::default()
    }
}

pub(super) fn sender(name: &str, is_suspect: bool) -> SenderState {
    let seen = vec!["nobody here had written to 90 of 91 recipients".to_owned()];
    SenderState {
        sender: name.to_owned(),
        authenticated: true,
        held: is_suspect,
        since: is_suspect.then_some(1_795_288_000),
        seen: if is_suspect { seen } else { Vec::new() },
        last: 1_795_288_100,
        messages_in_a_day: 30,
        recipients_in_an_hour: 91,
        recipients_in_a_day: 91,
        strangers_in_a_day: 90,
        refused_in_a_day: 4,
        spam_probability: Some(0.97),
    }
}

/// Of two domains, as far as they are asked for.
pub(super) fn weeks(domains: &[String]) -> Vec<WeekReport> {
    let is_wanted = |domain: &&str| domains.is_empty() || domains.iter().any(|wanted| wanted == domain);
    let week = |domain: &str| {
        let mut week = WeekReport {
            domain: domain.to_owned(),
            begins: "2026-11-16".to_owned(),
            ends: "2026-11-22".to_owned(),
            ..WeekReport::default()
        };
        week.add("in accepted", 41);
        week
    };
    ["example.net", "example.org"].into_iter().filter(is_wanted).map(week).collect()
}

/// Three domains of two backends.
pub(super) fn domains() -> Vec<DomainState> {
    let state = |(backend, domain): (&str, &str)| DomainState {
        domain: domain.to_owned(),
        backend: backend.to_owned(),
        mailboxes: 12,
        blocked: 1,
        allowed: 1,
        traps: 1,
        aliases: 1,
    };
    [("postfix", "example.com"), ("exchange", "example.net"), ("exchange", "example.org")].map(state).to_vec()
}

/// One entry of each kind.
pub(super) fn entries(domain: &str) -> Option<Vec<DomainEntry>> {
    let entry = |kind: EntryKind| DomainEntry {
        kind,
        entry: format!("{}@{domain}", kind.name()),
        target: (kind == EntryKind::Alias).then(|| format!("ann@{domain}")),
        by: "<b>dom</b>".to_owned(),
        since: 1_795_288_000,
    };
    let is_known = domains().iter().any(|known| known.domain == domain);
    is_known.then(|| EntryKind::ALL.map(entry).to_vec())
}

/// Whatever is said of a domain that is there, but for nonsense, and what is not there to be removed.
pub(super) fn decide(order: &EntryOrder) -> Result<bool, EntryError> {
    let entries = entries(order.domain.as_str()).ok_or(EntryError::NoDomain)?;
    match order.entry.as_str() {
        "nonsense" => Err(EntryError::Wrong("an address is written as name@domain")),
        entry => Ok(order.adds || entries.iter().any(|known| known.entry == entry)),
    }
}
