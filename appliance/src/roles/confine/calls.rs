//! System calls, by seccomp (seccomp(2)): lists of what a role may ask of the kernel.
//!
//! What is not on the gate's list fails with EPERM; what only an intruder would try ends it. For a worker all that is not
//! on its list is of that kind. Nothing may map memory to execute it.

mod gate;
mod worker;

use std::collections::BTreeMap;
use std::io;

use nix::libc;
use seccompiler::{
    BackendError, BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter,
    SeccompRule, TargetArch, apply_filter,
};

use crate::roles::error::RoleError;

/// Leaves this thread and its descendants what the gate needs.
///
/// # Errors
///
/// The kernel has no seccomp, or this is no architecture that the lists were made for.
pub fn confine_gate() -> Result<(), RoleError> {
    gate::apply().map_err(failed)
}

/// Leaves this thread and its descendants what a worker needs.
///
/// # Errors
///
/// As [`confine_gate`].
pub fn confine_worker() -> Result<(), RoleError> {
    worker::apply().map_err(failed)
}

fn failed(error: seccompiler::Error) -> RoleError {
    RoleError::Confine { what: "system calls", error: io::Error::other(error) }
}

/// One list; each call with the conditions under which it counts.
#[derive(Default)]
struct Calls(BTreeMap<i64, Vec<SeccompRule>>);

impl Calls {
    fn of(calls: &[i64]) -> Self {
        let mut list = Self::default();
        list.always(calls);
        list
    }

    fn always(&mut self, calls: &[i64]) {
        self.0.extend(calls.iter().map(|call| (*call, Vec::new())));
    }

    /// Counts where one of `alternatives` holds, each a condition on an argument.
    fn only(&mut self, call: i64, alternatives: Vec<SeccompCondition>) -> Result<(), BackendError> {
        let rules = alternatives.into_iter().map(|one| SeccompRule::new(vec![one]));
        self.0.insert(call, rules.collect::<Result<_, _>>()?);
        Ok(())
    }

    /// Counts where all of `conditions` hold.
    fn only_all(&mut self, call: i64, conditions: Vec<SeccompCondition>) -> Result<(), BackendError> {
        self.0.insert(call, vec![SeccompRule::new(conditions)?]);
        Ok(())
    }

    /// Puts the list into force: `listed` happens to what is on it, `others` to the rest.
    fn apply(self, listed: SeccompAction, others: SeccompAction) -> Result<(), seccompiler::Error> {
        let arch = TargetArch::try_from(std::env::consts::ARCH)?;
        let filter = SeccompFilter::new(self.0, others, listed, arch)?;
        let program: BpfProgram = filter.try_into()?;
        apply_filter(&program)
    }
}

/// The argument, of which the kernel looks at 32 bits, has this value.
fn is(argument: u8, value: u64) -> Result<SeccompCondition, BackendError> {
    SeccompCondition::new(argument, SeccompCmpArgLen::Dword, SeccompCmpOp::Eq, value)
}

/// Of the argument's bits in `mask` exactly those of `value` are set.
fn has(argument: u8, mask: u64, value: u64) -> Result<SeccompCondition, BackendError> {
    SeccompCondition::new(argument, SeccompCmpArgLen::Qword, SeccompCmpOp::MaskedEq(mask), value)
}

/// A constant of libc's as the filter compares it.
fn bits(constant: libc::c_int) -> u64 {
    u64::from(constant.cast_unsigned())
}

/// Memory may be mapped and its protection changed, but never to execute what is in it.
fn memory(list: &mut Calls) -> Result<(), BackendError> {
    list.always(&[libc::SYS_munmap, libc::SYS_mremap, libc::SYS_madvise, libc::SYS_brk]);
    let no_code = || has(2, bits(libc::PROT_EXEC), 0);
    list.only(libc::SYS_mmap, vec![no_code()?])?;
    list.only(libc::SYS_mprotect, vec![no_code()?])
}
