//! A virtual machine that boots the image: QEMU with software emulation, always. A KVM device that is there may not work,
//! and nothing here needs it.

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use crate::child::{self, Child};
use crate::needs::Need;
use crate::ports;
use crate::scratch::Scratch;
use crate::trunk::End;

/// What booting needs of the machine.
pub const MACHINE: &[Need] = &[
    Need::Root,
    Need::Program("qemu-system-x86_64"),
    Need::Program("qemu-img"),
    Need::Program("mkfs.vfat"),
    Need::Program("mcopy"),
];
/// And with a TPM.
pub const TPM: &[Need] = &[Need::Program("swtpm")];
/// A machine that has not got there after this long has failed: two minutes on two idle cores, and ours are rarely idle.
pub const BOOT_LIMIT: Duration = Duration::from_secs(780);
/// The disk of a test, in GiB: larger than the image, so that the first start has something to make and to grow.
const DISK_GIB: u32 = 3;
/// Memory in MiB.
const MEMORY: u32 = 768;
const FIRMWARE: &str = "/usr/share/OVMF/OVMF_CODE_4M.fd";
const FIRMWARE_SECURE: &str = "/usr/share/OVMF/OVMF_CODE_4M.secboot.fd";
/// Without keys: setup mode.
const VARIABLES: &str = "/usr/share/OVMF/OVMF_VARS_4M.fd";
/// The variable store in the test's folder.
pub const STORE: &str = "variables.fd";
/// The hardware addresses of [`Network::Taps`]' interfaces, in their order: of a gateway outside and inside.
pub const HARDWARE: [&str; 2] = ["52:54:00:00:00:01", "52:54:00:00:00:02"];

/// What starts the machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Firmware {
    /// SeaBIOS.
    Bios,
    /// OVMF, with a variable store of the machine's own: without one guests were seen to crash. It is kept in the test's folder
    /// from one start to the next. Keys are enrolled in it at the first start, which begins again then by itself.
    Uefi,
    /// With Secure Boot and system management mode; ends once keys are enrolled.
    SecureBoot,
}

impl Firmware {
    fn code(self) -> Option<&'static str> {
        match self {
            Self::Bios => None,
            Self::Uefi => Some(FIRMWARE),
            Self::SecureBoot => Some(FIRMWARE_SECURE),
        }
    }
}

/// What its interfaces are plugged into.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Network {
    /// One interface in an emulated network, with DHCP. Pairs of an address of this machine and a port of the guest's; the guest
    /// sees this machine as 10.0.2.2.
    Forwards(Vec<(SocketAddr, u16)>),
    /// One or two, at tap devices of the network namespace that the machine is started in; their hardware addresses are
    /// [`HARDWARE`].
    Taps(&'static [&'static str]),
    /// As [`Network::Forwards`], at the far end of a [`Trunk`](crate::trunk::Trunk) that these are the ends of, first the one without tags.
    Vlan(Vec<(SocketAddr, u16)>, [End; 2]),
}

/// A machine's TPM2: swtpm, for one start. What it keeps lies in the test's folder, and is there at the next start.
#[derive(Debug)]
pub struct Tpm {
    _process: Child,
    socket: PathBuf,
}

impl Tpm {
    /// Switches it on.
    ///
    /// # Panics
    ///
    /// If it does not start.
    pub fn start(scratch: &Scratch) -> Self {
        let (state, socket) = (scratch.folder("tpm", "root"), scratch.join("tpm.socket"));
        let _ = fs::remove_file(&socket);
        let option = |name: &str, value: &Path| {
            let mut option = OsString::from(name);
            option.push(value);
            option
        };
        let mut command = Command::new("swtpm");
        command.args(["socket", "--tpm2", "--tpmstate"]).arg(option("dir=", &state));
        command.arg("--ctrl").arg(option("type=unixio,path=", &socket));
        let process = Child::spawn("swtpm", &command, &scratch.join("swtpm.output"));
        let there = ports::wait_until(ports::START_LIMIT, || socket.exists().then_some(()));
        assert!(there.is_some(), "swtpm: {}", process.output());
        Self { _process: process, socket }
    }
}

