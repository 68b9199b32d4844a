//! The boot loader for BIOS and a version that is to be tried: once, whatever comes of it.

use std::fs;

use postern_tests::machine::{Firmware, MACHINE, Machine, Medium};
use postern_tests::needs;
use postern_tests::ports;
use postern_tests::scratch::Scratch;

use crate::{closed, copy_of_the_image, disk_on, esp, run, text};

const GOOD: &str = env!("CARGO_PKG_VERSION");
const TRIED: &str = "99.0.0";

/// GRUB's file of variables: 1,024 octets, filled up.
fn variables() -> String {
    let mut block = format!("# GRUB Environment Block\ngood={GOOD}\ntry={TRIED}\n");
    block.push_str(&"#".repeat(1024 - block.len()));
    block
}

/// Its kernel finds no root and stops; the next start, which nobody told anything, is of the version that is known to be good.
#[test]
fn a_version_that_panics_is_tried_once() {
    needs!(MACHINE);
    let scratch = Scratch::new("one-shot");
    let raw = copy_of_the_image(&scratch);
    let esp = esp(&raw);
    let [loads, environment] = ["grub.cfg", "grubenv"].map(|name| text(&scratch.join(name)));
    let kernel = format!("linux ($root)/postern/{GOOD}/linux console=ttyS0,115200 panic=1\n");
    fs::write(&loads, kernel).expect("a file");
    fs::write(&environment, variables()).expect("a file");
    run("mmd", &["-i", &esp, &format!("::postern/{TRIED}")]);
    run("mcopy", &["-i", &esp, &loads, &format!("::postern/{TRIED}/grub.cfg")]);
    run("mcopy", &["-o", "-i", &esp, &environment, "::grub/grubenv"]);
    let medium = Medium::Disk(disk_on(&scratch, &raw));
    let smtp = ports::free();
    let mut tried = Machine::start(&scratch, Firmware::Bios, &medium, None, &[(smtp, 25)]);
    tried.expect_end();
    let serial = tried.serial();
    assert!(serial.contains(&format!("Postern {TRIED}")) && serial.contains("Kernel panic"), "{serial}");
    closed(smtp);
    drop(tried);
    let mut good = Machine::start(&scratch, Firmware::Bios, &medium, None, &[]);
    good.expect(&[&format!("Postern {GOOD}"), "NO CONFIG"]);
    assert!(!good.serial().contains(TRIED), "{}", good.serial());
}
