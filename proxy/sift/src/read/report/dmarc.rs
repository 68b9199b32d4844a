//! Aggregate reports on DMARC (RFC 9990 §3, and RFC 7489 appendix C), in whatever namespace: element by element, nothing nested deeper
//! than they are, no document type, no entities but those of XML itself.

use std::net::IpAddr;

use quick_xml::Reader;
use quick_xml::escape::resolve_predefined_entity;
use quick_xml::events::{BytesRef, Event};

use super::{domain, word};
use crate::report::{Checked, Disposition, DmarcReport, MAX_ROWS, MAX_SIGNATURES, Row};

/// Levels of elements; RFC 9990 has six, extensions some of their own.
const MAX_DEPTH: usize = 32;
/// Octets of an element's text that are looked at.
const MAX_TEXT: usize = 4 << 10;

/// What was read so far.
#[derive(Default)]
struct Reading {
    report: DmarcReport,
    /// The names of the open elements.
    open: Vec<String>,
    text: String,
    record: Record,
    is_feedback: bool,
}

/// A record under way.
#[derive(Default)]
struct Record {
    source: Option<IpAddr>,
    messages: u64,
    disposition: Disposition,
    dkim: bool,
    spf: bool,
    header_from: String,
    overridden: String,
    signatures: Vec<Checked>,
    /// Of `mfrom` rather than of `helo`, where both are there.
    senders: Vec<Checked>,
}

/// Reads one.
pub(super) fn read(xml: &[u8]) -> Result<DmarcReport, &'static str> {
    // Other encodings than UTF-8 are not sent; names in Latin-1 lose a letter.
    let text = String::from_utf8_lossy(xml);
    let mut reader = Reader::from_str(text.trim_start_matches('\u{feff}'));
    let mut reading = Reading::default();
    loop {
        match reader.read_event().map_err(|_| "it is no XML")? {
            Event::Start(element) => reading.begin(element.local_name().as_ref())?,
            Event::Empty(element) => {
                reading.begin(element.local_name().as_ref())?;
                reading.end();
            }
            Event::End(_) => reading.end(),
            Event::Text(text) => reading.add(&text),
            Event::CData(text) => reading.add(&text),
            Event::GeneralRef(reference) => {
                let text = resolved(&reference).ok_or("it has entities of its own")?;
                reading.add(&text);
            }
            Event::DocType(_) => return Err("it has a document type"),
            Event::Eof => break,
            Event::Comment(_) | Event::Decl(_) | Event::PI(_) => {}
        }
    }
    if !reading.open.is_empty() {
        return Err("it breaks off");
    }
    if !reading.is_feedback || reading.report.domain.is_empty() {
        return Err("it is no report of DMARC");
    }
    Ok(reading.report)
}

fn resolved(reference: &BytesRef<'_>) -> Option<String> {
    match reference.resolve_char_ref() {
        Ok(Some(character)) => Some(character.to_string()),
        Ok(None) => resolve_predefined_entity(reference).map(str::to_owned),
        Err(_) => None,
    }
}

impl Reading {
    fn begin(&mut self, name: &str) -> Result<(), &'static str> {
        if self.open.len() >= MAX_DEPTH {
            return Err("it is nested too deep");
        }
        let name = word(name);
        let parent = self.open.last().map_or("", String::as_str);
        match (parent, &*name) {
            ("", "feedback") => self.is_feedback = true,
            ("feedback", "record") => self.record = Record::default(),
            ("auth_results", "dkim") => self.record.signatures.push(Checked::default()),
            ("auth_results", "spf") => self.record.senders.push(Checked::default()),
            _ => {}
        }
        // Of more than are kept the last is written over.
        if self.record.signatures.len() > MAX_SIGNATURES + 1 {
            self.record.signatures.pop();
        }
        if self.record.senders.len() > 2 {
            self.record.senders.pop();
        }
        self.open.push(name);
        self.text.clear();
        Ok(())
    }

    fn add(&mut self, text: &str) {
        let room = MAX_TEXT.saturating_sub(self.text.len());
        self.text.push_str(&text[..text.floor_char_boundary(room)]);
    }

    fn end(&mut self) {
        let Some(name) = self.open.pop() else { return };
        let text = std::mem::take(&mut self.text);
        let parent = self.open.last().map_or("", String::as_str);
        let is_result = self.open.len() > 1 && self.open[self.open.len() - 2] == "auth_results";
        let (report, record) = (&mut self.report, &mut self.record);
        let is_pass = || text.trim().eq_ignore_ascii_case("pass");
        match (parent, &*name) {
            ("report_metadata", "org_name") => report.reporter.organization = word(&text),
            ("report_metadata", "email") => report.reporter.contact = word(&text),
            ("report_metadata", "report_id") => report.reporter.id = word(&text),
            ("date_range", "begin") => report.reporter.begin = number(&text),
            ("date_range", "end") => report.reporter.end = number(&text),
            ("policy_published", "domain") => report.domain = domain(&text),
            ("policy_published", "p") => report.policy = word(&text),
            ("row", "source_ip") => record.source = text.trim().parse().ok(),
            ("row", "count") => record.messages = number(&text),
            ("policy_evaluated", "disposition") => {
                record.disposition = match text.trim() {
                    "quarantine" => Disposition::Quarantine,
                    "reject" => Disposition::Reject,
                    _ => Disposition::None,
                }
            }
            ("policy_evaluated", "dkim") => record.dkim = is_pass(),
            ("policy_evaluated", "spf") => record.spf = is_pass(),
            ("reason", "type") => record.overridden = word(&text),
            ("identifiers", "header_from") => record.header_from = domain(&text),
            ("dkim", "domain") if is_result => set(&mut record.signatures, |one| one.domain = domain(&text)),
            ("dkim", "result") if is_result => set(&mut record.signatures, |one| one.result = word(&text)),
            ("spf", "domain") if is_result => set(&mut record.senders, |one| one.domain = domain(&text)),
            ("spf", "result") if is_result => set(&mut record.senders, |one| one.result = word(&text)),
            ("feedback", "record") => self.keep(),
            _ => {}
        }
    }

    fn keep(&mut self) {
        let record = std::mem::take(&mut self.record);
        let Some(source) = record.source.filter(|_| self.report.rows.len() < MAX_ROWS) else {
            self.report.left_out = self.report.left_out.saturating_add(1);
            self.report.left_out_messages = self.report.left_out_messages.saturating_add(record.messages);
            return;
        };
        let mut signatures = record.signatures;
        signatures.truncate(MAX_SIGNATURES);
        self.report.rows.push(Row {
            source: source.to_canonical(),
            messages: record.messages,
            disposition: record.disposition,
            dkim: record.dkim,
            spf: record.spf,
            header_from: record.header_from,
            overridden: record.overridden,
            signatures,
            sender: record.senders.into_iter().next().unwrap_or_default(),
        });
    }
}

fn set(list: &mut [Checked], change: impl FnOnce(&mut Checked)) {
    if let Some(last) = list.last_mut() {
        change(last);
    }
}

fn number(text: &str) -> u64 {
    text.trim().parse().unwrap_or_default()
}
