//! What commands about users, tokens and the trail are told.

use clap::{Args, Subcommand, ValueEnum};

/// `postern users`
#[derive(Clone, Debug, Subcommand)]
pub enum UsersAction {
    /// List who may log in, and as what.
    List,
    /// Print a code that makes its bearer an administrator: the first one, or one more.
    Code,
    /// Add a user; prints a code with which they choose their password.
    Add(UserWithRole),
    /// Print a code with which a user chooses a new password.
    Passwd {
        /// The user.
        name: String,
    },
    /// Give a user another role.
    Role(UserWithRole),
    /// Remove a user's second factor and recovery codes.
    Totp {
        /// The user.
        name: String,
    },
    /// Remove all of a user's passkeys, and end the user's sessions.
    Passkeys {
        /// The user.
        name: String,
    },
    /// Remove a user, with the tokens that they made.
    Remove {
        /// The user.
        name: String,
    },
}

/// A user and what they are.
#[derive(Clone, Debug, Args)]
pub struct UserWithRole {
    /// The user: letters, digits, and `.`, `_`, `-`, `@`.
    pub name: String,
    /// What they may do.
    #[arg(long, value_name = "ROLE", value_enum)]
    pub role: RoleName,
    /// The domains that it is for; may be given several times. A viewer without sees all.
    #[arg(long = "domain", value_name = "DOMAIN")]
    pub domains: Vec<String>,
}

/// What a user is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum RoleName {
    /// May do everything.
    Administrator,
    /// May do with the mail of some domains what the page offers.
    DomainAdministrator,
    /// Looks, and changes nothing.
    Viewer,
}

impl RoleName {
    /// As the API has it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Administrator => "administrator",
            Self::DomainAdministrator => "domain-administrator",
            Self::Viewer => "viewer",
        }
    }
}

/// `postern tokens`
#[derive(Clone, Debug, Subcommand)]
pub enum TokensAction {
    /// List the tokens, what each is for, and when it was last used.
    List,
    /// Make a token; prints it, once.
    Add {
        /// What it is called.
        name: String,
        /// What it is for: metrics, read, write, administer; may be given several times.
        #[arg(long = "scope", value_name = "SCOPE", required = true)]
        scopes: Vec<String>,
        /// The domains that it is for; may be given several times [default: all].
        #[arg(long = "domain", value_name = "DOMAIN")]
        domains: Vec<String>,
        /// For how many days it counts [default: until it is removed].
        #[arg(long, value_name = "N")]
        days: Option<u64>,
    },
    /// Remove a token.
    Remove {
        /// As `list` names it.
        id: String,
    },
}

/// `postern audit`
#[derive(Clone, Copy, Debug, Default, Args)]
pub struct AuditList {
    /// At most so many, the latest [default: 100, at most 1000].
    #[arg(long, value_name = "N")]
    pub last: Option<usize>,
}
