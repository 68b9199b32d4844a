//! The receiving side of mail transactions (RFC 5321 §3.3) as types: `Ready`, then `Open` after MAIL, `Receiving` after
//! DATA or the first BDAT, `Awaiting` after the content's end. A 250 to the content can only be made from a [`Proof`]
//! (law 1), and a transaction that is awaiting its answer gets exactly one.

use std::fmt;
use std::marker::PhantomData;

use crate::answers;
use crate::command::{Envelope, Mail, Rcpt};
use crate::identity::{RecipientSet, TraceId, TransactionId};
use crate::reply::{Refusal, Reply};

/// Evidence that a message is somebody else's responsibility now, or durably ours: made only by whoever delivered or
/// stored it, for one transaction and for the recipients that it names.
pub trait Proof {
    /// Which transaction it is evidence for.
    fn transaction(&self) -> TransactionId;
    /// Which of its recipients.
    fn recipients(&self) -> &RecipientSet;
    /// What the server said, if one did.
    fn words(&self) -> Option<&Reply>;
}

/// Between transactions.
#[derive(Debug)]
pub struct Ready {
    session: TraceId,
    /// Transactions begun.
    number: u32,
}

impl Ready {
    /// At the start of a session.
    pub fn new(session: TraceId) -> Self {
        Self { session, number: 0 }
    }

    /// MAIL.
    pub fn begin(self, mail: Mail) -> Open {
        let id = TransactionId { session: self.session, number: self.number.saturating_add(1) };
        Open { id, envelope: Envelope::new(mail), accepted: RecipientSet::new() }
    }

    /// Transactions begun so far.
    pub fn transactions(&self) -> u32 {
        self.number
    }

    fn after(id: TransactionId) -> Self {
        Self { session: id.session, number: id.number }
    }
}

/// After MAIL: recipients are named.
#[derive(Debug)]
pub struct Open {
    id: TransactionId,
    envelope: Envelope,
    accepted: RecipientSet,
}

impl Open {
    /// The transaction.
    pub fn id(&self) -> TransactionId {
        self.id
    }

    /// What MAIL and the RCPTs said, the refused ones too.
    pub fn envelope(&self) -> &Envelope {
        &self.envelope
    }

    /// The recipients that got a 250.
    pub fn accepted(&self) -> &RecipientSet {
        &self.accepted
    }

    /// RCPT; its index is what the recipient is called from here on.
    pub fn name(&mut self, rcpt: Rcpt) -> usize {
        self.envelope.recipients.push(rcpt);
        self.envelope.recipients.len() - 1
    }

    /// The recipient gets a 250.
    pub fn accept(&mut self, index: usize) {
        self.accepted.insert(index);
    }

    /// DATA or BDAT. Without an accepted recipient there is nobody to receive for.
    ///
    /// # Errors
    ///
    /// The transaction as it was.
    pub fn receive(self) -> Result<Receiving, Self> {
        if self.accepted.is_empty() { Err(self) } else { Ok(Receiving { open: self }) }
    }

    /// RSET, EHLO, or the session's end.
    pub fn reset(self) -> Ready {
        Ready::after(self.id)
    }
}

/// Content is arriving.
#[derive(Debug)]
pub struct Receiving {
    open: Open,
}

impl Receiving {
    /// The transaction.
    pub fn id(&self) -> TransactionId {
        self.open.id
    }

    /// The envelope.
    pub fn envelope(&self) -> &Envelope {
        &self.open.envelope
    }

    /// The recipients that got a 250.
    pub fn accepted(&self) -> &RecipientSet {
        &self.open.accepted
    }

    /// CRLF.CRLF, or the last octet of BDAT LAST.
    pub fn finish<P>(self) -> Awaiting<P> {
        Awaiting { open: self.open, proof: PhantomData }
    }

    /// RSET between chunks, or the session's end.
    pub fn reset(self) -> Ready {
        self.open.reset()
    }
}

