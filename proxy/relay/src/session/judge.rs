//! Between the content and its servers: the message is judged while nobody has an octet of it (DESIGN §3, law 8), and signed
//! if it leaves for the world.

use std::ops::Range;

use record::{Direction, Verdict};
use smtp::No;
use smtp::receiver::Awaiting;
use spool::{Recalled, ReceiptKey, SenderProof};
use tokio::time::{Duration, Instant};

use super::carried::Carried;
use super::group::Group;
use super::settle::Settling;
use super::story::Story;
use super::{Action, Common, LegId, Phase, Question, Session, SigningRequest};
use crate::body::Body;
use crate::budget::Share;
use crate::judging::{Fate, Judgement, OnFailure, Own};
use crate::kept::Kept;
use crate::signing::SIGNING;

/// Beyond its budget the judge gets this long to say what it has found out: only a judge that hangs is not waited for.
const GRACE: Duration = Duration::from_secs(2);

/// A message that has arrived and that nobody has yet.
#[derive(Debug)]
pub(super) struct Whole {
    pub(super) awaiting: Awaiting<Kept>,
    pub(super) carried: Carried,
    pub(super) body: Body,
    /// Given back when the client has its answer.
    pub(super) share: Share,
    pub(super) cuts: Cuts,
    /// Fields for copies that leave for the world.
    pub(super) signatures: Box<str>,
    /// By which the client's next try is known, should it not hear of this one.
    pub(super) key: Option<ReceiptKey>,
    /// The evidence that this is such a next try.
    pub(super) recalled: Option<Recalled>,
    /// When its last octet came.
    pub(super) ended: Instant,
    /// `TLS-Required: No` (RFC 8689 §5).
    pub(super) goes_regardless: bool,
}

/// What is left out of the content when it is passed on (DECISIONS 13).
#[derive(Debug)]
pub(super) struct Cuts {
    pub(super) always: Vec<Range<u64>>,
    /// Towards the world, where the inside stays hidden.
    pub(super) hiding: Vec<Range<u64>>,
}

/// A message that is being judged or signed.
#[derive(Debug)]
pub(super) struct Judging {
    whole: Whole,
    stage: Stage,
    until: Instant,
}

/// What is waited for.
#[derive(Debug)]
enum Stage {
    /// The judge.
    Verdict,
    /// The signer; what the judge said, if there is one.
    Signature(Option<Box<Judgement>>),
}

impl Judging {
    fn awaits_verdict_on(&self, transaction: smtp::TransactionId) -> bool {
        matches!(self.stage, Stage::Verdict) && self.whole.awaiting.id() == transaction
    }

    pub(super) fn deadline(&self) -> Instant {
        self.until
    }

    pub(super) fn lost(&mut self, leg: LegId, common: &mut Common) {
        self.whole.carried.lost(leg, self.whole.awaiting.envelope(), common);
    }

    pub(super) fn spoke(&mut self, leg: LegId, input: &[u8], common: &mut Common) {
        self.whole.carried.spoke(leg, input, self.whole.awaiting.envelope(), common);
    }

    pub(super) fn opened(&mut self, leg: LegId, far: delivery::Far<delivery::Proven>, common: &mut Common) {
        self.whole.carried.opened(leg, far, self.whole.awaiting.envelope(), common);
    }

    /// The session ends: the client has no answer and will send the message again.
    pub(super) fn abandon(self: Box<Self>, common: &mut Common) {
        let Whole { awaiting, carried, body, .. } = self.whole;
        let mut story = Story::without_content(awaiting.id(), awaiting.envelope(), &carried);
        story.size = body.len();
        common.record_transaction(&story);
        common.act(Action::Forget);
        carried.give_back(common);
    }
}

impl Whole {
    /// Whether anybody but Postern itself is to have it, for the first time.
    fn is_to_be_judged(&self, common: &Common) -> bool {
        let for_others = self.carried.own.len() < self.awaiting.accepted().len();
        // What a user submits goes through the server, and is judged on its way out (DECISIONS 9): here it is asked only whether the
        // user may send.
        let is_asked = |judging: &crate::judging::Judging| judging.submissions || !common.is_submission();
        common.settings.judging.as_ref().is_some_and(is_asked) && self.recalled.is_none() && for_others
    }

    /// Whether somebody in the world is to have it; a submission that is held goes there, once released, without its server.
    fn is_to_be_signed(&self, judgement: Option<&Judgement>, common: &Common) -> bool {
        let leaves = |group: &Group| group.backend.world().is_some() && !group.accepted.is_empty();
        let is_held = judgement.is_some_and(|judgement| matches!(judgement.fate, Fate::Hold(_)));
        let goes_out = self.carried.groups.iter().any(leaves) || (is_held && common.is_submission());
        common.settings.signs && self.recalled.is_none() && goes_out
    }

    fn question(&mut self, deadline: Instant, common: &Common) -> Question {
        Question {
            transaction: self.awaiting.id(),
            direction: common.direction(),
            client: common.client.clone(),
            protocol: common.protocol,
            tls: common.tls.clone(),
            authenticated: common.authenticated,
            user: common.user.clone(),
            envelope: self.awaiting.envelope().clone(),
            recipients: self.awaiting.accepted().clone(),
            trapped: self.carried.own_of(Own::Trap).next().is_some(),
            received: common.wall_now(),
            stored: self.body.stored(),
            tail: self.body.share(),
            deadline,
        }
    }
}

