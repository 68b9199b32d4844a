//! Clients from which no mail is wanted come in crowds, and each would have its entry in the trace: a flood of them would push out
//! what people look for. So of a network some of a minute are told one by one, of all networks together some more; of the rest the
//! last of the minute is told, with how many it stands for. The metrics count each, and the log has each.

use std::collections::{HashMap, VecDeque};
use std::net::IpAddr;
use std::time::Duration;

use record::{Event, Session, Transaction};
use smtp::TraceId;

use super::networks::network;

/// What is counted together.
const MINUTE: Duration = Duration::from_secs(60);
/// Entries of one network in a minute.
const OF_A_NETWORK: u32 = 5;
/// Entries of all networks in a minute, beside the one that stands for the rest of each: a flood that never ends takes less than half
/// of the trace as it is by default.
const OF_ALL: u32 = 40;
/// Sessions under way that are remembered for having an entry.
const SESSIONS: usize = 4 * OF_ALL as usize;

/// Who was refused in this minute.
#[derive(Debug, Default)]
pub(super) struct Crowd {
    /// When the minute began, since 1970.
    began: Duration,
    networks: HashMap<IpAddr, Share>,
    told: u32,
    /// Of networks that came when all entries were taken.
    others: Rest,
    sessions: VecDeque<TraceId>,
}

#[derive(Debug, Default)]
struct Share {
    told: u32,
    rest: Rest,
}

/// Those who have no entry of their own.
#[derive(Debug, Default)]
struct Rest {
    last: Option<Box<Transaction>>,
    before: u32,
}

impl Rest {
    fn add(&mut self, transaction: Box<Transaction>) {
        let before = self.last.replace(transaction);
        self.before = self.before.saturating_add(u32::from(before.is_some()));
    }

    fn entry(self) -> Option<Event> {
        let mut last = self.last?;
        last.alike = self.before;
        Some(Event::Transaction(last))
    }
}

impl Crowd {
    /// The event, if it has an entry of its own.
    pub(super) fn thin(&mut self, event: Event, now: Duration) -> Option<Event> {
        match event {
            Event::Transaction(transaction) if transaction.ended_at_mail() => self.refused(transaction, now),
            Event::Session(session) if session.unwelcome => {
                self.is_told(&session, now).then_some(Event::Session(session))
            }
            event => Some(event),
        }
    }

    fn refused(&mut self, transaction: Box<Transaction>, now: Duration) -> Option<Event> {
        let session = transaction.id.session;
        if self.has_room(transaction.client.ip(), now) {
            if self.sessions.len() == SESSIONS {
                self.sessions.pop_front();
            }
            self.sessions.push_back(session);
            return Some(Event::Transaction(transaction));
        }
        let share = self.networks.get_mut(&network(transaction.client.ip()).0);
        share.map_or(&mut self.others, |share| &mut share.rest).add(transaction);
        None
    }

    /// A session has an entry where one of its transactions has; who left before MAIL takes an entry as a transaction does.
    fn is_told(&mut self, session: &Session, now: Duration) -> bool {
        match self.sessions.iter().position(|told| *told == session.id) {
            Some(at) => {
                // It may have had more than one.
                self.sessions.remove(at);
                self.sessions.retain(|told| *told != session.id);
                true
            }
            None => session.transactions == 0 && self.has_room(session.client.ip(), now),
        }
    }

    fn has_room(&mut self, client: IpAddr, now: Duration) -> bool {
        if self.networks.is_empty() {
            self.began = now;
        }
        if self.told >= OF_ALL {
            return false;
        }
        let share = self.networks.entry(network(client).0).or_default();
        let has_room = share.told < OF_A_NETWORK;
        if has_room {
            share.told += 1;
            self.told += 1;
        }
        has_room
    }

    /// How long it is until somebody has to be told of; `None` while nobody is left out.
    pub(super) fn owes(&self, now: Duration) -> Option<Duration> {
        let rests = self.networks.values().map(|share| &share.rest).chain([&self.others]);
        let is_left_out = rests.map(|rest| &rest.last).any(Option::is_some);
        is_left_out.then(|| (self.began + MINUTE).saturating_sub(now))
    }

