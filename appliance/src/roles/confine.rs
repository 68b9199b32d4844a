//! Takes rights away from this process, one kind after the other: user and capabilities, files, system calls, resources.
//! What is gone does not come back.
//!
//! The kernel takes most of it from the calling thread alone. A role calls [`alone`] first and starts threads only
//! afterwards, so that all of them are born with what is left.

pub mod calls;
pub mod files;
pub mod limits;
pub mod privileges;

use std::io;

use rustix::thread::CapabilitySet;

use self::files::{Access, Enforced};
use super::account::Account;
use super::error::RoleError;

/// Sees to it that this process has one thread.
///
/// # Errors
///
/// It has more, or `/proc` cannot be read.
pub fn alone() -> Result<(), RoleError> {
    let failed = |error| RoleError::Confine { what: "threads", error };
    match std::fs::read_dir("/proc/self/task").map_err(failed)?.count() {
        1 => Ok(()),
        count => Err(failed(io::Error::other(format!("there are {count} threads already")))),
    }
}

/// Makes this process the gate's user. What it may still need for addresses that are not its own it has until
/// [`lock_gate`].
///
/// # Errors
///
/// The kernel refuses: this is not root.
pub fn become_gate(account: &Account) -> Result<(), RoleError> {
    limits::prepare_gate()?;
    privileges::become_user(account, privileges::TRANSPARENT)
}

/// Takes the rest from the gate. Without Landlock in the kernel its files are left as their owners say.
///
/// # Errors
///
/// The kernel refuses.
pub fn lock_gate(keep: CapabilitySet, access: &Access) -> Result<Enforced, RoleError> {
    privileges::limit_to(keep)?;
    let enforced = files::confine(access)?;
    calls::confine_gate()?;
    Ok(enforced)
}

/// Takes everything from a worker, in the order in which it can be taken. A kernel without Landlock leaves nothing to it:
/// without open(2) and socket(2) there is nothing to be kept from.
///
/// # Errors
///
/// The kernel refuses one of them.
pub fn lock_worker(account: &Account) -> Result<(), RoleError> {
    limits::confine_worker()?;
    privileges::become_user(account, CapabilitySet::empty())?;
    files::confine_wholly()?;
    calls::confine_worker()
}
