//! Whether rar and 7z want a password. They are not opened.

/// Blocks that are looked at.
const MAX_BLOCKS: usize = 200;
/// Octets at the end of a 7z archive in which its header says how it is packed.
const HEADER: usize = 4 << 10;

/// What is known of an archive's password.
pub(super) fn is_encrypted(octets: &[u8]) -> bool {
    if let Some(blocks) = octets.strip_prefix(b"Rar!\x1a\x07\x00") {
        return rar4(blocks);
    }
    if let Some(blocks) = octets.strip_prefix(b"Rar!\x1a\x07\x01\x00") {
        return rar5(blocks);
    }
    // The identifier of AES-256 among the methods.
    let from = octets.len().saturating_sub(HEADER);
    let header = octets.get(from..).unwrap_or_default();
    octets.starts_with(b"7z\xbc\xaf") && memchr::memmem::find(header, b"\x06\xf1\x07\x01").is_some()
}

fn rar4(blocks: &[u8]) -> bool {
    let mut rest = blocks;
    for _ in 0..MAX_BLOCKS {
        let [_, _, kind, flags, flags_high, size, size_high, ..] = rest else { return false };
        let flags = u16::from_le_bytes([*flags, *flags_high]);
        let mut size = usize::from(u16::from_le_bytes([*size, *size_high]));
        match kind {
            // The archive's header: all others are encrypted.
            0x73 if flags & 0x80 != 0 => return true,
            0x74 if flags & 0x04 != 0 => return true,
            _ => {}
        }
        if (flags & 0x8000 != 0 || *kind == 0x74)
            && let Some([a, b, c, d]) = rest.get(7..11)
        {
            size = size.saturating_add(u32::from_le_bytes([*a, *b, *c, *d]) as usize);
        }
        rest = rest.get(size.max(7)..).unwrap_or_default();
    }
    false
}

fn rar5(blocks: &[u8]) -> bool {
    let mut rest = blocks;
    for _ in 0..MAX_BLOCKS {
        let Some(block) = rest.get(4..) else { return false };
        let Some((size, header)) = number(block) else { return false };
        let Ok(size) = usize::try_from(size) else { return false };
        let Some(own) = header.get(..size) else { return false };
        let Some((kind, own)) = number(own) else { return false };
        let Some((flags, own)) = number(own) else { return false };
        let (extra, own) = if flags & 1 != 0 { number(own).unwrap_or((0, own)) } else { (0, own) };
        let (data, own) = if flags & 2 != 0 { number(own).unwrap_or((0, own)) } else { (0, own) };
        if kind == 4 || kind == 2 && has_key(own, extra) {
            return true;
        }
        let Some(behind) = usize::try_from(data).ok().and_then(|data| header.get(size.checked_add(data)?..))
        else {
            return false;
        };
        rest = behind;
    }
    false
}

/// Whether a record about encryption is in the extra area at a header's end.
fn has_key(header: &[u8], extra: u64) -> bool {
    let length = usize::try_from(extra).unwrap_or(usize::MAX).min(header.len());
    let mut rest = header.get(header.len() - length..).unwrap_or_default();
    while let Some((size, record)) = number(rest) {
        if number(record).is_some_and(|(kind, _)| kind == 1) {
            return true;
        }
        match usize::try_from(size).ok().filter(|size| *size > 0).and_then(|size| record.get(size..)) {
            Some(behind) => rest = behind,
            None => return false,
        }
    }
    false
}

/// Seven bits an octet, the lowest first.
fn number(octets: &[u8]) -> Option<(u64, &[u8])> {
    let mut value = 0;
    for (at, octet) in octets.iter().take(9).enumerate() {
        value |= u64::from(octet & 0x7f) << (7 * at);
        if octet & 0x80 == 0 {
            return Some((value, octets.get(at + 1..)?));
        }
    }
    None
}
