//! One certificate: what it should be for, what there is, when something is due.

use std::collections::BTreeMap;
use std::time::Duration;

use tls::{Identity, Pin};

use crate::AcmeError;
use crate::folder::Folder;
use crate::issued::proves;
use crate::schedule::{self, Window};
use crate::state::{CertificateFacts, Kind, LeftOut, Line};

/// What files of certificates are called.
const SUFFIX: &str = ".pem";
/// Policy hosts are called so (RFC 8461 §3.3).
const POLICY_HOST: &str = "mta-sts.";
/// What certificates for mail are called; further ones have a number behind.
const MAIL: &str = "mail";
const MAIL_RSA: &str = "mail-rsa";

/// A certificate and all that is known of it.
#[derive(Default)]
pub(super) struct Standing {
    /// What it should be for.
    pub(super) names: Vec<String>,
    pub(super) identity: Option<Identity>,
    pub(super) forced: bool,
    pub(super) under_way: bool,
    pub(super) attempts: u64,
    failures: u32,
    again: Option<Duration>,
    problem: Option<String>,
    advice: String,
    pub(super) left_out: Vec<LeftOut>,
    /// The CA's, and when it is to be asked for it again.
    pub(super) window: Option<Window>,
    pub(super) window_again: Option<Duration>,
    /// When a window led to an order last.
    by_window: Option<Duration>,
}

impl Standing {
    /// Nothing is there yet.
    pub(super) fn of(names: Vec<String>) -> Self {
        Self { names, ..Self::default() }
    }

    pub(super) fn is_for(&self, name: &str) -> bool {
        self.identity.as_ref().is_some_and(|identity| proves(identity, name))
    }

    /// Those of these names that are certified already stay wanted.
    pub(super) fn keep(&mut self, names: &[String]) {
        let stay = names.iter().filter(|name| self.is_for(name) && !self.names.contains(name));
        let stay: Vec<_> = stay.cloned().collect();
        self.names.extend(stay);
    }

    /// All that are certified stay wanted.
    pub(super) fn keep_all(&mut self) {
        let certified = self.identity.as_ref().map(|identity| identity.names().to_vec());
        let certified: Vec<_> = certified.unwrap_or_default().iter().map(ToString::to_string).collect();
        self.keep(&certified);
    }

    /// The key of what there is.
    pub(super) fn pin(&self) -> Option<Pin> {
        self.identity.as_ref().map(Identity::pin)
    }

    /// When the certificate is renewed.
    pub(super) fn renews(&self) -> Option<Duration> {
        let identity = self.identity.as_ref()?;
        let chance = identity.pin().digest()[0];
        let window = self.window.map(|window| schedule::heeded(window, self.by_window));
        Some(schedule::renewal(identity.not_before(), identity.not_after(), window, chance))
    }

    /// Whether there is a certificate that need not be renewed yet.
    pub(super) fn is_fresh(&self, now: Duration) -> bool {
        !self.forced && self.renews().is_some_and(|due| now < due)
    }

    /// Whether it is time for another one.
    fn is_over(&self, now: Duration) -> bool {
        self.renews().is_some_and(|due| due <= now)
    }

    /// Whether the CA is to be asked now. `key` is the one that must serve, where that is not free.
    pub(super) fn is_due(&self, now: Duration, key: Option<Pin>) -> bool {
        if self.names.is_empty() {
            return false;
        }
        if self.forced {
            return true;
        }
        if self.again.is_some_and(|again| now < again) {
            return false;
        }
        let Some(identity) = &self.identity else { return true };
        let other_key = key.is_some_and(|key| key != identity.pin());
        !self.is_fresh(now) || other_key || !self.names.iter().all(|name| proves(identity, name))
    }

    /// When it has to be looked at next.
    pub(super) fn next(&self) -> Option<Duration> {
        if self.names.is_empty() {
            return None;
        }
        let order = self.again.or_else(|| self.renews());
        let window = self.window_again.filter(|_| self.identity.is_some());
        order.into_iter().chain(window).min()
    }

