//! Signs that a document does something when it is opened, or cannot be read without a password. They are looked for as
//! names that stand in the file: what a document says in a way that its own program would not find is no danger.

use std::io::Read as _;

use memchr::memmem;

use super::archive::zip::{Member, Members};
use crate::content::Kind;

/// Octets of an Office document's relations that are read.
const MAX_RELATIONS: usize = 256 << 10;
/// Objects of a PDF that hold others, packed, and octets of each that are unpacked.
const MAX_STREAMS: usize = 32;
const MAX_STREAM: usize = 256 << 10;
/// Octets before a stream in which its dictionary stands.
const DICTIONARY: usize = 256;

/// What there is to be wary of.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Signs {
    pub(super) active: bool,
    pub(super) encrypted: bool,
}

/// Whether a look at the whole may tell more.
pub(super) fn may_have_signs(kind: Kind) -> bool {
    matches!(kind, Kind::CompoundDocument | Kind::Rtf | Kind::Pdf | Kind::Html | Kind::Other)
}

/// Looks through a document; at most `left` octets, which become fewer, are unpacked for that.
pub(super) fn signs(kind: Kind, octets: &[u8], left: &mut usize) -> Signs {
    match kind {
        Kind::CompoundDocument => compound(octets),
        Kind::Pdf => pdf(octets, left),
        Kind::Rtf => Signs { active: has_any(octets, RTF), encrypted: false },
        Kind::Html => Signs { active: has_script(octets), encrypted: false },
        Kind::Other if octets.starts_with(NOTEBOOK) => {
            Signs { active: memmem::find(octets, NOTEBOOK_FILE).is_some(), encrypted: false }
        }
        _ => Signs::default(),
    }
}

/// Objects that are embedded or fetched.
const RTF: &[&[u8]] = &[b"\\objdata", b"\\objupdate", b"\\objocx", b"\\objautlink"];
/// A OneNote section, and a file that is in it.
const NOTEBOOK: &[u8] = b"\xe4\x52\x5c\x7b\x8c\xd8\xa7\x4d\xae\xb1\x53\x78\xd0\x29\x96\xd3";
const NOTEBOOK_FILE: &[u8] = b"\xe7\x16\xe3\xbd\x65\x26\x11\x45\xa4\xc4\x8d\x4d\x0b\x7a\x9e\xac";

/// Streams and storages have their names in UTF-16 (MS-CFB §2.6.1, MS-OVBA §2.2, MS-OFFCRYPTO §2.3).
fn compound(octets: &[u8]) -> Signs {
    let has = |name: &str| {
        let wide: Vec<u8> = name.encode_utf16().flat_map(u16::to_le_bytes).collect();
        memmem::find(octets, &wide).is_some()
    };
    Signs {
        active: ["_VBA_PROJECT", "Ole10Native", "Macros"].into_iter().any(has),
        encrypted: ["EncryptedPackage", "EncryptionInfo"].into_iter().any(has),
    }
}

/// Names of actions (ISO 32000 §12.6.4, §7.11.4). `/OpenAction` is none of them: it is in most documents, to set the zoom, and
/// what it may start beside that has a name of its own.
const PDF: &[&[u8]] = &[b"/JavaScript", b"/JS", b"/Launch", b"/EmbeddedFile", b"/RichMedia", b"/XFA"];

fn pdf(octets: &[u8], left: &mut usize) -> Signs {
    let mut signs = pdf_names(octets);
    let streams = memmem::find_iter(octets, b"stream")
        .filter(|at| !octets.get(..*at).unwrap_or_default().ends_with(b"end"));
    for at in streams.take(MAX_STREAMS * 8).filter(|at| holds_objects(octets, *at)).take(MAX_STREAMS) {
        let data = octets.get(at + b"stream".len()..).unwrap_or_default();
        let data = data.strip_prefix(b"\r").unwrap_or(data);
        let data = data.strip_prefix(b"\n").unwrap_or(data);
        let mut objects = Vec::new();
        // What could be unpacked before an error counts, too.
        let _ = flate2::bufread::ZlibDecoder::new(data)
            .take(MAX_STREAM.min(*left) as u64)
            .read_to_end(&mut objects);
        *left -= objects.len().min(*left);
        signs.active |= pdf_names(&objects).active;
    }
    signs
}

