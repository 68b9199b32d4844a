//! `#cloud-config`: five keys are read, those that would do something to the machine are refused by name, each with a reason.

use super::{Complaint, FILE, Validate, Wishes, accept, settings_block, worded};
use crate::document::{At, Fields, Place, Problem, Reading, Value, read_yaml};
use crate::names::{HostName, TimeServer};
use crate::network::read_config;
use crate::note::{Note, extend};

const NO_LOGIN: &str =
    "there are no logins, no shell and no SSH on the appliance; postern.toml and its page are all there is";
const NO_COMMANDS: &str = "nothing from a seed is executed";
const NO_FILES: &str = "no files from a seed are written; settings belong into the `postern:` block";
const NO_PACKAGES: &str = "the system is one read-only image; it is updated as a whole";
const NO_DISKS: &str = "disks are laid out by the image itself";

/// Keys of cloud-init that are refused, and why.
const REFUSED: [(&str, &str); 41] = [
    ("ssh_authorized_keys", NO_LOGIN),
    ("ssh_import_id", NO_LOGIN),
    ("ssh_keys", NO_LOGIN),
    ("ssh_pwauth", NO_LOGIN),
    ("ssh_deletekeys", NO_LOGIN),
    ("ssh_genkeytypes", NO_LOGIN),
    ("ssh_publish_hostkeys", NO_LOGIN),
    ("ssh", NO_LOGIN),
    ("disable_root", NO_LOGIN),
    ("users", NO_LOGIN),
    ("user", NO_LOGIN),
    ("groups", NO_LOGIN),
    ("password", NO_LOGIN),
    ("chpasswd", NO_LOGIN),
    ("runcmd", NO_COMMANDS),
    ("bootcmd", NO_COMMANDS),
    ("ansible", NO_COMMANDS),
    ("chef", NO_COMMANDS),
    ("puppet", NO_COMMANDS),
    ("salt_minion", NO_COMMANDS),
    ("mcollective", NO_COMMANDS),
    ("power_state", NO_COMMANDS),
    ("phone_home", "nothing is reported to anybody but by [log] in the `postern:` block"),
    ("write_files", NO_FILES),
    ("yum_repos", NO_PACKAGES),
    ("packages", NO_PACKAGES),
    ("package_update", NO_PACKAGES),
    ("package_upgrade", NO_PACKAGES),
    ("package_reboot_if_required", NO_PACKAGES),
    ("apt", NO_PACKAGES),
    ("snap", NO_PACKAGES),
    ("mounts", NO_DISKS),
    ("disk_setup", NO_DISKS),
    ("fs_setup", NO_DISKS),
    ("growpart", NO_DISKS),
    ("resize_rootfs", NO_DISKS),
    ("swap", NO_DISKS),
    ("ca_certs", "trusted authorities are named per server: `ca_file` in the `postern:` block"),
    ("timezone", "the appliance keeps UTC, as its logs and mail do"),
    ("resolv_conf", "DNS servers are given by `network` or by DHCP"),
    ("vendor_data", "vendors' data are not read"),
];

/// Keys that ask for nothing that is not so already, and why they have no effect.
const IGNORED: [(&str, &str); 7] = [
    ("manage_etc_hosts", "the appliance's own name is resolved in any case"),
    ("preserve_hostname", "the name is set from the seed"),
    ("prefer_fqdn_over_hostname", "`fqdn` goes before `hostname`"),
    ("create_hostname_file", "the name is kept in any case"),
    ("locale", "messages are English"),
    ("keyboard", "the console takes no input"),
    ("final_message", "the console says how things are"),
];

