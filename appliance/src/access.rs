//! Who may look at Postern and give it orders: users with roles, their passwords and second factors, their sessions, API tokens, and
//! the trail of what was changed.
//!
//! [`Access`] answers one question, who somebody is and what they may ([`Rights`]); what each path needs is said by `admin`. What
//! outlives a restart lies in `state_dir/access` for Postern's user alone: `users.json`, replaced as a whole, and the trail of changes.
//! Passwords are there as argon2id, tokens and codes as SHA-256 of what is random anyway. Sessions live in memory: a restart ends them.

mod attempts;
mod error;
mod passkeys;
mod password;
mod register;
mod rights;
mod secret;
mod sessions;
mod totp;
pub(crate) mod trail;
mod users;

use std::net::IpAddr;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};
use std::time::Duration;

use ::passkeys::Ceremonies;
use record::Clock;
use zeroize::Zeroizing;

use attempts::Attempts;
pub use error::AccessError;
pub(crate) use passkeys::{Brought, MAX_OF_USER as MAX_PASSKEYS, PasskeyState};
use password::Hasher;
use register::{File, Register};
pub use register::{TokenState, UserState};
pub use rights::{Needs, Rights, Role, Scope, Sight, UserName};
use secret::Digest;
use sessions::Sessions;
pub(crate) use sessions::{Opened, Session};
pub(crate) use totp::Enrolment;
use trail::Trail;
pub(crate) use users::NewToken;

/// The folder of what outlives a restart, in `state_dir`.
pub const FOLDER: &str = "access";
/// How long a code for a first login counts that somebody asked for. The one of a Postern without users counts until it ends.
const CODE_LIFE: Duration = Duration::from_secs(3600);
/// How long a new user has to choose a password.
const INVITATION_LIFE: Duration = Duration::from_secs(72 * 3600);
/// What a token was last used for is written down so often: each use would be a write.
const USE_IS_WRITTEN: Duration = Duration::from_secs(3600);

/// Who somebody turned out to be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Known {
    /// The user's name, or `token NAME`.
    pub name: String,
    /// The user: themselves, or whoever made the token. Nobody: the command line made it.
    pub owner: Option<UserName>,
    /// What they may.
    pub rights: Rights,
}

/// A login that worked.
#[derive(Debug)]
pub(crate) struct LoggedIn {
    pub(crate) name: UserName,
    pub(crate) opened: Opened,
}

/// A code that counted: the password is chosen.
#[derive(Debug)]
pub(crate) struct Redeemed {
    pub(crate) name: UserName,
    /// Not where there is a second factor: a code does not stand for that one.
    pub(crate) opened: Option<Opened>,
    /// Passkeys that were taken away by it.
    pub(crate) passkeys: usize,
}

/// What somebody says at the door.
#[derive(Debug)]
pub(crate) struct Said {
    pub(crate) name: String,
    pub(crate) password: Zeroizing<String>,
    /// Of the second factor; empty where there is none.
    pub(crate) code: String,
}

/// Where somebody comes from.
#[derive(Clone, Debug)]
pub(crate) struct Client {
    pub(crate) address: IpAddr,
    /// What the browser calls itself.
    pub(crate) agent: String,
}

/// A one-time code that makes an administrator.
struct FirstCode {
    digest: Digest,
    /// As it is to be typed; only of the code that stands on the console while there are no users.
    shown: Option<String>,
    until: Option<Duration>,
}

/// All of it.
pub struct Access {
    clock: Arc<dyn Clock>,
    file: File,
    register: RwLock<Arc<Register>>,
    /// One change after the other.
    changing: tokio::sync::Mutex<()>,
    first: Mutex<Option<FirstCode>>,
    sessions: Mutex<Sessions>,
    attempts: Mutex<Attempts>,
    hasher: Hasher,
    ceremonies: Ceremonies,
    trail: Arc<Trail>,
    /// Whoever reaches the page is its administrator: a demo.
    open: bool,
}

impl Access {
    /// What is kept in `state_dir`; a folder is made where there is none.
    ///
    /// # Errors
    ///
    /// The folder cannot be made or read.
    pub fn load(state_dir: &Path, clock: Arc<dyn Clock>) -> Result<Self, AccessError> {
        Self::make(state_dir, clock, false)
    }

