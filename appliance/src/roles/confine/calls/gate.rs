//! What the gate asks of the kernel: sockets of three families, the files that Landlock leaves it, threads, time.

use nix::libc;
use seccompiler::{Error, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition};

use super::{Calls, bits, has, is, memory};

/// Of fcntl(2); libc has no names for them on this system.
const F_SETSIG: libc::c_int = 10;
const F_SETOWN_EX: libc::c_int = 15;

/// No mistake leads to one of these: whoever calls them has taken over the gate.
const DEADLY: &[i64] = &[
    libc::SYS_bpf,
    libc::SYS_chroot,
    libc::SYS_delete_module,
    libc::SYS_execve,
    libc::SYS_execveat,
    libc::SYS_finit_module,
    libc::SYS_init_module,
    libc::SYS_io_uring_setup,
    libc::SYS_kexec_load,
    libc::SYS_mount,
    libc::SYS_open_by_handle_at,
    libc::SYS_perf_event_open,
    libc::SYS_pidfd_getfd,
    libc::SYS_pivot_root,
    libc::SYS_process_vm_readv,
    libc::SYS_process_vm_writev,
    libc::SYS_ptrace,
    libc::SYS_reboot,
    libc::SYS_setns,
    libc::SYS_swapon,
    libc::SYS_umount2,
    libc::SYS_unshare,
    libc::SYS_userfaultfd,
];

const FILES: &[i64] = &[
    libc::SYS_close,
    libc::SYS_close_range,
    libc::SYS_copy_file_range,
    libc::SYS_dup,
    libc::SYS_dup3,
    libc::SYS_faccessat,
    libc::SYS_faccessat2,
    libc::SYS_fadvise64,
    libc::SYS_fallocate,
    libc::SYS_fchmod,
    libc::SYS_fchmodat,
    libc::SYS_fdatasync,
    libc::SYS_flock,
    libc::SYS_fstat,
    libc::SYS_fstatfs,
    libc::SYS_fsync,
    libc::SYS_ftruncate,
    libc::SYS_getcwd,
    libc::SYS_getdents64,
    libc::SYS_linkat,
    libc::SYS_lseek,
    libc::SYS_memfd_create,
    libc::SYS_mkdirat,
    libc::SYS_newfstatat,
    libc::SYS_openat,
    libc::SYS_openat2,
    libc::SYS_pipe2,
    libc::SYS_pread64,
    libc::SYS_preadv,
    libc::SYS_preadv2,
    libc::SYS_pwrite64,
    libc::SYS_pwritev,
    libc::SYS_pwritev2,
    libc::SYS_read,
    libc::SYS_readlinkat,
    libc::SYS_readv,
    libc::SYS_renameat,
    libc::SYS_renameat2,
    libc::SYS_sendfile,
    libc::SYS_splice,
    libc::SYS_statfs,
    libc::SYS_statx,
    libc::SYS_sync_file_range,
    libc::SYS_syncfs,
    libc::SYS_truncate,
    libc::SYS_umask,
    libc::SYS_unlinkat,
    libc::SYS_utimensat,
    libc::SYS_write,
    libc::SYS_writev,
];

/// Older names of the same, which newer architectures do not have.
#[cfg(target_arch = "x86_64")]
const OLDER: &[i64] = &[
    libc::SYS_access,
    libc::SYS_chmod,
    libc::SYS_dup2,
    libc::SYS_epoll_create,
    libc::SYS_epoll_wait,
    libc::SYS_eventfd,
    libc::SYS_getdents,
    libc::SYS_link,
    libc::SYS_lstat,
    libc::SYS_mkdir,
    libc::SYS_open,
    libc::SYS_pipe,
    libc::SYS_poll,
    libc::SYS_readlink,
    libc::SYS_rename,
    libc::SYS_rmdir,
    libc::SYS_select,
    libc::SYS_stat,
    libc::SYS_time,
    libc::SYS_unlink,
];
#[cfg(not(target_arch = "x86_64"))]
const OLDER: &[i64] = &[];

const SOCKETS: &[i64] = &[
    libc::SYS_accept,
    libc::SYS_accept4,
    libc::SYS_bind,
    libc::SYS_connect,
    libc::SYS_epoll_create1,
    libc::SYS_epoll_ctl,
    libc::SYS_epoll_pwait,
    libc::SYS_epoll_pwait2,
    libc::SYS_eventfd2,
    libc::SYS_getpeername,
    libc::SYS_getsockname,
    libc::SYS_getsockopt,
    libc::SYS_listen,
    libc::SYS_ppoll,
    libc::SYS_pselect6,
    libc::SYS_recvfrom,
    libc::SYS_recvmmsg,
    libc::SYS_recvmsg,
    libc::SYS_sendmmsg,
    libc::SYS_sendmsg,
    libc::SYS_sendto,
    libc::SYS_setsockopt,
    libc::SYS_shutdown,
];

