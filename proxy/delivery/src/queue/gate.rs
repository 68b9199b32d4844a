//! How many connections a destination gets, and when it is asked again: a function of what it has answered.
//!
//! It begins with one connection, gets one more for each message that it takes, and loses half of them whenever it sends one
//! away. When the last one fails, the gate closes, for longer and longer; then one connection tries alone.

use std::time::Duration;

use tokio::time::Instant;

/// A server that puts off this many messages in a row, whatever they are, wants none at all at the moment.
const PUT_OFF: u32 = 20;

/// What a destination is allowed, whatever it would take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pace {
    /// Connections at the same time.
    pub connections: usize,
    /// The least time from one message to the next.
    pub interval: Duration,
    /// How long it is left alone after it has failed; doubles with each further time.
    pub first: Duration,
    /// The longest that it is left alone.
    pub longest: Duration,
}

/// The gate in front of one destination.
#[derive(Debug)]
pub(crate) struct Gate {
    /// Connections that it may have.
    window: usize,
    /// How often it closed since a message was last taken.
    failures: u32,
    closed_until: Option<Instant>,
    /// Messages put off in a row.
    put_off: u32,
    /// It took the last message that it was given.
    takes: bool,
    /// When the next message may be sent.
    next: Option<Instant>,
}

impl Gate {
    pub(crate) fn new() -> Self {
        Self { window: 1, failures: 0, closed_until: None, put_off: 0, takes: false, next: None }
    }

    /// Whether one more connection may be opened beside `running` others.
    pub(crate) fn opens(&self, running: usize, now: Instant) -> bool {
        running < self.window && self.opens_at().is_none_or(|at| at <= now)
    }

    /// Whether one of `running` connections may go on.
    pub(crate) fn keeps(&self, running: usize, now: Instant) -> bool {
        running <= self.window && self.closed_until.is_none_or(|until| until <= now)
    }

    /// When it opens next; `None`: it is open.
    pub(crate) fn opens_at(&self) -> Option<Instant> {
        self.closed_until.max(self.next)
    }

    /// Until when it is closed because of failures.
    pub(crate) fn closed_until(&self) -> Option<Instant> {
        self.closed_until
    }

    /// Whether messages that were never tried need not wait for their time.
    pub(crate) fn takes(&self) -> bool {
        self.takes
    }

    /// How often it closed since a message was last taken.
    pub(crate) fn failures(&self) -> u32 {
        self.failures
    }

    /// A message is sent: when the next one may be.
    pub(crate) fn sends(&mut self, now: Instant, pace: Pace) -> Option<Instant> {
        self.next = (!pace.interval.is_zero()).then(|| now + pace.interval);
        self.next
    }

    /// It took a message, or said for good that it does not want it.
    pub(crate) fn answered(&mut self, pace: Pace) {
        // With time between messages one connection does: several would wait for the same moment.
        let most = if pace.interval.is_zero() { pace.connections.max(1) } else { 1 };
        self.window = (self.window + 1).min(most);
        (self.failures, self.put_off, self.closed_until, self.takes) = (0, 0, None, true);
    }

    /// It put a message off, for reasons that may be the message's own.
    pub(crate) fn deferred(&mut self, now: Instant, pace: Pace, jitter: f64) {
        self.put_off += 1;
        if self.put_off >= PUT_OFF {
            self.close(now, pace, jitter);
        }
    }

    /// A connection failed, or was sent away.
    pub(crate) fn failed(&mut self, now: Instant, pace: Pace, jitter: f64) {
        // Of many connections that break together, the first says it all.
        if self.closed_until.is_some_and(|until| until > now) {
            return;
        }
        if self.window > 1 {
            self.window /= 2;
        } else {
            self.close(now, pace, jitter);
        }
    }

    /// A person, or the server's answer to a probe, says that it is worth a try.
    pub(crate) fn hasten(&mut self) {
        self.closed_until = None;
    }

    /// `jitter` is between 0 and 1.
    fn close(&mut self, now: Instant, pace: Pace, jitter: f64) {
        let doubled = pace.first.saturating_mul(1 << self.failures.min(16));
        let wait = doubled.min(pace.longest).mul_f64(0.75 + jitter / 2.0);
        self.closed_until = Some(now + wait);
        self.failures = self.failures.saturating_add(1);
        (self.window, self.put_off, self.takes) = (1, 0, false);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PACE: Pace = Pace {
        connections: 20,
        interval: Duration::ZERO,
        first: Duration::from_secs(5),
        longest: Duration::from_secs(60),
    };

    #[tokio::test(start_paused = true)]
    async fn one_connection_tries_then_more_as_mail_is_taken_and_never_too_many() {
        let (mut gate, now) = (Gate::new(), Instant::now());
        assert!(gate.opens(0, now) && !gate.opens(1, now) && !gate.takes());
        (0..5).for_each(|_| gate.answered(PACE));
        assert!(gate.opens(5, now) && !gate.opens(6, now) && gate.takes());
        (0..100).for_each(|_| gate.answered(PACE));
        assert!(gate.opens(19, now) && !gate.opens(20, now));
    }

    #[tokio::test(start_paused = true)]
    async fn who_is_sent_away_comes_back_with_half_and_then_alone_and_later() {
        let (mut gate, now) = (Gate::new(), Instant::now());
        (0..15).for_each(|_| gate.answered(PACE));
        gate.failed(now, PACE, 0.5);
        assert!(gate.keeps(8, now) && !gate.keeps(9, now));
        // The other connections break, too: that is one failure, not many.
        (0..20).for_each(|_| gate.failed(now, PACE, 0.5));
        assert_eq!(gate.closed_until(), Some(now + PACE.first));
        let mut waits = Vec::new();
        for _ in 0..6 {
            let opens = gate.closed_until().unwrap();
            assert!(!gate.opens(0, opens - Duration::from_millis(1)));
            assert!(gate.opens(0, opens) && !gate.opens(1, opens), "one tries alone");
            gate.failed(opens, PACE, 0.5);
            waits.push((gate.closed_until().unwrap() - opens).as_secs());
        }
        assert_eq!(waits, [10, 20, 40, 60, 60, 60]);
        gate.answered(PACE);
        assert!(gate.opens(1, now) && gate.failures() == 0);
    }

    #[tokio::test(start_paused = true)]
    async fn a_server_that_puts_everything_off_is_left_alone() {
        let (mut gate, now) = (Gate::new(), Instant::now());
        (1..PUT_OFF).for_each(|_| gate.deferred(now, PACE, 0.0));
        assert!(gate.opens(0, now));
        gate.deferred(now, PACE, 0.0);
        assert!(!gate.opens(0, now));
        gate.hasten();
        assert!(gate.opens(0, now));
    }

    #[tokio::test(start_paused = true)]
    async fn a_throttle_spaces_messages() {
        let (mut gate, now) = (Gate::new(), Instant::now());
        let pace = Pace { interval: Duration::from_secs(6), ..PACE };
        assert_eq!(gate.sends(now, pace), Some(now + pace.interval));
        assert!(!gate.opens(0, now) && gate.opens(0, now + pace.interval));
    }
}
