//! One server's share of a transaction while recipients are named: its connection, MAIL once, a RCPT each.

use std::sync::Arc;

use delivery::{Answered, Far, Proven, TlsWish, timeouts};
use route::{ADDED_FIELDS, Backend, Standing};
use smtp::command::{BodyType, Envelope};
use smtp::dialogue::Sent;
use smtp::{Answer, Capabilities, Extension, Mail, No, RecipientSet, Reply, TransactionId};
use tokio::time::Instant;

use super::{Action, Common, LegId};

/// The recipients that one server is asked about.
#[derive(Debug)]
pub(super) struct Group {
    pub(super) backend: Arc<Backend>,
    pub(super) leg: GroupLeg,
    /// Those it took.
    pub(super) accepted: RecipientSet,
    /// Those on the administrator's list.
    listed: RecipientSet,
    /// Those whose reply is not there yet.
    asked: Vec<usize>,
    /// A connection that had gone away was replaced already.
    replaced: bool,
    deadline: Instant,
}

/// How a group is connected.
#[derive(Debug)]
pub(super) enum GroupLeg {
    /// Not yet.
    Opening(LegId),
    /// It is.
    Live(LiveLeg),
    /// No more.
    Gone(No),
}

/// A connection in use.
#[derive(Debug)]
pub(super) struct LiveLeg {
    pub(super) id: LegId,
    pub(super) far: Box<Far<Proven>>,
    pub(super) mail: MailState,
    pub(super) last_spoke: Instant,
}

/// What MAIL came to on a connection.
#[derive(Debug)]
pub(super) enum MailState {
    Unsaid,
    Said,
    Refused(Reply),
}

impl Group {
    /// A group on the client's own connection, on a pooled or a new one.
    pub(super) fn connect(backend: Arc<Backend>, envelope: &Envelope, common: &mut Common) -> Self {
        let (submission, wish) = (common.is_submission(), wish_of(envelope));
        let own = common.take_leg(&backend, wish).or_else(|| common.prove_far_side(&backend, wish));
        let leg = match own {
            Some(own) => GroupLeg::Live(LiveLeg {
                id: own.id,
                far: own.far,
                mail: MailState::Unsaid,
                last_spoke: own.idle_since,
            }),
            None => GroupLeg::Opening(common.open_leg(&backend, submission, !submission, wish)),
        };
        Self {
            backend,
            leg,
            accepted: RecipientSet::new(),
            listed: RecipientSet::new(),
            asked: Vec::new(),
            replaced: false,
            deadline: common.now + timeouts::ALL_SERVERS * 2,
        }
    }

    /// When the server must have answered.
    pub(super) fn deadline(&self) -> Option<Instant> {
        let waits = !self.asked.is_empty()
            || matches!(&self.leg, GroupLeg::Live(live) if !live.far.is_settled())
            || matches!(self.leg, GroupLeg::Opening(_));
        waits.then_some(self.deadline)
    }

    pub(super) fn is_on(&self, leg: LegId) -> bool {
        match &self.leg {
            GroupLeg::Opening(id) => *id == leg,
            GroupLeg::Live(live) => live.id == leg,
            GroupLeg::Gone(_) => false,
        }
    }

    pub(super) fn leg_id(&self) -> Option<LegId> {
        match &self.leg {
            GroupLeg::Opening(id) => Some(*id),
            GroupLeg::Live(live) => Some(live.id),
            GroupLeg::Gone(_) => None,
        }
    }

    /// MAIL alone, where its reply is passed on by itself.
    pub(super) fn say_mail(&mut self, envelope: &Envelope, common: &mut Common) {
        let GroupLeg::Live(live) = &mut self.leg else { return };
        if !matches!(live.mail, MailState::Unsaid) {
            return;
        }
        let mut out = Vec::new();
        live.far.mail(&envelope.mail, raised_size(&envelope.mail), &mut out);
        live.mail = MailState::Said;
        self.deadline = common.now + timeouts::ENVELOPE;
        common.act(Action::Write(live.id, out));
    }

