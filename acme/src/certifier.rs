//! Looks after all certificates: what is wanted, what there is, what is due.

mod line;
mod look;

use std::collections::BTreeMap;
use std::future::Future;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use dns::update::Updater;
use record::Clock;
use tls::{Identity, IdentityError};
use tokio::sync::{Notify, watch};

use self::line::Standing;
use crate::folder::Folder;
use crate::keys::{Algorithm, Keys};
use crate::roll::{Order, Seen};
use crate::state::{AccountFacts, KeyFacts, Kind, LeftOut, State};
use crate::{AcmeError, Answers, Settings, roll};

/// Names of one certificate; the large CAs allow 100.
const MAX_NAMES: usize = 100;

/// What certificates are wanted for.
#[derive(Clone, Debug, Default)]
pub struct Wanted {
    /// Where mail is taken: the host's name, MX names, and whatever else the config names.
    pub mail: Vec<String>,
    /// Policy hosts, `mta-sts.DOMAIN`, each of which gets a certificate of its own; those of domains that are still there, though
    /// nothing leads here, with `false`.
    pub policies: Vec<(String, bool)>,
    /// Names that are not asked for, and why.
    pub not_asked: Vec<LeftOut>,
    /// Names of which it could not be told: they stay where they are certified already.
    pub unclear: Vec<String>,
    /// It could not even be told which mail names there are: all that are certified stay.
    pub mail_unclear: bool,
}

/// How the world sees the names: asked for whenever something could be due.
pub trait Surroundings: Send + Sync + 'static {
    /// What is wanted now.
    fn wanted(&self) -> impl Future<Output = Wanted> + Send;

    /// What the mail names have published of the two keys, after it was brought up to date where that is allowed.
    fn published(&self, certifier: &Certifier) -> impl Future<Output = Seen> + Send;
}

/// Looks after certificates. One for each running program.
pub struct Certifier {
    folder: Folder,
    clock: Arc<dyn Clock>,
    answers: Answers,
    told: Mutex<Told>,
    inner: Mutex<Inner>,
    wake: Notify,
    version: watch::Sender<u64>,
}

/// What the config says.
#[derive(Clone, Default)]
struct Told {
    /// `None`: nothing is ordered.
    settings: Option<Arc<Settings>>,
    updater: Option<Updater>,
}

struct Inner {
    keys: Keys,
    /// Where they are wanted, or were.
    rsa: Option<Keys>,
    account: AccountWork,
    lines: BTreeMap<(Kind, String), Standing>,
    not_asked: Vec<LeftOut>,
    problem: Option<String>,
    seen: Seen,
    /// Some names could not be looked up.
    unclear: bool,
    /// When a record was written last: it is looked for more often then.
    written: Option<Duration>,
}

/// Changes of the account's key.
#[derive(Default)]
struct AccountWork {
    /// Somebody wants one.
    ordered: bool,
    key_since: Option<Duration>,
    tried: Option<Duration>,
    changes: u64,
    problem: Option<String>,
}

impl Inner {
    /// The keys of certificates of this kind; `None`: each has one of its own.
    fn keys_of(&self, kind: Kind) -> Option<&Keys> {
        match kind {
            Kind::Mail => Some(&self.keys),
            Kind::MailRsa => self.rsa.as_ref(),
            Kind::Policy => None,
        }
    }

    fn keys_of_mut(&mut self, kind: Kind) -> Option<&mut Keys> {
        match kind {
            Kind::Mail => Some(&mut self.keys),
            Kind::MailRsa => self.rsa.as_mut(),
            Kind::Policy => None,
        }
    }

    /// Whether a certificate has the present key of this kind.
    fn serves(&self, kind: Kind) -> bool {
        let current = self.keys_of(kind).map(|keys| keys.current.pin());
        current.is_some() && self.lines.iter().any(|((of, _), line)| *of == kind && line.pin() == current)
    }
}

impl std::fmt::Debug for Certifier {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Certifier").field("folder", &self.folder).finish_non_exhaustive()
    }
}

impl Certifier {
    /// With what the folder has; nothing is asked for yet.
    ///
    /// # Errors
    ///
    /// The folder cannot be used.
    pub fn load(folder: &Path, clock: Arc<dyn Clock>) -> Result<Arc<Self>, AcmeError> {
        let folder = Folder::open(folder)?;
        let now = clock.now();
        let lines = line::load_all(&folder, now)?;
        let mut inner = Inner {
            keys: Keys::load_or_make(Algorithm::EcdsaP256, &folder, now)?,
            rsa: Keys::load_if_there(Algorithm::Rsa2048, &folder, now)?,
            account: AccountWork::default(),
            lines,
            not_asked: Vec::new(),
            problem: None,
            seen: Seen::Unclear,
            unclear: false,
            written: None,
        };
        for kind in [Kind::Mail, Kind::MailRsa] {
            // A roll was interrupted after its certificate had been kept.
            let next = inner.keys_of(kind).map(|keys| keys.next.pin());
            let serves = |((of, _), line): (&(Kind, String), &Standing)| *of == kind && line.pin() == next;
            if next.is_some()
                && inner.lines.iter().any(serves)
                && let Some(keys) = inner.keys_of_mut(kind)
            {
                keys.roll(&folder, now)?;
            }
        }
        Ok(Arc::new(Self {
            folder,
            clock,
            answers: Answers::default(),
            told: Mutex::default(),
            inner: Mutex::new(inner),
            wake: Notify::new(),
            version: watch::Sender::new(0),
        }))
    }

