//! The parameters of MAIL and RCPT: SIZE (RFC 1870), BODY (RFC 6152, RFC 3030), SMTPUTF8 (RFC 6531), the DSN ones
//! (RFC 3461), AUTH (RFC 4954 §5) and REQUIRETLS (RFC 8689).

use super::{CommandError, write_path};
use crate::address::{ForwardPath, Mailbox, ReversePath};
use crate::extensions::Extension;

/// RFC 3461 §4.4 and §4.2 bound ENVID and ORCPT by 100 and 500 octets; encoded they may treble.
const MAX_XTEXT: usize = 1500;

/// `BODY=`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BodyType {
    /// `7BIT`.
    SevenBit,
    /// `8BITMIME`.
    EightBitMime,
    /// `BINARYMIME`.
    BinaryMime,
}

/// `RET=`: what a failure report brings back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ret {
    /// `FULL`.
    Full,
    /// `HDRS`.
    Headers,
}

/// `NOTIFY=`: when a recipient's sender wants a report.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Notify {
    /// `SUCCESS`.
    pub success: bool,
    /// `FAILURE`.
    pub failure: bool,
    /// `DELAY`.
    pub delay: bool,
}

impl Notify {
    /// `NEVER`.
    pub fn is_never(self) -> bool {
        self == Self::default()
    }
}

/// `MAIL FROM:<…>` with its parameters.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mail {
    /// The path.
    pub reverse_path: ReversePath,
    /// `SIZE=`, in octets.
    pub size: Option<u64>,
    /// `BODY=`.
    pub body: Option<BodyType>,
    /// `SMTPUTF8`.
    pub smtputf8: bool,
    /// `RET=`.
    pub ret: Option<Ret>,
    /// `ENVID=`, as xtext.
    pub envid: Option<Box<str>>,
    /// `AUTH=`, as xtext.
    pub auth: Option<Box<str>>,
    /// `REQUIRETLS`.
    pub requiretls: bool,
}

impl Mail {
    pub(super) fn set(&mut self, keyword: &str, value: Option<&str>) -> Result<(), CommandError> {
        match (keyword, value) {
            ("SIZE", Some(size)) => once(&mut self.size, number(size)?),
            ("BODY", Some(body)) => once(&mut self.body, body_type(body)?),
            ("RET", Some(ret)) => once(&mut self.ret, ret_type(ret)?),
            ("ENVID", Some(envid)) => once(&mut self.envid, xtext(envid)?),
            ("AUTH", Some(auth)) => once(&mut self.auth, xtext(auth)?),
            ("SMTPUTF8", None) if !self.smtputf8 => {
                self.smtputf8 = true;
                Ok(())
            }
            ("REQUIRETLS", None) if !self.requiretls => {
                self.requiretls = true;
                Ok(())
            }
            ("SIZE" | "BODY" | "RET" | "ENVID" | "AUTH", None) => Err(CommandError::BadParameter),
            _ => Err(CommandError::UnknownParameter),
        }
    }

    /// Appends the command with those parameters whose extension is `offered` by the next hop.
    pub fn write(&self, out: &mut Vec<u8>, offered: impl Fn(Extension) -> bool) {
        write_path(out, "MAIL FROM:", self.reverse_path.as_str());
        let mut parameter = |extension, keyword: &str, value: &str| {
            if offered(extension) {
                out.push(b' ');
                out.extend_from_slice(keyword.as_bytes());
                out.extend_from_slice(value.as_bytes());
            }
        };
        if let Some(size) = self.size {
            parameter(Extension::Size, "SIZE=", &size.to_string());
        }
        match self.body {
            None => {}
            Some(BodyType::SevenBit) => parameter(Extension::EightBitMime, "BODY=", "7BIT"),
            Some(BodyType::EightBitMime) => parameter(Extension::EightBitMime, "BODY=", "8BITMIME"),
            Some(BodyType::BinaryMime) => parameter(Extension::BinaryMime, "BODY=", "BINARYMIME"),
        }
        if self.smtputf8 {
            parameter(Extension::SmtpUtf8, "SMTPUTF8", "");
        }
        match self.ret {
            None => {}
            Some(Ret::Full) => parameter(Extension::Dsn, "RET=", "FULL"),
            Some(Ret::Headers) => parameter(Extension::Dsn, "RET=", "HDRS"),
        }
        if let Some(envid) = &self.envid {
            parameter(Extension::Dsn, "ENVID=", envid);
        }
        if let Some(auth) = &self.auth {
            parameter(Extension::Auth, "AUTH=", auth);
        }
        if self.requiretls {
            parameter(Extension::RequireTls, "REQUIRETLS", "");
        }
        out.extend_from_slice(b"\r\n");
    }
}

/// `RCPT TO:<…>` with its parameters.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rcpt {
    /// The path.
    pub forward_path: ForwardPath,
    /// `NOTIFY=`.
    pub notify: Option<Notify>,
    /// `ORCPT=`, as it came: `type;xtext`.
    pub orcpt: Option<Box<str>>,
}

impl Rcpt {
    pub(super) fn set(&mut self, keyword: &str, value: Option<&str>) -> Result<(), CommandError> {
        match (keyword, value) {
            ("NOTIFY", Some(notify)) => once(&mut self.notify, notify_type(notify)?),
            ("ORCPT", Some(orcpt)) if orcpt.find(';').is_some_and(|at| at > 0) => {
                once(&mut self.orcpt, xtext(orcpt)?)
            }
            ("NOTIFY" | "ORCPT", _) => Err(CommandError::BadParameter),
            _ => Err(CommandError::UnknownParameter),
        }
    }

