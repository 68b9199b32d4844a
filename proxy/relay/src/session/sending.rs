//! One server's copy of a message: from the envelope, said again where the connection went stale, to the final reply.

use std::sync::Arc;

use delivery::{Answered, ContentWriter, Delivered, Far, Outgoing, Proven, TlsWish, timeouts};
use record::{GroupOutcome, Leg};
use route::{Backend, denies_mailbox};
use smtp::command::Envelope;
use smtp::dialogue::Sent;
use smtp::{Extension, No, RecipientSet, Refusal, Reply, TransactionId};
use spool::{Folder, Spooled};
use tokio::time::Instant;

use super::group::{Group, GroupLeg, LiveLeg, MailState, lacking, wish_of};
use super::settle::Context;
use super::{Action, Common, LegId};
use crate::body::{Body, PIECE, Place};
use crate::kept::Part;

/// A group's copy.
#[derive(Debug)]
pub(super) struct Sending {
    /// Whose servers; `None`: it is for Postern itself.
    pub(super) backend: Option<Arc<Backend>>,
    /// What the queue is to find its servers by, where no backend says so.
    towards: Option<Box<str>>,
    pub(super) recipients: RecipientSet,
    pub(super) outgoing: Arc<Outgoing>,
    pub(super) progress: Progress,
    /// A connection was opened again for it already.
    replayed: bool,
    /// What its message wants of TLS.
    wish: TlsWish,
    /// Its recipients were taken without a word of the server's.
    unasked: bool,
    deadline: Instant,
    /// The connection that was used last.
    leg: Option<Leg>,
    /// It said something that answers nothing, behind its answer.
    spoiled: bool,
    /// Why it was given to the disk.
    spooled_for: Option<Reply>,
    /// The folder that a verdict, or its address, has put it into.
    kept_in: Option<Folder>,
}

/// How far a copy is.
#[derive(Debug)]
pub(super) enum Progress {
    /// A new connection is being opened.
    Opening(LegId),
    /// MAIL and RCPT were said again on it; this many replies are awaited.
    Replaying(LiveLeg, usize),
    /// DATA was said.
    GoAhead(LiveLeg),
    /// Content is being written.
    Writing(LiveLeg, ContentWriter),
    /// All was written.
    Final(LiveLeg),
    /// The server took it.
    Delivered(LiveLeg, Delivered),
    /// The server said no.
    Refused(Option<LiveLeg>, Reply),
    /// The connection failed before the content was whole: the server cannot have it.
    Failed(No),
    /// TLS with the server is weaker than its domain demands, and the message does not say that this is of no matter.
    TooWeak(No),
    /// The connection failed after the content was whole: nobody knows whether the server has it.
    Unknown(No),
    /// It goes to no server, but to the disk, for this reason.
    Held(No),
    /// It is being made durable.
    Spooling { until: Instant },
    /// It is durable.
    Spooled(Spooled),
    /// It is not.
    SpoolFailed,
}

impl Sending {
    fn new(
        backend: Option<Arc<Backend>>,
        recipients: RecipientSet,
        outgoing: Arc<Outgoing>,
        progress: Progress,
        deadline: Instant,
    ) -> Self {
        Self {
            backend,
            towards: None,
            recipients,
            outgoing,
            progress,
            replayed: false,
            wish: TlsWish::AsPolicySays,
            unasked: false,
            deadline,
            leg: None,
            spoiled: false,
            spooled_for: None,
            kept_in: None,
        }
    }

    /// For the recipients that the group was left with. Where its server was told of others, too, they are named anew.
    pub(super) fn begin(
        group: Group,
        outgoing: Arc<Outgoing>,
        is_whole: bool,
        context: &Context<'_>,
        common: &mut Common,
    ) -> Self {
        let Group { backend, leg, accepted, .. } = group;
        let mut sending = Self::new(Some(backend), accepted, outgoing, Progress::SpoolFailed, common.now);
        sending.wish = wish_of(context.envelope);
        match leg {
            GroupLeg::Live(live) if sending.is_fresh(&live, common) && is_whole => {
                sending.send(live, context, common);
            }
            GroupLeg::Live(live) if sending.is_fresh(&live, common) => {
                sending.name_anew(live, context, common);
            }
            GroupLeg::Live(live) => {
                common.act(Action::Close(live.id, true));
                sending.reopen(No::ServerLost("its connection went stale".into()), common);
            }
            GroupLeg::Opening(leg) => {
                sending.replayed = true;
                sending.deadline = common.now + timeouts::ALL_SERVERS * 2;
                sending.progress = Progress::Opening(leg);
            }
            GroupLeg::Gone(No::FarTooWeak(why)) if context.goes_regardless => {
                sending.wish = TlsWish::Regardless;
                sending.unasked = true;
                sending.reopen(No::FarTooWeak(why), common);
            }
            GroupLeg::Gone(no @ No::FarTooWeak(_)) => sending.progress = Progress::TooWeak(no),
            GroupLeg::Gone(no) => sending.reopen(no, common),
        }
        sending
    }

