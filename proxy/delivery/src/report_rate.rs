//! How many reports one sender, and one domain, gets: a forged or broken sender is not flooded by us.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use smtp::ReversePath;

/// The span that is counted.
const SPAN: Duration = Duration::from_secs(3600);
/// Reports to one address within [`SPAN`].
const PER_ADDRESS: u32 = 50;
/// Reports to one domain within [`SPAN`].
const PER_DOMAIN: u32 = 500;
/// Addresses and domains that are counted; with more of them in one span nobody else is told (law 7).
const MOST: usize = 20_000;

/// Who was told how often lately, whatever the reports were about.
#[derive(Debug, Default)]
pub struct ReportRate {
    counts: Mutex<HashMap<Box<str>, (Duration, u32)>>,
}

impl ReportRate {
    /// Counts one more report to this sender at `now`, since 1970; `false` where that would be too many.
    pub fn allows(&self, sender: &ReversePath, now: Duration) -> bool {
        let ReversePath::Mailbox(mailbox) = sender else { return false };
        let address = mailbox.as_str().to_ascii_lowercase();
        let domain = mailbox.domain().map_or_else(|| "[]".to_owned(), |domain| domain.as_str().to_owned());
        let mut counts = self.counts.lock().unwrap_or_else(PoisonError::into_inner);
        if counts.len() + 2 > MOST {
            counts.retain(|_, (began, _)| is_current(*began, now));
        }
        let bounds = [(address, PER_ADDRESS), (format!("@{domain}"), PER_DOMAIN)];
        let had = |(key, most): &(String, u32)| match counts.get(key.as_str()) {
            Some((began, count)) if is_current(*began, now) => count < most,
            _ => counts.len() + 2 <= MOST,
        };
        if !bounds.iter().all(had) {
            return false;
        }
        for (key, _) in bounds {
            let entry = counts.entry(key.into()).or_insert((now, 0));
            if !is_current(entry.0, now) {
                *entry = (now, 0);
            }
            entry.1 += 1;
        }
        true
    }
}

fn is_current(began: Duration, now: Duration) -> bool {
    now.saturating_sub(began) < SPAN
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sender(text: &str) -> ReversePath {
        let line = format!("MAIL FROM:<{text}>");
        let Ok(smtp::Command::Mail(mail)) = smtp::Command::parse(line.as_bytes()) else { panic!("{line}") };
        mail.reverse_path
    }

    #[test]
    fn nobody_is_flooded_and_an_hour_later_it_is_forgotten() {
        let (reports, now) = (ReportRate::default(), Duration::from_secs(1_800_000_000));
        let told = (0..60).filter(|_| reports.allows(&sender("a@x.example"), now)).count();
        assert_eq!(told, 50);
        assert!(reports.allows(&sender("b@x.example"), now) && !reports.allows(&sender("A@x.example"), now));
        let told =
            (0..600).filter(|number| reports.allows(&sender(&format!("{number}@x.example")), now)).count();
        assert_eq!(told, 500 - 51);
        assert!(reports.allows(&sender("a@x.example"), now + SPAN));
        assert!(!reports.allows(&ReversePath::Null, now));
    }

    #[test]
    fn a_crowd_of_senders_takes_no_more_memory() {
        let (reports, now) = (ReportRate::default(), Duration::from_secs(1_800_000_000));
        for number in 0..MOST / 2 + 200 {
            reports.allows(&sender(&format!("a@{number}.example")), now);
        }
        assert!(reports.counts.lock().unwrap().len() <= MOST);
        assert!(reports.allows(&sender("a@y.example"), now + SPAN));
    }
}
