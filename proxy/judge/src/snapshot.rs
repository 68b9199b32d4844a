//! The members and what is known of lessons as one file: written beside the former one, made durable, then renamed over it.

use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::path::Path;
use std::sync::atomic::Ordering::Relaxed;

use serde::{Deserialize, Serialize};

use crate::features::Digest;
use crate::known::{Known, Lessons};
use crate::members::Members;
use crate::slots::Slots;
use crate::stack::LatestHam;

const NAME: &str = "model.snapshot";
const NEW: &str = "model.snapshot.new";
const DAMAGED: &str = "model.snapshot.damaged";
/// Changes with whatever is counted, or how it is hashed.
const MAGIC: &[u8; 8] = b"PSTNMOD3";
/// A snapshot is never larger: all slots with their places, and what else there is.
const MAX_SNAPSHOT: u64 = 512 << 20;

/// What is not a slot.
#[derive(Debug, Serialize, Deserialize)]
struct Head {
    /// The first segment of lessons that are not in here.
    segment: u32,
    half_lives: u64,
    lessons: u64,
    sums: Vec<i64>,
    stack: Vec<i64>,
    /// Place, weight, of how many mistakes it was told.
    letters: Vec<(u32, i32, i32)>,
    phrases: Vec<(u32, i32, i32)>,
    latest_ham: LatestHam,
    known: Vec<(Digest, Known)>,
}

/// What a snapshot held beside the members.
#[derive(Debug, Default)]
pub(crate) struct Restored {
    pub(crate) segment: u32,
    pub(crate) lessons: Lessons,
    pub(crate) latest_ham: LatestHam,
    /// It was damaged and is set aside.
    pub(crate) lost: bool,
}

/// Writes a snapshot; lessons from `segment` on are not in it.
pub(crate) fn write(
    folder: &Path,
    members: &Members,
    lessons: &Lessons,
    latest_ham: &LatestHam,
    segment: u32,
) -> io::Result<()> {
    let head = Head {
        segment,
        half_lives: members.half_lives().load(Relaxed),
        lessons: lessons.number(),
        sums: members.sums().map(|sum| sum.load(Relaxed)).collect(),
        stack: members.stack.counters().map(|counter| counter.load(Relaxed)).collect(),
        letters: members.letters.used().collect(),
        phrases: members.phrases.used().collect(),
        latest_ham: latest_ham.clone(),
        known: lessons.all().map(|(digest, known)| (*digest, *known)).collect(),
    };
    let head = postcard::to_allocvec(&head).map_err(|error| io::Error::other(error.to_string()))?;
    let mut octets = MAGIC.to_vec();
    put_length(&mut octets, head.len());
    octets.extend_from_slice(&head);
    for slots in [members.bayes.slots(), members.chain.slots()] {
        put_slots(&mut octets, slots);
    }
    let sum = crc32fast::hash(&octets);
    octets.extend_from_slice(&sum.to_le_bytes());
    let mut file = File::create(folder.join(NEW))?;
    file.write_all(&octets)?;
    file.sync_all()?;
    fs::rename(folder.join(NEW), folder.join(NAME))?;
    File::open(folder)?.sync_all()
}

/// Reads the snapshot into empty members. A damaged one is set aside; then `members` may hold rubbish and are to be made anew.
pub(crate) fn read(folder: &Path, members: &Members) -> io::Result<Restored> {
    let restored = look(folder, members)?;
    if restored.lost {
        fs::rename(folder.join(NAME), folder.join(DAMAGED))?;
    }
    Ok(restored)
}

/// The same, and a damaged one stays where it is.
pub(crate) fn look(folder: &Path, members: &Members) -> io::Result<Restored> {
    let file = match File::open(folder.join(NAME)) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Restored::default()),
        Err(error) => return Err(error),
    };
    let mut octets = Vec::new();
    file.take(MAX_SNAPSHOT).read_to_end(&mut octets)?;
    Ok(take(&octets, members).unwrap_or_else(|| Restored { lost: true, ..Restored::default() }))
}

/// What octets say, if they are a snapshot. The checksum is looked at before anything is believed.
pub(crate) fn take(octets: &[u8], members: &Members) -> Option<Restored> {
    let (all, sum) = octets.split_last_chunk()?;
    if crc32fast::hash(all) != u32::from_le_bytes(*sum) {
        return None;
    }
    take_sound(all, members)
}

/// The same, without its checksum.
pub(crate) fn take_sound(octets: &[u8], members: &Members) -> Option<Restored> {
    let rest = octets.strip_prefix(MAGIC)?;
    let (length, rest) = take_length(rest)?;
    let (head, mut rest) = rest.split_at_checked(length)?;
    let head: Head = postcard::from_bytes(head).ok()?;
    restore(&head, members)?;
    for slots in [members.bayes.slots(), members.chain.slots()] {
        rest = take_slots(rest, slots)?;
    }
    let lessons = Lessons::of(head.known.into_iter(), head.lessons);
    Some(Restored { segment: head.segment, lessons, latest_ham: head.latest_ham, lost: false })
}

fn restore(head: &Head, members: &Members) -> Option<()> {
    members.half_lives().store(head.half_lives, Relaxed);
    if members.sums().count() != head.sums.len() || members.stack.counters().count() != head.stack.len() {
        return None;
    }
    members.sums().zip(&head.sums).for_each(|(sum, kept)| sum.store(*kept, Relaxed));
    members.stack.counters().zip(&head.stack).for_each(|(counter, kept)| counter.store(*kept, Relaxed));
    for (regression, kept) in [(&members.letters, &head.letters), (&members.phrases, &head.phrases)] {
        if !kept.iter().all(|kept| regression.put(*kept)) {
            return None;
        }
    }
    Some(())
}

fn put_length(octets: &mut Vec<u8>, length: usize) {
    octets.extend_from_slice(&u64::try_from(length).unwrap_or_default().to_le_bytes());
}

fn take_length(octets: &[u8]) -> Option<(usize, &[u8])> {
    let (length, rest) = octets.split_first_chunk()?;
    Some((usize::try_from(u64::from_le_bytes(*length)).ok()?, rest))
}

fn put_slots(octets: &mut Vec<u8>, slots: &Slots) {
    let begin = octets.len();
    put_length(octets, 0);
    let mut number = 0_usize;
    for (place, bits) in slots.used() {
        octets.extend_from_slice(&u32::try_from(place).unwrap_or_default().to_le_bytes());
        octets.extend_from_slice(&bits.to_le_bytes());
        number += 1;
    }
    let length = u64::try_from(number).unwrap_or_default().to_le_bytes();
    octets[begin..begin + length.len()].copy_from_slice(&length);
}

fn take_slots<'a>(octets: &'a [u8], slots: &Slots) -> Option<&'a [u8]> {
    let (number, mut rest) = take_length(octets)?;
    for _ in 0..number {
        let (place, behind) = rest.split_first_chunk()?;
        let (bits, behind) = behind.split_first_chunk()?;
        if !slots.put(usize::try_from(u32::from_le_bytes(*place)).ok()?, u64::from_le_bytes(*bits)) {
            return None;
        }
        rest = behind;
    }
    Some(rest)
}
