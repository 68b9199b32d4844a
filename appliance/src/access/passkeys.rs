//! Passkeys of users: added on their own page, and logged in with. One that verified its user stands for password and second factor.
//!
//! Whose passkey it is, is found here; whether what a browser says of it is true, by the crate of that name.

use passkeys::{Answer, Asked, Credential, Handle, Holder, Refusal, Site};
use serde::{Deserialize, Serialize};

use super::register::{Register, User};
use super::secret::Digest;
use super::sessions::Session;
use super::users::Within;
use super::{Access, AccessError, Client, LoggedIn, UserName};

/// Of one user: a telephone, a notebook, a key on the bunch and one in the safe, twice.
pub(crate) const MAX_OF_USER: usize = 8;
/// Characters of what its user calls it.
const MAX_NAME: usize = 64;

/// A passkey of a user.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Passkey {
    /// As its user calls it.
    name: String,
    /// The name of the page that it is for.
    site: String,
    made: u64,
    last_use: Option<u64>,
    credential: Credential,
}

impl Passkey {
    /// By which it is named in forms.
    fn label(&self) -> String {
        Digest::of(self.credential.id()).label()
    }
}

/// A passkey, for its user's list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct PasskeyState {
    /// By which it is removed.
    pub(crate) id: String,
    pub(crate) name: String,
    /// The name of the page that it is for.
    pub(crate) site: String,
    /// Since when, in seconds since 1970.
    pub(crate) made: u64,
    pub(crate) last_use: Option<u64>,
}

/// What a browser sends of a passkey.
#[derive(Debug)]
pub(crate) struct Brought<'a> {
    /// As it was given along.
    pub(crate) ticket: &'a str,
    /// JSON.
    pub(crate) answer: &'a str,
}

/// What its user calls it: in one line, not too long, and something.
fn named(text: &str) -> String {
    let plain: String = text.chars().filter(|letter| !letter.is_control()).take(MAX_NAME).collect();
    match plain.trim() {
        "" => "passkey".to_owned(),
        name => name.to_owned(),
    }
}

fn refused(why: Refusal) -> AccessError {
    AccessError::Passkey { who: None, why }
}

/// Whose handle it is.
fn of_handle<'a>(register: &'a Register, handle: &Handle) -> Option<&'a User> {
    register.users.iter().find(|user| user.handle.as_ref() == Some(handle))
}

impl Access {
    /// Begins a login with a passkey, of whoever it will be.
    pub(crate) fn ask_for_login(&self, site: &Site) -> Result<Asked, AccessError> {
        self.ceremonies.ask_for_login(site, self.now()).map_err(refused)
    }

    /// Lets in whoever has a passkey, or says no in the same words whatever it was that was wrong.
    pub(crate) async fn log_in_with_passkey(
        &self,
        site: &Site,
        brought: Brought<'_>,
        client: &Client,
    ) -> Result<LoggedIn, AccessError> {
        let now = self.now();
        // By the network alone: who it is said to be comes from a stranger, and must shut nobody out.
        self.attempts().begin("", client.address, now).map_err(AccessError::Wait)?;
        let answer = Answer::read(brought.answer).map_err(refused)?;
        let register = self.register();
        let found = answer.handle().and_then(|handle| Some((handle, of_handle(&register, &handle)?)));
        let (handle, user) = found.ok_or_else(|| refused(Refusal::Unknown))?;
        let name = user.name.clone();
        let of_user = |why| AccessError::Passkey { who: Some(name.clone()), why };
        let is_it = |one: &&Passkey| one.site == site.name() && answer.is_with(&one.credential);
        let before = user.passkeys.iter().find(is_it).ok_or_else(|| of_user(Refusal::Unknown))?;
        let known = (handle, &before.credential);
        let claim = self.ceremonies.look_at(site, brought.ticket, &answer, known, now).map_err(of_user)?;
        let noted = self.change(|register| {
            let user = register.user_mut(&name)?;
            let kept = user.passkeys.iter_mut().find(|one| one.credential.id() == before.credential.id());
            let kept = kept.ok_or_else(|| of_user(Refusal::Unknown))?;
            // Looked at within the change: of two logins with one count of an authenticator one is the second.
            if kept.credential != before.credential {
                return Err(of_user(Refusal::Counter));
            }
            self.ceremonies.spend(&claim, now).map_err(of_user)?;
            kept.credential = claim.credential.clone();
            kept.last_use = Some(now.as_secs());
            user.last_login = Some(now.as_secs());
            Ok(())
        });
        noted.await.map_err(|error| match error {
            AccessError::UnknownUser => of_user(Refusal::Unknown),
            other => other,
        })?;
        self.attempts().worked("", client.address);
        let opened = self.sessions().open(name.clone(), client, now);
        Ok(LoggedIn { name, opened })
    }

