//! A virtual machine that boots the image: QEMU with software emulation, always. A KVM device that is there may not work,
//! and nothing here needs it.

use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use crate::child::{self, Child};
use crate::needs::Need;
use crate::ports;
use crate::scratch::Scratch;

/// What booting needs of the machine.
pub const MACHINE: &[Need] = &[
    Need::Root,
    Need::Program("qemu-system-x86_64"),
    Need::Program("qemu-img"),
    Need::Program("mkfs.vfat"),
    Need::Program("mcopy"),
];
/// A machine that has not got there after this long has failed: two minutes on two idle cores, and ours are rarely idle.
pub const BOOT_LIMIT: Duration = Duration::from_secs(780);
/// The disk of a test, in GiB: larger than the image, so that the first start has something to make and to grow.
const DISK_GIB: u32 = 3;
/// Memory in MiB.
const MEMORY: u32 = 768;
const FIRMWARE: &str = "/usr/share/OVMF/OVMF_CODE_4M.fd";
const VARIABLES: &str = "/usr/share/OVMF/OVMF_VARS_4M.fd";

/// What starts the machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Firmware {
    /// SeaBIOS.
    Bios,
    /// OVMF, with a variable store of the machine's own: without one guests were seen to crash.
    Uefi,
}

/// What the machine starts from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Medium {
    /// The disk image, or a disk that an earlier machine wrote.
    Disk(PathBuf),
    /// The ISO in a CD drive, and no disk.
    Cd(PathBuf),
    /// The ISO on a USB stick, and no disk.
    Stick(PathBuf),
}

/// The files that `image-build/build` made: in `POSTERN_IMAGE`, else in `target/image`.
pub fn image(extension: &str) -> Option<PathBuf> {
    let folder = std::env::var_os("POSTERN_IMAGE")
        .map_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/image"), PathBuf::from);
    let files = fs::read_dir(folder).ok()?.flatten().map(|entry| entry.path());
    let mut found: Vec<_> =
        files.filter(|path| path.extension().is_some_and(|found| found == extension)).collect();
    found.sort();
    found.pop()
}

/// A disk of its own on top of the image, which stays as it is.
pub fn disk(scratch: &Scratch, name: &str) -> PathBuf {
    let base = image("raw").expect("target/image/*.raw: image-build/build disk");
    let disk = scratch.join(name);
    let mut command = Command::new("qemu-img");
    command.args(["create", "-q", "-f", "qcow2", "-F", "raw", "-b"]);
    command.arg(fs::canonicalize(base).expect("the image")).arg(&disk).arg(format!("{DISK_GIB}G"));
    succeeds(&command);
    disk
}

/// A NoCloud seed: a FAT volume labelled CIDATA with these files.
pub fn seed(scratch: &Scratch, files: &[(&str, &str)]) -> PathBuf {
    let volume = scratch.join("seed.img");
    fs::File::create(&volume).and_then(|file| file.set_len(2 << 20)).expect("a file");
    let mut format = Command::new("mkfs.vfat");
    format.args(["-n", "CIDATA"]).arg(&volume);
    succeeds(&format);
    for (name, content) in files {
        let file = scratch.join(name);
        fs::write(&file, content).expect("a file");
        let mut copy = Command::new("mcopy");
        copy.arg("-i").arg(&volume).arg(&file).arg(format!("::{name}"));
        succeeds(&copy);
    }
    volume
}

fn succeeds(command: &Command) {
    let ended = child::run(command, Duration::from_secs(60));
    assert!(ended.success, "{command:?}: {}", ended.output);
}

/// A running machine. Dropping it ends it; if the test is failing then, the end of its serial line is shown.
#[derive(Debug)]
pub struct Machine {
    process: Child,
    begun: Instant,
}

impl Machine {
    /// Starts it. `forwards` are pairs of an address of this machine and a port of the guest's; the guest sees this machine as
    /// 10.0.2.2.
    pub fn start(
        scratch: &Scratch,
        firmware: Firmware,
        medium: &Medium,
        seed: Option<&Path>,
        forwards: &[(SocketAddr, u16)],
    ) -> Self {
        let mut command = Command::new("qemu-system-x86_64");
        command.args(["-accel", "tcg", "-machine", "q35", "-cpu", "max", "-smp", "1"]);
        command.args(["-display", "none", "-monitor", "none", "-serial", "stdio", "-no-reboot"]);
        command.arg("-m").arg(MEMORY.to_string());
        if firmware == Firmware::Uefi {
            let variables = scratch.join("variables.fd");
            fs::copy(VARIABLES, &variables).unwrap_or_else(|error| panic!("{VARIABLES}: {error}"));
            drive(&mut command, &format!("if=pflash,format=raw,readonly=on,file={FIRMWARE}"));
            drive(&mut command, &format!("if=pflash,format=raw,file={}", variables.display()));
        }
        match medium {
            Medium::Disk(file) => {
                drive(&mut command, &format!("if=virtio,format=qcow2,file={}", file.display()));
            }
            Medium::Cd(file) => {
                drive(&mut command, &format!("media=cdrom,readonly=on,format=raw,file={}", file.display()));
            }
            Medium::Stick(file) => {
                let stick = format!("if=none,id=stick,readonly=on,format=raw,file={}", file.display());
                drive(&mut command, &stick);
                command.args(["-device", "qemu-xhci", "-device", "usb-storage,drive=stick"]);
            }
        }
        if let Some(seed) = seed {
            drive(&mut command, &format!("if=virtio,readonly=on,format=raw,file={}", seed.display()));
        }
        let mut network = "user,id=net".to_owned();
        for (here, there) in forwards {
            network.push_str(&format!(",hostfwd=tcp:{here}-:{there}"));
        }
        command.args(["-netdev", &network, "-device", "virtio-net-pci,netdev=net"]);
        command.args(["-device", "virtio-rng-pci"]);
        Self { process: Child::spawn("machine", &command, &scratch.join("serial")), begun: Instant::now() }
    }

    /// What it wrote to its serial line so far, without the colours.
    pub fn serial(&self) -> String {
        let said = self.process.output();
        let mut plain = String::with_capacity(said.len());
        let mut letters = said.chars();
        while let Some(letter) = letters.next() {
            if letter == '\u{1b}' {
                // ESC [ ... letter.
                if letters.next() == Some('[') {
                    letters.by_ref().find(char::is_ascii_alphabetic);
                }
            } else {
                plain.push(letter);
            }
        }
        plain
    }

    /// Waits until it has said all of these words, in any order.
    ///
    /// # Panics
    ///
    /// If it has not within [`BOOT_LIMIT`] of its start, or ends before.
    pub fn expect(&mut self, words: &[&str]) {
        loop {
            let said = self.serial();
            let missing: Vec<_> = words.iter().filter(|word| !said.contains(**word)).collect();
            if missing.is_empty() {
                return;
            }
            let over = self.process.ended().is_some();
            assert!(
                !over && self.begun.elapsed() < BOOT_LIMIT,
                "the machine {} without saying {missing:?}:\n{said}",
                if over { "ended" } else { "went on" }
            );
            std::thread::sleep(Duration::from_millis(500));
        }
    }

    /// Waits until it has ended by itself, which is also what a restart does.
    pub fn expect_end(&mut self) {
        let left = BOOT_LIMIT.saturating_sub(self.begun.elapsed());
        assert!(ports::wait_until(left, || self.process.ended()).is_some(), "{}", self.serial());
    }

    /// How long ago it was started.
    pub fn age(&self) -> Duration {
        self.begun.elapsed()
    }
}

fn drive(command: &mut Command, what: &str) {
    command.args(["-drive", what]);
}
