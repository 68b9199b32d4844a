//! Mail that others have collected. It is no part of the repository: where it is not there, this says so.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use sift::content::Kind;
use sift::encoded::{decode, encode};
use sift::{Bounds, Content, read};
use tokio::time::Instant;

/// For one message, in a test build, on a busy machine; they take some milliseconds.
const LIMIT: Duration = Duration::from_secs(5);

/// The folder of corpora: `POSTERN_DATA`, else `shared/data` in a folder above.
fn folder() -> Option<PathBuf> {
    let named = std::env::var_os("POSTERN_DATA").map(PathBuf::from);
    let above = Path::new(env!("CARGO_MANIFEST_DIR")).ancestors().map(|folder| folder.join("shared/data"));
    named.into_iter().chain(above).find(|folder| folder.is_dir())
}

/// Unpacks a corpus; `None`, and says why, where it is not there.
fn unpacked(name: &str) -> Option<tempfile::TempDir> {
    let Some(archive) =
        folder().map(|folder| folder.join(format!("{name}.tar.xz"))).filter(|it| it.is_file())
    else {
        eprintln!("no {name}.tar.xz in POSTERN_DATA or shared/data: its messages were not read");
        return None;
    };
    let place = tempfile::tempdir().unwrap();
    let status = Command::new("tar").arg("-xJf").arg(archive).arg("-C").arg(place.path()).status();
    if status.as_ref().is_ok_and(|status| status.success()) {
        return Some(place);
    }
    eprintln!("{name}.tar.xz cannot be unpacked ({status:?}): its messages were not read");
    None
}

fn files(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() { files(&path, found) } else { found.push(path) }
    }
}

/// Reads a file; what it comes to is within bounds, and was there in time.
fn timely(file: &Path) -> Content {
    let message = fs::read(file).unwrap();
    let start = Instant::now();
    let content = read(&message, &Bounds::default());
    assert!(start.elapsed() < LIMIT, "{} takes {:?}", file.display(), start.elapsed());
    let octets = encode(&content).unwrap();
    assert_eq!(decode(&octets).as_ref(), Ok(&content), "{}", file.display());
    content
}

#[test]
fn mail_that_breaks_parsers_is_read() {
    let Some(place) = unpacked("mime-torture") else { return };
    let mut found = Vec::new();
    files(place.path(), &mut found);
    assert!(found.len() >= 690, "{} files", found.len());
    found.iter().for_each(|file| drop(timely(file)));
    let read = |name: &str| timely(&place.path().join("mime-torture").join(name));
    for name in ["gtube-eicar/gtube-rspamd.eml", "gtube-eicar/gtube-spamassassin.eml"] {
        assert!(read(name).oddities.gtube, "{name}");
    }
    for (name, kind) in [("eicar-com", Kind::Program), ("eicar-zip", Kind::Zip), ("eicar-zip2", Kind::Zip)] {
        let content = read(&format!("gtube-eicar/{name}.eml"));
        assert_eq!(content.parts[2].kind, kind, "{name}");
        assert_eq!(content.parts.last().map(|part| part.name.as_str()), Some("eicar.com"), "{name}");
    }
    let parts = |name: &str| read(name).parts;
    for (name, active) in [("macro", true), ("malicemacro", true), ("renamedmacro", true), ("nomacro", false)]
    {
        let parts = parts(&format!("spamassassin/spam/olevbmacro/{name}.eml"));
        assert_eq!(parts.iter().any(|part| part.active), active, "{name}");
    }
    for name in [
        "spamassassin/spam/olevbmacro/zippwmacro.eml",
        "spamassassin/spam/olevbmacro/encrypted.eml",
        "rspamd/pdf_encrypted.eml",
    ] {
        assert!(parts(name).iter().any(|part| part.encrypted), "{name}");
    }
    assert!(parts("rspamd/pdf_js.eml").iter().any(|part| part.active));
    let zero = read("rspamd/zerofont.eml");
    assert!(zero.text.start.starts_with("fish\n") && zero.hidden == "le aring");
}

#[test]
fn mail_in_many_languages_is_read_as_text() {
    let Some(place) = unpacked("dev-multilingual") else { return };
    let mut found = Vec::new();
    files(&place.path().join("dev-multilingual/msg"), &mut found);
    let contents: Vec<_> = found.iter().map(|file| timely(file)).collect();
    let lost =
        contents.iter().filter(|content| content.text.start.contains(char::REPLACEMENT_CHARACTER)).count();
    assert!(
        lost * 50 < contents.len(),
        "{lost} of {} have characters that could not be read",
        contents.len()
    );
    let silent =
        contents.iter().filter(|content| content.text.octets == 0 && content.parts.len() == 1).count();
    assert!(silent * 50 < contents.len(), "{silent} of {} have no text", contents.len());
}
