//! The archive of a backup, as anybody can make one for a recipient: whatever it says, nothing leads out of the staging folder, nothing
//! is larger than the manifest said, and only what its seal covers is believed.
#![no_main]

use std::collections::BTreeSet;
use std::io::Read;
use std::path::Component;

use backup::{About, BackupError, Destination, Manifest, Name, read};
use libfuzzer_sys::fuzz_target;

const BLOCK: usize = 512;

#[derive(Default)]
struct Checked {
    most: u64,
    octets: u64,
    names: BTreeSet<Name>,
}

impl Destination for Checked {
    fn begin(&mut self, manifest: &Manifest) -> Result<(), BackupError> {
        self.most = manifest.octets;
        Ok(())
    }

    fn file(&mut self, name: &Name, about: &About<'_>, content: &mut dyn Read) -> Result<(), BackupError> {
        assert!(name.whole().components().all(|step| matches!(step, Component::Normal(_))), "{name}");
        assert!(name.whole().components().count() >= 2, "{name}");
        assert_eq!(Name::parse(name.to_string().as_bytes()).as_ref(), Some(name));
        assert_eq!(about.mode & !0o777, 0);
        let mut octets = Vec::new();
        // What cannot be read is told by the reader that this one stands in for.
        let _ = content.read_to_end(&mut octets);
        self.octets += octets.len() as u64;
        assert!(self.octets <= self.most, "{} of {}", self.octets, self.most);
        self.names.insert(name.clone());
        Ok(())
    }
}

/// Sums in the headers that are right, so that the fuzzer reaches what is behind them.
fn mended(input: &[u8]) -> Vec<u8> {
    let mut octets = input.to_vec();
    let mut at = 0;
    while let Some(header) = octets.get_mut(at..at + BLOCK) {
        if header.iter().all(|&octet| octet == 0) {
            break;
        }
        header[257..265].copy_from_slice(b"ustar\x0000");
        header[148..156].fill(b' ');
        let sum: u32 = header.iter().map(|&octet| u32::from(octet)).sum();
        header[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
        let size = std::str::from_utf8(&header[124..136]).unwrap_or_default();
        let size = usize::from_str_radix(size.trim_matches(['\0', ' ']), 8).unwrap_or_default();
        at = at.saturating_add(BLOCK).saturating_add(size.div_ceil(BLOCK).saturating_mul(BLOCK));
    }
    octets
}

fuzz_target!(|input: &[u8]| {
    for octets in [input.to_vec(), mended(input)] {
        let mut checked = Checked::default();
        if read(&octets[..], &mut checked, &mut |_, _| {}).is_ok() {
            // The seal counts the octets of all members.
            assert_eq!(checked.octets, checked.most);
        }
    }
});
