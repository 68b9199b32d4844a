//! Where a first configuration comes from, and what all sources have in common.

pub mod config_drive;
pub mod nocloud;
mod volume;

use sha2::{Digest as _, Sha256};

pub use volume::{Folder, Volume, find};

use crate::document::Problem;
use crate::names::HostName;
use crate::network::{Network, NetworkResult};
use crate::note::{Note, extend};

/// Octets of the name that a platform gives this instance.
const MAX_INSTANCE_ID: usize = 128;

/// What a volume or a metadata service says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Seed {
    /// Where it is from, in words.
    pub origin: String,
    /// While it stays the same, the seed has been taken already.
    pub instance_id: String,
    /// The name that the platform gives the machine.
    pub hostname: Option<HostName>,
    /// What the administrator gave the platform for us.
    pub user_data: Option<Vec<u8>>,
    /// The network, if the platform knows it; `Err` if what it says cannot be.
    pub network: Option<Result<Network, Vec<Problem>>>,
    /// What was passed over.
    pub notes: Vec<Note>,
}

impl Seed {
    /// An empty one.
    pub fn new(origin: impl Into<String>, instance_id: String) -> Self {
        let (hostname, user_data, network, notes) = (None, None, None, Vec::new());
        Self { origin: origin.into(), instance_id, hostname, user_data, network, notes }
    }

    /// Takes a name from the platform; one that is none is passed over, as the machine works without.
    pub(crate) fn name(&mut self, name: Option<&str>) {
        let Some(name) = name.filter(|name| !name.is_empty()) else { return };
        self.hostname = HostName::new(name);
        if self.hostname.is_none() {
            let shown = crate::note::shown(name);
            extend(&mut self.notes, [Note::ignored(format!("`{shown}` is not {}", HostName::EXPECTED))]);
        }
    }

    /// Takes a network as it was read.
    pub(crate) fn network(&mut self, read: NetworkResult) {
        self.network = Some(read.map(|(network, notes)| {
            extend(&mut self.notes, notes);
            network
        }));
    }
}

/// An instance's name as it is kept; `None` if it is none that one could compare.
pub(crate) fn instance_id(text: &str) -> Option<String> {
    let text = text.trim();
    let fits = (1..=MAX_INSTANCE_ID).contains(&text.len()) && !text.chars().any(char::is_control);
    fits.then(|| text.to_owned())
}

/// What stands for an instance's name where there is none: the content itself, so that a changed seed is taken again.
pub(crate) fn content_id(parts: &[Option<&[u8]>]) -> String {
    let mut digest = Sha256::new();
    for part in parts {
        let part = part.unwrap_or_default();
        digest.update(part.len().to_be_bytes());
        digest.update(part);
    }
    let hex: String = digest.finalize().iter().map(|byte| format!("{byte:02x}")).collect();
    format!("sha256:{hex}")
}