const PROCESS: &[i64] = &[
    libc::SYS_clock_getres,
    libc::SYS_clock_gettime,
    libc::SYS_clock_nanosleep,
    libc::SYS_exit,
    libc::SYS_exit_group,
    libc::SYS_futex,
    libc::SYS_get_robust_list,
    libc::SYS_getcpu,
    libc::SYS_getegid,
    libc::SYS_geteuid,
    libc::SYS_getgid,
    libc::SYS_getgroups,
    libc::SYS_getpid,
    libc::SYS_getppid,
    libc::SYS_getrandom,
    libc::SYS_getrusage,
    libc::SYS_gettid,
    libc::SYS_gettimeofday,
    libc::SYS_getuid,
    libc::SYS_membarrier,
    libc::SYS_mincore,
    libc::SYS_msync,
    libc::SYS_nanosleep,
    // Ends a sift worker whose pidfd the guard has handed over; another cannot be had without pidfd_open.
    libc::SYS_pidfd_send_signal,
    libc::SYS_restart_syscall,
    libc::SYS_rseq,
    libc::SYS_rt_sigaction,
    libc::SYS_rt_sigprocmask,
    libc::SYS_rt_sigreturn,
    libc::SYS_sched_getaffinity,
    libc::SYS_sched_yield,
    libc::SYS_set_robust_list,
    libc::SYS_set_tid_address,
    libc::SYS_sigaltstack,
    libc::SYS_sysinfo,
    libc::SYS_timerfd_create,
    libc::SYS_timerfd_settime,
    libc::SYS_uname,
];

pub(super) fn apply() -> Result<(), Error> {
    // Its flags lie in memory, where no filter sees them: the C library takes `clone` instead when there is none.
    Calls::of(&[libc::SYS_clone3]).apply(SeccompAction::Errno(errno(libc::ENOSYS)), SeccompAction::Allow)?;
    Calls::of(DEADLY).apply(SeccompAction::KillProcess, SeccompAction::Allow)?;
    list()?.apply(SeccompAction::Allow, SeccompAction::Errno(errno(libc::EPERM)))
}

fn list() -> Result<Calls, Error> {
    let mut list = Calls::of(&[libc::SYS_clone3]);
    [FILES, OLDER, SOCKETS, PROCESS].iter().for_each(|part| list.always(part));
    // What is deadly must get past this list to be so.
    list.always(DEADLY);
    memory(&mut list)?;
    let families = [libc::AF_UNIX, libc::AF_INET, libc::AF_INET6];
    let kinds = |family: &libc::c_int| is(0, bits(*family));
    list.only(libc::SYS_socket, families.iter().map(kinds).collect::<Result<_, _>>()?)?;
    list.only(libc::SYS_socketpair, vec![is(0, bits(libc::AF_UNIX))?])?;
    // A thread, never a process.
    let thread = bits(libc::CLONE_THREAD) | bits(libc::CLONE_VM);
    list.only(libc::SYS_clone, vec![has(0, thread, thread)?])?;
    // abort(3) signals its own process.
    let own = u64::from(std::process::id());
    list.only(libc::SYS_tgkill, vec![is(0, own)?])?;
    // Not that a descriptor has the kernel signal somebody of the same user.
    let not = |command| SeccompCondition::new(1, SeccompCmpArgLen::Dword, SeccompCmpOp::Ne, bits(command));
    list.only_all(libc::SYS_fcntl, vec![not(libc::F_SETOWN)?, not(F_SETSIG)?, not(F_SETOWN_EX)?])?;
    // Limits are read, and only one's own.
    list.only_all(libc::SYS_prlimit64, vec![is(0, 0)?, has(2, u64::MAX, 0)?])?;
    let names = [libc::PR_SET_NAME, libc::PR_GET_NAME, libc::PR_SET_VMA];
    let options = |option: &libc::c_int| is(0, bits(*option));
    list.only(libc::SYS_prctl, names.iter().map(options).collect::<Result<_, _>>()?)?;
    let questions = [libc::FIONBIO, libc::FIONREAD, libc::TCGETS];
    let requests = |request: &libc::c_ulong| is(1, *request);
    list.only(libc::SYS_ioctl, questions.iter().map(requests).collect::<Result<_, _>>()?)?;
    Ok(list)
}

fn errno(number: libc::c_int) -> u32 {
    number.cast_unsigned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_list_can_be_loaded_and_leaves_nothing_deadly_out() {
        let list = list().unwrap();
        for call in DEADLY {
            assert!(list.0.contains_key(call), "{call} would only fail");
        }
        for call in
            [libc::SYS_kill, libc::SYS_capset, libc::SYS_setuid, libc::SYS_keyctl, libc::SYS_pidfd_open]
        {
            assert!(!list.0.contains_key(&call), "{call}");
        }
        let arch = seccompiler::TargetArch::try_from(std::env::consts::ARCH).unwrap();
        let filter =
            seccompiler::SeccompFilter::new(list.0, SeccompAction::Errno(1), SeccompAction::Allow, arch);
        let program: Result<seccompiler::BpfProgram, _> = filter.unwrap().try_into();
        // The kernel's limit (BPF_MAXINSNS).
        assert!(program.unwrap().len() < 4096);
    }
}
