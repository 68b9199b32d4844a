//! SMTP service extensions: what a server said in its EHLO reply, and the reply in which Postern offers its own.

use crate::reply::{Reply, ReplyCode};

/// More mechanisms than any server has; the rest of an AUTH line is not kept.
const MAX_MECHANISMS: usize = 32;

/// Extensions that Postern knows. What is not here is not passed on: nobody could keep its promise.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Extension {
    /// RFC 4954.
    Auth,
    /// RFC 3030.
    BinaryMime,
    /// RFC 3030.
    Chunking,
    /// RFC 3461.
    Dsn,
    /// RFC 6152.
    EightBitMime,
    /// RFC 2034.
    EnhancedStatusCodes,
    /// RFC 9422.
    Limits,
    /// RFC 2920.
    Pipelining,
    /// RFC 8689.
    RequireTls,
    /// RFC 1870.
    Size,
    /// RFC 6531.
    SmtpUtf8,
    /// RFC 3207.
    StartTls,
    /// Postfix's XCLIENT.
    Xclient,
    /// Postfix's XFORWARD.
    Xforward,
}

const KEYWORDS: [(&str, Extension); 14] = [
    ("AUTH", Extension::Auth),
    ("BINARYMIME", Extension::BinaryMime),
    ("CHUNKING", Extension::Chunking),
    ("DSN", Extension::Dsn),
    ("8BITMIME", Extension::EightBitMime),
    ("ENHANCEDSTATUSCODES", Extension::EnhancedStatusCodes),
    ("LIMITS", Extension::Limits),
    ("PIPELINING", Extension::Pipelining),
    ("REQUIRETLS", Extension::RequireTls),
    ("SIZE", Extension::Size),
    ("SMTPUTF8", Extension::SmtpUtf8),
    ("STARTTLS", Extension::StartTls),
    ("XCLIENT", Extension::Xclient),
    ("XFORWARD", Extension::Xforward),
];

/// What a server offers: the keywords of its EHLO reply.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Capabilities {
    set: u32,
    /// `SIZE n`: `None` without SIZE or without a limit (RFC 1870 §4: 0 is none).
    pub max_size: Option<u64>,
    /// SASL mechanisms, in upper case.
    pub mechanisms: Vec<Box<str>>,
    /// Attributes of XCLIENT, in upper case.
    pub xclient: Vec<Box<str>>,
    /// Attributes of XFORWARD, in upper case.
    pub xforward: Vec<Box<str>>,
    /// `LIMITS RCPTMAX=n`.
    pub max_recipients: Option<u32>,
    /// `LIMITS MAILMAX=n`.
    pub max_transactions: Option<u32>,
}

impl Capabilities {
    /// Reads a positive reply to EHLO; its first line is the greeting.
    pub fn from_ehlo(reply: &Reply) -> Self {
        let mut capabilities = Self::default();
        reply.lines().skip(1).for_each(|line| capabilities.read_line(&String::from_utf8_lossy(line)));
        capabilities
    }

    fn read_line(&mut self, line: &str) {
        let upper = line.to_ascii_uppercase();
        // `AUTH=LOGIN` is what Outlook Express wanted, and what some servers still say beside the real one.
        let mut words = upper.split_ascii_whitespace();
        let Some(keyword) = words.next() else { return };
        let Some(&(_, extension)) = KEYWORDS.iter().find(|(known, _)| *known == keyword) else { return };
        self.insert(extension);
        match extension {
            Extension::Size => self.max_size = words.next().and_then(|n| n.parse().ok()).filter(|&n| n > 0),
            Extension::Auth => {
                let mechanisms = words.filter(|word| is_mechanism(word)).take(MAX_MECHANISMS);
                self.mechanisms = mechanisms.map(Into::into).collect();
            }
            Extension::Xclient => self.xclient = words.take(MAX_MECHANISMS).map(Into::into).collect(),
            Extension::Xforward => self.xforward = words.take(MAX_MECHANISMS).map(Into::into).collect(),
            Extension::Limits => {
                for limit in words {
                    match limit.split_once('=') {
                        Some(("RCPTMAX", n)) => self.max_recipients = n.parse().ok(),
                        Some(("MAILMAX", n)) => self.max_transactions = n.parse().ok(),
                        _ => {}
                    }
                }
            }
            _ => {}
        }
    }

    /// Adds an extension.
    pub fn insert(&mut self, extension: Extension) {
        self.set |= 1 << extension as u32;
    }

    /// Takes an extension out.
    pub fn remove(&mut self, extension: Extension) {
        self.set &= !(1 << extension as u32);
    }

    /// Whether it is offered.
    pub fn has(&self, extension: Extension) -> bool {
        self.set >> (extension as u32) & 1 == 1
    }

    /// What both offer, with the smaller limits; mechanisms and attributes are left out.
    #[must_use]
    pub fn shared_with(&self, other: &Self) -> Self {
        let smaller = |one: Option<u64>, two: Option<u64>| one.into_iter().chain(two).min();
        let fewer = |one: Option<u32>, two: Option<u32>| one.into_iter().chain(two).min();
        Self {
            set: self.set & other.set,
            max_size: smaller(self.max_size, other.max_size),
            max_recipients: fewer(self.max_recipients, other.max_recipients),
            max_transactions: fewer(self.max_transactions, other.max_transactions),
            ..Self::default()
        }
    }