    /// Asks the server about a recipient; `Some` is the answer where it is known at once.
    pub(super) fn ask(
        &mut self,
        index: usize,
        listed: bool,
        envelope: &Envelope,
        common: &mut Common,
    ) -> Option<Reply> {
        if listed {
            self.listed.insert(index);
        }
        match &mut self.leg {
            GroupLeg::Gone(no) => {
                let no = no.clone();
                return Some(self.answer_without_server(index, &no, envelope, common));
            }
            GroupLeg::Opening(_) => self.asked.push(index),
            GroupLeg::Live(live) => {
                if let MailState::Refused(reply) = &live.mail {
                    return Some(reply.clone());
                }
                if let Some(no) = lacking(&live.far, envelope) {
                    return Some(no.reply(common.id));
                }
                self.asked.push(index);
                self.deadline = common.now + timeouts::ENVELOPE;
                let mut out = Vec::new();
                live.say(index, envelope, &mut out);
                common.act(Action::Write(live.id, out));
            }
        }
        None
    }

    /// The connection is there: what was waiting is asked. Answers that are known at once are returned.
    pub(super) fn opened(
        &mut self,
        id: LegId,
        far: Far<Proven>,
        envelope: &Envelope,
        common: &mut Common,
    ) -> Vec<(usize, Reply)> {
        let mut live = LiveLeg { id, far: Box::new(far), mail: MailState::Unsaid, last_spoke: common.now };
        self.deadline = common.now + timeouts::ENVELOPE;
        if let Some(no) = lacking(&live.far, envelope) {
            self.leg = GroupLeg::Live(live);
            return std::mem::take(&mut self.asked).into_iter().map(|i| (i, no.reply(common.id))).collect();
        }
        let mut out = Vec::new();
        // After a replacement the server has to hear again of those it had taken.
        for index in self.accepted.iter().chain(self.asked.iter().copied()) {
            live.say(index, envelope, &mut out);
        }
        if !out.is_empty() {
            common.act(Action::Write(id, out));
        }
        self.leg = GroupLeg::Live(live);
        Vec::new()
    }

    /// The connection is gone. It is replaced once, by one to another server where the backend has one: what was asked is
    /// asked there. Otherwise those asked about are answered by what is known of them.
    pub(super) fn lost(&mut self, no: No, envelope: &Envelope, common: &mut Common) -> Vec<(usize, Reply)> {
        // The world's servers are not asked twice for one client, but where a connection died while it waited in the pool.
        let may_replace = match &self.leg {
            GroupLeg::Live(live) => self.backend.world().is_none() || live.far.leg().reused,
            _ => false,
        };
        if let GroupLeg::Live(live) = &self.leg {
            common.act(Action::Close(live.id, false));
            common.doubt(&live.far, &no);
        }
        // Who has waited for minutes already has no time for another server. An authenticated session cannot be opened
        // again: the password is not kept.
        let in_time = !matches!(no, No::ServerSilent) && !common.is_submission();
        if may_replace && in_time && !self.replaced {
            self.replaced = true;
            self.deadline = common.now + timeouts::ALL_SERVERS * 2;
            self.leg = GroupLeg::Opening(common.open_leg(&self.backend, false, false, wish_of(envelope)));
            return Vec::new();
        }
        self.leg = GroupLeg::Gone(no.clone());
        let asked = std::mem::take(&mut self.asked);
        let answer = |index| (index, self.answer_without_server(index, &no, envelope, common));
        asked.into_iter().map(answer).collect()
    }

    /// Whether mail can be taken without the server: it is away, not unwilling, and recipients are known.
    pub(super) fn can_do_without(&self, no: &No, common: &Common) -> bool {
        let away = matches!(no, No::ServerUnreachable(_) | No::ServerLost(_) | No::ServerSilent);
        let known = self.backend.recipients().is_some_and(|recipients| !recipients.are_unknown());
        away && known && !common.is_submission()
    }

