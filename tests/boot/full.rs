//! Matrix rows 5, 6, 7 and 9: what takes more than one boot, or is the same again another way.

use std::fs::OpenOptions;
use std::os::unix::fs::FileExt as _;
use std::process::Command;

use postern_tests::machine::{Firmware, MACHINE, Machine, Medium, disk, seed};
use postern_tests::needs;
use postern_tests::ports;
use postern_tests::scratch::Scratch;

use crate::{CONFIG, META_DATA, WORKS, closed, greeting, made, partition};

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
    let raw = scratch.join("disk.raw");
    let mut copy = Command::new("cp");
    copy.arg("--sparse=always").arg(made("raw")).arg(&raw);
    assert!(copy.status().expect("cp").success());
    let root = partition(&raw, 3);
    let file = OpenOptions::new().read(true).write(true).open(&raw).expect("the disk");
    // In EROFS's superblock (at 1,024), which every mount reads.
    let (mut octet, at) = ([0], root + 1024 + 64);
    file.read_exact_at(&mut octet, at).expect("an octet");
    file.write_all_at(&[octet[0] ^ 1], at).expect("an octet");
    drop(file);
    let disk = scratch.join("disk.qcow2");
    let mut command = Command::new("qemu-img");
    command.args(["create", "-q", "-f", "qcow2", "-F", "raw", "-b"]).arg(&raw).arg(&disk).arg("3G");
    assert!(command.status().expect("qemu-img").success());
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

/// The second start, without the seed, serves what the first one was told.
#[test]
fn what_was_told_once_stays() {
    needs!(MACHINE);
    let scratch = Scratch::new("again");
    let volume = seed(&scratch, &[("user-data", CONFIG), ("meta-data", META_DATA)]);
    let disk = disk(&scratch, "disk.qcow2");
    let medium = Medium::Disk(disk);
    let smtp = ports::free();
    let mut first = Machine::start(&scratch, Firmware::Bios, &medium, Some(&volume), &[(smtp, 25)]);
    greeting(&mut first, smtp);
    first.expect(&[WORKS]);
    // As if somebody pulled the plug.
    drop(first);
    let smtp = ports::free();
    let mut second = Machine::start(&scratch, Firmware::Bios, &medium, None, &[(smtp, 25)]);
    let said = greeting(&mut second, smtp);
    assert!(said.starts_with("220 mx1.example.net"), "{said}");
}
