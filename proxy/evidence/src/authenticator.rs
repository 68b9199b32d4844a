//! Asking, within a deadline and within bounds.

use std::fmt;
use std::net::IpAddr;

use dns::Resolver;
use mail_auth::dkim::{Canonicalization, Signature};
use mail_auth::dmarc::verify::DmarcParameters;
use mail_auth::{
    AuthenticatedMessage, DkimOutput, DkimResult, DmarcResult, MessageAuthenticator, SpfOutput, SpfResult,
};
use smtp::ReversePath;
use tokio::sync::Semaphore;
use tokio::time::{Instant, timeout_at};

use crate::chain::{Chain, MAX_SETS, is_well_formed};
use crate::iprev::{Iprev, iprev};
use crate::published::asked;
use crate::result::{Authenticity, Dkim, Dmarc, Spf, Verdict};
use crate::spf::{Hickory, Question, check_host};

/// Evaluations under way at most; the others wait, within their own deadlines. Each holds sockets, and up to [`MAX_MESSAGE`]
/// octets.
pub const EVALUATIONS_AT_ONCE: usize = 32;
/// Octets of a message whose signatures are looked at; of a larger one it is not known who signed it.
pub const MAX_MESSAGE: usize = 2 * 1024 * 1024;
/// Octets of its header section: each signature is compared with every field.
pub const MAX_HEADER: usize = 128 * 1024;
/// Signatures that are looked at. Forwarders and lists add some; each costs a lookup and a public-key operation.
pub const MAX_SIGNATURES: usize = 8;
/// Fields that one signature may name; each is searched for.
const MAX_SIGNED_FIELDS: usize = 200;

/// Who is said to have sent a message.
#[derive(Clone, Copy, Debug)]
pub struct Sender<'a> {
    /// The client's address.
    pub client: IpAddr,
    /// What it called itself.
    pub helo: &'a str,
    /// `MAIL FROM`.
    pub reverse_path: &'a ReversePath,
}

impl Sender<'_> {
    /// What SPF is asked; with a null reverse-path it is HELO that has to allow the client (RFC 7208 §2.4).
    fn question(&self) -> Question<'_> {
        let local_part = match self.reverse_path {
            ReversePath::Null => "",
            ReversePath::Mailbox(mailbox) => mailbox.local_part(),
        };
        Question { client: self.client, helo: self.helo, local_part, domain: self.domain() }
    }

    fn domain(&self) -> &str {
        match self.reverse_path {
            ReversePath::Null => self.helo,
            ReversePath::Mailbox(mailbox) => mailbox.domain().map_or("", |domain| domain.as_str()),
        }
    }
}

/// Asks. One for the whole program, shared by reference.
pub struct Authenticator {
    pub(crate) mail_auth: MessageAuthenticator,
    zone: Hickory,
    turns: Semaphore,
}

impl Authenticator {
    /// Asks the name servers that this resolver asks.
    pub fn new(resolver: &Resolver) -> Self {
        let mail_auth = MessageAuthenticator(resolver.hickory());
        Self { mail_auth, zone: Hickory(resolver.hickory()), turns: Semaphore::new(EVALUATIONS_AT_ONCE) }
    }

    /// Whether the client may send for the reverse-path (RFC 7208). [`Verdict::TempError`] at the deadline.
    pub async fn spf(&self, sender: Sender<'_>, deadline: Instant) -> Spf {
        let domain: Box<str> = sender.domain().into();
        let verdict = timeout_at(deadline, async {
            // It is never closed; were it, nothing would be limited.
            let _turn = self.turns.acquire().await;
            check_host(&self.zone, sender.question()).await
        });
        Spf { verdict: verdict.await.unwrap_or(Verdict::TempError), domain }
    }