    /// What the config says now: whom to order from, and how records are changed. Without the first nothing is ordered.
    pub fn settings_are(&self, settings: Option<Settings>, updater: Option<Updater>) {
        *lock(&self.told) = Told { settings: settings.map(Arc::new), updater };
        self.wake.notify_one();
    }

    /// The certificates that there are, whoever ordered them.
    pub fn identities(&self) -> Vec<Identity> {
        self.inner().lines.values().filter_map(|line| line.identity.clone()).collect()
    }

    /// What serves for a name until something was issued: made here, with the key that will be asked for, so that TLSA records can
    /// be right from the first day.
    ///
    /// # Errors
    ///
    /// The name cannot stand in a certificate.
    pub fn self_signed(&self, name: &str) -> Result<Identity, IdentityError> {
        Identity::self_signed_with(&[name], self.inner().keys.current.pem(), self.now())
    }

    /// Moves whenever there is another certificate.
    pub fn changes(&self) -> watch::Receiver<u64> {
        self.version.subscribe()
    }

    /// What public servers answer to the CA.
    pub fn answers(&self) -> &Answers {
        &self.answers
    }

    /// Who changes records, where that is allowed.
    pub fn updater(&self) -> Option<Updater> {
        lock(&self.told).updater.clone()
    }

    /// Orders anew what has this name, or everything, as soon as can be; how many certificates that are.
    pub fn renew(&self, name: Option<&str>) -> usize {
        let (now, mut inner) = (self.now(), self.inner());
        let mut count = 0;
        let waiting: Vec<_> = inner
            .lines
            .iter()
            .filter(|(id, line)| look::waits(&inner, id, line, now))
            .map(|(id, _)| id.clone())
            .collect();
        for (key, line) in inner.lines.iter_mut().filter(|(key, _)| !waiting.contains(key)) {
            let (_, id) = key;
            let meant = name.is_none_or(|name| {
                let name = name.trim_end_matches('.').to_ascii_lowercase();
                *id == name || line.names.contains(&name) || line.is_for(&name)
            });
            if meant && !line.names.is_empty() {
                line.forced = true;
                count += 1;
            }
        }
        drop(inner);
        self.wake.notify_one();
        count
    }

    /// The next key for mail is to serve, as soon as it may or at once.
    ///
    /// # Errors
    ///
    /// It cannot be written down.
    pub fn roll(&self, order: Order) -> Result<(), AcmeError> {
        let mut inner = self.inner();
        for kind in [Kind::Mail, Kind::MailRsa] {
            // One that does not serve yet has nothing to give way to.
            let serves = inner.serves(kind);
            if let Some(keys) = inner.keys_of_mut(kind).filter(|_| serves) {
                keys.order_is(order, &self.folder)?;
            }
        }
        if order == Order::AtOnce {
            let of_mail = inner.lines.iter_mut().filter(|((kind, _), _)| *kind != Kind::Policy);
            of_mail.for_each(|(_, line)| line.forced = line.identity.is_some() && !line.names.is_empty());
        }
        drop(inner);
        self.wake.notify_one();
        Ok(())
    }

    /// The account with the CA gets another key soon.
    pub fn roll_account(&self) {
        self.inner().account.ordered = true;
        self.wake.notify_one();
    }

    /// Looks at everything soon.
    pub fn wake(&self) {
        self.wake.notify_one();
    }

    /// How things are.
    pub fn state(&self) -> State {
        let directory = lock(&self.told).settings.as_ref().map(|settings| settings.directory.clone());
        let (now, inner) = (self.now(), self.inner());
        let facts = |kind| {
            let keys = inner.keys_of(kind)?;
            Some(KeyFacts {
                serves: inner.serves(kind),
                current: keys.current.pin(),
                next: keys.next.pin(),
                next_ready: keys.watch().ready_at(),
                next_may_serve: roll::may_serve(inner.seen, keys.watch(), now),
                order: keys.order(),
            })
        };
        State {
            directory,
            lines: inner
                .lines
                .iter()
                .map(|(id, line)| line.state(&id.1, look::waits(&inner, id, line, now)))
                .collect(),
            not_asked: inner.not_asked.clone(),
            problem: inner.problem.clone(),
            keys: [Kind::Mail, Kind::MailRsa].into_iter().filter_map(facts).collect(),
            account: inner.account.key_since.map(|key_since| AccountFacts {
                key_since,
                changes: inner.account.changes,
                problem: inner.account.problem.clone(),
            }),
        }
    }

    /// What this has written of a host's TLSA records: it may be removed again.
    pub fn written(&self, host: &str) -> Vec<[u8; 32]> {
        self.inner().keys.written(host)
    }

    /// What it has written now.
    ///
    /// # Errors
    ///
    /// It cannot be kept.
    pub fn written_is(&self, host: &str, digests: &[[u8; 32]]) -> Result<(), AcmeError> {
        let now = self.now();
        let mut inner = self.inner();
        inner.written = Some(now);
        inner.keys.written_is(host, digests, &self.folder)
    }

    /// Looks after everything; does not come back.
    pub async fn keep<S: Surroundings>(self: Arc<Self>, surroundings: Arc<S>) {
        loop {
            let pause = self.look(&*surroundings).await;
            let _ = tokio::time::timeout(pause, self.wake.notified()).await;
        }
    }

    /// Nothing panics while it holds the lock.
    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn now(&self) -> Duration {
        self.clock.now()
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
