//! Resources (getrlimit(2)): what a worker may use before the kernel ends it or says no.

use std::io;
use std::time::Duration;

use nix::sys::resource::{UsageWho, getrusage};
use nix::sys::time::TimeValLike as _;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use crate::roles::error::RoleError;

/// Memory that a worker may take beyond what the program has mapped at its start, in octets. It holds the first 64 MiB of a
/// body, and what its parsers decode and unpack of it: their bounds (`sift::Bounds`) are below the rest of this.
pub const MEMORY: u64 = 256 << 20;
/// Processor time for one body; several times what the largest message takes.
pub const CPU_PER_BODY: Duration = Duration::from_secs(5);
/// Processor time for all of its bodies; a fresh worker takes its place then.
pub const CPU_IN_ALL: Duration = Duration::from_secs(3600);
/// Descriptors: three standard ones, the socket and a body, with room.
const FILES: u64 = 16;

/// Sets a worker's limits; none can be raised again but the processor time, and that to its hard limit.
///
/// # Errors
///
/// `/proc` cannot be read, or the kernel refuses.
pub fn confine_worker() -> Result<(), RoleError> {
    let limit = || -> io::Result<()> {
        let memory = mapped()? + MEMORY;
        both(Resource::As, memory)?;
        both(Resource::Nofile, FILES)?;
        for nothing in [Resource::Core, Resource::Fsize, Resource::Nproc, Resource::Memlock] {
            both(nothing, 0)?;
        }
        let hard = CPU_IN_ALL.as_secs();
        Ok(setrlimit(Resource::Cpu, Rlimit { current: Some(hard), maximum: Some(hard) })?)
    };
    limit().map_err(|error| RoleError::Confine { what: "resources", error })
}

/// Gives the next body its processor time. `false` where that is the last of it.
pub fn renew_cpu() -> bool {
    let hard = CPU_IN_ALL.as_secs();
    let used = getrusage(UsageWho::RUSAGE_SELF)
        .map_or(0, |usage| (usage.user_time() + usage.system_time()).num_seconds());
    // The limit has whole seconds: one more, so that a body has all of its time.
    let wanted = u64::try_from(used).unwrap_or(0) + CPU_PER_BODY.as_secs() + 1;
    let limit = Rlimit { current: Some(wanted.min(hard)), maximum: Some(hard) };
    wanted < hard && setrlimit(Resource::Cpu, limit).is_ok()
}

/// As many descriptors as the system lets it have: each session has two or more. No core: keys are in there.
///
/// # Errors
///
/// The kernel refuses.
pub fn prepare_gate() -> Result<(), RoleError> {
    let prepare = || -> io::Result<()> {
        both(Resource::Core, 0)?;
        let files = getrlimit(Resource::Nofile);
        Ok(setrlimit(Resource::Nofile, Rlimit { current: files.maximum, maximum: files.maximum })?)
    };
    prepare().map_err(|error| RoleError::Confine { what: "resources", error })
}

fn both(resource: Resource, limit: u64) -> io::Result<()> {
    Ok(setrlimit(resource, Rlimit { current: Some(limit), maximum: Some(limit) })?)
}

/// Octets of address space in use (proc(5), statm).
fn mapped() -> io::Result<u64> {
    let text = std::fs::read_to_string("/proc/self/statm")?;
    let pages: Option<u64> = text.split(' ').next().and_then(|pages| pages.parse().ok());
    let pages = pages.ok_or_else(|| io::Error::other("/proc/self/statm has no number"))?;
    Ok(pages * rustix::param::page_size() as u64)
}
