//! The two steps of a boot: [`local`] before there is a network, [`network`] once there is one and the cloud is to be asked.
//!
//! Whatever goes wrong with a seed is noted, and the machine comes up with what it had before; with nothing before, by DHCP.
//! Only what cannot be written at all is an error.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use crate::error::FirstBootError;
use crate::links;
use crate::metadata::{self, Client, Cloud, Dmi, SERVICE};
use crate::names::HostName;
use crate::network::{render, render_provisional};
use crate::note::{Note, Weight, extend};
use crate::runtime::{Report, Runtime};
use crate::seed::{self, Seed, Volume, config_drive, nocloud};
use crate::stored::{self, Stored};
use crate::user_data::{self, Validate};

/// How long a cloud's service is asked by a machine that knows nothing yet.
const PATIENCE: Duration = Duration::from_secs(90);
/// And by one that has settings: mail waits for it.
const PATIENCE_WITH_SETTINGS: Duration = Duration::from_secs(15);
/// The name of a machine that nobody named.
const NAMELESS: &str = "postern";

/// Where everything is, and whom to ask.
#[derive(Clone, Debug)]
pub struct Settings {
    /// What every path begins with; `/` but in tests.
    pub root: PathBuf,
    /// The metadata service, [`SERVICE`] but in tests.
    pub service: SocketAddr,
    /// How long it is asked by a machine without and with settings.
    pub patience: (Duration, Duration),
}

impl Settings {
    /// For the machine that this is, or with another root for all paths.
    pub fn new(root: impl Into<PathBuf>) -> Self {
        Self { root: root.into(), service: SERVICE, patience: (PATIENCE, PATIENCE_WITH_SETTINGS) }
    }

    /// Whether it is this machine whose name and interfaces are meant.
    pub fn is_real(&self) -> bool {
        self.root == std::path::Path::new("/")
    }
}

/// Looks for a seed volume, takes it if it is new, and puts everything in place below `/run`.
///
/// # Errors
///
/// Something cannot be written below `/run`.
pub fn local(settings: &Settings, validate: &Validate<'_>) -> Result<Report, FirstBootError> {
    let mut notes = Vec::new();
    let mut stored = load(settings, &mut notes);
    let found = seed::find(&settings.root);
    let has_volume = found.is_some();
    if let Some((volume, folder)) = found {
        let read = folder.and_then(|folder| match volume {
            Volume::NoCloud => nocloud::read(&folder),
            Volume::ConfigDrive => config_drive::read(&folder),
        });
        offered(settings, read, &mut stored, validate, &mut notes);
    }
    let cloud = Dmi::read(&settings.root).cloud().filter(|_| !has_volume);
    if !has_volume && cloud.is_none() && stored.is_none() {
        let words = "no seed was found: give the machine a volume labelled CIDATA (docs/first-boot.md)";
        extend(&mut notes, [Note::refused(words)]);
    }
    let runtime = Runtime::new(&settings.root);
    put_in_place(settings, &runtime, stored.as_ref(), cloud, &mut notes)?;
    runtime.metadata_wanted(cloud.map(Cloud::name))?;
    report(settings, &runtime, stored.as_ref(), cloud, notes)
}

/// Asks the cloud's metadata service, takes what it says if it is new, and puts it in place.
///
/// # Errors
///
/// Something cannot be written below `/run`.
pub async fn network(settings: &Settings, validate: &Validate<'_>) -> Result<Report, FirstBootError> {
    let mut notes = Vec::new();
    let mut stored = load(settings, &mut notes);
    let runtime = Runtime::new(&settings.root);
    let Some(cloud) = Dmi::read(&settings.root).cloud() else {
        extend(&mut notes, [Note::ignored("this machine's firmware names no cloud with a metadata service")]);
        return report(settings, &runtime, stored.as_ref(), None, notes);
    };
    let (without, with) = settings.patience;
    let patience = if stored.is_some() { with } else { without };
    let client = Client::new(settings.service).with_patience(patience.min(Client::PATIENCE));
    let asked = metadata::ask(cloud, &client, patience).await;
    let before = stored.clone();
    offered(settings, asked, &mut stored, validate, &mut notes);
    // Nothing new: the interfaces are left in peace.
    if stored != before || stored.is_none() {
        put_in_place(settings, &runtime, stored.as_ref(), Some(cloud), &mut notes)?;
        runtime.changed()?;
        let report = report(settings, &runtime, stored.as_ref(), None, notes)?;
        return Ok(Report { changed: true, ..report });
    }
    report(settings, &runtime, stored.as_ref(), None, notes)
}

/// What is stored. Damage is as good as nothing, and is said.
fn load(settings: &Settings, notes: &mut Vec<Note>) -> Option<Stored> {
    match stored::load(&settings.root) {
        Ok(stored) => stored,
        Err(error) => {
            extend(notes, [Note::refused(error.to_string())]);
            None
        }
    }
}

