//! The header section of content on its way through: which fields are to be left out when it is passed on
//! (DECISIONS 13), how often it was received already, and the loop tokens in it (DECISIONS 11).
//!
//! The section ends at the first line that is neither a field nor its continuation, as servers see it.

use std::ops::Range;

/// What is kept of one field while it is read; longer ones are passed on whole, but only this much of them is looked at.
const MAX_LOOKED_AT: usize = 4096;
/// More fields of ours than anybody forges by mistake; a message with more of them is refused.
pub const MAX_CUTS: usize = 256;
/// Of tokens beyond these nobody needs to know: a message with so many has been here often enough.
const MAX_TOKENS: usize = 256;
/// A letter for the direction and 16 hexadecimal digits.
pub const TOKEN_LENGTH: usize = 17;

/// The mark that a message has passed here in one direction for one recipient.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct LoopToken(pub [u8; TOKEN_LENGTH]);

impl LoopToken {
    fn read(text: &[u8]) -> Option<Self> {
        let token: [u8; TOKEN_LENGTH] = text.try_into().ok()?;
        let sound = matches!(token[0], b'i' | b'o') && token[1..].iter().all(u8::is_ascii_hexdigit);
        sound.then_some(Self(token))
    }
}

/// The word before the tokens in the comment of a Received field.
pub const LOOP_COMMENT: &str = "(loop ";

/// What was found in a header section.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Fields {
    /// Stretches of the content to be left out, ascending, apart.
    pub cuts: Vec<Range<u64>>,
    /// There were more than [`MAX_CUTS`] of them.
    pub too_many_cuts: bool,
    /// Received fields.
    pub received: u32,
    /// Loop tokens, the repeated ones repeatedly.
    pub tokens: Vec<LoopToken>,
    /// The run of Received fields at the top that tell of hops before this Postern, apart from [`Fields::cuts`]; empty
    /// where a signature covers them.
    pub inside: Vec<Range<u64>>,
    /// `TLS-Required: No`: its sender wants it delivered whatever the recipient's domain demands of TLS (RFC 8689 §5).
    pub tls_not_required: bool,
}

impl Fields {
    /// What is left out where the inside is to stay hidden (DECISIONS 13).
    pub fn cuts_hiding_inside(&self) -> Vec<Range<u64>> {
        let mut cuts: Vec<_> = self.cuts.iter().chain(&self.inside).cloned().collect();
        cuts.sort_by_key(|cut| cut.start);
        cuts
    }
}

/// Reads content in pieces.
#[derive(Debug)]
pub struct FieldScanner {
    authserv_id: Box<str>,
    state: State,
    /// Position in the content of what is scanned next.
    position: u64,
    found: Fields,
    /// `X-Spam-Flag` fields: cut at the end, unless a signature covers them.
    spam_flags: Vec<Range<u64>>,
    spam_flag_signed: bool,
    /// Only fields that servers put on top were seen so far, and none of this Postern's.
    in_top_run: bool,
    received_signed: bool,
}

#[derive(Debug)]
enum State {
    /// At the start of a line; the field read so far may go on in it.
    LineStart(Field),
    /// In a line of a field.
    InLine(Field),
    /// The section is over.
    Body,
}

#[derive(Debug, Default)]
struct Field {
    start: u64,
    text: Vec<u8>,
}

impl FieldScanner {
    /// For a Postern whose `Authentication-Results` carry `authserv_id`: such fields are forged when they come in.
    pub fn new(authserv_id: &str) -> Self {
        Self {
            authserv_id: authserv_id.into(),
            state: State::LineStart(Field::default()),
            position: 0,
            found: Fields::default(),
            spam_flags: Vec::new(),
            spam_flag_signed: false,
            in_top_run: true,
            received_signed: false,
        }
    }

    /// The next piece of content.
    pub fn scan(&mut self, mut piece: &[u8]) {
        while !piece.is_empty() {
            match std::mem::replace(&mut self.state, State::Body) {
                State::Body => return,
                State::LineStart(field) => self.start_line(field, piece[0]),
                State::InLine(mut field) => {
                    let end = memchr::memchr(b'\n', piece).map_or(piece.len(), |at| at + 1);
                    let (line, rest) = piece.split_at(end);
                    let room = MAX_LOOKED_AT.saturating_sub(field.text.len());
                    field.text.extend_from_slice(&line[..line.len().min(room)]);
                    self.position += line.len() as u64;
                    piece = rest;
                    self.state =
                        if line.ends_with(b"\n") { State::LineStart(field) } else { State::InLine(field) };
                    self.end_section_if_no_field();
                }
            }
        }
    }

    fn start_line(&mut self, field: Field, first: u8) {
        let continues = matches!(first, b' ' | b'\t') && !field.text.is_empty();
        if continues {
            self.state = State::InLine(field);
            return;
        }
        self.close(&field);
        self.state = State::InLine(Field { start: self.position, text: Vec::new() });
    }

    /// A first line without a field name is the empty line that ends the section, or body already.
    fn end_section_if_no_field(&mut self) {
        if let State::LineStart(field) = &self.state
            && name(&field.text).is_none()
        {
            self.state = State::Body;
        }
    }