    /// For recipients whose message looks different: a transaction of their own.
    pub(super) fn on_another(
        backend: Arc<Backend>,
        recipients: RecipientSet,
        outgoing: Arc<Outgoing>,
        context: &Context<'_>,
        common: &mut Common,
    ) -> Self {
        let mut sending = Self::new(Some(backend), recipients, outgoing, Progress::SpoolFailed, common.now);
        sending.wish = wish_of(context.envelope);
        sending.reopen(No::ServerUnavailable, common);
        sending
    }

    /// For recipients whose message goes to no server.
    pub(super) fn held(
        backend: Option<Arc<Backend>>,
        recipients: RecipientSet,
        outgoing: Arc<Outgoing>,
        (folder, why): (Folder, No),
        now: Instant,
    ) -> Self {
        let mut sending = Self::new(backend, recipients, outgoing, Progress::Held(why), now);
        sending.kept_in = Some(folder);
        sending
    }

    /// The same, for servers that the queue finds by this name.
    pub(super) fn towards(self, name: Box<str>) -> Self {
        Self { towards: Some(name), ..self }
    }

    /// What the queue finds its servers by; what is for nobody else is for Postern itself, the `host`.
    pub(super) fn destination<'a>(&'a self, host: &'a str) -> &'a str {
        let backend = self.backend.as_ref().map(|backend| backend.name());
        backend.or(self.towards.as_deref()).unwrap_or(host)
    }

    /// DECISIONS 3: a connection that was idle for long is not trusted with a message.
    fn is_fresh(&self, live: &LiveLeg, common: &Common) -> bool {
        live.far.is_settled()
            && common.now.saturating_duration_since(live.last_spoke) <= timeouts::STALE
            && live.far.accepted().covers(&self.recipients)
    }

    fn reopen(&mut self, no: No, common: &mut Common) {
        // An authenticated session cannot be opened again: the password is not kept.
        let may_open = !self.replayed && !common.is_submission();
        let backend = self.backend.clone().filter(|_| may_open);
        let leg = backend.map(|backend| common.open_leg(&backend, false, false, self.wish));
        self.replayed = true;
        self.deadline = common.now + timeouts::ALL_SERVERS * 2;
        self.progress = leg.map_or(Progress::Failed(no), Progress::Opening);
    }

    /// The server forgets whom it was told of.
    fn name_anew(&mut self, mut live: LiveLeg, context: &Context<'_>, common: &mut Common) {
        let mut out = Vec::new();
        live.far.reset(&mut out);
        live.mail = MailState::Unsaid;
        self.name(live, out, context, common);
    }

    pub(super) fn opened(&mut self, id: LegId, far: Far<Proven>, context: &Context<'_>, common: &mut Common) {
        let live = LiveLeg { id, far: Box::new(far), mail: MailState::Unsaid, last_spoke: common.now };
        if let Some(no) = lacking(&live.far, context.envelope).filter(|_| self.unasked) {
            common.act(Action::Close(id, true));
            self.progress = Progress::Refused(None, no.reply("-"));
            return;
        }
        self.name(live, Vec::new(), context, common);
    }

    /// MAIL and the RCPTs, behind what is in `out`.
    fn name(&mut self, mut live: LiveLeg, mut out: Vec<u8>, context: &Context<'_>, common: &mut Common) {
        for index in self.recipients.iter() {
            live.say(index, context.envelope, &mut out);
        }
        self.deadline = common.now + timeouts::ENVELOPE;
        common.act(Action::Write(live.id, out));
        self.progress = Progress::Replaying(live, self.recipients.len() + 1);
    }

    /// Says DATA, or BDAT with all the content: where a server takes BDAT, no line in the content can mean anything.
    fn send(&mut self, mut live: LiveLeg, context: &Context<'_>, common: &mut Common) {
        self.leg = Some(live.far.leg().clone());
        let mut out = Vec::new();
        if !live.far.capabilities().has(Extension::Chunking) {
            live.far.data(&mut out);
            self.deadline = common.now + timeouts::DATA_START;
            common.act(Action::Write(live.id, out));
            self.progress = Progress::GoAhead(live);
            return;
        }
        out.reserve(self.expected_size());
        live.far.chunk(self.outgoing.size(), context.id, &mut out);
        let writer = ContentWriter::for_chunk(&self.outgoing, &mut out);
        self.go_on_writing(live, writer, out, context.body, common);
    }

