//! Servers that conflict with Postfix as packages: they were unpacked into the cache, and run in a mount namespace of
//! their own in which their files lie where they expect them.

use std::path::Path;
use std::process::Command;

use crate::needs;

/// A command that runs in a mount namespace where the unpacked package `peer` lies over `/usr`, and each folder of
/// `mounts` over the path beside it. Nothing of it is seen from outside.
pub(crate) fn command(peer: &str, mounts: &[(&Path, &str)], program: &str) -> Command {
    let over_usr = needs::cache().join("peers").join(peer).join("usr");
    let mut script =
        format!("set -e; mount -t overlay overlay -o 'lowerdir={}:/usr' /usr; ", over_usr.display());
    for (folder, place) in mounts {
        script.push_str(&format!("mount --bind '{}' '{place}'; ", folder.display()));
    }
    script.push_str("exec \"$@\"");
    let mut command = Command::new("unshare");
    command.args(["--mount", "--propagation", "private", "sh", "-c", &script, "sh", program]);
    command
}

/// A command as [`command`], with a folder over `/etc` whose files come before the system's.
pub(crate) fn command_with_etc(peer: &str, etc: &Path, mounts: &[(&Path, &str)], program: &str) -> Command {
    let inner = command(peer, mounts, program);
    let script =
        format!("set -e; mount -t overlay overlay -o 'lowerdir={}:/etc' /etc; exec \"$@\"", etc.display());
    let mut outer = Command::new("unshare");
    outer.args(["--mount", "--propagation", "private", "sh", "-c", &script, "sh"]);
    outer.arg(inner.get_program()).args(inner.get_args());
    outer
}