    fn close(&mut self, field: &Field) {
        let Some((name, value)) = name(&field.text) else { return };
        let range = field.start..self.position;
        let name = name.to_ascii_lowercase();
        self.in_top_run &= is_put_on_top(&name);
        match name.as_slice() {
            b"received" => {
                self.found.received += 1;
                self.read_tokens(value);
                // What came in through here before and goes out again has left the inside's hops behind at this one.
                self.in_top_run &= !is_by(value, &self.authserv_id);
                if self.in_top_run && self.found.inside.len() < MAX_CUTS {
                    self.found.inside.push(range);
                }
            }
            b"authentication-results" if has_authserv_id(value, &self.authserv_id) => self.cut(range),
            b"tls-required" => {
                self.found.tls_not_required |= value.trim_ascii().eq_ignore_ascii_case(b"no");
            }
            b"x-spam-flag" if self.spam_flags.len() <= MAX_CUTS => self.spam_flags.push(range),
            b"dkim-signature" | b"arc-message-signature" => {
                self.spam_flag_signed |= signs(value, b"x-spam-flag");
                self.received_signed |= signs(value, b"received");
            }
            name if name.starts_with(b"x-postern-") => self.cut(range),
            _ => {}
        }
    }

    fn cut(&mut self, range: Range<u64>) {
        if self.found.cuts.len() >= MAX_CUTS {
            self.found.too_many_cuts = true;
        } else {
            self.found.cuts.push(range);
        }
    }

    fn read_tokens(&mut self, value: &[u8]) {
        let Some(at) = memchr::memmem::find(value, LOOP_COMMENT.as_bytes()) else { return };
        let list = &value[at + LOOP_COMMENT.len()..];
        let list = &list[..memchr::memchr(b')', list).unwrap_or(list.len())];
        for word in list.split(|b| b", \t\r\n".contains(b)).filter(|word| !word.is_empty()) {
            if let Some(token) = LoopToken::read(word)
                && self.found.tokens.len() < MAX_TOKENS
            {
                self.found.tokens.push(token);
            }
        }
    }

    /// What was found, once all content was scanned.
    pub fn finish(mut self) -> Fields {
        if let State::LineStart(field) | State::InLine(field) =
            std::mem::replace(&mut self.state, State::Body)
        {
            self.close(&field);
        }
        if !self.spam_flag_signed {
            std::mem::take(&mut self.spam_flags).into_iter().for_each(|range| self.cut(range));
            self.found.cuts.sort_by_key(|cut| cut.start);
        }
        if self.received_signed {
            self.found.inside.clear();
        }
        self.found
    }
}

/// Fields that a server adds above those that it was given.
fn is_put_on_top(name: &[u8]) -> bool {
    const TRACE: [&[u8]; 6] = [
        b"received",
        b"return-path",
        b"delivered-to",
        b"dkim-signature",
        b"domainkey-signature",
        b"authentication-results",
    ];
    TRACE.contains(&name) || name.starts_with(b"arc-") || name.starts_with(b"x-")
}

/// Whether a Received field was made by this host: its `by` clause names it.
fn is_by(value: &[u8], host: &str) -> bool {
    let mut words = value.split(u8::is_ascii_whitespace).filter(|word| !word.is_empty());
    words.any(|word| word.eq_ignore_ascii_case(b"by"))
        && words.next().is_some_and(|by| by.eq_ignore_ascii_case(host.as_bytes()))
}

/// Splits a field at its colon; `None` if it has no name (RFC 5322 §3.6.8; blanks before the colon are obsolete but read).
fn name(field: &[u8]) -> Option<(&[u8], &[u8])> {
    let colon = memchr::memchr(b':', field)?;
    let name = field[..colon].trim_ascii_end();
    let sound = !name.is_empty() && name.iter().all(|b| (33..=126).contains(b));
    sound.then(|| (name, &field[colon + 1..]))
}

/// Whether an `Authentication-Results` value begins with this authserv-id (RFC 8601 §2.2), comments before it skipped.
fn has_authserv_id(value: &[u8], id: &str) -> bool {
    let mut rest = value.trim_ascii_start();
    while rest.first() == Some(&b'(') {
        let mut depth = 0_usize;
        let end = rest.iter().position(|&b| {
            match b {
                b'(' => depth += 1,
                b')' => depth -= 1,
                _ => {}
            }
            depth == 0
        });
        let Some(end) = end else { return false };
        rest = rest[end + 1..].trim_ascii_start();
    }
    let quoted = rest.strip_prefix(b"\"").unwrap_or(rest);
    let end = quoted.iter().position(|b| b"; \t\r\n\"(".contains(b)).unwrap_or(quoted.len());
    quoted[..end].eq_ignore_ascii_case(id.as_bytes())
}