    /// Whether the message may turn out to be one that goes whatever its recipients' domain demands of TLS: its header says so
    /// (RFC 8689 §5), and has not come yet. If it does not, the whole message is refused.
    fn may_go_regardless(&self, no: &No, envelope: &Envelope, common: &Common) -> bool {
        let is_domains =
            |server: &Arc<route::Server>| server.far_tls().is_some_and(|far| far.is_domains_word());
        matches!(no, No::FarTooWeak(_))
            && self.backend.servers().iter().any(is_domains)
            && !envelope.mail.requiretls
            && !common.is_submission()
    }

    /// The server is away: what it said of the recipient before, or what the administrator's list says, is its answer. The
    /// message is kept for it, if what MAIL asks for can be kept, too (law 4).
    fn answer_without_server(
        &mut self,
        index: usize,
        no: &No,
        envelope: &Envelope,
        common: &Common,
    ) -> Reply {
        if self.may_go_regardless(no, envelope, common) {
            self.accepted.insert(index);
            let id = TransactionId { session: common.id, number: common.transactions };
            return Answer::RecipientOk.reply(id);
        }
        let rcpt = envelope.recipients.get(index).filter(|_| self.can_do_without(no, common));
        let Some(rcpt) = rcpt else { return no.reply(common.id) };
        let remembered = self.backend.remembered().unwrap_or_default();
        if let Some(no) = missing(&remembered, self.backend.is_proved(), envelope) {
            return no.reply(common.id);
        }
        let seen = self.backend.recipients_with(&rcpt.forward_path);
        let standing = match seen.map(|seen| seen.standing(&rcpt.forward_path, common.wall_now())) {
            Some(Standing::Refused) => Standing::Refused,
            _ if self.listed.contains(index) => Standing::Listed,
            standing => standing.unwrap_or(Standing::Unknown),
        };
        if standing.is_good() {
            self.accepted.insert(index);
            let id = TransactionId { session: common.id, number: common.transactions };
            return Answer::RecipientOk.reply(id);
        }
        let why = match no {
            No::ServerUnreachable(why) | No::ServerLost(why) => why.clone(),
            _ => "it did not answer in time".into(),
        };
        No::RecipientUnproved(why, standing.words()).reply(common.id)
    }

    /// What the server said: answers to recipients, and to MAIL under `None`; and why it is to be left, if it is. What
    /// it said before it fell out of step counts.
    pub(super) fn spoke(
        &mut self,
        input: &[u8],
        envelope: &Envelope,
        common: &mut Common,
    ) -> (Vec<(Option<usize>, Reply)>, Option<No>) {
        let mut answers = Vec::new();
        let fault = self.read_answers(input, &mut answers, envelope, common).err();
        (answers, fault)
    }

    fn read_answers(
        &mut self,
        mut input: &[u8],
        answers: &mut Vec<(Option<usize>, Reply)>,
        envelope: &Envelope,
        common: &mut Common,
    ) -> Result<(), No> {
        let GroupLeg::Live(live) = &mut self.leg else { return Ok(()) };
        let mut out = Vec::new();
        live.last_spoke = common.now;
        loop {
            let answered = live.far.read(&mut input, &mut out);
            match answered.map_err(|error| No::ServerLost(error.to_string().into()))? {
                None => break,
                // A 354 to MAIL or RCPT answers neither; the client must not see it.
                Some(Answered::Reply(_, reply)) if reply.code().is_intermediate() => {
                    return Err(No::ServerLost(reply.to_string().into()));
                }
                Some(Answered::Reply(Sent::Mail, reply)) => {
                    if !reply.code().is_positive() {
                        live.mail = MailState::Refused(reply.clone());
                    }
                    answers.push((None, reply));
                }
                Some(Answered::Reply(Sent::Rcpt(index), reply)) => {
                    // A RCPT behind a refused MAIL is refused as out of sequence: MAIL's words say more.
                    let reply = match &live.mail {
                        MailState::Refused(refusal) => refusal.clone(),
                        _ => {
                            remember(&self.backend, envelope, index, &reply, common);
                            reply
                        }
                    };
                    if let Some(at) = self.asked.iter().position(|&asked| asked == index) {
                        self.asked.remove(at);
                    }
                    if reply.code().is_positive() {
                        self.accepted.insert(index);
                    }
                    answers.push((Some(index), reply));
                }
                Some(Answered::Reply(Sent::Rset, _)) => {}
                Some(Answered::Reply(Sent::Xforward, reply)) if reply.code().is_positive() => {}
                Some(Answered::Reply(_, reply) | Answered::Undelivered(reply)) => {
                    return Err(No::ServerLost(reply.to_string().into()));
                }
                Some(Answered::Delivered(_)) => return Err(No::ServerLost("a reply out of place".into())),
            }
        }
        if !out.is_empty() {
            common.act(Action::Write(live.id, out));
        }
        Ok(())
    }

