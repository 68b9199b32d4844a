//! The image, booted and looked into: what `image-build/build all` made, in virtual machines.
//!
//! [`each_run`] is in every run of `tests/run`, the others with `tests/run --full`: a boot in an emulator takes minutes.

#![allow(clippy::disallowed_methods, reason = "a real machine takes real time")]

mod each_run;
mod full;
mod gateway;
mod metadata;
mod one_shot;
mod secure_boot;
mod tpm;
mod two_disks;

use std::fs::File;
use std::net::SocketAddr;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use postern_tests::child;
use postern_tests::machine::{BOOT_LIMIT, Machine, image};
use postern_tests::ports;
use postern_tests::scratch::Scratch;

/// A config that needs nothing of its surroundings; its server is never asked here.
const CONFIG: &str = r#"hostname = "mx1.example.net"
[[backend]]
domains = ["example.net"]
servers = ["10.0.2.2:2599"]
"#;
const META_DATA: &str = "instance-id: first\nlocal-hostname: mx1\n";
/// What the console says once mail is taken.
const WORKS: &str = "all work; mail is taken on";
/// How long a closed port may take to say so: the emulated network accepts for the guest and hangs up later.
const CLOSED: Duration = Duration::from_secs(20);

fn made(extension: &str) -> PathBuf {
    image(extension)
        .unwrap_or_else(|| panic!("there is no target/image/*.{extension}: run image-build/build all first"))
}

/// Where a partition begins, in octets, by the disk's GPT.
fn partition(disk: &Path, number: u64) -> u64 {
    let file = File::open(disk).expect("the disk");
    let mut entry = [0; 128];
    // The table begins in the third sector.
    file.read_exact_at(&mut entry, 2 * 512 + (number - 1) * 128).expect("the partition table");
    u64::from_le_bytes(entry[32..40].try_into().expect("eight octets")) * 512
}

/// A copy of the disk image that may be changed.
fn copy_of_the_image(scratch: &Scratch) -> PathBuf {
    let raw = scratch.join("disk.raw");
    run("cp", &["--sparse=always", &text(&made("raw")), &text(&raw)]);
    raw
}

/// The disk of a machine, on top of a changed copy.
fn disk_on(scratch: &Scratch, raw: &Path) -> PathBuf {
    let disk = scratch.join("disk.qcow2");
    run("qemu-img", &["create", "-q", "-f", "qcow2", "-F", "raw", "-b", &text(raw), &text(&disk), "3G"]);
    disk
}

/// The system partition of a disk image, as mtools have it.
fn esp(raw: &Path) -> String {
    format!("{}@@{}", text(raw), partition(raw, 2))
}

fn run(program: &str, arguments: &[&str]) {
    let mut command = Command::new(program);
    command.args(arguments);
    let ended = child::run(&command, Duration::from_secs(120));
    assert!(ended.success, "{program} {arguments:?}: {}", ended.output);
}

fn text(path: &Path) -> String {
    path.display().to_string()
}

/// Waits for a greeting on the port for mail.
fn greeting(machine: &mut Machine, address: SocketAddr) -> String {
    let greeting = ports::wait_until(BOOT_LIMIT.saturating_sub(machine.age()), || {
        std::thread::sleep(Duration::from_secs(1));
        first_line(address, Duration::from_secs(10))
    });
    greeting.unwrap_or_else(|| panic!("no greeting:\n{}", machine.serial()))
}

/// The first line that a port says, if it says one.
fn first_line(address: SocketAddr, patience: Duration) -> Option<String> {
    use std::io::{BufRead as _, BufReader};
    let stream = std::net::TcpStream::connect_timeout(&address, patience).ok()?;
    stream.set_read_timeout(Some(patience)).ok()?;
    let mut line = String::new();
    BufReader::new(stream).read_line(&mut line).ok()?;
    (!line.is_empty()).then_some(line)
}

/// Insists that a port answers nothing at all, neither a line nor a TLS alert.
fn closed(address: SocketAddr) {
    assert!(!answers(address), "{address} answers");
}

/// Whether a port says anything, be it a line or a TLS alert.
fn answers(address: SocketAddr) -> bool {
    use std::io::{Read as _, Write as _};
    let Ok(mut stream) = std::net::TcpStream::connect_timeout(&address, CLOSED) else { return false };
    stream.set_read_timeout(Some(CLOSED)).expect("a timeout");
    // A server that waits for its client to speak first is open, too.
    let _ = stream.write_all(b"GET / HTTP/1.0\r\n\r\n");
    let mut answer = [0];
    matches!(stream.read(&mut answer), Ok(1..))
}
