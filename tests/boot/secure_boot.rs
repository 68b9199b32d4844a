//! Matrix row 3: firmware that starts only what our keys have signed.

use std::path::PathBuf;
use std::time::Duration;

use postern_tests::machine::{Firmware, MACHINE, Machine, Medium, seed};
use postern_tests::needs;
use postern_tests::needs::Need;
use postern_tests::ports;
use postern_tests::scratch::Scratch;

use crate::{CONFIG, META_DATA, WORKS, closed, copy_of_the_image, disk_on, esp, greeting, run, text};

const TOOLS: &[Need] = &[Need::Program("sbsign"), Need::Program("sbattach"), Need::Program("openssl")];
/// What the kernel's own loader says of the firmware.
const SECURE: &str = "UEFI Secure Boot is enabled";

/// A disk whose unified kernel image is the image's, signed by somebody else.
fn signed_by_another(scratch: &Scratch) -> PathBuf {
    let raw = copy_of_the_image(scratch);
    let esp = esp(&raw);
    let version = env!("CARGO_PKG_VERSION");
    let inside = format!("::EFI/Linux/postern_{version}.efi");
    let [kernel, signed, key, certificate] =
        ["kernel.efi", "signed.efi", "key.pem", "certificate.pem"].map(|name| text(&scratch.join(name)));
    run("mcopy", &["-n", "-i", &esp, &inside, &kernel]);
    let request =
        ["req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=somebody else/"];
    run("openssl", &[&request[..], &["-keyout", &key, "-out", &certificate]].concat());
    run("sbattach", &["--remove", &kernel]);
    run("sbsign", &["--key", &key, "--cert", &certificate, "--output", &signed, &kernel]);
    run("mcopy", &["-o", "-i", &esp, &signed, &inside]);
    disk_on(scratch, &raw)
}

#[test]
fn enrolled_keys_start_our_kernel_and_refuse_one_that_somebody_else_signed() {
    needs!(MACHINE, TOOLS);
    let scratch = Scratch::new("secure");
    let volume = seed(&scratch, &[("user-data", CONFIG), ("meta-data", META_DATA)]);
    let medium = Medium::Disk(postern_tests::machine::disk(&scratch, "good.qcow2"));
    // A store without keys: the boot loader enrols those of the ESP, and starts the machine again.
    let mut enrolling = Machine::start(&scratch, Firmware::SecureBoot, &medium, None, &[]);
    enrolling.expect_end();
    assert!(!enrolling.serial().contains("Welcome to Postern"), "{}", enrolling.serial());
    drop(enrolling);
    let smtp = ports::free();
    let mut machine = Machine::start(&scratch, Firmware::SecureBoot, &medium, Some(&volume), &[(smtp, 25)]);
    greeting(&mut machine, smtp);
    machine.expect(&[SECURE, WORKS]);
    drop(machine);
    // The same store, and the other kernel.
    let other = Medium::Disk(signed_by_another(&scratch));
    let smtp = ports::free();
    let mut machine = Machine::start(&scratch, Firmware::SecureBoot, &other, Some(&volume), &[(smtp, 25)]);
    machine.expect(&["Access denied"]);
    std::thread::sleep(Duration::from_secs(20));
    closed(smtp);
    assert!(!machine.serial().contains("Loaded initrd"), "{}", machine.serial());
}
