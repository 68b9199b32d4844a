//! What administrators do with users and tokens, and users with themselves.

use std::collections::BTreeSet;
use std::time::Duration;

use zeroize::Zeroizing;

use super::register::{self, Invitation, MAX_TOKENS, Token};
use super::secret::{self, Digest};
use super::sessions::Session;
use super::totp::Enrolment;
use super::{
    Access, AccessError, INVITATION_LIFE, Role, Scope, Sight, TokenState, UserName, UserState, password,
};

/// A token's secret begins with it, so that scanners of source code find those that got into one.
const TOKEN_PREFIX: &str = "postern_";

/// A token that is made.
pub(crate) struct NewToken {
    pub(crate) name: UserName,
    pub(crate) scopes: BTreeSet<Scope>,
    pub(crate) sight: Sight,
    /// For how long; without, until it is removed.
    pub(crate) life: Option<Duration>,
    pub(crate) owner: Option<UserName>,
}

/// Users whom an administrator of some domains can have; all together can be a thousand.
const MAX_WITHIN: usize = 100;

impl Access {
    /// Everybody.
    pub fn users(&self) -> Vec<UserState> {
        self.register().user_states()
    }

    /// All tokens.
    pub fn tokens(&self) -> Vec<TokenState> {
        self.register().token_states()
    }

    /// Users, for who manages these domains and no others.
    pub(crate) fn within<'a>(&'a self, reach: &'a Sight) -> Within<'a> {
        Within { access: self, reach }
    }

    /// Adds a user; the code is for them to choose a password with, until the moment that is told.
    #[cfg(test)]
    pub(crate) async fn add_user(&self, name: &UserName, role: Role) -> Result<(String, u64), AccessError> {
        self.within(&Sight::All).add(name, role).await
    }

    fn invitation(&self) -> (String, Invitation) {
        let code = secret::code();
        let until = (self.now() + INVITATION_LIFE).as_secs();
        let digest = Digest::of_code(&code);
        (code, Invitation { code: digest, until })
    }

    /// Makes a token; its secret is told once.
    pub(crate) async fn add_token(&self, new: NewToken) -> Result<(String, TokenState), AccessError> {
        if new.scopes.is_empty() {
            return Err(AccessError::Role("a token needs at least one scope"));
        }
        if new.scopes.contains(&Scope::Administer) && new.sight != Sight::All {
            return Err(AccessError::Role("whoever administers does so for all domains"));
        }
        let secret = format!("{TOKEN_PREFIX}{}", secret::secret());
        let digest = Digest::of(&secret);
        let now = self.now();
        let token = Token {
            id: digest.label(),
            name: new.name,
            secret: digest,
            scopes: new.scopes,
            sight: new.sight,
            owner: new.owner,
            made: now.as_secs(),
            until: new.life.map(|life| (now + life).as_secs()),
            last_use: None,
        };
        let id = token.id.clone();
        self.change(|register| {
            if register.tokens.len() >= MAX_TOKENS {
                return Err(AccessError::TooMany);
            }
            register.tokens.push(token);
            Ok(())
        })
        .await?;
        let state = self.tokens().into_iter().find(|token| token.id == id);
        Ok((secret, state.ok_or(AccessError::UnknownToken)?))
    }

    /// Removes a token; tells what it was called.
    pub(crate) async fn remove_token(&self, id: &str) -> Result<String, AccessError> {
        self.change(|register| {
            let at = register.tokens.iter().position(|token| token.id == id);
            Ok(register.tokens.remove(at.ok_or(AccessError::UnknownToken)?).name.to_string())
        })
        .await
    }

    /// Whether this is the user's password now; asked before what would keep somebody in who found an open browser.
    pub(crate) async fn confirm(
        &self,
        name: &UserName,
        password: Zeroizing<String>,
        address: std::net::IpAddr,
    ) -> Result<(), AccessError> {
        let text = name.to_string();
        self.attempts().begin(&text, address, self.now()).map_err(AccessError::Wait)?;
        let kept = self.register().user(name).and_then(|user| user.password.clone());
        let fits = self.hasher.verify(password, kept).await;
        if fits.inspect_err(|_| self.attempts().undo(&text, address))? {
            self.attempts().worked(&text, address);
            Ok(())
        } else {
            Err(AccessError::Wrong)
        }
    }

    /// A new password; other sessions end.
    pub(crate) async fn set_password(
        &self,
        name: &UserName,
        new: Zeroizing<String>,
        session: Option<&str>,
    ) -> Result<(), AccessError> {
        password::sound(&new, name)?;
        let password = self.hasher.hash(new).await?;
        self.change(|register| {
            let user = register.user_mut(name)?;
            (user.password, user.invitation) = (Some(password), None);
            Ok(())
        })
        .await?;
        self.sessions().end_all(name, session);
        Ok(())
    }

