//! After MAIL: recipients are named, and each is asked about at the server that has its mailbox (DECISIONS 1, 5, 10).

use std::collections::VecDeque;
use std::sync::Arc;

use record::Direction;
use route::{Backend, Listing};
use smtp::address::Host;
use smtp::command::BodyType;
use smtp::receiver::{Open, Ready, Receiving};
use smtp::{Answer, ForwardPath, Mailbox, No, Rcpt, Refusal, Reply};
use tokio::time::Instant;

use super::carried::Carried;
use super::group::{Group, GroupLeg};
use super::story::Story;
use super::{Action, Arrival, Common, LegId, Phase, Session};
use crate::judging::Own;

/// In `Owed`, a recipient too many: it is answered and not kept.
const NOBODY: usize = usize::MAX;
/// A client that names this many times the recipients allowed has no purpose but to name them.
const PERSISTENCE: usize = 20;

/// A transaction whose recipients are being named.
#[derive(Debug)]
pub(super) struct Naming {
    open: Open,
    carried: Carried,
    /// Replies that the client is owed, in the order of its commands.
    owed: VecDeque<Owed>,
    /// Recipients whose domain is being looked up.
    unlocated: Vec<(usize, Host)>,
    /// Recipients that are looked for in a directory.
    unlisted: Vec<(usize, Arc<Backend>, Mailbox)>,
    /// The server refused MAIL where MAIL has a reply of its own.
    refused: bool,
    /// RCPTs so far, those too many among them.
    named: usize,
}

/// Where a recipient's mail goes.
enum Place {
    At(Arc<Backend>),
    /// Here: no server has it.
    Own(Own),
    /// To whoever takes this domain's mail.
    Of(Host),
}

#[derive(Debug)]
struct Owed {
    /// `None`: to MAIL.
    recipient: Option<usize>,
    reply: Option<Reply>,
}

impl Naming {
    /// On port 25 nobody has been asked yet and MAIL is answered at once; what a server says of it becomes the reply
    /// to each RCPT. A submission session has its server already.
    pub(super) fn begin(open: Open, common: &mut Common) -> Self {
        let carried = Carried::new(common.now);
        let (unlocated, unlisted) = (Vec::new(), Vec::new());
        let mut naming =
            Self { open, carried, owed: VecDeque::new(), unlocated, unlisted, refused: false, named: 0 };
        let server = common.legs.first().filter(|_| common.has_sole_server());
        if let Some(backend) = server.map(|own| Arc::clone(own.far.backend())) {
            let mut group = Group::connect(backend, naming.open.envelope(), common);
            group.say_mail(naming.open.envelope(), common);
            naming.carried.groups.push(group);
            naming.owed.push_back(Owed { recipient: None, reply: None });
        } else {
            common.say(&Answer::SenderOk.reply(naming.open.id()));
        }
        naming
    }

    pub(super) fn is_binary(&self) -> bool {
        self.open.envelope().mail.body == Some(BodyType::BinaryMime)
    }

    pub(super) fn owes_replies(&self) -> bool {
        !self.owed.is_empty()
    }

    /// A client that waits for its replies is not the one who is late.
    pub(super) fn deadline(&self, client: Instant) -> Instant {
        match self.carried.groups.iter().filter_map(Group::deadline).min() {
            Some(server) if self.owes_replies() => server,
            server => server.map_or(client, |server| server.min(client)),
        }
    }

    pub(super) fn has_late_server(&self, now: Instant) -> bool {
        self.carried.groups.iter().filter_map(Group::deadline).any(|deadline| deadline <= now)
    }

