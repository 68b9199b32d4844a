//! What the machine runs short of, and who is let in meanwhile: the promise is kept by refusing sessions before it, never
//! after (law 7, DECISIONS 33).

use std::sync::atomic::{AtomicU8, Ordering};

/// How far a resource is used up.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Strain {
    /// There is enough.
    #[default]
    None,
    /// Only clients in good standing are let in.
    High,
    /// Nobody is: what is left is for those who are in.
    Full,
}

/// What there can be too little of. A closed list: each is a metric's label.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Resource {
    /// Memory of the machine, or of the control group that Postern is in.
    Memory,
    /// Room on the file system of the state.
    Disk,
    /// Descriptors that the process may open.
    Files,
    /// The bound on sessions at once.
    Sessions,
    /// The bound on octets of messages in flight.
    InFlight,
    /// Time for verdicts: what is judged now takes long, or waits for its turn.
    Judge,
}

impl Resource {
    /// All of them.
    pub const ALL: [Self; 6] =
        [Self::Memory, Self::Disk, Self::Files, Self::Sessions, Self::InFlight, Self::Judge];

    /// The metric's label, and the word in logs.
    pub fn name(self) -> &'static str {
        match self {
            Self::Memory => "memory",
            Self::Disk => "disk",
            Self::Files => "files",
            Self::Sessions => "sessions",
            Self::InFlight => "in_flight",
            Self::Judge => "judge",
        }
    }
}

impl Strain {
    /// From what is used of a bound: the last tenth is for clients in good standing.
    pub(crate) fn of(used: u64, bound: u64) -> Self {
        if used >= bound {
            Self::Full
        } else if used >= bound - bound / 10 {
            Self::High
        } else {
            Self::None
        }
    }

    fn code(self) -> u8 {
        match self {
            Self::None => 0,
            Self::High => 1,
            Self::Full => 2,
        }
    }

    fn from_code(code: u8) -> Self {
        match code {
            0 => Self::None,
            1 => Self::High,
            _ => Self::Full,
        }
    }
}

/// The last that was measured of what only the system, or the judge, knows.
#[derive(Debug, Default)]
pub struct Measured {
    memory: AtomicU8,
    disk: AtomicU8,
    judge: AtomicU8,
}

impl Measured {
    /// Memory, as it is now.
    pub fn memory_is(&self, strain: Strain) {
        self.memory.store(strain.code(), Ordering::Relaxed);
    }

    /// The disk, as it is now.
    pub fn disk_is(&self, strain: Strain) {
        self.disk.store(strain.code(), Ordering::Relaxed);
    }

    /// The judge, as it is now.
    pub fn judge_is(&self, strain: Strain) {
        self.judge.store(strain.code(), Ordering::Relaxed);
    }

    pub(crate) fn memory(&self) -> Strain {
        Strain::from_code(self.memory.load(Ordering::Relaxed))
    }

    pub(crate) fn disk(&self) -> Strain {
        Strain::from_code(self.disk.load(Ordering::Relaxed))
    }

    pub(crate) fn judge(&self) -> Strain {
        Strain::from_code(self.judge.load(Ordering::Relaxed))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_tenth_is_for_those_in_good_standing() {
        assert_eq!(Strain::of(89, 100), Strain::None);
        assert_eq!(Strain::of(90, 100), Strain::High);
        assert_eq!(Strain::of(100, 100), Strain::Full);
        assert_eq!(Strain::of(3, 4), Strain::None, "of a small bound nothing is kept back");
        assert_eq!(Strain::of(0, 0), Strain::Full);
    }

    #[test]
    fn what_was_measured_reads_back() {
        let measured = Measured::default();
        for strain in [Strain::High, Strain::Full, Strain::None] {
            measured.memory_is(strain);
            measured.judge_is(strain);
            assert_eq!(
                (measured.memory(), measured.disk(), measured.judge()),
                (strain, Strain::None, strain)
            );
        }
    }
}
