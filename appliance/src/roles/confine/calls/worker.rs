//! What a sift worker asks of the kernel: the next body, its octets, memory, and an end.

use nix::libc;
use seccompiler::{Error, SeccompAction};

use super::{Calls, bits, is, memory};

const LIST: &[i64] = &[
    libc::SYS_clock_gettime,
    libc::SYS_close,
    libc::SYS_exit,
    libc::SYS_exit_group,
    libc::SYS_fstat,
    libc::SYS_futex,
    libc::SYS_getrandom,
    libc::SYS_getrusage,
    libc::SYS_pread64,
    libc::SYS_read,
    libc::SYS_recvmsg,
    libc::SYS_restart_syscall,
    libc::SYS_rt_sigprocmask,
    libc::SYS_rt_sigreturn,
    libc::SYS_sched_yield,
    libc::SYS_sendmsg,
    libc::SYS_sigaltstack,
];

pub(super) fn apply() -> Result<(), Error> {
    let mut list = Calls::of(LIST);
    memory(&mut list)?;
    // Its own limit of processor time, for each body anew; the hard limit it cannot raise.
    let own = vec![is(0, 0)?, is(1, u64::from(libc::RLIMIT_CPU))?];
    list.only_all(libc::SYS_prlimit64, own)?;
    // The standard library asks whether a descriptor is open before it closes it, in builds with debug assertions.
    list.only(libc::SYS_fcntl, vec![is(1, bits(libc::F_GETFD))?])?;
    list.apply(SeccompAction::Allow, SeccompAction::KillProcess)
}
