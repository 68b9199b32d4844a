//! Domains, mailboxes and paths (RFC 5321 §4.1.2, RFC 6531 §3.3), kept as they came so that they are passed on byte for
//! byte, with what routing needs beside it.

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

/// RFC 5321 §4.5.3.1.2.
pub const MAX_DOMAIN: usize = 255;
/// RFC 5321 §4.5.3.1.1 says 64, mailing lists' reverse-paths (VERP, SRS) go beyond; this bounds what is stored of one.
pub const MAX_LOCAL_PART: usize = 256;

/// Why something is no address.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AddressError {
    /// Neither a domain name nor an address literal.
    #[error("the domain is not valid")]
    Domain,
    /// A local part that is neither dot-string nor quoted-string.
    #[error("the local part is not valid")]
    LocalPart,
    /// No `<`, no `>`, or no `@`.
    #[error("expected an address in angle brackets")]
    Brackets,
    /// `<@one,@two:user@example>`: obsolete, and a way around relay checks.
    #[error("source routes are not accepted")]
    SourceRoute,
    /// Beyond [`MAX_DOMAIN`] or [`MAX_LOCAL_PART`].
    #[error("the address is too long")]
    TooLong,
}

/// A domain name, in A-labels and lower case: what is compared and looked up.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Domain(Box<str>);

impl Domain {
    /// As text, lower case, A-labels, without a final dot.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for Domain {
    type Err = AddressError;

    /// Reads a domain name in any case, with U-labels (RFC 5890) or A-labels.
    fn from_str(text: &str) -> Result<Self, AddressError> {
        let text = text.strip_suffix('.').unwrap_or(text);
        if text.is_ascii() {
            return if is_domain(text) {
                Ok(Self(text.to_ascii_lowercase().into()))
            } else {
                Err(AddressError::Domain)
            };
        }
        if text.len() > MAX_DOMAIN {
            return Err(AddressError::TooLong);
        }
        let ascii = idna::domain_to_ascii_strict(text).map_err(|_| AddressError::Domain)?;
        if is_domain(&ascii) { Ok(Self(ascii.into())) } else { Err(AddressError::Domain) }
    }
}

/// Labels of letters, digits, hyphens; underscores too, since hosts with them send mail.
fn is_domain(text: &str) -> bool {
    !text.is_empty()
        && text.len() <= MAX_DOMAIN
        && text.split('.').all(|label| {
            (1..=63).contains(&label.len())
                && !label.starts_with('-')
                && !label.ends_with('-')
                && label.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_')
        })
}

impl fmt::Display for Domain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for Domain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Domain({})", self.0)
    }
}

/// What stands behind the `@`.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Host {
    /// A domain name.
    Name(Domain),
    /// An address literal: `[192.0.2.1]`, `[IPv6:2001:db8::1]`.
    Literal(IpAddr),
}

/// `local-part@host`, as it was written.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Mailbox {
    text: Box<str>,
    at: usize,
    host: Host,
}

impl Mailbox {
    /// The whole address as it was written.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// The local part as it was written, quotes included.
    pub fn local_part(&self) -> &str {
        &self.text[..self.at]
    }

    /// What stands behind the `@`.
    pub fn host(&self) -> &Host {
        &self.host
    }

    /// The domain, unless it is an address literal.
    pub fn domain(&self) -> Option<&Domain> {
        match &self.host {
            Host::Name(domain) => Some(domain),
            Host::Literal(_) => None,
        }
    }

    /// Whether it can only be named with SMTPUTF8 (RFC 6531).
    pub fn needs_smtputf8(&self) -> bool {
        !self.text.is_ascii()
    }

    /// Whether the local part routes on by itself (`user%other.example`, `other!user`): an old way to make a relay of
    /// a server that trusts its neighbour (DECISIONS 10).
    pub fn has_routing_local_part(&self) -> bool {
        self.local_part().contains(['%', '!', '@'])
    }
}

impl FromStr for Mailbox {
    type Err = AddressError;

