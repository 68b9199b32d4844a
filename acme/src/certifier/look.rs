//! One look at everything: what is wanted is brought up to date, what is due ordered, one after the other.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use instant_acme::{CertificateIdentifier, RenewalInfo};
use rustls_pki_types::CertificateDer;
use tls::Pin;
use zeroize::Zeroizing;

use super::line::{self, Standing, mail_id};
use super::{Certifier, Inner, MAX_NAMES, Surroundings, Told, Wanted, lock};
use crate::account::{self, Office, OpenAccount};
use crate::issued::checked;
use crate::keys::{Algorithm, Key, Keys};
use crate::order::{Failed, Journal, Ordered, Ordering};
use crate::schedule::{self, Window};
use crate::state::{Kind, LeftOut};
use crate::{AcmeError, Settings, is_private, is_reserved, roll};

/// However little is due: names come and go in the DNS, and records are watched.
const LONGEST_PAUSE: Duration = Duration::from_secs(600);
/// While a record that was just written may not be seen everywhere yet, or the DNS does not answer.
const SOON: Duration = Duration::from_secs(30);
const SHORTEST_PAUSE: Duration = Duration::from_secs(1);
/// After a change of the account's key that failed, unless somebody orders one.
const ACCOUNT_AGAIN: Duration = Duration::from_secs(86_400);

/// Whether a certificate came.
enum Came {
    Yes,
    No,
    /// Nor would any other.
    Stop(AcmeError),
}

/// Which certificate.
type Id = (Kind, String);

impl Certifier {
    /// How long until the next look.
    pub(super) async fn look<S: Surroundings>(&self, surroundings: &S) -> Duration {
        let told = lock(&self.told).clone();
        let wanted = match &told.settings {
            Some(settings) => allowed(surroundings.wanted().await, settings),
            None => Wanted::default(),
        };
        let made = self.make_rsa_keys(&told).await;
        if let Err(error) = self.want(wanted, told.settings.as_deref()).and(made) {
            self.inner().problem = Some(error.to_string());
        }
        self.see(surroundings).await;
        if let Some(settings) = &told.settings {
            self.look_after_account(settings).await;
        }
        if let Some(settings) = &told.settings
            && self.order_all(settings, &told).await > 0
        {
            // Another key may serve now, or for the first time.
            self.see(surroundings).await;
        }
        self.pause()
    }

    /// Looks at the records of the two keys.
    async fn see<S: Surroundings>(&self, surroundings: &S) {
        let seen = surroundings.published(self).await;
        let now = self.now();
        let mut inner = self.inner();
        inner.seen = seen;
        for kind in [Kind::Mail, Kind::MailRsa] {
            let Some(keys) = inner.keys_of_mut(kind) else { continue };
            let mut watch = *keys.watch();
            watch.saw(seen, now);
            if let Err(error) = keys.watch_is(watch, &self.folder) {
                inner.problem = Some(error.to_string());
            }
        }
    }

    /// Where they are wanted for the first time.
    async fn make_rsa_keys(&self, told: &Told) -> Result<(), AcmeError> {
        let wanted = told.settings.as_ref().is_some_and(|settings| settings.rsa);
        if !wanted || self.inner().rsa.is_some() {
            return Ok(());
        }
        let (folder, now) = (self.folder.clone(), self.now());
        let made = tokio::task::spawn_blocking(move || Keys::load_or_make(Algorithm::Rsa2048, &folder, now));
        let keys = made.await.map_err(|error| AcmeError::NoAnswer(error.to_string()))??;
        self.inner().rsa = Some(keys);
        Ok(())
    }

    /// Its key is changed once a year, and when somebody wants it.
    async fn look_after_account(&self, settings: &Settings) {
        let office = self.office(settings);
        let (now, since) = (self.now(), office.key_since());
        let due = {
            let account = &mut self.inner().account;
            account.key_since = since.unwrap_or_default();
            let old = account.key_since.is_some_and(|since| now.saturating_sub(since) >= account::KEY_LIFE);
            let rested = account.tried.is_none_or(|tried| now.saturating_sub(tried) >= ACCOUNT_AGAIN);
            account.ordered || old && rested
        };
        if !due {
            return;
        }
        let changed = office.roll().await;
        if let Err(error) = &changed {
            tracing::warn!(%error, directory = settings.directory, "the account's key was not changed");
        }
        let account = &mut self.inner().account;
        account.key_since = office.key_since().unwrap_or_default();
        (account.ordered, account.tried) = (false, Some(now));
        account.changes += 1;
        account.problem = changed.err().map(|error| error.to_string());
    }

    fn office<'a>(&'a self, settings: &'a Settings) -> Office<'a> {
        Office { settings, folder: &self.folder, clock: &self.clock }
    }