    /// The group is of no more use to this transaction.
    pub(super) fn give_back(self, common: &mut Common) {
        match self.leg {
            GroupLeg::Live(live) if live.far.is_settled() => common.give_back(live.id, live.far),
            GroupLeg::Live(LiveLeg { id, .. }) | GroupLeg::Opening(id) => common.act(Action::Close(id, true)),
            GroupLeg::Gone(_) => {}
        }
    }
}

impl LiveLeg {
    /// RCPT, and MAIL before the first one, in one segment where the server takes it.
    pub(super) fn say(&mut self, index: usize, envelope: &Envelope, out: &mut Vec<u8>) {
        if matches!(self.mail, MailState::Unsaid) {
            self.far.mail(&envelope.mail, raised_size(&envelope.mail), out);
            self.mail = MailState::Said;
        }
        if let Some(rcpt) = envelope.recipients.get(index) {
            self.far.rcpt(index, rcpt, out);
        }
    }
}

/// The size that the server is told: Postern's own fields come on top.
fn raised_size(mail: &Mail) -> Option<u64> {
    mail.size.map(|size| size.saturating_add(ADDED_FIELDS))
}

/// What a server said of a recipient, for the time when it is away. What it says to authenticated users speaks of other
/// servers' mailboxes.
fn remember(backend: &Backend, envelope: &Envelope, index: usize, reply: &Reply, common: &Common) {
    if let Some(rcpt) = envelope.recipients.get(index).filter(|_| !common.is_submission())
        && let Some(recipients) = backend.recipients_with(&rcpt.forward_path)
    {
        recipients.answered(&rcpt.forward_path, reply, common.wall_now());
    }
}

/// What a message wants of TLS, as far as its envelope says.
pub(super) fn wish_of(envelope: &Envelope) -> TlsWish {
    if envelope.mail.requiretls { TlsWish::Required } else { TlsWish::AsPolicySays }
}

/// Why this server cannot take the message although another could (DECISIONS 2).
pub(super) fn lacking(far: &Far<Proven>, envelope: &Envelope) -> Option<No> {
    missing(far.capabilities(), far.is_proved(), envelope)
}

/// What MAIL asks for and these offers do not have.
fn missing(offers: &Capabilities, is_proved: bool, envelope: &Envelope) -> Option<No> {
    let mail = &envelope.mail;
    let used = [
        (mail.body == Some(BodyType::EightBitMime), Extension::EightBitMime),
        (mail.body == Some(BodyType::BinaryMime), Extension::BinaryMime),
        (mail.body == Some(BodyType::BinaryMime), Extension::Chunking),
        (mail.smtputf8, Extension::SmtpUtf8),
        (mail.requiretls, Extension::RequireTls),
    ];
    if let Some((_, extension)) = used.iter().find(|(used, extension)| *used && !offers.has(*extension)) {
        return Some(No::LacksExtension(*extension));
    }
    if mail.requiretls && !is_proved {
        return Some(No::LacksExtension(Extension::RequireTls));
    }
    let limit = offers.max_size?.saturating_sub(ADDED_FIELDS);
    mail.size.is_some_and(|size| size > limit).then_some(No::TooLarge { limit })
}
