//! What is counted of one sender: a day by the hour, what is usual, how its last messages were judged, and whether there is a case
//! against it.

use std::collections::VecDeque;
use std::net::IpAddr;
use std::time::Duration;

use smtp::TraceId;

/// Hours that are counted one by one.
const HOURS: usize = 24;
/// Messages whose spam probability is remembered one by one.
pub(super) const RECENT: usize = 20;
/// What is usual loses half of itself in so many hours, four weeks: who goes on holiday comes back to the plain limits at last.
const HALF_LIFE: f32 = 672.0;
/// Weight of one more message in what is usual of content.
const SHARE: f32 = 0.02;
/// Subjects, and clients' addresses, that the postmaster is told; in memory only.
const SAMPLES: usize = 5;
/// Octets of a subject that are kept.
const MAX_SUBJECT: usize = 100;
/// Of the form in which records are stored.
const VERSION: u8 = 1;

/// What was sent within some time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Count {
    pub(super) messages: u32,
    pub(super) recipients: u32,
    /// Of the recipients, those of whom it was looked up whether anybody here has written to them.
    pub(super) looked_up: u32,
    /// Of those, the ones to whom nobody had.
    pub(super) strangers: u32,
    /// Recipients whose servers said no for good.
    pub(super) refused: u32,
}

impl Count {
    fn add(&mut self, more: Self) {
        let pairs = [
            (&mut self.messages, more.messages),
            (&mut self.recipients, more.recipients),
            (&mut self.looked_up, more.looked_up),
            (&mut self.strangers, more.strangers),
            (&mut self.refused, more.refused),
        ];
        pairs.into_iter().for_each(|(sum, more)| *sum = sum.saturating_add(more));
    }

    fn numbers(self) -> [u32; 5] {
        [self.messages, self.recipients, self.looked_up, self.strangers, self.refused]
    }
}

/// That a sender looks taken over, or that a person says so.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Case {
    /// By which the postmaster's mail is known.
    pub(super) id: TraceId,
    /// Since when, in seconds since 1970.
    pub(super) since: u64,
    /// When it last looked so.
    pub(super) last: u64,
    /// A person stopped it: it is held whatever the config says.
    pub(super) by_hand: bool,
    /// The postmaster has been told.
    pub(super) told: bool,
    /// What was seen, a line each.
    pub(super) seen: Vec<String>,
}

/// A sender's record.
#[derive(Clone, Debug)]
pub(super) struct Record {
    /// When it was last heard of, in seconds since 1970.
    pub(super) last: u64,
    /// The present hour, since 1970; its count lies at this number modulo [`HOURS`].
    hour: u64,
    hours: [Count; HOURS],
    /// Recipients in its busiest hour and day, as it fades.
    usual_hour: f32,
    usual_day: f32,
    /// Spam probabilities of the last messages, in 255ths, the oldest first.
    recent: VecDeque<u8>,
    /// What they were before, on the average, and of how many messages.
    usual_content: f32,
    contents: u32,
    pub(super) case: Option<Case>,
    pub(super) subjects: VecDeque<Box<str>>,
    pub(super) clients: VecDeque<IpAddr>,
}

impl Record {
    pub(super) fn new(now: Duration) -> Self {
        Self {
            last: now.as_secs(),
            hour: now.as_secs() / 3600,
            hours: [Count::default(); HOURS],
            usual_hour: 0.0,
            usual_day: 0.0,
            recent: VecDeque::new(),
            usual_content: 0.0,
            contents: 0,
            case: None,
            subjects: VecDeque::new(),
            clients: VecDeque::new(),
        }
    }

    pub(super) fn add(&mut self, more: Count, now: Duration) {
        self.advance(now);
        self.last = self.last.max(now.as_secs());
        self.count_mut().add(more);
    }

