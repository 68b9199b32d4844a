//! Features in the form that the members count: hashes.

use crate::features::{Digest, Piece};

/// Features in the form that the members count.
#[derive(Clone, Debug)]
pub(crate) struct Prepared {
    pub(crate) digest: Digest,
    pub(crate) body_hash: u64,
}

impl Prepared {
    pub(crate) fn of(pieces: &[Piece]) -> Self {
        let mut digest = blake3::Hasher::new();
        for piece in pieces {
            digest.update(&[piece.kind as u8]);
            digest.update(piece.text.as_bytes());
        }
        let mut short = [0; 16];
        short.copy_from_slice(&digest.finalize().as_bytes()[..16]);
        Self { digest: short, body_hash: 0 }
    }
}
