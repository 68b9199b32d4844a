//! A trace on a real folder: what is found, what stays over a restart and a crash, what goes.
#![allow(clippy::unwrap_used, reason = "what fails here fails the test")]

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use proptest::prelude::*;
use serde::{Deserialize, Serialize};
use tempfile::TempDir;
use trace::{Bounds, Entry, Field, Place, Search, Terms, Trace, Wanted};

const FROM: Field = Field(1);
const SUBJECT: Field = Field(2);
const VERDICT: Field = Field(3);

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Mail {
    at: u64,
    from: String,
    subject: String,
    verdict: String,
}

impl Entry for Mail {
    fn at(&self) -> Duration {
        Duration::from_secs(self.at)
    }

    fn describe(&self, terms: &mut Terms) {
        terms.text(FROM, &self.from);
        terms.text(SUBJECT, &self.subject);
        terms.exactly(VERDICT, &self.verdict);
    }
}

const BOUNDS: Bounds = Bounds { octets: 1 << 30, age: Duration::from_secs(1_000_000_000) };

fn mail(number: u64) -> Mail {
    Mail {
        at: 1_000_000 + number,
        from: format!("user{}@domain{}.example", number % 977, number % 13),
        subject: format!("Rechnung Nr. {number} für Ärzte"),
        verdict: if number.is_multiple_of(10) { "reject" } else { "pass" }.to_owned(),
    }
}

fn open(folder: &Path) -> Trace<Mail> {
    Trace::open(folder.to_owned(), BOUNDS).unwrap()
}

fn filled(count: u64) -> (TempDir, Trace<Mail>) {
    let folder = TempDir::new().unwrap();
    let trace = open(folder.path());
    (0..count).for_each(|number| trace.append(&mail(number)).unwrap());
    (folder, trace)
}

fn search(wanted: Wanted) -> Search {
    Search { wanted, since: Duration::ZERO, before: None, last: 10, looks: 1_000_000 }
}

/// Numbers of what is found.
fn found(trace: &Trace<Mail>, search: &Search, fits: impl FnMut(&Mail) -> bool) -> Vec<u64> {
    let found = trace.search(search, fits).unwrap();
    found.entries.iter().map(|(_, mail)| mail.at - 1_000_000).collect()
}

fn files(folder: &Path, extension: &str) -> Vec<PathBuf> {
    let paths = fs::read_dir(folder).unwrap().map(|file| file.unwrap().path());
    let mut paths: Vec<_> =
        paths.filter(|path| path.extension().is_some_and(|have| have == extension)).collect();
    paths.sort();
    paths
}

/// Two full segments and some more.
const MANY: u64 = 2 * 16_384 + 500;

#[test]
fn any_part_of_a_text_finds_the_newest_first_in_every_segment() {
    let (folder, trace) = filled(MANY);
    assert_eq!(files(folder.path(), "records").len(), 2);
    let of_user = search(Wanted::default().contains(FROM, "USER500@").contains(FROM, "domain7."));
    let expected: Vec<u64> =
        (0..MANY).rev().filter(|number| number % 977 == 500 && number % 13 == 7).collect();
    assert_eq!(found(&trace, &of_user, |_| true), expected);
    let one = search(Wanted::default().contains(SUBJECT, "nr. 4711 FÜR ä"));
    assert_eq!(found(&trace, &one, |_| true), [4711]);
    let rejected = search(Wanted::default().is(VERDICT, "reject"));
    assert_eq!(found(&trace, &rejected, |_| true)[..3], [33_260, 33_250, 33_240]);
    let nothing = search(Wanted::default().contains(FROM, "nobody@"));
    assert!(found(&trace, &nothing, |_| true).is_empty());
    // Two octets have no key: every entry is looked at.
    let short = search(Wanted::default().contains(SUBJECT, " 9"));
    assert_eq!(found(&trace, &short, |mail| mail.subject.contains(" 9 ")), [9]);
    let either =
        search(Wanted::default().contains_in(&[FROM, SUBJECT], "user976@domain1.").is(VERDICT, "reject"));
    assert!(found(&trace, &either, |_| true).iter().all(|number| number % 977 == 976 && number % 10 == 0));
}