/// A seed, or why there is none: taken if it is another than the last one.
fn offered(
    settings: &Settings,
    read: Result<Seed, FirstBootError>,
    stored: &mut Option<Stored>,
    validate: &Validate<'_>,
    notes: &mut Vec<Note>,
) {
    let seed = match read {
        Ok(seed) => seed,
        Err(error) => return extend(notes, [Note::refused(error.to_string())]),
    };
    let id = crate::note::shown(&seed.instance_id);
    let known = stored.as_ref().and_then(|stored| stored.instance_id.as_deref());
    if known == Some(&seed.instance_id) {
        let words = format!(
            "{} was taken before (instance-id {id}); a changed one needs another instance-id",
            seed.origin
        );
        return extend(notes, [Note::done(words)]);
    }
    let (config, new) = take(seed, stored.as_ref(), validate, notes);
    match stored::keep(&settings.root, config.as_deref(), &new) {
        Ok(()) => {}
        // It works for this boot.
        Err(error) => extend(notes, [Note::refused(error.to_string())]),
    }
    *stored = Some(new);
}

/// Each part of the seed that is right goes in place of the one before.
fn take(
    seed: Seed,
    before: Option<&Stored>,
    validate: &Validate<'_>,
    notes: &mut Vec<Note>,
) -> (Option<String>, Stored) {
    let Seed { origin, instance_id, hostname, user_data, network, notes: own } = seed;
    let mut new = before.cloned().unwrap_or_default();
    extend(
        notes,
        [Note::done(format!("{origin} is taken (instance-id {})", crate::note::shown(&instance_id)))],
    );
    extend(notes, own);
    let wishes = user_data.map(|bytes| user_data::read(&bytes, validate)).unwrap_or_default();
    let mut incomplete = wishes.incomplete;
    extend(notes, wishes.notes);
    // What the administrator wrote goes before what the platform says.
    new.hostname = wishes.hostname.or(hostname).or(wishes.settings_hostname).or(new.hostname);
    new.time_servers = wishes.time_servers.unwrap_or(new.time_servers);
    match (wishes.network, network) {
        (Some(network), _) | (None, Some(Ok(network))) => new.network = Some(network),
        (None, Some(Err(problems))) => {
            incomplete = true;
            extend(notes, problems.iter().map(|problem| Note::refused(problem.to_string())));
            let kept =
                if new.network.is_some() { "the network stays as it was before" } else { "DHCP is used" };
            extend(notes, [Note::refused(format!("the network of the seed is not taken; {kept}"))]);
        }
        // A seed that says nothing of the network means DHCP, not the network of another instance.
        (None, None) => new.network = None,
    }
    new.instance_id = (!incomplete).then_some(instance_id);
    new.origin = origin;
    (wishes.settings, new)
}

fn put_in_place(
    settings: &Settings,
    runtime: &Runtime,
    stored: Option<&Stored>,
    cloud: Option<Cloud>,
    notes: &mut Vec<Note>,
) -> Result<(), FirstBootError> {
    let network = stored.and_then(|stored| stored.network.as_ref());
    let link_local = cloud.is_some_and(Cloud::needs_link_local);
    let files = network.map_or_else(|| render_provisional(link_local), render);
    runtime.network(&files)?;
    runtime.time_servers(stored.map_or(&[], |stored| &stored.time_servers))?;
    runtime.resolvers(&network.map(|network| network.all_resolvers()).unwrap_or_default())?;
    let name = stored.and_then(|stored| stored.hostname.as_ref()).map_or(NAMELESS, HostName::as_str);
    runtime.hostname(name)?;
    if settings.is_real()
        && let Err(error) = rustix::system::sethostname(name.as_bytes())
    {
        extend(notes, [Note::ignored(format!("the machine's name cannot be set: {error}"))]);
    }
    extend(notes, network.map(|network| links::rename(&settings.root, network)).unwrap_or_default());
    Ok(())
}

fn report(
    settings: &Settings,
    runtime: &Runtime,
    stored: Option<&Stored>,
    asking: Option<Cloud>,
    notes: Vec<Note>,
) -> Result<Report, FirstBootError> {
    let has_config = stored::has_config(&settings.root);
    let refused = notes.iter().filter(|note| note.weight == Weight::Refused).count();
    let network =
        if stored.is_some_and(|stored| stored.network.is_some()) { "as configured" } else { "by DHCP" };
    let config = if has_config { "a config is there" } else { "there is no config yet" };
    let mut line = format!("network {network}; {config}");
    if let Some(cloud) = asking {
        line.push_str(&format!("; {cloud}'s metadata service is asked"));
    }
    match refused {
        0 => {}
        1 => line.push_str("; something was refused"),
        _ => line.push_str(&format!("; {refused} things were refused")),
    }
    let hostname = stored.and_then(|stored| stored.hostname.as_ref()).map(|name| name.as_str().to_owned());
    let asking = asking.map(|cloud| cloud.name().to_owned());
    let report = Report { line, hostname, has_config, asking, notes, changed: false };
    runtime.report(&report)?;
    Ok(report)
}
