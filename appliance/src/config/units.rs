//! Durations (`30s`, `5m`, `2h`, `5d`) and sizes (`50MiB`), read and written.

use std::time::Duration;

/// What a duration must look like, for messages.
pub(super) const A_DURATION: &str = "a duration such as `30s`, `5m`, `2h` or `5d`";
/// What a size must look like, for messages.
pub(super) const A_SIZE: &str = "a size such as `64KiB`, `50MiB` or `10GiB`";
/// Ten years: beyond it arithmetic on dates is no use to anybody.
const MAX_SECONDS: u64 = 10 * 366 * 86_400;

const DURATIONS: [(&str, u64); 4] = [("d", 86_400), ("h", 3600), ("m", 60), ("s", 1)];
const SIZES: [(&str, u64); 5] =
    [("TiB", 1 << 40), ("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10), ("B", 1)];

/// Reads a whole number and its unit.
pub(crate) fn duration(text: &str) -> Option<Duration> {
    let seconds = quantity(text, &DURATIONS)?;
    (seconds <= MAX_SECONDS).then(|| Duration::from_secs(seconds))
}

/// Reads a whole number and its unit, in octets.
pub(super) fn size(text: &str) -> Option<u64> {
    quantity(text, &SIZES)
}

fn quantity(text: &str, units: &[(&str, u64)]) -> Option<u64> {
    let end = text.find(|c: char| !c.is_ascii_digit())?;
    let (number, unit) = text.split_at(end);
    let (_, factor) = units.iter().find(|(name, _)| *name == unit)?;
    number.parse::<u64>().ok()?.checked_mul(*factor)
}

/// A duration for people: its largest one or two units.
pub fn duration_in_words(duration: Duration) -> String {
    let seconds = duration.as_secs();
    if seconds == 0 {
        return if duration.is_zero() { "0s".into() } else { format!("{} ms", duration.as_millis()) };
    }
    let at = DURATIONS.iter().position(|(_, factor)| seconds >= *factor).unwrap_or(3);
    let (unit, factor) = DURATIONS[at];
    let rest = seconds % factor;
    match DURATIONS.get(at + 1) {
        Some((small, small_factor)) if rest >= *small_factor => {
            format!("{}{unit} {}{small}", seconds / factor, rest / small_factor)
        }
        _ => format!("{}{unit}", seconds / factor),
    }
}

/// A size for people: three digits at most before the unit.
#[expect(clippy::cast_precision_loss, reason = "one decimal is shown")]
pub fn size_in_words(octets: u64) -> String {
    let (unit, factor) = SIZES.into_iter().find(|(_, factor)| octets >= *factor).unwrap_or(("B", 1));
    if octets.is_multiple_of(factor) || octets / factor >= 100 {
        return format!("{} {unit}", octets / factor);
    }
    format!("{:.1} {unit}", octets as f64 / factor as f64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_and_sizes_are_whole_numbers_with_a_unit() {
        for (text, seconds) in [("0s", 0), ("30s", 30), ("5m", 300), ("2h", 7200), ("5d", 432_000)] {
            assert_eq!(duration(text), Some(Duration::from_secs(seconds)), "{text}");
        }
        for text in ["", "5", "s", "5 m", "-5m", "1.5h", "5w", "5m30s", "99999999999999999999s", "9999999d"] {
            assert_eq!(duration(text), None, "{text}");
        }
        for (text, octets) in [("0B", 0), ("64KiB", 65_536), ("50MiB", 52_428_800), ("10GiB", 10 << 30)] {
            assert_eq!(size(text), Some(octets), "{text}");
        }
        for text in ["50", "50MB", "50mib", "MiB", "99999999999TiB"] {
            assert_eq!(size(text), None, "{text}");
        }
    }

    #[test]
    fn people_read_one_or_two_units() {
        for (seconds, words) in
            [(0, "0s"), (59, "59s"), (60, "1m"), (3661, "1h 1m"), (90_000, "1d 1h"), (86_400, "1d")]
        {
            assert_eq!(duration_in_words(Duration::from_secs(seconds)), words);
        }
        for (octets, words) in [(0, "0 B"), (1023, "1023 B"), (1536, "1.5 KiB"), (50 << 20, "50 MiB")] {
            assert_eq!(size_in_words(octets), words);
        }
    }
}
