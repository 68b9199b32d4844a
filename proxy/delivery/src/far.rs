//! The far side of a connection, without its socket: what was asked, what was answered, what may be asked next.

use std::collections::VecDeque;

use record::{Leg, TlsOutcome};
use route::{AskingBack, Backend};
use smtp::dialogue::{Dialogue, OutOfStep, Sent};
use smtp::reply::ReplyCode;
use smtp::{Capabilities, Extension, Mail, Rcpt, RecipientSet, Reply, TransactionId};
use std::sync::Arc;

use crate::delivered::Delivered;
use crate::open::{Terms, TlsWish};

/// A far side that no policy has looked at: it can be greeted, not trusted with mail.
#[derive(Debug)]
pub struct Unproven(());

/// A far side whose TLS outcome satisfies the policy.
#[derive(Debug)]
pub struct Proven {
    backend: Arc<Backend>,
    leg: Leg,
    /// The XFORWARD line that goes before each MAIL, if the client's address is told that way.
    xforward: Option<Vec<u8>>,
    /// MAIL was said, and no final reply or RSET has ended the transaction.
    in_transaction: bool,
    /// The recipients that the server took in this transaction: a delivery is evidence for them and no others.
    accepted: RecipientSet,
    content: Content,
    /// It is on behalf of the server itself.
    asking_back: Option<AskingBack>,
    /// It is as good as REQUIRETLS wants it (RFC 8689 §4.2.1).
    is_proved: bool,
    /// What the recipient's domain demands was not insisted on: it is for the one message that says so.
    is_regardless: bool,
}

/// What is on its way to the server, if content is.
#[derive(Clone, Copy, Debug)]
enum Content {
    None,
    /// The server may answer early only to refuse.
    Unfinished(TransactionId),
    Finished(TransactionId),
}

/// The far side of a connection.
#[derive(Debug)]
pub struct Far<S> {
    dialogue: Dialogue,
    /// Commands that wait because the server does not offer PIPELINING.
    waiting: VecDeque<(Sent, Vec<u8>)>,
    capabilities: Capabilities,
    greeting: Option<Reply>,
    state: S,
}

/// What a server's reply means.
#[derive(Debug)]
pub enum Answered {
    /// To a command.
    Reply(Sent, Reply),
    /// To the content: taken.
    Delivered(Delivered),
    /// To the content: not taken.
    Undelivered(Reply),
}

impl Far<Unproven> {
    /// At the start of a connection.
    pub fn new() -> Self {
        Self {
            dialogue: Dialogue::new(),
            waiting: VecDeque::new(),
            capabilities: Capabilities::default(),
            greeting: None,
            state: Unproven(()),
        }
    }

    /// What TLS came to, held against the backend's policy: of a hidden server. Those of the world have policies of their own.
    ///
    /// # Errors
    ///
    /// The far side as it was, if the policy is not satisfied.
    pub fn prove(self, backend: &Arc<Backend>, leg: Leg) -> Result<Far<Proven>, Self> {
        if backend.servers().iter().any(|server| server.far_tls().is_some()) {
            return Err(self);
        }
        let (policy, connector) = (backend.tls(), backend.connector());
        let terms = Terms { policy, connector, far: None, wish: TlsWish::AsPolicySays };
        self.prove_under(backend, &terms, leg)
    }

    /// The same, held against the policy of one of its servers.
    pub(crate) fn prove_under(
        self,
        backend: &Arc<Backend>,
        terms: &Terms<'_>,
        leg: Leg,
    ) -> Result<Far<Proven>, Self> {
        if terms.never().is_some() || !terms.policy.is_satisfied_by(&leg.tls) {
            return Err(self);
        }
        let Self { dialogue, waiting, capabilities, greeting, state: Unproven(()) } = self;
        let backend = Arc::clone(backend);
        let state = Proven {
            backend,
            xforward: None,
            in_transaction: false,
            accepted: RecipientSet::new(),
            content: Content::None,
            asking_back: None,
            is_proved: terms.proves(&leg.tls),
            is_regardless: !terms.holds(),
            leg,
        };
        Ok(Far { dialogue, waiting, capabilities, greeting, state })
    }
}

impl Default for Far<Unproven> {
    fn default() -> Self {
        Self::new()
    }
}

impl<S> Far<S> {
    /// What the server offers, from its last EHLO reply.
    pub fn capabilities(&self) -> &Capabilities {
        &self.capabilities
    }

    /// The server's banner.
    pub fn greeting(&self) -> Option<&Reply> {
        self.greeting.as_ref()
    }

    /// Whether every command has its reply.
    pub fn is_settled(&self) -> bool {
        self.dialogue.is_settled() && self.waiting.is_empty()
    }