    /// Offers a second factor, in a session whose user has just given the password.
    pub(crate) fn offer_totp(&self, session: &Session, hostname: &str) -> Enrolment {
        let enrolment = Enrolment::new(&session.user, hostname);
        self.sessions().offers(&session.user, &session.id, Some(enrolment.secret().to_owned()));
        enrolment
    }

    /// What was offered in this session.
    pub(crate) fn offered(&self, session: &Session, hostname: &str) -> Option<Enrolment> {
        Enrolment::again(session.offered.as_deref()?, &session.user, hostname)
    }

    /// Takes up an offer, if the code shows that an app has it; tells the recovery codes, once.
    pub(crate) async fn enrol(
        &self,
        session: &Session,
        enrolment: &Enrolment,
        code: &str,
    ) -> Result<Vec<String>, AccessError> {
        let name = &session.user;
        let mut totp = enrolment.totp();
        if !totp.takes(code.trim(), self.now()) {
            return Err(AccessError::WrongCode);
        }
        let (codes, recovery) = register::recovery_codes();
        self.change(|register| {
            let user = register.user_mut(name)?;
            (user.totp, user.recovery) = (Some(totp), recovery);
            Ok(())
        })
        .await?;
        self.sessions().offers(name, &session.id, None);
        Ok(codes)
    }

    /// The user, for their own page.
    pub(crate) fn user(&self, name: &UserName) -> Option<UserState> {
        self.users().into_iter().find(|user| user.name == name.to_string())
    }

    /// The user's sessions, the latest first.
    pub(crate) fn sessions_of(&self, name: &UserName) -> Vec<Session> {
        self.sessions().list(name, self.now())
    }

    /// Ends one session of the user's; whether there was one.
    pub(crate) fn end_session(&self, name: &UserName, id: &str) -> bool {
        self.sessions().end(name, id)
    }
}

/// Users who are for nothing but some domains. Everybody else is not there, and no other domain can be given.
#[derive(Debug)]
pub(crate) struct Within<'a> {
    pub(super) access: &'a Access,
    pub(super) reach: &'a Sight,
}

impl Within<'_> {
    /// Everybody who is.
    pub(crate) fn users(&self) -> Vec<UserState> {
        let register = self.access.register();
        register.users_within(self.reach)
    }

    fn may_give(&self, role: &Role) -> Result<(), AccessError> {
        let no = AccessError::Role(
            "you give roles for your own domains alone, to viewers and domain administrators",
        );
        if role.is_within(self.reach) { Ok(()) } else { Err(no) }
    }

    /// Adds a user; the code is for them to choose a password with, until the moment that is told.
    pub(crate) async fn add(&self, name: &UserName, role: Role) -> Result<(String, u64), AccessError> {
        self.may_give(&role)?;
        let (code, invitation) = self.access.invitation();
        let until = invitation.until;
        let now = self.access.now();
        self.access
            .change(|register| {
                if *self.reach != Sight::All && register.users_within(self.reach).len() >= MAX_WITHIN {
                    return Err(AccessError::TooMany);
                }
                register.add(name, role, now)?.invitation = Some(invitation);
                Ok(())
            })
            .await?;
        Ok((code, until))
    }

    /// A code to choose a new password with. The old one counts until then.
    pub(crate) async fn invite(&self, name: &UserName) -> Result<(String, u64), AccessError> {
        let (code, invitation) = self.access.invitation();
        let until = invitation.until;
        self.access
            .change(|register| {
                register.reached(name, self.reach)?.invitation = Some(invitation);
                Ok(())
            })
            .await?;
        Ok((code, until))
    }

    /// Gives a role; sessions under way have it at once.
    pub(crate) async fn give_role(&self, name: &UserName, role: Role) -> Result<(), AccessError> {
        self.may_give(&role)?;
        self.access
            .change(|register| {
                register.reached(name, self.reach)?.role = role;
                register.has_administrator()
            })
            .await
    }

    /// Removes a user, with the tokens that they made and their sessions.
    pub(crate) async fn remove(&self, name: &UserName) -> Result<(), AccessError> {
        self.access
            .change(|register| {
                register.reached(name, self.reach)?;
                register.users.retain(|user| user.name != *name);
                register.tokens.retain(|token| token.owner.as_ref() != Some(name));
                register.has_administrator()
            })
            .await?;
        self.access.sessions().end_all(name, None);
        if !self.access.has_users() && !self.access.open {
            self.access.stand_a_code();
        }
        Ok(())
    }

    /// Takes the second factor away, by an administrator or by the user.
    pub(crate) async fn remove_totp(&self, name: &UserName) -> Result<(), AccessError> {
        self.access
            .change(|register| {
                let user = register.reached(name, self.reach)?;
                (user.totp, user.recovery) = (None, Vec::new());
                Ok(())
            })
            .await
    }
}