/// Whether a signature's `h=` names the field (RFC 6376 §3.5).
fn signs(value: &[u8], field: &[u8]) -> bool {
    value.split(|&b| b == b';').any(|tag| {
        let tag = tag.trim_ascii();
        let Some(names) =
            tag.strip_prefix(b"h").map(<[u8]>::trim_ascii_start).and_then(|t| t.strip_prefix(b"="))
        else {
            return false;
        };
        names.split(|&b| b == b':').any(|name| name.trim_ascii().eq_ignore_ascii_case(field))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scan(content: &[u8], size: usize) -> Fields {
        let mut scanner = FieldScanner::new("mx.example.net");
        content.chunks(size).for_each(|piece| scanner.scan(piece));
        scanner.finish()
    }

    fn without_cuts(content: &[u8]) -> String {
        let mut fields = scan(content, content.len());
        for size in 1..content.len() {
            assert_eq!(scan(content, size), fields, "in pieces of {size}");
        }
        let mut kept = content.to_vec();
        while let Some(cut) = fields.cuts.pop() {
            kept.drain(usize::try_from(cut.start).unwrap()..usize::try_from(cut.end).unwrap());
        }
        String::from_utf8(kept).unwrap()
    }

    #[test]
    fn forged_fields_are_cut_and_nothing_else() {
        let content = b"X-Postern-Verdict: pass;\r\n id=x\r\nAuthentication-Results: MX.example.net; spf=pass\r\n\
            Authentication-Results: (c (d)) \"mx.example.net\" 1; dkim=pass\r\nx-spam-flag : YES\r\n\
            Authentication-Results: other.example; spf=pass\r\nSubject: x\r\n\tX-Postern-Verdict: no field\r\n\r\n\
            X-Postern-Verdict: body\r\n";
        assert_eq!(
            without_cuts(content),
            "Authentication-Results: other.example; spf=pass\r\nSubject: x\r\n\tX-Postern-Verdict: no field\r\n\r\n\
             X-Postern-Verdict: body\r\n"
        );
    }

    #[test]
    fn a_signed_spam_flag_stays_and_a_signed_forgery_goes() {
        let content =
            b"DKIM-Signature: v=1; h=From:X-Spam-Flag : X-Postern-Verdict; b=x\r\nX-Spam-Flag: NO\r\n\
            X-Postern-Verdict: pass\r\n\r\n";
        let kept = without_cuts(content);
        assert!(kept.contains("X-Spam-Flag: NO") && !kept.contains("\r\nX-Postern-Verdict: pass"));
    }

    #[test]
    fn the_section_ends_at_the_first_line_that_is_no_field() {
        assert_eq!(without_cuts(b"\r\nX-Postern-Verdict: a\r\n"), "\r\nX-Postern-Verdict: a\r\n");
        assert_eq!(without_cuts(b"no field\r\nX-Postern-A: b\r\n"), "no field\r\nX-Postern-A: b\r\n");
        assert_eq!(without_cuts(b" lead\r\nX-Postern-A: b\r\n"), " lead\r\nX-Postern-A: b\r\n");
        assert_eq!(without_cuts(b"X-Postern-A: b"), "");
    }

    #[test]
    fn passages_and_loop_tokens_are_counted() {
        let content = b"Received: from a by b id 1 (loop i0123456789abcdef,\r\n\to0123456789abcdef); date\r\n\
            received: from c by d (loop x, i123, i0123456789abcdef)\r\nSubject: Received: no\r\n\r\nReceived: body\r\n";
        let fields = scan(content, 7);
        assert_eq!(fields.received, 2);
        let tokens: Vec<_> = fields.tokens.iter().map(|t| std::str::from_utf8(&t.0).unwrap()).collect();
        assert_eq!(tokens, ["i0123456789abcdef", "o0123456789abcdef", "i0123456789abcdef"]);
    }

    #[test]
    fn a_flood_of_forgeries_is_told() {
        let content = b"X-Postern-A: b\r\nB: c\r\n".repeat(MAX_CUTS + 1);
        let fields = scan(&content, 4096);
        assert!(fields.too_many_cuts && fields.cuts.len() == MAX_CUTS);
    }

    fn inside_of(text: &str) -> Vec<String> {
        let mut scanner = FieldScanner::new("mx.example.net");
        for piece in text.as_bytes().chunks(7) {
            scanner.scan(piece);
        }
        let fields = scanner.finish();
        let at = |position: u64| usize::try_from(position).unwrap();
        fields.inside.iter().map(|cut| text[at(cut.start)..at(cut.end)].to_owned()).collect()
    }

    #[test]
    fn the_inside_is_the_run_of_received_fields_at_the_top() {
        let (one, two) = ("Received: from a ([10.0.0.1])\r\n\tby b.inside\r\n", "Received: by c.inside\r\n");
        let signature = "DKIM-Signature: v=1; h=from:subject; b=x\r\n";
        let (subject, from_outside) =
            ("Subject: x\r\n", "Received: from far by mx.example.net with ESMTP\r\n");
        let older = "Received: from further by far\r\n";
        let body = "\r\nReceived: by nobody\r\n";
        assert_eq!(inside_of(&[one, signature, two, subject, older, body].concat()), [one, two]);
        assert_eq!(inside_of(&[one, from_outside, older, subject, body].concat()), [one]);
        let signed = "DKIM-Signature: v=1; h=from:Received; b=x\r\n";
        assert!(inside_of(&[one, two, signed, subject, body].concat()).is_empty());
    }
}
