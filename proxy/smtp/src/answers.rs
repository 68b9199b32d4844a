//! Every reply that Postern speaks of itself: code, enhanced code (RFC 3463, RFC 5248) and words, in one place. Each
//! refusal ends in the trace identifier, so that whoever reads it can ask about it (law 9).

use std::borrow::Cow;
use std::fmt;

use crate::address::AddressError;
use crate::command::CommandError;
use crate::content::Fault;
use crate::extensions::Extension;
use crate::line::LineError;
use crate::reply::{EnhancedCode, Refusal, Reply, ReplyCode};

/// Octets of a reason: with the words around it and the identifier it fits a reply line, which RFC 5321 §4.5.3.1.5 bounds
/// to 512.
const MAX_REASON: usize = 350;
/// The same of a reason that is said by the way.
const MAX_ASIDE: usize = 200;

/// What Postern answers by itself that is no refusal.
#[derive(Clone, Copy, Debug)]
pub enum Answer<'a> {
    /// The banner.
    Greeting {
        /// Postern's own name, or the words of the server's banner.
        words: &'a str,
    },
    /// To HELO.
    Hello {
        /// Postern's own name.
        hostname: &'a str,
    },
    /// To MAIL.
    SenderOk,
    /// To RCPT, where the server's own words are not known.
    RecipientOk,
    /// To DATA.
    GoAhead,
    /// To a chunk of BDAT that is not the last.
    ChunkOk {
        /// Octets in it.
        size: u64,
    },
    /// To RSET.
    ResetOk,
    /// To NOOP.
    NoopOk,
    /// To VRFY (RFC 5321 §3.5.3): who exists is told at RCPT only.
    CannotVerify,
    /// To HELP.
    Help,
    /// To STARTTLS.
    TlsGoAhead,
    /// To QUIT.
    Bye {
        /// Postern's own name.
        hostname: &'a str,
    },
}

impl Answer<'_> {
    /// The reply; `trace` is the session or the transaction that it belongs to.
    pub fn reply(self, trace: impl fmt::Display) -> Reply {
        let plain = |code, text: &str| Reply::new(ReplyCode::fixed(code), None, text);
        let coded = |code, enhanced, text: &str| coded(code, enhanced, text, &trace);
        match self {
            Self::Greeting { words } => plain(220, words),
            Self::Hello { hostname } => plain(250, hostname),
            Self::SenderOk => coded(250, EnhancedCode(2, 1, 0), "sender ok"),
            Self::RecipientOk => coded(250, EnhancedCode(2, 1, 5), "recipient ok"),
            Self::GoAhead => plain(354, "send the message, end with <CRLF>.<CRLF>"),
            Self::ChunkOk { size } => coded(250, EnhancedCode(2, 0, 0), &format!("{size} octets received")),
            Self::ResetOk => coded(250, EnhancedCode(2, 0, 0), "reset"),
            Self::NoopOk => coded(250, EnhancedCode(2, 0, 0), "still here"),
            Self::CannotVerify => coded(252, EnhancedCode(2, 5, 0), "send mail, and RCPT will tell"),
            Self::Help => plain(214, "see RFC 5321"),
            Self::TlsGoAhead => {
                Reply::new(ReplyCode::fixed(220), Some(EnhancedCode(2, 0, 0)), "ready for TLS")
            }
            Self::Bye { hostname } => {
                Reply::new(ReplyCode::fixed(221), Some(EnhancedCode(2, 0, 0)), format!("{hostname} closes"))
            }
        }
    }
}

/// To the content, in the server's words if it was delivered to one. Only the receiver says this, and only to a proof
/// (law 1).
pub(crate) fn kept(words: Option<&Reply>, trace: impl fmt::Display) -> Reply {
    let own = EnhancedCode(2, 0, 0);
    let Some(words) = words else { return coded(250, own, "message accepted", trace) };
    let enhanced = words.enhanced().filter(|enhanced| enhanced.0 == 2).unwrap_or(own);
    coded(250, enhanced, words.words().trim(), trace)
}

fn coded(code: u16, enhanced: EnhancedCode, text: &str, trace: impl fmt::Display) -> Reply {
    Reply::new(ReplyCode::fixed(code), Some(enhanced), format!("{text} ({trace})"))
}