    /// A certificate came, for all names but these.
    pub(super) fn succeeded(&mut self, identity: Identity, left_out: Vec<LeftOut>, now: Duration) {
        if self.window.is_some() && self.is_over(now) {
            self.by_window = Some(now);
        }
        self.identity = Some(identity);
        (self.window, self.window_again) = (None, None);
        (self.problem, self.advice) = (None, String::new());
        self.ended();
        if left_out.is_empty() {
            (self.failures, self.again) = (0, None);
        } else {
            self.failures = self.failures.saturating_add(1);
            self.again = Some(schedule::retry(now, self.failures, None, false));
        }
        self.left_out = left_out;
    }

    /// None came.
    pub(super) fn failed(&mut self, error: Option<&AcmeError>, left_out: Vec<LeftOut>, now: Duration) {
        self.ended();
        self.failures = self.failures.saturating_add(1);
        let retry_after = error.and_then(AcmeError::retry_after);
        let limited = error.is_some_and(AcmeError::is_rate_limit);
        self.again = Some(schedule::retry(now, self.failures, retry_after, limited));
        self.problem = error.map(ToString::to_string);
        self.advice = error.map(AcmeError::advice).unwrap_or_default().to_owned();
        self.left_out = left_out;
    }

    /// The names lacked only what could not be had again: what there is is good.
    pub(super) fn nothing_new(&mut self, left_out: Vec<LeftOut>, now: Duration) {
        self.ended();
        self.failures = self.failures.saturating_add(1);
        self.again = Some(schedule::retry(now, self.failures, None, false));
        (self.problem, self.advice) = (None, String::new());
        self.left_out = left_out;
    }

    fn ended(&mut self) {
        (self.forced, self.under_way) = (false, false);
        self.attempts += 1;
    }

    /// `waits`: it is not ordered before its records have been seen.
    pub(super) fn state(&self, id: &str, waits: bool) -> Line {
        let facts = |identity: &Identity| CertificateFacts {
            names: identity.names().iter().map(ToString::to_string).collect(),
            not_after: identity.not_after(),
            pin: identity.pin(),
        };
        Line {
            id: id.to_owned(),
            names: self.names.clone(),
            certificate: self.identity.as_ref().map(facts),
            renews: self.renews(),
            again: self.again,
            problem: self.problem.clone(),
            advice: self.advice.clone(),
            waits,
            under_way: self.under_way,
            attempts: self.attempts,
            left_out: self.left_out.clone(),
        }
    }
}

/// What the folder has. A file that cannot be used is told of, and its certificate ordered anew.
pub(super) fn load_all(
    folder: &Folder,
    now: Duration,
) -> Result<BTreeMap<(Kind, String), Standing>, AcmeError> {
    let place = folder.path("");
    let mut lines = BTreeMap::new();
    for entry in std::fs::read_dir(&place).map_err(AcmeError::file(&place))? {
        let entry = entry.map_err(AcmeError::file(&place))?;
        let Ok(name) = entry.file_name().into_string() else { continue };
        let Some(id) = name.strip_suffix(SUFFIX) else { continue };
        let Some(octets) = folder.read(&name)? else { continue };
        match Identity::from_pem(&octets, &octets, now) {
            Ok(identity) => {
                let kind = match id {
                    _ if id.starts_with(POLICY_HOST) => Kind::Policy,
                    _ if id.starts_with(MAIL_RSA) => Kind::MailRsa,
                    _ => Kind::Mail,
                };
                let line = Standing { identity: Some(identity), ..Standing::default() };
                lines.insert((kind, id.to_owned()), line);
            }
            Err(error) => {
                tracing::warn!(file = %folder.path(&name).display(), %error, "the certificate is not used");
            }
        }
    }
    Ok(lines)
}

/// The file of a certificate.
pub(super) fn file(id: &str) -> String {
    format!("{id}{SUFFIX}")
}

