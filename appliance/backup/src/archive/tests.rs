//! What was written is read again; what was not is refused.

use std::collections::BTreeMap;
use std::path::Path;

use proptest::prelude::*;

use super::*;
use crate::name::Part;
use crate::{Lock, Unlock};

#[derive(Default)]
struct Memory {
    files: BTreeMap<String, (u32, String, Vec<u8>)>,
}

impl Destination for Memory {
    fn begin(&mut self, _: &Manifest) -> Result<(), BackupError> {
        Ok(())
    }

    fn file(&mut self, name: &Name, about: &About<'_>, content: &mut dyn Read) -> Result<(), BackupError> {
        let mut octets = Vec::new();
        content.read_to_end(&mut octets).map_err(|error| BackupError::File { path: name.whole(), error })?;
        self.files.insert(name.to_string(), (about.mode, about.group.to_owned(), octets));
        Ok(())
    }
}

fn manifest() -> Manifest {
    Manifest {
        format: FORMAT,
        version: "0.1.0".into(),
        hostname: "mx.example".into(),
        made: 1_800_000_000,
        state_dir: "/var/lib/postern".into(),
        elsewhere: Vec::new(),
        octets: 0,
    }
}

/// An archive with these files, and what it says of itself.
fn archive(files: &[(&str, &[u8])]) -> Vec<u8> {
    let folder = tempfile::tempdir().unwrap();
    let sources: Vec<_> = files
        .iter()
        .enumerate()
        .map(|(number, (name, content))| {
            let path = folder.path().join(number.to_string());
            std::fs::write(&path, content).unwrap();
            let owner = ("postern".to_owned(), "ssl-cert".to_owned());
            let name = Name::parse(name.as_bytes()).unwrap();
            Source { name, path, opened: None, length: content.len() as u64, mode: 0o640, owner }
        })
        .collect();
    write(manifest(), &sources, Vec::new(), &mut |_| {}).unwrap()
}

fn read_back(octets: &[u8]) -> Result<(Manifest, Memory), BackupError> {
    let mut memory = Memory::default();
    let manifest = read(octets, &mut memory, &mut |_, _| {})?;
    Ok((manifest, memory))
}

const FILES: [(&str, &[u8]); 3] = [
    ("config/postern.toml", b"hostname = \"mx.example\"\n"),
    ("state/spool/log/0000000000000001.log", &[7; 5000]),
    ("state/empty", b""),
];

#[test]
fn what_was_written_is_read() {
    let (manifest, memory) = read_back(&archive(&FILES)).unwrap();
    assert_eq!((manifest.octets, manifest.hostname.as_str()), (5024, "mx.example"));
    for (name, content) in FILES {
        assert_eq!(memory.files[name], (0o640, "ssl-cert".to_owned(), content.to_vec()), "{name}");
    }
    assert_eq!(memory.files.len(), 3);
}

#[test]
fn any_tar_reads_it() {
    let octets = archive(&FILES);
    let mut plain = Archive::new(&octets[..]);
    let names: Vec<_> =
        plain.entries().unwrap().map(|entry| entry.unwrap().path().unwrap().display().to_string()).collect();
    assert_eq!(names[0], MANIFEST);
    assert_eq!(names[4], SEAL);
}

#[test]
fn one_changed_octet_is_found_and_so_is_a_missing_end() {
    let whole = archive(&FILES);
    for at in (0..whole.len()).step_by(3) {
        let mut changed = whole.clone();
        changed[at] ^= 1;
        // The times and the numbers of owners are not looked at, and nothing hangs on them.
        if let Ok((manifest, memory)) = read_back(&changed) {
            let (right, same) = read_back(&whole).unwrap();
            assert_eq!(memory.files, same.files, "octet {at}");
            assert_eq!(manifest.octets, right.octets, "octet {at}");
        }
    }
    // tar's own end is 1,024 zeros: what misses some of them has lost nothing.
    for length in 0..whole.len() - 1024 {
        assert!(read_back(&whole[..length]).is_err(), "{length}");
    }
}

#[test]
fn a_format_of_a_later_version_is_named() {
    let mut later = manifest();
    later.format = 2;
    let octets = write(later, &[], Vec::new(), &mut |_| {}).unwrap();
    assert!(matches!(read_back(&octets), Err(BackupError::Version(2))));
}

/// An archive with one member that Postern would not write.
fn with(change: impl Fn(&mut Header), name: &[u8]) -> Vec<u8> {
    let mut archive = Builder::new(Vec::new());
    let mut manifest = manifest();
    manifest.octets = 1 << 40;
    small(&mut archive, MANIFEST, &serde_json::to_vec(&manifest).unwrap()).unwrap();
    let mut header = header("state/x", 3, &About { mode: 0o600, user: "", group: "" }).unwrap();
    header.as_ustar_mut().unwrap().name = [0; 100];
    header.as_ustar_mut().unwrap().name[..name.len()].copy_from_slice(name);
    change(&mut header);
    header.set_cksum();
    archive.append(&header, &b"abc"[..]).unwrap();
    archive.into_inner().unwrap()
}