/// Why Postern says no by itself. A closed list: each is one reply, and one metric's label.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum No {
    /// AUTH before TLS, or where there is none.
    AuthNotOffered,
    /// AUTH twice, or inside a transaction.
    AuthOutOfPlace,
    /// The client cancelled AUTH with `*`.
    AuthCancelled,
    /// A response that is no base64 or too long.
    AuthMalformed,
    /// MAIL before AUTH on a submission port.
    AuthRequired,
    /// A mechanism that is not offered.
    AuthUnknownMechanism,
    /// The address is banned.
    Banned,
    /// A broken line where a command should be.
    BadLine(LineError),
    /// A line that is no command.
    BadCommand(CommandError),
    /// A command where it has no place; what was expected.
    BadSequence(&'static str),
    /// A fault in the content.
    Content(Fault),
    /// Postern is about to stop.
    Draining,
    /// An intercepted connection's far side cannot be reached; the reason.
    FarUnreachable(Box<str>),
    /// TLS with the far side is weaker than policy demands for the recipient's domain; what it came to.
    FarTooWeak(Box<str>),
    /// The message asks for REQUIRETLS, and TLS with the recipient's server cannot be had or does not prove it; why.
    FarUnproved(Box<str>),
    /// Where the recipient's domain takes mail could not be found out; the reason.
    LookupFailed(Box<str>),
    /// The recipient's domain does not exist.
    NoSuchDomain,
    /// The recipient's domain says that it takes no mail (RFC 7505).
    TakesNoMail,
    /// The recipient's domain has no server that may be connected to.
    NoServerThere,
    /// The recipient's domain is not served here, and yet its mail is to come here (RFC 5321 §5.1).
    PointsHere,
    /// The whole envelope was refused before the content.
    NoValidRecipients,
    /// More forged fields than a message can have by mistake.
    ForgedFields,
    /// Bytes behind STARTTLS.
    InjectedBeforeTls,
    /// The server lacks an extension that MAIL made use of.
    LacksExtension(Extension),
    /// The client's address is on a list; what that says.
    Listed(Box<str>),
    /// The client calls itself by this server's own name.
    Impostor(Box<str>),
    /// The same message for the same recipient for the third time.
    Loop,
    /// The administrator's list does not have the recipient.
    NoSuchRecipient,
    /// No server can be reached, and it is not known whether the recipient exists: why the server cannot be, why it is not.
    RecipientUnproved(Box<str>, &'static str),
    /// `user%other@domain`.
    RoutingLocalPart,
    /// The message could not be judged; why.
    NotJudged(Box<str>),
    /// Nobody here knows the sender yet; in how many seconds the message is taken.
    NotYetKnown(u64),
    /// A proof that did not fit: a fault of Postern's own.
    NotProved,
    /// The message was judged, and nobody here is to have it; why.
    NotWanted(Box<str>),
    /// No memory or disk left for content.
    NoRoom,
    /// Too many sessions in all.
    Overloaded,
    /// Spoke before the greeting.
    Pregreet,
    /// A recipient's domain is not served here.
    RelayDenied,
    /// Somebody from outside writes to an address to which users inside report spam and ham.
    ReportsFromInside,
    /// The server gave a different answer now than when the recipient was named.
    ServerChangedItsMind,
    /// A server fell out of step or broke off.
    ServerLost(Box<str>),
    /// A server let its deadline pass.
    ServerSilent,
    /// The greeting cannot be given, or AUTH not relayed, because no server answers.
    ServerUnavailable,
    /// The server is there, and does not want this client; what it said.
    ServerRefuses(Box<str>),
    /// No server of the backend could be reached; the last one's reason.
    ServerUnreachable(Box<str>),
    /// The content could not be stored.
    StorageFailed,
    /// A client's deadline passed.
    TimedOut,
    /// STARTTLS where TLS is on already.
    TlsAlready,
    /// TLS is required here (RFC 3207 §4).
    TlsRequired,
    /// STARTTLS, but there is no TLS to be had.
    TlsUnavailable,
    /// The message is larger than any server takes.
    TooLarge {
        /// In octets.
        limit: u64,
    },
    /// Too many refused or idle commands.
    TooManyErrors,
    /// Too many Received fields.
    TooManyHops,
    /// Too many recipients in one transaction.
    TooManyRecipients,
    /// Too many sessions from the address or its network.
    TooManySessions,
    /// Slower than the slowest honest sender.
    TooSlow,
    /// A command that exists and is not offered here.
    NotImplemented,
}

impl No {
    /// The refusal; `trace` is the session or the transaction that it belongs to.
    pub fn refusal(&self, trace: impl fmt::Display) -> Refusal {
        let (code, enhanced, text) = self.parts();
        let reply = Reply::new(ReplyCode::fixed(code), Some(enhanced), format!("{text} ({trace})"));
        // The table's test holds that each code is 4yz or 5yz.
        Refusal::new(reply).unwrap_or_else(Refusal::internal)
    }

    /// The reply.
    pub fn reply(&self, trace: impl fmt::Display) -> Reply {
        self.refusal(trace).into_reply()
    }

    /// The metric's label.
    pub fn name(&self) -> &'static str {
        match self {
            Self::AuthNotOffered => "auth_not_offered",
            Self::AuthOutOfPlace => "auth_out_of_place",
            Self::AuthCancelled => "auth_cancelled",
            Self::AuthMalformed => "auth_malformed",
            Self::AuthRequired => "auth_required",
            Self::AuthUnknownMechanism => "auth_unknown_mechanism",
            Self::Banned => "banned",
            Self::BadLine(_) => "bad_line",
            Self::BadCommand(_) => "bad_command",
            Self::BadSequence(_) => "bad_sequence",
            Self::Content(Fault::BareCarriageReturn) => "bare_cr",
            Self::Content(Fault::BareLineFeed) => "bare_lf",
            Self::Content(Fault::Nul) => "nul",
            Self::Draining => "draining",
            Self::FarUnreachable(_) => "far_unreachable",
            Self::FarTooWeak(_) => "far_too_weak",
            Self::FarUnproved(_) => "far_unproved",
            Self::LookupFailed(_) => "lookup_failed",
            Self::NoSuchDomain => "no_such_domain",
            Self::TakesNoMail => "takes_no_mail",
            Self::NoServerThere => "no_server_there",
            Self::PointsHere => "points_here",
            Self::NoValidRecipients => "no_valid_recipients",
            Self::ForgedFields => "forged_fields",
            Self::InjectedBeforeTls => "injected_before_tls",
            Self::LacksExtension(_) => "lacks_extension",
            Self::Listed(_) => "listed",
            Self::Impostor(_) => "impostor",
            Self::Loop => "loop",
            Self::NoSuchRecipient => "no_such_recipient",
            Self::RecipientUnproved(..) => "recipient_unproved",
            Self::RoutingLocalPart => "routing_local_part",
            Self::NotJudged(_) => "not_judged",
            Self::NotYetKnown(_) => "not_yet_known",
            Self::NotProved => "not_proved",
            Self::NotWanted(_) => "not_wanted",
            Self::NoRoom => "no_room",
            Self::Overloaded => "overloaded",
            Self::Pregreet => "pregreet",
            Self::RelayDenied => "relay_denied",
            Self::ReportsFromInside => "reports_from_inside",
            Self::ServerChangedItsMind => "server_changed_its_mind",
            Self::ServerLost(_) => "server_lost",
            Self::ServerSilent => "server_silent",
            Self::ServerUnavailable => "server_unavailable",
            Self::ServerRefuses(_) => "server_refuses",
            Self::ServerUnreachable(_) => "server_unreachable",
            Self::StorageFailed => "storage_failed",
            Self::TimedOut => "timed_out",
            Self::TlsAlready => "tls_already",
            Self::TlsRequired => "tls_required",
            Self::TlsUnavailable => "tls_unavailable",
            Self::TooLarge { .. } => "too_large",
            Self::TooManyErrors => "too_many_errors",
            Self::TooManyHops => "too_many_hops",
            Self::TooManyRecipients => "too_many_recipients",
            Self::TooManySessions => "too_many_sessions",
            Self::TooSlow => "too_slow",
            Self::NotImplemented => "not_implemented",
        }
    }

    fn parts(&self) -> (u16, EnhancedCode, Cow<'static, str>) {
        let (code, (class, subject, detail), text) = match self {
            Self::AuthNotOffered => (503, (5, 5, 1), "authentication is not offered here".into()),
            Self::AuthOutOfPlace => (503, (5, 5, 1), "authentication has no place here".into()),
            Self::AuthCancelled => (501, (5, 7, 0), "authentication cancelled".into()),
            Self::AuthMalformed => (501, (5, 5, 2), "the response is not base64, or too long".into()),
            Self::AuthRequired => (530, (5, 7, 0), "authenticate first".into()),
            Self::AuthUnknownMechanism => (504, (5, 5, 4), "this mechanism is not offered".into()),
            Self::Banned => {
                (554, (5, 7, 1), "this address is banned for some time after repeated abuse".into())
            }
            Self::BadLine(fault) => (500, (5, 5, 2), format!("{fault}; the session ends").into()),
            Self::BadCommand(error) => return bad_command(*error),
            Self::BadSequence(expected) => {
                (503, (5, 5, 1), format!("out of sequence, expected {expected}").into())
            }
            Self::Content(fault) => (
                550,
                (5, 5, 2),
                format!("the message holds {fault}, which RFC 5321 forbids; it was not accepted").into(),
            ),
            Self::Draining => (421, (4, 3, 2), "this host is about to restart, try again".into()),
            Self::FarUnreachable(why) => {
                (421, (4, 4, 1), format!("the server cannot be reached: {}", shortened(why)).into())
            }
            Self::FarTooWeak(what) => (
                451,
                (4, 7, 5),
                format!("TLS with the recipient's server is weaker than policy demands: {}", shortened(what))
                    .into(),
            ),
            Self::FarUnproved(why) => (
                550,
                (5, 7, 10),
                format!("the message requires TLS with a proved server: {}", shortened(why)).into(),
            ),
            Self::LookupFailed(why) => (
                451,
                (4, 4, 3),
                format!("the recipient's domain cannot be looked up: {}", shortened(why)).into(),
            ),
            Self::NoSuchDomain => (550, (5, 1, 2), "the recipient's domain does not exist".into()),
            Self::TakesNoMail => (556, (5, 1, 10), "the recipient's domain takes no mail".into()),
            Self::NoServerThere => {
                (550, (5, 4, 4), "the recipient's domain has no mail server on the Internet".into())
            }
            Self::PointsHere => {
                (550, (5, 4, 6), "the recipient's domain points here, where it is not served".into())
            }
            Self::NoValidRecipients => (554, (5, 5, 1), "no valid recipients".into()),
            Self::ForgedFields => (550, (5, 7, 7), "the message has too many forged header fields".into()),
            Self::InjectedBeforeTls => {
                (554, (5, 5, 0), "bytes in clear behind STARTTLS; the session ends".into())
            }
            Self::LacksExtension(extension) => return lacks(*extension),
            Self::Impostor(name) => {
                (550, (5, 7, 1), format!("mail from who poses as {} is not wanted", shortened(name)).into())
            }
            Self::Listed(why) => {
                (550, (5, 7, 1), format!("mail from this address is not wanted: {}", shortened(why)).into())
            }
            Self::Loop => (554, (5, 4, 6), "the message loops for this recipient".into()),
            Self::NoSuchRecipient => (550, (5, 1, 1), "there is no such recipient here".into()),
            Self::RecipientUnproved(why, standing) => (
                451,
                (4, 4, 1),
                format!("the mail server is away ({}) and {standing}: try again", cut(why, MAX_ASIDE)).into(),
            ),
            Self::RoutingLocalPart => (550, (5, 7, 1), "addresses that route on are not accepted".into()),
            Self::NotJudged(why) => (
                451,
                (4, 7, 1),
                format!("the message cannot be judged at the moment, try again: {}", shortened(why)).into(),
            ),
            Self::NotWanted(why) => {
                (550, (5, 7, 1), format!("the message is not wanted: {}", shortened(why)).into())
            }
            Self::NotYetKnown(seconds) => (
                451,
                (4, 7, 1),
                format!("this sender is not known here yet, try again in {seconds} s").into(),
            ),
            Self::NotProved => (451, (4, 3, 0), "delivery could not be proved, try again".into()),
            Self::NoRoom => (452, (4, 3, 1), "no room for messages at the moment, try again".into()),
            Self::Overloaded => (421, (4, 3, 2), "too many sessions at the moment, try again".into()),
            Self::Pregreet => (554, (5, 5, 1), "a client must wait for the greeting".into()),
            Self::ReportsFromInside => {
                (550, (5, 7, 1), "reports are taken from inside and from users who have authenticated".into())
            }
            Self::RelayDenied => (550, (5, 7, 1), "this host does not relay to that domain".into()),
            Self::ServerChangedItsMind => {
                (451, (4, 3, 0), "the server no longer takes a recipient, try again".into())
            }
            Self::ServerLost(why) => {
                (451, (4, 4, 2), format!("the mail server broke off: {}", shortened(why)).into())
            }
            Self::ServerSilent => {
                (451, (4, 4, 2), "the mail server did not answer in time, try again".into())
            }
            Self::ServerUnavailable => {
                (421, (4, 3, 2), "no mail server can be reached at the moment, try again".into())
            }
            Self::ServerRefuses(why) => {
                (451, (4, 4, 1), format!("the mail server refuses: {}", shortened(why)).into())
            }
            Self::ServerUnreachable(why) => {
                (451, (4, 4, 1), format!("no mail server can be reached: {}", shortened(why)).into())
            }
            Self::StorageFailed => (451, (4, 3, 0), "the message could not be stored, try again".into()),
            Self::TimedOut => (421, (4, 4, 2), "nothing came for too long".into()),
            Self::TlsAlready => (503, (5, 5, 1), "TLS is on already".into()),
            Self::TlsRequired => (530, (5, 7, 0), "issue STARTTLS first".into()),
            Self::TlsUnavailable => (454, (4, 7, 0), "TLS is not available at the moment".into()),
            Self::TooLarge { limit } => {
                (552, (5, 3, 4), format!("the message is larger than the {limit} octets allowed").into())
            }
            Self::TooManyErrors => (421, (4, 7, 0), "too many commands to no purpose".into()),
            Self::TooManyHops => {
                (554, (5, 4, 6), "the message has passed too many hosts, it seems to loop".into())
            }
            Self::TooManyRecipients => {
                (452, (4, 5, 3), "too many recipients, send the rest in another message".into())
            }
            Self::TooManySessions => (421, (4, 7, 0), "too many sessions from your network".into()),
            Self::TooSlow => (421, (4, 4, 2), "the message comes too slowly".into()),
            Self::NotImplemented => (502, (5, 5, 1), "not offered here".into()),
        };
        (code, EnhancedCode(class, subject, detail), text)
    }
}

