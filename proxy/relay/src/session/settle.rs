//! After the content: each group's server is given the message, and the client gets the one answer that it is owed
//! (DECISIONS 3 to 6).

use std::sync::Arc;

use delivery::{Far, Outgoing, Proven};
use record::{Direction, Opinion, SessionEnd, Verdict};
use smtp::command::Envelope;
use smtp::receiver::Awaiting;
use smtp::{No, Proof, RecipientSet, Refusal, Reply, ReversePath, TransactionId};
use spool::{Folder, Recalled, ReceiptKey, SenderProof};
use tokio::time::{Duration, Instant};

use super::carried::Carried;
use super::group::Group;
use super::judge::{Cuts, Whole};
use super::sending::{Progress, Sending};
use super::story::{Story, recipient_outcomes};
use super::{Action, Arrival, Carriage, Common, LegId, Phase, Session, SpoolRequest};
use crate::body::Body;
use crate::budget::Share;
use crate::judging::{Fate, Judgement, Mark, Own};
use crate::kept::{Kept, Part};
use crate::received::{self, Received};
use crate::reporting::{HandedOn, Relayed};

mod submission;

/// For the spool to make a message durable; disks that need longer are broken.
const SPOOLING: Duration = Duration::from_secs(60);

/// A message on its way to its servers.
#[derive(Debug)]
pub(super) struct Settling {
    awaiting: Awaiting<Kept>,
    began: Instant,
    told: Vec<Option<Reply>>,
    aliases: Vec<(usize, Box<str>)>,
    sendings: Vec<Sending>,
    body: Body,
    /// Given back when the client has its answer.
    _share: Share,
    content_ended: Instant,
    /// By which the client's next try is known, should it not hear of this one.
    key: Option<ReceiptKey>,
    /// Why the spool did not take it, if it was asked and did not.
    not_spooled: No,
    /// The evidence that this is such a next try.
    recalled: Option<Recalled>,
    /// `TLS-Required: No` (RFC 8689 §5).
    goes_regardless: bool,
    verdict: Verdict,
    opinion: Option<Box<Opinion>>,
}

impl Settling {
    pub(super) fn begin(whole: Whole, judgement: Option<Judgement>, common: &mut Common) -> Self {
        let Whole { awaiting, carried, body, share, cuts, signatures, key, recalled, ended, goes_regardless } =
            whole;
        let Carried { began, groups, own, aliases, told } = carried;
        let wants = |group: &Group| recalled.is_none() && !group.accepted.is_empty();
        let (wanted, unwanted): (Vec<_>, Vec<_>) = groups.into_iter().partition(wants);
        unwanted.into_iter().for_each(|group| group.give_back(common));
        let own = if recalled.is_none() { own } else { Vec::new() };
        let mut settling = Self {
            verdict: verdict_of(judgement.as_ref(), &own),
            awaiting,
            began,
            told,
            aliases,
            sendings: Vec::new(),
            body,
            _share: share,
            content_ended: ended,
            key,
            not_spooled: No::StorageFailed,
            recalled,
            goes_regardless,
            opinion: None,
        };
        for group in wanted {
            settling.send(group, &cuts, &signatures, judgement.as_ref(), common);
        }
        let folders =
            [(Own::Report, Folder::Reports), (Own::Feedback, Folder::Reports), (Own::Trap, Folder::Traps)];
        for (wanted, folder) in folders {
            let recipients: RecipientSet =
                own.iter().filter(|(_, own)| *own == wanted).map(|(index, _)| *index).collect();
            if !recipients.is_empty() {
                settling.keep_own(recipients, folder, &cuts, common);
            }
        }
        let judged = judgement.filter(|judgement| judgement.verdict.is_judged());
        settling.opinion = judged.map(|judgement| Box::new(judgement.opinion));
        settling
    }

