//! A directory of recipients: LDAP, asked within a deadline, remembered for some minutes.
//!
//! One connection serves all questions; it is opened at the first, and anew after a fault. While the directory does not answer,
//! recipients are as if there were no list, but for those that it had not long ago.

use std::borrow::Cow;
use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use ldap3::{Ldap, LdapConnAsync, LdapConnSettings, LdapError, Scope, SearchOptions, ldap_escape};
use route::{Directory, Listing, LookingUp};
use smtp::Mailbox;
use tls::Connector;
use tokio::time::{Instant, timeout};

use crate::config;

/// For one answer, connection included: a client waits for its RCPT meanwhile.
const DEADLINE: Duration = Duration::from_secs(5);
/// After a fault nobody waits for it for so long.
const PAUSE: Duration = Duration::from_secs(10);
/// An address that was found is not looked for again for so long,
const FOUND: Duration = Duration::from_secs(10 * 60);
/// one that was not found for so long: whoever makes a mailbox wants mail in it soon.
const NOT_FOUND: Duration = Duration::from_secs(60);
/// While the directory does not answer, an address that it had so lately counts.
const STALE: Duration = Duration::from_secs(7 * 86_400);
/// Addresses that are remembered.
const REMEMBERED: usize = 100_000;

/// A directory and what it said.
pub(super) struct LdapDirectory {
    settings: config::Directory,
    /// TLS that verifies the directory's name.
    connector: Connector,
    connection: tokio::sync::Mutex<Option<Ldap>>,
    said: Mutex<Said>,
}

#[derive(Default)]
struct Said {
    /// By address in lower case: whether it is there, and when that was said.
    answers: HashMap<Box<str>, (bool, Instant)>,
    trouble: Box<str>,
    failed: Option<Instant>,
}

impl LdapDirectory {
    pub(super) fn new(settings: config::Directory, connector: Connector) -> Self {
        Self { settings, connector, connection: tokio::sync::Mutex::default(), said: Mutex::default() }
    }

    async fn ask(&self, mailbox: &Mailbox) -> Result<bool, LdapError> {
        let mut ldap = self.connected().await?;
        let options = SearchOptions::new().sizelimit(1).timelimit(DEADLINE.as_secs().try_into().unwrap_or(5));
        let found = ldap
            .with_timeout(DEADLINE)
            .with_search_options(options)
            // No attribute is wanted, only whether there is an entry (RFC 4511 §4.5.1.8).
            .search(&self.settings.base, Scope::Subtree, &self.filter(mailbox), vec!["1.1"])
            .await?;
        // 4 is sizeLimitExceeded: there is more than one.
        let (entries, code) = (found.0, found.1.rc);
        match code {
            0 | 4 => Ok(entries.iter().any(|entry| !entry.is_ref() && !entry.is_intermediate())),
            // noSuchObject: the base is wrong, which is no answer about the mailbox.
            _ => found.1.success().map(|_| false),
        }
    }

    fn filter(&self, mailbox: &Mailbox) -> String {
        let domain = mailbox.domain().map(ToString::to_string).unwrap_or_default();
        let local = mailbox.local_part();
        let parts =
            [("{address}", format!("{local}@{domain}")), ("{local}", local.to_owned()), ("{domain}", domain)];
        // Nothing that a sender writes can change what is asked for.
        parts.iter().fold(self.settings.filter.clone(), |filter, (place, text)| {
            let escaped: Cow<'_, str> = ldap_escape(text.as_str());
            filter.replace(place, &escaped)
        })
    }

    async fn connected(&self) -> Result<Ldap, LdapError> {
        let mut connection = self.connection.lock().await;
        if let Some(ldap) = connection.as_mut()
            && !ldap.is_closed()
        {
            return Ok(ldap.clone());
        }
        let settings = LdapConnSettings::new()
            .set_conn_timeout(DEADLINE)
            .set_starttls(self.settings.starttls)
            .set_config(self.connector.config());
        let (driver, mut ldap) = LdapConnAsync::with_settings(settings, &self.settings.url).await?;
        tokio::spawn(async move {
            if let Err(error) = driver.drive().await {
                tracing::debug!(%error, "the connection to a directory broke");
            }
        });
        if let Some((user, password)) = &self.settings.bind {
            ldap.with_timeout(DEADLINE).simple_bind(user, password.reveal()).await?.success()?;
        }
        *connection = Some(ldap.clone());
        Ok(ldap)
    }