    pub(super) fn rcpt(&mut self, rcpt: Rcpt, common: &mut Common) {
        self.named += 1;
        let limit = common.settings.limits.recipients;
        if self.named <= limit.saturating_mul(PERSISTENCE) {
            common.idle_commands = 0;
        }
        if self.open.envelope().recipients.len() >= limit {
            let reply = Some(No::TooManyRecipients.reply(self.open.id()));
            self.owed.push_back(Owed { recipient: Some(NOBODY), reply });
            return self.pay(common);
        }
        let (rcpt, alias) = match self.target_of(&rcpt, common) {
            Some(target) => {
                let alias = rcpt.forward_path.as_str().into();
                (rcpt.led_to(target), Some(alias))
            }
            None => (rcpt, None),
        };
        let place = self.place_of(&rcpt, common);
        let index = self.open.name(rcpt);
        self.carried.aliases.extend(alias.map(|alias| (index, alias)));
        self.carried.told.push(None);
        let reply = match place {
            Err(no) => Some(no.reply(self.open.id())),
            Ok(Place::At(backend)) => self.admit(index, &backend, common),
            Ok(Place::Own(own)) => {
                self.carried.own.push((index, own));
                Some(Answer::RecipientOk.reply(self.open.id()))
            }
            Ok(Place::Of(host)) => match common.locate(&host) {
                Some(backend) => self.admit(index, &backend, common),
                None => {
                    self.unlocated.push((index, host));
                    None
                }
            },
        };
        self.owed.push_back(Owed { recipient: Some(index), reply });
        self.pay(common);
    }

    /// Where the mail of a domain goes is known: who waited for it is asked about.
    pub(super) fn located(&mut self, host: &Host, found: &Result<Arc<Backend>, No>, common: &mut Common) {
        let all = std::mem::take(&mut self.unlocated);
        let (known, unknown) = all.into_iter().partition::<Vec<_>, _>(|(_, named)| named == host);
        self.unlocated = unknown;
        for (index, _) in known {
            let reply = match found {
                Err(no) => Some(no.reply(self.open.id())),
                Ok(backend) => self.admit(index, backend, common),
            };
            if let Some(reply) = reply {
                self.note(Some(index), reply);
            }
        }
        self.pay(common);
    }

    /// Where the administrator has a list, who is not on it is not asked of the server.
    fn admit(&mut self, index: usize, backend: &Arc<Backend>, common: &mut Common) -> Option<Reply> {
        let rcpt = self.open.envelope().recipients.get(index)?;
        let listing = match backend.recipients().filter(|_| !common.is_submission()) {
            Some(recipients) => recipients.listing(&rcpt.forward_path),
            None => Listing::NoList,
        };
        if let (Listing::MustAsk, ForwardPath::Mailbox(mailbox)) = (listing, &rcpt.forward_path) {
            let is_asked = self.unlisted.iter().any(|(.., asked)| asked == mailbox);
            self.unlisted.push((index, Arc::clone(backend), mailbox.clone()));
            if !is_asked {
                common.act(Action::LookUp(Arc::clone(backend), mailbox.clone()));
            }
            return None;
        }
        self.ask_listed(index, backend, listing, common)
    }

    fn ask_listed(
        &mut self,
        index: usize,
        backend: &Arc<Backend>,
        listing: Listing,
        common: &mut Common,
    ) -> Option<Reply> {
        match listing {
            Listing::NotListed => Some(No::NoSuchRecipient.reply(self.open.id())),
            listing => self.ask(index, backend, listing == Listing::Listed, common),
        }
    }

    /// The directory has answered.
    fn looked_up(&mut self, mailbox: &Mailbox, listing: Listing, common: &mut Common) {
        let all = std::mem::take(&mut self.unlisted);
        let (known, unknown) = all.into_iter().partition::<Vec<_>, _>(|(.., asked)| asked == mailbox);
        self.unlisted = unknown;
        for (index, backend, _) in known {
            if let Some(reply) = self.ask_listed(index, &backend, listing, common) {
                self.note(Some(index), reply);
            }
        }
        self.pay(common);
    }

    fn ask(
        &mut self,
        index: usize,
        backend: &Arc<Backend>,
        listed: bool,
        common: &mut Common,
    ) -> Option<Reply> {
        let groups = &mut self.carried.groups;
        let at = match groups.iter().position(|group| Arc::ptr_eq(&group.backend, backend)) {
            Some(at) => at,
            None => {
                groups.push(Group::connect(Arc::clone(backend), self.open.envelope(), common));
                groups.len() - 1
            }
        };
        groups[at].ask(index, listed, self.open.envelope(), common)
    }