/// A machine that is not running.
#[derive(Debug)]
pub struct Setup<'a> {
    /// What starts it.
    pub firmware: Firmware,
    /// What it starts from.
    pub medium: &'a Medium,
    /// Another disk (qcow2).
    pub second_disk: Option<&'a Path>,
    /// A seed volume.
    pub seed: Option<&'a Path>,
    /// Where it is plugged in.
    pub network: Network,
    /// Its TPM.
    pub tpm: Option<&'a Tpm>,
    /// What its firmware says of it (SMBIOS), as QEMU's option has it: `type=1,manufacturer=...,product=...`.
    pub system: Option<&'a str>,
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
    volume(scratch, "CIDATA", files)
}

/// A FAT volume with this label and these files; `/` in their names makes folders.
pub fn volume(scratch: &Scratch, label: &str, files: &[(&str, &str)]) -> PathBuf {
    let volume = scratch.join("seed.img");
    fs::File::create(&volume).and_then(|file| file.set_len(2 << 20)).expect("a file");
    let mut format = Command::new("mkfs.vfat");
    format.args(["-n", label]).arg(&volume);
    succeeds(&format);
    for folder in folders(files) {
        let mut make = Command::new("mmd");
        make.arg("-i").arg(&volume).arg(format!("::{folder}"));
        succeeds(&make);
    }
    for (name, content) in files {
        let file = scratch.join("content");
        fs::write(&file, content).expect("a file");
        let mut copy = Command::new("mcopy");
        copy.arg("-i").arg(&volume).arg(&file).arg(format!("::{name}"));
        succeeds(&copy);
    }
    volume
}

/// The folders that these files lie in, each after the one that it is in.
fn folders(files: &[(&str, &str)]) -> BTreeSet<String> {
    let ends =
        |name: &str| name.match_indices('/').map(|(end, _)| name[..end].to_owned()).collect::<Vec<_>>();
    files.iter().flat_map(|(name, _)| ends(name)).collect()
}

fn succeeds(command: &Command) {
    let ended = child::run(command, Duration::from_secs(60));
    assert!(ended.success, "{command:?}: {}", ended.output);
}

