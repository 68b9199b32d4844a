//! OpenStack's config drive, and what its metadata service says in the same words.

use super::{Folder, Seed, content_id, instance_id};
use crate::document::{Node, Reading, Value, read_json};
use crate::error::FirstBootError;
use crate::network::read_openstack;

/// The three documents; `None` for what is not there.
#[derive(Clone, Debug, Default)]
pub struct Documents {
    /// `meta_data.json`
    pub meta_data: Option<Vec<u8>>,
    /// `user_data`
    pub user_data: Option<Vec<u8>>,
    /// `network_data.json`
    pub network_data: Option<Vec<u8>>,
}

/// Reads the volume.
///
/// # Errors
///
/// A file cannot be read, or `meta_data.json` is missing or no JSON.
pub fn read(folder: &Folder) -> Result<Seed, FirstBootError> {
    let documents = Documents {
        meta_data: folder.read("openstack/latest/meta_data.json")?,
        user_data: folder.read("openstack/latest/user_data")?,
        network_data: folder.read("openstack/latest/network_data.json")?,
    };
    seed("the config drive", documents)
}

/// Makes a seed of the documents.
///
/// # Errors
///
/// `meta_data.json` is missing or no JSON.
pub fn seed(origin: &str, documents: Documents) -> Result<Seed, FirstBootError> {
    let Documents { meta_data, user_data, network_data } = documents;
    let meta = meta_data.ok_or(FirstBootError::Empty("meta_data.json"))?;
    let node =
        read_json(&meta).map_err(|error| FirstBootError::Document { file: "meta_data.json", error })?;
    let text = |key: &str| node.get(key).and_then(Node::text);
    let id = text("uuid").and_then(instance_id);
    let content = || content_id(&[Some(meta.as_slice()), user_data.as_deref(), network_data.as_deref()]);
    let mut seed = Seed::new(origin, id.unwrap_or_else(content));
    seed.name(text("hostname").or_else(|| text("name")));
    if let Some(bytes) = network_data {
        const FILE: &str = "network_data.json";
        let read = read_json(&bytes).map_err(|error| Reading::unreadable(FILE, error));
        // Where a network is switched off for the platform, it says nothing of links.
        let says_something = |node: &Node| {
            let links = node.get("links").map(|links| &links.value);
            links.is_some_and(|links| matches!(links, Value::List(links) if !links.is_empty()))
        };
        match read {
            Ok(node) if !says_something(&node) => {}
            read => seed.network(read.and_then(|node| read_openstack(&node, FILE))),
        }
    }
    seed.user_data = user_data;
    Ok(seed)
}