    fn pause(&self) -> Duration {
        let now = self.now();
        let inner = self.inner();
        let next = inner.lines.values().filter_map(Standing::next).min();
        let fresh = inner.written.is_some_and(|at| now.saturating_sub(at) < LONGEST_PAUSE);
        let longest = if fresh || inner.unclear { SOON } else { LONGEST_PAUSE };
        next.map_or(longest, |next| next.saturating_sub(now)).clamp(SHORTEST_PAUSE, longest)
    }

    /// What is wanted from now on. Certificates that nobody wants any more go; where nothing is ordered at all, they stay.
    fn want(&self, wanted: Wanted, settings: Option<&Settings>) -> Result<(), AcmeError> {
        let rsa = settings.is_some_and(|settings| settings.rsa);
        let mut inner = self.inner();
        inner.not_asked = wanted.not_asked;
        inner.unclear = wanted.mail_unclear || !wanted.unclear.is_empty();
        inner.problem = None;
        let mut names: BTreeMap<Id, Vec<String>> = BTreeMap::new();
        for (at, part) in wanted.mail.chunks(MAX_NAMES).enumerate() {
            names.insert((Kind::Mail, mail_id(false, at)), part.to_vec());
            if rsa {
                names.insert((Kind::MailRsa, mail_id(true, at)), part.to_vec());
            }
        }
        let policies: BTreeSet<String> = wanted.policies.iter().map(|(host, _)| host.clone()).collect();
        for (host, ours) in wanted.policies {
            names.insert((Kind::Policy, host.clone()), if ours { vec![host] } else { Vec::new() });
        }
        for (id, line) in &mut inner.lines {
            line.names = names.remove(id).unwrap_or_default();
            if id.0 == Kind::MailRsa && !rsa {
                continue;
            }
            line.keep(&wanted.unclear);
            if wanted.mail_unclear && id.0 != Kind::Policy {
                line.keep_all();
            }
        }
        inner.lines.extend(names.into_iter().map(|(id, names)| (id, Standing::of(names))));
        if settings.is_none() {
            return Ok(());
        }
        let goes = |(id, line): (&Id, &Standing)| {
            let gone = match id.0 {
                Kind::Mail => id.1 != mail_id(false, 0) && line.names.is_empty(),
                Kind::MailRsa => (!rsa || id.1 != mail_id(true, 0)) && line.names.is_empty(),
                Kind::Policy => !policies.contains(&id.1),
            };
            gone.then(|| id.clone())
        };
        let gone: Vec<_> = inner.lines.iter().filter_map(goes).collect();
        for id in gone {
            inner.lines.remove(&id);
            self.folder.remove(&line::file(&id.1))?;
        }
        if !rsa {
            // They are found again where they are wanted again.
            inner.rsa = None;
        }
        Ok(())
    }

    /// Orders what is due; how many certificates came.
    async fn order_all(&self, settings: &Arc<Settings>, told: &Told) -> usize {
        let ids: Vec<Id> = self.inner().lines.keys().cloned().collect();
        let (mut open, mut count) = (None, 0);
        for id in ids {
            let now = self.now();
            let wants_window = self.wants_window(&id, now);
            if !self.is_due(&id, now) && !wants_window {
                continue;
            }
            // Settings that came meanwhile count at once.
            if lock(&self.told).settings.as_ref().is_none_or(|now| !Arc::ptr_eq(now, settings)) {
                self.wake.notify_one();
                return count;
            }
            if open.is_none() {
                match self.office(settings).open().await {
                    Ok(opened) => open = Some(opened),
                    Err(error) => {
                        self.nothing_goes(&error, settings);
                        return count;
                    }
                }
            }
            let Some(account) = &open else { return count };
            if wants_window {
                self.ask_for_window(&id, account).await;
            }
            if self.is_due(&id, self.now()) {
                match self.order(&id, settings, told, account).await {
                    Came::Yes => count += 1,
                    Came::No => {}
                    // It would be the same with every other one.
                    Came::Stop(error) => {
                        self.nothing_goes(&error, settings);
                        return count;
                    }
                }
            }
        }
        count
    }

    /// Nothing can be ordered: said of everything that is due.
    fn nothing_goes(&self, error: &AcmeError, settings: &Settings) {
        tracing::warn!(%error, directory = settings.directory, advice = error.advice(), "no certificate can be ordered");
        self.forget_lost_account(error, settings);
        let now = self.now();
        let mut inner = self.inner();
        let due: Vec<Id> = inner.lines.keys().cloned().collect();
        for id in due {
            if is_due(&inner, &id, now)
                && let Some(line) = inner.lines.get_mut(&id)
            {
                line.failed(Some(error), Vec::new(), now);
            }
        }
    }

