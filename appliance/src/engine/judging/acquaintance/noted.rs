//! What a message tells of who sends it and to whom: what is looked up, and what is noted of it afterwards.

use record::{Direction, Verdict};
use relay::Case;
use sift::Content;

use super::super::findings::Findings;
use super::{Acquaintances, Note, Sender};
use judge::pretence::registered;

/// Recipients of one message that are noted.
const MAX_RECIPIENTS: usize = 20;

/// The senders of a message from the world that are not made up.
pub(in crate::engine::judging) fn senders(case: &Case, findings: Option<&Findings>) -> Vec<Sender> {
    let mut senders = vec![Sender::Network(case.client.address.ip())];
    let proven = findings.into_iter().flat_map(Findings::authenticated_domains);
    for domain in proven.map(|domain| registered(domain).to_lowercase()).filter(|domain| !domain.is_empty()) {
        let sender = Sender::Domain(domain);
        if !senders.contains(&sender) {
            senders.push(sender);
        }
    }
    senders
}

/// Whether SPF or DMARC stands behind a domain that somebody registered.
pub(in crate::engine::judging) fn is_proven(domain: &str, findings: Option<&Findings>) -> bool {
    let mut proven = findings.into_iter().flat_map(Findings::authenticated_domains);
    !domain.is_empty() && proven.any(|known| registered(known).eq_ignore_ascii_case(domain))
}

/// Notes what a judged message tells. `own`: the domains of the backends.
pub(in crate::engine::judging) fn note(
    acquaintances: &Acquaintances,
    case: &Case,
    (content, findings): (&Content, Option<&Findings>),
    verdict: Verdict,
    own: &[String],
) {
    match (case.direction, verdict) {
        (Direction::Outbound, Verdict::Pass) => outgoing(acquaintances, case, content, own),
        (Direction::Inbound, Verdict::Pass | Verdict::Quarantine | Verdict::Reject) => {
            let was_spam = verdict != Verdict::Pass;
            let senders = senders(case, findings);
            acquaintances.note(Note::Judged { transaction: case.transaction, senders, was_spam });
        }
        _ => {}
    }
}

fn outgoing(acquaintances: &Acquaintances, case: &Case, content: &Content, own: &[String]) {
    let is_own = |domain: &str| own.iter().any(|own| own == domain);
    let recipients = case.recipients.iter().filter_map(|index| case.envelope.recipients.get(index));
    for recipient in recipients.take(MAX_RECIPIENTS) {
        let domain = recipient.forward_path.domain().map(|domain| registered(domain.as_str()).to_owned());
        if let Some(domain) = domain.filter(|domain| !is_own(domain)) {
            acquaintances.note(Note::WroteTo(domain));
        }
    }
    let Some(from) = content.from.first() else { return };
    let domain = from.mailbox.rsplit_once('@').map_or("", |(_, domain)| domain);
    if is_own(registered(domain)) {
        acquaintances.note(Note::IsCalled { name: from.name.clone(), address: from.mailbox.clone() });
    }
}
