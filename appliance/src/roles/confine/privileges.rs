//! The user, the capabilities (capabilities(7)), and what else makes a process more than another.

use std::io;

use rustix::process::{DumpableBehavior, Signal, set_dumpable_behavior, set_parent_process_death_signal};
use rustix::thread::{
    CapabilitySet, CapabilitySets, Gid, Uid, capabilities, capability_is_in_bounding_set,
    clear_ambient_capability_set, remove_capability_from_bounding_set, set_capabilities,
    set_keep_capabilities, set_no_new_privs, set_thread_groups, set_thread_res_gid, set_thread_res_uid,
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
    if !rustix::process::geteuid().is_root() {
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
        set_capabilities(None, sets)?;
        set_no_new_privs(true)?;
        Ok(())
    };
    limit().map_err(|error| RoleError::Confine { what: "capabilities", error })
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

/// Becomes this user with its groups, and keeps only these capabilities. The process ends when its parent does, leaves
/// no core, and nobody of the same user can look into it.
///
/// # Errors
///
/// The kernel refuses: this is not root.
pub fn become_user(account: &Account, keep: CapabilitySet) -> Result<(), RoleError> {
    let change = || -> io::Result<()> {
        let groups: Vec<Gid> = account.groups.iter().map(|group| Gid::from_raw(*group)).collect();
        let (user, group) = (Uid::from_raw(account.user), Gid::from_raw(account.group));
        empty_bounding_set(CapabilitySet::empty())?;
        set_keep_capabilities(true)?;
        set_thread_groups(&groups)?;
        set_thread_res_gid(group, group, group)?;
        set_thread_res_uid(user, user, user)?;
        set_keep_capabilities(false)?;
        // The change of user has forgotten it.
        set_parent_process_death_signal(Some(Signal::KILL))?;
        set_dumpable_behavior(DumpableBehavior::NotDumpable)?;
        Ok(())
    };
    change().map_err(|error| RoleError::Confine { what: "user", error })?;
    limit_to(keep)
}
