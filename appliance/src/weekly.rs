//! What a domain's week was, in numbers alone: nothing of it is about a person, so that it can be published.

use jiff::civil::Date;
use maud::{DOCTYPE, Markup, PreEscaped, html};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::report::Count;

/// Days of a week.
pub(crate) const DAYS: u64 = 7;
/// What is counted of a language begins with it.
pub(crate) const LANGUAGE: &str = "in language ";
/// The first day of 1970 was a Thursday: so many days after a Monday.
const THURSDAY: u64 = 3;

/// A domain's week, from Monday to Sunday, UTC.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct WeekReport {
    /// The domain.
    pub domain: String,
    /// Its Monday, as `2026-11-23`.
    pub begins: String,
    /// Its Sunday.
    pub ends: String,
    /// Whether it is over; else the numbers are those so far.
    pub is_over: bool,
    /// Mail for the domain.
    pub received: WeekReceived,
    /// Mail of the domain to the world.
    pub sent: WeekSent,
    /// Mail for the domain that was judged, by the language of its text or its script, most frequent first.
    #[serde(default)]
    pub languages: Vec<Count>,
}

/// Mail for a domain, of one week: each message counts once, to however many it was.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct WeekReceived {
    /// Messages that were accepted.
    pub accepted: u64,
    /// Those that were refused for good, spam among them.
    pub refused: u64,
    /// Those that were taken for spam: marked, held, refused or thrown away.
    pub spam: u64,
    /// Those that came with TLS 1.3.
    pub tls13: u64,
    /// Those that came with TLS 1.2.
    pub tls12: u64,
    /// Those that came without TLS.
    pub plain: u64,
    /// Those whose author DMARC confirms.
    pub dmarc_passed: u64,
    /// Those whose author it does not confirm, though the author's domain says that it should.
    pub dmarc_failed: u64,
}

/// Mail of a domain to the world, of one week: each message counts once for each server that took it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct WeekSent {
    /// Messages that a server of the world took.
    pub delivered: u64,
    /// Those to a server that DANE proved.
    pub dane: u64,
    /// Those to a server that MTA-STS proved.
    pub mta_sts: u64,
    /// Those to a server that a certificate proved otherwise.
    pub verified: u64,
    /// Those with TLS to a server that nothing proved.
    pub unproved: u64,
    /// Those without TLS.
    pub plain: u64,
}

impl WeekReport {
    /// What was counted of it goes in by name; what it does not know is left out.
    pub(crate) fn add(&mut self, counted: &str, count: u64) {
        if let Some(language) = counted.strip_prefix(LANGUAGE) {
            return self.add_language(language, count);
        }
        let (received, sent) = (&mut self.received, &mut self.sent);
        let number = match counted {
            "in accepted" => &mut received.accepted,
            "in refused" => &mut received.refused,
            "in spam" => &mut received.spam,
            "in tls13" => &mut received.tls13,
            "in tls12" => &mut received.tls12,
            "in plain" => &mut received.plain,
            "in dmarc pass" => &mut received.dmarc_passed,
            "in dmarc fail" => &mut received.dmarc_failed,
            "out" => &mut sent.delivered,
            "out dane" => &mut sent.dane,
            "out mta-sts" => &mut sent.mta_sts,
            "out verified" => &mut sent.verified,
            "out unproved" => &mut sent.unproved,
            "out plain" => &mut sent.plain,
            _ => return,
        };
        *number += count;
    }

    fn add_language(&mut self, language: &str, count: u64) {
        match self.languages.iter_mut().find(|known| known.what == language) {
            Some(known) => known.count += count,
            None => self.languages.push(Count { what: language.to_owned(), count }),
        }
        self.languages
            .sort_by(|one, other| other.count.cmp(&one.count).then_with(|| one.what.cmp(&other.what)));
    }

    /// The numbers with their names: of mail that came, of mail that went, and of what was read, if anything was.
    pub(crate) fn lines(&self) -> Vec<(&'static str, Vec<(&str, u64)>)> {
        let (received, sent) = (&self.received, &self.sent);
        let came = vec![
            ("accepted", received.accepted),
            ("refused", received.refused),
            ("spam that was caught", received.spam),
            ("with TLS 1.3", received.tls13),
            ("with TLS 1.2", received.tls12),
            ("without TLS", received.plain),
            ("author confirmed by DMARC", received.dmarc_passed),
            ("author not confirmed by DMARC", received.dmarc_failed),
        ];
        let went = vec![
            ("delivered", sent.delivered),
            ("to servers proved by DANE", sent.dane),
            ("to servers proved by MTA-STS", sent.mta_sts),
            ("to servers proved by a certificate", sent.verified),
            ("with TLS to servers that nothing proved", sent.unproved),
            ("without TLS", sent.plain),
        ];
        let mut lines = vec![("Mail that came", came), ("Mail that went to the world", went)];
        if !self.languages.is_empty() {
            let languages = self.languages.iter().map(|one| (one.what.as_str(), one.count));
            lines.push(("Languages of mail that came", languages.collect()));
        }
        lines
    }

