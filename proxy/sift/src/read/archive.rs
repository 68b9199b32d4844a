//! What archives hold: each member with its name and what it is, archives within archives included, within bounds. Office
//! documents that are archives are told from those that only hold files, and looked through for what acts when opened.

pub(super) mod gzip;
mod rar;
mod tar;
pub(super) mod zip;

use super::document;
use super::kind;
use crate::content::{self, Kind, Oddities, Part};
use crate::cut::cut;

/// Archives within archives that are opened. People send a zip with a zip in it; three are an evasion.
const MAX_DEPTH: u8 = 4;
/// Octets of a member that is unpacked as a whole, because it is an archive or a document.
const MAX_MEMBER: usize = 16 << 20;
/// Octets at a member's beginning that tell what it is.
const HEAD: usize = 4 << 10;
/// Members that are looked at, of one message.
const MAX_MEMBERS: u32 = 1000;
/// How many times its packed size a member may have. Text comes to 20, pictures of one colour to some hundred.
const MAX_RATIO: u64 = 500;
/// Octets up to which a ratio is of no matter.
const SMALL: u64 = 1 << 20;

/// Opens the archives of one message.
#[derive(Debug)]
pub(super) struct Opener {
    left: usize,
    members: u32,
}

/// An archive and where it lies.
#[derive(Clone, Copy, Debug)]
struct Inside<'a> {
    octets: &'a [u8],
    /// Its own name, for what is in it and has none.
    name: &'a str,
    /// Of its members.
    depth: u8,
    nesting: u8,
}

/// What is found in an archive goes here.
#[derive(Debug)]
pub(super) struct Findings<'c> {
    pub(super) parts: &'c mut Vec<Part>,
    pub(super) oddities: &'c mut Oddities,
}

impl Opener {
    /// One that unpacks at most so many octets.
    pub(super) fn new(unpacked: usize) -> Self {
        Self { left: unpacked, members: 0 }
    }

    /// Looks into a part; completes what is known of it and adds what it holds.
    pub(super) fn open(&mut self, octets: &[u8], mut part: Part, found: &mut Findings<'_>) {
        let inside =
            Inside { octets, name: &part.name.clone(), depth: part.depth.saturating_add(1), nesting: 0 };
        let at = found.parts.len();
        if !found.push(part.clone()) {
            return;
        }
        self.look(inside, &mut part, found);
        if let Some(place) = found.parts.get_mut(at) {
            *place = part;
        }
    }

    fn look(&mut self, inside: Inside<'_>, part: &mut Part, found: &mut Findings<'_>) {
        match part.kind {
            Kind::Zip => self.zip(inside, part, found),
            Kind::Gzip => self.gzip(inside, part, found),
            Kind::Tar => self.tar(inside, part, found),
            Kind::Archive => part.encrypted |= rar::is_encrypted(inside.octets),
            _ => {
                let signs = document::signs(part.kind, inside.octets, &mut self.left);
                part.active |= signs.active;
                part.encrypted |= signs.encrypted;
            }
        }
    }