    fn from_str(text: &str) -> Result<Self, AddressError> {
        if text.len() > MAX_LOCAL_PART + 1 + MAX_DOMAIN {
            return Err(AddressError::TooLong);
        }
        let at = local_part_length(text)?;
        if at > MAX_LOCAL_PART {
            return Err(AddressError::TooLong);
        }
        let host = text[at..].strip_prefix('@').ok_or(AddressError::LocalPart)?;
        Ok(Self { host: parse_host(host)?, at, text: text.into() })
    }
}

impl fmt::Display for Mailbox {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl fmt::Debug for Mailbox {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Mailbox({})", self.text)
    }
}

/// Length of the dot-string or quoted-string at the head of `text`.
fn local_part_length(text: &str) -> Result<usize, AddressError> {
    if text.starts_with('"') {
        return quoted_length(text);
    }
    let length = text.find('@').ok_or(AddressError::LocalPart)?;
    // Dots at the ends or doubled break the grammar, but such mailboxes exist and servers take them.
    let atom = |c: char| !c.is_ascii() || c.is_ascii_alphanumeric() || "!#$%&'*+-/=?^_`{|}~.".contains(c);
    if length == 0 || !text[..length].chars().all(|c| atom(c) && !misleads(c)) {
        return Err(AddressError::LocalPart);
    }
    Ok(length)
}

/// Control characters, and those that turn the direction or the line of what stands beside them: an address is shown in
/// logs and on pages.
fn misleads(c: char) -> bool {
    c.is_control() || matches!(c, '\u{200E}' | '\u{200F}' | '\u{2028}'..='\u{202E}' | '\u{2066}'..='\u{2069}')
}

/// Length of the quoted-string at the head of `text`, quotes included.
fn quoted_length(text: &str) -> Result<usize, AddressError> {
    let mut escaped = false;
    for (at, c) in text.char_indices().skip(1) {
        if misleads(c) {
            return Err(AddressError::LocalPart);
        }
        match c {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            '"' => return Ok(at + 1),
            _ => {}
        }
    }
    Err(AddressError::LocalPart)
}

fn parse_host(text: &str) -> Result<Host, AddressError> {
    let Some(literal) = text.strip_prefix('[') else { return Ok(Host::Name(text.parse()?)) };
    let literal = literal.strip_suffix(']').ok_or(AddressError::Domain)?;
    let address = match literal.get(..5) {
        Some(tag) if tag.eq_ignore_ascii_case("IPv6:") => literal[5..].parse().map(IpAddr::V6),
        _ => literal.parse().map(IpAddr::V4),
    };
    address.map(Host::Literal).map_err(|_| AddressError::Domain)
}

/// Where non-delivery reports go: `MAIL FROM:<…>`.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum ReversePath {
    /// `<>`: the message is itself a report.
    Null,
    /// A mailbox.
    Mailbox(Mailbox),
}

impl ReversePath {
    /// The address without brackets; empty for the null one.
    pub fn as_str(&self) -> &str {
        match self {
            Self::Null => "",
            Self::Mailbox(mailbox) => mailbox.as_str(),
        }
    }
}

/// Whom the message is for: `RCPT TO:<…>`.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum ForwardPath {
    /// `<postmaster>` without a domain, as RFC 5321 §4.1.1.3 demands it; kept in the case it came in.
    Postmaster(Box<str>),
    /// A mailbox.
    Mailbox(Mailbox),
}

impl ForwardPath {
    /// The address without brackets.
    pub fn as_str(&self) -> &str {
        match self {
            Self::Postmaster(text) => text,
            Self::Mailbox(mailbox) => mailbox.as_str(),
        }
    }

    /// The domain, if it names one.
    pub fn domain(&self) -> Option<&Domain> {
        match self {
            Self::Postmaster(_) => None,
            Self::Mailbox(mailbox) => mailbox.domain(),
        }
    }
}

