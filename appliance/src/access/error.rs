//! Why somebody is not let in, or something is not changed.

use std::io;
use std::path::PathBuf;
use std::time::Duration;

use super::UserName;

/// Why not.
#[derive(Debug, thiserror::Error)]
pub enum AccessError {
    /// Too many passwords are being looked at already.
    #[error("too many people log in at this moment; try again in a few seconds")]
    Busy,
    /// There is one of that name.
    #[error("there is a user of that name already")]
    Exists,
    /// Without an administrator nobody could change anything any more.
    #[error("there must be an administrator left; give somebody else that role first")]
    LastAdministrator,
    /// The name is not one.
    #[error("a name has 1 to 64 letters of a to z, digits, and `.`, `_`, `-` or `@`")]
    Name,
    /// It cannot be written to the disk.
    #[error("it cannot be kept: {0}")]
    NotKept(#[source] io::Error),
    /// The answer of a passkey that is to be added.
    #[error("the passkey could not be added; begin again with your password")]
    NotTaken,
    /// A passkey that does not let in; the log says why, whoever sent it is not told.
    #[error(
        "this passkey does not let you in; try once more, or log in with your password and see on your own page whether it is there"
    )]
    Passkey {
        /// The user, where the passkey said a true one.
        who: Option<UserName>,
        /// Why.
        why: passkeys::Refusal,
    },
    /// The password will not do.
    #[error("a password has 12 to 256 characters, and is not the name")]
    Password,
    /// Domains where there must be none, or the other way round.
    #[error("{0}")]
    Role(&'static str),
    /// The folder cannot be used.
    #[error("{path} cannot be used: {error}", path = .path.display())]
    State {
        /// The folder or file.
        path: PathBuf,
        /// Why.
        error: io::Error,
    },
    /// There are as many as there may be.
    #[error("there are as many as there can be; remove one first")]
    TooMany,
    /// Nobody of that name.
    #[error("there is no such user")]
    UnknownUser,
    /// No such passkey.
    #[error("you have no such passkey, or no longer")]
    UnknownPasskey,
    /// No such token.
    #[error("there is no such token")]
    UnknownToken,
    /// Too many that were wrong.
    #[error("too many attempts; try again in {} seconds", .0.as_secs().max(1))]
    Wait(Duration),
    /// The name, the password, or the code.
    #[error("name, password or code is wrong")]
    Wrong,
    /// The code.
    #[error("the code is wrong, was used, or has expired")]
    WrongCode,
}