    fn zip(&mut self, inside: Inside<'_>, part: &mut Part, found: &mut Findings<'_>) {
        let Some(members) = zip::members(inside.octets) else {
            found.oddities.archive_broken = true;
            return;
        };
        found.oddities.archive_broken |= members.broken;
        if let Some(kind) = document::zipped(&members) {
            part.kind = kind;
            part.active = document::zipped_acts(&members, |member, most| self.unpack(member, most, found));
            part.encrypted = members.list.iter().any(|member| member.encrypted);
            return;
        }
        for member in &members.list {
            part.encrypted |= member.encrypted;
            let name = member.name.as_ref();
            if name.ends_with('/') {
                continue;
            }
            if member.size > SMALL && member.size / member.packed.len().max(1) as u64 > MAX_RATIO {
                found.oddities.archive_bound = true;
            }
            let head = if member.encrypted { Vec::new() } else { self.unpack(member, HEAD, found) };
            let kind = if member.encrypted { by_name(name) } else { kind::of(&head, "", name) };
            let entry =
                Part { size: member.size, encrypted: member.encrypted, ..entry(name, kind, inside.depth) };
            let whole = |opener: &mut Self, found: &mut Findings<'_>| match member.size <= HEAD as u64 {
                true => head.clone(),
                false => opener.unpack(member, MAX_MEMBER, found),
            };
            if !self.member(inside, entry, whole, found) {
                return;
            }
        }
        found.oddities.archive_bound |= members.left_out;
    }

    fn gzip(&mut self, inside: Inside<'_>, part: &mut Part, found: &mut Findings<'_>) {
        let most = MAX_MEMBER.min(self.left);
        let unpacked = gzip::unpack(inside.octets, most);
        self.left -= unpacked.octets.len().min(self.left);
        found.oddities.archive_broken |= unpacked.broken;
        found.oddities.archive_bound |= unpacked.more;
        let own = inside.name.rsplit_once('.').map_or("", |(name, _)| name);
        let name = if unpacked.name.is_empty() { own } else { unpacked.name.as_str() };
        let kind = kind::of(&unpacked.octets, "", name);
        let entry = Part { size: unpacked.octets.len() as u64, ..entry(name, kind, inside.depth) };
        part.kind = Kind::Gzip;
        self.member(inside, entry, |_, _| unpacked.octets, found);
    }

    fn tar(&mut self, inside: Inside<'_>, part: &mut Part, found: &mut Findings<'_>) {
        part.kind = Kind::Tar;
        let mut rest = tar::Members::new(inside.octets);
        while let Some(member) = rest.next() {
            let kind = kind::of(member.octets, "", &member.name);
            let entry = Part { size: member.octets.len() as u64, ..entry(&member.name, kind, inside.depth) };
            if !self.member(inside, entry, |_, _| member.octets.to_vec(), found) {
                return;
            }
        }
        found.oddities.archive_broken |= rest.is_broken();
    }

    /// Notes a member, and looks into it where that may tell more. `false` where there were enough.
    fn member(
        &mut self,
        inside: Inside<'_>,
        mut member: Part,
        whole: impl FnOnce(&mut Self, &mut Findings<'_>) -> Vec<u8>,
        found: &mut Findings<'_>,
    ) -> bool {
        let at = found.parts.len();
        if self.members >= MAX_MEMBERS || !found.push(member.clone()) {
            found.oddities.archive_bound = true;
            return false;
        }
        self.members += 1;
        let has_members = matches!(member.kind, Kind::Zip | Kind::Gzip | Kind::Tar);
        if has_members && inside.nesting + 1 >= MAX_DEPTH {
            found.oddities.archive_bound = true;
            return true;
        }
        if !member.encrypted
            && (has_members || document::may_have_signs(member.kind) || member.kind == Kind::Archive)
        {
            let octets = whole(self, found);
            let name = member.name.clone();
            let within = Inside {
                octets: &octets,
                name: &name,
                depth: inside.depth.saturating_add(1),
                nesting: inside.nesting + 1,
            };
            self.look(within, &mut member, found);
        }
        if let Some(place) = found.parts.get_mut(at) {
            *place = member;
        }
        true
    }

    /// At most `most` octets of a member; fewer where it is broken or the message's share is used up.
    fn unpack(&mut self, member: &zip::Member<'_>, most: usize, found: &mut Findings<'_>) -> Vec<u8> {
        let most = most.min(self.left);
        let claimed = usize::try_from(member.size).unwrap_or(most);
        let mut octets = Vec::with_capacity(claimed.min(most));
        let read = member.unpack(most, &mut octets);
        found.oddities.archive_broken |= read.is_err();
        found.oddities.archive_bound |= octets.len() >= MAX_MEMBER || self.left == 0;
        self.left -= octets.len().min(self.left);
        octets
    }
}

impl Findings<'_> {
    fn push(&mut self, part: Part) -> bool {
        let fits = self.parts.len() < content::MAX_PARTS;
        if fits {
            self.parts.push(part);
        } else {
            self.oddities.left_out = self.oddities.left_out.saturating_add(1);
        }
        fits
    }
}

fn entry(name: &str, kind: Kind, depth: u8) -> Part {
    Part {
        kind,
        name: cut(name, content::MAX_NAME).to_owned(),
        depth,
        attached: true,
        in_archive: true,
        ..Part::default()
    }
}

/// What a member is that cannot be read.
fn by_name(name: &str) -> Kind {
    // Octets that are of no kind.
    kind::of(&[0, 1], "", name)
}

#[cfg(test)]
mod tests;
