//! Macros (RFC 7208 §7): names that are made of who sends.

use std::borrow::Cow;
use std::net::IpAddr;
use std::str::FromStr;

/// Octets of a name in the DNS, without its last dot.
pub(super) const MAX_NAME: usize = 253;
/// Octets of one expansion: a sender's address is no longer, and what is expanded is cut to a name in any case.
const MAX_EXPANSION: usize = 4 << 10;

/// A string with macros in it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct MacroString(Vec<Piece>);

/// A [`MacroString`] that ends as a name has to: with a label that may be the topmost one, or with a macro.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct DomainSpec(MacroString);

#[derive(Clone, Debug, PartialEq, Eq)]
enum Piece {
    Literal(Box<str>),
    Macro { letter: u8, escaped: bool, keep: usize, reversed: bool, delimiters: Box<[u8]> },
}

/// What macros stand for.
#[derive(Clone, Copy, Debug)]
pub(super) struct Meaning<'a> {
    pub(super) sender_local: &'a str,
    pub(super) sender_domain: &'a str,
    pub(super) domain: &'a str,
    pub(super) client: IpAddr,
    pub(super) helo: &'a str,
    /// The client's validated name; `unknown` where there is none, or where none was looked for.
    pub(super) validated: &'a str,
}

impl FromStr for MacroString {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        let mut pieces = Vec::new();
        let mut rest = text;
        while !rest.is_empty() {
            let literal = rest.find('%').unwrap_or(rest.len());
            let (plain, behind) = rest.split_at(literal);
            if !plain.bytes().all(|octet| matches!(octet, 0x21..=0x7e)) {
                return Err(());
            }
            if !plain.is_empty() {
                pieces.push(Piece::Literal(plain.into()));
            }
            rest = match behind.as_bytes() {
                [] => "",
                [b'%', b'%', ..] => literally(&mut pieces, "%", &behind[2..]),
                [b'%', b'_', ..] => literally(&mut pieces, " ", &behind[2..]),
                [b'%', b'-', ..] => literally(&mut pieces, "%20", &behind[2..]),
                [b'%', b'{', ..] => {
                    let (inner, behind) = behind[2..].split_once('}').ok_or(())?;
                    pieces.push(expansion(inner).ok_or(())?);
                    behind
                }
                _ => return Err(()),
            };
        }
        Ok(Self(pieces))
    }
}

fn literally<'a>(pieces: &mut Vec<Piece>, text: &str, behind: &'a str) -> &'a str {
    pieces.push(Piece::Literal(text.into()));
    behind
}

/// What stands in braces: a letter, how many labels, `r`, and delimiters.
fn expansion(inner: &str) -> Option<Piece> {
    let (&first, rest) = inner.as_bytes().split_first()?;
    let letter = first.to_ascii_lowercase();
    // `c`, `r` and `t` are for explanations alone.
    if !b"slodiphv".contains(&letter) {
        return None;
    }
    let digits = rest.iter().take_while(|octet| octet.is_ascii_digit()).count();
    let (number, rest) = rest.split_at(digits);
    let keep = match number {
        [] => usize::MAX,
        // More than fits is more than there are labels.
        number => str::from_utf8(number).ok()?.parse().unwrap_or(usize::MAX),
    };
    let (reversed, delimiters) = match rest.split_first() {
        Some((b'r' | b'R', rest)) => (true, rest),
        _ => (false, rest),
    };
    let sound = keep > 0 && delimiters.iter().all(|octet| b".-+,/_=".contains(octet));
    let delimiters = if delimiters.is_empty() { &b"."[..] } else { delimiters };
    let escaped = first.is_ascii_uppercase();
    sound.then(|| Piece::Macro { letter, escaped, keep, reversed, delimiters: delimiters.into() })
}