    /// What is said before mail: EHLO, HELO, STARTTLS, XCLIENT, AUTH and its responses, QUIT.
    pub fn say(&mut self, sent: Sent, line: &str, out: &mut Vec<u8>) {
        debug_assert!(!matches!(sent, Sent::Mail | Sent::Rcpt(_) | Sent::Data | Sent::Content | Sent::Chunk));
        self.send(sent, format!("{line}\r\n").into_bytes(), out);
    }

    fn send(&mut self, sent: Sent, bytes: Vec<u8>, out: &mut Vec<u8>) {
        self.waiting.push_back((sent, bytes));
        self.send_waiting(out);
    }

    fn send_waiting(&mut self, out: &mut Vec<u8>) {
        let pipelining = self.capabilities.has(Extension::Pipelining);
        while pipelining || self.dialogue.is_settled() {
            let Some((sent, bytes)) = self.waiting.pop_front() else { return };
            self.dialogue.sent(sent);
            out.extend_from_slice(&bytes);
        }
    }

    fn read_reply(
        &mut self,
        input: &mut &[u8],
        out: &mut Vec<u8>,
    ) -> Result<Option<(Sent, Reply)>, OutOfStep> {
        let Some((sent, reply)) = self.dialogue.read(input)? else { return Ok(None) };
        match sent {
            Sent::Greeting => self.greeting = Some(reply.clone()),
            Sent::Ehlo if reply.code().is_positive() => self.capabilities = Capabilities::from_ehlo(&reply),
            Sent::Helo => self.capabilities = Capabilities::default(),
            // What was learnt in clear does not hold behind TLS (RFC 3207 §4.2); nor before XCLIENT behind it.
            Sent::StartTls | Sent::Xclient => self.capabilities = Capabilities::default(),
            _ => {}
        }
        self.send_waiting(out);
        Ok(Some((sent, reply)))
    }
}

impl Far<Unproven> {
    /// Takes the next reply from the front of `input`; what it allows to be sent is appended to `out`.
    ///
    /// # Errors
    ///
    /// Drop the connection.
    pub fn read(&mut self, input: &mut &[u8], out: &mut Vec<u8>) -> Result<Option<(Sent, Reply)>, OutOfStep> {
        self.read_reply(input, out)
    }
}

impl Far<Proven> {
    /// The backend whose policy it satisfies.
    pub fn backend(&self) -> &Arc<Backend> {
        &self.state.backend
    }

    /// The connection, for the record.
    pub fn leg(&self) -> &Leg {
        &self.state.leg
    }

    /// What TLS came to.
    pub fn tls(&self) -> &TlsOutcome {
        &self.state.leg.tls
    }

    /// Whether it is as good as REQUIRETLS wants it (RFC 8689 §4.2.1).
    pub fn is_proved(&self) -> bool {
        self.state.is_proved
    }

    /// Whether what the recipient's domain demands was not insisted on: no other message may go over it.
    pub fn is_regardless(&self) -> bool {
        self.state.is_regardless
    }

    /// The connection counts among those on behalf of the server itself, as long as it is that client's.
    pub(crate) fn set_asking_back(&mut self, asking_back: Option<AskingBack>) {
        self.state.asking_back = asking_back;
    }

    /// The connection carries a second message.
    pub fn mark_reused(&mut self) {
        self.state.leg.reused = true;
    }

    /// How the client's address was told, once it is.
    pub(crate) fn set_client_address(&mut self, method: &'static str, xforward: Option<Vec<u8>>) {
        self.state.leg.client_address = method;
        self.state.xforward = xforward;
    }

    /// Whether another session could use the connection: nothing is open on it, and nothing of a client was told.
    pub fn is_reusable(&self) -> bool {
        let in_step = self.is_settled() && !self.state.in_transaction;
        in_step && !self.state.is_regardless && self.state.leg.client_address == "none"
    }

    /// Whether a transaction is open on it.
    pub fn is_in_transaction(&self) -> bool {
        self.state.in_transaction
    }

    /// MAIL; after a transaction that was broken off, RSET before it. `size` goes out as SIZE.
    pub fn mail(&mut self, mail: &Mail, size: Option<u64>, out: &mut Vec<u8>) {
        self.reset(out);
        if let Some(line) = self.state.xforward.clone() {
            self.send(Sent::Xforward, line, out);
        }
        let mut line = Vec::with_capacity(128);
        if mail.size == size {
            mail.write(&mut line, |extension| self.capabilities.has(extension));
        } else {
            Mail { size, ..mail.clone() }.write(&mut line, |extension| self.capabilities.has(extension));
        }
        self.send(Sent::Mail, line, out);
        self.state.in_transaction = true;
        self.state.accepted = RecipientSet::new();
    }

