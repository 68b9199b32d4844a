//! The file system, by Landlock (landlock(7)): what is not named here is not there for this process, whoever owns it.

use std::path::PathBuf;

use landlock::{
    ABI, Access as _, AccessFs, AccessNet, BitFlags, Ruleset, RulesetAttr as _, RulesetCreatedAttr as _,
    RulesetError, RulesetStatus, Scope, path_beneath_rules,
};

use crate::roles::error::RoleError;

/// The newest kernel interface whose rights are taken away (Linux 6.10); older kernels take what they know.
const RIGHTS: ABI = ABI::V5;

/// What stays reachable.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Access {
    /// Files and folders to read, with all that is in them. Those that do not exist are left out.
    pub read: Vec<PathBuf>,
    /// Folders to read and write.
    pub write: Vec<PathBuf>,
    /// Folders in which sockets may be made, too.
    pub sockets: Vec<PathBuf>,
}

/// How much of it the kernel does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Enforced {
    /// All.
    Fully,
    /// What an older kernel knows.
    Partly,
    /// Nothing: it was built or started without Landlock.
    Not,
}

/// Leaves this process what `access` names, to open or connect; what is open already stays so.
///
/// # Errors
///
/// The kernel refuses, though it has Landlock.
pub fn confine(access: &Access) -> Result<Enforced, RoleError> {
    let confine = || -> Result<Enforced, RulesetError> {
        let rules = Ruleset::default().handle_access(AccessFs::from_all(RIGHTS))?.create()?;
        let rules = rules
            .add_rules(path_beneath_rules(&access.read, AccessFs::ReadFile | AccessFs::ReadDir))?
            .add_rules(path_beneath_rules(&access.write, keeping_files()))?
            .add_rules(path_beneath_rules(&access.sockets, keeping_files() | AccessFs::MakeSock))?;
        Ok(enforced(&rules.restrict_self()?.ruleset))
    };
    confine().map_err(failed)
}

/// Leaves this process no file to open, no port, and nobody to signal.
///
/// # Errors
///
/// As [`confine`].
pub fn confine_wholly() -> Result<Enforced, RoleError> {
    let confine = || -> Result<Enforced, RulesetError> {
        let rules = Ruleset::default()
            .handle_access(AccessFs::from_all(RIGHTS))?
            .handle_access(AccessNet::from_all(RIGHTS))?
            .scope(Scope::from_all(ABI::V6))?
            .create()?;
        Ok(enforced(&rules.restrict_self()?.ruleset))
    };
    confine().map_err(failed)
}

/// All that is done with files and folders. No programs, no devices, no sockets, no links to elsewhere.
fn keeping_files() -> BitFlags<AccessFs> {
    AccessFs::from_all(RIGHTS)
        & !(AccessFs::Execute
            | AccessFs::MakeChar
            | AccessFs::MakeBlock
            | AccessFs::MakeSock
            | AccessFs::MakeFifo
            | AccessFs::MakeSym
            | AccessFs::IoctlDev)
}

fn enforced(status: &RulesetStatus) -> Enforced {
    match status {
        RulesetStatus::FullyEnforced => Enforced::Fully,
        RulesetStatus::PartiallyEnforced => Enforced::Partly,
        RulesetStatus::NotEnforced => Enforced::Not,
    }
}

fn failed(error: RulesetError) -> RoleError {
    RoleError::Confine { what: "files", error: std::io::Error::other(error) }
}
