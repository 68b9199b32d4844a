//! cloud-init's NoCloud: `meta-data`, `user-data`, `network-config` on a volume labelled `CIDATA`.

use super::{Folder, Seed, content_id, instance_id};
use crate::document::{Node, Reading, read_yaml};
use crate::error::FirstBootError;
use crate::network::read_config;
use crate::note::{Note, extend};

/// Reads the volume.
///
/// # Errors
///
/// A file cannot be read, or `meta-data` is not YAML.
pub fn read(folder: &Folder) -> Result<Seed, FirstBootError> {
    let meta = folder.read("meta-data")?;
    let user = folder.read("user-data")?;
    let network = folder.read("network-config")?;
    if meta.is_none() && user.is_none() && network.is_none() {
        return Err(FirstBootError::Empty("meta-data, user-data or network-config"));
    }
    let content = content_id(&[meta.as_deref(), user.as_deref(), network.as_deref()]);
    let mut seed = meta_data(meta.as_deref().unwrap_or_default(), content)?;
    seed.user_data = user;
    if let Some(bytes) = network.filter(|bytes| !bytes.trim_ascii().is_empty()) {
        const FILE: &str = "network-config";
        let read = read_yaml(&bytes).map_err(|error| Reading::unreadable(FILE, error));
        seed.network(read.and_then(|node| read_config(&node, FILE)));
    }
    if folder.read("vendor-data").is_ok_and(|found| found.is_some_and(|bytes| !bytes.is_empty())) {
        extend(&mut seed.notes, [Note::ignored("vendor-data: vendors' data are not read")]);
    }
    Ok(seed)
}

/// Reads `meta-data`; `content` stands for an `instance-id` that is not there.
///
/// # Errors
///
/// It is not YAML, or no map.
pub fn meta_data(bytes: &[u8], content: String) -> Result<Seed, FirstBootError> {
    const FILE: &str = "meta-data";
    let node = read_yaml(bytes).map_err(|error| FirstBootError::Document { file: FILE, error })?;
    let text = |key: &str| node.get(key).and_then(Node::text);
    let mut seed =
        Seed::new("the NoCloud volume", text("instance-id").and_then(instance_id).unwrap_or(content));
    seed.name(text("local-hostname").or_else(|| text("hostname")));
    for (key, why) in [
        ("network-interfaces", "interfaces(5) is not read; give network-config"),
        ("public-keys", "there are no logins on the appliance"),
    ] {
        if node.get(key).is_some() {
            extend(&mut seed.notes, [Note::refused(format!("{FILE}: {key}: {why}"))]);
        }
    }
    Ok(seed)
}