    /// Once the minute is over: those who stand for the rest. The clock may step back.
    pub(super) fn settle(&mut self, now: Duration) -> Vec<Event> {
        if (self.began..self.began + MINUTE).contains(&now) {
            return Vec::new();
        }
        self.told = 0;
        let rests = self.networks.drain().map(|(_, share)| share.rest);
        let mut entries: Vec<_> = rests.filter_map(Rest::entry).collect();
        entries.extend(std::mem::take(&mut self.others).entry());
        entries
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::recorder::samples;

    const NOW: Duration = samples::BEGAN;

    fn refused(number: u32, client: &str) -> Event {
        let reply = Some(samples::reply(550, "not wanted"));
        let session = TraceId::new(1_795_288_205_000, number);
        Event::Transaction(Box::new(Transaction {
            id: smtp::TransactionId { session, number: 1 },
            client: format!("{client}:4711").parse().unwrap(),
            recipients: Vec::new(),
            recipients_named: 0,
            size: 0,
            reply,
            groups: Vec::new(),
            ..samples::transaction(1)
        }))
    }

    fn session(number: u32, client: &str, transactions: u32) -> Event {
        Event::Session(Box::new(Session {
            id: TraceId::new(1_795_288_205_000, number),
            client: format!("{client}:4711").parse().unwrap(),
            unwelcome: true,
            transactions,
            ..samples::refused_session()
        }))
    }

    fn alike(events: &[Event]) -> Vec<u32> {
        let mut alike: Vec<_> = events
            .iter()
            .filter_map(|event| match event {
                Event::Transaction(transaction) => Some(transaction.alike),
                _ => None,
            })
            .collect();
        alike.sort_unstable();
        alike
    }

    #[test]
    fn a_flood_from_one_network_takes_some_entries_and_one_for_the_rest() {
        let mut crowd = Crowd::default();
        let told = (0..1000).filter(|number| {
            let client = format!("192.0.2.{}", number % 200);
            crowd.thin(refused(*number, &client), NOW).is_some()
        });
        assert_eq!(told.count(), 5);
        assert!(crowd.thin(refused(1000, "198.51.100.7"), NOW).is_some(), "another network has its own");
        assert_eq!(crowd.owes(NOW + Duration::from_secs(20)), Some(Duration::from_secs(40)));
        assert!(crowd.settle(NOW + Duration::from_secs(59)).is_empty());
        assert_eq!(alike(&crowd.settle(NOW + MINUTE)), [994], "and the one that says so");
        assert_eq!(crowd.owes(NOW + MINUTE), None);
        assert!(crowd.thin(refused(1001, "192.0.2.1"), NOW + MINUTE).is_some(), "a new minute");
    }

    #[test]
    fn a_flood_from_everywhere_takes_no_more_than_the_bound() {
        let mut crowd = Crowd::default();
        let everywhere = |number: u32| format!("{}.{}.2.1", number / 256 + 11, number % 256);
        let told =
            (0..10_000).filter(|number| crowd.thin(refused(*number, &everywhere(*number)), NOW).is_some());
        assert_eq!(told.count(), 40);
        assert_eq!(crowd.networks.len(), 40);
        (0..40).for_each(|number| {
            crowd.thin(refused(number, &everywhere(number)), NOW);
        });
        let entries = alike(&crowd.settle(NOW + MINUTE));
        assert_eq!((entries.len(), entries.last()), (41, Some(&9959)));
    }

    #[test]
    fn sessions_are_told_with_their_transactions() {
        let mut crowd = Crowd::default();
        for number in 0..9 {
            let told = crowd.thin(refused(number, "192.0.2.7"), NOW).is_some();
            assert_eq!(crowd.thin(session(number, "192.0.2.7", 1), NOW).is_some(), told, "{number}");
        }
        assert!(crowd.thin(session(9, "192.0.2.7", 0), NOW).is_none(), "the network has its share");
        assert!(crowd.thin(session(10, "198.51.100.7", 0), NOW).is_some());
        let welcome = Event::Session(Box::new(samples::refused_session()));
        assert!(crowd.thin(welcome, NOW).is_some());
    }

    #[test]
    fn a_clock_that_steps_back_begins_anew() {
        let mut crowd = Crowd::default();
        (0..9).for_each(|number| {
            crowd.thin(refused(number, "192.0.2.7"), NOW);
        });
        assert_eq!(alike(&crowd.settle(NOW - MINUTE)), [3]);
        assert!(crowd.thin(refused(9, "192.0.2.7"), NOW - MINUTE).is_some());
    }
}
