//! Users and tokens on disk: one file, for Postern's user alone, replaced as a whole.

use std::collections::BTreeSet;
use std::fs::{DirBuilder, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::AccessError;
use super::passkeys::Passkey;
use super::password::Password;
use super::rights::{Rights, Role, Scope, Sight, UserName};
use super::secret::Digest;
use super::totp::{self, Totp};

const NAME: &str = "users.json";
/// The only form so far.
const FORMAT: u32 = 1;
/// A thousand users with a thousand domains each are less.
const MAX_FILE: u64 = 64 << 20;
/// Users, and tokens.
pub(super) const MAX_USERS: usize = 1000;
pub(super) const MAX_TOKENS: usize = 1000;

/// Everybody.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Register {
    format: u32,
    pub(super) users: Vec<User>,
    pub(super) tokens: Vec<Token>,
}

impl Default for Register {
    fn default() -> Self {
        Self { format: FORMAT, users: Vec::new(), tokens: Vec::new() }
    }
}

/// A user.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct User {
    pub(super) name: UserName,
    pub(super) role: Role,
    pub(super) made: u64,
    pub(super) password: Option<Password>,
    pub(super) invitation: Option<Invitation>,
    pub(super) totp: Option<Totp>,
    /// Codes that count once each instead of one of the second factor.
    pub(super) recovery: Vec<Digest>,
    pub(super) last_login: Option<u64>,
    /// By which authenticators know the user; there from the first passkey on. Not in the file without one, so that an earlier
    /// Postern reads it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) handle: Option<passkeys::Handle>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(super) passkeys: Vec<Passkey>,
}

/// The right to choose a password, once.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Invitation {
    pub(super) code: Digest,
    pub(super) until: u64,
}

impl User {
    pub(super) fn is_invited_by(&self, digest: &Digest, now: Duration) -> bool {
        self.invitation.as_ref().is_some_and(|one| one.code == *digest && now.as_secs() < one.until)
    }

    /// Whether this is a code that counts now; it counts once.
    pub(super) fn takes_code(&mut self, typed: &str, now: Duration) -> bool {
        let typed = typed.trim();
        if let Some(totp) = &mut self.totp
            && totp.takes(typed, now)
        {
            return true;
        }
        let digest = Digest::of_code(typed);
        let before = self.recovery.len();
        self.recovery.retain(|one| *one != digest);
        self.recovery.len() < before
    }

    fn state(&self) -> UserState {
        UserState {
            name: self.name.to_string(),
            role: self.role.name().to_owned(),
            domains: self.role.domains(),
            made: self.made,
            has_password: self.password.is_some(),
            invited_until: self.invitation.as_ref().map(|invitation| invitation.until),
            has_totp: self.totp.is_some(),
            recovery_codes: self.recovery.len(),
            passkeys: self.passkeys.len(),
            last_login: self.last_login,
        }
    }
}

/// A token of the API.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Token {
    pub(super) id: String,
    pub(super) name: UserName,
    pub(super) secret: Digest,
    pub(super) scopes: BTreeSet<Scope>,
    pub(super) sight: Sight,
    /// Whoever made it; nobody: the command line.
    pub(super) owner: Option<UserName>,
    pub(super) made: u64,
    pub(super) until: Option<u64>,
    /// To the hour.
    pub(super) last_use: Option<u64>,
}

impl Token {
    pub(super) fn rights(&self) -> Rights {
        Rights::of_scopes(&self.scopes, &self.sight)
    }

    fn state(&self) -> TokenState {
        TokenState {
            id: self.id.clone(),
            name: self.name.to_string(),
            scopes: self.scopes.iter().map(|scope| scope.name().to_owned()).collect(),
            domains: self.sight.domains(),
            owner: self.owner.as_ref().map(ToString::to_string),
            made: self.made,
            until: self.until,
            last_use: self.last_use,
        }
    }
}

/// A user, for lists.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct UserState {
    /// The name.
    pub name: String,
    /// `administrator`, `domain-administrator` or `viewer`.
    pub role: String,
    /// The domains that the role is for; none: all.
    pub domains: Vec<String>,
    /// Since when, in seconds since 1970.
    pub made: u64,
    /// Whether a password was chosen.
    pub has_password: bool,
    /// Until when one can be chosen by a code, in seconds since 1970.
    pub invited_until: Option<u64>,
    /// Whether there is a second factor.
    pub has_totp: bool,
    /// Recovery codes that are left.
    pub recovery_codes: usize,
    /// Passkeys that the user can log in with.
    pub passkeys: usize,
    /// In seconds since 1970.
    pub last_login: Option<u64>,
}

/// A token, for lists.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct TokenState {
    /// By which it is removed.
    pub id: String,
    /// What it is called.
    pub name: String,
    /// What it is for.
    pub scopes: Vec<String>,
    /// Of which domains; none: all.
    pub domains: Vec<String>,
    /// Whose it is; nobody: the command line made it.
    pub owner: Option<String>,
    /// Since when, in seconds since 1970.
    pub made: u64,
    /// Until when, in seconds since 1970; without, until it is removed.
    pub until: Option<u64>,
    /// When it was last used, to the hour, in seconds since 1970.
    pub last_use: Option<u64>,
}