    fn expected_size(&self) -> usize {
        usize::try_from(self.outgoing.size()).unwrap_or(PIECE).min(PIECE) + 1024
    }

    /// Writes what is in memory, or asks for what is not.
    fn go_on_writing(
        &mut self,
        mut live: LiveLeg,
        mut writer: ContentWriter,
        mut out: Vec<u8>,
        body: &Body,
        common: &mut Common,
    ) {
        self.deadline = common.now + timeouts::DATA_BLOCK;
        let fetch = match body.at(writer.position()) {
            Place::Stored { length } => Some((writer.position(), length)),
            Place::Memory(tail) => {
                writer.write(&self.outgoing, tail, &mut out);
                None
            }
        };
        let id = live.id;
        self.progress = match fetch {
            Some(_) => Progress::Writing(live, writer),
            None => {
                writer.finish(&mut out);
                live.far.finish_content();
                self.deadline = common.now + timeouts::DATA_END;
                Progress::Final(live)
            }
        };
        if !out.is_empty() {
            common.act(Action::Write(id, out));
        }
        if let Some((position, length)) = fetch {
            common.act(Action::Fetch(id, position, length));
        }
    }

    /// A piece of stored content.
    pub(super) fn write_piece(&mut self, piece: &[u8], context: &Context<'_>, common: &mut Common) {
        match std::mem::replace(&mut self.progress, Progress::SpoolFailed) {
            Progress::Writing(live, mut writer) => {
                let mut out = Vec::with_capacity(piece.len() + 1024);
                writer.write(&self.outgoing, piece, &mut out);
                self.go_on_writing(live, writer, out, context.body, common);
            }
            other => self.progress = other,
        }
    }

    pub(super) fn spoke(&mut self, mut input: &[u8], context: &Context<'_>, common: &mut Common) {
        while !input.is_empty() {
            let Some(live) = self.live_mut() else { return self.spoil() };
            let mut out = Vec::new();
            live.last_spoke = common.now;
            let (leg, answered) = (live.id, live.far.read(&mut input, &mut out));
            if !out.is_empty() {
                common.act(Action::Write(leg, out));
            }
            match answered {
                Ok(None) => return,
                // A reply that comes with the 354 cannot be to content that was not written yet.
                Ok(Some(Answered::Reply(Sent::Data, _))) if !input.is_empty() => {
                    return self.lost(No::ServerLost("it answered before it was asked".into()), common);
                }
                Ok(Some(answered)) => self.answered(answered, context, common),
                Err(error) => return self.lost(No::ServerLost(error.to_string().into()), common),
            }
        }
    }

    fn answered(&mut self, answered: Answered, context: &Context<'_>, common: &mut Common) {
        let progress = std::mem::replace(&mut self.progress, Progress::SpoolFailed);
        self.progress = match (progress, answered) {
            (Progress::Final(live), Answered::Delivered(delivered)) => Progress::Delivered(live, delivered),
            (Progress::Final(live), Answered::Undelivered(reply)) => Progress::Refused(Some(live), reply),
            // It refuses before it has seen everything: the rest is not sent, and the connection is of no use.
            (Progress::Writing(live, _), Answered::Undelivered(reply)) => {
                common.act(Action::Close(live.id, false));
                Progress::Refused(None, reply)
            }
            (Progress::GoAhead(mut live), Answered::Reply(Sent::Data, reply)) => {
                if reply.code().is_intermediate() {
                    let mut out = Vec::with_capacity(self.expected_size());
                    let writer = ContentWriter::for_data(&self.outgoing, &mut out);
                    live.far.begin_content(context.id);
                    return self.go_on_writing(live, writer, out, context.body, common);
                }
                match Refusal::new(reply.clone()) {
                    Some(_) => Progress::Refused(Some(live), reply),
                    None => return self.out_of_step(live, &reply, common),
                }
            }
            (Progress::Replaying(live, awaited), Answered::Reply(Sent::Mail | Sent::Rcpt(_), reply)) => {
                if !reply.code().is_positive() && self.unasked {
                    common.act(Action::Close(live.id, true));
                    Progress::Refused(None, reply)
                } else if !reply.code().is_positive() {
                    common.act(Action::Close(live.id, true));
                    Progress::Failed(No::ServerChangedItsMind)
                } else if awaited == 1 {
                    return self.send(live, context, common);
                } else {
                    Progress::Replaying(live, awaited - 1)
                }
            }
            (progress, Answered::Reply(Sent::Xforward | Sent::Rset, reply)) if reply.code().is_positive() => {
                progress
            }
            (progress, Answered::Reply(_, reply)) => {
                self.progress = progress;
                return self.lost(No::ServerLost(reply.to_string().into()), common);
            }
            (progress, _) => progress,
        };
    }

