//! What can go wrong, and what to do about it.

use std::io;
use std::path::PathBuf;

use crate::settings::Invalid;

/// Why the rule set is not as it should be. Each text ends with what to do next where that is known.
#[derive(Debug, thiserror::Error)]
pub enum FirewallError {
    /// What was loaded is not what is there: another program changes the rules at the same time, or this version of `nft` or
    /// of the kernel understands them differently.
    #[error("what was loaded is not what is there ({}): does another program change nftables or routes?", .0.join("; "))]
    Differs(Vec<String>),
    /// The new settings are wrong.
    #[error(transparent)]
    Invalid(#[from] Invalid),
    /// The kernel was built without something that the rules need.
    #[error(
        "the kernel does not know a part of the rules (NFT_TPROXY, NFT_SOCKET, NFT_FIB_INET, NFT_REDIR, NF_CONNTRACK are \
         needed): {said}"
    )]
    KernelLacks {
        /// What `nft` or `ip` said.
        said: String,
    },
    /// A program did not end in time.
    #[error("{program} did not answer within {seconds} s and was stopped")]
    Late {
        /// Which.
        program: &'static str,
        /// The limit.
        seconds: u64,
    },
    /// A program is not installed.
    #[error("{program} is not in /usr/sbin, /sbin, /usr/bin or /bin: install the package {package}")]
    Missing {
        /// Which.
        program: &'static str,
        /// Debian's name for what brings it.
        package: &'static str,
    },
    /// There is no such interface.
    #[error("there is no interface `{0}`: `ip link` lists those there are")]
    NoInterface(String),
    /// There is no rule set to work on.
    #[error("the rule set is not loaded: `postern firewall apply` loads it")]
    NotLoaded,
    /// A right is missing.
    #[error("changing or reading the rule set needs root (CAP_NET_ADMIN): {said}")]
    NotPermitted {
        /// What was refused.
        said: String,
    },
    /// A program refused what it was told, or could not be run.
    #[error("{program} refused: {said}")]
    Refused {
        /// Which.
        program: &'static str,
        /// What it said.
        said: String,
    },
    /// A kernel setting, or the file that remembers its earlier value, could not be read or written.
    #[error("{}: {source}", path.display())]
    State {
        /// Which.
        path: PathBuf,
        /// What the kernel said.
        source: io::Error,
    },
    /// It failed, and so did undoing it.
    #[error(
        "{cause}; and what was done before could not be undone ({left}): `postern firewall remove` tries again"
    )]
    NotUndone {
        /// Why it failed.
        cause: Box<Self>,
        /// Why it could not be undone.
        left: Box<Self>,
    },
    /// A program's answer cannot be understood.
    #[error("the answer of {program} cannot be understood: {said}")]
    Unreadable {
        /// Which.
        program: &'static str,
        /// What is wrong with it.
        said: String,
    },
}

impl FirewallError {
    /// What a failed `nft` or `ip` meant.
    pub(crate) fn of(program: &'static str, said: &str) -> Self {
        let said = said.trim().to_owned();
        let kernel =
            ["Could not process rule: No such file", "Could not process rule: Operation not supported"];
        if said.contains("Operation not permitted") || said.contains("you must be root") {
            Self::NotPermitted { said }
        } else if kernel.iter().any(|text| said.contains(text)) {
            Self::KernelLacks { said }
        } else {
            Self::Refused { program, said }
        }
    }
}
