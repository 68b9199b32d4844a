//! The part of a report that programs read (RFC 3464 §2, RFC 6533 §4).

use smtp::{EnhancedCode, Reply, TransactionId};

use super::{Fate, MAX_WORDS, Outcome, Report, Speaker, Told};

/// RFC 3461 §4.2 and §4.4 allow 500 and 100 octets.
const MAX_NAMED: usize = 500;
/// Where a field's text is continued on the next line; RFC 5322 §2.1.1 wants at most 78.
const WIDTH: usize = 76;
/// What has no space within this many octets is broken all the same: a line may have 998.
const UNBROKEN: usize = 500;

/// The groups of fields, an empty line between them.
pub(super) fn fields(report: &Report<'_>) -> String {
    let mut fields = Fields { text: String::with_capacity(512), international: report.is_international() };
    let original = report.original;
    if let Some(envid) = original.envelope.mail.envid.as_deref().and_then(decode_xtext) {
        fields.put("Original-Envelope-Id", &envid);
    }
    fields.put("Reporting-MTA", &format!("dns; {}", report.reporter.hostname));
    fields.put("Arrival-Date", &record::rfc5322_date(original.received_at));
    for told in report.told {
        fields.text.push_str("\r\n");
        recipient(&mut fields, told, original.transaction);
    }
    fields.text
}

fn recipient(fields: &mut Fields, told: &Told<'_>, transaction: TransactionId) {
    let Told { rcpt, fate } = told;
    if let Some((kind, address)) = rcpt.orcpt.as_deref().and_then(|orcpt| orcpt.split_once(';')) {
        fields.put_address("Original-Recipient", kind, decode_xtext(address));
    }
    let address = rcpt.forward_path.as_str();
    let kind = if address.is_ascii() { "rfc822" } else { "utf-8" };
    fields.put_address("Final-Recipient", kind, Some(address.to_owned()));
    fields.put("Action", action(fate.outcome));
    fields.put("Status", &status(fate).to_string());
    if let Speaker::World(server) = fate.speaker {
        fields.put("Remote-MTA", &format!("dns; {server}"));
    }
    fields.put_words("Diagnostic-Code", fate);
    if let Some(at) = fate.last_attempt {
        fields.put("Last-Attempt-Date", &record::rfc5322_date(at));
    }
    fields.put("Final-Log-ID", &transaction.to_string());
    if let Outcome::Delayed { retry_until } = fate.outcome {
        fields.put("Will-Retry-Until", &record::rfc5322_date(retry_until));
    }
}

fn action(outcome: Outcome) -> &'static str {
    match outcome {
        Outcome::Failed | Outcome::Expired => "failed",
        Outcome::Delayed { .. } => "delayed",
        Outcome::Relayed => "relayed",
    }
}

/// The server's own, where it agrees with the outcome.
pub(super) fn status(fate: &Fate<'_>) -> EnhancedCode {
    let class = match fate.outcome {
        // Delivery time expired (RFC 3463 §3.5).
        Outcome::Expired => return EnhancedCode(4, 4, 7),
        Outcome::Failed => 5,
        Outcome::Delayed { .. } => 4,
        Outcome::Relayed => 2,
    };
    let said = fate.reply.enhanced().filter(|&EnhancedCode(said, ..)| said == class);
    said.unwrap_or(EnhancedCode(class, 0, 0))
}

/// Fields in the making.
struct Fields {
    text: String,
    /// They may hold UTF-8.
    international: bool,
}

impl Fields {
    /// One field of a line; nothing in `value` ends it.
    fn put(&mut self, name: &str, value: &str) {
        let value = one_line(value, self.international);
        ["", name, ": ", &value, "\r\n"].iter().for_each(|part| self.text.push_str(part));
    }

    /// An address of a type, unless it is none that could be written.
    fn put_address(&mut self, name: &str, kind: &str, address: Option<String>) {
        let is_type = !kind.is_empty() && kind.len() <= 40 && kind.bytes().all(is_atom);
        let Some(address) = address.filter(|address| is_type && address.len() <= MAX_NAMED) else { return };
        match self.international || !kind.eq_ignore_ascii_case("utf-8") {
            true => self.put(name, &format!("{kind}; {address}")),
            false => self.put(name, &format!("{kind}; {}", ascii_form(&address))),
        }
    }

