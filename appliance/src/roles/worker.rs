//! A sift worker: gives away every right, and looks at bodies.

use super::account::Account;
use super::confine::{alone, limits, lock_worker};
use super::error::RoleError;
use super::inherited;
use crate::command::Exit;

/// Serves until the gate closes the socket.
///
/// # Errors
///
/// It cannot be locked in, or its socket broke.
pub(super) fn run(account: &Account) -> Result<Exit, RoleError> {
    let socket = inherited::socket()?;
    alone()?;
    lock_worker(account)?;
    // There is no log to tell it to: the guard sees how this process ended.
    match sift::worker::serve(&socket, limits::renew_cpu) {
        Ok(sift::worker::End::Nonsense) | Err(_) => Ok(Exit::No),
        Ok(_) => Ok(Exit::Done),
    }
}
