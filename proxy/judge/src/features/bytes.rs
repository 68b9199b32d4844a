//! The byte form of features: a version, then pieces as kind, length, text.

use super::{Kind, MAX_BYTES, Piece};
use crate::error::JudgeError;

/// Changes when the kinds do. What an older version wrote is refused: its reports then find nothing to teach.
const VERSION: u8 = 1;

pub(super) fn write(pieces: &[Piece]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(1 + pieces.iter().map(|piece| piece.text.len() + 3).sum::<usize>());
    bytes.push(VERSION);
    for Piece { kind, text } in pieces {
        // Features are cut far below 64 KiB.
        let length = u16::try_from(text.len()).unwrap_or(u16::MAX);
        bytes.push(*kind as u8);
        bytes.extend_from_slice(&length.to_le_bytes());
        bytes.extend_from_slice(&text.as_bytes()[..usize::from(length)]);
    }
    bytes
}

pub(super) fn read(bytes: &[u8]) -> Result<Vec<Piece>, JudgeError> {
    if bytes.len() > MAX_BYTES {
        return Err(JudgeError::Features("too long"));
    }
    let Some((&VERSION, mut rest)) = bytes.split_first() else {
        return Err(JudgeError::Features("not this version"));
    };
    let mut pieces = Vec::new();
    while let Some((&[kind, low, high], behind)) = rest.split_first_chunk() {
        let length = usize::from(u16::from_le_bytes([low, high]));
        let (text, behind) = behind.split_at_checked(length).ok_or(JudgeError::Features("cut short"))?;
        let text = std::str::from_utf8(text).map_err(|_| JudgeError::Features("not UTF-8"))?;
        pieces.push(Piece { kind: kind_of(kind)?, text: text.to_owned() });
        rest = behind;
    }
    if rest.is_empty() { Ok(pieces) } else { Err(JudgeError::Features("cut short")) }
}

fn kind_of(number: u8) -> Result<Kind, JudgeError> {
    [Kind::Field, Kind::Subject, Kind::Start, Kind::End, Kind::Hidden, Kind::Link, Kind::Fact]
        .into_iter()
        .find(|kind| *kind as u8 == number)
        .ok_or(JudgeError::Features("of no known kind"))
}