    /// What was said, folded (RFC 5322 §2.2.3), each line of a reply on a line of its own.
    fn put_words(&mut self, name: &str, fate: &Fate<'_>) {
        let kind = if fate.speaker == Speaker::Postern { "x-postern" } else { "smtp" };
        self.text.push_str(&format!("{name}: {kind};"));
        let mut column = name.len() + kind.len() + 3;
        for line in spoken(fate.reply) {
            for word in one_line(&line, self.international).split(' ').filter(|word| !word.is_empty()) {
                column = self.put_word(word, column);
            }
            column = WIDTH;
        }
        self.text.push_str("\r\n");
    }

    /// The column after it.
    fn put_word(&mut self, mut word: &str, mut column: usize) -> usize {
        while !word.is_empty() {
            if column + word.len() >= WIDTH {
                self.text.push_str("\r\n   ");
                column = 3;
            }
            let (now, rest) = word.split_at(boundary_before(word, UNBROKEN));
            self.text.push(' ');
            self.text.push_str(now);
            column += 1 + now.len();
            word = rest;
        }
        column
    }
}

/// The lines of a reply as they were said, code in front, [`MAX_WORDS`] octets of them.
pub(super) fn spoken(reply: &Reply) -> Vec<String> {
    let head = reply.enhanced().map_or_else(String::new, |enhanced| format!("{enhanced} "));
    let mut left = MAX_WORDS;
    let mut lines = Vec::new();
    for line in reply.lines() {
        let kept = &line[..line.len().min(left)];
        left -= kept.len();
        lines.push(format!("{} {head}{}", reply.code().get(), String::from_utf8_lossy(kept)));
        if left == 0 {
            break;
        }
    }
    lines
}

/// Control characters become spaces; what is beyond ASCII a question mark, unless it may stay.
pub(super) fn one_line(text: &str, international: bool) -> String {
    let shown = |c: char| match c {
        _ if c.is_control() || matches!(c, '\u{2028}' | '\u{2029}') => ' ',
        _ if international || c.is_ascii() => c,
        _ => '?',
    };
    text.chars().map(shown).collect()
}

/// `utf-8-addr-xtext` (RFC 6533 §3).
fn ascii_form(address: &str) -> String {
    let mut form = String::with_capacity(address.len());
    for c in address.chars() {
        match c {
            '!'..='~' if !matches!(c, '+' | '=') => form.push(c),
            _ => form.push_str(&format!("\\x{{{:X}}}", u32::from(c))),
        }
    }
    form
}

/// xtext (RFC 3461 §4) as what was meant; `None` where that is no text, or longer than allowed.
fn decode_xtext(text: &str) -> Option<String> {
    let mut decoded = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&first, behind)) = rest.split_first() {
        let hex = behind.get(..2).filter(|_| first == b'+');
        let octet = hex
            .and_then(|hex| std::str::from_utf8(hex).ok())
            .filter(|hex| hex.bytes().all(|digit| digit.is_ascii_hexdigit()))
            .and_then(|hex| u8::from_str_radix(hex, 16).ok());
        match octet {
            Some(octet) => {
                decoded.push(octet);
                rest = &behind[2..];
            }
            // What is not encoded properly is taken as it came.
            None => {
                decoded.push(first);
                rest = behind;
            }
        }
    }
    String::from_utf8(decoded).ok().filter(|text| text.len() <= MAX_NAMED)
}

fn is_atom(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_')
}

/// The largest number of octets up to `most` that ends between characters.
fn boundary_before(text: &str, most: usize) -> usize {
    (0..=most.min(text.len())).rev().find(|&at| text.is_char_boundary(at)).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn xtext_is_read_as_what_was_meant() {
        assert_eq!(decode_xtext("a+20b+3Dc+2B").as_deref(), Some("a b=c+"));
        assert_eq!(decode_xtext("odd+2").as_deref(), Some("odd+2"));
        assert_eq!(decode_xtext("odd++1z").as_deref(), Some("odd++1z"));
        assert_eq!(decode_xtext("+FF"), None);
        assert_eq!(decode_xtext(&"x".repeat(501)), None);
    }

    #[test]
    fn addresses_beyond_ascii_have_an_ascii_form() {
        assert_eq!(ascii_form("üser+a@x.example"), "\\x{FC}ser\\x{2B}a@x.example");
    }
}
