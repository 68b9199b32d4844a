//! A config's text on its way from the gate to who writes it: sealed memory (memfd_create(2)), which nobody changes while it is
//! read, and which can be nothing that a reader would wait for. First the digest of the text that it takes the place of.

use std::fs::File;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::FileExt as _;

use rustix::fs::{SealFlags, fcntl_get_seals, fstat};
use sift::Body;

use crate::settings::place::{Digest, MAX_TEXT};

const DIGEST: usize = 32;
const SEALS: SealFlags = SealFlags::WRITE.union(SealFlags::SHRINK).union(SealFlags::GROW);

/// What the gate hands over.
pub(super) fn sealed(base: Digest, text: &str) -> io::Result<Body> {
    Body::from_bytes(&[&base.0, text.as_bytes()].concat())
}

/// What was handed over; `None`: it is nothing of that kind, so that whoever sent it is broken.
pub(super) fn read(handed: OwnedFd) -> Option<(Digest, String)> {
    // Only memory can have been sealed so.
    if !fcntl_get_seals(&handed).is_ok_and(|seals| seals.contains(SEALS)) {
        return None;
    }
    let length = usize::try_from(fstat(&handed).ok()?.st_size).ok()?;
    if !(DIGEST..=DIGEST + MAX_TEXT).contains(&length) {
        return None;
    }
    let mut octets = vec![0; length];
    File::from(handed).read_exact_at(&mut octets, 0).ok()?;
    let (digest, text) = octets.split_first_chunk::<DIGEST>()?;
    Some((Digest(*digest), std::str::from_utf8(text).ok()?.to_owned()))
}

#[cfg(test)]
mod tests {
    use std::os::fd::AsFd as _;

    use super::*;

    #[test]
    fn a_text_arrives_and_what_could_change_or_block_does_not() {
        let base = Digest::of("before");
        let handed = sealed(base, "after").unwrap();
        let descriptor = || handed.as_fd().try_clone_to_owned().unwrap();
        assert_eq!(read(descriptor()), Some((base, "after".to_owned())));
        let short = Body::from_bytes(b"short").unwrap();
        assert_eq!(read(short.as_fd().try_clone_to_owned().unwrap()), None);
        let long = sealed(base, &" ".repeat(MAX_TEXT + 1)).unwrap();
        assert_eq!(read(long.as_fd().try_clone_to_owned().unwrap()), None);
        assert_eq!(read(tempfile::tempfile().unwrap().into()), None);
        let (reader, _writer) = io::pipe().unwrap();
        assert_eq!(read(reader.into()), None);
        let binary = Body::from_bytes(&[0xFF; 40]).unwrap();
        assert_eq!(read(binary.as_fd().try_clone_to_owned().unwrap()), None);
    }
}
