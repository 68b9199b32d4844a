//! From facts to a screen of plain text. Nothing from outside reaches the terminal but printable ASCII.

use first_boot::Weight;

use super::{Facts, Service};
use crate::config::Mode;
use crate::report::{CertificateSource, Level, Status};

/// Columns of the screen.
pub const COLUMNS: usize = 80;
/// Rows of it; the last one stays empty, or the terminal would scroll.
pub const ROWS: usize = 25;

/// Where the text beside a label begins.
const INDENT: usize = 12;
/// The most lines of each part, so that none takes the room of another.
const MAX_STATE: usize = 5;
const MAX_INTERFACES: usize = 6;
/// Octets of a fingerprint in one line.
const OCTETS: usize = 16;

/// The whole screen, each line ended.
pub fn screen(facts: &Facts) -> String {
    let mut page = Page { lines: Vec::new() };
    page.title(facts);
    page.state(facts);
    page.interfaces(facts);
    page.fingerprints(facts);
    page.seed(facts);
    page.lines.iter().map(|line| format!("{line}\n")).collect()
}

/// Printable ASCII; anything else is a question mark, be it a control character or one that changes the direction of writing.
fn clean(text: &str) -> String {
    text.chars().map(|c| if c == ' ' || c.is_ascii_graphic() { c } else { '?' }).collect()
}

/// Words of a text in lines of at most `width`; longer words are cut.
fn wrapped(text: &str, width: usize) -> Vec<String> {
    let mut lines = vec![String::new()];
    for word in clean(text).split_ascii_whitespace() {
        let mut rest = word;
        while !rest.is_empty() {
            let line = lines.last_mut().map_or(0, |line| line.len());
            let space = usize::from(line > 0);
            if line > 0 && line + space + rest.len().min(width) > width {
                lines.push(String::new());
                continue;
            }
            let (now, later) = rest.split_at(rest.len().min(width));
            if let Some(line) = lines.last_mut() {
                line.push_str(&" ".repeat(space));
                line.push_str(now);
            }
            rest = later;
        }
    }
    lines.retain(|line| !line.is_empty());
    lines
}

struct Page {
    lines: Vec<String>,
}

impl Page {
    fn room(&self) -> usize {
        (ROWS - 1).saturating_sub(self.lines.len())
    }

    /// A label, and lines beside it: as many as `most` and the screen have room for; the last one says if there were more.
    fn part(&mut self, label: &str, mut beside: Vec<String>, most: usize) {
        let most = most.min(self.room());
        if beside.len() > most {
            let left = beside.len() + 1 - most;
            beside.truncate(most.saturating_sub(1));
            beside.push(format!("... {left} more lines"));
        }
        for (at, line) in beside.into_iter().take(most).enumerate() {
            let label = if at == 0 { label } else { "" };
            let mut line = format!("{label:<INDENT$}{line}");
            // ASCII by now: an octet is a column.
            line.truncate(COLUMNS);
            self.lines.push(line.trim_end().to_owned());
        }
    }

    fn title(&mut self, facts: &Facts) {
        let mode = match facts.mode {
            Some(Mode::Front) => "mode front",
            Some(Mode::Gateway) => "mode gateway",
            Some(Mode::Bridge) => "mode bridge",
            None => "not configured",
        };
        let mut title = format!("Postern {}   {}   {mode}", clean(&facts.version), clean(&facts.hostname));
        title.truncate(COLUMNS);
        self.lines.push(title);
        self.lines.push("-".repeat(COLUMNS - 1));
    }

    fn state(&mut self, facts: &Facts) {
        let width = COLUMNS - INDENT;
        let asking = facts.first_boot.as_ref().and_then(|report| report.asking.as_deref());
        let (label, sentence, advice) = match &facts.service {
            Service::Unconfigured => match asking {
                Some(cloud) => (
                    "Starting",
                    "There is no config yet, so no mail is taken.".to_owned(),
                    format!("{cloud}'s metadata service is being asked for user-data."),
                ),
                None => (
                    "NO CONFIG",
                    "There is no config, so no mail is taken.".to_owned(),
                    "Attach a volume labelled CIDATA with a postern.toml in its file user-data, or give the cloud user-data; then \
                     restart. docs/first-boot.md shows how."
                        .to_owned(),
                ),
            },
            Service::Wrong(why) => (
                "TROUBLE",
                "The config cannot be used, so no mail is taken.".to_owned(),
                format!("{why} - Give a seed with another instance-id and restart."),
            ),
            Service::Silent(why) => (
                "Starting",
                "Postern does not answer; it may still be starting.".to_owned(),
                format!("If this stays, restart the machine. {why}"),
            ),
            Service::Answers(status, _) => {
                let label = match status.state.level {
                    Level::Good => "Good",
                    Level::Attention => "Attention",
                    Level::Bad => "TROUBLE",
                };
                (label, status.state.sentence.clone(), status.state.advice.clone())
            }
        };
        let mut lines = wrapped(&sentence, width);
        lines.extend(wrapped(&advice, width));
        self.part(label, lines, MAX_STATE);
        if let Service::Answers(status, code) = &facts.service {
            self.part("Services", wrapped(&services(status), width), 2);
            if let Some(code) = code {
                let words =
                    format!("{code} makes you the page's administrator, at /first; nobody can log in yet");
                self.part("Code", wrapped(&words, width), 2);
            }
        }
        self.lines.push(String::new());
    }

