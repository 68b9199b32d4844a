//! Transfer encodings (RFC 2045 §6), as leniently as mail programs undo them.

use std::borrow::Cow;

/// A transfer encoding.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Encoding {
    /// 7bit, 8bit, binary.
    Identity,
    QuotedPrintable,
    Base64,
    /// What was common before MIME, under the names that it has there.
    Uuencode,
    Unknown,
}

/// Octets without their encoding.
pub(super) struct Decoded<'a> {
    pub(super) octets: Cow<'a, [u8]>,
    /// What was there is not of this encoding.
    pub(super) broken: bool,
}

impl Encoding {
    /// By the value of `Content-Transfer-Encoding`.
    pub(super) fn of(value: &[u8]) -> Self {
        let end = value.iter().position(|octet| matches!(octet, b';' | b'(')).unwrap_or(value.len());
        let name = value.get(..end).unwrap_or_default().trim_ascii().trim_ascii_end();
        let is = |other: &str| name.eq_ignore_ascii_case(other.as_bytes());
        if name.is_empty() || is("7bit") || is("8bit") || is("binary") {
            Self::Identity
        } else if is("quoted-printable") {
            Self::QuotedPrintable
        } else if is("base64") {
            Self::Base64
        } else if is("x-uuencode") || is("uuencode") || is("x-uue") || is("uue") {
            Self::Uuencode
        } else {
            Self::Unknown
        }
    }

    /// There is nothing to be undone.
    pub(super) fn is_none(self) -> bool {
        matches!(self, Self::Identity | Self::Unknown)
    }

    /// Undoes it.
    pub(super) fn decode(self, octets: &[u8]) -> Decoded<'_> {
        match self {
            Self::Identity => Decoded { octets: Cow::Borrowed(octets), broken: false },
            Self::Unknown => Decoded { octets: Cow::Borrowed(octets), broken: true },
            Self::QuotedPrintable => quoted_printable(octets),
            Self::Base64 => base64(octets),
            Self::Uuencode => uuencoded(octets),
        }
    }
}

const NO_DIGIT: u8 = 0xff;
const DIGITS: [u8; 256] = digits();

const fn digits() -> [u8; 256] {
    let alphabet = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut table = [NO_DIGIT; 256];
    let mut value = 0;
    while value < 64 {
        table[alphabet[value as usize] as usize] = value;
        value += 1;
    }
    table
}

fn digit(octet: u8) -> u8 {
    DIGITS.get(usize::from(octet)).copied().unwrap_or(NO_DIGIT)
}

/// What is no digit is skipped; text behind the padding is left alone.
fn base64(octets: &[u8]) -> Decoded<'_> {
    let mut decoded = Vec::with_capacity(octets.len() / 4 * 3 + 3);
    let mut broken = false;
    let (mut bits, mut held, mut padded) = (0_u32, 0_u8, false);
    let mut rest = octets;
    loop {
        if held == 0 {
            let (groups, _) = rest.as_chunks::<4>();
            let mut taken = 0;
            for group in groups {
                let [a, b, c, d] = group.map(digit);
                if (a | b | c | d) >= 64 {
                    break;
                }
                let bits = u32::from(a) << 18 | u32::from(b) << 12 | u32::from(c) << 6 | u32::from(d);
                let [_, three @ ..] = bits.to_be_bytes();
                decoded.extend_from_slice(&three);
                taken += 4;
            }
            rest = rest.get(taken..).unwrap_or_default();
        }
        let Some((&octet, behind)) = rest.split_first() else { break };
        rest = behind;
        match (octet, digit(octet)) {
            (b'\r' | b'\n' | b' ' | b'\t', _) => {}
            (b'=', _) => {
                flush(&mut decoded, bits, held);
                (bits, held, padded) = (0, 0, true);
            }
            (_, NO_DIGIT) => {
                broken = true;
                if padded {
                    break;
                }
            }
            (_, value) => {
                bits = bits << 6 | u32::from(value);
                held += 1;
                if held == 4 {
                    let [_, three @ ..] = bits.to_be_bytes();
                    decoded.extend_from_slice(&three);
                    (bits, held) = (0, 0);
                }
            }
        }
    }
    broken |= held == 1;
    flush(&mut decoded, bits, held);
    Decoded { octets: Cow::Owned(decoded), broken }
}

fn flush(decoded: &mut Vec<u8>, bits: u32, held: u8) {
    let left = bits << (6 * u32::from(4 - held.min(4)));
    let [_, three @ ..] = left.to_be_bytes();
    decoded.extend(three.into_iter().take(usize::from(held.saturating_sub(1))));
}

/// Lines between `begin` and `end` (POSIX uuencode): each a length, and groups of four characters for three octets.
fn uuencoded(octets: &[u8]) -> Decoded<'_> {
    let mut lines =
        octets.split(|octet| *octet == b'\n').skip_while(|line| !line.starts_with(b"begin ")).skip(1);
    let mut decoded = Vec::new();
    let six = |at: Option<&u8>| u32::from(at.copied().unwrap_or(b' ').wrapping_sub(b' ') & 63);
    let ended = loop {
        let Some(line) = lines.next().map(<[u8]>::trim_ascii_end) else { break false };
        match line.split_first() {
            Some(_) if line == b"end" => break true,
            None => {}
            Some((length, groups)) => {
                let length = usize::from(length.wrapping_sub(b' ') & 63);
                let from = decoded.len();
                for group in groups.chunks(4) {
                    let bits = (0..4).fold(0, |bits, at| bits << 6 | six(group.get(at)));
                    let [_, three @ ..] = bits.to_be_bytes();
                    decoded.extend_from_slice(&three);
                }
                decoded.truncate(from + length);
            }
        }
    };
    Decoded { octets: Cow::Owned(decoded), broken: !ended }
}