    /// Begins to add a passkey, in a session whose user has just given the password.
    pub(crate) fn ask_for_passkey(&self, session: &Session, site: &Site) -> Result<Asked, AccessError> {
        let register = self.register();
        let user = register.user(&session.user).ok_or(AccessError::UnknownUser)?;
        if user.passkeys.len() >= MAX_OF_USER {
            return Err(AccessError::TooMany);
        }
        let name = user.name.to_string();
        let holder = Holder { name: &name, session: &session.id };
        let handle = user.handle.unwrap_or_default();
        let have = user.passkeys.iter().filter(|one| one.site == site.name()).map(|one| &one.credential);
        self.ceremonies.ask_for_passkey(site, holder, handle, have, self.now()).map_err(refused)
    }

    /// Takes the passkey that came of it; tells what it is called.
    pub(crate) async fn take_passkey(
        &self,
        session: &Session,
        site: &Site,
        called: &str,
        brought: Brought<'_>,
    ) -> Result<String, AccessError> {
        let now = self.now();
        let not_taken = |why: Refusal| {
            tracing::warn!(target: "postern::access", who = %session.user, reason = %why, "a passkey was not taken");
            AccessError::NotTaken
        };
        let name = session.user.to_string();
        let holder = Holder { name: &name, session: &session.id };
        let claim = self.ceremonies.take(site, brought.ticket, holder, brought.answer, now);
        let claim = claim.map_err(not_taken)?;
        let called = named(called);
        let passkey = Passkey {
            name: called.clone(),
            site: site.name().to_owned(),
            made: now.as_secs(),
            last_use: None,
            credential: claim.credential.clone(),
        };
        self.change(|register| {
            let all = register.users.iter().flat_map(|user| &user.passkeys);
            // §7.1, step 26: an identifier that is somebody's already is not taken.
            if all.into_iter().any(|one| one.credential.id() == passkey.credential.id()) {
                return Err(not_taken(Refusal::Other));
            }
            let user = register.user_mut(&session.user)?;
            if user.passkeys.len() >= MAX_OF_USER {
                return Err(AccessError::TooMany);
            }
            // Two pages may have begun with a handle each.
            if *user.handle.get_or_insert(claim.handle) != claim.handle {
                return Err(not_taken(Refusal::Other));
            }
            self.ceremonies.spend(&claim, now).map_err(not_taken)?;
            user.passkeys.push(passkey);
            Ok(())
        })
        .await?;
        Ok(called)
    }

    /// The user's passkeys, in the order in which they were added.
    pub(crate) fn passkeys_of(&self, name: &UserName) -> Vec<PasskeyState> {
        let register = self.register();
        let passkeys = register.user(name).map(|user| user.passkeys.as_slice()).unwrap_or_default();
        let state = |one: &Passkey| PasskeyState {
            id: one.label(),
            name: one.name.clone(),
            site: one.site.clone(),
            made: one.made,
            last_use: one.last_use,
        };
        passkeys.iter().map(state).collect()
    }

    /// Removes one of the user's own; tells what it was called.
    pub(crate) async fn remove_passkey(&self, name: &UserName, id: &str) -> Result<String, AccessError> {
        self.change(|register| {
            let user = register.user_mut(name)?;
            let at = user.passkeys.iter().position(|one| one.label() == id);
            Ok(user.passkeys.remove(at.ok_or(AccessError::UnknownPasskey)?).name)
        })
        .await
    }
}

impl Within<'_> {
    /// Takes all passkeys of a user away. Sessions end with them but for the one that is named: whoever took a passkey may be in one.
    pub(crate) async fn remove_passkeys(
        &self,
        name: &UserName,
        but: Option<&str>,
    ) -> Result<(), AccessError> {
        self.access
            .change(|register| {
                register.reached(name, self.reach)?.passkeys.clear();
                Ok(())
            })
            .await?;
        self.access.sessions().end_all(name, but);
        Ok(())
    }
}
