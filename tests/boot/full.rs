//! Matrix rows 5, 6, 7 and 9: what takes more than one boot, or is the same again another way.

use std::fs::{File, OpenOptions};
use std::os::unix::fs::FileExt as _;
use std::path::Path;
use std::process::Command;

use postern_tests::machine::{
    Firmware, HARDWARE, MACHINE, Machine, Medium, Network, Setup, disk, seed, volume,
};
use postern_tests::needs;
use postern_tests::ports;
use postern_tests::scratch::Scratch;
use postern_tests::trunk::Trunk;

use crate::{CONFIG, META_DATA, WORKS, closed, copy_of_the_image, disk_on, greeting, made, partition};

#[test]
fn iso_on_stick_with_uefi() {
    needs!(MACHINE);
    let scratch = Scratch::new("stick");
    let medium = Medium::Stick(made("iso"));
    let mut machine = Machine::start(&scratch, Firmware::Uefi, &medium, None, &[]);
    machine.expect(&["NO CONFIG", "CIDATA"]);
}

/// One bit of the root is another: the hash tree says so, and the kernel stops.
#[test]
fn a_changed_root_does_not_serve() {
    needs!(MACHINE);
    let scratch = Scratch::new("changed");
    let raw = copy_of_the_image(&scratch);
    let root = partition(&raw, 3);
    let file = OpenOptions::new().read(true).write(true).open(&raw).expect("the disk");
    // In EROFS's superblock (at 1,024), which every mount reads.
    let (mut octet, at) = ([0], root + 1024 + 64);
    file.read_exact_at(&mut octet, at).expect("an octet");
    file.write_all_at(&[octet[0] ^ 1], at).expect("an octet");
    drop(file);
    let disk = disk_on(&scratch, &raw);
    let smtp = ports::free();
    let mut machine = Machine::start(&scratch, Firmware::Bios, &Medium::Disk(disk), None, &[(smtp, 25)]);
    machine.expect_end();
    let serial = machine.serial();
    assert!(serial.contains("Kernel panic") && serial.contains("verity"), "{serial}");
}

#[test]
fn a_seed_with_a_mistake_is_refused_in_plain_words() {
    needs!(MACHINE);
    let scratch = Scratch::new("refused");
    let wrong = CONFIG.replace("domains", "domians");
    let volume = seed(&scratch, &[("user-data", &wrong), ("meta-data", META_DATA)]);
    let smtp = ports::free();
    let medium = Medium::Disk(disk(&scratch, "disk.qcow2"));
    let mut machine = Machine::start(&scratch, Firmware::Bios, &medium, Some(&volume), &[(smtp, 25)]);
    machine.expect(&["NO CONFIG", "domians"]);
    closed(smtp);
}

/// A volume as OpenStack attaches it.
#[test]
fn a_config_drive_is_taken() {
    needs!(MACHINE);
    let scratch = Scratch::new("config-drive");
    let about = r#"{"uuid": "83679162-1378-4288-a2d4-70e13ec132aa", "hostname": "mx1.novalocal"}"#;
    let files = [("openstack/latest/user_data", CONFIG), ("openstack/latest/meta_data.json", about)];
    let volume = volume(&scratch, "config-2", &files);
    let (smtp, medium) = (ports::free(), Medium::Disk(disk(&scratch, "disk.qcow2")));
    let mut machine = Machine::start(&scratch, Firmware::Bios, &medium, Some(&volume), &[(smtp, 25)]);
    let said = greeting(&mut machine, smtp);
    assert!(said.starts_with("220 mx1.example.net"), "{said}");
}

/// The interface itself has no address; what is on the VLAN has DHCP there, and mail is taken on it.
#[test]
fn mail_is_taken_on_a_vlan() {
    needs!(MACHINE);
    let scratch = Scratch::new("vlan");
    let network = format!(
        "version: 2\nethernets:\n  trunk:\n    match: {{macaddress: \"{}\"}}\n\
         vlans:\n  mail:\n    id: 42\n    link: trunk\n    dhcp4: true\n",
        HARDWARE[0]
    );
    let files = [("user-data", CONFIG), ("meta-data", META_DATA), ("network-config", &*network)];
    let (volume, medium) = (seed(&scratch, &files), Medium::Disk(disk(&scratch, "disk.qcow2")));
    let (smtp, trunk) = (ports::free(), Trunk::new(42));
    let setup = Setup {
        firmware: Firmware::Bios,
        medium: &medium,
        second_disk: None,
        seed: Some(&volume),
        network: Network::Vlan(vec![(smtp, 25)], [trunk.plain, trunk.tagged]),
        tpm: None,
        system: None,
    };
    let mut machine = setup.start(&scratch);
    let said = greeting(&mut machine, smtp);
    assert!(said.starts_with("220 mx1.example.net"), "{said}");
    // The console tells the address, and on which interface.
    machine.expect(&[WORKS, "10.0.2.15", "mail"]);
}

/// How large the data partition is, in sectors, by the table on a disk.
fn data_partition(scratch: &Scratch, disk: &Path) -> u64 {
    let raw = scratch.join("table");
    let mut copy = Command::new("qemu-img");
    // The first sectors are all that is looked at.
    copy.args(["dd", "-f", "qcow2", "-O", "raw", "bs=512", "count=34"]);
    copy.arg(format!("if={}", disk.display())).arg(format!("of={}", raw.display()));
    assert!(copy.status().expect("qemu-img").success());
    let mut ends = [0; 16];
    // The seventh entry: first and last sector.
    let at = 2 * 512 + 6 * 128 + 32;
    File::open(&raw).and_then(|raw| raw.read_exact_at(&mut ends, at)).expect("the partition table");
    let [first, last] =
        [0, 8].map(|at| u64::from_le_bytes(ends[at..at + 8].try_into().expect("eight octets")));
    last - first
}

/// The second start, without the seed, serves what the first one was told, and has the whole of a disk that has grown.
#[test]
fn what_was_told_once_stays() {
    needs!(MACHINE);
    let scratch = Scratch::new("again");
    let volume = seed(&scratch, &[("user-data", CONFIG), ("meta-data", META_DATA)]);
    let disk = disk(&scratch, "disk.qcow2");
    let medium = Medium::Disk(disk.clone());
    let smtp = ports::free();
    let mut first = Machine::start(&scratch, Firmware::Bios, &medium, Some(&volume), &[(smtp, 25)]);
    greeting(&mut first, smtp);
    first.expect(&[WORKS]);
    // As if somebody pulled the plug.
    drop(first);
    let small = data_partition(&scratch, &disk);
    let mut grow = Command::new("qemu-img");
    grow.args(["resize", "-q", "-f", "qcow2"]).arg(&disk).arg("+1G");
    assert!(grow.status().expect("qemu-img").success());
    let smtp = ports::free();
    let mut second = Machine::start(&scratch, Firmware::Bios, &medium, None, &[(smtp, 25)]);
    let said = greeting(&mut second, smtp);
    assert!(said.starts_with("220 mx1.example.net"), "{said}");
    drop(second);
    let large = data_partition(&scratch, &disk);
    assert!((large - small) * 512 > 1000 << 20, "from {small} to {large} sectors");
}