#[test]
fn members_that_lead_elsewhere_or_are_no_files_are_refused() {
    let refused = |octets: Vec<u8>| {
        let mut memory = Memory::default();
        let outcome = read(&octets[..], &mut memory, &mut |_, _| {});
        assert!(matches!(outcome, Err(BackupError::NotSound(_))), "{outcome:?}");
        memory.files.len()
    };
    for name in [&b"../../etc/passwd"[..], b"/etc/passwd", b"state/../../x", b"other/x", b"state/\xff\xfe"] {
        assert_eq!(refused(with(|_| {}, name)), 0, "{}", name.escape_ascii());
    }
    for kind in [
        EntryType::Link,
        EntryType::Symlink,
        EntryType::Char,
        EntryType::Block,
        EntryType::Directory,
        EntryType::Fifo,
        EntryType::GNULongName,
        EntryType::GNUSparse,
        EntryType::XHeader,
        EntryType::XGlobalHeader,
    ] {
        assert_eq!(refused(with(|header| header.set_entry_type(kind), b"state/x")), 0, "{kind:?}");
    }
    // A size without an end: it is not believed beyond what the manifest says, and nothing is kept for it.
    refused(with(|header| header.set_size(u64::MAX >> 2), b"state/x"));
    refused(with(|header| header.set_size(1 << 39), b"state/x"));
}

#[test]
fn a_file_that_became_shorter_is_told() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("x");
    std::fs::write(&path, b"abc").unwrap();
    let mut source = Source {
        name: Name::new(Part::State, Path::new("x")).unwrap(),
        path,
        opened: None,
        length: 4,
        mode: 0,
        owner: Default::default(),
    };
    let outcome = write(manifest(), std::slice::from_ref(&source), Vec::new(), &mut |_| {});
    assert!(outcome.unwrap_err().to_string().contains("shorter"));
    // Longer is how a segment grows: what was there when the backup began is taken.
    source.length = 2;
    let octets = write(manifest(), &[source], Vec::new(), &mut |_| {}).unwrap();
    assert_eq!(read_back(&octets).unwrap().1.files["state/x"].2, b"ab");
}

#[test]
fn it_opens_with_the_right_key_only() {
    let identity = age::x25519::Identity::generate();
    let passphrase = || Lock::passphrase("correct horse".into()).unwrap();
    let recipient = || Lock::recipients(&[identity.to_public().to_string()]).unwrap();
    let sealed = |lock: Lock| {
        let output = lock.seal(Vec::new()).unwrap();
        write(manifest(), &[], output, &mut |_| {}).unwrap().finish().unwrap()
    };
    let keys = |text: &str| Unlock::identities(text.as_bytes()).unwrap();
    let mine = keys(age::secrecy::ExposeSecret::expose_secret(&identity.to_string()));
    let other = age::x25519::Identity::generate();
    let theirs = keys(age::secrecy::ExposeSecret::expose_secret(&other.to_string()));
    let word = |text: &str| Unlock::Passphrase(text.to_owned().into());
    let opens = |file: &[u8], key: &Unlock| -> Result<Manifest, BackupError> {
        read(key.open(file)?, &mut Memory::default(), &mut |_, _| {})
    };
    let (a, b) = (sealed(passphrase()), sealed(recipient()));
    assert_eq!(opens(&a, &word("correct horse")).unwrap().made, 1_800_000_000);
    assert_eq!(opens(&b, &mine).unwrap().made, 1_800_000_000);
    for (file, key) in [(&a, &word("wrong")), (&a, &mine), (&b, &word("correct horse")), (&b, &theirs)] {
        assert!(matches!(opens(file, key), Err(BackupError::Sealed(_))));
    }
    for length in [b.len() - 1, b.len() / 2, 10, 0] {
        assert!(opens(&b[..length], &mine).is_err(), "{length}");
    }
    let mut changed = b;
    let last = changed.len() - 1;
    changed[last] ^= 1;
    assert!(matches!(opens(&changed, &mine), Err(BackupError::NotSound(_))));
    assert!(Lock::passphrase(String::new()).is_err() && Lock::recipients(&["age1x".into()]).is_err());
    assert!(Unlock::identities(&b"-----BEGIN"[..]).is_err());
}

proptest! {
    #[test]
    fn garbage_is_no_backup_and_no_panic(garbage in proptest::collection::vec(any::<u8>(), 0..3000), at in 0_usize..4000) {
        let mut octets = archive(&FILES);
        octets.truncate(at);
        octets.extend_from_slice(&garbage);
        prop_assert!(read_back(&octets).is_err());
        prop_assert!(read_back(&garbage).is_err());
    }
}
