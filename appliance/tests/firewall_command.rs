//! `postern firewall` as an administrator calls it: what it prints, what it changes, and its exit status.

#![allow(clippy::unwrap_used, reason = "what fails here fails the test")]

use std::fs;
use std::io::Write as _;
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Command, Output};

/// A user without rights, under whatever name.
const NOBODY: u32 = 65534;

const GATEWAY: &str = "hostname = \"mx1.example.net\"\n[network]\nmode = \"gateway\"\noutside = \"outside\"\n\
    inside = \"inside\"\n[[backend]]\ndomains = [\"example.net\"]\nservers = [\"198.51.100.25\"]\narm = \"now\"\n";

struct Config(tempfile::TempDir);

impl Config {
    fn new(text: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("postern.toml"), text).unwrap();
        // For nobody, too.
        let open = std::os::unix::fs::PermissionsExt::from_mode(0o755);
        fs::set_permissions(folder.path(), open).unwrap();
        Self(folder)
    }

    fn file(&self) -> String {
        self.0.path().join("postern.toml").display().to_string()
    }

    fn run(&self, words: &[&str]) -> Output {
        let mut command = Command::new(env!("CARGO_BIN_EXE_postern"));
        command.args(["--config", &self.file(), "firewall"]).args(words).output().unwrap()
    }

    fn run_as_nobody(&self, words: &[&str]) -> Output {
        // Where it was built others may not look.
        let program = self.0.path().join("postern");
        fs::copy(env!("CARGO_BIN_EXE_postern"), &program).unwrap();
        let mut command = Command::new(program);
        command.args(["--config", &self.file(), "firewall"]).args(words);
        command.uid(NOBODY).gid(NOBODY).output().unwrap()
    }
}

fn said(text: &[u8]) -> String {
    String::from_utf8_lossy(text).into_owned()
}

fn skip(reason: &str) {
    let line = format!("SKIP: {}: {reason}\n", std::thread::current().name().unwrap_or("a test"));
    assert!(std::env::var_os("POSTERN_NO_SKIP").is_none(), "{line} (and POSTERN_NO_SKIP is set)");
    std::io::stderr().write_all(line.as_bytes()).unwrap();
    if let Some(list) = std::env::var_os("POSTERN_SKIPS") {
        let mut list = fs::OpenOptions::new().create(true).append(true).open(list).unwrap();
        list.write_all(line.as_bytes()).unwrap();
    }
}

fn is_root() -> bool {
    nix::unistd::geteuid().is_root()
}

#[test]
fn rendering_needs_no_root_and_says_the_same_each_time() {
    let config = Config::new(GATEWAY);
    let output = config.run(&["render"]);
    assert_eq!(output.status.code(), Some(0), "{}", said(&output.stderr));
    assert!(said(&output.stdout).contains("add element inet postern armed4 { 198.51.100.25 . 25, "));
    assert_eq!(config.run(&["render"]).stdout, output.stdout);
    if is_root() {
        let as_nobody = config.run_as_nobody(&["render"]);
        assert_eq!((as_nobody.status.code(), as_nobody.stdout), (Some(0), output.stdout));
    }
}

#[test]
fn what_the_config_forbids_or_gets_wrong_is_told_by_the_exit_status() {
    let forbidden = Config::new(&GATEWAY.replace("inside = ", "manage_firewall = false\ninside = "));
    let output = forbidden.run(&["apply"]);
    assert_eq!(output.status.code(), Some(1));
    assert!(said(&output.stderr).contains("postern firewall render"), "{}", said(&output.stderr));
    assert_eq!(forbidden.run(&["render"]).status.code(), Some(0));
    let wrong = Config::new(&GATEWAY.replace("gateway", "bridge"));
    let output = wrong.run(&["render"]);
    assert_eq!(output.status.code(), Some(2));
    assert!(
        said(&output.stderr).contains("bridge mode comes with a later version"),
        "{}",
        said(&output.stderr)
    );
    assert_eq!(Config::new("hostname = 5\n").run(&["render"]).status.code(), Some(2));
}

/// In a network namespace of its own, as a shell script: each line says which exit status it expects.
const SCRIPT: &str = r#"
set -u
exits() { wanted=$1; shift; "$@"; got=$?; [ "$got" = "$wanted" ] || { echo "$* ended with $got instead of $wanted"; exit 1; }; }
ip link set lo up
ip link add outside type veth peer name far && ip link add inside type veth peer name near || exit 1
ip address add 192.0.2.1/24 dev outside && ip address add 198.51.100.1/24 dev inside || exit 1
exits 3 "$@" bans
exits 0 "$@" apply
"$@" render | nft -c -f - || exit 1
exits 0 "$@" ban 203.0.113.0/24 --for 2h
exits 1 "$@" ban 192.0.2.1
exits 1 "$@" ban 198.51.100.7
exits 1 "$@" ban 0.0.0.0/0
exits 0 "$@" --json bans
exits 0 "$@" unban 203.0.113.0/24
exits 1 "$@" unban 203.0.113.0/24
exits 0 "$@" bans
exits 0 "$@" remove
exits 0 nft list ruleset
exits 0 ip rule
"#;

#[test]
fn a_rule_set_is_applied_used_and_removed() {
    if !is_root() || !["/usr/sbin/nft", "/usr/bin/unshare"].iter().all(|file| Path::new(file).exists()) {
        return skip("a network namespace needs root, unshare and nft");
    }
    let config = Config::new(GATEWAY);
    let postern = env!("CARGO_BIN_EXE_postern");
    let output = Command::new("unshare")
        .args(["--net", "--mount", "sh", "-c", &format!("mount -t tmpfs none /run && {SCRIPT}"), "sh"])
        .args([postern, "--config", &config.file(), "firewall"])
        .output()
        .unwrap();
    let (stdout, stderr) = (said(&output.stdout), said(&output.stderr));
    assert!(output.status.success(), "{stdout}{stderr}");
    let in_place = "gateway between outside and inside, 3 addresses and ports of servers, 3 of them armed";
    for text in
        [in_place, "203.0.113.0/24 is banned for 2h", "\"network\": \"203.0.113.0/24\"", "nobody is banned"]
    {
        assert!(stdout.contains(text), "no `{text}` in {stdout}");
    }
    for text in
        ["192.0.2.1/32 is not banned", "198.51.100.7/32 is not banned", "`postern firewall apply` loads it"]
    {
        assert!(stderr.contains(text), "no `{text}` in {stderr}");
    }
    assert!(stdout.ends_with("32767:\tfrom all lookup default\n") && !stdout.contains("2525:"), "{stdout}");
}

#[test]
fn without_root_nothing_is_changed_and_it_is_said_what_is_missing() {
    if !is_root() {
        return skip("needs root to give it up");
    }
    let config = Config::new(&GATEWAY.replace("\"outside\"", "\"lo\""));
    let output = config.run_as_nobody(&["remove"]);
    assert_eq!(output.status.code(), Some(3), "{}", said(&output.stdout));
    assert!(said(&output.stderr).contains("needs root (CAP_NET_ADMIN)"), "{}", said(&output.stderr));
}
