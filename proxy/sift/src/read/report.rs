//! A report that a message carries: found by its media type or its name, unpacked and read within bounds.
//!
//! Reports on TLS have media types of their own (RFC 8460 §6.4, §6.5). Those on DMARC are gzip, zip or XML of any type, called
//! `RECEIVER!DOMAIN!BEGIN!END` and so on (RFC 9990 §3.5.1); some who report on TLS send theirs like that, too.

mod dmarc;
mod tls;

use super::archive::{gzip, zip};
use crate::cut::cut;
use crate::report::{MAX_WORD, Report};

/// Octets of a report, unpacked. The largest that are sent have some megabytes; what is packed denser than text can be meets this, too.
const MAX_UNPACKED: usize = 8 << 20;

/// What a part's header says of it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Label<'a> {
    pub(super) media_type: &'a str,
    pub(super) name: &'a str,
}

/// The report that this part is; `None` where it is none.
pub(super) fn of(label: Label<'_>, octets: &[u8]) -> Option<Report> {
    let is_tls = matches!(label.media_type, "application/tlsrpt+gzip" | "application/tlsrpt+json");
    // Receiver, domain, begin and end.
    if !is_tls && label.name.split('!').count() < 4 {
        return None;
    }
    let read = unpacked(octets).and_then(|text| {
        let first = text.iter().find(|octet| !octet.is_ascii_whitespace());
        match is_tls || first == Some(&b'{') {
            true => tls::read(&text).map(Report::Tls),
            false => dmarc::read(&text).map(Report::Dmarc),
        }
    });
    Some(read.unwrap_or_else(|why| Report::Unreadable(why.to_owned())))
}

fn unpacked(octets: &[u8]) -> Result<Vec<u8>, &'static str> {
    let (text, broken) = match octets {
        [0x1f, 0x8b, ..] => {
            let unpacked = gzip::unpack(octets, MAX_UNPACKED + 1);
            (unpacked.octets, unpacked.broken)
        }
        [b'P', b'K', ..] => {
            let members = zip::members(octets).ok_or("the zip archive cannot be read")?;
            let mut files = members.list.iter().filter(|member| !member.name.ends_with('/'));
            let member = files.next().ok_or("the zip archive is empty")?;
            if member.encrypted {
                return Err("the zip archive wants a password");
            }
            let mut text = Vec::new();
            let read = member.unpack(MAX_UNPACKED + 1, &mut text);
            (text, read.is_err())
        }
        plain => (plain.to_vec(), false),
    };
    match text.len() {
        _ if broken => Err("it cannot be unpacked"),
        0 => Err("it is empty"),
        1..=MAX_UNPACKED => Ok(text),
        _ => Err("it is larger than 8 MiB"),
    }
}

/// As much of a word as is kept, without what steers a terminal or turns the direction of text.
fn word(text: &str) -> String {
    let is_shown = |c: &char| {
        !c.is_control()
            && !matches!(c, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
    };
    let shown: String = text.trim().chars().filter(is_shown).take(MAX_WORD).collect();
    cut(&shown, MAX_WORD).to_owned()
}

/// A domain as it is compared.
fn domain(text: &str) -> String {
    word(text.trim().trim_end_matches('.')).to_ascii_lowercase()
}

#[cfg(test)]
mod tests;
