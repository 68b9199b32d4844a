//! What a backup says of itself, in its first member.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

/// The one format there is so far.
pub(crate) const FORMAT: u32 = 1;

/// What a backup says of itself. Believed only once the seal at its end was seen.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Manifest {
    /// The archive's format; 1.
    pub format: u32,
    /// The version of Postern that made it.
    pub version: String,
    /// The appliance's name.
    pub hostname: String,
    /// When it was begun, in seconds since 1970: every message promised before is in it.
    pub made: u64,
    /// The state folder, as the config has it; a relative one starts at the config's folder.
    pub state_dir: PathBuf,
    /// Files of the config's that lie outside its folder and the state folder, in the order of their members.
    pub elsewhere: Vec<Elsewhere>,
    /// Octets of all members but this and the last.
    pub octets: u64,
}

/// A file that the config names, outside its folder.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Elsewhere {
    /// Its absolute path.
    pub path: PathBuf,
}