    fn forget_lost_account(&self, error: &AcmeError, settings: &Settings) {
        let lost = matches!(error, AcmeError::Refused { kind, .. } if kind == "accountDoesNotExist");
        if lost && account::forget(settings, &self.folder).is_ok() {
            tracing::warn!(
                directory = settings.directory,
                "the CA does not know the account any more, a new one is made"
            );
        }
    }

    fn is_due(&self, id: &Id, now: Duration) -> bool {
        is_due(&self.inner(), id, now)
    }

    async fn order(&self, id: &Id, settings: &Settings, told: &Told, open: &OpenAccount) -> Came {
        let now = self.now();
        let Some((names, key, replaces, present)) = self.begin(id, now) else { return Came::No };
        let key = match key {
            Ok(key) => key,
            Err(error) => {
                self.with(id, |line| line.failed(Some(&error), Vec::new(), now));
                return Came::No;
            }
        };
        let ordering = Ordering {
            open,
            directory: &settings.directory,
            profile: &settings.profile,
            challenge: settings.challenge,
            answers: &self.answers,
            updater: told.updater.as_ref(),
            journal: Journal { folder: &self.folder, name: format!("order-{}.json", id.1) },
        };
        // Where only a name was to be added, and it fails again, the same certificate once more would be a waste.
        let worth = |left: &[String]| {
            !left.is_empty()
                && !present.as_ref().is_some_and(|has| left.iter().all(|name| has.contains(name)))
        };
        tracing::info!(certificate = id.1, ?names, "a certificate is ordered");
        let outcome = ordering.carry_out(names, key, replaces, worth).await;
        self.conclude(id, &ordering, outcome, settings, present.is_some())
    }

    /// What an order begins with: names, key, what it replaces, and the names that there are already, if those need nothing.
    #[expect(clippy::type_complexity, reason = "four things that are taken apart at once")]
    fn begin(
        &self,
        id: &Id,
        now: Duration,
    ) -> Option<(
        Vec<String>,
        Result<Key, AcmeError>,
        Option<CertificateIdentifier<'static>>,
        Option<Vec<String>>,
    )> {
        let mut inner = self.inner();
        let key = match inner.keys_of(id.0) {
            Some(keys) if keys.takes_next(inner.seen, now) => Key::read(keys.next.pem()),
            Some(keys) => Key::read(keys.current.pem()),
            None => Key::generate(Algorithm::EcdsaP256),
        };
        let needed = needed(&inner, id.0, now);
        let line = inner.lines.get_mut(id)?;
        line.under_way = true;
        let right_key =
            line.identity.as_ref().is_some_and(|identity| needed.is_none_or(|pin| pin == identity.pin()));
        let present = line.identity.as_ref().filter(|_| line.is_fresh(now) && right_key);
        let present = present.map(|identity| identity.names().iter().map(ToString::to_string).collect());
        // Only a CA that has windows knows what is replaced (RFC 9773 §5).
        let replaces =
            line.window.and(line.identity.as_ref()).and_then(|identity| certificate_id(identity.chain()));
        Some((line.names.clone(), key, replaces, present))
    }

    fn conclude(
        &self,
        id: &Id,
        ordering: &Ordering<'_>,
        outcome: Result<Ordered, Failed>,
        settings: &Settings,
        was_fresh: bool,
    ) -> Came {
        let now = self.now();
        match outcome {
            Ok(ordered) => match self.take(id, ordered) {
                Ok(()) => {
                    ordering.journal.end();
                    return Came::Yes;
                }
                Err(error) => {
                    ordering.journal.end();
                    self.tell_failure(id, Some(&error), Vec::new(), now);
                }
            },
            Err(Failed { error: Some(AcmeError::NoName { .. }), left_out }) if was_fresh => {
                tell_left_out(id, &left_out);
                self.with(id, |line| line.nothing_new(left_out, now));
            }
            Err(Failed { error, left_out }) => {
                if let Some(error) = &error {
                    self.forget_lost_account(error, settings);
                }
                tell_left_out(id, &left_out);
                self.tell_failure(id, error.as_ref(), left_out, now);
                if let Some(error) = error.filter(AcmeError::is_of_everything) {
                    return Came::Stop(error);
                }
            }
        }
        Came::No
    }

    fn tell_failure(&self, id: &Id, error: Option<&AcmeError>, left_out: Vec<LeftOut>, now: Duration) {
        if let Some(error) = error {
            tracing::warn!(certificate = id.1, %error, advice = error.advice(), "no certificate came");
        }
        self.with(id, |line| line.failed(error, left_out, now));
    }

