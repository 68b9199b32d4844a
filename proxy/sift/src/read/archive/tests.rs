use std::io::Write as _;

use flate2::Compression;
use flate2::write::{DeflateEncoder, GzEncoder};

use super::*;

/// A zip archive; each member deflated, `encrypted` set as told.
fn zip(members: &[(&str, &[u8], bool)]) -> Vec<u8> {
    let (mut archive, mut directory) = (Vec::new(), Vec::new());
    for (name, octets, encrypted) in members {
        let mut packer = DeflateEncoder::new(Vec::new(), Compression::default());
        packer.write_all(octets).unwrap();
        let packed = packer.finish().unwrap();
        let mut common = Vec::new();
        common.extend_from_slice(&u16::from(*encrypted).to_le_bytes());
        common.extend_from_slice(&8_u16.to_le_bytes());
        common.extend_from_slice(&[0; 8]);
        common.extend_from_slice(&u32::try_from(packed.len()).unwrap().to_le_bytes());
        common.extend_from_slice(&u32::try_from(octets.len()).unwrap().to_le_bytes());
        common.extend_from_slice(&u16::try_from(name.len()).unwrap().to_le_bytes());
        common.extend_from_slice(&[0; 2]);
        let at = u32::try_from(archive.len()).unwrap();
        archive.extend_from_slice(b"PK\x03\x04\x14\0");
        archive.extend_from_slice(&common);
        archive.extend_from_slice(name.as_bytes());
        archive.extend_from_slice(&packed);
        directory.extend_from_slice(b"PK\x01\x02\x14\0\x14\0");
        directory.extend_from_slice(&common);
        directory.extend_from_slice(&[0; 10]);
        directory.extend_from_slice(&at.to_le_bytes());
        directory.extend_from_slice(name.as_bytes());
    }
    let at = u32::try_from(archive.len()).unwrap();
    archive.extend_from_slice(&directory);
    archive.extend_from_slice(b"PK\x05\x06\0\0\0\0");
    let count = u16::try_from(members.len()).unwrap().to_le_bytes();
    archive.extend_from_slice(&count);
    archive.extend_from_slice(&count);
    archive.extend_from_slice(&u32::try_from(directory.len()).unwrap().to_le_bytes());
    archive.extend_from_slice(&at.to_le_bytes());
    archive.extend_from_slice(&[0; 2]);
    archive
}

fn gzip(octets: &[u8]) -> Vec<u8> {
    let mut packer = GzEncoder::new(Vec::new(), Compression::default());
    packer.write_all(octets).unwrap();
    packer.finish().unwrap()
}

fn tar(members: &[(&str, &[u8])]) -> Vec<u8> {
    let mut archive = Vec::new();
    for (name, octets) in members {
        let mut header = vec![0; 512];
        header[..name.len()].copy_from_slice(name.as_bytes());
        header[124..135].copy_from_slice(format!("{:011o}", octets.len()).as_bytes());
        header[156] = b'0';
        header[257..262].copy_from_slice(b"ustar");
        archive.extend_from_slice(&header);
        archive.extend_from_slice(octets);
        archive.resize(archive.len().next_multiple_of(512), 0);
    }
    archive.resize(archive.len() + 1024, 0);
    archive
}

/// What is found in an attachment of this name.
fn opened(octets: &[u8], name: &str) -> (Vec<Part>, Oddities) {
    let (mut parts, mut oddities) = (Vec::new(), Oddities::default());
    let part = Part { kind: kind::of(octets, "", name), name: name.to_owned(), ..Part::default() };
    let mut opener = Opener::new(32 << 20);
    opener.open(octets, part, &mut Findings { parts: &mut parts, oddities: &mut oddities });
    (parts, oddities)
}

fn names(parts: &[Part]) -> Vec<(&str, Kind, u8)> {
    parts.iter().map(|part| (part.name.as_str(), part.kind, part.depth)).collect()
}

const PROGRAM: &[u8] = b"MZ\x90\0\x03\0\0\0";

#[test]
fn archives_within_archives_are_opened() {
    let inner = zip(&[("invoice.pdf.exe", PROGRAM, false), ("read me.txt", b"hello", false)]);
    let packed = gzip(&tar(&[("dir/inner.zip", &inner), ("note.txt", b"text")]));
    let (parts, oddities) = opened(&packed, "all.tar.gz");
    assert_eq!(
        names(&parts),
        [
            ("all.tar.gz", Kind::Gzip, 0),
            ("all.tar", Kind::Tar, 1),
            ("dir/inner.zip", Kind::Zip, 2),
            ("invoice.pdf.exe", Kind::Program, 3),
            ("read me.txt", Kind::Text, 3),
            ("note.txt", Kind::Text, 2),
        ]
    );
    assert!(parts.iter().skip(1).all(|part| part.in_archive && part.attached));
    assert_eq!(oddities, Oddities::default());
}

#[test]
fn what_wants_a_password_is_flagged() {
    let (parts, _) = opened(&zip(&[("a.exe", PROGRAM, true), ("b.txt", b"b", false)]), "a.zip");
    assert_eq!(
        names(&parts),
        [("a.zip", Kind::Zip, 0), ("a.exe", Kind::Program, 1), ("b.txt", Kind::Text, 1)]
    );
    assert!(parts[0].encrypted && parts[1].encrypted && !parts[2].encrypted);
    let rar4 = b"Rar!\x1a\x07\0\0\0\x73\x80\0\x0d\0\0\0\0\0\0\0";
    let rar5 = b"Rar!\x1a\x07\x01\0\0\0\0\0\x04\x04\0\0\0";
    let open = b"Rar!\x1a\x07\x01\0\0\0\0\0\x03\x01\x00\x00";
    for (octets, encrypted) in [(&rar4[..], true), (rar5, true), (open, false), (b"Rar!\x1a\x07\0", false)] {
        assert_eq!(opened(octets, "a.rar").0[0].encrypted, encrypted, "{octets:?}");
    }
}