fn holds_objects(octets: &[u8], at: usize) -> bool {
    let before = octets.get(at.saturating_sub(DICTIONARY)..at).unwrap_or_default();
    memmem::find(before, b"/ObjStm").is_some()
}

fn pdf_names(octets: &[u8]) -> Signs {
    let has = |name: &[u8], octets: &[u8]| {
        memmem::find_iter(octets, name).any(|at| {
            let next = octets.get(at + name.len());
            next.is_none_or(|next| !next.is_ascii_alphanumeric())
        })
    };
    let plain = plain_names(octets);
    let within = |name: &&[u8]| has(name, octets) || plain.as_ref().is_some_and(|plain| has(name, plain));
    Signs { active: PDF.iter().any(within), encrypted: has(b"/Encrypt", octets) }
}

/// Names whose letters are written as `#4a` (ISO 32000 §7.3.5), if there are such.
fn plain_names(octets: &[u8]) -> Option<Vec<u8>> {
    memchr::memchr(b'#', octets)?;
    let mut plain = Vec::with_capacity(octets.len());
    let mut rest = octets;
    while let Some((first, behind)) = rest.split_first() {
        let escape =
            behind.get(..2).filter(|_| *first == b'#').and_then(|digits| std::str::from_utf8(digits).ok());
        match escape.and_then(|digits| u8::from_str_radix(digits, 16).ok()) {
            Some(letter) => {
                plain.push(letter);
                rest = behind.get(2..).unwrap_or_default();
            }
            None => {
                plain.push(*first);
                rest = behind;
            }
        }
    }
    Some(plain)
}

fn has_script(octets: &[u8]) -> bool {
    let found = |mark: &[u8]| {
        memchr::memchr_iter(b'<', octets).any(|at| {
            octets.get(at + 1..at + 1 + mark.len()).is_some_and(|start| start.eq_ignore_ascii_case(mark))
        })
    };
    found(b"script")
}

fn has_any(octets: &[u8], marks: &[&[u8]]) -> bool {
    marks.iter().any(|mark| memmem::find(octets, mark).is_some())
}

/// What kind of document a zip archive is by what it holds; `None` for one that only holds files.
pub(super) fn zipped(members: &Members<'_>) -> Option<Kind> {
    let has = |name: &str| members.list.iter().any(|member| member.name == name);
    let within = |folder: &str| members.list.iter().any(|member| member.name.starts_with(folder));
    let is_open = members.list.first().is_some_and(|first| {
        first.name == "mimetype" && first.packed.starts_with(b"application/vnd.oasis.opendocument")
    });
    if is_open {
        Some(Kind::OpenDocument)
    } else if has("[Content_Types].xml") && ["word/", "xl/", "ppt/", "visio/"].into_iter().any(within) {
        Some(Kind::Office)
    } else if has("META-INF/MANIFEST.MF") && members.list.iter().any(|member| member.name.ends_with(".class"))
        || has("AndroidManifest.xml")
    {
        Some(Kind::Program)
    } else {
        None
    }
}

/// Whether such a document acts when it is opened. `unpack` gives a member's beginning.
pub(super) fn zipped_acts(
    members: &Members<'_>,
    mut unpack: impl FnMut(&Member<'_>, usize) -> Vec<u8>,
) -> bool {
    members.list.iter().any(|member| {
        let name = member.name.to_ascii_lowercase();
        let holds_code = name.ends_with("vbaproject.bin")
            || name.contains("/activex/")
            || name.starts_with("xl/macrosheets/")
            || name.contains("/embeddings/oleobject")
            || name.starts_with("basic/")
            || name.starts_with("scripts/");
        holds_code || name.ends_with(".rels") && fetches(&unpack(member, MAX_RELATIONS))
    })
}

/// Relations to what lies elsewhere and is loaded without a question: templates, objects, frames.
fn fetches(relations: &[u8]) -> bool {
    let has = |mark: &[u8]| memmem::find(relations, mark).is_some();
    has(b"\"External\"") && (has(b"/attachedTemplate\"") || has(b"/oleObject\"") || has(b"/frame\""))
}
