//! What outlives a restart: `postern.toml`, and beside it one file with all the rest. Each is replaced as a whole, and the second
//! names the seed, so that a seed that was taken by half is taken again.

use std::fs::{File, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::error::FirstBootError;
use crate::names::{HostName, TimeServer};
use crate::network::Network;

/// Where settings are kept. Not below `/var/lib/postern`: all of that belongs to the role that reads the network.
pub const SETTINGS: &str = "var/lib/postern-settings";
/// The appliance's config.
pub const CONFIG: &str = "postern.toml";
/// All the rest.
const REST: &str = "first-boot.json";
/// Octets of the rest: more than the largest network.
const MAX_REST: u64 = 4 << 20;
/// The shape of the rest; another one is left out.
const VERSION: u32 = 1;

/// What was resolved from the last seed, and the ones before.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stored {
    version: u32,
    /// The seed that was taken; `None` while some of it was refused, so that it is read again.
    pub instance_id: Option<String>,
    /// Where it was from, in words.
    pub origin: String,
    /// The machine's name.
    pub hostname: Option<HostName>,
    /// Its time servers.
    pub time_servers: Vec<TimeServer>,
    /// Its network; `None` is DHCP everywhere.
    pub network: Option<Network>,
}

impl Default for Stored {
    fn default() -> Self {
        let (instance_id, hostname, network) = (None, None, None);
        Self {
            version: VERSION,
            instance_id,
            origin: String::new(),
            hostname,
            time_servers: Vec::new(),
            network,
        }
    }
}

/// Reads what is kept; `None` if nothing is.
///
/// # Errors
///
/// It is damaged.
pub fn load(root: &Path) -> Result<Option<Stored>, FirstBootError> {
    let path = root.join(SETTINGS).join(REST);
    let damaged = |reason: String| FirstBootError::Stored { path: path.clone(), reason };
    let mut text = Vec::new();
    match File::open(&path).and_then(|file| file.take(MAX_REST).read_to_end(&mut text)) {
        Ok(_) => {}
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(damaged(error.to_string())),
    }
    let stored: Stored = serde_json::from_slice(&text).map_err(|error| damaged(error.to_string()))?;
    if stored.version != VERSION {
        return Err(damaged(format!("its version is {}, not {VERSION}", stored.version)));
    }
    Ok(Some(stored))
}

/// Keeps a config, if there is a new one, and then the rest.
///
/// # Errors
///
/// One of them cannot be written; what was there before is still there, whole.
pub fn keep(root: &Path, config: Option<&str>, stored: &Stored) -> Result<(), FirstBootError> {
    let folder = root.join(SETTINGS);
    let failed = |path: &Path| {
        let path = path.to_owned();
        move |error: io::Error| FirstBootError::Write { path, error }
    };
    if !folder.exists() {
        let made = std::fs::DirBuilder::new().recursive(true).mode(0o750).create(&folder);
        made.map_err(failed(&folder))?;
    }
    if let Some(config) = config {
        replace(&folder, CONFIG, config.as_bytes()).map_err(failed(&folder.join(CONFIG)))?;
    }
    let mut rest = serde_json::to_vec_pretty(stored)
        .map_err(|error| failed(&folder.join(REST))(io::Error::other(error)))?;
    rest.push(b'\n');
    replace(&folder, REST, &rest).map_err(failed(&folder.join(REST)))
}

/// Whether there is a config.
pub fn has_config(root: &Path) -> bool {
    root.join(SETTINGS).join(CONFIG).is_file()
}

/// After a power cut there is the old content or the new one: write beside, sync, rename, sync the folder.
fn replace(folder: &Path, name: &str, content: &[u8]) -> io::Result<()> {
    let beside = folder.join(format!(".{name}.new"));
    // Left over from a cut, with whatever rights.
    match std::fs::remove_file(&beside) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    // Others in the folder's group read the config; nobody else does, as passwords may be in it.
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o640).open(&beside)?;
    file.set_permissions(std::fs::Permissions::from_mode(0o640))?;
    file.write_all(content)?;
    file.sync_all()?;
    std::fs::rename(&beside, folder.join(name))?;
    File::open(folder)?.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stored() -> Stored {
        Stored {
            instance_id: Some("i-1".into()),
            hostname: HostName::new("mx1.example"),
            ..Stored::default()
        }
    }

    #[test]
    fn what_was_kept_is_read_back_and_is_for_its_group_alone() {
        let root = tempfile::tempdir().unwrap();
        assert_eq!(load(root.path()).unwrap(), None);
        keep(root.path(), Some("hostname = \"x\"\n"), &stored()).unwrap();
        assert_eq!(load(root.path()).unwrap(), Some(stored()));
        let file = root.path().join(SETTINGS).join(CONFIG);
        assert_eq!(std::fs::read_to_string(&file).unwrap(), "hostname = \"x\"\n");
        assert_eq!(std::fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o640);
        keep(root.path(), None, &Stored::default()).unwrap();
        assert_eq!(std::fs::read_to_string(&file).unwrap(), "hostname = \"x\"\n", "kept");
        let left: Vec<_> = std::fs::read_dir(root.path().join(SETTINGS)).unwrap().collect();
        assert_eq!(left.len(), 2, "nothing is left over: {left:?}");
    }

    #[test]
    fn damage_is_said_and_a_leftover_is_no_hindrance() {
        let root = tempfile::tempdir().unwrap();
        keep(root.path(), None, &stored()).unwrap();
        let file = root.path().join(SETTINGS).join(REST);
        let whole = std::fs::read(&file).unwrap();
        for length in 0..whole.len() - 1 {
            std::fs::write(&file, &whole[..length]).unwrap();
            // The last cut leaves out the line end alone.
            assert!(load(root.path()).is_err(), "{length} octets");
        }
        std::fs::write(&file, String::from_utf8(whole).unwrap().replace("\"version\": 1", "\"version\": 2"))
            .unwrap();
        assert!(load(root.path()).unwrap_err().to_string().contains("version is 2"));
        std::fs::write(root.path().join(SETTINGS).join(format!(".{REST}.new")), "torn").unwrap();
        keep(root.path(), None, &stored()).unwrap();
        assert_eq!(load(root.path()).unwrap(), Some(stored()));
    }
}
