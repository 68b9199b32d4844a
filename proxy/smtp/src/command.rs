//! Commands (RFC 5321 §4.1.1 and the extensions): read from a line, and written for the next hop.

use crate::address::{self, AddressError, ForwardPath, ReversePath};

mod parameters;

pub use parameters::{BodyType, Mail, Notify, Rcpt, Ret};

/// The longest command line: AUTH with an initial response (RFC 4954 §4) is by far the longest that is allowed.
pub const MAX_COMMAND_LINE: usize = 12_288;
/// What a client may call itself; longer ones are not names.
pub const MAX_HELO: usize = 255;
/// RFC 4422 §3.1.
const MAX_MECHANISM: usize = 20;

/// A command that is understood.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Command<'a> {
    /// `AUTH mechanism [initial-response]` (RFC 4954); the response as it came, in base64, `=` for an empty one.
    Auth {
        /// In upper case.
        mechanism: Box<str>,
        /// If it came along.
        initial: Option<&'a str>,
    },
    /// `BDAT size [LAST]` (RFC 3030).
    Bdat {
        /// Octets that follow.
        size: u64,
        /// Whether the message ends with them.
        last: bool,
    },
    /// `DATA`.
    Data,
    /// `EHLO name`; the name as it came.
    Ehlo(&'a str),
    /// `EXPN list`.
    Expn,
    /// `HELO name`.
    Helo(&'a str),
    /// `HELP [topic]`.
    Help,
    /// `MAIL FROM:<reverse-path> [parameters]`.
    Mail(Box<Mail>),
    /// `NOOP [text]`.
    Noop,
    /// `QUIT`.
    Quit,
    /// `RCPT TO:<forward-path> [parameters]`.
    Rcpt(Box<Rcpt>),
    /// `RSET`.
    Rset,
    /// `STARTTLS` (RFC 3207).
    StartTls,
    /// `VRFY name`.
    Vrfy,
}

/// Why a line is no command that is understood. Each has one reply, in [`crate::answers`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CommandError {
    /// The path in MAIL or RCPT.
    #[error("{0}")]
    Address(#[from] AddressError),
    /// A parameter with a value that it cannot have.
    #[error("a parameter has a value that it cannot have")]
    BadParameter,
    /// An argument that is missing or not allowed; what was expected.
    #[error("expected {0}")]
    Expected(&'static str),
    /// Octets that are not UTF-8.
    #[error("the line is not UTF-8")]
    NotUtf8,
    /// A request line of HTTP or of another protocol: somebody else's client was sent here.
    #[error("this is SMTP")]
    OtherProtocol,
    /// A parameter of MAIL or RCPT that is not known or was given twice.
    #[error("a parameter is not known, or given twice")]
    UnknownParameter,
    /// No such command.
    #[error("the command is not known")]
    Unrecognized,
}

impl<'a> Command<'a> {
    /// Reads a line without its CRLF.
    ///
    /// # Errors
    ///
    /// [`CommandError`], which leaves the session as it was.
    pub fn parse(line: &'a [u8]) -> Result<Self, CommandError> {
        let text = std::str::from_utf8(line).map_err(|_| CommandError::NotUtf8)?;
        let text = text.trim_end_matches(' ');
        let (verb, rest) = text.split_at(text.find(' ').unwrap_or(text.len()));
        let argument = rest.trim_start_matches(' ');
        let mut upper = [0; 8];
        let Some(upper) = upper.get_mut(..verb.len()) else { return Err(unrecognized(verb)) };
        upper.copy_from_slice(verb.as_bytes());
        upper.make_ascii_uppercase();
        match &*upper {
            b"AUTH" => parse_auth(argument),
            b"BDAT" => parse_bdat(argument),
            b"DATA" => bare(argument, Self::Data),
            b"EHLO" => Ok(Self::Ehlo(parse_helo(argument)?)),
            b"EXPN" => Ok(Self::Expn),
            b"HELO" => Ok(Self::Helo(parse_helo(argument)?)),
            b"HELP" => Ok(Self::Help),
            b"MAIL" => parse_mail(argument),
            b"NOOP" => Ok(Self::Noop),
            b"QUIT" => bare(argument, Self::Quit),
            b"RCPT" => parse_rcpt(argument),
            b"RSET" => bare(argument, Self::Rset),
            b"STARTTLS" => bare(argument, Self::StartTls),
            b"VRFY" => Ok(Self::Vrfy),
            _ => Err(unrecognized(verb)),
        }
    }
}

/// Web browsers can be made to send requests to port 25 with commands in their body; the request line gives them away.
fn unrecognized(verb: &str) -> CommandError {
    const OTHERS: [&str; 10] =
        ["CONNECT", "DELETE", "GET", "HEAD", "HOST:", "OPTIONS", "PATCH", "POST", "PUT", "USER-AGENT:"];
    let other = OTHERS.iter().any(|other| verb.eq_ignore_ascii_case(other));
    if other { CommandError::OtherProtocol } else { CommandError::Unrecognized }
}

fn bare<'a>(argument: &str, command: Command<'a>) -> Result<Command<'a>, CommandError> {
    if argument.is_empty() { Ok(command) } else { Err(CommandError::Expected("no argument")) }
}

