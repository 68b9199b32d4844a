//! Whole boots below a folder of their own: first one, second one, another seed, a bad one, torn state.

use std::fs;
use std::path::Path;
use std::time::Duration;

use crate::service::{Behaviour, Reply, Request, Service};
use first_boot::{Accepted, Complaint, Report, Settings, Weight};
use tempfile::TempDir;

/// The config's reader of these tests: `hostname = "..."` on the first line.
fn reader(text: &str) -> Result<Accepted, Vec<Complaint>> {
    let table: Result<toml::Table, _> = text.parse();
    match table.ok().and_then(|table| Some(table.get("hostname")?.as_str()?.to_owned())) {
        Some(hostname) => Ok(Accepted { hostname }),
        None => {
            let words = "is missing; expected a name".to_owned();
            Err(vec![Complaint { line: 2, column: 5, key: "hostname".to_owned(), words }])
        }
    }
}

struct Machine {
    root: TempDir,
    settings: Settings,
}

impl Machine {
    fn new() -> Self {
        let root = tempfile::tempdir().unwrap();
        let settings = Settings::new(root.path());
        Self { root, settings }
    }

    fn path(&self, path: &str) -> std::path::PathBuf {
        self.root.path().join(path)
    }

    fn write(&self, path: &str, text: &str) {
        let path = self.path(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    fn read(&self, path: &str) -> String {
        fs::read_to_string(self.path(path)).unwrap_or_default()
    }

    fn seed(&self, files: &[(&str, &str)]) {
        let _ = fs::remove_dir_all(self.path("dev/disk/by-label"));
        files.iter().for_each(|(name, text)| self.write(&format!("dev/disk/by-label/CIDATA/{name}"), text));
    }

    fn without_seed(&self) {
        fs::remove_dir_all(self.path("dev/disk/by-label")).unwrap();
    }

    /// A restart: /run is gone.
    fn boot(&self) -> Report {
        let _ = fs::remove_dir_all(self.path("run"));
        first_boot::local(&self.settings, &reader).unwrap()
    }

    async fn ask(&self) -> Report {
        first_boot::network(&self.settings, &reader).await.unwrap()
    }

    fn network_files(&self) -> Vec<String> {
        let Ok(entries) = fs::read_dir(self.path("run/systemd/network")) else { return Vec::new() };
        let mut names: Vec<_> =
            entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }
}

fn refused(report: &Report) -> Vec<&str> {
    let refused = report.notes.iter().filter(|note| note.weight == Weight::Refused);
    refused.map(|note| note.words.as_str()).collect()
}

const META: (&str, &str) = ("meta-data", "instance-id: i-1\nlocal-hostname: one\n");
const CONFIG: (&str, &str) = ("user-data", "hostname = \"mx1.example.net\"\n");
const NETWORK: (&str, &str) = (
    "network-config",
    "version: 2\nethernets:\n  eth0:\n    addresses: [192.0.2.10/24]\n    gateway4: 192.0.2.1\n    nameservers: {addresses: [192.0.2.53]}\n",
);
const DHCP: &str = "80-postern-dhcp.network";
const FIXED: &str = "10-postern-00-eth0.network";

#[test]
fn without_anything_every_port_asks_by_dhcp_and_the_console_says_what_to_do() {
    let machine = Machine::new();
    let report = machine.boot();
    assert_eq!(machine.network_files(), [DHCP]);
    assert_eq!(machine.read("run/postern/hostname"), "postern\n");
    assert!(refused(&report)[0].contains("a volume labelled CIDATA"), "{report:?}");
    assert!(!report.has_config && !machine.path("run/postern/metadata-wanted").exists());
    assert_eq!(machine.read("run/postern/state").lines().count(), 1);
    assert_eq!(first_boot::read_report(machine.root.path()), Some(report));
}

#[test]
fn a_seed_is_taken_kept_and_not_needed_any_more() {
    let machine = Machine::new();
    machine.seed(&[
        META,
        (
            "user-data",
            "#cloud-config\nntp: {servers: [ntp.example.net]}\npostern: {hostname: mx1.example.net}\n",
        ),
        NETWORK,
    ]);
    let report = machine.boot();
    assert_eq!(refused(&report), Vec::<&str>::new());
    let check = |when: &str| {
        assert_eq!(machine.network_files(), [FIXED], "{when}");
        assert!(
            machine.read(&format!("run/systemd/network/{FIXED}")).contains("Address=192.0.2.10/24"),
            "{when}"
        );
        assert_eq!(machine.read("run/postern/hostname"), "one\n", "{when}");
        assert_eq!(
            machine.read("run/systemd/timesyncd.conf.d/50-postern.conf"),
            "[Time]\nNTP=ntp.example.net\n"
        );
        assert!(
            machine.read("run/postern/unbound-forward.conf").contains("forward-addr: 192.0.2.53"),
            "{when}"
        );
        assert_eq!(machine.read("var/lib/postern-settings/postern.toml"), "hostname = \"mx1.example.net\"\n");
    };
    check("at first");
    machine.without_seed();
    let report = machine.boot();
    check("without the volume");
    assert!(report.has_config && refused(&report).is_empty(), "{report:?}");
}

#[test]
fn the_same_instance_is_not_taken_again_and_another_one_is() {
    let machine = Machine::new();
    machine.seed(&[META, CONFIG, NETWORK]);
    machine.boot();
    machine.seed(&[META, ("user-data", "hostname = \"other.example\"\n")]);
    let report = machine.boot();
    assert!(report.notes[0].words.contains("taken before"), "{report:?}");
    assert_eq!(machine.read("var/lib/postern-settings/postern.toml"), CONFIG.1);
    assert_eq!(machine.network_files(), [FIXED]);
    machine.seed(&[("meta-data", "instance-id: i-2\n"), ("user-data", "hostname = \"other.example\"\n")]);
    machine.boot();
    assert_eq!(machine.read("var/lib/postern-settings/postern.toml"), "hostname = \"other.example\"\n");
    assert_eq!(machine.network_files(), [DHCP], "a seed without a network means DHCP");
    // Nothing named it anew but the config.
    assert_eq!(machine.read("run/postern/hostname"), "other.example\n");
}

#[test]
fn without_an_instance_id_the_content_is_it() {
    let machine = Machine::new();
    machine.seed(&[CONFIG]);
    assert!(machine.boot().notes[0].words.contains("is taken"));
    assert!(machine.boot().notes[0].words.contains("taken before"));
    machine.seed(&[("user-data", "hostname = \"mx2.example.net\"\n")]);
    machine.boot();
    assert!(machine.read("var/lib/postern-settings/postern.toml").contains("mx2"));
}

#[test]
fn a_bad_config_is_refused_by_line_and_column_and_the_one_before_stays() {
    let machine = Machine::new();
    machine.seed(&[META, CONFIG, NETWORK]);
    machine.boot();
    let bad = ("user-data", "# no name\nx = 1\n");
    machine.seed(&[("meta-data", "instance-id: i-2\n"), bad, NETWORK]);
    for _ in 0..2 {
        // Not marked as taken: said at every boot until it is put right.
        let report = machine.boot();
        assert!(refused(&report)[0].contains("user-data:2:5: hostname: is missing"), "{report:?}");
        assert!(report.has_config);
        assert_eq!(machine.read("var/lib/postern-settings/postern.toml"), CONFIG.1);
        assert_eq!(machine.network_files(), [FIXED]);
    }
    machine.seed(&[
        ("meta-data", "instance-id: i-2\n"),
        ("user-data", "hostname = \"mx2.example\"\n"),
        NETWORK,
    ]);
    assert!(refused(&machine.boot()).is_empty());
    assert!(machine.read("var/lib/postern-settings/postern.toml").contains("mx2"));
}

#[test]
fn a_bad_network_leaves_the_one_before_and_with_none_before_dhcp() {
    let machine = Machine::new();
    let bad = ("network-config", "version: 2\nethernets:\n  eth0: {mtu: 5, dhcp4: true}\n");
    machine.seed(&[META, CONFIG, bad]);
    let report = machine.boot();
    assert!(refused(&report)[0].contains("network-config:3:15: ethernets.eth0.mtu"), "{report:?}");
    assert!(refused(&report)[1].contains("DHCP is used"));
    assert_eq!(machine.network_files(), [DHCP]);
    assert!(report.has_config, "the rest is taken");
    machine.seed(&[META, CONFIG, NETWORK]);
    machine.boot();
    assert_eq!(machine.network_files(), [FIXED]);
    machine.seed(&[("meta-data", "instance-id: i-3\n"), bad]);
    let report = machine.boot();
    assert!(refused(&report)[1].contains("stays as it was"), "{report:?}");
    assert_eq!(machine.network_files(), [FIXED]);
}

#[test]
fn torn_state_never_leaves_the_machine_without_a_network() {
    let machine = Machine::new();
    machine.seed(&[META, CONFIG, NETWORK]);
    machine.boot();
    let kept = machine.read("var/lib/postern-settings/first-boot.json");
    machine.without_seed();
    for cut in [0, 1, kept.len() / 2, kept.len() - 3] {
        machine.write("var/lib/postern-settings/first-boot.json", &kept[..cut]);
        let report = machine.boot();
        assert_eq!(machine.network_files(), [DHCP], "{cut} octets");
        assert!(refused(&report)[0].contains("is damaged"), "{report:?}");
        assert!(report.has_config, "the config is another file");
    }
    machine.write(
        "var/lib/postern-settings/first-boot.json",
        &kept.replace("192.0.2.10/24", "192.0.2.10/24\\nX=y"),
    );
    machine.boot();
    assert_eq!(machine.network_files(), [DHCP]);
    // With its seed it heals.
    machine.seed(&[META, CONFIG, NETWORK]);
    machine.boot();
    assert_eq!(machine.network_files(), [FIXED]);
}

#[test]
fn what_cannot_be_kept_works_for_this_boot_and_is_said() {
    let machine = Machine::new();
    machine.write("var/lib/postern-settings", "a file where the folder should be");
    machine.seed(&[META, CONFIG, NETWORK]);
    let report = machine.boot();
    assert!(refused(&report).iter().any(|words| words.contains("cannot be written")), "{report:?}");
    assert_eq!(machine.network_files(), [FIXED]);
    assert!(!report.has_config);
    // Without /run there is nothing that could be put in place: that alone is an error.
    fs::remove_dir_all(machine.path("run")).unwrap();
    machine.write("run", "no folder either");
    let error = first_boot::local(&machine.settings, &reader).unwrap_err();
    assert!(error.to_string().contains("cannot be written"), "{error}");
}

#[test]
fn a_seed_that_is_none_or_cannot_be_read_is_said() {
    let machine = Machine::new();
    machine.seed(&[("readme", "x")]);
    assert!(refused(&machine.boot())[0].contains("the seed is empty"));
    machine.seed(&[("meta-data", "a: [")]);
    assert!(
        refused(&machine.boot())[0].contains("meta-data: 1:")
            || refused(&machine.boot())[0].contains("meta-data: 2:")
    );
    machine.seed(&[("user-data", &"x".repeat(300 << 10))]);
    assert!(refused(&machine.boot())[0].contains("larger than 262144 octets"));
    // Whoever makes a volume does not choose what else of this machine is read.
    machine.seed(&[META]);
    machine.write("secret", "hostname = \"x.example\"\n");
    std::os::unix::fs::symlink(machine.path("secret"), machine.path("dev/disk/by-label/CIDATA/user-data"))
        .unwrap();
    assert!(refused(&machine.boot())[0].contains("user-data of the seed cannot be read"));
    assert!(!machine.path("var/lib/postern-settings/postern.toml").exists());
    machine.write("dev/disk/by-label/CIDATA/meta-data", "instance-id: i-9\n");
    machine.without_seed();
    machine.write("dev/disk/by-label/cidata", "no block device");
    assert!(refused(&machine.boot())[0].contains("cannot be mounted"));
    assert_eq!(machine.network_files(), [DHCP]);
}

#[test]
fn a_config_drive_is_read_where_there_is_no_nocloud_volume() {
    let machine = Machine::new();
    let drive = "dev/disk/by-label/config-2/openstack/latest";
    machine.write(&format!("{drive}/meta_data.json"), r#"{"uuid": "u-1", "hostname": "mx1.novalocal"}"#);
    machine.write(&format!("{drive}/user_data"), CONFIG.1);
    machine.write(
        &format!("{drive}/network_data.json"),
        r#"{"links": [{"id": "l0", "type": "phy", "ethernet_mac_address": "fa:16:3e:00:00:01"}],
            "networks": [{"id": "n0", "type": "ipv4", "link": "l0", "ip_address": "10.0.0.5", "netmask": "255.255.255.0"}]}"#,
    );
    let report = machine.boot();
    assert!(refused(&report).is_empty(), "{report:?}");
    assert_eq!(machine.network_files(), ["10-postern-00-l0.network"]);
    assert_eq!(machine.read("run/postern/hostname"), "mx1.novalocal\n");
    assert!(report.has_config);
}

fn hetzner(request: &Request) -> Reply {
    match request.path.as_str() {
        "/hetzner/v1/metadata" => Reply::text("hostname: cloudy\ninstance-id: 42\n"),
        "/hetzner/v1/userdata" => Reply::text(CONFIG.1),
        _ => Reply::status(404),
    }
}

#[tokio::test]
async fn a_cloud_is_asked_once_there_is_a_network() {
    let mut machine = Machine::new();
    machine.write("sys/class/dmi/id/sys_vendor", "Hetzner\n");
    let report = machine.boot();
    assert_eq!(machine.read("run/postern/metadata-wanted"), "Hetzner\n");
    assert_eq!(report.asking.as_deref(), Some("Hetzner"));
    assert_eq!(machine.network_files(), [DHCP]);
    let service = Service::start(Behaviour::Answers(hetzner)).await;
    machine.settings.service = service.address;
    let report = machine.ask().await;
    assert!(report.has_config && refused(&report).is_empty() && report.asking.is_none(), "{report:?}");
    assert_eq!(machine.read("run/postern/hostname"), "cloudy\n");
    assert!(machine.path("run/postern/changed").exists());
    // The second boot asks for one thing only, and changes nothing.
    machine.boot();
    assert_eq!(machine.read("run/postern/hostname"), "cloudy\n");
    let report = machine.ask().await;
    assert!(report.notes[0].words.contains("taken before"), "{report:?}");
    assert!(!machine.path("run/postern/changed").exists());
}

#[tokio::test]
async fn a_cloud_that_does_not_answer_is_said_and_the_boot_goes_on() {
    let mut machine = Machine::new();
    machine.write("sys/class/dmi/id/sys_vendor", "DigitalOcean\n");
    machine.boot();
    assert!(machine.read(&format!("run/systemd/network/{DHCP}")).contains("LinkLocalAddressing=yes"));
    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    machine.settings.service = free;
    machine.settings.patience = (Duration::from_millis(50), Duration::from_millis(50));
    let report = machine.ask().await;
    assert!(refused(&report)[0].contains("gave up"), "{report:?}");
    assert_eq!(machine.network_files(), [DHCP]);
    assert!(!report.has_config);
}

#[test]
fn a_volume_goes_before_the_cloud() {
    let machine = Machine::new();
    machine.write("sys/class/dmi/id/sys_vendor", "Hetzner\n");
    machine.seed(&[META, CONFIG]);
    machine.boot();
    assert!(!machine.path("run/postern/metadata-wanted").exists());
    assert_eq!(machine.read("run/postern/hostname"), "one\n");
}

#[test]
fn interfaces_that_are_missing_are_said_and_those_that_are_there_are_shown_to_udev() {
    let machine = Machine::new();
    let sys = "sys/class/net";
    machine.write(&format!("{sys}/ens3/address"), "52:54:00:12:34:56\n");
    machine.write(&format!("{sys}/ens3/uevent"), "");
    let network = "version: 2\nethernets:\n  a: {match: {macaddress: '52:54:00:12:34:56'}, set-name: outside, dhcp4: true}\n  \
                   b: {match: {macaddress: '52:54:00:12:34:57'}, set-name: inside, dhcp4: true}\n";
    machine.seed(&[META, ("network-config", network)]);
    let root = machine.root.path().to_owned();
    let udev = std::thread::spawn(move || udev(&root.join(sys)));
    let report = machine.boot();
    assert!(udev.join().unwrap(), "udev was told");
    assert_eq!(
        refused(&report),
        ["no interface is there that could be called inside; see its address in the hypervisor"]
    );
    assert!(machine.network_files().contains(&"10-postern-00-a.link".to_owned()));
}

/// Renames once it is told, as udev would.
fn udev(folder: &Path) -> bool {
    for _ in 0..200 {
        if fs::read_to_string(folder.join("ens3/uevent")).is_ok_and(|text| text == "add\n") {
            fs::rename(folder.join("ens3"), folder.join("outside")).unwrap();
            return true;
        }
        #[allow(clippy::disallowed_methods, reason = "no runtime is here")]
        std::thread::sleep(Duration::from_millis(10));
    }
    false
}
