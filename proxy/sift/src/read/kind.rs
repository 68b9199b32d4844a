//! What octets are, by what they begin with; by name only where octets cannot tell.

use crate::content::Kind;

/// Octets at the beginning that are looked at.
const LOOKED_AT: usize = 1024;

/// The kind of a part.
pub(super) fn of(octets: &[u8], media_type: &str, name: &str) -> Kind {
    if octets.is_empty() {
        return Kind::Empty;
    }
    by_octets(octets).unwrap_or_else(|| by_claim(octets, media_type, name))
}

/// Signatures that stand at the very beginning.
const SIGNATURES: &[(&[u8], Kind)] = &[
    (b"%PDF-", Kind::Pdf),
    (b"{\\rtf", Kind::Rtf),
    (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", Kind::CompoundDocument),
    (b"PK\x03\x04", Kind::Zip),
    (b"PK\x05\x06", Kind::Zip),
    (b"PK00PK\x03\x04", Kind::Zip),
    (b"\x1f\x8b", Kind::Gzip),
    (b"Rar!\x1a\x07", Kind::Archive),
    (b"7z\xbc\xaf\x27\x1c", Kind::Archive),
    (b"MSCF", Kind::Archive),
    (b"ISc(", Kind::Archive),
    (b"\xfd7zXZ\0", Kind::Archive),
    (b"BZh", Kind::Archive),
    (b"\x28\xb5\x2f\xfd", Kind::Archive),
    (b"\x60\xea", Kind::Archive),
    (b"conectix", Kind::DiskImage),
    (b"vhdxfile", Kind::DiskImage),
    (b"MZ", Kind::Program),
    (b"\x7fELF", Kind::Program),
    (b"\xca\xfe\xba\xbe", Kind::Program),
    (b"\xfe\xed\xfa\xce", Kind::Program),
    (b"\xfe\xed\xfa\xcf", Kind::Program),
    (b"\xce\xfa\xed\xfe", Kind::Program),
    (b"\xcf\xfa\xed\xfe", Kind::Program),
    (b"dex\n", Kind::Program),
    (b"#!", Kind::Script),
    (b"L\0\0\0\x01\x14\x02\0", Kind::Shortcut),
    (b"[InternetShortcut]", Kind::Shortcut),
    (b"[Desktop Entry]", Kind::Shortcut),
    (b"\x89PNG\r\n\x1a\n", Kind::Picture),
    (b"\xff\xd8\xff", Kind::Picture),
    (b"GIF87a", Kind::Picture),
    (b"GIF89a", Kind::Picture),
    (b"II*\0", Kind::Picture),
    (b"MM\0*", Kind::Picture),
    (b"8BPS", Kind::Picture),
    (b"\0\0\x01\0", Kind::Picture),
    (b"ID3", Kind::Media),
    (b"OggS", Kind::Media),
    (b"fLaC", Kind::Media),
    (b"MThd", Kind::Media),
    (b"\x1aE\xdf\xa3", Kind::Media),
    (b"FWS", Kind::Media),
    (b"CWS", Kind::Media),
    (b"\0\0\x01\xba", Kind::Media),
    (b"\x30\x26\xb2\x75", Kind::Media),
    (b"BEGIN:VCALENDAR", Kind::Calendar),
    (b"-----BEGIN PGP", Kind::Cryptographic),
    (b"wOFF", Kind::Font),
    (b"wOF2", Kind::Font),
    (b"OTTO", Kind::Font),
    (b"\0\x01\0\0\0", Kind::Font),
];

fn by_octets(octets: &[u8]) -> Option<Kind> {
    if let Some((signature, kind)) = SIGNATURES.iter().find(|(signature, _)| octets.starts_with(signature)) {
        let is_short = signature.len() == 2 && !fits(*kind, octets);
        return (!is_short).then_some(*kind);
    }
    let at = |from: usize, wanted: &[u8]| octets.get(from..).is_some_and(|rest| rest.starts_with(wanted));
    if at(0, b"RIFF") {
        return Some(if at(8, b"WEBP") { Kind::Picture } else { Kind::Media });
    }
    if at(4, b"ftyp") {
        let picture = [&b"heic"[..], b"heix", b"mif1", b"avif"].iter().any(|brand| at(8, brand));
        return Some(if picture { Kind::Picture } else { Kind::Media });
    }
    if at(0, b"BM") && at(6, &[0; 4]) {
        return Some(Kind::Picture);
    }
    if at(257, b"ustar") {
        return Some(Kind::Tar);
    }
    if at(7, b"**ACE**") || at(2, b"-lh") && at(6, b"-") || at(2, b"-lz") && at(6, b"-") {
        return Some(Kind::Archive);
    }
    if at(0x8001, b"CD001") || at(0x8001, b"BEA01") || at(0x8801, b"CD001") {
        return Some(Kind::DiskImage);
    }
    if matches!(octets, [0xff, 0xe2..=0xfb, ..]) && !at(0, b"\xff\xfe") {
        return Some(Kind::Media);
    }
    html_or_picture(octets)
}

/// Whether what begins with two octets of a signature may be of its kind.
fn fits(kind: Kind, octets: &[u8]) -> bool {
    match kind {
        Kind::Program => !is_text(octets),
        Kind::Script => octets.get(2).is_some_and(|next| matches!(next, b'/' | b' ')),
        Kind::Gzip => octets.get(2) == Some(&8),
        _ => octets.len() > 8 && !is_text(octets),
    }
}

fn html_or_picture(octets: &[u8]) -> Option<Kind> {
    let start = octets.get(..LOOKED_AT).unwrap_or(octets);
    let start = start.strip_prefix(b"\xef\xbb\xbf").unwrap_or(start).trim_ascii_start();
    if start.first() != Some(&b'<') {
        return None;
    }
    let begins =
        |with: &str| start.get(..with.len()).is_some_and(|start| start.eq_ignore_ascii_case(with.as_bytes()));
    // A picture that can have scripts and links: it is looked at as HTML is.
    let is_html =
        ["<!doctype html", "<html", "<head", "<body", "<script", "<svg", "<iframe", "<table", "<meta"];
    if is_html.iter().any(|tag| begins(tag)) {
        return Some(Kind::Html);
    }
    let lower = start.to_ascii_lowercase();
    let within = |tag: &str| memchr::memmem::find(&lower, tag.as_bytes()).is_some();
    (within("<html") || within("<svg")).then_some(Kind::Html)
}

fn by_claim(octets: &[u8], media_type: &str, name: &str) -> Kind {
    let extension = name.rsplit_once('.').map_or("", |(_, extension)| extension.trim()).to_ascii_lowercase();
    match extension.as_str() {
        "js" | "jse" | "vbs" | "vbe" | "wsf" | "wsh" | "hta" | "ps1" | "psm1" | "bat" | "cmd" | "sh"
        | "py" | "pl" | "vb" | "wsc" | "sct" | "jar" | "reg" | "scf" => return Kind::Script,
        "com" | "exe" | "scr" | "pif" | "cpl" | "dll" | "msi" | "msix" | "appx" | "app" | "gadget" => {
            return Kind::Program;
        }
        "lnk" | "url" | "desktop" | "website" | "webloc" | "library-ms" | "search-ms"
        | "settingcontent-ms" => {
            return Kind::Shortcut;
        }
        "iso" | "img" | "vhd" | "vhdx" | "udf" | "dmg" => return Kind::DiskImage,
        "rar" | "7z" | "cab" | "xz" | "bz2" | "zst" | "arj" | "lzh" | "ace" | "z" | "uue" => {
            return Kind::Archive;
        }
        "asc" | "pgp" | "gpg" | "p7m" | "p7s" | "sig" => return Kind::Cryptographic,
        _ => {}
    }
    match media_type {
        "text/html" | "application/xhtml+xml" => Kind::Html,
        "text/calendar" => Kind::Calendar,
        "application/pgp-encrypted"
        | "application/pgp-signature"
        | "application/pkcs7-mime"
        | "application/pkcs7-signature"
        | "application/x-pkcs7-mime"
        | "application/x-pkcs7-signature"
        | "application/pgp-keys" => Kind::Cryptographic,
        "message/rfc822" | "message/global" => Kind::Message,
        _ if matches!(extension.as_str(), "html" | "htm" | "shtml" | "xhtml" | "mht") => Kind::Html,
        _ if extension == "eml" => Kind::Message,
        _ if is_text(octets) => Kind::Text,
        _ if media_type.starts_with("text/") => Kind::Text,
        _ => Kind::Other,
    }
}

/// Whether it is made of lines and words: no control characters but those of text.
pub(super) fn is_text(octets: &[u8]) -> bool {
    let start = octets.get(..LOOKED_AT).unwrap_or(octets);
    start
        .iter()
        .all(|octet| *octet >= 32 && *octet != 127 || matches!(octet, b'\t' | b'\n' | b'\r' | 0x0c | 0x1b))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn octets_count_more_than_claims() {
        for (octets, media_type, name, kind) in [
            (&b""[..], "application/pdf", "a.pdf", Kind::Empty),
            (b"MZ\x90\0\x03\0\0\0", "application/pdf", "invoice.pdf", Kind::Program),
            (b"MZ is how this text begins", "text/plain", "", Kind::Text),
            (b"PK\x03\x04\x14\0", "image/png", "a.png", Kind::Zip),
            (b"%PDF-1.4\n", "application/octet-stream", "", Kind::Pdf),
            (b" <!DOCTYPE HTML><html>", "text/plain", "a.txt", Kind::Html),
            (b"<?xml version='1.0'?><svg onload='x'>", "image/svg+xml", "a.svg", Kind::Html),
            (b"WScript.Echo(1)", "text/plain", "invoice.pdf.js", Kind::Script),
            (b"#!/bin/sh\n", "text/plain", "", Kind::Script),
            (b"#!bang is no script", "text/plain", "", Kind::Text),
            (b"hello", "application/octet-stream", "", Kind::Text),
            (b"\0\x02\x03", "application/octet-stream", "", Kind::Other),
            (b"BM is how this text begins", "text/plain", "", Kind::Text),
        ] {
            assert_eq!(of(octets, media_type, name), kind, "{octets:?}");
        }
    }

    #[test]
    fn what_begins_later_is_found() {
        let mut tar = vec![b'a'; 512];
        tar[257..262].copy_from_slice(b"ustar");
        assert_eq!(of(&tar, "", ""), Kind::Tar);
        let mut disk = vec![0; 0x9000];
        disk[0x8001..0x8006].copy_from_slice(b"CD001");
        assert_eq!(of(&disk, "", ""), Kind::DiskImage);
    }
}
