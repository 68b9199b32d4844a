//! The user that gate and workers run as.

use std::ffi::CString;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

use nix::unistd::{Gid, Group, Uid, User, getgrouplist};

use super::error::RoleError;

/// Its name, where the system has it.
const NAME: &str = "postern";
/// Who has no files anywhere.
const NOBODY: &str = "nobody";

/// A user without rights, by numbers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Account {
    /// The user; never 0.
    pub user: u32,
    /// The main group.
    pub group: u32,
    /// Further groups, so that a group such as `ssl-cert` can open keys to it.
    pub groups: Vec<u32>,
    /// For people.
    pub name: String,
}

impl Account {
    /// User `postern` if there is one, else whoever owns the state folder, else `nobody`; and why, in words.
    ///
    /// # Errors
    ///
    /// There is none of them.
    pub fn choose(state_dir: &Path) -> Result<(Self, &'static str), RoleError> {
        if let Some(user) = by_name(NAME) {
            return Ok((user, "it exists"));
        }
        let owner = std::fs::metadata(state_dir).map(|facts| (facts.uid(), facts.gid()));
        if let Ok((user, group)) = owner
            && user != 0
        {
            return Ok((
                by_number(user, group),
                "there is no user `postern`, and state_dir belongs to this one",
            ));
        }
        let nobody = by_name(NOBODY).ok_or(RoleError::Account)?;
        Ok((nobody, "there is no user `postern`, and state_dir belonged to root"))
    }

    /// The user that this process has already.
    ///
    /// # Errors
    ///
    /// It is root.
    pub fn own() -> Result<Self, RoleError> {
        let (user, group) = (Uid::effective(), Gid::effective());
        if user.is_root() {
            return Err(RoleError::OwnUserIsRoot);
        }
        let known = User::from_uid(user).ok().flatten();
        let name = known.map_or_else(|| user.to_string(), |known| known.name);
        // Its further groups are this process's already, and nobody without rights may set them.
        Ok(Self { user: user.as_raw(), group: group.as_raw(), groups: Vec::new(), name })
    }
}

fn by_name(name: &str) -> Option<Account> {
    let user = User::from_name(name).ok().flatten().filter(|user| !user.uid.is_root())?;
    Some(whole(&user))
}

fn by_number(user: u32, group: u32) -> Account {
    match User::from_uid(Uid::from_raw(user)).ok().flatten() {
        Some(known) => whole(&known),
        None => Account { user, group, groups: Vec::new(), name: user.to_string() },
    }
}

fn whole(user: &User) -> Account {
    let groups = CString::new(user.name.as_str()).ok().and_then(|name| getgrouplist(&name, user.gid).ok());
    // Group root would open what only root's own programs should read.
    let others = |group: &Gid| *group != user.gid && group.as_raw() != 0;
    let groups = groups.unwrap_or_default().into_iter().filter(others).map(Gid::as_raw).collect();
    Account { user: user.uid.as_raw(), group: user.gid.as_raw(), groups, name: user.name.clone() }
}

/// A user's groups in words, for the log.
pub(super) fn group_name(group: u32) -> String {
    let known = Group::from_gid(Gid::from_raw(group)).ok().flatten();
    known.map_or_else(|| group.to_string(), |group| group.name)
}