/// After the content: one answer is owed.
#[must_use = "the client is owed an answer"]
pub struct Awaiting<P> {
    open: Open,
    proof: PhantomData<fn(P)>,
}

impl<P: Proof> Awaiting<P> {
    /// The transaction.
    pub fn id(&self) -> TransactionId {
        self.open.id
    }

    /// The envelope.
    pub fn envelope(&self) -> &Envelope {
        &self.open.envelope
    }

    /// The recipients that got a 250.
    pub fn accepted(&self) -> &RecipientSet {
        &self.open.accepted
    }

    /// The 250.
    ///
    /// # Errors
    ///
    /// The proof is for another transaction or leaves out a recipient that was accepted; the answer is still owed.
    pub fn accept(self, proof: P) -> Result<(Ready, Reply), Mismatch<P>> {
        if proof.transaction() != self.open.id || !proof.recipients().covers(&self.open.accepted) {
            return Err(Mismatch { awaiting: self });
        }
        let reply = answers::kept(proof.words(), self.open.id);
        Ok((self.open.reset(), reply))
    }

    /// The 4yz or 5yz.
    pub fn refuse(self, refusal: Refusal) -> (Ready, Reply) {
        (self.open.reset(), refusal.into_reply())
    }
}

impl<P> fmt::Debug for Awaiting<P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Awaiting").field("open", &self.open).finish()
    }
}

/// A proof that does not prove what was asked: a fault of Postern's own, answered with a 451 and logged.
#[derive(Debug, thiserror::Error)]
#[error("the proof does not cover transaction {}", .awaiting.open.id)]
pub struct Mismatch<P> {
    /// The transaction, whose answer is still owed.
    pub awaiting: Awaiting<P>,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::reply::ReplyCode;
    use crate::{Command, ReversePath};

    #[derive(Debug)]
    struct Evidence(TransactionId, RecipientSet);

    impl Proof for Evidence {
        fn transaction(&self) -> TransactionId {
            self.0
        }
        fn recipients(&self) -> &RecipientSet {
            &self.1
        }
        fn words(&self) -> Option<&Reply> {
            None
        }
    }

    fn awaiting() -> Awaiting<Evidence> {
        let mut open = Ready::new(TraceId::new(1, 1)).begin(Mail::new(ReversePath::Null));
        for line in ["RCPT TO:<a@x.example>", "RCPT TO:<b@x.example>", "RCPT TO:<c@x.example>"] {
            let Ok(Command::Rcpt(rcpt)) = Command::parse(line.as_bytes()) else { panic!() };
            let index = open.name(*rcpt);
            if index != 1 {
                open.accept(index);
            }
        }
        open.receive().unwrap().finish()
    }

    #[test]
    fn a_whole_proof_makes_a_250() {
        let awaiting = awaiting();
        let proof = Evidence(awaiting.id(), [0, 2].into_iter().collect());
        let (ready, reply) = awaiting.accept(proof).unwrap();
        assert_eq!(reply.code().get(), 250);
        assert_eq!(ready.transactions(), 1);
    }

    #[test]
    fn a_proof_for_fewer_recipients_makes_none() {
        let awaiting = awaiting();
        let proof = Evidence(awaiting.id(), [0].into_iter().collect());
        let mismatch = awaiting.accept(proof).unwrap_err();
        let refusal = Refusal::new(Reply::new(ReplyCode::fixed(451), None, "no")).unwrap();
        assert_eq!(mismatch.awaiting.refuse(refusal).1.code().get(), 451);
    }

    #[test]
    fn a_proof_for_another_transaction_makes_none() {
        let awaiting = awaiting();
        let other = TransactionId { number: 2, ..awaiting.id() };
        assert!(awaiting.accept(Evidence(other, [0, 2].into_iter().collect())).is_err());
    }

    #[test]
    fn nothing_is_received_for_nobody() {
        let open = Ready::new(TraceId::new(1, 1)).begin(Mail::new(ReversePath::Null));
        assert!(open.receive().is_err());
    }
}
