//! What a transaction takes along through its states, and what its servers do while nobody asks them anything.

use delivery::{Far, Proven};
use smtp::command::Envelope;
use smtp::{No, Reply};
use tokio::time::Instant;

use super::group::Group;
use super::{Common, LegId};
use crate::judging::Own;

/// What a transaction takes along.
#[derive(Debug)]
pub(super) struct Carried {
    pub(super) began: Instant,
    pub(super) groups: Vec<Group>,
    /// Recipients that no server has: Postern's own.
    pub(super) own: Vec<(usize, Own)>,
    /// Recipients that were named by an alias, with that.
    pub(super) aliases: Vec<(usize, Box<str>)>,
    /// What the client was told of each recipient.
    pub(super) told: Vec<Option<Reply>>,
}

impl Carried {
    pub(super) fn new(began: Instant) -> Self {
        Self { began, groups: Vec::new(), own: Vec::new(), aliases: Vec::new(), told: Vec::new() }
    }

    pub(super) fn group_on(&mut self, leg: LegId) -> Option<&mut Group> {
        self.groups.iter_mut().find(|group| group.is_on(leg))
    }

    /// A server's connection is gone while the message comes in or is looked at.
    pub(super) fn lost(&mut self, leg: LegId, envelope: &Envelope, common: &mut Common) {
        if let Some(group) = self.group_on(leg) {
            let no = No::ServerLost("the connection was lost while the message came in".into());
            group.lost(no, envelope, common);
        }
    }

    /// A server that says something now says that it closes.
    pub(super) fn spoke(&mut self, leg: LegId, input: &[u8], envelope: &Envelope, common: &mut Common) {
        let Some(group) = self.group_on(leg) else { return };
        if group.spoke(input, envelope, common).1.is_some() {
            self.lost(leg, envelope, common);
        }
    }

    pub(super) fn opened(&mut self, leg: LegId, far: Far<Proven>, envelope: &Envelope, common: &mut Common) {
        if let Some(group) = self.group_on(leg) {
            group.opened(leg, far, envelope, common);
        }
    }

    /// What recipients of Postern's own there are of a kind.
    pub(super) fn own_of(&self, wanted: Own) -> impl Iterator<Item = usize> {
        self.own.iter().filter(move |(_, own)| *own == wanted).map(|(index, _)| *index)
    }

    /// Servers are of no more use to this transaction.
    pub(super) fn give_back(self, common: &mut Common) {
        self.groups.into_iter().for_each(|group| group.give_back(common));
    }
}