    /// The keywords, in a fixed order: for pages and logs.
    pub fn keywords(&self) -> impl Iterator<Item = &'static str> + '_ {
        KEYWORDS.iter().filter(|(_, extension)| self.has(*extension)).map(|(keyword, _)| *keyword)
    }

    /// The SASL mechanisms that can be passed through two TLS sessions. Channel binding cannot (RFC 5802 §6, RFC 5929):
    /// where a server has `SCRAM-X-PLUS`, a client that knows it would take its absence for an attack, say so, and be
    /// refused; so that whole family goes, and what needs no binding stays.
    pub fn relayable_mechanisms(&self) -> Vec<Box<str>> {
        let bound: Vec<&str> = self.mechanisms.iter().filter_map(|m| m.strip_suffix("-PLUS")).collect();
        // EXTERNAL rests on the client's certificate, which is not passed on.
        let passes = |m: &str| !m.ends_with("-PLUS") && !bound.contains(&m) && m != "EXTERNAL";
        self.mechanisms.iter().filter(|m| passes(m)).cloned().collect()
    }

    /// The reply to EHLO that offers this.
    pub fn to_ehlo_reply(&self, greeting: &str) -> Reply {
        let mut text = greeting.to_owned();
        for (keyword, extension) in KEYWORDS.iter().filter(|(_, extension)| self.has(*extension)) {
            text.push('\n');
            text.push_str(keyword);
            match extension {
                Extension::Size => self.max_size.iter().for_each(|n| text.push_str(&format!(" {n}"))),
                Extension::Auth => self.mechanisms.iter().for_each(|m| text.push_str(&format!(" {m}"))),
                Extension::Limits => {
                    self.max_transactions.iter().for_each(|n| text.push_str(&format!(" MAILMAX={n}")));
                    self.max_recipients.iter().for_each(|n| text.push_str(&format!(" RCPTMAX={n}")));
                }
                _ => {}
            }
        }
        Reply::new(ReplyCode::fixed(250), None, text)
    }
}

/// RFC 4422 §3.1. What is no mechanism's name is not offered on: a client's terminal or log would be the next to read it.
fn is_mechanism(word: &str) -> bool {
    let letter = |b: u8| b.is_ascii_uppercase() || b.is_ascii_digit() || b == b'-' || b == b'_';
    (1..=20).contains(&word.len()) && word.bytes().all(letter)
}

impl FromIterator<Extension> for Capabilities {
    fn from_iter<I: IntoIterator<Item = Extension>>(extensions: I) -> Self {
        let mut capabilities = Self::default();
        extensions.into_iter().for_each(|extension| capabilities.insert(extension));
        capabilities
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(lines: &str) -> Capabilities {
        Capabilities::from_ehlo(&Reply::new(ReplyCode::fixed(250), None, lines))
    }

    #[test]
    fn an_offer_reads_back_as_written() {
        let text = "mx.example\nAUTH PLAIN LOGIN\nCHUNKING\n8BITMIME\nLIMITS MAILMAX=5 RCPTMAX=100\nPIPELINING\nSIZE 1000";
        let capabilities = read(text);
        assert_eq!(capabilities.max_size, Some(1000));
        assert_eq!((capabilities.max_transactions, capabilities.max_recipients), (Some(5), Some(100)));
        assert_eq!(capabilities.to_ehlo_reply("mx.example"), Reply::new(ReplyCode::fixed(250), None, text));
        assert!(capabilities.has(Extension::Chunking) && !capabilities.has(Extension::StartTls));
    }

    #[test]
    fn what_is_not_known_is_not_taken_over() {
        let capabilities = read("hello STARTTLS\nX-EXPS GSSAPI NTLM\nXEXCH50\nAUTH=LOGIN\nsize 0\nVRFY");
        assert_eq!(capabilities.keywords().collect::<Vec<_>>(), ["SIZE"]);
        assert_eq!(capabilities.max_size, None);
        assert!(capabilities.mechanisms.is_empty());
    }

    #[test]
    fn names_that_are_no_mechanisms_are_not_offered_on() {
        let capabilities =
            read("mx\nAUTH PLAIN A\u{1b}[2J LOGIN,X AAAAAAAAAAAAAAAAAAAAA \u{b}LOGIN SCRAM-SHA-1");
        assert_eq!(capabilities.mechanisms, ["PLAIN".into(), "SCRAM-SHA-1".into()]);
    }

    #[test]
    fn what_two_servers_share_is_what_either_can_be_given() {
        let one = read("mx\nSIZE 1000\n8BITMIME\nSMTPUTF8\nLIMITS RCPTMAX=10");
        let two = read("mx\nSIZE\n8BITMIME\nLIMITS RCPTMAX=100 MAILMAX=5");
        let shared = one.shared_with(&two);
        assert_eq!(shared.keywords().collect::<Vec<_>>(), ["8BITMIME", "LIMITS", "SIZE"]);
        assert_eq!(
            (shared.max_size, shared.max_recipients, shared.max_transactions),
            (Some(1000), Some(10), Some(5))
        );
    }

    #[test]
    fn channel_binding_takes_its_family_along() {
        let capabilities = read("mx\nAUTH PLAIN SCRAM-SHA-1 SCRAM-SHA-256 SCRAM-SHA-256-PLUS EXTERNAL");
        assert_eq!(capabilities.relayable_mechanisms(), ["PLAIN".into(), "SCRAM-SHA-1".into()]);
    }
}