    /// Looked at, then kept, then served.
    fn take(&self, id: &Id, ordered: Ordered) -> Result<(), AcmeError> {
        let Ordered { chain, key, names, left_out } = ordered;
        let identity = checked(&chain, key.pem(), &names, &self.clock)?;
        let file = Zeroizing::new(format!("{}\n{}", chain.trim_end(), key.pem()));
        self.folder.write(&line::file(&id.1), file.as_bytes())?;
        tell_left_out(id, &left_out);
        let now = self.now();
        tracing::info!(certificate = id.1, ?names, until = %record::rfc3339_date(identity.not_after()), "a new certificate serves");
        let mut inner = self.inner();
        if let Some(keys) = inner.keys_of_mut(id.0)
            && key.pin() == keys.next.pin()
        {
            keys.roll(&self.folder, now)?;
            tracing::info!(certificate = id.1, "the next key serves from now on");
        }
        if let Some(line) = inner.lines.get_mut(id) {
            line.succeeded(identity, left_out, now);
        }
        drop(inner);
        self.version.send_modify(|version| *version += 1);
        Ok(())
    }

    fn with(&self, id: &Id, change: impl FnOnce(&mut Standing)) {
        if let Some(line) = self.inner().lines.get_mut(id) {
            change(line);
        }
    }

    fn wants_window(&self, id: &Id, now: Duration) -> bool {
        self.inner().lines.get(id).is_some_and(|line| {
            line.identity.is_some()
                && !line.names.is_empty()
                && line.window_again.is_none_or(|again| again <= now)
        })
    }

    async fn ask_for_window(&self, id: &Id, open: &OpenAccount) {
        let identity = self.inner().lines.get(id).and_then(|line| line.identity.clone());
        let certificate = identity.and_then(|identity| certificate_id(identity.chain()));
        let Some(certificate) = certificate else {
            let seldom = schedule::ask_again(self.now(), Duration::MAX);
            return self.with(id, |line| line.window_again = Some(seldom));
        };
        let asked = open.account.renewal_info(&certificate).await;
        let now = self.now();
        self.with(id, |line| match asked {
            Ok((info, again)) => {
                line.window = window(&info);
                line.window_again = Some(schedule::ask_again(now, again));
            }
            // The last one holds (RFC 9773 §4.3.3).
            Err(_) => line.window_again = Some(schedule::ask_again(now, schedule::WINDOW_UNTOLD)),
        });
    }
}

fn is_due(inner: &Inner, id: &Id, now: Duration) -> bool {
    let Some(line) = inner.lines.get(id) else { return false };
    !waits(inner, id, line, now) && line.is_due(now, needed(inner, id.0, now))
}

/// A kind of key that did not serve yet is promised first, where anything is.
pub(super) fn waits(inner: &Inner, id: &Id, line: &Standing, now: Duration) -> bool {
    id.0 == Kind::MailRsa
        && line.identity.is_none()
        && inner.rsa.as_ref().is_none_or(|keys| !roll::may_serve(inner.seen, keys.watch(), now))
}

/// The key that must be in a certificate of this kind; `None`: whatever is in it is right. That the present key has become old
/// is seen to at the next renewal; what somebody has ordered is not put off.
fn needed(inner: &Inner, kind: Kind, now: Duration) -> Option<Pin> {
    let keys = inner.keys_of(kind)?;
    let next = keys.order().is_some() && keys.takes_next(inner.seen, now);
    Some(if next { keys.next.pin() } else { keys.current.pin() })
}

fn tell_left_out(id: &Id, left_out: &[LeftOut]) {
    for LeftOut { name, reason } in left_out {
        tracing::warn!(certificate = id.1, name, reason, "the name is left out of the certificate");
    }
}

fn certificate_id(chain: &[CertificateDer<'static>]) -> Option<CertificateIdentifier<'static>> {
    CertificateIdentifier::try_from(chain.first()?).ok().map(CertificateIdentifier::into_owned)
}

fn window(info: &RenewalInfo) -> Option<Window> {
    let seconds = |at: i64| u64::try_from(at).ok().map(Duration::from_secs);
    let suggested = &info.suggested_window;
    Some(Window {
        start: seconds(suggested.start.unix_timestamp())?,
        end: seconds(suggested.end.unix_timestamp())?,
    })
}

/// The last guard: what is set aside is asked of one's own CA alone.
fn allowed(mut wanted: Wanted, settings: &Settings) -> Wanted {
    if is_private(&settings.directory) {
        return wanted;
    }
    let mut refuse = |name: &String| {
        let refused = is_reserved(name);
        if refused {
            let reason = "it is set aside for tests, documents or inner networks".to_owned();
            wanted.not_asked.push(LeftOut { name: name.clone(), reason });
        }
        !refused
    };
    wanted.mail.retain(&mut refuse);
    wanted.policies.retain(|(name, _)| refuse(name));
    wanted
}
