//! What waits in the queue, by destination and in it by domain: who is next, and how old the oldest is.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound;
use std::sync::Arc;
use std::time::Duration;

use crate::entry::{EntryId, State};

/// A domain has this many messages of its own go before it is the next one's turn: a flood to one does not hold up the others
/// of its server.
const BURST: u32 = 5;

/// What is asked of a backlog.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct When {
    /// Since 1970.
    pub now: Duration,
    /// The destination takes mail: what was never tried need not wait for its time.
    pub eager: bool,
}

/// All that waits and is not being tried, by destination.
#[derive(Debug, Default)]
pub(crate) struct Backlogs {
    by_destination: BTreeMap<Arc<str>, Backlog>,
    /// Whose sender does not know yet that it waits.
    untold: BTreeSet<(Duration, EntryId)>,
}

/// What waits for one destination.
#[derive(Debug, Default)]
struct Backlog {
    lines: BTreeMap<Arc<str>, Line>,
    by_age: BTreeSet<(Duration, EntryId)>,
    /// Whose turn it is, and for how many more.
    turn: Option<(Arc<str>, u32)>,
}

/// What waits for one domain at a destination.
#[derive(Debug, Default)]
struct Line {
    /// Never tried.
    fresh: BTreeSet<EntryId>,
    times: BTreeSet<(Duration, EntryId)>,
}

impl Line {
    fn next(&self, when: When) -> Option<EntryId> {
        let due = self.times.first().filter(|(next, _)| *next <= when.now).map(|&(_, id)| id);
        let fresh = self.fresh.first().copied().filter(|_| when.eager);
        match (due, fresh) {
            (Some(due), Some(fresh)) => Some(due.min(fresh)),
            (due, fresh) => due.or(fresh),
        }
    }
}

/// A destination and what waits for it, as the scheduler sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Waiting {
    /// The name of the backend.
    pub destination: Arc<str>,
    /// Messages that nobody holds back and that are not being tried.
    pub messages: usize,
    /// Since when the oldest waits, since 1970.
    pub oldest: Duration,
    /// When the first of them is due, since 1970; it may lie in the past.
    pub next: Duration,
    /// Whether some were never tried.
    pub fresh: bool,
}

impl Backlogs {
    pub(crate) fn enter(&mut self, id: EntryId, destination: &Arc<str>, domain: &Arc<str>, state: &State) {
        let backlog = self.by_destination.entry(Arc::clone(destination)).or_default();
        backlog.by_age.insert((state.since, id));
        let line = backlog.lines.entry(Arc::clone(domain)).or_default();
        line.times.insert((state.next, id));
        if state.attempts == 0 {
            line.fresh.insert(id);
        }
        if !state.delay_told {
            self.untold.insert((state.since, id));
        }
    }

    pub(crate) fn leave(&mut self, id: EntryId, destination: &Arc<str>, domain: &Arc<str>, state: &State) {
        self.untold.remove(&(state.since, id));
        let Some(backlog) = self.by_destination.get_mut(destination) else { return };
        backlog.by_age.remove(&(state.since, id));
        if let Some(line) = backlog.lines.get_mut(domain) {
            line.times.remove(&(state.next, id));
            line.fresh.remove(&id);
            if line.times.is_empty() {
                backlog.lines.remove(domain);
            }
        }
        if backlog.lines.is_empty() {
            self.by_destination.remove(destination);
        }
    }

    /// Who is next at a destination: the oldest of the domain whose turn it is.
    pub(crate) fn next(&mut self, destination: &str, when: When) -> Option<EntryId> {
        let backlog = self.by_destination.get_mut(destination)?;
        if let Some((domain, left)) = &mut backlog.turn
            && *left > 0
            && let Some(id) = backlog.lines.get(domain).and_then(|line| line.next(when))
        {
            *left -= 1;
            return Some(id);
        }
        let last = backlog.turn.take().map(|(domain, _)| domain);
        let after = last.as_ref().map_or(Bound::Unbounded, Bound::Excluded);
        let behind = backlog.lines.range::<Arc<str>, _>((after, Bound::Unbounded));
        let (domain, id) = behind
            .chain(&backlog.lines)
            .find_map(|(domain, line)| Some((Arc::clone(domain), line.next(when)?)))?;
        backlog.turn = Some((domain, BURST - 1));
        Some(id)
    }

    /// All destinations for which something waits.
    pub(crate) fn waiting(&self) -> Vec<Waiting> {
        let waiting = |(destination, backlog): (&Arc<str>, &Backlog)| {
            let firsts = backlog.lines.values().filter_map(|line| line.times.first());
            Some(Waiting {
                destination: Arc::clone(destination),
                messages: backlog.by_age.len(),
                oldest: backlog.by_age.first()?.0,
                next: firsts.map(|&(next, _)| next).min()?,
                fresh: backlog.lines.values().any(|line| !line.fresh.is_empty()),
            })
        };
        self.by_destination.iter().filter_map(waiting).collect()
    }

    /// Who has waited at a destination since `before` or longer, the oldest first.
    pub(crate) fn older(&self, destination: &str, before: Duration) -> Option<EntryId> {
        let backlog = self.by_destination.get(destination)?;
        backlog.by_age.first().filter(|(since, _)| *since <= before).map(|&(_, id)| id)
    }

    /// The oldest whose sender does not know that it waits, and since when it does.
    pub(crate) fn untold(&self) -> Option<(Duration, EntryId)> {
        self.untold.first().copied()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::crash_tests::entry;

    const DAY: Duration = Duration::from_secs(86_400);

    fn state(next: Duration, attempts: u32) -> State {
        let (_, state) = entry(1, 1).split(next);
        State { attempts, since: DAY, ..state }
    }

    fn id(bits: u64) -> EntryId {
        EntryId::from_bits(bits)
    }

    fn drain(backlogs: &mut Backlogs, when: When) -> Vec<u64> {
        let mut order = Vec::new();
        while let Some(id) = backlogs.next("there", when) {
            order.push(id.to_bits());
            let domain: Arc<str> = if id.to_bits() < 100 { "a.example" } else { "b.example" }.into();
            for attempts in [0, 3] {
                backlogs.leave(id, &"there".into(), &domain, &state(2 * DAY, attempts));
            }
        }
        order
    }

    #[test]
    fn a_flood_to_one_domain_lets_the_others_pass() {
        let mut backlogs = Backlogs::default();
        for bits in 0..20 {
            backlogs.enter(id(bits), &"there".into(), &"a.example".into(), &state(2 * DAY, 3));
        }
        for bits in 100..103 {
            backlogs.enter(id(bits), &"there".into(), &"b.example".into(), &state(2 * DAY, 3));
        }
        assert_eq!(backlogs.waiting()[0].messages, 23);
        assert!(drain(&mut backlogs, When { now: DAY, eager: true }).is_empty(), "none is due");
        let order = drain(&mut backlogs, When { now: 2 * DAY, eager: false });
        assert_eq!(order[..10], [0, 1, 2, 3, 4, 100, 101, 102, 5, 6]);
        assert_eq!(order.len(), 23);
        assert!(backlogs.waiting().is_empty() && backlogs.untold().is_none());
    }

    #[test]
    fn what_was_never_tried_goes_at_once_where_mail_is_taken() {
        let mut backlogs = Backlogs::default();
        for bits in 0..3 {
            backlogs.enter(id(bits), &"there".into(), &"a.example".into(), &state(2 * DAY, 0));
        }
        assert!(backlogs.next("there", When { now: DAY, eager: false }).is_none());
        assert_eq!(drain(&mut backlogs, When { now: DAY, eager: true }), [0, 1, 2]);
    }
}
