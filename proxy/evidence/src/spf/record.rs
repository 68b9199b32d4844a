//! A record as its grammar has it (RFC 7208 §12). A record with one fault in it says nothing at all (§4.6).

use std::net::{Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

use super::macros::{DomainSpec, MacroString};
use crate::Verdict;

/// A record that was read whole.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    pub(super) directives: Vec<Directive>,
    pub(super) redirect: Option<DomainSpec>,
}

/// What a record is not.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{term}` is no term of SPF")]
pub struct SyntaxError {
    /// The faulty term.
    pub term: Box<str>,
}

/// A mechanism and what follows if it matches.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Directive {
    pub(super) verdict: Verdict,
    pub(super) mechanism: Mechanism,
}

/// Octets of a network that count, for each family.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Prefix {
    pub(super) v4: u8,
    pub(super) v6: u8,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Mechanism {
    All,
    Include(DomainSpec),
    A(Option<DomainSpec>, Prefix),
    Mx(Option<DomainSpec>, Prefix),
    Ptr(Option<DomainSpec>),
    Ip4(Ipv4Addr, u8),
    Ip6(Ipv6Addr, u8),
    Exists(DomainSpec),
}

/// Whether a TXT record is one of SPF, whatever it says (§4.5).
pub(super) fn is_spf(text: &[u8]) -> bool {
    let (version, rest) = text.split_at_checked(6).unwrap_or((text, b""));
    version.eq_ignore_ascii_case(b"v=spf1") && matches!(rest.first(), None | Some(b' '))
}

impl FromStr for Record {
    type Err = SyntaxError;

    fn from_str(text: &str) -> Result<Self, SyntaxError> {
        let mut record = Self { directives: Vec::new(), redirect: None };
        let mut explained = false;
        for term in text.split(' ').skip(1).filter(|term| !term.is_empty()) {
            let wrong = || SyntaxError { term: term.into() };
            match modifier(term) {
                Some(("redirect", value)) => {
                    let twice = record.redirect.replace(value.parse().map_err(|()| wrong())?).is_some();
                    if twice {
                        return Err(wrong());
                    }
                }
                Some(("exp", value)) => {
                    value.parse::<DomainSpec>().map_err(|()| wrong())?;
                    if std::mem::replace(&mut explained, true) {
                        return Err(wrong());
                    }
                }
                Some((_, value)) => {
                    value.parse::<MacroString>().map_err(|()| wrong())?;
                }
                None => record.directives.push(directive(term).ok_or_else(wrong)?),
            }
        }
        Ok(record)
    }
}

/// `name=value`; the name in lower case where it is one that means something.
fn modifier(term: &str) -> Option<(&str, &str)> {
    let (name, value) = term.split_once('=')?;
    let mut letters = name.bytes();
    let sound = letters.next()?.is_ascii_alphabetic()
        && letters.all(|letter| letter.is_ascii_alphanumeric() || b"-_.".contains(&letter));
    let known = ["redirect", "exp"].into_iter().find(|known| name.eq_ignore_ascii_case(known));
    sound.then_some((known.unwrap_or(name), value))
}

fn directive(term: &str) -> Option<Directive> {
    let (verdict, rest) = match term.as_bytes().first()? {
        b'+' => (Verdict::Pass, &term[1..]),
        b'-' => (Verdict::Fail, &term[1..]),
        b'~' => (Verdict::SoftFail, &term[1..]),
        b'?' => (Verdict::Neutral, &term[1..]),
        _ => (Verdict::Pass, term),
    };
    let end = rest.find([':', '/']).unwrap_or(rest.len());
    let (name, rest) = rest.split_at(end);
    let mechanism = match name.to_ascii_lowercase().as_str() {
        "all" if rest.is_empty() => Mechanism::All,
        "include" => Mechanism::Include(target(rest)?),
        "exists" => Mechanism::Exists(target(rest)?),
        "ptr" if rest.is_empty() => Mechanism::Ptr(None),
        "ptr" => Mechanism::Ptr(Some(target(rest)?)),
        "a" => {
            let (spec, prefix) = host(rest)?;
            Mechanism::A(spec, prefix)
        }
        "mx" => {
            let (spec, prefix) = host(rest)?;
            Mechanism::Mx(spec, prefix)
        }
        "ip4" => {
            let (address, length) = network(rest, 32)?;
            Mechanism::Ip4(address, length)
        }
        "ip6" => {
            let (address, length) = network(rest, 128)?;
            Mechanism::Ip6(address, length)
        }
        _ => return None,
    };
    Some(Directive { verdict, mechanism })
}

/// `:domain-spec`.
fn target(rest: &str) -> Option<DomainSpec> {
    rest.strip_prefix(':')?.parse().ok()
}

/// `[:domain-spec][/prefix][//prefix]`. A domain may hold slashes: only those at the end are lengths.
fn host(rest: &str) -> Option<(Option<DomainSpec>, Prefix)> {
    let mut prefix = Prefix { v4: 32, v6: 128 };
    let mut rest = rest;
    if let Some((before, digits)) = rest.rsplit_once("//")
        && is_number(digits)
    {
        prefix.v6 = length(digits, 128)?;
        rest = before;
    }
    if let Some((before, digits)) = rest.rsplit_once('/')
        && is_number(digits)
    {
        prefix.v4 = length(digits, 32)?;
        rest = before;
    }
    match rest {
        "" => Some((None, prefix)),
        rest => Some((Some(target(rest)?), prefix)),
    }
}

fn is_number(digits: &str) -> bool {
    !digits.is_empty() && digits.bytes().all(|digit| digit.is_ascii_digit())
}

/// A number without leading zeros, at most `most`.
fn length(digits: &str, most: u8) -> Option<u8> {
    let plain = is_number(digits) && (digits == "0" || !digits.starts_with('0'));
    digits.parse().ok().filter(|length| plain && *length <= most)
}

/// `:address[/prefix]`.
fn network<A: FromStr>(rest: &str, most: u8) -> Option<(A, u8)> {
    let rest = rest.strip_prefix(':')?;
    let (address, length) = match rest.split_once('/') {
        Some((address, digits)) => (address, length(digits, most)?),
        None => (rest, most),
    };
    Some((address.parse().ok()?, length))
}