    fn out_of_step(&mut self, live: LiveLeg, reply: &Reply, common: &mut Common) {
        common.act(Action::Close(live.id, false));
        self.progress = Progress::Failed(No::ServerLost(format!("it answered DATA with {reply}").into()));
    }

    /// The connection is gone. Before the content was whole the server cannot have the message, and it is tried once
    /// more; after it nobody knows.
    pub(super) fn lost(&mut self, no: No, common: &mut Common) {
        if let Some(live) = self.live_mut() {
            common.act(Action::Close(live.id, false));
            common.doubt(&live.far, &no);
        }
        match std::mem::replace(&mut self.progress, Progress::SpoolFailed) {
            Progress::Final(_) => self.progress = Progress::Unknown(no),
            Progress::Opening(leg) => {
                common.act(Action::Close(leg, false));
                self.progress = Progress::Failed(no);
            }
            Progress::Replaying(..) | Progress::GoAhead(_) | Progress::Writing(..) => self.reopen(no, common),
            // Time is up for the disk.
            Progress::Spooling { .. } => self.progress = Progress::SpoolFailed,
            done => self.progress = done,
        }
    }

    /// The content cannot be read again.
    pub(super) fn fail(&mut self, no: No) {
        if !self.is_done() && !self.awaits_answer() {
            self.progress = Progress::Unknown(no);
        }
    }

    /// The disk has it next; a server that said no is given back in step.
    pub(super) fn spool_until(&mut self, until: Instant, reason: Reply, common: &mut Common) {
        self.spooled_for = Some(reason);
        let refused = std::mem::replace(&mut self.progress, Progress::Spooling { until });
        if let Progress::Refused(Some(live), _) = refused {
            give_back(live, self.spoiled, common);
        }
    }

    /// All content was written: the server has the last word.
    pub(super) fn awaits_answer(&self) -> bool {
        matches!(self.progress, Progress::Final(_))
    }

    pub(super) fn spooled(&mut self, spooled: Option<Spooled>) {
        if matches!(self.progress, Progress::Spooling { .. }) {
            self.progress = spooled.map_or(Progress::SpoolFailed, Progress::Spooled);
        }
    }

    /// After its answer the server said more, or closed: nobody may use the connection again (law 3).
    pub(super) fn spoil(&mut self) {
        self.spoiled = true;
    }

    fn live_mut(&mut self) -> Option<&mut LiveLeg> {
        match &mut self.progress {
            Progress::Replaying(live, _)
            | Progress::GoAhead(live)
            | Progress::Writing(live, _)
            | Progress::Final(live) => Some(live),
            _ => None,
        }
    }

    /// The connection that is in use.
    pub(super) fn leg(&self) -> Option<LegId> {
        match &self.progress {
            Progress::Opening(leg) => Some(*leg),
            Progress::Replaying(live, _)
            | Progress::GoAhead(live)
            | Progress::Writing(live, _)
            | Progress::Final(live) => Some(live.id),
            _ => None,
        }
    }

    pub(super) fn deadline(&self) -> Option<Instant> {
        match &self.progress {
            Progress::Spooling { until } => Some(*until),
            _ => self.leg().map(|_| self.deadline),
        }
    }

    /// Whether nothing is awaited any more.
    pub(super) fn is_done(&self) -> bool {
        self.leg().is_none() && !matches!(self.progress, Progress::Spooling { .. })
    }

    /// Whether a server or the disk has it.
    pub(super) fn is_kept(&self) -> bool {
        matches!(self.progress, Progress::Delivered(..) | Progress::Spooled(_))
    }

    /// Whether the server cannot have it and has not said that it does not want it.
    pub(super) fn was_never_answered(&self) -> bool {
        matches!(self.progress, Progress::Failed(_))
    }

    /// Whether it is for the disk from the first.
    pub(super) fn is_held(&self) -> bool {
        matches!(self.progress, Progress::Held(_))
    }