/// What a certificate for mail is called, by its place among those of its kind.
pub(super) fn mail_id(rsa: bool, at: usize) -> String {
    let name = if rsa { MAIL_RSA } else { MAIL };
    if at == 0 { name.to_owned() } else { format!("{name}-{}", at + 1) }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Duration = Duration::from_secs(1_795_288_205);
    const DAY: Duration = Duration::from_secs(86_400);

    fn line(names: &[&str]) -> Standing {
        Standing {
            names: names.iter().map(|&name| name.to_owned()).collect(),
            identity: Some(Identity::self_signed(&["a.example.net"], NOW).unwrap()),
            ..Standing::default()
        }
    }

    fn left_out() -> Vec<LeftOut> {
        vec![LeftOut { name: "b.example.net".into(), reason: "no".into() }]
    }

    #[test]
    fn a_certificate_is_due_when_a_third_of_its_life_is_left_or_it_lacks_a_name_or_has_another_key() {
        let fresh = line(&["a.example.net"]);
        let key = fresh.identity.as_ref().map(Identity::pin);
        assert!(!fresh.is_due(NOW, key) && !fresh.is_due(NOW, None));
        assert!(fresh.is_due(NOW + DAY * 300, key));
        assert!(fresh.is_due(NOW, Some(Pin::from([0; 32]))));
        assert!(line(&["a.example.net", "b.example.net"]).is_due(NOW, key));
        assert!(!Standing::default().is_due(NOW, None), "nothing is wanted");
        assert!(Standing { identity: None, ..line(&["a.example.net"]) }.is_due(NOW, None));
    }

    #[test]
    fn a_window_in_the_past_renews_at_once_and_the_next_one_not_before_a_day() {
        let mut line = line(&["a.example.net"]);
        let over = Window { start: NOW - DAY * 2, end: NOW - DAY };
        (line.window, line.window_again) = (Some(over), Some(NOW + DAY / 4));
        assert!(line.is_due(NOW, None));
        let identity = Identity::self_signed(&["a.example.net"], NOW).unwrap();
        line.succeeded(identity, Vec::new(), NOW);
        assert!(line.window.is_none() && line.window_again.is_none(), "of another certificate");
        line.window = Some(over);
        assert!(!line.is_due(NOW + DAY - Duration::from_secs(1), None));
        assert!(line.is_due(NOW + DAY, None));
    }

    #[test]
    fn the_ca_is_asked_for_its_window_when_it_said() {
        let mut line = line(&["a.example.net"]);
        line.window_again = Some(NOW + DAY);
        assert_eq!(line.next(), Some(NOW + DAY));
        line.identity = None;
        assert_eq!(line.next(), None);
    }

    #[test]
    fn names_that_cannot_be_looked_up_stay_if_they_are_certified() {
        let mut line = line(&[]);
        line.keep(&["a.example.net".to_owned(), "b.example.net".to_owned()]);
        assert_eq!(line.names, ["a.example.net"]);
        line.keep_all();
        assert_eq!(line.names, ["a.example.net"], "once");
        line.names = vec!["c.example.net".to_owned()];
        line.keep_all();
        assert_eq!(line.names, ["c.example.net", "a.example.net"]);
    }

    #[test]
    fn after_a_failure_the_ca_is_left_alone_for_longer_each_time_unless_somebody_asks() {
        let mut line = Standing { identity: None, ..line(&["a.example.net"]) };
        let mut last = Duration::ZERO;
        for _ in 0..5 {
            line.failed(Some(&AcmeError::TimedOut), Vec::new(), NOW);
            let again = line.next().unwrap();
            assert!(again - NOW > last && !line.is_due(again - Duration::from_secs(1), None));
            assert!(line.is_due(again, None));
            last = again - NOW;
        }
        line.forced = true;
        assert!(line.is_due(NOW, None));
        assert!(line.state("mail", false).problem.is_some());
    }

    #[test]
    fn a_name_that_fails_is_tried_again_later_and_does_not_hold_up_a_renewal() {
        let mut line = line(&["a.example.net", "b.example.net"]);
        let identity = line.identity.clone().unwrap();
        line.succeeded(identity, left_out(), NOW);
        assert!(!line.is_due(NOW, None));
        assert!(line.is_due(NOW + DAY, None));
        line.nothing_new(left_out(), NOW + DAY);
        assert!(!line.is_due(NOW + DAY, None) && line.state("mail", false).problem.is_none());
        assert_eq!(line.state("mail", false).left_out, left_out());
        assert!(line.is_due(NOW + DAY * 300, None));
    }
}
