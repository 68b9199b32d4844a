//! What the machine and the judge have left, measured once a second: sessions are refused before it runs short (`relay::Measured`).

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use relay::{Relay, Resource, Strain};
use tokio::sync::OnceCell;

use super::judging::Court;

/// How often it is measured. Between two looks no more sessions can come than `sessions` allows.
const TICK: Duration = Duration::from_secs(1);
/// Where a control group's numbers are (cgroups v2).
const GROUPS: &str = "/sys/fs/cgroup";
const MIB: u64 = 1 << 20;

/// What is left of something, and how much of it there is, in octets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Left {
    free: u64,
    total: u64,
}

impl Left {
    /// The smaller of a share of the total and of what is enough on any machine.
    fn is_below(self, share: u64, enough: u64) -> bool {
        self.free < (self.total / share).min(enough)
    }

    /// Of memory: the kernel must not have to kill.
    fn of_memory(self) -> Strain {
        match self {
            left if left.is_below(32, 256 * MIB) => Strain::Full,
            left if left.is_below(12, 512 * MIB) => Strain::High,
            _ => Strain::None,
        }
    }

    /// Of the disk: the log, the queue's own records and what is being received need some.
    fn of_disk(self) -> Strain {
        match self {
            left if left.is_below(50, 128 * MIB) => Strain::Full,
            left if left.is_below(20, 512 * MIB) => Strain::High,
            _ => Strain::None,
        }
    }
}

/// Measures for as long as the relay serves, and says when a resource becomes short and when it is not any more.
pub(super) async fn keep_measuring(relay: Arc<Relay>, state_dir: PathBuf, court: Arc<OnceCell<Arc<Court>>>) {
    let mut said = [(Resource::Memory, Strain::None); Resource::ALL.len()];
    while !relay.is_draining() {
        let folder = state_dir.clone();
        // A disk in trouble answers late: that must not keep sessions from their thread.
        let measured = tokio::task::spawn_blocking(move || (memory(), disk(&folder))).await;
        if let Ok((memory, disk)) = measured {
            relay.admission().measured().memory_is(memory.map_or(Strain::None, Left::of_memory));
            relay.admission().measured().disk_is(disk.map_or(Strain::None, Left::of_disk));
        }
        let judge = court.get().map_or(Strain::None, |court| court.strain());
        relay.admission().measured().judge_is(judge);
        let strains = relay.admission().strains(&relay.serving().settings.limits);
        for ((_, before), (resource, now)) in said.iter().zip(strains).filter(|((_, a), (_, b))| a != b) {
            say(resource, *before, now);
        }
        said = strains;
        tokio::time::sleep(TICK).await;
    }
}

fn say(resource: Resource, before: Strain, now: Strain) {
    let resource = resource.name();
    match now {
        Strain::None => tracing::info!(resource, "there is enough again"),
        Strain::High if before == Strain::Full => {
            tracing::warn!(resource, "only clients in good standing are let in")
        }
        Strain::High => tracing::warn!(resource, "it runs short: only clients in good standing are let in"),
        Strain::Full => tracing::error!(resource, "it is used up: no new sessions until some are over"),
    }
}

fn disk(folder: &Path) -> Option<Left> {
    let of = rustix::fs::statvfs(folder).ok()?;
    Some(Left {
        free: of.f_bavail.saturating_mul(of.f_frsize),
        total: of.f_blocks.saturating_mul(of.f_frsize),
    })
}

/// What is nearest to its end: the machine's memory, or what this process's control group may have.
fn memory() -> Option<Left> {
    let machine = machine(&fs::read_to_string("/proc/meminfo").ok()?)?;
    let group = group_folder(&fs::read_to_string("/proc/self/cgroup").unwrap_or_default());
    Some(match group.and_then(|folder| group_memory(&folder)) {
        Some(group) if group.free < machine.free => group,
        _ => machine,
    })
}

/// The machine's, out of proc_meminfo(5).
fn machine(meminfo: &str) -> Option<Left> {
    let kibibytes = |name: &str| {
        let line = meminfo.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))?;
        line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok()?.checked_mul(1024)
    };
    Some(Left { free: kibibytes("MemAvailable")?, total: kibibytes("MemTotal")? })
}

/// The folder of the control group that cgroups(7) `/proc/self/cgroup` names, where it is one of version 2.
fn group_folder(text: &str) -> Option<PathBuf> {
    let path = text.lines().find_map(|line| line.strip_prefix("0::/"))?;
    Some(Path::new(GROUPS).join(path))
}

fn group_memory(folder: &Path) -> Option<Left> {
    let read = |file: &str| fs::read_to_string(folder.join(file)).ok();
    let total = read("memory.max")?.trim().parse().ok()?;
    let used: u64 = read("memory.current")?.trim().parse().ok()?;
    let stat = read("memory.stat")?;
    let cached = stat.lines().find_map(|line| line.strip_prefix("inactive_file "));
    // What the kernel can drop without asking is not used.
    let cached: u64 = cached.and_then(|octets| octets.trim().parse().ok()).unwrap_or_default();
    Some(Left { free: u64::saturating_sub(total, used.saturating_sub(cached)), total })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_and_disk_of_this_machine_can_be_read() {
        let memory = memory().unwrap();
        assert!(memory.free > 0 && memory.free <= memory.total, "{memory:?}");
        let disk = disk(Path::new("/")).unwrap();
        assert!(disk.free <= disk.total && disk.total > 0, "{disk:?}");
        assert_eq!(super::disk(Path::new("/does/not/exist")), None);
    }

    #[test]
    fn what_is_short_on_a_small_machine_is_enough_on_a_large_one() {
        let left = |free: u64, total: u64| Left { free: free * MIB, total: total * MIB };
        assert_eq!(left(100, 1024).of_memory(), Strain::None);
        assert_eq!(left(80, 1024).of_memory(), Strain::High);
        assert_eq!(left(31, 1024).of_memory(), Strain::Full);
        assert_eq!(left(600, 65536).of_memory(), Strain::None);
        assert_eq!(left(500, 65536).of_memory(), Strain::High);
        assert_eq!(left(600, 500_000).of_disk(), Strain::None);
        assert_eq!(left(511, 500_000).of_disk(), Strain::High);
        assert_eq!(left(127, 500_000).of_disk(), Strain::Full);
        assert_eq!(left(30, 1000).of_disk(), Strain::High);
    }

    #[test]
    fn a_group_of_processes_may_have_less_than_the_machine() {
        assert_eq!(
            group_folder("0::/system.slice/postern.service\n"),
            Some("/sys/fs/cgroup/system.slice/postern.service".into())
        );
        assert_eq!(group_folder("4:memory:/user.slice\n"), None, "version 1 has other files");
        let folder = tempfile::tempdir().unwrap();
        let write = |name: &str, text: &str| fs::write(folder.path().join(name), text).unwrap();
        write("memory.max", "max\n");
        write("memory.current", "300\n");
        write("memory.stat", "anon 100\ninactive_file 150\n");
        assert_eq!(group_memory(folder.path()), None, "no bound");
        write("memory.max", "1000\n");
        assert_eq!(group_memory(folder.path()), Some(Left { free: 850, total: 1000 }));
    }

    #[test]
    fn meminfo_without_the_line_is_no_answer() {
        assert_eq!(machine("MemTotal:  10 kB\n"), None);
        let both = "MemTotal:       2048 kB\nMemFree:  1 kB\nMemAvailable:    1024 kB\n";
        assert_eq!(machine(both), Some(Left { free: 1 << 20, total: 2 << 20 }));
    }
}
