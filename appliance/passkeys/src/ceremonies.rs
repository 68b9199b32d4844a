//! Adding a passkey, and logging in with one.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use serde::Serialize;
use webauthn_rp::bin::{Decode as _, Encode as _};
use webauthn_rp::request::PublicKeyCredentialDescriptor;
use webauthn_rp::request::auth::AuthenticationVerificationOptions;
use webauthn_rp::request::register::{
    CredProtect, PublicKeyCredentialUserEntity, RegistrationVerificationOptions, Username,
};
use webauthn_rp::request::{ExtensionInfo, TimedCeremony as _};
use webauthn_rp::response::AuthTransports;
use webauthn_rp::response::auth::error::AuthCeremonyErr;
use webauthn_rp::{
    DiscoverableAuthentication64, DiscoverableAuthenticationServerState,
    DiscoverableCredentialRequestOptions, PublicKeyCredentialCreationOptions, Registration,
    RegistrationServerState,
};

use crate::credential::{Credential, Handle};
use crate::refusal::Refusal;
use crate::seal::Seal;
use crate::site::Site;

/// How long a ceremony may take, from what the browser is asked to its answer.
pub const LIFE: Duration = Duration::from_secs(300);
/// Octets of an answer. One with an RSA key of 16,384 bits and the longest identifier has some 8000.
pub const MAX_ANSWER: usize = 16 << 10;
/// Challenges that counted within [`LIFE`] and must not count again. Only who has got in puts one here, so that a stranger cannot fill
/// it; fourteen logins a second for five minutes do, and then the next is told to wait.
pub(crate) const MAX_SPENT: usize = 4096;

/// What a browser is asked, and what it has to bring back with the answer.
#[derive(Clone, Debug, Serialize)]
pub struct Asked {
    /// `PublicKeyCredentialCreationOptionsJSON` or `PublicKeyCredentialRequestOptionsJSON` (§5.1.8, §5.1.9).
    pub options: serde_json::Value,
    /// Sealed; means nothing to anybody else.
    pub ticket: String,
}

/// Whose passkey is to be made.
#[derive(Clone, Copy, Debug)]
pub struct Holder<'a> {
    /// What the user is called, as the browser shows it.
    pub name: &'a str,
    /// In which session; another one cannot bring the answer.
    pub session: &'a str,
}

/// What a browser answered to a login, before anybody has looked whether it is true.
#[derive(Debug)]
pub struct Answer(DiscoverableAuthentication64);

impl Answer {
    /// Reads `AuthenticationResponseJSON` (§5.1); what is not known in it is passed over.
    ///
    /// # Errors
    ///
    /// [`Refusal::Unreadable`]: it is none, or longer than [`MAX_ANSWER`].
    pub fn read(json: &str) -> Result<Self, Refusal> {
        if json.len() > MAX_ANSWER {
            return Err(Refusal::Unreadable);
        }
        let read = DiscoverableAuthentication64::from_json_relaxed(json.as_bytes());
        read.map(Self).map_err(|_| Refusal::Unreadable)
    }

    /// Whose it says it is.
    pub fn handle(&self) -> Option<Handle> {
        Handle::of(self.0.response().user_handle().as_ref())
    }

    /// Whether it says to be made with this passkey.
    pub fn is_with(&self, credential: &Credential) -> bool {
        credential.is(self.0.raw_id().as_ref())
    }
}

/// An answer that is true. It is to be [spent](Ceremonies::spend) before somebody is let in by it.
#[derive(Debug)]
pub struct Claim {
    challenge: u128,
    /// By which its authenticator knows the user.
    pub handle: Handle,
    /// The passkey as it is to be kept from now on.
    pub credential: Credential,
}

#[cfg(test)]
impl Claim {
    pub(crate) fn challenge_is(&mut self, challenge: u128) {
        self.challenge = challenge;
    }
}

/// All ceremonies of one page.
#[derive(Debug)]
pub struct Ceremonies {
    seal: Seal,
    /// Challenges that counted, and when.
    spent: Mutex<HashMap<u128, Duration>>,
}

impl Default for Ceremonies {
    fn default() -> Self {
        Self { seal: Seal::new(), spent: Mutex::default() }
    }
}

impl Ceremonies {
    /// Begins a login of whoever it will turn out to be: the authenticator has to verify its user, so that it stands for both factors.
    ///
    /// # Errors
    ///
    /// The clock or the memory of this machine is broken.
    pub fn ask_for_login(&self, site: &Site, now: Duration) -> Result<Asked, Refusal> {
        let options = DiscoverableCredentialRequestOptions::passkey(&site.id);
        let (state, asked) = options.start_ceremony().map_err(|error| Refusal::invalid(&error))?;
        let state = state.encode().map_err(|error| Refusal::invalid(&error))?;
        let options = serde_json::to_value(&asked).map_err(|error| Refusal::invalid(&error))?;
        Ok(Asked { options, ticket: self.seal.close(&state, &for_login(site), now) })
    }

