//! The machine that the rules are for: how its programs are run, and where it is remembered how it was before.

use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use ipnet::IpNet;
use serde_json::Value;

use crate::error::FirewallError;
use crate::program::Program;

/// How long `nft` or `ip` may take. A large set takes a second on a slow machine.
const PATIENCE: Duration = Duration::from_secs(30);

/// The machine, or rather the network namespace of the calling thread.
#[derive(Clone, Debug)]
pub struct System {
    state: PathBuf,
}

impl System {
    /// `state` is the file that remembers the kernel's earlier settings while a rule set is applied. It should be in a folder
    /// that only root can write to and that a restart empties, such as `/run/postern`: [`remove`](crate::remove) puts back
    /// what it says.
    pub fn new(state: impl Into<PathBuf>) -> Self {
        Self { state: state.into() }
    }

    pub(crate) fn state(&self) -> &Path {
        &self.state
    }

    pub(crate) fn nft(&self, arguments: &[&str], input: &str) -> Result<String, FirewallError> {
        Program::NFT.run(arguments, input, PATIENCE)
    }

    pub(crate) fn ip(&self, arguments: &[&str]) -> Result<String, FirewallError> {
        Program::IP.run(arguments, "", PATIENCE)
    }

    /// The addresses of the appliance, and behind the interface `inside` whole networks: what is not to be banned. Needs no
    /// rights.
    ///
    /// # Errors
    ///
    /// `ip` cannot be run.
    pub fn own_networks(&self, inside: Option<&str>) -> Result<Vec<IpNet>, FirewallError> {
        let answer = self.ip(&["-j", "address", "show"])?;
        let interfaces: Vec<Value> = serde_json::from_str(&answer)
            .map_err(|error| FirewallError::Unreadable { program: "ip", said: error.to_string() })?;
        let mut found = Vec::new();
        for interface in &interfaces {
            let whole = inside.is_some() && interface["ifname"].as_str() == inside;
            for entry in interface["addr_info"].as_array().into_iter().flatten() {
                let address = entry["local"].as_str().and_then(|text| text.parse::<IpAddr>().ok());
                let length = entry["prefixlen"].as_u64().and_then(|length| u8::try_from(length).ok());
                let network = match (address, length.filter(|_| whole)) {
                    (Some(address), Some(length)) => IpNet::new(address, length).ok(),
                    (address, _) => address.map(IpNet::from),
                };
                found.extend(network.map(|network| network.trunc()));
            }
        }
        Ok(found)
    }
}