    /// One more message was judged.
    pub(super) fn add_content(&mut self, probability: f64) {
        if self.recent.len() >= RECENT
            && let Some(oldest) = self.recent.pop_front()
        {
            let oldest = f32::from(oldest) / 255.0;
            let share = if self.contents == 0 { 1.0 } else { SHARE };
            self.usual_content += share * (oldest - self.usual_content);
            self.contents = self.contents.saturating_add(1);
        }
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "from 0 to 255")]
        self.recent.push_back((probability.clamp(0.0, 1.0) * 255.0).round() as u8);
    }

    /// For the postmaster.
    pub(super) fn add_samples(&mut self, subject: &str, client: IpAddr) {
        if !subject.is_empty() {
            let subject = subject.get(..subject.floor_char_boundary(MAX_SUBJECT)).unwrap_or_default();
            self.subjects.push_back(subject.replace(char::is_control, " ").into());
        }
        if !self.clients.contains(&client) {
            self.clients.push_back(client);
        }
        self.subjects.drain(..self.subjects.len().saturating_sub(SAMPLES));
        self.clients.drain(..self.clients.len().saturating_sub(SAMPLES));
    }

    /// Begins the hours that have begun since. What was sent while there was a case is not usual.
    pub(super) fn advance(&mut self, now: Duration) {
        let present = now.as_secs() / 3600;
        while self.hour < present {
            if self.case.is_none() {
                self.usual_hour = self.usual_hour.max(of(self.count().recipients));
                self.usual_day = self.usual_day.max(of(self.within(HOURS).recipients));
            }
            // After a day of silence nothing is left to be folded.
            let is_silent = self.within(HOURS) == Count::default();
            let steps = if is_silent { present - self.hour } else { 1 };
            let faded = (-of(u32::try_from(steps).unwrap_or(u32::MAX)) / HALF_LIFE).exp2();
            self.usual_hour *= faded;
            self.usual_day *= faded;
            self.hour += steps;
            *self.count_mut() = Count::default();
        }
    }

    /// A person says that all is well: what led to the case counts no more.
    pub(super) fn forgive(&mut self) {
        self.case = None;
        self.hours = [Count::default(); HOURS];
        self.recent.clear();
        self.subjects.clear();
        self.clients.clear();
    }

    /// The last so many hours together, the one that has just begun included.
    pub(super) fn within(&self, hours: usize) -> Count {
        let mut sum = Count::default();
        let newest = self.place();
        (0..hours.min(HOURS)).for_each(|back| sum.add(self.hours[(newest + HOURS - back) % HOURS]));
        sum
    }

    /// Recipients within the last 60 minutes, as if those of the hour before had been named evenly.
    pub(super) fn in_an_hour(&self, now: Duration) -> f32 {
        let left = 1.0 - of(u32::try_from(now.as_secs() % 3600).unwrap_or_default()) / 3600.0;
        let before = self.hours[(self.place() + HOURS - 1) % HOURS].recipients;
        of(self.count().recipients) + of(before) * left
    }

    /// Recipients in the busiest hour, and in the busiest day, but for the hour that has just begun.
    pub(super) fn usual(&self) -> (f32, f32) {
        (self.usual_hour, self.usual_day)
    }

    /// The average spam probability of the last messages, and of those before; `None` of fewer than half of them.
    pub(super) fn content(&self) -> Option<(f32, f32)> {
        if self.recent.len() * 2 < RECENT {
            return None;
        }
        let sum: u32 = self.recent.iter().map(|one| u32::from(*one)).sum();
        let length = u32::try_from(self.recent.len()).unwrap_or(u32::MAX);
        Some((of(sum) / of(length) / 255.0, self.usual_content))
    }

    fn place(&self) -> usize {
        usize::try_from(self.hour % HOURS as u64).unwrap_or_default()
    }

    fn count(&self) -> Count {
        self.hours[self.place()]
    }

    fn count_mut(&mut self) -> &mut Count {
        &mut self.hours[self.place()]
    }

    pub(super) fn to_bytes(&self) -> Vec<u8> {
        let mut out = self.last.to_be_bytes().to_vec();
        out.push(VERSION);
        out.extend(self.hour.to_be_bytes());
        self.hours
            .iter()
            .flat_map(|count| count.numbers())
            .for_each(|number| out.extend(number.to_be_bytes()));
        for number in [self.usual_hour, self.usual_day, self.usual_content] {
            out.extend(number.to_be_bytes());
        }
        out.extend(self.contents.to_be_bytes());
        out.push(u8::try_from(self.recent.len()).unwrap_or_default());
        out.extend(&self.recent);
        if let Some(case) = &self.case {
            out.extend(case.id.to_bits().to_be_bytes());
            out.extend(case.since.to_be_bytes());
            out.extend(case.last.to_be_bytes());
            out.push(u8::from(case.by_hand) | u8::from(case.told) << 1);
            out.extend(case.seen.join("\n").as_bytes());
        }
        out
    }

    /// `None` where that is none.
    pub(super) fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let mut from = Reading(bytes);
        let (last, version, hour) = (from.long()?, from.octet()?, from.long()?);
        let mut record = Self { last, hour, ..Self::new(Duration::ZERO) };
        for count in &mut record.hours {
            let mut number = || from.number();
            *count = Count {
                messages: number()?,
                recipients: number()?,
                looked_up: number()?,
                strangers: number()?,
                refused: number()?,
            };
        }
        let mut share =
            || from.number().map(f32::from_bits).filter(|share| share.is_finite() && *share >= 0.0);
        (record.usual_hour, record.usual_day, record.usual_content) = (share()?, share()?, share()?);
        record.contents = from.number()?;
        let recent = usize::from(from.octet()?);
        record.recent = from.octets(recent).filter(|_| recent <= RECENT)?.iter().copied().collect();
        if !from.0.is_empty() {
            let (id, since, last, flags) = (from.long()?, from.long()?, from.long()?, from.octet()?);
            let seen = std::str::from_utf8(from.0).ok()?;
            let seen = seen.lines().map(str::to_owned).collect();
            let (by_hand, told) = (flags & 1 != 0, flags & 2 != 0);
            record.case = Some(Case { id: TraceId::from_bits(id), since, last, by_hand, told, seen });
        }
        (version == VERSION).then_some(record)
    }
}