    /// Where the disk puts it: what was refused for good is for a person.
    pub(super) fn folder(&self, reason: &Reply) -> Folder {
        let by_reason = if reason.code().is_permanent() { Folder::Expired } else { Folder::Queue };
        self.kept_in.unwrap_or(by_reason)
    }

    /// DECISIONS 4.
    pub(super) fn is_silent_after_content(&self) -> bool {
        matches!(self.progress, Progress::Unknown(No::ServerSilent))
    }

    /// What the client is told, where it is told of this group.
    pub(super) fn refusal(&self, id: TransactionId) -> Option<Refusal> {
        match &self.progress {
            Progress::Refused(_, reply) => Refusal::new(reply.with_note(&id.to_string())),
            Progress::Failed(no) | Progress::TooWeak(no) | Progress::Unknown(no) | Progress::Held(no) => {
                Some(no.refusal(id))
            }
            _ => None,
        }
    }

    /// Why it was not delivered.
    pub(super) fn reason(&self, id: TransactionId) -> Reply {
        self.refusal(id).unwrap_or_else(|| No::NotProved.refusal(id)).into_reply()
    }

    /// The connection on which the answer came, until it is given back.
    pub(super) fn rests_on(&self, leg: LegId) -> bool {
        match &self.progress {
            Progress::Delivered(live, _) | Progress::Refused(Some(live), _) => live.id == leg,
            _ => false,
        }
    }

    /// For the record.
    pub(super) fn outcome(&self) -> GroupOutcome {
        match &self.progress {
            Progress::Delivered(_, delivered) => {
                GroupOutcome::Delivered { leg: delivered.leg().clone(), reply: delivered.reply().clone() }
            }
            Progress::Refused(_, reply) => {
                GroupOutcome::Refused { leg: self.leg.clone(), reply: reply.clone() }
            }
            Progress::Failed(no) | Progress::TooWeak(no) | Progress::Unknown(no) | Progress::Held(no) => {
                GroupOutcome::Refused { leg: self.leg.clone(), reply: no.reply("-") }
            }
            Progress::Spooled(spooled) => {
                let reason = self.spooled_for.clone().unwrap_or_else(|| No::NotProved.reply("-"));
                GroupOutcome::Spooled { folder: spooled.folder().name(), reason }
            }
            _ => GroupOutcome::Refused { leg: self.leg.clone(), reply: No::StorageFailed.reply("-") },
        }
    }

    /// The evidence, if there is any; the connection is given back.
    /// What the server said who has the message, if it is one that sends no reports.
    pub(super) fn without_reports(&self) -> Option<(&Self, &Delivered)> {
        match &self.progress {
            Progress::Delivered(live, delivered) if !live.far.capabilities().has(Extension::Dsn) => {
                Some((self, delivered))
            }
            _ => None,
        }
    }

    pub(super) fn into_part(self, common: &mut Common) -> Option<Part> {
        match self.progress {
            Progress::Delivered(live, delivered) => {
                give_back(live, self.spoiled, common);
                Some(Part::Delivered(delivered))
            }
            Progress::Refused(Some(live), _) => {
                give_back(live, self.spoiled, common);
                None
            }
            Progress::Spooled(spooled) => Some(Part::Spooled(spooled)),
            _ => None,
        }
    }

    /// What the server's last word says of its recipients, for the time when it is away. A refusal of the content that denies
    /// a mailbox speaks of a recipient only where there is one.
    pub(super) fn remember(&self, envelope: &Envelope, common: &Common) {
        if common.is_submission() {
            return;
        }
        let Some(backend) = &self.backend else { return };
        let (named, now) = (&envelope.recipients, common.wall_now());
        for rcpt in self.recipients.iter().filter_map(|index| named.get(index)) {
            let Some(recipients) = backend.recipients_with(&rcpt.forward_path) else { continue };
            match &self.progress {
                Progress::Delivered(..) => recipients.delivered(&rcpt.forward_path, now),
                Progress::Refused(_, reply) if self.recipients.len() == 1 && denies_mailbox(reply) => {
                    recipients.answered(&rcpt.forward_path, reply, now);
                }
                _ => {}
            }
        }
    }

    /// The session ends.
    pub(super) fn abandon(self, common: &mut Common) {
        if let Some(leg) = self.leg() {
            common.act(Action::Close(leg, false));
        }
        self.into_part(common);
    }
}

fn give_back(live: LiveLeg, spoiled: bool, common: &mut Common) {
    match spoiled {
        true => common.act(Action::Close(live.id, false)),
        false => common.give_back(live.id, live.far),
    }
}
