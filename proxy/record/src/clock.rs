//! Wall time. Deadlines are tokio Instants; this is for dates, identifiers and what outlives a restart.

use std::time::{Duration, SystemTime};

use tokio::time::Instant;

/// Where wall time comes from.
pub trait Clock: Send + Sync + 'static {
    /// The time since 1970-01-01T00:00:00Z.
    fn now(&self) -> Duration;
}

/// The system's clock.
#[derive(Debug)]
pub struct SystemClock;

impl Clock for SystemClock {
    #[expect(clippy::disallowed_methods, reason = "this is the one place that reads it")]
    fn now(&self) -> Duration {
        SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default()
    }
}

/// Wall time that begins at a given moment and moves with tokio's clock: the simulated form.
#[derive(Clone, Copy, Debug)]
pub struct SimulatedClock {
    start: Instant,
    epoch: Duration,
}

impl SimulatedClock {
    /// `epoch` is the time since 1970 that it shows now.
    pub fn starting_at(epoch: Duration) -> Self {
        Self { start: Instant::now(), epoch }
    }
}

impl Clock for SimulatedClock {
    fn now(&self) -> Duration {
        self.epoch + self.start.elapsed()
    }
}

/// A date as RFC 5322 §3.3 writes it, in UTC. Put together by hand: every message carries one.
pub fn rfc5322_date(since_1970: Duration) -> String {
    const DAYS: [&str; 7] = ["Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun"];
    const MONTHS: [&str; 12] =
        ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
    let date = timestamp(since_1970).datetime();
    let day_of_week = usize::try_from(date.weekday().to_monday_zero_offset()).unwrap_or_default();
    let month = usize::try_from(date.month() - 1).unwrap_or_default();
    let two = |text: &mut String, number: i8| {
        text.push(char::from(b'0' + u8::try_from(number / 10 % 10).unwrap_or_default()));
        text.push(char::from(b'0' + u8::try_from(number % 10).unwrap_or_default()));
    };
    let mut text = String::with_capacity(32);
    text.push_str(DAYS.get(day_of_week).unwrap_or(&DAYS[0]));
    text.push_str(", ");
    two(&mut text, date.day());
    text.push(' ');
    text.push_str(MONTHS.get(month).unwrap_or(&MONTHS[0]));
    text.push(' ');
    text.push_str(&date.year().to_string());
    for (separator, number) in [(' ', date.hour()), (':', date.minute()), (':', date.second())] {
        text.push(separator);
        two(&mut text, number);
    }
    text.push_str(" +0000");
    text
}

/// A date as RFC 3339 writes it, in UTC, to the millisecond.
pub fn rfc3339_date(since_1970: Duration) -> String {
    timestamp(since_1970).strftime("%Y-%m-%dT%H:%M:%S%.3fZ").to_string()
}

fn timestamp(since_1970: Duration) -> jiff::Zoned {
    let milliseconds = i64::try_from(since_1970.as_millis()).unwrap_or(i64::MAX);
    jiff::Timestamp::from_millisecond(milliseconds)
        .unwrap_or(jiff::Timestamp::MAX)
        .to_zoned(jiff::tz::TimeZone::UTC)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_are_written_as_the_rfcs_say() {
        let date = Duration::from_millis(1_795_288_205_042);
        assert_eq!(rfc5322_date(date), "Sat, 21 Nov 2026 19:10:05 +0000");
        assert_eq!(rfc3339_date(date), "2026-11-21T19:10:05.042Z");
    }

    #[tokio::test(start_paused = true)]
    async fn the_simulated_clock_moves_with_the_timers() {
        let clock = SimulatedClock::starting_at(Duration::from_secs(1000));
        tokio::time::sleep(Duration::from_secs(5 * 86_400)).await;
        assert_eq!(clock.now(), Duration::from_secs(1000 + 5 * 86_400));
    }
}