    /// Where an alias leads, for mail that is taken for the domains here. Who authenticated, and who is taken on the way out, names the
    /// servers' recipients.
    fn target_of(&self, rcpt: &Rcpt, common: &Common) -> Option<Mailbox> {
        if common.is_submission()
            || (!self.open.envelope().mail.smtputf8 && !rcpt.forward_path.as_str().is_ascii())
        {
            return None;
        }
        let target = common.settings.own.target(&rcpt.forward_path)?;
        let backend = target.domain().and_then(|domain| common.settings.routing.backend_of(domain))?;
        let is_reached = match &common.arrival {
            Arrival::Here { .. } => true,
            // The client has come to this one's server.
            Arrival::Inbound(server) => server.name() == backend.name(),
            Arrival::Outbound(_) => false,
        };
        is_reached.then_some(target)
    }

    /// Where a recipient's mailbox is, and whether this client may write there (DECISIONS 10, 17).
    fn place_of(&self, rcpt: &Rcpt, common: &Common) -> Result<Place, No> {
        let envelope = self.open.envelope();
        if !envelope.mail.smtputf8 && !rcpt.forward_path.as_str().is_ascii() {
            return Err(No::LacksExtension(smtp::Extension::SmtpUtf8));
        }
        if let Some(own) = own_address(rcpt, common)? {
            return Ok(Place::Own(own));
        }
        let may_relay = match &common.arrival {
            Arrival::Inbound(backend) | Arrival::Outbound(Some(backend)) => {
                return Ok(Place::At(Arc::clone(backend)));
            }
            Arrival::Here { .. } if common.is_submission() => {
                let group = self.carried.groups.first().ok_or(No::ServerUnavailable)?;
                return Ok(Place::At(Arc::clone(&group.backend)));
            }
            Arrival::Here { may_relay } => *may_relay,
            Arrival::Outbound(None) => true,
        };
        let routing = &common.settings.routing;
        let mailbox = match &rcpt.forward_path {
            ForwardPath::Postmaster(_) => {
                let backend = routing.postmasters().ok_or(No::RelayDenied)?;
                return Ok(Place::At(Arc::clone(backend)));
            }
            ForwardPath::Mailbox(mailbox) => mailbox,
        };
        match mailbox.domain().and_then(|domain| routing.backend_of(domain)) {
            // A server that routes on would send it wherever the sender likes, in the appliance's name.
            Some(_) if mailbox.has_routing_local_part() => Err(No::RoutingLocalPart),
            // On the way out even to a domain that is served here the client's own choice of server counts first; that
            // it is this one's is found out by address.
            Some(backend) => Ok(Place::At(Arc::clone(backend))),
            None if may_relay => Ok(Place::Of(mailbox.host().clone())),
            None => Err(No::RelayDenied),
        }
    }

    pub(super) fn opened(&mut self, leg: LegId, far: delivery::Far<delivery::Proven>, common: &mut Common) {
        let Some(group) = self.carried.group_on(leg) else { return };
        let answers = group.opened(leg, far, self.open.envelope(), common);
        if self.owed.iter().any(|owed| owed.recipient.is_none() && owed.reply.is_none()) {
            group.say_mail(self.open.envelope(), common);
        }
        answers.into_iter().for_each(|(index, reply)| self.note(Some(index), reply));
        self.pay(common);
    }

    pub(super) fn lost(&mut self, leg: LegId, no: No, common: &mut Common) {
        let Some(group) = self.carried.group_on(leg) else { return };
        let reply = no.reply(self.open.id());
        let answers = group.lost(no, self.open.envelope(), common);
        let to_mail = match &group.leg {
            GroupLeg::Gone(no) if group.can_do_without(no, common) => {
                Some(Answer::SenderOk.reply(self.open.id()))
            }
            GroupLeg::Gone(_) => Some(reply),
            // It is asked elsewhere.
            _ => None,
        };
        answers.into_iter().for_each(|(index, reply)| self.note(Some(index), reply));
        to_mail.into_iter().for_each(|reply| self.note(None, reply));
        self.pay(common);
    }

    pub(super) fn spoke(&mut self, leg: LegId, input: &[u8], common: &mut Common) {
        let Some(group) = self.carried.group_on(leg) else { return };
        let (answers, fault) = group.spoke(input, self.open.envelope(), common);
        answers.into_iter().for_each(|(to, reply)| self.note(to, reply));
        match fault {
            Some(no) => self.lost(leg, no, common),
            None => self.pay(common),
        }
    }