    /// The same where nobody needs to log in.
    ///
    /// # Errors
    ///
    /// As [`load`](Self::load).
    pub fn open(state_dir: &Path, clock: Arc<dyn Clock>) -> Result<Self, AccessError> {
        Self::make(state_dir, clock, true)
    }

    fn make(state_dir: &Path, clock: Arc<dyn Clock>, open: bool) -> Result<Self, AccessError> {
        let folder = state_dir.join(FOLDER);
        let file = File::in_folder(&folder)?;
        let register = file.read(clock.now())?;
        let access = Self {
            clock,
            file,
            register: RwLock::new(Arc::new(register)),
            changing: tokio::sync::Mutex::default(),
            first: Mutex::default(),
            sessions: Mutex::default(),
            attempts: Mutex::default(),
            hasher: Hasher::new(),
            ceremonies: Ceremonies::default(),
            trail: Arc::new(Trail::new(folder)),
            open,
        };
        if !open && access.register().users.is_empty() {
            access.stand_a_code();
            tracing::warn!(
                "nobody can log in to the page yet: `postern users code`, as root, gives a code for it"
            );
        }
        Ok(access)
    }

    /// Whether nobody needs to log in.
    pub fn is_open(&self) -> bool {
        self.open
    }

    /// Whether somebody can log in.
    pub fn has_users(&self) -> bool {
        !self.register().users.is_empty()
    }

    /// What was changed.
    pub(crate) fn trail(&self) -> &Arc<Trail> {
        &self.trail
    }

    pub(crate) fn now(&self) -> Duration {
        self.clock.now()
    }