    /// A group's message goes to its server; but for those of its recipients of whom the verdict says something else.
    fn send(
        &mut self,
        mut group: Group,
        cuts: &Cuts,
        signatures: &str,
        judgement: Option<&Judgement>,
        common: &mut Common,
    ) {
        let parts = parts_of(&group.accepted, judgement);
        let is_for_world = group.backend.world().is_some();
        let is_hidden = is_for_world && common.settings.hides;
        let cuts_of_all = cuts;
        let cuts = if is_hidden { &cuts.hiding } else { &cuts.always };
        let is_inward = !is_for_world && common.direction() == Direction::Inbound;
        let (backend, named) = (Arc::clone(&group.backend), group.accepted.len());
        let mut others = Vec::new();
        for (treatment, recipients) in parts {
            let mut added = if is_for_world { signatures.to_owned() } else { String::new() };
            if let Some(judgement) = judgement.filter(|_| is_inward) {
                added = treatment.mark().fields(self.awaiting.id());
                added.push_str(&judgement.results);
            }
            let mut added = added.into_bytes();
            added.extend(self.received(is_for_world, &recipients, common));
            let outgoing = Outgoing { added, cuts: cuts.clone(), length: self.body.len() };
            others.push((treatment, recipients, Arc::new(outgoing)));
        }
        others.retain(|(treatment, recipients, outgoing)| match treatment {
            Treatment::Hold(why) if common.is_submission() => {
                self.hold_submission(recipients, (cuts_of_all, signatures), why, common);
                false
            }
            Treatment::Hold(why) => {
                let held = Sending::held(
                    Some(Arc::clone(&backend)),
                    recipients.clone(),
                    Arc::clone(outgoing),
                    (Folder::Quarantine, why.clone()),
                    common.now,
                );
                self.sendings.push(held);
                false
            }
            Treatment::Deliver(_) => true,
        });
        let mut others = others.into_iter();
        let context = Context {
            id: self.awaiting.id(),
            envelope: self.awaiting.envelope(),
            body: &self.body,
            goes_regardless: self.goes_regardless,
        };
        match others.next() {
            None => group.give_back(common),
            Some((_, recipients, outgoing)) => {
                let is_whole = recipients.len() == named;
                group.accepted = recipients;
                self.sendings.push(Sending::begin(group, outgoing, is_whole, &context, common));
            }
        }
        for (_, recipients, outgoing) in others {
            self.sendings.push(Sending::on_another(
                Arc::clone(&backend),
                recipients,
                outgoing,
                &context,
                common,
            ));
        }
    }

    /// Mail for Postern itself, which no server gets.
    fn keep_own(&mut self, recipients: RecipientSet, folder: Folder, cuts: &Cuts, common: &Common) {
        let added = self.received(false, &recipients, common);
        let outgoing = Outgoing { added, cuts: cuts.always.clone(), length: self.body.len() };
        let why = No::NotWanted("it is for Postern itself".into());
        self.sendings.push(Sending::held(None, recipients, Arc::new(outgoing), (folder, why), common.now));
    }

    fn received(&self, to_world: bool, recipients: &RecipientSet, common: &Common) -> Vec<u8> {
        let received = Received {
            id: self.awaiting.id(),
            hostname: &common.settings.hostname,
            client: &common.client,
            tls: &common.tls,
            authenticated: common.authenticated,
            date: common.wall_now(),
            loop_key: &common.settings.loop_key,
            direction: match to_world {
                false => received::Direction::In,
                true if common.settings.hides => received::Direction::OutHidden,
                true => received::Direction::Out,
            },
        };
        received.field(self.awaiting.envelope(), recipients)
    }

    pub(super) fn deadline(&self, client: Instant) -> Instant {
        self.sendings.iter().filter_map(Sending::deadline).min().unwrap_or(client)
    }

    fn on(&mut self, leg: LegId) -> Option<(&mut Sending, Context<'_>)> {
        let context = Context {
            id: self.awaiting.id(),
            envelope: self.awaiting.envelope(),
            body: &self.body,
            goes_regardless: self.goes_regardless,
        };
        self.sendings.iter_mut().find(|sending| sending.leg() == Some(leg)).map(|sending| (sending, context))
    }

    pub(super) fn opened(&mut self, leg: LegId, far: Far<Proven>, common: &mut Common) {
        match self.on(leg) {
            Some((sending, context)) => sending.opened(leg, far, &context, common),
            None => common.act(Action::Release(leg, Box::new(far))),
        }
    }

    pub(super) fn lost(&mut self, leg: LegId, no: No, common: &mut Common) {
        match self.on(leg) {
            Some((sending, _)) => sending.lost(no, common),
            None => self.spoil(leg),
        }
    }

    pub(super) fn spoke(&mut self, leg: LegId, input: &[u8], common: &mut Common) {
        match self.on(leg) {
            Some((sending, context)) => sending.spoke(input, &context, common),
            None => self.spoil(leg),
        }
    }