    fn note(&mut self, recipient: Option<usize>, reply: Reply) {
        if let Some(owed) =
            self.owed.iter_mut().find(|owed| owed.recipient == recipient && owed.reply.is_none())
        {
            owed.reply = Some(reply);
        }
    }

    /// Says what is owed, as far as it is known.
    fn pay(&mut self, common: &mut Common) {
        while let Some(Owed { recipient, reply: Some(reply) }) = self.owed.front() {
            let reply = match Refusal::new(reply.clone()) {
                // The server's own words, and by what to ask about them (law 9).
                Some(refusal) => common.with_trace(refusal.into_reply(), self.open.id()),
                None => reply.clone(),
            };
            match *recipient {
                None => self.refused = !reply.code().is_positive(),
                Some(index) if reply.code().is_positive() => self.open.accept(index),
                Some(_) => common.errors += u32::from(reply.code().is_permanent()),
            }
            if let Some(told) = recipient.and_then(|index| self.carried.told.get_mut(index)) {
                *told = Some(reply.clone());
            }
            common.say(&reply);
            common.await_command();
            self.owed.pop_front();
        }
    }

    /// DATA or BDAT, if somebody is there to receive for.
    pub(super) fn receive(self: Box<Self>) -> Result<(Receiving, Carried), Box<Self>> {
        let Self { open, carried, owed, unlocated, unlisted, refused, named } = *self;
        match open.receive() {
            Ok(receiving) => Ok((receiving, carried)),
            Err(open) => Err(Box::new(Self { open, carried, owed, unlocated, unlisted, refused, named })),
        }
    }

    /// RSET or EHLO.
    pub(super) fn reset(self: Box<Self>, common: &mut Common) -> Ready {
        let Self { open, carried, .. } = *self;
        common.record_transaction(&Story::without_content(open.id(), open.envelope(), &carried));
        carried.give_back(common);
        open.reset()
    }

    /// The session ends.
    pub(super) fn abandon(self: Box<Self>, common: &mut Common) {
        self.reset(common);
    }
}

/// An address that Postern answers itself. Reports are taken from inside only (DECISIONS 32), traps catch the world only:
/// who is inside may name one by mistake.
fn own_address(rcpt: &Rcpt, common: &Common) -> Result<Option<Own>, No> {
    let from_inside = common.direction() == Direction::Outbound;
    match common.settings.own.of(&rcpt.forward_path) {
        Some(Own::Report) if !from_inside => Err(No::ReportsFromInside),
        Some(Own::Trap) if from_inside => Ok(None),
        own => Ok(own),
    }
}

impl Session {
    /// What the directory says of a recipient.
    pub(super) fn looked_up(self, mailbox: &Mailbox, listing: Listing) -> Self {
        self.behind_discarding(|mut session| {
            if let Phase::Naming(naming) = &mut session.phase {
                naming.looked_up(mailbox, listing, &mut session.common);
            }
            session
        })
    }

    /// A server did not answer in time: it is given up (law 3), and who was asked about gets to know.
    pub(super) fn naming_deadline(mut self) -> Self {
        let Phase::Naming(mut naming) = self.phase else { return self };
        let now = self.common.now;
        let late: Vec<LegId> = naming
            .carried
            .groups
            .iter()
            .filter(|group| group.deadline().is_some_and(|deadline| deadline <= now))
            .filter_map(Group::leg_id)
            .collect();
        for leg in late {
            naming.lost(leg, No::ServerSilent, &mut self.common);
        }
        Self { phase: Phase::Naming(naming), ..self }.end_refused_mail()
    }

    /// Where the server refused MAIL, no transaction is open.
    pub(super) fn end_refused_mail(mut self) -> Self {
        match self.phase {
            Phase::Naming(naming) if naming.refused && naming.owed.is_empty() => {
                let ready = naming.reset(&mut self.common);
                Self { phase: Phase::Idle(ready), ..self }
            }
            phase => Self { phase, ..self },
        }
    }
}
