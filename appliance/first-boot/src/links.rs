//! New names for interfaces. They exist already when a seed is read, so udev is asked to look at them once more.

use std::path::Path;
use std::time::Duration;

use crate::network::{Kind, Mac, Network, Pattern};
use crate::note::Note;

/// How often the kernel is asked whether an interface has its new name, and for how long in all: udev answers in milliseconds, but not
/// on a host with twenty times the work that it has processors for. Without its names a gateway takes no mail until the next start.
const LOOK: Duration = Duration::from_millis(50);
const PATIENCE: Duration = Duration::from_secs(60);
/// How often udev is asked again. It looks whether it has new .link files once in three seconds at most, so that what it is asked
/// right after an event of its own it answers by the old ones.
const ASK_AGAIN: Duration = Duration::from_secs(1);
/// Interfaces that are looked at.
const MAX_LINKS: usize = 256;

/// Asks udev to rename what is to be renamed, and waits until it is; says what is not there.
pub(crate) fn rename(root: &Path, network: &Network) -> Vec<Note> {
    let folder = root.join("sys/class/net");
    let mut waited = Duration::ZERO;
    let mut notes = Vec::new();
    for interface in &network.interfaces {
        let Kind::Ethernet { mac, name, set_name: Some(new), .. } = &interface.kind else { continue };
        if folder.join(new.as_str()).exists() {
            if mac.is_some_and(|mac| address(&folder.join(new.as_str())) != Some(mac)) {
                let words = format!(
                    "another interface is called {new} already; choose a name that the kernel does not use"
                );
                notes.push(Note::refused(words));
            }
            continue;
        }
        let Some(old) = find(&folder, *mac, name.as_ref()) else {
            let words = format!(
                "no interface is there that could be called {new}; see its address in the hypervisor"
            );
            notes.push(Note::refused(words));
            continue;
        };
        if let Err(words) = call(&folder, &old, new.as_str(), &mut waited) {
            notes.push(Note::refused(words));
        }
    }
    notes
}

/// Until it is so, or patience is at an end.
fn call(folder: &Path, old: &str, new: &str, waited: &mut Duration) -> Result<(), String> {
    let is_called = || folder.join(new).exists();
    let mut asked = None;
    while !is_called() {
        if *waited >= PATIENCE {
            return Err(format!(
                "{old} was not called {new} in time; choose a name that the kernel does not use"
            ));
        }
        if asked.is_none_or(|at| *waited >= at + ASK_AGAIN) {
            asked = Some(*waited);
            // What udev gets when a driver finds the interface; it reads the .link files then (systemd.link(5)).
            match std::fs::write(folder.join(old).join("uevent"), "add\n") {
                Err(_) if is_called() => break,
                Err(error) => return Err(format!("{old} cannot be called {new}: {error}")),
                Ok(()) => {}
            }
        }
        pause();
        *waited += LOOK;
    }
    Ok(())
}

#[allow(
    clippy::disallowed_methods,
    reason = "before the boot goes on there is no runtime, and nothing else to do"
)]
fn pause() {
    std::thread::sleep(LOOK);
}

fn find(folder: &Path, mac: Option<Mac>, name: Option<&Pattern>) -> Option<String> {
    let entries = std::fs::read_dir(folder).ok()?.take(MAX_LINKS);
    let mut names: Vec<String> =
        entries.filter_map(|entry| Some(entry.ok()?.file_name().to_string_lossy().into_owned())).collect();
    names.sort();
    names.into_iter().find(|link| match (mac, name) {
        (Some(mac), _) => address(&folder.join(link)) == Some(mac),
        (None, Some(name)) => *link == name.to_string(),
        (None, None) => false,
    })
}

fn address(link: &Path) -> Option<Mac> {
    Mac::new(std::fs::read_to_string(link.join("address")).ok()?.trim())
}