#[test]
fn documents_are_told_from_archives_and_looked_through() {
    let plain: [(&str, &[u8], bool); 2] =
        [("[Content_Types].xml", b"<x/>", false), ("word/document.xml", b"<x/>", false)];
    let macros = ("word/vbaProject.bin", &b"x"[..], false);
    let relation = b"<Relationship Type=\"http://x/attachedTemplate\" Target=\"http://a.example/t.dotm\" TargetMode=\"External\"/>";
    let fetches = ("word/_rels/settings.xml.rels", &relation[..], false);
    for (members, active) in [
        (plain.to_vec(), false),
        ([&plain[..], &[macros]].concat(), true),
        ([&plain[..], &[fetches]].concat(), true),
    ] {
        let (parts, _) = opened(&zip(&members), "a.docx");
        assert_eq!(names(&parts), [("a.docx", Kind::Office, 0)]);
        assert_eq!(parts[0].active, active);
    }
    let (parts, _) = opened(&zip(&[("META-INF/MANIFEST.MF", b"", false), ("A.class", b"x", false)]), "a.zip");
    assert_eq!(parts[0].kind, Kind::Program);
}

#[test]
fn documents_that_act_are_found_within_archives_too() {
    let wide: Vec<u8> = "_VBA_PROJECT".encode_utf16().flat_map(u16::to_le_bytes).collect();
    let compound = [b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", &vec![0; 6000][..], &wide].concat();
    let (parts, _) = opened(&zip(&[("a.doc", &compound, false)]), "a.zip");
    assert!(parts[1].active && parts[1].kind == Kind::CompoundDocument);
    for (octets, active, encrypted) in [
        (&b"%PDF-1.4 /OpenAction [1 0 R /Fit]"[..], false, false),
        (b"%PDF-1.4 << /S /JavaScript /JS (x) >>", true, false),
        (b"%PDF-1.4 << /S /J#61vaScript >>", true, false),
        (b"%PDF-1.4 << /Encrypt 5 0 R >> /JavaScripting", false, true),
        (b"{\\rtf1 {\\object\\objdata 01}}", true, false),
        (b"<html><SCRIPT>x</SCRIPT>", true, false),
    ] {
        let (parts, _) = opened(octets, "a");
        assert_eq!((parts[0].active, parts[0].encrypted), (active, encrypted), "{octets:?}");
    }
}

#[test]
fn packed_objects_of_a_pdf_are_looked_through() {
    let mut packer = flate2::write::ZlibEncoder::new(Vec::new(), Compression::default());
    packer.write_all(b"1 0 << /S /Launch >>").unwrap();
    let packed = packer.finish().unwrap();
    let pdf = [b"%PDF-1.5 << /Type /ObjStm /Filter /FlateDecode >> stream\r\n", &packed[..], b"\nendstream"]
        .concat();
    assert!(opened(&pdf, "a.pdf").0[0].active);
}

#[test]
fn a_bomb_costs_no_more_than_its_bound() {
    let zeros = vec![0; 40 << 20];
    let mut bomb = zip(&[("zeros", &zeros, false)]);
    let (parts, oddities) = opened(&bomb, "bomb.zip");
    assert!(oddities.archive_bound && parts[1].size == 40 << 20);
    for level in 0..8 {
        bomb = zip(&[(&format!("{level}.zip"), &bomb, false)]);
    }
    let (parts, oddities) = opened(&bomb, "deep.zip");
    assert!(oddities.archive_bound);
    assert_eq!(parts.len(), 1 + usize::from(MAX_DEPTH));
    let (parts, oddities) = opened(&gzip(&zeros), "zeros.gz");
    assert!(oddities.archive_bound && parts[1].size <= MAX_MEMBER as u64);
    let many: Vec<_> = (0..3000).map(|_| ("x", &b"y"[..], false)).collect();
    let (parts, oddities) = opened(&zip(&many), "many.zip");
    assert!(oddities.archive_bound && oddities.left_out > 0 && parts.len() == content::MAX_PARTS);
}

#[test]
fn a_broken_archive_is_read_as_far_as_it_goes() {
    let whole = zip(&[("a.exe", PROGRAM, false), ("b.txt", b"hello", false)]);
    let directory = memchr::memmem::find(&whole, b"PK\x01\x02").unwrap();
    let (parts, oddities) = opened(&whole[..directory], "cut.zip");
    assert_eq!(names(&parts)[1..], [("a.exe", Kind::Program, 1), ("b.txt", Kind::Text, 1)]);
    assert!(oddities.archive_broken);
    let moved = [b"MZ stub \0\0", &whole[..]].concat();
    assert_eq!(zip::members(&moved).unwrap().list.len(), 2);
    for octets in [&whole[..], &gzip(b"hello"), &tar(&[("a", b"b")])] {
        for cut in 0..octets.len() {
            opened(&octets[..cut], "cut");
        }
    }
}