/// Splits `<path> PARAMETERS` into what is between the brackets and what follows them. Spaces before the `<` are
/// skipped: many programs put one there, and nothing else can be meant.
pub(crate) fn split_path(text: &str) -> Result<(&str, &str), AddressError> {
    let inner = text.trim_start_matches(' ').strip_prefix('<').ok_or(AddressError::Brackets)?;
    let mut quoted = false;
    let mut escaped = false;
    for (at, c) in inner.char_indices() {
        match c {
            _ if escaped => escaped = false,
            '\\' if quoted => escaped = true,
            '"' => quoted = !quoted,
            '>' if !quoted => return Ok((&inner[..at], &inner[at + 1..])),
            _ => {}
        }
    }
    Err(AddressError::Brackets)
}

pub(crate) fn parse_reverse_path(inner: &str) -> Result<ReversePath, AddressError> {
    if inner.is_empty() {
        return Ok(ReversePath::Null);
    }
    refuse_source_route(inner)?;
    Ok(ReversePath::Mailbox(inner.parse()?))
}

pub(crate) fn parse_forward_path(inner: &str) -> Result<ForwardPath, AddressError> {
    refuse_source_route(inner)?;
    if inner.eq_ignore_ascii_case("postmaster") {
        return Ok(ForwardPath::Postmaster(inner.into()));
    }
    Ok(ForwardPath::Mailbox(inner.parse()?))
}

fn refuse_source_route(inner: &str) -> Result<(), AddressError> {
    if inner.starts_with('@') { Err(AddressError::SourceRoute) } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mailboxes_are_kept_as_written_and_compared_by_domain() {
        for (text, local, domain) in [
            ("user@Example.NET", "user", "example.net"),
            ("a+b=c@example.net", "a+b=c", "example.net"),
            ("\"a b@c\\\"d\"@example.net", "\"a b@c\\\"d\"", "example.net"),
            ("用户@bücher.example", "用户", "xn--bcher-kva.example"),
            (".odd..one.@example.net", ".odd..one.", "example.net"),
            ("x@host_with_underscore.example", "x", "host_with_underscore.example"),
        ] {
            let mailbox: Mailbox = text.parse().unwrap();
            assert_eq!(mailbox.as_str(), text);
            assert_eq!(mailbox.local_part(), local);
            assert_eq!(mailbox.domain().unwrap().as_str(), domain);
        }
        let literal: Mailbox = "a@[IPv6:2001:db8::1]".parse().unwrap();
        assert_eq!(literal.host(), &Host::Literal("2001:db8::1".parse().unwrap()));
    }

    #[test]
    fn what_is_no_mailbox_is_refused() {
        for text in [
            "",
            "user",
            "@example.net",
            "a b@example.net",
            "a@",
            "a@-x.example",
            "a@x..example",
            "a@[1.2.3]",
            "a@[IPv6:1.2.3.4]",
            "\"open@example.net",
            "\"a\"b@example.net",
            "a@exa mple",
            "a\u{7f}@example.net",
        ] {
            assert!(text.parse::<Mailbox>().is_err(), "{text}");
        }
        assert_eq!(format!("{}@x.example", "a".repeat(300)).parse::<Mailbox>(), Err(AddressError::TooLong));
    }

    #[test]
    fn a_path_ends_at_its_own_bracket() {
        assert_eq!(split_path("<a@b> X=1").unwrap(), ("a@b", " X=1"));
        assert_eq!(split_path(" <\"a>b\"@c>").unwrap(), ("\"a>b\"@c", ""));
        assert_eq!(split_path("<\"a\\\">b\"@c>").unwrap(), ("\"a\\\">b\"@c", ""));
        assert_eq!(split_path("a@b"), Err(AddressError::Brackets));
        assert_eq!(split_path("<a@b"), Err(AddressError::Brackets));
    }

    #[test]
    fn source_routes_and_routing_local_parts_are_recognised() {
        assert_eq!(parse_forward_path("@relay.example:a@b.example"), Err(AddressError::SourceRoute));
        assert!("a%other.example@b.example".parse::<Mailbox>().unwrap().has_routing_local_part());
        assert!("\"a@other.example\"@b.example".parse::<Mailbox>().unwrap().has_routing_local_part());
        assert!(!"a@b.example".parse::<Mailbox>().unwrap().has_routing_local_part());
        assert_eq!(parse_forward_path("PostMaster").unwrap(), ForwardPath::Postmaster("PostMaster".into()));
    }
}