impl Session {
    /// The message goes to the judge if there is one, else on to its servers.
    pub(super) fn whole(mut self, mut whole: Whole) -> Self {
        let budget = self.common.settings.judging.as_ref().map(|judging| judging.budget);
        match budget.filter(|_| whole.is_to_be_judged(&self.common)) {
            None => self.settle(whole, None),
            Some(budget) => {
                let deadline = self.common.now + budget;
                let question = whole.question(deadline, &self.common);
                self.common.act(Action::Judge(Box::new(question)));
                let judging = Judging { whole, stage: Stage::Verdict, until: deadline + GRACE };
                Self { phase: Phase::Judging(Box::new(judging)), ..self }
            }
        }
    }

    /// The judge has spoken, if this is still the message that it speaks of.
    pub(super) fn judged(self, transaction: smtp::TransactionId, judgement: Judgement) -> Self {
        match self.phase {
            Phase::Judging(judging) if judging.awaits_verdict_on(transaction) => {
                Self { common: self.common, phase: Phase::Ended }.carry_out(judging.whole, judgement)
            }
            _ => self,
        }
    }

    /// The signer has done what it could, if this is still the message that it speaks of.
    pub(super) fn signed(self, transaction: smtp::TransactionId, signatures: Box<str>) -> Self {
        match self.phase {
            Phase::Judging(judging) if judging.whole.awaiting.id() == transaction => {
                let Judging { whole, stage, until } = *judging;
                match stage {
                    Stage::Signature(judgement) => {
                        let whole = Whole { signatures, ..whole };
                        Self { common: self.common, phase: Phase::Ended }
                            .send(whole, judgement.map(|one| *one))
                    }
                    stage => {
                        let judging = Judging { whole, stage, until };
                        Self { common: self.common, phase: Phase::Judging(Box::new(judging)) }
                    }
                }
            }
            _ => self,
        }
    }

    /// It has not spoken in time; unsigned mail is better than none.
    pub(super) fn judging_deadline(self) -> Self {
        match self.phase {
            Phase::Judging(judging) if judging.until <= self.common.now => {
                let session = Self { common: self.common, phase: Phase::Ended };
                match judging.stage {
                    Stage::Verdict => session.unjudged(judging.whole, "no verdict in time"),
                    Stage::Signature(judgement) => session.send(judging.whole, judgement.map(|one| *one)),
                }
            }
            _ => self,
        }
    }

    /// There is no judge, or it broke.
    pub(super) fn not_judged(self, transaction: smtp::TransactionId, trouble: &str) -> Self {
        match self.phase {
            Phase::Judging(judging) if judging.awaits_verdict_on(transaction) => {
                Self { common: self.common, phase: Phase::Ended }.unjudged(judging.whole, trouble)
            }
            _ => self,
        }
    }

    fn unjudged(self, whole: Whole, trouble: &str) -> Self {
        let judging = self.common.settings.judging.as_ref().filter(|_| !self.common.is_submission());
        let on_failure = judging.map_or(OnFailure::Pass, |judging| judging.on_failure);
        let took = self.common.now.saturating_duration_since(whole.ended);
        let judgement = Judgement::failed(on_failure, self.common.direction(), trouble, took);
        self.carry_out(whole, judgement)
    }

    /// Refused if nobody is to have it (DECISIONS 5); traps count as nobody.
    fn carry_out(self, whole: Whole, judgement: Judgement) -> Self {
        let own = &whole.carried.own;
        let is_own = |index: &usize| own.iter().any(|(own, _)| own == index);
        let reported = whole.carried.own_of(Own::Report).next().is_some();
        let others = whole.awaiting.accepted().iter().filter(|index| !is_own(index));
        match judgement.refusal(others).filter(|_| !reported).cloned() {
            Some(no) => self.refuse_whole(whole, &no, judgement.verdict, Some(judgement)),
            None => self.settle(whole, Some(judgement)),
        }
    }

    fn settle(mut self, mut whole: Whole, judgement: Option<Judgement>) -> Self {
        if !whole.is_to_be_signed(judgement.as_ref(), &self.common) {
            return self.send(whole, judgement);
        }
        self.common.act(Action::Sign(Box::new(SigningRequest {
            transaction: whole.awaiting.id(),
            client: self.common.client.address.ip(),
            stored: whole.body.stored(),
            tail: whole.body.share(),
        })));
        let (stage, until) = (Stage::Signature(judgement.map(Box::new)), self.common.now + SIGNING);
        Self { phase: Phase::Judging(Box::new(Judging { whole, stage, until })), ..self }
    }

    fn send(mut self, whole: Whole, judgement: Option<Judgement>) -> Self {
        let settling = Settling::begin(whole, judgement, &mut self.common);
        Self { phase: Phase::Settling(Box::new(settling)), ..self }.conclude()
    }

    /// Nobody gets it, and the client is told why.
    pub(super) fn refuse_whole(
        mut self,
        whole: Whole,
        no: &No,
        verdict: Verdict,
        judgement: Option<Judgement>,
    ) -> Self {
        let Whole { awaiting, carried, body, .. } = whole;
        let common = &mut self.common;
        let mut story = Story::without_content(awaiting.id(), awaiting.envelope(), &carried);
        story.size = body.len();
        story.content_ended = Some(whole.ended);
        story.verdict = verdict;
        story.opinion = judgement.map(|judgement| Box::new(judgement.opinion));
        let (ready, reply) = awaiting.refuse(no.refusal(story.id));
        story.reply = Some(reply.clone());
        common.record_transaction(&story);
        common.say(&reply);
        common.act(Action::Forget);
        carried.give_back(common);
        common.await_command();
        Self { phase: Phase::Idle(ready), ..self }.end_after_drain()
    }
}

impl Common {
    /// From inside, or from who authenticated: outbound.
    pub(super) fn direction(&self) -> Direction {
        match self.known_sender() {
            SenderProof::Unknown => Direction::Inbound,
            _ => Direction::Outbound,
        }
    }
}