    fn spoil(&mut self, leg: LegId) {
        self.sendings.iter_mut().filter(|sending| sending.rests_on(leg)).for_each(Sending::spoil);
    }

    /// The content cannot be read again: only who has it already has it.
    pub(super) fn storage_failed(&mut self, common: &mut Common) {
        for sending in &mut self.sendings {
            if let Some(leg) = sending.leg().filter(|_| !sending.awaits_answer()) {
                common.act(Action::Close(leg, false));
            }
            sending.fail(No::StorageFailed);
        }
    }

    pub(super) fn abandon(self: Box<Self>, common: &mut Common) {
        for sending in self.sendings {
            sending.abandon(common);
        }
        common.act(Action::Forget);
    }
}

/// What becomes of a message for some recipients of a group.
#[derive(PartialEq, Eq)]
enum Treatment {
    Deliver(Mark),
    Hold(No),
}

impl Treatment {
    /// Refused means held here: others get the message.
    fn of(fate: &Fate) -> Self {
        match fate {
            Fate::Deliver(mark) => Self::Deliver(*mark),
            Fate::Hold(no) | Fate::Refuse(no) => Self::Hold(no.clone()),
        }
    }

    fn mark(&self) -> Mark {
        match self {
            Self::Deliver(mark) => *mark,
            Self::Hold(_) => Mark::QUARANTINE,
        }
    }
}

/// The recipients of a group, those together for whom the same becomes of the message.
fn parts_of(accepted: &RecipientSet, judgement: Option<&Judgement>) -> Vec<(Treatment, RecipientSet)> {
    let Some(judgement) = judgement.filter(|judgement| !judgement.apart.is_empty()) else {
        let treatment =
            judgement.map_or(Treatment::Deliver(Mark::PASS), |judgement| Treatment::of(&judgement.fate));
        return vec![(treatment, accepted.clone())];
    };
    let mut parts: Vec<(Treatment, RecipientSet)> = Vec::new();
    for index in accepted.iter() {
        let treatment = Treatment::of(judgement.fate_of(index));
        match parts.iter_mut().find(|(known, _)| *known == treatment) {
            Some((_, recipients)) => recipients.insert(index),
            None => parts.push((treatment, [index].into_iter().collect())),
        }
    }
    parts
}

/// Without a judge: what came for traps alone is thrown away when it is learnt.
fn verdict_of(judgement: Option<&Judgement>, own: &[(usize, Own)]) -> Verdict {
    match judgement {
        Some(judgement) => judgement.verdict,
        None if own.iter().any(|(_, own)| *own == Own::Trap) => Verdict::Discard,
        None => Verdict::Unjudged,
    }
}

/// What a sending needs to know of its message.
pub(super) struct Context<'a> {
    pub(super) id: TransactionId,
    pub(super) envelope: &'a Envelope,
    pub(super) body: &'a Body,
    /// `TLS-Required: No` (RFC 8689 §5).
    pub(super) goes_regardless: bool,
}

/// What is to become of the message, once every server has had its say.
enum End {
    /// The client is told this.
    Refuse(Refusal),
    /// These groups go to the spool; then the client gets its 250.
    Spool(Vec<usize>),
    /// Everybody has it.
    Accept,
}

impl Session {
    pub(super) fn fetched(mut self, leg: LegId, bytes: &[u8]) -> Self {
        if let Phase::Settling(settling) = &mut self.phase
            && let Some((sending, context)) = settling.on(leg)
        {
            sending.write_piece(bytes, &context, &mut self.common);
        }
        self
    }

    pub(super) fn fetch_failed(mut self, leg: LegId) -> Self {
        if let Phase::Settling(settling) = &mut self.phase
            && let Some((sending, _)) = settling.on(leg)
        {
            self.common.act(Action::Close(leg, false));
            sending.fail(No::StorageFailed);
        }
        self.conclude()
    }

    pub(super) fn spooled(mut self, group: usize, spooled: spool::Spooled) -> Self {
        if let Phase::Settling(settling) = &mut self.phase
            && let Some(sending) = settling.sendings.get_mut(group)
        {
            sending.spooled(Some(spooled));
        }
        self.conclude()
    }