    /// RCPT for the recipient with this index.
    pub fn rcpt(&mut self, index: usize, rcpt: &Rcpt, out: &mut Vec<u8>) {
        let mut line = Vec::with_capacity(64);
        rcpt.write(&mut line, self.capabilities.has(Extension::Dsn));
        self.send(Sent::Rcpt(index), line, out);
    }

    /// The recipients that the server took since MAIL.
    pub fn accepted(&self) -> &RecipientSet {
        &self.state.accepted
    }

    /// RSET, if a transaction is open.
    pub fn reset(&mut self, out: &mut Vec<u8>) {
        if self.state.in_transaction {
            self.send(Sent::Rset, b"RSET\r\n".to_vec(), out);
            self.state.in_transaction = false;
        }
    }

    /// DATA.
    pub fn data(&mut self, out: &mut Vec<u8>) {
        self.send(Sent::Data, b"DATA\r\n".to_vec(), out);
    }

    /// `BDAT size LAST`, for the content that follows.
    pub fn chunk(&mut self, size: u64, id: TransactionId, out: &mut Vec<u8>) {
        debug_assert!(self.is_settled(), "the replies to the envelope come first");
        out.extend_from_slice(format!("BDAT {size} LAST\r\n").as_bytes());
        self.begin_content(id);
    }

    /// Content begins, behind the 354 or the BDAT line.
    pub fn begin_content(&mut self, id: TransactionId) {
        self.dialogue.sent(Sent::Content);
        self.state.content = Content::Unfinished(id);
    }

    /// The last octet of content is on its way: from here on a 250 is a promise.
    pub fn finish_content(&mut self) {
        if let Content::Unfinished(id) = self.state.content {
            self.state.content = Content::Finished(id);
        }
    }

    /// Takes the next reply from the front of `input`; what it allows to be sent is appended to `out`.
    ///
    /// # Errors
    ///
    /// Drop the connection.
    pub fn read(&mut self, input: &mut &[u8], out: &mut Vec<u8>) -> Result<Option<Answered>, OutOfStep> {
        let Some((sent, reply)) = self.read_reply(input, out)? else { return Ok(None) };
        if let Sent::Rcpt(index) = sent
            && reply.code().is_positive()
        {
            self.state.accepted.insert(index);
        }
        if sent != Sent::Content {
            return Ok(Some(Answered::Reply(sent, reply)));
        }
        let content = std::mem::replace(&mut self.state.content, Content::None);
        let positive = reply.code().is_positive();
        match content {
            Content::Finished(id) if positive => {
                self.state.in_transaction = false;
                let recipients = std::mem::take(&mut self.state.accepted);
                let leg = self.state.leg.clone();
                Ok(Some(Answered::Delivered(Delivered::new(id, recipients, reply, leg))))
            }
            Content::Finished(..) if is_refusal(reply.code()) => {
                self.state.in_transaction = false;
                Ok(Some(Answered::Undelivered(reply)))
            }
            // The connection is in the middle of content: it stays in transaction, nobody may use it again.
            Content::Unfinished(..) if is_refusal(reply.code()) => Ok(Some(Answered::Undelivered(reply))),
            _ => Err(OutOfStep::Unasked(reply)),
        }
    }
}

fn is_refusal(code: ReplyCode) -> bool {
    code.is_transient() || code.is_permanent()
}

#[cfg(test)]
mod tests {
    use super::*;
    use record::SystemClock;
    use route::{BackendSettings, Banner, ClientAddress};
    use smtp::{Proof, ReversePath, TraceId};
    use tls::{Connector, Ladder, LegPolicy};

    fn backend(ladder: Ladder) -> Arc<Backend> {
        let tls = LegPolicy { ladder, ..LegPolicy::default() };
        let plain = LegPolicy { ladder: Ladder::Off, ..LegPolicy::default() };
        Arc::new(Backend::new(BackendSettings {
            name: "b".into(),
            domains: Vec::new(),
            servers: Vec::new(),
            submission: Vec::new(),
            connector: Connector::new(&tls::Settings::default(), &plain, Arc::new(SystemClock)).unwrap(),
            tls,
            client_address: ClientAddress::None,
            banner: Banner::Postern,
            world: None,
        }))
    }

    fn leg() -> Leg {
        Leg {
            backend: "b".into(),
            server: "127.0.0.1:25".parse().unwrap(),
            tls: TlsOutcome::Plain,
            client_address: "none",
            reused: false,
            policy: "".into(),
        }
    }

    fn proven(ehlo: &str) -> Far<Proven> {
        let mut far = Far::new();
        let mut out = Vec::new();
        far.read(&mut &b"220 hi\r\n"[..], &mut out).unwrap();
        far.say(Sent::Ehlo, "EHLO x", &mut out);
        far.read(&mut ehlo.as_bytes(), &mut out).unwrap();
        far.prove(&backend(Ladder::Off), leg()).unwrap()
    }

