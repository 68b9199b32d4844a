//! What senders have met at a domain's servers while its policy was tried out, by their reports (RFC 8460); and whether that is enough
//! to enforce it (DECISIONS 27): fourteen days of reports from two large reporters, and nothing in them that would have been lost.

use std::collections::{BTreeMap, BTreeSet};

use sift::report::TlsReport;

/// Days that one reporter has to have reported on. A sender reports on days on which it had mail, so that a domain with little mail
/// takes longer.
pub(crate) const DAYS: usize = 14;
/// Reporters who have to.
pub(crate) const REPORTERS: usize = 2;
/// The last word of a reporter may be so old, in days: one that has fallen silent vouches for nothing.
const FRESH_DAYS: u64 = 7;
/// Seconds of a day.
const DAY: u64 = 86_400;
/// The policy type of a session to which the policy was applied (RFC 8460 §4.4).
const STS: &str = "sts";

/// What one of the large reporters says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Says {
    /// Days since 1970 on which sessions went well under the policy.
    good: BTreeSet<u64>,
    /// The last day with a session that did not.
    bad: Option<u64>,
}

/// What all of them say of one domain.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Experience(BTreeMap<String, Says>);

impl Experience {
    /// Takes in a report on the domain by `sender`, who is one of the large reporters. `now` is in seconds since 1970.
    pub(crate) fn add(&mut self, sender: &str, report: &TlsReport, now: u64) {
        let end = report.reporter.end;
        // A day that is not over has no report; one beyond it is a clock that is wrong.
        if end > now + DAY {
            return;
        }
        // The last second of a day, or the first of the next one, are the same day.
        let day = end.saturating_sub(1) / DAY;
        let says = self.0.entry(sender.to_owned()).or_default();
        if report.policies.iter().any(|policy| policy.failed > 0) {
            says.bad = says.bad.max(Some(day));
        }
        if report.policies.iter().any(|policy| policy.kind == STS && policy.succeeded > 0) {
            says.good.insert(day);
        }
    }

    /// The last day on which somebody met something that would have been lost.
    fn last_bad(&self) -> Option<(u64, &str)> {
        self.0.iter().filter_map(|(sender, says)| Some((says.bad?, &**sender))).max()
    }

    /// Days that went well for each since the last bad one of any; with whether it is still heard of.
    fn good_days(&self, now: u64) -> impl Iterator<Item = (&str, usize, bool)> {
        let from = self.last_bad().map_or(0, |(day, _)| day + 1);
        let fresh = (now / DAY).saturating_sub(FRESH_DAYS);
        self.0.iter().map(move |(sender, says)| {
            let days = says.good.range(from..).count();
            (&**sender, days, says.good.last().is_some_and(|last| *last >= fresh))
        })
    }

    /// Whether the policy can be enforced.
    pub(crate) fn is_enough(&self, now: u64) -> bool {
        self.good_days(now).filter(|(_, days, is_fresh)| *days >= DAYS && *is_fresh).count() >= REPORTERS
    }

    /// What there is of it, and what is wanting.
    pub(crate) fn words(&self, now: u64) -> String {
        let so_far: Vec<_> = self
            .good_days(now)
            .map(|(sender, days, is_fresh)| {
                let silent = if is_fresh { "" } else { ", and nothing for a week" };
                format!("{sender} {days}{silent}")
            })
            .collect();
        let so_far = match so_far.is_empty() {
            true => "none of them has reported".to_owned(),
            false => format!("so far, in days: {}", so_far.join("; ")),
        };
        let bad = self.last_bad().map(|(day, sender)| {
            let date = record::rfc3339_date(std::time::Duration::from_secs(day * DAY));
            format!("; {sender} met a failure on {}", date.get(..10).unwrap_or(&date))
        });
        format!(
            "MTA-STS: the policy is tried out, and enforced once {REPORTERS} of [reports] trusted have reported {DAYS} days without a \
             failure each; {so_far}{}",
            bad.unwrap_or_default()
        )
    }

    /// Who met a failure within the last days, since `since` (seconds since 1970); while a policy is enforced that mail is late or lost.
    pub(crate) fn fails_now(&self, since: u64, now: u64) -> Option<String> {
        let recent = (now / DAY).saturating_sub(FRESH_DAYS).max(since / DAY);
        let (day, sender) = self.last_bad()?;
        (day >= recent).then(|| sender.to_owned())
    }
}

#[cfg(test)]
mod tests {
    use sift::report::{Reporter, TlsPolicy};

    use super::*;

    const TODAY: u64 = 20_785;
    const NOW: u64 = TODAY * DAY + 3600;

    fn report(day: u64, kind: &str, succeeded: u64, failed: u64) -> TlsReport {
        let reporter = Reporter { begin: day * DAY, end: day * DAY + DAY - 1, ..Reporter::default() };
        let policy = TlsPolicy { kind: kind.into(), succeeded, failed, ..TlsPolicy::default() };
        TlsReport { reporter, policies: vec![policy], left_out: 0 }
    }

    fn good(experience: &mut Experience, sender: &str, days: std::ops::Range<u64>) {
        days.for_each(|day| experience.add(sender, &report(day, STS, 3, 0), NOW));
    }

    #[test]
    fn fourteen_good_days_of_two_are_enough_and_less_is_not() {
        let mut experience = Experience::default();
        assert!(!experience.is_enough(NOW), "no reports are no good ones");
        assert!(experience.words(NOW).contains("none of them has reported"));
        good(&mut experience, "google.com", TODAY - 14..TODAY);
        assert!(!experience.is_enough(NOW), "one is not two");
        good(&mut experience, "microsoft.com", TODAY - 13..TODAY);
        assert!(!experience.is_enough(NOW), "13 days are not 14: {}", experience.words(NOW));
        // The same day again is no day more.
        good(&mut experience, "microsoft.com", TODAY - 1..TODAY);
        assert!(!experience.is_enough(NOW));
        good(&mut experience, "microsoft.com", TODAY - 20..TODAY - 19);
        assert!(experience.is_enough(NOW), "they need not follow each other: {}", experience.words(NOW));
        assert!(!experience.is_enough(NOW + 9 * DAY), "who has fallen silent vouches for nothing");
    }

    #[test]
    fn a_failure_that_anyone_met_begins_it_anew() {
        let mut experience = Experience::default();
        for sender in ["google.com", "microsoft.com"] {
            good(&mut experience, sender, TODAY - 20..TODAY);
        }
        assert!(experience.is_enough(NOW));
        experience.add("comcast.net", &report(TODAY - 10, STS, 9, 1), NOW);
        assert!(!experience.is_enough(NOW));
        assert!(
            experience.words(NOW).contains("comcast.net met a failure on 2026-1"),
            "{}",
            experience.words(NOW)
        );
        assert_eq!(experience.fails_now(0, NOW), None, "that is past");
        experience.add("comcast.net", &report(TODAY - 1, "no-policy-found", 0, 1), NOW);
        assert_eq!(experience.fails_now(0, NOW).as_deref(), Some("comcast.net"));
        assert_eq!(experience.fails_now(NOW, NOW), None, "it was not enforced then");
    }

    #[test]
    fn only_sessions_under_the_policy_are_experience_with_it() {
        let mut experience = Experience::default();
        for sender in ["google.com", "microsoft.com"] {
            for day in TODAY - 20..TODAY {
                experience.add(sender, &report(day, "no-policy-found", 5, 0), NOW);
                experience.add(sender, &report(day, "tlsa", 5, 0), NOW);
                experience.add(sender, &report(day, STS, 0, 0), NOW);
            }
        }
        assert!(!experience.is_enough(NOW));
    }
}
