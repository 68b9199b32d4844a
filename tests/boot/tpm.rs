//! A TPM2 keeps the data partition's key: made at the first start, had again at the next, and nothing else in its place.

use std::fs::File;
use std::os::unix::fs::FileExt as _;
use std::path::Path;
use std::process::Command;

use postern_tests::machine::{
    Firmware, MACHINE, Machine, Medium, Network, STORE, Setup, TPM, Tpm, disk, seed,
};
use postern_tests::needs;
use postern_tests::ports;
use postern_tests::scratch::Scratch;

use crate::{CONFIG, META_DATA, WORKS, greeting, partition};

/// The first octets of a LUKS volume.
const LUKS: [u8; 6] = *b"LUKS\xba\xbe";

fn start(
    scratch: &Scratch,
    medium: &Medium,
    seed: Option<&Path>,
    tpm: &Tpm,
) -> (Machine, std::net::SocketAddr) {
    let smtp = ports::free();
    let network = Network::Forwards(vec![(smtp, 25)]);
    let firmware = Firmware::Uefi;
    let setup = Setup { firmware, medium, second_disk: None, seed, network, tpm: Some(tpm), system: None };
    (setup.start(scratch), smtp)
}

#[test]
fn the_data_partition_is_encrypted_and_this_tpm_alone_opens_it() {
    needs!(MACHINE, TPM);
    let scratch = Scratch::new("tpm");
    let volume = seed(&scratch, &[("user-data", CONFIG), ("meta-data", META_DATA)]);
    let file = disk(&scratch, "disk.qcow2");
    let medium = Medium::Disk(file.clone());
    {
        let tpm = Tpm::start(&scratch);
        let (mut machine, smtp) = start(&scratch, &medium, Some(&volume), &tpm);
        greeting(&mut machine, smtp);
        machine.expect(&[WORKS]);
    }
    let raw = scratch.join("disk.raw");
    let mut copy = Command::new("qemu-img");
    copy.args(["convert", "-O", "raw"]).arg(&file).arg(&raw);
    assert!(copy.status().expect("qemu-img").success());
    // Behind slot B.
    let mut first = [0; 6];
    File::open(&raw)
        .and_then(|raw_disk| raw_disk.read_exact_at(&mut first, partition(&raw, 7)))
        .expect("the disk");
    assert_eq!(first, LUKS);
    {
        let tpm = Tpm::start(&scratch);
        let (mut machine, smtp) = start(&scratch, &medium, None, &tpm);
        let said = greeting(&mut machine, smtp);
        assert!(said.starts_with("220 mx1.example.net"), "{said}");
    }
    // The disk in somebody else's machine.
    let other = Scratch::new("other-tpm");
    std::fs::copy(scratch.join(STORE), other.join(STORE)).expect("the variable store");
    let tpm = Tpm::start(&other);
    let (mut machine, _) = start(&other, &medium, None, &tpm);
    machine.expect(&["Failed to start postern-unlock"]);
    machine.expect_end();
}

#[test]
fn a_plain_data_partition_is_refused_where_there_is_a_tpm() {
    needs!(MACHINE, TPM);
    let scratch = Scratch::new("plain");
    let volume = seed(&scratch, &[("user-data", CONFIG), ("meta-data", META_DATA)]);
    let medium = Medium::Disk(disk(&scratch, "disk.qcow2"));
    {
        let smtp = ports::free();
        let mut machine = Machine::start(&scratch, Firmware::Uefi, &medium, Some(&volume), &[(smtp, 25)]);
        greeting(&mut machine, smtp);
        machine.expect(&[WORKS]);
    }
    let tpm = Tpm::start(&scratch);
    let (mut machine, _) = start(&scratch, &medium, None, &tpm);
    machine.expect(&["Failed to start postern-plain", "is not encrypted: it is not used"]);
    machine.expect_end();
    assert!(!machine.serial().contains("Welcome to Postern"), "{}", machine.serial());
}