    fn interfaces(&mut self, facts: &Facts) {
        let mut lines = Vec::new();
        for interface in &facts.interfaces {
            let up = if interface.up { "up" } else { "no cable" };
            let mut head = format!("{:<15} {up:<9}", clean(&interface.name));
            if interface.addresses.is_empty() {
                lines.push(format!("{head}no address"));
            }
            for address in &interface.addresses {
                lines.push(format!("{head}{address}"));
                head = " ".repeat(25);
            }
        }
        if lines.is_empty() {
            lines.push("no network interface is there".to_owned());
        }
        self.part("Addresses", lines, MAX_INTERFACES);
        self.lines.push(String::new());
    }

    fn fingerprints(&mut self, facts: &Facts) {
        if let Service::Answers(status, _) = &facts.service
            && let [first, rest @ ..] = status.certificates.as_slice()
        {
            let source = match first.source {
                CertificateSource::SelfSigned => "self-signed",
                CertificateSource::File { .. } => "from a file",
                CertificateSource::Acme { .. } => "from a CA",
            };
            let name = first.names.first().map_or("no name", String::as_str);
            let more = if rest.is_empty() { String::new() } else { format!(", and {} more", rest.len()) };
            let mut lines = wrapped(&format!("{name}, {source}, SHA-256{more}"), COLUMNS - INDENT);
            lines.truncate(1);
            lines.extend(halves(&first.fingerprint));
            self.part("Certificate", lines, 3);
        }
        if let Some(fingerprint) = &facts.authority {
            let mut lines = vec!["interception CA of this machine, SHA-256".to_owned()];
            lines.extend(halves(fingerprint));
            self.part("Authority", lines, 3);
        }
        if self.lines.last().is_some_and(|line| !line.is_empty()) {
            self.lines.push(String::new());
        }
    }

    fn seed(&mut self, facts: &Facts) {
        let Some(report) = &facts.first_boot else { return };
        let mut lines = wrapped(&report.line, COLUMNS - INDENT);
        let mut notes: Vec<_> = report.notes.iter().collect();
        // What was refused first: the room may not be enough for all.
        notes.sort_by_key(|note| std::cmp::Reverse(note.weight));
        for note in notes.iter().filter(|note| note.weight != Weight::Done) {
            let text = wrapped(&note.to_string(), COLUMNS - INDENT - 2);
            lines.extend(
                text.iter()
                    .enumerate()
                    .map(|(at, line)| format!("{}{line}", if at == 0 { "- " } else { "  " })),
            );
        }
        self.part("First boot", lines, ROWS);
    }
}

/// A fingerprint in two lines.
fn halves(fingerprint: &str) -> Vec<String> {
    let octets: Vec<String> = clean(fingerprint).split(':').map(str::to_owned).collect();
    octets.chunks(OCTETS).take(2).map(|half| half.join(":")).collect()
}

fn services(status: &Status) -> String {
    let mut troubles: Vec<String> = Vec::new();
    for process in status.roles.processes.iter().filter(|process| !process.works) {
        troubles.push(format!("{} is not ready", process.role));
    }
    for listener in &status.listeners {
        if let Some(problem) = &listener.problem {
            troubles.push(format!("{} {}: {problem}", listener.protocol, listener.address));
        }
    }
    if !troubles.is_empty() {
        return troubles.join("; ");
    }
    let ports: Vec<String> =
        status.listeners.iter().map(|listener| listener.address.port().to_string()).collect();
    format!(
        "all work; mail is taken on {}",
        if ports.is_empty() { "no port".to_owned() } else { ports.join(", ") }
    )
}