    /// Looks at an answer to it; `credential` and `handle` are what is kept of the passkey that the answer names.
    ///
    /// # Errors
    ///
    /// Why it is not true.
    pub fn look_at(
        &self,
        site: &Site,
        ticket: &str,
        answer: &Answer,
        (handle, credential): (Handle, &Credential),
        now: Duration,
    ) -> Result<Claim, Refusal> {
        let state = self.seal.open(ticket, &for_login(site), now)?;
        let state = DiscoverableAuthenticationServerState::decode(&state[..]).map_err(|_| Refusal::Other)?;
        let challenge = state.sent_challenge().0;
        self.is_fresh(challenge, now)?;
        let user = handle.library();
        let mut known = credential.library(answer.0.raw_id(), &user)?;
        let options = AuthenticationVerificationOptions::<&str, &str> {
            allowed_origins: &[&site.origin],
            error_on_unsolicited_extensions: false,
            ..AuthenticationVerificationOptions::default()
        };
        state.verify(&site.id, &answer.0, &mut known, &options).map_err(|error| match error {
            AuthCeremonyErr::SignatureCounter => Refusal::Counter,
            AuthCeremonyErr::Timeout => Refusal::Late,
            other => Refusal::invalid(&other),
        })?;
        Ok(Claim { challenge, handle, credential: credential.after(known.dynamic_state()) })
    }

    fn is_fresh(&self, challenge: u128, now: Duration) -> Result<(), Refusal> {
        let spent = self.spent.lock().unwrap_or_else(PoisonError::into_inner);
        let is_spent = spent.get(&challenge).is_some_and(|at| now.saturating_sub(*at) < LIFE);
        if is_spent { Err(Refusal::Spent) } else { Ok(()) }
    }

    /// From now on its challenge counts no more. Of two answers to the same one is the second, however close they come.
    ///
    /// # Errors
    ///
    /// It has counted already, or there are too many to remember.
    pub fn spend(&self, claim: &Claim, now: Duration) -> Result<(), Refusal> {
        let mut spent = self.spent.lock().unwrap_or_else(PoisonError::into_inner);
        spent.retain(|_, at| now.saturating_sub(*at) < LIFE);
        if spent.contains_key(&claim.challenge) {
            return Err(Refusal::Spent);
        }
        if spent.len() >= MAX_SPENT {
            return Err(Refusal::Busy);
        }
        spent.insert(claim.challenge, now);
        Ok(())
    }

    /// Begins to add a passkey; `handle` is what the user is to authenticators. `have` are those that the user has, so that an authenticator does not make a second one.
    ///
    /// # Errors
    ///
    /// The name is none that authenticators take (RFC 8265), or this machine is broken.
    pub fn ask_for_passkey<'a>(
        &self,
        site: &Site,
        holder: Holder<'_>,
        handle: Handle,
        have: impl Iterator<Item = &'a Credential>,
        now: Duration,
    ) -> Result<Asked, Refusal> {
        let handle = handle.library();
        let name = Username::try_from(holder.name).map_err(|error| Refusal::invalid(&error))?;
        let user = PublicKeyCredentialUserEntity { name, id: &handle, display_name: None };
        let have = have.filter_map(Credential::id_octets);
        let have = have.map(|id| PublicKeyCredentialDescriptor { id, transports: AuthTransports::NONE });
        let mut options = PublicKeyCredentialCreationOptions::passkey(&site.id, user, have.collect());
        // Wanted where there is something of the kind: each login asks for verification anyway.
        options.extensions.cred_protect =
            CredProtect::UserVerificationRequired(ExtensionInfo::AllowDontEnforceValue);
        let (state, asked) = options.start_ceremony().map_err(|error| Refusal::invalid(&error))?;
        let state = state.encode().map_err(|error| Refusal::invalid(&error))?;
        let options = serde_json::to_value(&asked).map_err(|error| Refusal::invalid(&error))?;
        Ok(Asked { options, ticket: self.seal.close(&state, &for_passkey(site, &holder), now) })
    }

    /// Takes what came of it (`RegistrationResponseJSON`, §5.1): the passkey of `holder`, and the handle that it was asked for with.
    ///
    /// # Errors
    ///
    /// Why it is not taken.
    pub fn take(
        &self,
        site: &Site,
        ticket: &str,
        holder: Holder<'_>,
        json: &str,
        now: Duration,
    ) -> Result<Claim, Refusal> {
        if json.len() > MAX_ANSWER {
            return Err(Refusal::Unreadable);
        }
        let state = self.seal.open(ticket, &for_passkey(site, &holder), now)?;
        let state = RegistrationServerState::<64>::decode(&state[..]).map_err(|_| Refusal::Other)?;
        let challenge = state.sent_challenge().0;
        self.is_fresh(challenge, now)?;
        let answer = Registration::from_json_relaxed(json.as_bytes()).map_err(|_| Refusal::Unreadable)?;
        let options = RegistrationVerificationOptions::<&str, &str> {
            allowed_origins: &[&site.origin],
            error_on_unsolicited_extensions: false,
            ..RegistrationVerificationOptions::default()
        };
        let taken = state.verify(&site.id, &answer, &options).map_err(|error| Refusal::invalid(&error))?;
        let key = taken.static_state().credential_public_key;
        let credential = Credential::new(taken.id().as_ref(), key, taken.dynamic_state());
        let handle = Handle::of(taken.user_id().as_ref()).ok_or(Refusal::Other)?;
        Ok(Claim { challenge, handle, credential })
    }
}

fn for_login(site: &Site) -> [&str; 3] {
    ["login", site.name(), &site.origin]
}

/// The handle is within what is sealed already.
fn for_passkey<'a>(site: &'a Site, holder: &Holder<'a>) -> [&'a str; 5] {
    ["passkey", site.name(), &site.origin, holder.name, holder.session]
}