pub(super) fn read(bytes: &[u8], validate: &Validate<'_>, wishes: &mut Wishes) {
    let node = match read_yaml(bytes) {
        Ok(node) => node,
        Err(error) => return wishes.refuse(worded(error.place, "", &error.wrong)),
    };
    if node.value == Value::Null {
        return;
    }
    let mut reading = Reading::new(FILE);
    let top = reading.top(&node);
    let Some(mut fields) = reading.fields(&top) else { return say(reading, wishes) };
    let fqdn = host_name(&mut reading, &mut fields, "fqdn");
    let hostname = host_name(&mut reading, &mut fields, "hostname");
    wishes.hostname = fqdn.clone().or_else(|| hostname.clone());
    if let Some(at) = fields.take("ntp") {
        wishes.time_servers = ntp(&mut reading, &at);
    }
    let network = fields.take("network");
    let block = fields.take("postern");
    known_but_not_read(&mut reading, &mut fields);
    reading.rest(fields);
    say(reading, wishes);
    if let Some(at) = network {
        match read_config(at.node, "user-data: network") {
            Ok((network, notes)) => {
                wishes.network = Some(network);
                extend(&mut wishes.notes, notes);
            }
            Err(problems) => problems.iter().for_each(|problem| wishes.refuse(problem.to_string())),
        }
    }
    if let Some(at) = block {
        // A short name is none for a mail server.
        let own = fqdn.or(hostname).filter(|name| name.as_str().contains('.'));
        postern(&at, own.as_ref().map(HostName::as_str), validate, wishes);
    }
}

/// Hands on what was noted while the keys were read.
fn say(reading: Reading, wishes: &mut Wishes) {
    match reading.finish(Some(())) {
        Ok(((), notes)) => extend(&mut wishes.notes, notes),
        Err(problems) => problems.iter().map(Problem::to_string).for_each(|problem| wishes.refuse(problem)),
    }
}

fn host_name(reading: &mut Reading, fields: &mut Fields<'_>, key: &str) -> Option<HostName> {
    let at = fields.take(key)?;
    reading.parsed(&at, HostName::EXPECTED, HostName::new)
}

fn ntp(reading: &mut Reading, at: &At<'_>) -> Option<Vec<TimeServer>> {
    /// timesyncd takes them in turn; nobody has more.
    const MOST: usize = 16;
    let mut fields = reading.fields(at)?;
    let enabled = fields.take("enabled");
    if enabled.is_some_and(|at| reading.switch(&at) == Some(false)) {
        reading.refused(
            at.node.place,
            "ntp.enabled",
            "without the right time neither TLS nor DNSSEC can be checked",
        );
    }
    if let Some(at) = fields.take("ntp_client") {
        reading.ignored(&at, "systemd-timesyncd is the only one there is");
    }
    let mut servers = Vec::new();
    for key in ["servers", "pools", "peers"] {
        let Some(at) = fields.take(key) else { continue };
        for at in reading.list(&at, true) {
            servers.extend(reading.parsed(&at, TimeServer::EXPECTED, TimeServer::new));
        }
    }
    if servers.len() > MOST {
        reading.wrong(at, format!("there are more than {MOST} time servers"));
    }
    reading.rest(fields);
    (!servers.is_empty()).then_some(servers)
}

fn known_but_not_read(reading: &mut Reading, fields: &mut Fields<'_>) {
    for (key, why) in REFUSED {
        if let Some(at) = fields.take(key) {
            reading.refused(at.node.place, key, why);
        }
    }
    for (key, why) in IGNORED {
        if let Some(at) = fields.take(key) {
            reading.ignored(&at, why);
        }
    }
}

/// The settings, as a map of the keys of `postern.toml` or as its text.
fn postern(at: &At<'_>, hostname: Option<&str>, validate: &Validate<'_>, wishes: &mut Wishes) {
    let as_text = at.node.text().map(str::to_owned);
    let text = match as_text.clone().map_or_else(|| settings_block::text(at.node, hostname), Ok) {
        Ok(text) => text,
        Err(not) => return wishes.refuse(worded(not.place, "postern", not.wrong)),
    };
    let complaints = match validate(&text) {
        Ok(accepted) => return accept(text, &accepted, wishes),
        Err(complaints) => complaints,
    };
    for Complaint { line, column, key, words } in complaints {
        let (place, key) = match as_text {
            // Lines count within the text, whose indentation is gone.
            Some(_) => (None, format!("postern, line {line}, column {column}: {key}")),
            None => {
                let place: Option<Place> = settings_block::place_of(at.node, &key);
                (place, if key.is_empty() { "postern".to_owned() } else { format!("postern.{key}") })
            }
        };
        extend(&mut wishes.notes, [Note::refused(worded(place, key.trim_end_matches(": "), &words))]);
        wishes.incomplete = true;
    }
}
