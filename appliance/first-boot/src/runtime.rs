//! What is put below `/run` at every boot: made from what is stored, read by systemd-networkd, timesyncd, unbound, the console.

use std::fmt::Write as _;
use std::io;
use std::net::IpAddr;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::error::FirstBootError;
use crate::names::TimeServer;
use crate::network::{PREFIX, RenderedFile};
use crate::note::Note;

const NETWORKD: &str = "run/systemd/network";
const TIMESYNCD: &str = "run/systemd/timesyncd.conf.d";
const OWN: &str = "run/postern";
/// Its presence starts `postern first-boot network`.
const WANTED: &str = "run/postern/metadata-wanted";
/// What the console reads.
const REPORT: &str = "run/postern/first-boot.json";

/// What became of the seed, for the console.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Report {
    /// In one line.
    pub line: String,
    /// The machine's name, if it has one.
    pub hostname: Option<String>,
    /// Whether there is a config.
    pub has_config: bool,
    /// The cloud whose metadata service is being asked.
    pub asking: Option<String>,
    /// What was done, passed over and refused.
    pub notes: Vec<Note>,
    /// Whether files for systemd-networkd have changed that it has read already.
    #[serde(skip)]
    pub changed: bool,
}

/// Below which folder everything is: `/` but in tests.
#[derive(Clone, Debug)]
pub(crate) struct Runtime {
    root: PathBuf,
}

impl Runtime {
    pub(crate) fn new(root: &Path) -> Self {
        Self { root: root.to_owned() }
    }

    /// Puts the files of the network in place of those of the boot or seed before.
    pub(crate) fn network(&self, files: &[RenderedFile]) -> Result<(), FirstBootError> {
        for file in files {
            self.write(&format!("{NETWORKD}/{}", file.name), &file.text)?;
        }
        let folder = self.root.join(NETWORKD);
        let failed = |error| FirstBootError::Write { path: folder.clone(), error };
        for entry in std::fs::read_dir(&folder).map_err(failed)? {
            let name = entry.map_err(failed)?.file_name().to_string_lossy().into_owned();
            let is_ours = name
                .get(2..)
                .is_some_and(|rest| rest.strip_prefix('-').is_some_and(|rest| rest.starts_with(PREFIX)));
            if is_ours && !files.iter().any(|file| file.name == name) {
                std::fs::remove_file(folder.join(name)).map_err(failed)?;
            }
        }
        Ok(())
    }

    pub(crate) fn time_servers(&self, servers: &[TimeServer]) -> Result<(), FirstBootError> {
        let path = format!("{TIMESYNCD}/50-postern.conf");
        if servers.is_empty() {
            return self.remove(&path);
        }
        let servers: Vec<String> = servers.iter().map(ToString::to_string).collect();
        self.write(&path, &format!("[Time]\nNTP={}\n", servers.join(" ")))
    }

    /// DNS servers that unbound asks instead of the world's. It validates what they say.
    pub(crate) fn resolvers(&self, resolvers: &[IpAddr]) -> Result<(), FirstBootError> {
        let mut text = "# Made by `postern first-boot` at each boot; changes here are lost.\n".to_owned();
        if !resolvers.is_empty() {
            text.push_str("forward-zone:\n    name: \".\"\n");
        }
        for resolver in resolvers {
            let _ = writeln!(text, "    forward-addr: {resolver}");
        }
        self.write(&format!("{OWN}/unbound-forward.conf"), &text)
    }

    pub(crate) fn hostname(&self, name: &str) -> Result<(), FirstBootError> {
        self.write(&format!("{OWN}/hostname"), &format!("{name}\n"))
    }

    /// Asks for `first-boot network`, or takes the wish back.
    pub(crate) fn metadata_wanted(&self, cloud: Option<&str>) -> Result<(), FirstBootError> {
        match cloud {
            Some(cloud) => self.write(WANTED, &format!("{cloud}\n")),
            None => self.remove(WANTED),
        }
    }

    pub(crate) fn report(&self, report: &Report) -> Result<(), FirstBootError> {
        let json = serde_json::to_string_pretty(report).unwrap_or_default();
        self.write(REPORT, &format!("{json}\n"))?;
        self.write(&format!("{OWN}/state"), &format!("{}\n", crate::note::one_line(&report.line)))
    }

    /// Tells a unit that watches it.
    pub(crate) fn changed(&self) -> Result<(), FirstBootError> {
        self.write(&format!("{OWN}/changed"), "")
    }

    /// Readers never see half of a file. /run is memory: nothing to sync.
    fn write(&self, path: &str, text: &str) -> Result<(), FirstBootError> {
        let path = self.root.join(path);
        let write = || -> io::Result<()> {
            let folder = path.parent().ok_or(io::ErrorKind::InvalidInput)?;
            std::fs::create_dir_all(folder)?;
            let name = path.file_name().unwrap_or_default().to_string_lossy();
            let beside = folder.join(format!(".{name}.new"));
            std::fs::write(&beside, text)?;
            std::fs::rename(&beside, &path)
        };
        write().map_err(|error| FirstBootError::Write { path: path.clone(), error })
    }

    fn remove(&self, path: &str) -> Result<(), FirstBootError> {
        let path = self.root.join(path);
        match std::fs::remove_file(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                Err(FirstBootError::Write { path, error })
            }
            _ => Ok(()),
        }
    }
}

/// What the last boot's `first-boot` said; `None` before it ran, or if it cannot be read.
pub fn read_report(root: &Path) -> Option<Report> {
    /// Octets: every note there can be, with room.
    const MAX_REPORT: u64 = 1 << 20;
    let mut text = Vec::new();
    let file = std::fs::File::open(root.join(REPORT)).ok()?;
    io::Read::read_to_end(&mut io::Read::take(file, MAX_REPORT), &mut text).ok()?;
    serde_json::from_slice(&text).ok()
}