/// Numbers one after the other.
pub(in super::super) struct Reading<'a>(pub(in super::super) &'a [u8]);

impl<'a> Reading<'a> {
    pub(in super::super) fn octets(&mut self, length: usize) -> Option<&'a [u8]> {
        let (octets, rest) = self.0.split_at_checked(length)?;
        self.0 = rest;
        Some(octets)
    }

    pub(in super::super) fn octet(&mut self) -> Option<u8> {
        self.octets(1).map(|octets| octets[0])
    }

    pub(in super::super) fn number(&mut self) -> Option<u32> {
        self.octets(4)?.try_into().ok().map(u32::from_be_bytes)
    }

    pub(in super::super) fn long(&mut self) -> Option<u64> {
        self.octets(8)?.try_into().ok().map(u64::from_be_bytes)
    }
}

#[expect(clippy::cast_precision_loss, reason = "counts, of which the size matters")]
pub(super) fn of(count: u32) -> f32 {
    count as f32
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Duration = Duration::from_secs(1_795_287_600);
    const HOUR: Duration = Duration::from_secs(3600);

    fn to(recipients: u32) -> Count {
        Count { messages: 1, recipients, ..Count::default() }
    }

    #[test]
    fn an_hour_slides_a_day_is_forgotten_and_what_was_usual_fades() {
        let mut record = Record::new(NOW);
        record.add(to(100), NOW);
        assert_eq!((record.in_an_hour(NOW), record.usual()), (100.0, (0.0, 0.0)));
        record.add(to(10), NOW + HOUR);
        assert_eq!(record.in_an_hour(NOW + HOUR), 110.0);
        assert_eq!(record.in_an_hour(NOW + HOUR + HOUR / 2), 60.0);
        record.advance(NOW + 24 * HOUR);
        assert_eq!(record.within(HOURS).recipients, 10);
        let (hour, day) = record.usual();
        assert!((95.0..100.0).contains(&hour) && (105.0..110.0).contains(&day), "{hour} {day}");
        record.advance(NOW + 672 * HOUR);
        assert_eq!(record.within(HOURS), Count::default());
        let (hour, _) = record.usual();
        assert!((49.0..51.0).contains(&hour), "{hour}");
        record.advance(NOW + 100_000_000 * HOUR);
        assert_eq!(record.usual(), (0.0, 0.0));
    }

    #[test]
    fn what_is_sent_while_there_is_a_case_is_not_usual() {
        let mut record = Record::new(NOW);
        record.case = Some(case());
        record.add(to(1000), NOW);
        record.advance(NOW + HOUR);
        assert_eq!(record.usual(), (0.0, 0.0));
        record.forgive();
        assert_eq!((record.within(HOURS), record.case), (Count::default(), None));
    }

    #[test]
    fn content_is_compared_with_what_it_was_before() {
        let mut record = Record::new(NOW);
        assert_eq!(record.content(), None);
        (0..100).for_each(|_| record.add_content(0.1));
        (0..RECENT).for_each(|_| record.add_content(1.0));
        let (recent, before) = record.content().unwrap();
        assert!(recent > 0.99 && (0.09..0.11).contains(&before), "{recent} {before}");
    }

    fn case() -> Case {
        let seen = vec!["1 of 2".to_owned(), "\u{fc}".to_owned()];
        Case { id: TraceId::new(5, 6), since: 7, last: 8, by_hand: true, told: false, seen }
    }

    #[test]
    fn a_record_reads_back_as_written_and_garbage_is_none() {
        let mut record = Record::new(NOW);
        record.add(Count { messages: 1, recipients: 2, looked_up: 3, strangers: 4, refused: 5 }, NOW);
        (0..30).for_each(|_| record.add_content(0.5));
        record.advance(NOW + HOUR);
        for case in [None, Some(case())] {
            record.case = case;
            let bytes = record.to_bytes();
            let read = Record::from_bytes(&bytes).unwrap();
            assert_eq!((read.to_bytes(), &read.case), (bytes.clone(), &record.case));
            for length in 0..bytes.len() {
                let _ = Record::from_bytes(&bytes[..length]);
            }
        }
        assert!(Record::from_bytes(&[0xff; 600]).is_none() && Record::from_bytes(b"").is_none());
    }
}