    /// Who signed a message, and whether the domain in `From` stands behind it. `message` is all of it, and `spf` what came out
    /// for its sender. What is too large is not looked at.
    pub async fn authenticity(
        &self,
        sender: Sender<'_>,
        spf: &Spf,
        message: &[u8],
        deadline: Instant,
    ) -> Authenticity {
        let unknown = |verdict| Authenticity {
            dkim: Vec::new(),
            dmarc: Dmarc::new(verdict, ""),
            arc: Chain::none(verdict),
        };
        if message.len() > MAX_MESSAGE || header_length(message) > MAX_HEADER {
            return unknown(Verdict::None);
        }
        let asked = timeout_at(deadline, async {
            let _turn = self.turns.acquire().await;
            let mut parsed = parse(message)?;
            let relaxed = without_white_end(message).and_then(parse).map(|mut relaxed| {
                parsed.dkim_headers.retain(|header| header.header.cb != Canonicalization::Relaxed);
                relaxed.dkim_headers.retain(|header| header.header.cb == Canonicalization::Relaxed);
                relaxed.errors.clear();
                relaxed
            });
            let mut dkim = self.mail_auth.verify_dkim(&parsed).await;
            if let Some(relaxed) = &relaxed {
                dkim.extend(self.mail_auth.verify_dkim(relaxed).await);
            }
            let output = SpfOutput::new(spf.domain.to_string()).with_result(spf_result(spf.verdict));
            let question = DmarcParameters::new(&parsed, &dkim, sender.domain(), &output);
            let dmarc = self.mail_auth.verify_dmarc(question).await;
            let dmarc = Dmarc {
                verdict: dmarc_verdict(&dmarc.result()),
                domain: dmarc.domain().into(),
                dkim: *dmarc.dkim_result() == DmarcResult::Pass,
                spf: *dmarc.spf_result() == DmarcResult::Pass,
                asked: dmarc.dmarc_record().and_then(|_| asked(dmarc.policy())),
                wants_reports: dmarc.dmarc_record().is_some_and(|record| !record.rua().is_empty()),
            };
            let sets = [&parsed.as_headers.len(), &parsed.ams_headers.len(), &parsed.aar_headers.len()];
            let is_sound = sets.into_iter().all(|number| *number <= MAX_SETS) && is_well_formed(&parsed);
            let arc = match is_sound {
                true => Chain::of(&self.mail_auth.verify_arc(relaxed.as_ref().unwrap_or(&parsed)).await),
                false => Chain::none(Verdict::Fail),
            };
            let dkim = dkim.iter().take(MAX_SIGNATURES).map(signature).collect();
            Some(Authenticity { dkim, dmarc, arc })
        });
        match asked.await {
            Ok(Some(authenticity)) => authenticity,
            Ok(None) => unknown(Verdict::None),
            Err(_) => unknown(Verdict::TempError),
        }
    }
}

impl Authenticator {
    /// Whether the client's address has a name that has it. [`Verdict::TempError`] at the deadline.
    pub async fn iprev(&self, client: IpAddr, deadline: Instant) -> Iprev {
        let asked = timeout_at(deadline, async {
            let _turn = self.turns.acquire().await;
            iprev(&self.zone, client).await
        });
        asked.await.unwrap_or_else(|_| Iprev::of(Verdict::TempError))
    }
}

impl fmt::Debug for Authenticator {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Authenticator").finish_non_exhaustive()
    }
}

fn header_length(message: &[u8]) -> usize {
    memchr::memmem::find(message, b"\r\n\r\n").unwrap_or(message.len())
}

/// With what is looked at of its signatures.
fn parse(message: &[u8]) -> Option<AuthenticatedMessage<'_>> {
    let mut parsed = AuthenticatedMessage::parse(message)?;
    parsed.dkim_headers.retain(|header| is_bounded(&header.header));
    parsed.dkim_headers.truncate(MAX_SIGNATURES);
    parsed.errors.truncate(MAX_SIGNATURES);
    Some(parsed)
}

/// The same for relaxed bodies (RFC 6376 §3.4.4), where a body ends in lines of spaces and tabs: mail-auth 0.13 keeps those as
/// empty lines, and what others signed would not verify. ARC's bodies are relaxed with every sealer known.
fn without_white_end(message: &[u8]) -> Option<&[u8]> {
    let body = message.get(header_length(message) + 4..)?;
    let is_text = |octet: &u8| !matches!(octet, b' ' | b'\t' | b'\r' | b'\n');
    let length = body.iter().rposition(is_text).map_or(0, |last| last + 1);
    let white = &body[length..];
    white.iter().any(|octet| matches!(octet, b' ' | b'\t')).then(|| &message[..message.len() - white.len()])
}

fn is_bounded(signature: &Signature) -> bool {
    signature.h.len() <= MAX_SIGNED_FIELDS
}

fn signature(output: &DkimOutput<'_>) -> Dkim {
    let (verdict, reason) = match output.result() {
        DkimResult::Pass => (Verdict::Pass, None),
        DkimResult::None => (Verdict::None, None),
        DkimResult::Neutral(error) => (Verdict::Neutral, Some(error)),
        DkimResult::Fail(error) => (Verdict::Fail, Some(error)),
        DkimResult::PermError(error) => (Verdict::PermError, Some(error)),
        DkimResult::TempError(error) => (Verdict::TempError, Some(error)),
    };
    let (domain, selector) = match output.signature() {
        Some(signature) => (signature.d.as_str().into(), signature.s.as_str().into()),
        None => ("".into(), "".into()),
    };
    Dkim { verdict, domain, selector, reason: reason.map(|error| error.to_string().into()) }
}

fn spf_result(verdict: Verdict) -> SpfResult {
    match verdict {
        Verdict::Pass => SpfResult::Pass,
        Verdict::Fail => SpfResult::Fail,
        Verdict::SoftFail => SpfResult::SoftFail,
        Verdict::Neutral => SpfResult::Neutral,
        Verdict::TempError => SpfResult::TempError,
        Verdict::PermError => SpfResult::PermError,
        Verdict::None => SpfResult::None,
    }
}

fn dmarc_verdict(result: &DmarcResult) -> Verdict {
    match result {
        DmarcResult::Pass => Verdict::Pass,
        DmarcResult::Fail(_) => Verdict::Fail,
        DmarcResult::TempError(_) => Verdict::TempError,
        DmarcResult::PermError(_) => Verdict::PermError,
        DmarcResult::None => Verdict::None,
    }
}