    /// As text.
    pub(crate) fn text(&self) -> String {
        let mut text = format!("{}\n\n", self.title());
        for (head, lines) in self.lines() {
            text.push_str(head);
            text.push('\n');
            lines.iter().for_each(|(name, count)| text.push_str(&format!("  {count:>9}  {name}\n")));
            text.push('\n');
        }
        text
    }

    pub(crate) fn title(&self) -> String {
        format!("Mail of {} from {} to {}", self.domain, self.begins, self.ends)
    }

    /// The numbers as tables.
    pub(crate) fn tables(&self) -> Markup {
        html! {
            @for (head, lines) in self.lines() {
                table {
                    caption { (head) }
                    tbody { @for (name, count) in lines { tr { th scope="row" { (name) } td.number { (count) } } } }
                }
            }
        }
    }

    /// A page of its own, to be put on any web site: it asks nothing of anybody.
    pub(crate) fn document(&self) -> Markup {
        html! {
            (DOCTYPE)
            html lang="en" {
                head {
                    meta charset="utf-8";
                    meta name="viewport" content="width=device-width, initial-scale=1";
                    title { (self.title()) }
                    style { (PreEscaped(STYLE)) }
                }
                body { h1 { (self.title()) } (self.tables()) p { "Each message is counted once. Counted by Postern; all times are UTC." } }
            }
        }
    }
}

const STYLE: &str = ":root{color-scheme:light dark}body{font:16px/1.5 system-ui,sans-serif;max-width:40rem;margin:2rem auto;padding:0 1rem}\
    table{border-collapse:collapse;width:100%;margin:1.5rem 0}caption{text-align:left;font-weight:600}\
    th{text-align:left;font-weight:400}th,td{padding:.25rem 0;border-bottom:1px solid #8884}td{text-align:right}";

/// The week that a day is in, both counted since 1970.
pub(crate) fn week_of(day: u64) -> u64 {
    (day + THURSDAY) / DAYS
}

/// The Monday of a week.
pub(crate) fn monday(week: u64) -> u64 {
    (week * DAYS).saturating_sub(THURSDAY)
}

/// A day as `2026-11-23`.
pub(crate) fn date(day: u64) -> String {
    let seconds = i64::try_from(day.saturating_mul(86_400)).unwrap_or(i64::MAX);
    let at = jiff::Timestamp::from_second(seconds).unwrap_or(jiff::Timestamp::MAX);
    at.to_zoned(jiff::tz::TimeZone::UTC).date().to_string()
}

/// The week that a date is in.
pub(crate) fn week_of_date(text: &str) -> Option<u64> {
    let date: Date = text.parse().ok()?;
    let at = date.to_zoned(jiff::tz::TimeZone::UTC).ok()?.timestamp().as_second();
    Some(week_of(u64::try_from(at).ok()? / 86_400))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_week_begins_on_monday() {
        for (date_in, begins) in [
            ("2026-11-23", "2026-11-23"),
            ("2026-11-29", "2026-11-23"),
            ("2026-11-30", "2026-11-30"),
            ("1970-01-05", "1970-01-05"),
        ] {
            assert_eq!(date(monday(week_of_date(date_in).unwrap())), begins, "{date_in}");
        }
        assert_eq!((week_of_date("yesterday"), week_of_date("1900-01-01")), (None, None));
    }

    #[test]
    fn what_is_counted_is_told_in_text_and_on_a_page_that_asks_nobody() {
        let mut week = WeekReport { domain: "<b>.test".to_owned(), ..WeekReport::default() };
        for (counted, count) in [
            ("in accepted", 40),
            ("in spam", 7),
            ("out dane", 3),
            ("in language French", 5),
            ("in language German", 9),
            ("unknown", 9),
        ] {
            week.add(counted, count);
        }
        assert!(week.text().contains("        7  spam that was caught\n"), "{}", week.text());
        assert!(
            week.text()
                .ends_with("Languages of mail that came\n          9  German\n          5  French\n\n")
        );
        let page = week.document().into_string();
        assert!(page.contains("to servers proved by DANE</th><td class=\"number\">3<"), "{page}");
        assert!(!page.contains("<b>") && !page.contains("href") && !page.contains("src="), "{page}");
    }
}