impl Setup<'_> {
    /// Switches it on.
    pub fn start(&self, scratch: &Scratch) -> Machine {
        let mut command = Command::new("qemu-system-x86_64");
        command.args(["-accel", "tcg", "-machine", "q35", "-cpu", "max", "-smp", "1"]);
        command.args(["-display", "none", "-monitor", "none", "-serial", "stdio"]);
        command.arg("-m").arg(MEMORY.to_string());
        let enrols = self.firmware(&mut command, scratch);
        if !enrols || self.firmware == Firmware::SecureBoot {
            command.arg("-no-reboot");
        }
        self.drives(&mut command);
        self.interfaces(&mut command);
        if let Some(tpm) = self.tpm {
            let socket = format!("socket,id=tpm,path={}", tpm.socket.display());
            command.args(["-chardev", &socket, "-tpmdev", "emulator,id=tpm,chardev=tpm"]);
            command.args(["-device", "tpm-crb,tpmdev=tpm"]);
        }
        if let Some(system) = self.system {
            command.arg("-smbios").arg(system);
        }
        command.args(["-device", "virtio-rng-pci"]);
        let process = Child::spawn("machine", &command, &scratch.join("serial"));
        Machine { process, begun: Instant::now() }
    }

    /// Says whether its store has no keys yet: the boot loader enrols ours then, and starts the machine again.
    fn firmware(&self, command: &mut Command, scratch: &Scratch) -> bool {
        let Some(code) = self.firmware.code() else { return false };
        let variables = scratch.join(STORE);
        let is_new = !variables.exists();
        if is_new {
            fs::copy(VARIABLES, &variables).unwrap_or_else(|error| panic!("{VARIABLES}: {error}"));
        }
        if self.firmware == Firmware::SecureBoot {
            // The store is written by the firmware alone, in system management mode.
            command.args(["-global", "driver=cfi.pflash01,property=secure,value=on"]);
        }
        drive(command, &format!("if=pflash,format=raw,readonly=on,file={code}"));
        drive(command, &format!("if=pflash,format=raw,file={}", variables.display()));
        is_new
    }

    fn drives(&self, command: &mut Command) {
        match self.medium {
            Medium::Disk(file) => {
                drive(command, &format!("if=virtio,format=qcow2,file={}", file.display()));
            }
            Medium::Cd(file) => {
                drive(command, &format!("media=cdrom,readonly=on,format=raw,file={}", file.display()));
            }
            Medium::Stick(file) => {
                let stick = format!("if=none,id=stick,readonly=on,format=raw,file={}", file.display());
                drive(command, &stick);
                command.args(["-device", "qemu-xhci", "-device", "usb-storage,drive=stick"]);
            }
        }
        if let Some(disk) = self.second_disk {
            drive(command, &format!("if=virtio,format=qcow2,file={}", disk.display()));
        }
        if let Some(seed) = self.seed {
            drive(command, &format!("if=virtio,readonly=on,format=raw,file={}", seed.display()));
        }
    }

    fn interfaces(&self, command: &mut Command) {
        match &self.network {
            Network::Forwards(forwards) => {
                command.args(["-netdev", &emulated(forwards), "-device", "virtio-net-pci,netdev=net"]);
            }
            Network::Vlan(forwards, [plain, tagged]) => {
                let cable = |name: &str, end: &End| {
                    let side = |side: &str, address: &SocketAddr| {
                        let (host, port) = (address.ip(), address.port());
                        format!("{side}.type=inet,{side}.host={host},{side}.port={port}")
                    };
                    format!("dgram,id={name},{},{}", side("local", &end.listens), side("remote", &end.sends))
                };
                let networks = [
                    emulated(forwards),
                    cable("plain", plain),
                    "hubport,id=hub-net,hubid=0,netdev=net".to_owned(),
                    "hubport,id=hub-plain,hubid=0,netdev=plain".to_owned(),
                    cable("tagged", tagged),
                ];
                for network in networks {
                    command.args(["-netdev", &network]);
                }
                command.args(["-device", &format!("virtio-net-pci,netdev=tagged,mac={}", HARDWARE[0])]);
            }
            Network::Taps(taps) => {
                for (tap, hardware) in taps.iter().zip(HARDWARE) {
                    let network = format!("tap,id={tap},ifname={tap},script=no,downscript=no");
                    command.args(["-netdev", &network, "-device"]);
                    command.arg(format!("virtio-net-pci,netdev={tap},mac={hardware}"));
                }
            }
        }
    }
}

/// An emulated network.
fn emulated(forwards: &[(SocketAddr, u16)]) -> String {
    let mut network = "user,id=net".to_owned();
    for (here, there) in forwards {
        network.push_str(&format!(",hostfwd=tcp:{here}-:{there}"));
    }
    network
}

/// A running machine. Dropping it ends it; if the test is failing then, the end of its serial line is shown.
#[derive(Debug)]
pub struct Machine {
    process: Child,
    begun: Instant,
}

impl Machine {
    /// Starts one with one interface. `forwards` are pairs of an address of this machine and a port of the guest's; the guest
    /// sees this machine as 10.0.2.2.
    pub fn start(
        scratch: &Scratch,
        firmware: Firmware,
        medium: &Medium,
        seed: Option<&Path>,
        forwards: &[(SocketAddr, u16)],
    ) -> Self {
        let network = Network::Forwards(forwards.to_vec());
        Setup { firmware, medium, second_disk: None, seed, network, tpm: None, system: None }.start(scratch)
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