/// A reason may quote what a server said, however much that was.
fn shortened(why: &str) -> &str {
    cut(why, MAX_REASON)
}

fn cut(why: &str, octets: usize) -> &str {
    &why[..why.floor_char_boundary(octets)]
}

fn bad_command(error: CommandError) -> (u16, EnhancedCode, Cow<'static, str>) {
    let (code, (class, subject, detail)) = match error {
        CommandError::Address(AddressError::SourceRoute) => (550, (5, 7, 1)),
        CommandError::Address(AddressError::Brackets) => (501, (5, 5, 4)),
        CommandError::Address(_) => (553, (5, 1, 3)),
        CommandError::BadParameter | CommandError::Expected(_) => (501, (5, 5, 4)),
        CommandError::NotUtf8 => (500, (5, 5, 2)),
        CommandError::OtherProtocol => (554, (5, 5, 1)),
        CommandError::UnknownParameter => (555, (5, 5, 4)),
        CommandError::Unrecognized => (500, (5, 5, 1)),
    };
    (code, EnhancedCode(class, subject, detail), error.to_string().into())
}

fn lacks(extension: Extension) -> (u16, EnhancedCode, Cow<'static, str>) {
    let (code, (class, subject, detail), what) = match extension {
        Extension::SmtpUtf8 => (550, (5, 6, 7), "internationalized addresses"),
        Extension::RequireTls => (550, (5, 7, 30), "REQUIRETLS"),
        Extension::BinaryMime => (550, (5, 6, 1), "binary content"),
        Extension::EightBitMime => (550, (5, 6, 3), "8-bit content"),
        _ => (550, (5, 5, 4), "what the message asks for"),
    };
    (
        code,
        EnhancedCode(class, subject, detail),
        format!("the recipient's mail server does not take {what}").into(),
    )
}