fn parse_helo(argument: &str) -> Result<&str, CommandError> {
    let sound = !argument.is_empty()
        && argument.len() <= MAX_HELO
        && argument.bytes().all(|b| b > b' ' && b != 0x7F && !b"<>()\"\\;,".contains(&b));
    if sound { Ok(argument) } else { Err(CommandError::Expected("the name of the client's host")) }
}

fn parse_auth(argument: &str) -> Result<Command<'_>, CommandError> {
    let mut words = argument.split(' ').filter(|word| !word.is_empty());
    let mechanism = words.next().ok_or(CommandError::Expected("a mechanism"))?;
    let initial = words.next();
    let known = mechanism.len() <= MAX_MECHANISM
        && mechanism.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_');
    if !known || words.next().is_some() {
        return Err(CommandError::Expected("a mechanism and at most one response"));
    }
    Ok(Command::Auth { mechanism: mechanism.to_ascii_uppercase().into(), initial })
}

fn parse_bdat(argument: &str) -> Result<Command<'_>, CommandError> {
    const SYNTAX: CommandError = CommandError::Expected("BDAT size [LAST]");
    let (size, last) = match argument.split_once(' ') {
        None => (argument, false),
        Some((size, rest)) if rest.trim_matches(' ').eq_ignore_ascii_case("LAST") => (size, true),
        Some(_) => return Err(SYNTAX),
    };
    if !size.bytes().all(|b| b.is_ascii_digit()) {
        return Err(SYNTAX);
    }
    Ok(Command::Bdat { size: size.parse().map_err(|_| SYNTAX)?, last })
}

/// What follows `keyword` (`FROM:` or `TO:`), in any case.
fn after_keyword<'a>(argument: &'a str, keyword: &str) -> Option<&'a str> {
    let head = argument.get(..keyword.len())?;
    head.eq_ignore_ascii_case(keyword).then(|| &argument[keyword.len()..])
}

fn parse_mail(argument: &str) -> Result<Command<'_>, CommandError> {
    let rest = after_keyword(argument, "FROM:").ok_or(CommandError::Expected("MAIL FROM:<address>"))?;
    let (path, parameters) = address::split_path(rest)?;
    let mut mail = Mail::new(address::parse_reverse_path(path)?);
    parameters::read(parameters, |keyword, value| mail.set(keyword, value))?;
    Ok(Command::Mail(Box::new(mail)))
}

fn parse_rcpt(argument: &str) -> Result<Command<'_>, CommandError> {
    let rest = after_keyword(argument, "TO:").ok_or(CommandError::Expected("RCPT TO:<address>"))?;
    let (path, parameters) = address::split_path(rest)?;
    let mut rcpt = Rcpt::new(address::parse_forward_path(path)?);
    parameters::read(parameters, |keyword, value| rcpt.set(keyword, value))?;
    Ok(Command::Rcpt(Box::new(rcpt)))
}

/// An envelope: what MAIL and the RCPTs said (RFC 5321 §2.3.1).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Envelope {
    /// MAIL.
    pub mail: Mail,
    /// The RCPTs, in the client's order.
    pub recipients: Vec<Rcpt>,
}

impl Envelope {
    /// An envelope without recipients.
    pub fn new(mail: Mail) -> Self {
        Self { mail, recipients: Vec::new() }
    }

    /// Every command of the envelope with every parameter, a line each: how it is stored.
    pub fn write(&self, out: &mut Vec<u8>) {
        self.mail.write(out, |_| true);
        self.recipients.iter().for_each(|rcpt| rcpt.write(out, true));
    }

    /// The inverse of [`Envelope::write`].
    ///
    /// # Errors
    ///
    /// What is stored is not what `write` made.
    pub fn read(bytes: &[u8]) -> Result<Self, CommandError> {
        let mut lines = bytes.strip_suffix(b"\r\n").unwrap_or(bytes).split(|&b| b == b'\n');
        let mut next = || lines.next().map(|line| Command::parse(line.strip_suffix(b"\r").unwrap_or(line)));
        let Some(Command::Mail(mail)) = next().transpose()? else {
            return Err(CommandError::Expected("MAIL"));
        };
        let mut envelope = Self::new(*mail);
        while let Some(command) = next().transpose()? {
            let Command::Rcpt(rcpt) = command else { return Err(CommandError::Expected("RCPT")) };
            envelope.recipients.push(*rcpt);
        }
        Ok(envelope)
    }
}

/// The reverse-path or forward-path of a command, as a client wrote it.
pub(crate) fn write_path(out: &mut Vec<u8>, keyword: &str, path: &str) {
    out.extend_from_slice(keyword.as_bytes());
    out.push(b'<');
    out.extend_from_slice(path.as_bytes());
    out.push(b'>');
}

impl Rcpt {
    /// A recipient without parameters.
    pub fn new(forward_path: ForwardPath) -> Self {
        Self { forward_path, notify: None, orcpt: None }
    }
}

impl Mail {
    /// A reverse-path without parameters.
    pub fn new(reverse_path: ReversePath) -> Self {
        Self {
            reverse_path,
            size: None,
            body: None,
            smtputf8: false,
            ret: None,
            envid: None,
            auth: None,
            requiretls: false,
        }
    }
}

#[cfg(test)]
mod tests;
