//! Matrix rows 1, 2 and 4: disk and ISO, BIOS and UEFI; and what is in the root, without booting it.

use std::fs;

use postern_tests::machine::{Firmware, MACHINE, Machine, Medium, disk, seed};
use postern_tests::needs;
use postern_tests::ports;
use postern_tests::scratch::Scratch;

use crate::{CONFIG, META_DATA, WORKS, answers, closed, greeting, made};

/// Programs that would let somebody do what the appliance does not do by itself.
const NEVER: [&str; 41] = [
    "sh", "bash", "dash", "busybox", "zsh", "ash", "perl", "python", "python3", "lua", "awk", "mawk", "sed",
    "tclsh", "ruby", "php", "gdb", "strace", "apt", "apt-get", "dpkg", "rpm", "login", "agetty", "getty",
    "sulogin", "su", "sudo", "sshd", "ssh", "curl", "wget", "gcc", "cc", "as", "ld", "make", "cron",
    "passwd", "nc", "telnet",
];
/// Folders and files of what the appliance has not: logins, remote shells, timed jobs, compilers, trust by address.
const NOWHERE: [&str; 14] = [
    "/etc/pam.d",
    "/etc/ssh",
    "/etc/sudoers",
    "/etc/cron",
    "/etc/at.",
    "/etc/hosts.equiv",
    "/etc/profile",
    "/etc/securetty",
    "/etc/xinetd",
    "/home",
    "/usr/lib/gcc",
    "/usr/include",
    "/usr/lib/python",
    "/usr/share/perl",
];
/// How exposed a unit may be, by `systemd-analyze security` (0 is best, 10 worst).
const EXPOSED: f64 = 2.0;

/// What a machine with the shortest of configs answers on: mail and submission.
const OPEN: [u16; 3] = [25, 465, 587];
/// What must not be reached from outside: a shell that is not there, the resolver, the public web server, which has nothing to do under
/// a name that no CA certifies, and the page.
const SHUT: [u16; 5] = [22, 53, 80, 443, 8080];

fn disk_serves(name: &str, firmware: Firmware) {
    let scratch = Scratch::new(name);
    let volume = seed(&scratch, &[("user-data", CONFIG), ("meta-data", META_DATA)]);
    let medium = Medium::Disk(disk(&scratch, "disk.qcow2"));
    let smtp = ports::free();
    let others = OPEN[1..].iter().chain(&SHUT).map(|port| (ports::free(), *port));
    let forwards: Vec<_> = [(smtp, 25)].into_iter().chain(others).collect();
    let mut machine = Machine::start(&scratch, firmware, &medium, Some(&volume), &forwards);
    let said = greeting(&mut machine, smtp);
    assert!(said.starts_with("220 mx1.example.net"), "{said}");
    // The console looks every two seconds; both the page and the roles must have said that they work. Nobody can log in yet.
    machine.expect(&[WORKS, "mx1.example.net", "SHA-256", "10.0.2.15", "makes you the page's"]);
    // The rule set and the page's address: nothing but mail can be reached.
    let answering: Vec<_> =
        forwards.iter().filter(|(address, _)| answers(*address)).map(|(_, port)| *port).collect();
    assert_eq!(answering, OPEN, "the ports that answer");
    let serial = machine.serial();
    assert!(!serial.contains("[FAILED]"), "{serial}");
    eprintln!("{name}: mail is taken after {} s", machine.age().as_secs());
}

#[test]
fn disk_with_bios() {
    needs!(MACHINE);
    disk_serves("disk-bios", Firmware::Bios);
}

#[test]
fn disk_with_uefi() {
    needs!(MACHINE);
    disk_serves("disk-uefi", Firmware::Uefi);
}