/// What is no escape stays as it is.
fn quoted_printable(octets: &[u8]) -> Decoded<'_> {
    let mut rest = octets;
    let mut broken = false;
    let mut decoded: Vec<u8> = Vec::new();
    while let Some(at) = memchr::memchr(b'=', rest) {
        decoded.reserve(rest.len());
        let (plain, escape) = rest.split_at_checked(at).unwrap_or((rest, &[]));
        decoded.extend_from_slice(plain);
        let behind = escape.get(1..).unwrap_or_default();
        rest = match behind {
            [high, low, rest @ ..] if let (Some(high), Some(low)) = (hex(*high), hex(*low)) => {
                decoded.push(high << 4 | low);
                rest
            }
            _ => match soft_break(behind) {
                Some(rest) => rest,
                None => {
                    broken = true;
                    decoded.push(b'=');
                    behind
                }
            },
        };
    }
    if decoded.is_empty() && rest.len() == octets.len() {
        return Decoded { octets: Cow::Borrowed(octets), broken };
    }
    decoded.extend_from_slice(rest);
    Decoded { octets: Cow::Owned(decoded), broken }
}

fn hex(octet: u8) -> Option<u8> {
    match octet {
        b'0'..=b'9' => Some(octet - b'0'),
        b'A'..=b'F' => Some(octet - b'A' + 10),
        b'a'..=b'f' => Some(octet - b'a' + 10),
        _ => None,
    }
}

/// What follows the line end that an escape hides; mail programs tolerate blanks before it.
fn soft_break(behind: &[u8]) -> Option<&[u8]> {
    let mut rest = behind;
    loop {
        match rest {
            [b'\n', rest @ ..] => return Some(rest),
            [b' ' | b'\t' | b'\r', behind @ ..] => rest = behind,
            [] => return Some(rest),
            _ => return None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn decoded(encoding: Encoding, text: &str) -> (String, bool) {
        let decoded = encoding.decode(text.as_bytes());
        (String::from_utf8(decoded.octets.into_owned()).unwrap(), decoded.broken)
    }

    #[test]
    fn base64_is_undone_however_it_is_broken_up() {
        for (text, plain, broken) in [
            ("SGVsbG8sIHdvcmxkIQ==", "Hello, world!", false),
            ("SGVs\r\nbG8s\r\nIHdv cmxk\tIQ==\r\n", "Hello, world!", false),
            ("SGVsbG8s*IHdvcmxkIQ==", "Hello, world!", true),
            ("SGVsbG8sIHdvcmxkIQ", "Hello, world!", false),
            ("SGVsbG8=LCB3b3JsZCE=", "Hello, world!", false),
            ("SGVsbG8=\r\n_____\r\nlist footer", "Hello", true),
            ("SGVsbG8\u{e4}=", "Hello", true),
            ("S", "", true),
            ("", "", false),
        ] {
            assert_eq!(decoded(Encoding::Base64, text), (plain.to_owned(), broken), "{text}");
        }
    }

    #[test]
    fn quoted_printable_keeps_what_is_no_escape() {
        for (text, plain, broken) in [
            ("a=3Db=3d\r\n", "a=b=\r\n", false),
            ("long=\r\nline= \t\r\ngoes on=\nhere=", "longlinegoes onhere", false),
            ("1+1=2, =zz", "1+1=2, =zz", true),
            ("=C3=A4", "\u{e4}", false),
            ("nothing", "nothing", false),
        ] {
            assert_eq!(decoded(Encoding::QuotedPrintable, text), (plain.to_owned(), broken), "{text}");
        }
    }

    #[test]
    fn lines_of_uuencode_are_undone_between_begin_and_end() {
        for (text, plain, broken) in [
            ("begin 644 a.txt\r\n%:&5L;&\\\r\n`\r\nend\r\n", "hello", false),
            ("text\nbegin 644 a\n#86)C\n#9&5F\nend\nmore", "abcdef", false),
            ("begin 644 a\n#86)C\n", "abc", true),
            ("begin 644 a\n#86\nend", "a\u{60}", false),
            ("no beginning", "", true),
        ] {
            let (decoded, is_broken) = decoded(Encoding::Uuencode, text);
            assert_eq!((decoded.trim_end_matches('\0'), is_broken), (plain, broken), "{text}");
        }
    }

    #[test]
    fn the_encoding_goes_by_its_name() {
        for (value, encoding) in [
            (" BASE64\r\n", Encoding::Base64),
            (" quoted-printable; x=y", Encoding::QuotedPrintable),
            (" 8bit (as is)", Encoding::Identity),
            ("", Encoding::Identity),
            (" x-uuencode", Encoding::Uuencode),
            (" x-unknown", Encoding::Unknown),
        ] {
            assert_eq!(Encoding::of(value.as_bytes()), encoding, "{value}");
        }
    }
}
