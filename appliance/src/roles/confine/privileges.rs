//! The user, the capabilities (capabilities(7)), and what else makes a process more than another.

use std::io;

use rustix::process::{
    DumpableBehavior, Signal, geteuid, set_dumpable_behavior, set_parent_process_death_signal,
};
use rustix::thread::{
    CapabilitySet, CapabilitySets, Gid, Uid, capabilities, capability_is_in_bounding_set,
    clear_ambient_capability_set, configure_capability_in_ambient_set, remove_capability_from_bounding_set,
    set_capabilities, set_keep_capabilities, set_no_new_privs, set_thread_groups, set_thread_res_gid,
    set_thread_res_uid,
};

use crate::roles::account::Account;
use crate::roles::error::RoleError;

/// What the guard keeps: the rule set, ports below 1024, and what it takes to start the others with less.
pub const GUARD: CapabilitySet = CapabilitySet::NET_ADMIN
    .union(CapabilitySet::NET_BIND_SERVICE)
    .union(CapabilitySet::NET_RAW)
    .union(CapabilitySet::SETUID)
    .union(CapabilitySet::SETGID)
    .union(CapabilitySet::SETPCAP)
    .union(CapabilitySet::KILL);

/// What a guard keeps that has a user without rights: ports below 1024, and what the gate may need of it.
pub const GUARD_OF_USER: CapabilitySet = CapabilitySet::NET_BIND_SERVICE.union(TRANSPARENT);

/// What keeps the rule set for it.
pub const RULES: CapabilitySet = CapabilitySet::NET_ADMIN;

/// What the gate keeps where it speaks with addresses that are not its own (IP_TRANSPARENT, SO_MARK).
pub const TRANSPARENT: CapabilitySet = CapabilitySet::NET_RAW;

/// The kernel knows 41 of them; those it does not know cannot be in any set.
const ALL: std::ops::Range<u32> = 0..64;

/// Whether this process may start others under another user.
///
/// # Errors
///
/// Why not, in words.
pub fn may_separate() -> Result<(), &'static str> {
    if !geteuid().is_root() {
        return Err("not started as root");
    }
    let needed = CapabilitySet::SETUID | CapabilitySet::SETGID | CapabilitySet::SETPCAP | CapabilitySet::KILL;
    match capabilities(None) {
        Ok(sets) if sets.effective.contains(needed) => Ok(()),
        _ => Err("root without the capabilities to change users"),
    }
}

/// Keeps only these capabilities, as far as this process has them, for itself and whatever it starts.
///
/// # Errors
///
/// The kernel refuses.
pub fn limit_to(keep: CapabilitySet) -> Result<(), RoleError> {
    let limit = || -> io::Result<()> {
        let had = capabilities(None)?;
        if had.effective.contains(CapabilitySet::SETPCAP) {
            empty_bounding_set(keep)?;
        }
        clear_ambient_capability_set()?;
        let kept = had.permitted & keep;
        let sets = CapabilitySets { effective: kept, permitted: kept, inheritable: CapabilitySet::empty() };
        // Where there is nothing to give away the call is not made: a service manager's list need not have it.
        if sets != had {
            set_capabilities(None, sets)?;
        }
        set_no_new_privs(true)?;
        Ok(())
    };
    limit().map_err(|error| RoleError::Confine { what: "capabilities", error })
}

/// Keeps [`GUARD_OF_USER`], as far as this process has it, and lets those whom it starts have [`TRANSPARENT`] of it. Nobody
/// else of the same user can look into this process.
///
/// # Errors
///
/// The kernel refuses.
pub fn limit_guard_of_user() -> Result<(), RoleError> {
    limit_to(GUARD_OF_USER)?;
    let hand_down = || -> io::Result<()> {
        let had = capabilities(None)?;
        let inheritable = had.permitted & TRANSPARENT;
        set_capabilities(None, CapabilitySets { inheritable, ..had })?;
        if !inheritable.is_empty() {
            configure_capability_in_ambient_set(inheritable, true)?;
        }
        Ok(set_dumpable_behavior(DumpableBehavior::NotDumpable)?)
    };
    hand_down().map_err(|error| RoleError::Confine { what: "capabilities", error })
}

fn empty_bounding_set(keep: CapabilitySet) -> io::Result<()> {
    for number in ALL {
        let Some(one) = CapabilitySet::from_bits(1 << number) else { continue };
        // The kernel says EINVAL of those that it does not know.
        if !keep.contains(one) && capability_is_in_bounding_set(one).unwrap_or(false) {
            remove_capability_from_bounding_set(one)?;
        }
    }
    Ok(())
}

/// Becomes this user with its groups, unless it is that already, and keeps only these capabilities. The process ends when
/// its parent does, leaves no core, and nobody of the same user can look into it.
///
/// # Errors
///
/// The kernel refuses: this is neither root nor that user.
pub fn become_user(account: &Account, keep: CapabilitySet) -> Result<(), RoleError> {
    let change = || -> io::Result<()> {
        if geteuid().as_raw() != account.user {
            change_user(account)?;
        }
        // The change of user has forgotten it.
        set_parent_process_death_signal(Some(Signal::KILL))?;
        set_dumpable_behavior(DumpableBehavior::NotDumpable)?;
        Ok(())
    };
    change().map_err(|error| RoleError::Confine { what: "user", error })?;
    limit_to(keep)
}

fn change_user(account: &Account) -> io::Result<()> {
    let groups: Vec<Gid> = account.groups.iter().map(|group| Gid::from_raw(*group)).collect();
    let (user, group) = (Uid::from_raw(account.user), Gid::from_raw(account.group));
    empty_bounding_set(CapabilitySet::empty())?;
    set_keep_capabilities(true)?;
    set_thread_groups(&groups)?;
    set_thread_res_gid(group, group, group)?;
    set_thread_res_uid(user, user, user)?;
    Ok(set_keep_capabilities(false)?)
}