    pub(super) fn not_spooled(mut self, group: usize, no: No) -> Self {
        if let Phase::Settling(settling) = &mut self.phase
            && let Some(sending) = settling.sendings.get_mut(group)
        {
            settling.not_spooled = no;
            sending.spooled(None);
        }
        self.conclude()
    }

    /// Servers that let their deadline pass are given up. After the content that means that nobody knows whether they
    /// have the message: the client is told to try again and the session ends (DECISIONS 4).
    pub(super) fn settling_deadline(mut self) -> Self {
        let now = self.common.now;
        if let Phase::Settling(settling) = &mut self.phase {
            for sending in &mut settling.sendings {
                if sending.deadline().is_some_and(|deadline| deadline <= now) {
                    sending.lost(No::ServerSilent, &mut self.common);
                }
            }
        }
        self.conclude()
    }

    /// Answers the client, if every group has come to an end.
    pub(super) fn conclude(mut self) -> Self {
        let phase = std::mem::replace(&mut self.phase, Phase::Ended);
        let Phase::Settling(mut settling) = phase else {
            self.phase = phase;
            return self;
        };
        if !settling.sendings.iter().all(Sending::is_done) {
            self.phase = Phase::Settling(settling);
            return self;
        }
        match settling.end(self.common.is_submission()) {
            End::Spool(groups) => {
                settling.spool(&groups, &mut self.common);
                Self { phase: Phase::Settling(settling), ..self }
            }
            End::Refuse(refusal) => self.answer(*settling, Err(refusal)),
            End::Accept => self.answer(*settling, Ok(())),
        }
    }

    fn answer(mut self, mut settling: Settling, outcome: Result<(), Refusal>) -> Self {
        let common = &mut self.common;
        let relayed = settling.relayed(common);
        let Settling {
            awaiting,
            began,
            told,
            aliases,
            sendings,
            body,
            content_ended,
            key,
            recalled,
            verdict,
            opinion,
            ..
        } = settling;
        let id = awaiting.id();
        let mut story = Story {
            id,
            began,
            content_ended: Some(content_ended),
            recipients: recipient_outcomes(awaiting.envelope(), &told, &aliases),
            named: awaiting.envelope().recipients.len(),
            reverse_path: awaiting.envelope().mail.reverse_path.as_str().into(),
            size: body.len(),
            verdict,
            opinion,
            reply: None,
            groups: sendings.iter().map(Sending::outcome).collect(),
        };
        sendings.iter().for_each(|sending| sending.remember(awaiting.envelope(), common));
        let silent = sendings.iter().any(Sending::is_silent_after_content);
        let mut parts: Vec<Part> =
            sendings.into_iter().filter_map(|sending| sending.into_part(common)).collect();
        parts.extend(recalled.map(Part::Recalled));
        let delivered = parts.iter().any(|part| !matches!(part, Part::Spooled(_)));
        let (ready, reply) = match outcome {
            Err(refusal) => awaiting.refuse(refusal),
            Ok(()) => match Kept::new(id, &parts) {
                Some(kept) => match awaiting.accept(kept) {
                    Ok(accepted) => accepted,
                    Err(mismatch) => mismatch.awaiting.refuse(No::NotProved.refusal(id)),
                },
                None => awaiting.refuse(No::NotProved.refusal(id)),
            },
        };
        story.reply = Some(reply.clone());
        common.record_transaction(&story);
        common.say(&reply);
        if let Some(relayed) = relayed.filter(|_| reply.code().is_positive()) {
            common.act(Action::Report(Box::new(relayed)));
        }
        common.act(Action::Forget);
        if let Some(key) = key.filter(|_| delivered && reply.code().is_positive()) {
            common.act(Action::Promised(key, reply));
        }
        common.await_command();
        let session = Self { common: self.common, phase: Phase::Idle(ready) };
        if silent {
            return session.finish(None, SessionEnd::Ended("the server was silent after the content".into()));
        }
        session.end_after_drain()
    }

    pub(super) fn end_after_drain(self) -> Self {
        if self.common.draining {
            return self.finish(Some(No::Draining), SessionEnd::Ended("drained".into()));
        }
        self
    }
}