    /// Takes the answer down, or that there was none.
    async fn note(&self, mailbox: &Mailbox, answer: Result<bool, Box<str>>) -> Listing {
        let now = Instant::now();
        let key = key(mailbox);
        match answer {
            Ok(found) => {
                let mut said = self.said();
                if !said.trouble.is_empty() {
                    tracing::info!(url = self.settings.url, "the directory of recipients answers again");
                }
                (said.trouble, said.failed) = ("".into(), None);
                said.make_room(now);
                said.answers.insert(key, (found, now));
                if found { Listing::Listed } else { Listing::NotListed }
            }
            Err(reason) => {
                *self.connection.lock().await = None;
                let mut said = self.said();
                if said.trouble.is_empty() {
                    tracing::error!(
                        url = self.settings.url,
                        %reason,
                        "the directory of recipients does not answer: their servers are asked, as without a list"
                    );
                }
                (said.trouble, said.failed) = (reason, Some(now));
                said.stale(&key, now)
            }
        }
    }

    fn said(&self) -> MutexGuard<'_, Said> {
        self.said.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Said {
    fn stale(&self, key: &str, now: Instant) -> Listing {
        match self.answers.get(key) {
            Some((true, when)) if now.saturating_duration_since(*when) < STALE => Listing::Listed,
            _ => Listing::Unanswered,
        }
    }

    fn make_room(&mut self, now: Instant) {
        if self.answers.len() < REMEMBERED {
            return;
        }
        self.answers.retain(|_, (found, when)| *found && now.saturating_duration_since(*when) < FOUND);
        if self.answers.len() >= REMEMBERED {
            self.answers.clear();
        }
    }
}

fn key(mailbox: &Mailbox) -> Box<str> {
    mailbox.as_str().to_lowercase().into()
}

impl Directory for LdapDirectory {
    fn recall(&self, mailbox: &Mailbox) -> Option<Listing> {
        let said = self.said();
        let (found, when) = said.answers.get(&key(mailbox))?;
        let (counts, listing) =
            if *found { (FOUND, Listing::Listed) } else { (NOT_FOUND, Listing::NotListed) };
        (when.elapsed() < counts).then_some(listing)
    }

    fn look_up(&self, mailbox: Mailbox) -> LookingUp<'_> {
        Box::pin(async move {
            {
                let said = self.said();
                if said.failed.is_some_and(|failed| failed.elapsed() < PAUSE) {
                    return said.stale(&key(&mailbox), Instant::now());
                }
            }
            let answer = match timeout(DEADLINE, self.ask(&mailbox)).await {
                Ok(answer) => answer.map_err(|error| error.to_string().into()),
                Err(_) => Err("no answer in time".into()),
            };
            self.note(&mailbox, answer).await
        })
    }

    fn trouble(&self) -> Box<str> {
        self.said().trouble.clone()
    }
}

/// Without the password (law 10).
impl std::fmt::Debug for LdapDirectory {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("LdapDirectory").field("url", &self.settings.url).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use record::SystemClock;
    use std::sync::Arc;

    fn directory(filter: &str) -> LdapDirectory {
        let policy = tls::LegPolicy { ladder: tls::Ladder::Off, ..tls::LegPolicy::default() };
        let settings = config::Directory {
            url: "ldap://127.0.0.1:1".into(),
            starttls: false,
            base: "dc=example".into(),
            filter: filter.into(),
            bind: None,
            ca_file: None,
        };
        let clock = Arc::new(SystemClock);
        LdapDirectory::new(settings, Connector::new(&tls::Settings::default(), &policy, clock).unwrap())
    }

    #[test]
    fn an_address_cannot_change_what_is_asked_for() {
        let directory = directory("(|(mail={address})(uid={local}))");
        let asked = |address: &str| directory.filter(&address.parse().unwrap());
        assert_eq!(asked("anna@One.Example"), "(|(mail=anna@one.example)(uid=anna))");
        assert_eq!(asked("*@one.example"), "(|(mail=\\2a@one.example)(uid=\\2a))");
        assert_eq!(
            asked("\"a)(uid=*\"@one.example"),
            "(|(mail=\"a\\29\\28uid=\\2a\"@one.example)(uid=\"a\\29\\28uid=\\2a\"))"
        );
        assert!(ldap3::parse_filter(asked("\"\\\\)(x\"@one.example")).is_ok());
    }

    #[tokio::test]
    async fn a_directory_that_is_not_there_leaves_the_server_to_be_asked() {
        let directory = directory("(mail={address})");
        let anna: Mailbox = "anna@one.example".parse().unwrap();
        assert_eq!(directory.look_up(anna.clone()).await, Listing::Unanswered);
        assert!(!directory.trouble().is_empty());
        let long_ago = Instant::now().checked_sub(FOUND).unwrap_or_else(Instant::now);
        directory.said().answers.insert(key(&anna), (true, long_ago));
        assert_eq!(directory.look_up(anna).await, Listing::Listed, "it had it not long ago");
    }
}
