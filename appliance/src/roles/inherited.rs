//! What a role has from whoever started it: the socket that is its standard input, and nothing else.

use std::fs::File;
use std::io;
use std::os::fd::OwnedFd;

use rustix::net::SocketType;
use rustix::net::sockopt::socket_type;
use rustix::stdio::{dup2_stdin, stdin};

use super::error::RoleError;

/// Descriptors of the standard streams come before this.
const FIRST: i32 = 3;

/// Closes all but the standard streams: what the guard itself was started with beside them is nobody's business. To be
/// called before anything is opened.
///
/// # Errors
///
/// `/proc` cannot be read.
pub(super) fn close_others() -> Result<(), RoleError> {
    let open =
        std::fs::read_dir("/proc/self/fd").map_err(|error| RoleError::Start { what: "a role", error })?;
    let open: Vec<i32> = open.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok()).collect();
    for descriptor in open.into_iter().filter(|descriptor| *descriptor >= FIRST) {
        // The one through which they were listed is closed already.
        let _ = nix::unistd::close(descriptor);
    }
    Ok(())
}

/// Takes the socket; standard input is empty from then on, and nobody who is started inherits the socket.
///
/// # Errors
///
/// [`RoleError::NotStartedByGuard`], or the kernel's.
pub(super) fn socket() -> Result<OwnedFd, RoleError> {
    close_others()?;
    if !matches!(socket_type(stdin()), Ok(SocketType::SEQPACKET)) {
        return Err(RoleError::NotStartedByGuard);
    }
    let take = || -> io::Result<OwnedFd> {
        let socket = rustix::io::fcntl_dupfd_cloexec(stdin(), FIRST)?;
        dup2_stdin(File::open("/dev/null")?)?;
        Ok(socket)
    };
    take().map_err(|error| RoleError::Start { what: "a role", error })
}