impl FromStr for DomainSpec {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        let string: MacroString = text.parse()?;
        let ends_well = match string.0.last() {
            Some(Piece::Macro { .. }) => true,
            Some(Piece::Literal(_)) if ["%%", "%_", "%-"].iter().any(|end| text.ends_with(end)) => true,
            Some(Piece::Literal(literal)) => {
                let name = literal.strip_suffix('.').unwrap_or(literal);
                name.rsplit_once('.').is_some_and(|(_, label)| may_be_topmost(label))
            }
            None => false,
        };
        if ends_well { Ok(Self(string)) } else { Err(()) }
    }
}

/// Letters, digits and hyphens within, and not digits alone (RFC 7208 §7.1, RFC 3696 §2).
fn may_be_topmost(label: &str) -> bool {
    let sound = label.bytes().all(|octet| octet.is_ascii_alphanumeric() || octet == b'-');
    let inner = !label.starts_with('-') && !label.ends_with('-');
    sound && inner && label.bytes().any(|octet| !octet.is_ascii_digit())
}

impl DomainSpec {
    /// The name, without its last dot and with labels taken off on the left until it fits (§7.3).
    pub(super) fn expand(&self, meaning: &Meaning<'_>) -> String {
        let mut name = String::new();
        for piece in &(self.0).0 {
            match piece {
                Piece::Literal(literal) => name.push_str(literal),
                Piece::Macro { letter, escaped, keep, reversed, delimiters } => {
                    let value = transformed(&value(*letter, meaning), delimiters, *keep, *reversed);
                    name.push_str(&if *escaped { Cow::from(percent_encoded(&value)) } else { value.into() });
                }
            }
            if name.len() > MAX_EXPANSION {
                break;
            }
        }
        let mut name = name.strip_suffix('.').unwrap_or(&name);
        while name.len() > MAX_NAME {
            name = name.split_once('.').map_or("", |(_, rest)| rest);
        }
        name.to_owned()
    }

    /// Whether it asks for the client's validated name.
    pub(super) fn wants_validated(&self) -> bool {
        (self.0).0.iter().any(|piece| matches!(piece, Piece::Macro { letter: b'p', .. }))
    }
}

fn value(letter: u8, meaning: &Meaning<'_>) -> String {
    let Meaning { sender_local, sender_domain, domain, client, helo, validated } = *meaning;
    match letter {
        b's' => format!("{sender_local}@{sender_domain}"),
        b'l' => sender_local.to_owned(),
        b'o' => sender_domain.to_owned(),
        b'd' => domain.to_owned(),
        b'i' => dotted(client),
        b'p' => validated.to_owned(),
        b'v' => if client.is_ipv4() { "in-addr" } else { "ip6" }.to_owned(),
        _ => helo.to_owned(),
    }
}

/// IPv6 as nibbles between dots.
fn dotted(client: IpAddr) -> String {
    match client {
        IpAddr::V4(client) => client.to_string(),
        IpAddr::V6(client) => {
            let nibbles = client.octets().into_iter().flat_map(|octet| [octet >> 4, octet & 15]);
            nibbles.map(|nibble| format!("{nibble:x}")).collect::<Vec<_>>().join(".")
        }
    }
}

fn transformed(value: &str, delimiters: &[u8], keep: usize, reversed: bool) -> String {
    let is_delimiter = |c: char| u8::try_from(c).is_ok_and(|octet| delimiters.contains(&octet));
    let mut labels: Vec<&str> = value.split(is_delimiter).collect();
    if reversed {
        labels.reverse();
    }
    labels[labels.len().saturating_sub(keep)..].join(".")
}

/// All but unreserved characters (RFC 3986 §2.3).
fn percent_encoded(value: &str) -> String {
    let mut encoded = String::with_capacity(value.len());
    for octet in value.bytes() {
        if octet.is_ascii_alphanumeric() || b"-._~".contains(&octet) {
            encoded.push(char::from(octet));
        } else {
            encoded.push_str(&format!("%{octet:02X}"));
        }
    }
    encoded
}
