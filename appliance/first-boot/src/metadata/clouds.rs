//! What is asked of each cloud, in its own words.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::Cloud;
use super::http::{Answer, Client, said};
use crate::document::{DocumentError, Node, Value, read_json, read_yaml};
use crate::error::FirstBootError;
use crate::network::{read_config, read_digital_ocean};
use crate::seed::config_drive::{Documents, seed as openstack_seed};
use crate::seed::{Seed, content_id, instance_id};

type Asked = Result<Seed, FirstBootError>;

pub(super) async fn ask(cloud: Cloud, client: &Client) -> Asked {
    match cloud {
        Cloud::Ec2 => ec2(client).await,
        Cloud::Gcp => gcp(client).await,
        Cloud::Azure => azure(client).await,
        Cloud::OpenStack => openstack(client).await,
        Cloud::Hetzner => hetzner(client).await,
        Cloud::DigitalOcean => digital_ocean(client).await,
    }
}

fn origin(cloud: Cloud) -> String {
    format!("{cloud}'s metadata service")
}

fn document(file: &'static str) -> impl Fn(DocumentError) -> FirstBootError {
    move |error| FirstBootError::Document { file, error }
}

/// IMDSv2 only: version 1 answers whoever can make the machine send a GET.
async fn ec2(client: &Client) -> Asked {
    const TOKEN: &str = "/latest/api/token";
    const ID: &str = "/latest/meta-data/instance-id";
    let token = client.put(TOKEN, &[("x-aws-ec2-metadata-token-ttl-seconds", "300")]).await?;
    let fits = |token: &&str| !token.is_empty() && token.bytes().all(|b| b.is_ascii_graphic());
    let token = token.line().filter(fits).ok_or_else(|| said(TOKEN, "something else", "a token"))?;
    let fields = [("x-aws-ec2-metadata-token", token)];
    let id = client.must_get(ID, &fields).await?;
    let id =
        id.line().and_then(instance_id).ok_or_else(|| said(ID, "something else", "an instance's name"))?;
    let mut seed = Seed::new(origin(Cloud::Ec2), id);
    let name = client.get("/latest/meta-data/local-hostname", &fields).await?;
    // With several names in its DHCP options a VPC gives all of them.
    seed.name(name.as_ref().and_then(Answer::line).and_then(|names| names.split_whitespace().next()));
    seed.user_data = client.get("/latest/user-data", &fields).await?.map(|answer| answer.body);
    Ok(seed)
}

/// Question and answer both carry the field, so that neither side takes a proxy's word.
async fn gcp(client: &Client) -> Asked {
    const FIELD: &str = "metadata-flavor";
    const FIELDS: [(&str, &str); 1] = [(FIELD, "Google")];
    const ID: &str = "/computeMetadata/v1/instance/id";
    let id = client.must_get(ID, &FIELDS).await?;
    if id.field(FIELD) != Some("Google") {
        return Err(said(ID, "no `Metadata-Flavor: Google`", "Google's metadata service"));
    }
    let id =
        id.line().and_then(instance_id).ok_or_else(|| said(ID, "something else", "an instance's name"))?;
    let mut seed = Seed::new(origin(Cloud::Gcp), id);
    let name = client.get("/computeMetadata/v1/instance/hostname", &FIELDS).await?;
    seed.name(name.as_ref().and_then(Answer::line));
    const DATA: &str = "/computeMetadata/v1/instance/attributes/user-data";
    let encoding = client.get("/computeMetadata/v1/instance/attributes/user-data-encoding", &FIELDS).await?;
    let data = client.get(DATA, &FIELDS).await?.map(|answer| answer.body);
    seed.user_data = match (data, encoding.as_ref().and_then(Answer::line)) {
        (Some(data), Some("base64")) => Some(decoded(DATA, &data)?),
        (data, _) => data,
    };
    Ok(seed)
}

fn decoded(path: &str, text: &[u8]) -> Result<Vec<u8>, FirstBootError> {
    let text: Vec<u8> = text.iter().copied().filter(|byte| !byte.is_ascii_whitespace()).collect();
    STANDARD.decode(text).map_err(|_| said(path, "something else", "base64"))
}

async fn azure(client: &Client) -> Asked {
    // Since this version `userData` is there; a version that the service does not know is refused.
    const PATH: &str = "/metadata/instance?api-version=2021-08-01";
    let answer = client.must_get(PATH, &[("metadata", "true")]).await?;
    let node = read_json(&answer.body).map_err(document("the instance's metadata"))?;
    let compute = node.get("compute");
    let text = |key: &str| compute?.get(key)?.text().filter(|text| !text.is_empty());
    let id = text("vmId").and_then(instance_id).ok_or_else(|| said(PATH, "something else", "a `vmId`"))?;
    let mut seed = Seed::new(origin(Cloud::Azure), id);
    let profile = compute.and_then(|compute| compute.get("osProfile")?.get("computerName")?.text());
    seed.name(profile.filter(|name| !name.is_empty()).or_else(|| text("name")));
    seed.user_data = text("userData").map(|data| decoded(PATH, data.as_bytes())).transpose()?;
    Ok(seed)
}

async fn openstack(client: &Client) -> Asked {
    let meta_data = client.must_get("/openstack/latest/meta_data.json", &[]).await?.body;
    let get = async |path| Ok::<_, FirstBootError>(client.get(path, &[]).await?.map(|answer| answer.body));
    let documents = Documents {
        meta_data: Some(meta_data),
        user_data: get("/openstack/latest/user_data").await?,
        network_data: get("/openstack/latest/network_data.json").await?,
    };
    openstack_seed(&origin(Cloud::OpenStack), documents)
}

async fn hetzner(client: &Client) -> Asked {
    const PATH: &str = "/hetzner/v1/metadata";
    let answer = client.must_get(PATH, &[]).await?;
    let node = read_yaml(&answer.body).map_err(document("Hetzner's metadata"))?;
    let text = |key: &str| node.get(key).and_then(Node::text);
    let id = text("instance-id").and_then(instance_id);
    let mut seed = Seed::new(
        origin(Cloud::Hetzner),
        id.ok_or_else(|| said(PATH, "something else", "an `instance-id`"))?,
    );
    seed.name(text("hostname"));
    if let Some(network) = node.get("network-config").filter(|network| network.value != Value::Null) {
        seed.network(read_config(network, "Hetzner's network-config"));
    }
    seed.user_data = client.get("/hetzner/v1/userdata", &[]).await?.map(|answer| answer.body);
    Ok(seed)
}

async fn digital_ocean(client: &Client) -> Asked {
    let answer = client.must_get("/metadata/v1.json", &[]).await?;
    let node = read_json(&answer.body).map_err(document("DigitalOcean's metadata"))?;
    let text = |key: &str| node.get(key).and_then(Node::text);
    let id = text("droplet_id").and_then(instance_id);
    let mut seed =
        Seed::new(origin(Cloud::DigitalOcean), id.unwrap_or_else(|| content_id(&[Some(&answer.body)])));
    seed.name(text("hostname"));
    seed.network(read_digital_ocean(&node, "DigitalOcean's metadata"));
    seed.user_data = client.get("/metadata/v1/user-data", &[]).await?.map(|answer| answer.body);
    Ok(seed)
}