impl Register {
    pub(super) fn user(&self, name: &UserName) -> Option<&User> {
        self.users.iter().find(|user| user.name == *name)
    }

    pub(super) fn user_mut(&mut self, name: &UserName) -> Result<&mut User, AccessError> {
        self.users.iter_mut().find(|user| user.name == *name).ok_or(AccessError::UnknownUser)
    }

    pub(super) fn token(&self, secret: &Digest) -> Option<&Token> {
        self.tokens.iter().find(|token| token.secret == *secret)
    }

    pub(super) fn add(
        &mut self,
        name: &UserName,
        role: Role,
        now: Duration,
    ) -> Result<&mut User, AccessError> {
        if self.user(name).is_some() {
            return Err(AccessError::Exists);
        }
        if self.users.len() >= MAX_USERS {
            return Err(AccessError::TooMany);
        }
        self.users.push(User {
            name: name.clone(),
            role,
            made: now.as_secs(),
            password: None,
            invitation: None,
            totp: None,
            recovery: Vec::new(),
            last_login: None,
            handle: None,
            passkeys: Vec::new(),
        });
        self.user_mut(name)
    }

    /// An error if nobody who can log in is an administrator any more.
    pub(super) fn has_administrator(&self) -> Result<(), AccessError> {
        let is_one = |user: &User| user.role == Role::Administrator && user.password.is_some();
        if self.users.is_empty() || self.users.iter().any(is_one) {
            Ok(())
        } else {
            Err(AccessError::LastAdministrator)
        }
    }

    /// A user who is for nothing but these domains; others are not there.
    pub(super) fn reached(&mut self, name: &UserName, reach: &Sight) -> Result<&mut User, AccessError> {
        let user = self.user_mut(name)?;
        if user.role.is_within(reach) { Ok(user) } else { Err(AccessError::UnknownUser) }
    }

    pub(super) fn users_within(&self, reach: &Sight) -> Vec<UserState> {
        self.users.iter().filter(|user| user.role.is_within(reach)).map(User::state).collect()
    }

    pub(super) fn user_states(&self) -> Vec<UserState> {
        self.users.iter().map(User::state).collect()
    }

    pub(super) fn token_states(&self) -> Vec<TokenState> {
        self.tokens.iter().map(Token::state).collect()
    }
}

/// Where it lies.
#[derive(Clone, Debug)]
pub(super) struct File {
    folder: PathBuf,
}

impl File {
    pub(super) fn in_folder(folder: &Path) -> Result<Self, AccessError> {
        let made = DirBuilder::new().recursive(true).mode(0o700).create(folder);
        made.map_err(|error| AccessError::State { path: folder.into(), error })?;
        Ok(Self { folder: folder.into() })
    }

    /// Nobody where there is no file. One that is damaged lets nobody in, and stops no mail: it is moved aside.
    pub(super) fn read(&self, now: Duration) -> Result<Register, AccessError> {
        let path = self.folder.join(NAME);
        let failed = |error| AccessError::State { path: path.clone(), error };
        let mut text = Vec::new();
        match std::fs::File::open(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Register::default()),
            opened => opened.and_then(|file| file.take(MAX_FILE).read_to_end(&mut text)).map_err(failed)?,
        };
        match serde_json::from_slice::<Register>(&text) {
            Ok(register) if register.format == FORMAT => Ok(register),
            read => {
                let why = read
                    .err()
                    .map_or_else(|| "it is of a later version".to_owned(), |error| error.to_string());
                let aside = self.folder.join(format!("{NAME}.damaged-{}", now.as_secs()));
                std::fs::rename(&path, &aside).map_err(failed)?;
                tracing::error!(path = %path.display(), aside = %aside.display(), why, "the users cannot be read and are moved aside: nobody can log in");
                Ok(Register::default())
            }
        }
    }

    /// All or nothing, and for good.
    pub(super) fn write(&self, register: &Register) -> Result<(), AccessError> {
        let write = || {
            let text = serde_json::to_vec_pretty(register).map_err(io::Error::other)?;
            let (path, new) = (self.folder.join(NAME), self.folder.join(format!("{NAME}.new")));
            let mut file =
                OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&new)?;
            file.write_all(&text)?;
            file.sync_all()?;
            std::fs::rename(&new, &path)?;
            std::fs::File::open(&self.folder)?.sync_all()
        };
        write().map_err(AccessError::NotKept)
    }
}

/// As many recovery codes as one can keep on paper.
pub(super) fn recovery_codes() -> (Vec<String>, Vec<Digest>) {
    let codes: Vec<_> = (0..totp::RECOVERY_CODES).map(|_| super::secret::code()).collect();
    let digests = codes.iter().map(|code| Digest::of_code(code)).collect();
    (codes, digests)
}