    fn id() -> TransactionId {
        TransactionId { session: TraceId::new(1, 1), number: 1 }
    }

    fn rcpt() -> Rcpt {
        let Ok(smtp::Command::Rcpt(rcpt)) = smtp::Command::parse(b"RCPT TO:<a@b.example>") else { panic!() };
        *rcpt
    }

    #[test]
    fn plain_text_is_not_proven_where_tls_is_demanded() {
        for ladder in [Ladder::Encrypt, Ladder::Verify] {
            assert!(Far::new().prove(&backend(ladder), leg()).is_err());
        }
    }

    #[test]
    fn the_envelope_goes_out_in_one_piece_where_pipelining_is_offered() {
        let mut far = proven("250-x\r\n250 PIPELINING\r\n");
        let mut out = Vec::new();
        far.mail(&Mail::new(ReversePath::Null), None, &mut out);
        far.rcpt(0, &rcpt(), &mut out);
        assert_eq!(out, b"MAIL FROM:<>\r\nRCPT TO:<a@b.example>\r\n");
    }

    #[test]
    fn what_a_server_does_not_know_of_reports_it_is_not_told() {
        let Ok(smtp::Command::Mail(mail)) = smtp::Command::parse(b"MAIL FROM:<a@b.example> RET=FULL ENVID=x")
        else {
            panic!()
        };
        let Ok(smtp::Command::Rcpt(rcpt)) =
            smtp::Command::parse(b"RCPT TO:<c@d.example> NOTIFY=SUCCESS,DELAY ORCPT=rfc822;c@d.example")
        else {
            panic!()
        };
        for (ehlo, told) in [
            ("250-x\r\n250 PIPELINING\r\n", "MAIL FROM:<a@b.example>\r\nRCPT TO:<c@d.example>\r\n"),
            (
                "250-x\r\n250-DSN\r\n250 PIPELINING\r\n",
                "MAIL FROM:<a@b.example> RET=FULL ENVID=x\r\n\
                 RCPT TO:<c@d.example> NOTIFY=SUCCESS,DELAY ORCPT=rfc822;c@d.example\r\n",
            ),
        ] {
            let mut far = proven(ehlo);
            let mut out = Vec::new();
            far.mail(&mail, None, &mut out);
            far.rcpt(0, &rcpt, &mut out);
            assert_eq!(String::from_utf8_lossy(&out), told);
        }
    }

    #[test]
    fn one_command_at_a_time_goes_to_a_server_without_pipelining() {
        let mut far = proven("250 x\r\n");
        let mut out = Vec::new();
        far.mail(&Mail::new(ReversePath::Null), None, &mut out);
        far.rcpt(0, &rcpt(), &mut out);
        assert_eq!(out, b"MAIL FROM:<>\r\n");
        out.clear();
        far.read(&mut &b"250 ok\r\n"[..], &mut out).unwrap();
        assert_eq!(out, b"RCPT TO:<a@b.example>\r\n");
    }

    #[test]
    fn only_the_reply_to_whole_content_makes_a_delivery() {
        let mut out = Vec::new();
        let mut far = proven("250-x\r\n250 PIPELINING\r\n");
        far.begin_content(id());
        assert!(
            far.read(&mut &b"250 early\r\n"[..], &mut out).is_err(),
            "a 250 before the end proves nothing"
        );

        let mut far = proven("250-x\r\n250 PIPELINING\r\n");
        far.mail(&Mail::new(ReversePath::Null), None, &mut out);
        (0..2).for_each(|index| far.rcpt(index, &rcpt(), &mut out));
        let mut replies = &b"250 ok\r\n250 ok\r\n550 no\r\n"[..];
        while far.read(&mut replies, &mut out).unwrap().is_some() {}
        far.begin_content(id());
        far.finish_content();
        let Ok(Some(Answered::Delivered(proof))) = far.read(&mut &b"250 ok\r\n"[..], &mut out) else {
            panic!()
        };
        assert_eq!((proof.transaction(), proof.recipients().len()), (id(), 1));

        let mut far = proven("250-x\r\n250 PIPELINING\r\n");
        far.begin_content(id());
        far.finish_content();
        assert!(far.read(&mut &b"354 what\r\n"[..], &mut out).is_err(), "a 354 to content is out of step");
    }

    #[test]
    fn a_transaction_that_was_broken_off_is_reset_before_the_next() {
        let mut far = proven("250-x\r\n250 PIPELINING\r\n");
        let mut out = Vec::new();
        far.mail(&Mail::new(ReversePath::Null), None, &mut out);
        assert!(!far.is_reusable());
        out.clear();
        far.mail(&Mail::new(ReversePath::Null), None, &mut out);
        assert_eq!(out, b"RSET\r\nMAIL FROM:<>\r\n");
    }
}