    fn register(&self) -> Arc<Register> {
        Arc::clone(&self.register.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Nothing panics while it holds one of these.
    fn sessions(&self) -> MutexGuard<'_, Sessions> {
        self.sessions.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn attempts(&self) -> MutexGuard<'_, Attempts> {
        self.attempts.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn first(&self) -> MutexGuard<'_, Option<FirstCode>> {
        self.first.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Changes what is kept: on disk first, so that nothing holds that a power cut takes back.
    async fn change<T>(
        &self,
        change: impl FnOnce(&mut Register) -> Result<T, AccessError>,
    ) -> Result<T, AccessError> {
        let _one = self.changing.lock().await;
        let mut register = Register::clone(&self.register());
        let answer = change(&mut register)?;
        let file = self.file.clone();
        let written = register.clone();
        let write = tokio::task::spawn_blocking(move || file.write(&written)).await;
        write.map_err(|error| AccessError::NotKept(std::io::Error::other(error)))??;
        *self.register.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(register);
        Ok(answer)
    }

    /// Who a session's secret belongs to. `is_use`: whether it counts as being used now.
    pub(crate) fn of_session(&self, secret: &str, is_use: bool) -> Option<(Known, Session)> {
        let session = self.sessions().find(&Digest::of(secret), self.now(), is_use)?;
        let register = self.register();
        let user = register.user(&session.user)?;
        let (name, owner) = (user.name.to_string(), Some(user.name.clone()));
        Some((Known { name, owner, rights: user.role.rights() }, session))
    }

    /// Who an API token belongs to, if it counts.
    pub(crate) async fn of_token(&self, secret: &str) -> Option<Known> {
        let now = self.now();
        let register = self.register();
        let token = register.token(&Digest::of(secret))?;
        let owner_may = token
            .owner
            .as_ref()
            .is_none_or(|owner| register.user(owner).is_some_and(|owner| owner.role == Role::Administrator));
        if !owner_may || token.until.is_some_and(|until| until <= now.as_secs()) {
            return None;
        }
        let (name, owner) = (format!("token {}", token.name), token.owner.clone());
        let known = Known { name, owner, rights: token.rights() };
        let unwritten = now.as_secs().saturating_sub(token.last_use.unwrap_or_default());
        if unwritten >= USE_IS_WRITTEN.as_secs() {
            let id = token.id.clone();
            let written = self.change(|register| {
                register
                    .tokens
                    .iter_mut()
                    .filter(|token| token.id == id)
                    .for_each(|token| token.last_use = Some(now.as_secs()));
                Ok(())
            });
            if let Err(error) = written.await {
                tracing::error!(%error, "that a token was used cannot be written down");
            }
        }
        Some(known)
    }

    /// Lets somebody in, or says no: as slowly, and in the same words, whatever it was that was wrong.
    pub(crate) async fn log_in(&self, said: Said, client: &Client) -> Result<LoggedIn, AccessError> {
        let now = self.now();
        self.attempts().begin(&said.name, client.address, now).map_err(AccessError::Wait)?;
        let name = said.name.parse::<UserName>().ok();
        let register = self.register();
        let user = name.as_ref().and_then(|name| register.user(name));
        let password = user.and_then(|user| user.password.clone());
        let fits = self.hasher.verify(said.password, password).await;
        // What was not looked at was no attempt.
        let fits = fits.inspect_err(|_| self.attempts().undo(&said.name, client.address))?;
        let (Some(name), true) = (name, fits) else { return Err(AccessError::Wrong) };
        let noted = self.change(|register| {
            let user = register.user_mut(&name)?;
            // Looked at within the change: of two logins with the same code one is the second.
            if user.totp.is_some() && !user.takes_code(&said.code, now) {
                return Err(AccessError::Wrong);
            }
            user.last_login = Some(now.as_secs());
            Ok(())
        });
        noted.await.map_err(|error| match error {
            AccessError::UnknownUser => AccessError::Wrong,
            other => other,
        })?;
        self.attempts().worked(&said.name, client.address);
        let opened = self.sessions().open(name.clone(), client, now);
        Ok(LoggedIn { name, opened })
    }

    /// The code of a Postern without users, for whoever stands before it.
    pub fn standing_code(&self) -> Option<String> {
        self.first().as_ref()?.shown.clone()
    }

    fn stand_a_code(&self) {
        let code = secret::code();
        *self.first() = Some(FirstCode { digest: Digest::of_code(&code), shown: Some(code), until: None });
    }

    /// A new code that makes an administrator; an older one is gone. Without users it is the one that stands already.
    pub(crate) fn new_code(&self) -> (String, Option<u64>) {
        if let Some(code) = self.standing_code() {
            return (code, None);
        }
        let (code, until) = (secret::code(), self.now() + CODE_LIFE);
        *self.first() = Some(FirstCode { digest: Digest::of_code(&code), shown: None, until: Some(until) });
        (code, Some(until.as_secs()))
    }

    /// Redeems a code: the first administrator's, or the one that a user was given. The login is open afterwards.
    pub(crate) async fn redeem(&self, said: Said, client: &Client) -> Result<Redeemed, AccessError> {
        let now = self.now();
        // By the network alone: it is codes that are guessed at, and they are long.
        self.attempts().begin("", client.address, now).map_err(AccessError::Wait)?;
        let name: UserName = said.name.parse()?;
        password::sound(&said.password, &name)?;
        let digest = Digest::of_code(&said.code);
        let makes_administrator = self
            .first()
            .as_ref()
            .is_some_and(|first| first.digest == digest && first.until.is_none_or(|until| now < until));
        let invited = self.register().user(&name).is_some_and(|user| user.is_invited_by(&digest, now));
        if !makes_administrator && !invited {
            return Err(AccessError::WrongCode);
        }
        let password = self.hasher.hash(said.password).await?;
        let (has_totp, passkeys) = self
            .change(|register| {
                if invited && !register.user_mut(&name)?.is_invited_by(&digest, now) {
                    return Err(AccessError::WrongCode);
                }
                if !invited {
                    register.add(&name, Role::Administrator, now)?;
                    // Taken while the change is held: a code makes one administrator.
                    self.first().take_if(|first| first.digest == digest).ok_or(AccessError::WrongCode)?;
                }
                let user = register.user_mut(&name)?;
                (user.password, user.invitation) = (Some(password), None);
                // A second factor stays, which lets nobody in by itself. A passkey does: whoever had got hold of the login may have
                // left one.
                Ok((user.totp.is_some(), std::mem::take(&mut user.passkeys).len()))
            })
            .await?;
        self.attempts().worked("", client.address);
        let mut sessions = self.sessions();
        sessions.end_all(&name, None);
        let opened = (!has_totp).then(|| sessions.open(name.clone(), client, now));
        Ok(Redeemed { name, opened, passkeys })
    }
}

impl std::fmt::Debug for Access {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Access").field("open", &self.open).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod passkey_tests;
#[cfg(test)]
#[path = "../passkeys/src/soft.rs"]
pub(crate) mod soft;
#[cfg(test)]
mod tests;
#[cfg(test)]
pub(crate) use totp::tests::shown;