impl Refusal {
    /// For a place that cannot be reached: the reply it was made from was no refusal.
    fn internal() -> Self {
        let reply = Reply::new(ReplyCode::fixed(451), Some(EnhancedCode(4, 3, 0)), "internal error");
        Self::new(reply).unwrap_or_else(Self::internal)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all() -> Vec<No> {
        vec![
            No::AuthNotOffered,
            No::AuthOutOfPlace,
            No::AuthCancelled,
            No::AuthMalformed,
            No::AuthRequired,
            No::AuthUnknownMechanism,
            No::Banned,
            No::BadLine(LineError::BareLineFeed),
            No::BadCommand(CommandError::Unrecognized),
            No::BadCommand(CommandError::UnknownParameter),
            No::BadCommand(CommandError::OtherProtocol),
            No::BadCommand(CommandError::Address(AddressError::SourceRoute)),
            No::BadSequence("MAIL"),
            No::Content(Fault::BareLineFeed),
            No::Content(Fault::BareCarriageReturn),
            No::Content(Fault::Nul),
            No::Draining,
            No::FarUnreachable("x".into()),
            No::FarTooWeak("x".into()),
            No::FarUnproved("x".into()),
            No::LookupFailed("x".into()),
            No::NoSuchDomain,
            No::TakesNoMail,
            No::NoServerThere,
            No::PointsHere,
            No::NoValidRecipients,
            No::ForgedFields,
            No::InjectedBeforeTls,
            No::LacksExtension(Extension::SmtpUtf8),
            No::LacksExtension(Extension::RequireTls),
            No::LacksExtension(Extension::EightBitMime),
            No::Impostor("x".repeat(1000).into()),
            No::Listed("x".repeat(1000).into()),
            No::Loop,
            No::NoSuchRecipient,
            No::RecipientUnproved("x".repeat(1000).into(), "this recipient was not seen before"),
            No::RoutingLocalPart,
            No::NotJudged("x".repeat(1000).into()),
            No::NotYetKnown(180),
            No::NotProved,
            No::NotWanted("x".repeat(1000).into()),
            No::NoRoom,
            No::Overloaded,
            No::Pregreet,
            No::RelayDenied,
            No::ReportsFromInside,
            No::ServerChangedItsMind,
            No::ServerLost("x".into()),
            No::ServerSilent,
            No::ServerUnavailable,
            No::ServerRefuses("x".into()),
            No::ServerUnreachable("x".into()),
            No::StorageFailed,
            No::TimedOut,
            No::TlsAlready,
            No::TlsRequired,
            No::TlsUnavailable,
            No::TooLarge { limit: 1 },
            No::TooManyErrors,
            No::TooManyHops,
            No::TooManyRecipients,
            No::TooManySessions,
            No::TooSlow,
            No::NotImplemented,
        ]
    }

    #[test]
    fn every_refusal_refuses_with_codes_that_agree_and_the_trace_identifier() {
        for no in all() {
            let (code, enhanced, _) = no.parts();
            assert_eq!(u16::from(enhanced.0), code / 100, "{no:?}");
            let reply = no.reply("TRACE");
            assert_eq!(reply.code().get(), code, "{no:?}");
            assert!(reply.words().ends_with("(TRACE)"), "{no:?}");
            assert!(reply.words().len() < 450, "{no:?} fits a reply line");
        }
    }

    #[test]
    fn a_long_reason_does_not_make_a_reply_line_too_long() {
        for no in [No::ServerLost("ü".repeat(1000).into()), No::FarTooWeak("x".repeat(1000).into())] {
            let reply = no.reply("TRACE");
            assert!(reply.words().ends_with("(TRACE)") && reply.words().len() < 450, "{no:?}");
        }
    }

    #[test]
    fn the_servers_words_reach_the_client() {
        let words = Reply::new(ReplyCode::fixed(250), Some(EnhancedCode(2, 0, 0)), "Ok: queued as 4F2");
        let reply = kept(Some(&words), "T");
        assert_eq!(reply.to_string(), "250 2.0.0 Ok: queued as 4F2 (T)");
    }
}