impl Settling {
    /// 250 when each group is delivered or stored. Refused only if nobody has it: once one server has the message,
    /// what the others did not take is kept for them, never bounced and never sent again by the client.
    ///
    /// A submission is not kept: without the user's password, which is not, its server takes it from nobody.
    fn end(&self, is_submission: bool) -> End {
        let id = self.awaiting.id();
        if self.sendings.iter().any(|sending| matches!(sending.progress, Progress::SpoolFailed)) {
            return End::Refuse(self.not_spooled.refusal(id));
        }
        let somebody_has_it = self.sendings.iter().any(Sending::is_kept);
        let open: Vec<usize> =
            (0..self.sendings.len()).filter(|&index| !self.sendings[index].is_kept()).collect();
        if open.is_empty() {
            return End::Accept;
        }
        let may_be_spooled = |&index: &usize| {
            let sending = &self.sendings[index];
            sending.is_held() || (!is_submission && sending.was_never_answered())
        };
        if somebody_has_it || open.iter().all(may_be_spooled) {
            return End::Spool(open);
        }
        // The client will send the whole message again if one server may take it then.
        let refusals: Vec<Refusal> =
            open.iter().filter_map(|&index| self.sendings[index].refusal(id)).collect();
        let transient = refusals.iter().find(|refusal| refusal.is_transient());
        let refusal = transient.or_else(|| refusals.first()).cloned();
        End::Refuse(refusal.unwrap_or_else(|| No::NotProved.refusal(id)))
    }

    /// Recipients whose servers have the message and send no reports, where the client asked for one (RFC 3461 §5.2.2).
    fn relayed(&mut self, common: &Common) -> Option<Relayed> {
        let envelope = self.awaiting.envelope();
        let asks = |index: usize| {
            envelope.recipients.get(index).and_then(|rcpt| rcpt.notify).is_some_and(|notify| notify.success)
        };
        let mut outgoing = None;
        let mut handed_on = Vec::new();
        for (sending, delivered) in self.sendings.iter().filter_map(|sending| sending.without_reports()) {
            let world = sending.backend.as_ref().and_then(|backend| backend.world());
            let server = world.map(|_| delivered.leg().server.ip().to_string().into());
            for recipient in delivered.recipients().iter().filter(|&index| asks(index)) {
                let (reply, server) = (delivered.reply().clone(), Option::clone(&server));
                handed_on.push(HandedOn { recipient, reply, server });
                outgoing.get_or_insert_with(|| Arc::clone(&sending.outgoing));
            }
        }
        let outgoing = outgoing.filter(|_| envelope.mail.reverse_path != ReversePath::Null)?;
        let (transaction, envelope) = (self.awaiting.id(), envelope.clone());
        let (stored, tail) = (self.body.stored(), self.body.share());
        Some(Relayed {
            transaction,
            envelope,
            client: (common.client.address.ip(), common.client.helo.clone()),
            sender: common.known_sender(),
            received: common.wall_now(),
            carriage: Carriage { outgoing, stored, tail },
            handed_on,
        })
    }

    fn spool(&mut self, groups: &[usize], common: &mut Common) {
        let (stored, tail) = (self.body.stored(), self.body.share());
        for &index in groups {
            let Some(sending) = self.sendings.get_mut(index) else { continue };
            let reason = sending.reason(self.awaiting.id());
            let request = SpoolRequest {
                group: index,
                transaction: self.awaiting.id(),
                recipients: sending.recipients.clone(),
                envelope: self.awaiting.envelope().clone(),
                client: common.client.clone(),
                protocol: common.protocol,
                tls: common.tls.clone(),
                authenticated: common.authenticated,
                sender: common.known_sender(),
                backend: sending.destination(&common.settings.hostname).into(),
                folder: sending.folder(&reason),
                reason: reason.clone(),
                received: common.wall_now(),
                carriage: Carriage {
                    outgoing: Arc::clone(&sending.outgoing),
                    stored,
                    tail: Arc::clone(&tail),
                },
            };
            sending.spool_until(common.now + SPOOLING, reason, common);
            common.act(Action::Spool(Box::new(request)));
        }
    }
}

impl Common {
    /// What is known of the sender without asking anybody.
    pub(super) fn known_sender(&self) -> SenderProof {
        match self.arrival {
            _ if self.authenticated => SenderProof::Authenticated,
            Arrival::Here { may_relay: true } | Arrival::Outbound(_) => SenderProof::Inside,
            Arrival::Here { may_relay: false } | Arrival::Inbound(_) => SenderProof::Unknown,
        }
    }
}