    /// The same for another mailbox, which this one is an alias of. Whom the sender named goes along for reports, unless the sender
    /// has said so itself (RFC 3461 §4.2, §5.2.7).
    #[must_use]
    pub fn led_to(self, target: Mailbox) -> Self {
        let named = self.forward_path.as_str();
        let orcpt = named.is_ascii().then(|| format!("rfc822;{}", encoded_xtext(named)));
        let orcpt = orcpt.filter(|orcpt| orcpt.len() <= MAX_XTEXT).map(Into::into);
        Self { forward_path: ForwardPath::Mailbox(target), orcpt: self.orcpt.or(orcpt), ..self }
    }

    /// Appends the command, with its DSN parameters if the next hop offers DSN.
    pub fn write(&self, out: &mut Vec<u8>, dsn_offered: bool) {
        write_path(out, "RCPT TO:", self.forward_path.as_str());
        if let Some(notify) = self.notify.filter(|_| dsn_offered) {
            out.extend_from_slice(b" NOTIFY=");
            out.extend_from_slice(notify_value(notify).as_bytes());
        }
        if let Some(orcpt) = self.orcpt.as_ref().filter(|_| dsn_offered) {
            out.extend_from_slice(b" ORCPT=");
            out.extend_from_slice(orcpt.as_bytes());
        }
        out.extend_from_slice(b"\r\n");
    }
}

/// Hands each `KEYWORD[=value]` to `set`, the keyword in upper case.
pub(super) fn read(
    text: &str,
    mut set: impl FnMut(&str, Option<&str>) -> Result<(), CommandError>,
) -> Result<(), CommandError> {
    if !text.is_empty() && !text.starts_with(' ') {
        return Err(CommandError::Expected("a space before the parameters"));
    }
    for parameter in text.split(' ').filter(|parameter| !parameter.is_empty()) {
        let (keyword, value) = match parameter.split_once('=') {
            None => (parameter, None),
            Some((keyword, value)) => (keyword, Some(value)),
        };
        // Nothing below 33 but the spaces that were split at: a parameter is passed on in a line of its own making.
        if parameter.bytes().any(|b| b <= b' ' || b == 0x7F) {
            return Err(CommandError::BadParameter);
        }
        set(&keyword.to_ascii_uppercase(), value)?;
    }
    Ok(())
}

fn once<T>(slot: &mut Option<T>, value: T) -> Result<(), CommandError> {
    if slot.is_some() {
        return Err(CommandError::UnknownParameter);
    }
    *slot = Some(value);
    Ok(())
}

fn number(value: &str) -> Result<u64, CommandError> {
    let digits = !value.is_empty() && value.bytes().all(|b| b.is_ascii_digit());
    // RFC 1870 §3 allows 20 digits; what does not fit in 64 bits is larger than any message.
    if digits && value.len() <= 20 {
        Ok(value.parse().unwrap_or(u64::MAX))
    } else {
        Err(CommandError::BadParameter)
    }
}

fn body_type(value: &str) -> Result<BodyType, CommandError> {
    match value.to_ascii_uppercase().as_str() {
        "7BIT" => Ok(BodyType::SevenBit),
        "8BITMIME" => Ok(BodyType::EightBitMime),
        "BINARYMIME" => Ok(BodyType::BinaryMime),
        _ => Err(CommandError::BadParameter),
    }
}

fn ret_type(value: &str) -> Result<Ret, CommandError> {
    match value.to_ascii_uppercase().as_str() {
        "FULL" => Ok(Ret::Full),
        "HDRS" => Ok(Ret::Headers),
        _ => Err(CommandError::BadParameter),
    }
}

fn notify_type(value: &str) -> Result<Notify, CommandError> {
    let mut notify = Notify::default();
    if value.eq_ignore_ascii_case("NEVER") {
        return Ok(notify);
    }
    for word in value.split(',') {
        match word.to_ascii_uppercase().as_str() {
            "SUCCESS" => notify.success = true,
            "FAILURE" => notify.failure = true,
            "DELAY" => notify.delay = true,
            _ => return Err(CommandError::BadParameter),
        }
    }
    Ok(notify)
}

fn notify_value(notify: Notify) -> String {
    if notify.is_never() {
        return "NEVER".into();
    }
    let words = [(notify.success, "SUCCESS"), (notify.failure, "FAILURE"), (notify.delay, "DELAY")];
    let words: Vec<_> = words.into_iter().filter_map(|(wanted, word)| wanted.then_some(word)).collect();
    words.join(",")
}

/// As xtext (RFC 3461 §4): what is no plain letter in it is written by number.
fn encoded_xtext(text: &str) -> String {
    let mut encoded = String::with_capacity(text.len());
    for octet in text.bytes() {
        match octet {
            b'+' | b'=' => encoded.push_str(&format!("+{octet:02X}")),
            b'!'..=b'~' => encoded.push(char::from(octet)),
            _ => encoded.push_str(&format!("+{octet:02X}")),
        }
    }
    encoded
}

/// xtext (RFC 3461 §4), or text with SMTPUTF8 (RFC 6533 §3): its length is checked, and it is kept as it came. Servers
/// take what does not keep to the grammar (`AUTH=<>` is in RFC 4954 §5 itself), and nothing in it can end a line.
fn xtext(value: &str) -> Result<Box<str>, CommandError> {
    if value.is_empty() || value.len() > MAX_XTEXT {
        return Err(CommandError::BadParameter);
    }
    Ok(value.into())
}