#[test]
fn who_looks_further_back_goes_on_where_the_search_stopped() {
    let (_folder, trace) = filled(MANY);
    let mut search = Search { last: 700, ..search(Wanted::default().is(VERDICT, "reject")) };
    let mut all = Vec::new();
    loop {
        let page = trace.search(&search, |_| true).unwrap();
        all.extend(page.entries.iter().map(|(_, mail)| mail.at - 1_000_000));
        search.before = page.reached;
        if page.reached.is_none() {
            break;
        }
    }
    assert_eq!(all, (0..MANY).rev().filter(|number| number % 10 == 0).collect::<Vec<_>>());
    // Also where nothing fits: work is bounded, and what was looked through is said.
    let hopeless = Search { looks: 1000, before: None, ..search.clone() };
    let page = trace.search(&hopeless, |_| false).unwrap();
    assert!(page.entries.is_empty() && page.reached.is_some_and(|place| place < Place(MANY - 9000)));
    let late =
        Search { since: Duration::from_secs(1_000_000 + MANY - 25), last: 100, before: None, ..search };
    assert_eq!(found(&trace, &late, |_| true).len(), 2);
}

#[test]
fn what_was_flushed_is_there_after_a_restart_and_numbers_go_on() {
    let (folder, trace) = filled(MANY);
    trace.flush().unwrap();
    drop(trace);
    let trace = open(folder.path());
    trace.append(&mail(MANY)).unwrap();
    let newest = trace.search(&Search { last: 3, ..search(Wanted::default()) }, |_| true).unwrap();
    let places: Vec<_> = newest.entries.iter().map(|(place, mail)| (place.0, mail.at - 1_000_000)).collect();
    assert_eq!(places, [(MANY, MANY), (MANY - 1, MANY - 1), (MANY - 2, MANY - 2)]);
    assert_eq!(trace.extent().1, MANY + 1);
    let (mut place, mut count) = (Place(0), 0);
    trace.flush().unwrap();
    while let Some((entries, behind)) = trace.forward(place).unwrap() {
        assert_eq!(entries[0], mail(place.0));
        (place, count) = (behind, count + entries.len() as u64);
    }
    assert_eq!(count, MANY + 1, "forward, everything once");
}

#[test]
fn half_a_block_is_what_a_crash_costs() {
    let (folder, trace) = filled(300);
    trace.flush().unwrap();
    drop(trace);
    let log = files(folder.path(), "log").remove(0);
    let length = fs::metadata(&log).unwrap().len();
    fs::File::options().write(true).open(&log).unwrap().set_len(length - 5).unwrap();
    let trace = open(folder.path());
    let left = trace.extent().1;
    assert_eq!(left, 256, "four full blocks");
    trace.append(&mail(1000)).unwrap();
    assert_eq!(found(&trace, &search(Wanted::default().contains(SUBJECT, "Nr. 1000")), |_| true), [1000]);
}

#[test]
fn a_crash_at_any_moment_of_closing_a_segment_loses_and_doubles_nothing() {
    let (folder, trace) = filled(16_384 + 1);
    trace.flush().unwrap();
    drop(trace);
    let records = files(folder.path(), "records").remove(0);
    let (index, log) = (records.with_extension("index"), records.with_extension("log"));
    let as_it_was = |trace: Trace<Mail>| {
        assert_eq!(trace.extent().1, 16_385);
        let wanted = search(Wanted::default().contains(SUBJECT, "Nr. 77 "));
        assert_eq!(found(&trace, &wanted, |mail| mail.subject.contains("Nr. 77 ")), [77]);
        assert!(files(folder.path(), "new").is_empty());
    };
    // The index has no name yet, and what was written of it is half.
    fs::write(index.with_extension("index.new"), "half").unwrap();
    fs::remove_file(&index).unwrap();
    as_it_was(open(folder.path()));
    // The log was not removed yet.
    fs::copy(&records, &log).unwrap();
    as_it_was(open(folder.path()));
    assert!(!log.exists());
    // The records have no name yet: the log is all there is.
    fs::rename(&records, &log).unwrap();
    as_it_was(open(folder.path()));
    // The index is damaged.
    let records = files(folder.path(), "records").remove(0);
    let mut octets = fs::read(&index).unwrap();
    octets[40] ^= 1;
    fs::write(&index, octets).unwrap();
    as_it_was(open(folder.path()));
    assert!(records.exists());
}