/// Without a seed nothing is served, and the console says what to do.
fn iso_starts(name: &str, firmware: Firmware) {
    let scratch = Scratch::new(name);
    let smtp = ports::free();
    let medium = Medium::Cd(made("iso"));
    let mut machine = Machine::start(&scratch, firmware, &medium, None, &[(smtp, 25)]);
    machine.expect(&["NO CONFIG", "CIDATA", "10.0.2.15"]);
    closed(smtp);
    let serial = machine.serial();
    assert!(!serial.contains("[FAILED]"), "{serial}");
    eprintln!("{name}: asks for a config after {} s", machine.age().as_secs());
}

#[test]
fn iso_on_cd_with_bios() {
    needs!(MACHINE);
    iso_starts("cd-bios", Firmware::Bios);
}

#[test]
fn iso_on_cd_with_uefi() {
    needs!(MACHINE);
    iso_starts("cd-uefi", Firmware::Uefi);
}

#[test]
fn iso_is_small() {
    let size = fs::metadata(made("iso")).expect("the ISO").len();
    assert!(size <= 200 << 20, "{size} octets");
}

/// Of each file in the root: its rights in octal, its type, its path. Read back from the EROFS image by the build.
#[test]
fn root_has_no_way_in() {
    let list = fs::read_to_string(made("files")).expect("the list of files");
    let mut seen = 0;
    for line in list.lines() {
        let [rights, owner, kind, path] = line.splitn(4, ' ').collect::<Vec<_>>()[..] else {
            panic!("not a line of the list: {line}");
        };
        let rights = u32::from_str_radix(rights, 8).expect("rights");
        let name = path.rsplit('/').next().unwrap_or_default();
        seen += 1;
        assert!(matches!(kind, "f" | "d" | "l"), "{line}: neither file, folder nor link");
        assert_eq!(owner, "0:0", "{line}");
        if kind == "l" {
            continue;
        }
        assert!(kind != "f" || rights & 0o6000 == 0, "{line}: set-uid or set-gid");
        assert!(rights & 0o002 == 0 || rights & 0o1000 != 0, "{line}: anybody may write");
        let program = path.starts_with("/usr/bin/") || path.starts_with("/usr/sbin/");
        assert!(!program || !NEVER.contains(&name), "{path} is in the image");
        assert!(!path.contains("/python3"), "{path}: an interpreter's library of scripts");
        assert!(!NOWHERE.iter().any(|start| path.starts_with(start)), "{path} is in the image");
        let secret = ["/etc/shadow", "/etc/gshadow"].contains(&path);
        assert!(!secret || rights & 0o077 == 0, "{line}: others may read it");
        assert!(name != ".rhosts" && name != ".netrc", "{path} is in the image");
    }
    assert!(seen > 300, "only {seen} files");
    for wanted in ["/usr/bin/postern", "/usr/sbin/unbound", "/usr/lib/systemd/systemd"] {
        assert!(list.contains(wanted), "no {wanted}");
    }
}

#[test]
fn units_are_sandboxed() {
    let scores = fs::read_to_string(made("scores")).expect("the scores");
    let mut ours = 0;
    for line in scores.lines() {
        let (unit, score) = line.split_once(' ').expect("a unit and its score");
        let score: f64 = score.parse().expect("a score");
        assert!(score <= EXPOSED, "{unit} has {score}, which is more than {EXPOSED}");
        ours += 1;
    }
    assert!(ours >= 10, "only {ours} units:\n{scores}");
}

#[test]
fn bill_of_materials_names_both_kinds() {
    let bill: serde_json::Value =
        serde_json::from_slice(&fs::read(made("json")).expect("the bill")).expect("JSON");
    assert_eq!(bill["bomFormat"], "CycloneDX");
    let names: Vec<_> = bill["components"]
        .as_array()
        .expect("components")
        .iter()
        .filter_map(|component| component["purl"].as_str())
        .collect();
    for wanted in
        ["pkg:deb/debian/systemd@", "pkg:deb/debian/unbound@", "pkg:cargo/rustls@", "pkg:cargo/tokio@"]
    {
        assert!(names.iter().any(|name| name.starts_with(wanted)), "{wanted} is missing");
    }
}