#[test]
fn a_damaged_block_costs_its_entries_alone() {
    let (folder, trace) = filled(16_384 + 1);
    drop(trace);
    let records = files(folder.path(), "records").remove(0);
    let mut octets = fs::read(&records).unwrap();
    let middle = octets.len() / 2;
    octets[middle] ^= 0x40;
    fs::write(&records, octets).unwrap();
    let trace = open(folder.path());
    let all = found(&trace, &Search { last: 100_000, ..search(Wanted::default()) }, |_| true);
    assert!((16_384 - 64..16_384).contains(&all.len()), "{}", all.len());
}

#[test]
fn entries_that_came_one_by_one_are_packed_when_their_segment_is_full() {
    let folder = TempDir::new().unwrap();
    let trace = open(folder.path());
    for number in 0..16_384 {
        if number == 16_383 {
            let log = files(folder.path(), "log").remove(0);
            assert!(fs::metadata(log).unwrap().len() > 16_000 * 100);
        }
        trace.append(&mail(number)).unwrap();
        trace.flush().unwrap();
    }
    let records = files(folder.path(), "records").remove(0);
    assert!(fs::metadata(records).unwrap().len() < 16_384 * 60);
    assert_eq!(found(&trace, &search(Wanted::default().contains(SUBJECT, "Nr. 4711 ")), |_| true), [4711]);
}

#[test]
fn age_and_size_are_bounds() {
    let folder = TempDir::new().unwrap();
    let bounds = Bounds { octets: 1 << 30, age: Duration::from_secs(16_000) };
    let trace = Trace::open(folder.path().to_owned(), bounds).unwrap();
    for number in 0..20_000 {
        trace.append(&mail(number)).unwrap();
        if number % 100 == 0 {
            trace.tidy(Duration::from_secs(1_000_000 + number)).unwrap();
        }
    }
    let (_, entries, oldest) = trace.extent();
    assert!((15_900..17_200).contains(&entries), "{entries}");
    assert!(oldest.is_some_and(|at| at >= Duration::from_secs(1_000_000 + 20_000 - 17_200)));
    let all = trace.extent().0;
    drop(trace);
    let bounds = Bounds { octets: all / 2, age: BOUNDS.age };
    let trace: Trace<Mail> = Trace::open(folder.path().to_owned(), bounds).unwrap();
    trace.tidy(Duration::from_secs(1_020_000)).unwrap();
    assert!(trace.extent().0 <= all / 2);
    assert!(trace.shed().unwrap());
    assert!(trace.extent().0 < all / 2);
}

#[test]
fn an_entry_over_the_bound_is_refused_and_the_next_is_kept() {
    let (_folder, trace) = filled(1);
    let large = Mail { subject: "x".repeat(Bounds::ENTRY), ..mail(1) };
    assert!(trace.append(&large).unwrap_err().to_string().contains("are the most"));
    trace.append(&Mail { subject: "y".repeat(Bounds::ENTRY - 200), ..mail(2) }).unwrap();
    trace.append(&mail(3)).unwrap();
    assert_eq!(found(&trace, &search(Wanted::default()), |_| true), [3, 2, 0]);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn a_search_finds_what_a_look_at_each_entry_finds(
        subjects in prop::collection::vec("[abAB é]{0,6}", 1..300),
        wanted in "[abAB é]{0,4}",
        flush_at in prop::collection::vec(0_usize..300, 0..5),
    ) {
        let folder = TempDir::new().unwrap();
        let trace = open(folder.path());
        for (number, subject) in subjects.iter().enumerate() {
            trace.append(&Mail { subject: subject.clone(), ..mail(number as u64) }).unwrap();
            if flush_at.contains(&number) {
                trace.flush().unwrap();
            }
        }
        let fits = |subject: &str| subject.to_lowercase().contains(&wanted.to_lowercase());
        let search = Search { last: 1000, ..search(Wanted::default().contains(SUBJECT, &wanted)) };
        let numbers = found(&trace, &search, |mail| fits(&mail.subject));
        let expected: Vec<u64> =
            (0..subjects.len()).rev().filter(|n| fits(&subjects[*n])).map(|n| n as u64).collect();
        prop_assert_eq!(numbers, expected);
    }
}
