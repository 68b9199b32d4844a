//! Greeting, EHLO, STARTTLS, and every command's way to the state that can answer it.

use std::sync::Arc;

use delivery::TlsWish;
use record::{Abuse, SessionEnd, TlsFacts, TlsOutcome};
use route::{Banner, offer_of};
use smtp::command::CommandError;
use smtp::content::ChunkDecoder;
use smtp::receiver::{Open, Ready};
use smtp::{Answer, Capabilities, Command, Extension, Mail, No, Rcpt};
use tokio::time::Duration;

use super::carried::Carried;
use super::content::{Discarding, Receipt};
use super::envelope::Naming;
use super::story::Story;
use super::{Action, Arrival, Common, Phase, Session};
use crate::judging::Unwelcome;

/// Commands without effect (NOOP, RSET, VRFY …) between two that lead somewhere: an honest client needs a handful.
const IDLE_COMMANDS: u32 = 100;

impl Session {
    pub(super) fn begin(mut self) -> Self {
        if self.common.protocol == record::Protocol::Submissions && !self.common.is_outbound() {
            return self.handshake();
        }
        if self.common.settings.limits.pregreet > Duration::ZERO {
            self.common.deadline = self.common.now + self.common.settings.limits.pregreet;
            return self;
        }
        self.greet_or_connect()
    }

    /// Where the server's own words count, it is connected first (DECISIONS 1).
    pub(super) fn greet_or_connect(mut self) -> Self {
        let Phase::Quiet(ready) = self.phase else { return self };
        let common = &mut self.common;
        let submission = common.is_submission();
        let leg = match &common.arrival {
            Arrival::Outbound(_) if common.far_side.is_met() => None,
            Arrival::Outbound(_) => Some(common.probe()),
            Arrival::Inbound(backend) => {
                let backend = Arc::clone(backend);
                Some(common.open_leg(&backend, submission, false, TlsWish::AsPolicySays))
            }
            Arrival::Here { .. } if submission => {
                let backend = common.sole_submission_backend().cloned();
                backend.map(|backend| common.open_leg(&backend, true, false, TlsWish::AsPolicySays))
            }
            Arrival::Here { .. } => None,
        };
        if let Some(leg) = leg {
            common.deadline = common.now + delivery::timeouts::ALL_SERVERS * 2;
            return Self { phase: Phase::Connecting(ready, leg), ..self };
        }
        Self { common: self.common, phase: Phase::Idle(ready) }.greet()
    }

    pub(super) fn greet(mut self) -> Self {
        let settings = self.common.settings.clone();
        let servers = self.common.legs.first().and_then(|own| {
            let banner = own.far.backend().banner();
            (banner == Banner::Server).then(|| own.far.greeting().map(smtp::Reply::words))?
        });
        let own = format!("{} ESMTP", settings.hostname);
        let far_sides = self.common.far_side.banner().map(ToOwned::to_owned);
        let remembered = match &self.common.arrival {
            Arrival::Inbound(backend) if servers.is_none() && backend.banner() == Banner::Server => {
                backend.remembered_greeting(self.common.client.destination)
            }
            _ => None,
        };
        let words = far_sides.as_deref().or(servers.as_deref()).or(remembered.as_deref()).unwrap_or(&own);
        self.common.answer(Answer::Greeting { words });
        self.common.await_command();
        self
    }

    pub(super) fn handshake(mut self) -> Self {
        let (Phase::Quiet(ready) | Phase::Idle(ready)) = self.phase else { return self };
        let shown = self.common.far_side.shown().cloned();
        self.common.act(Action::StartTls(shown));
        self.common.deadline = self.common.now + tls::HANDSHAKE_DEADLINE;
        Self { common: self.common, phase: Phase::Handshaking(ready) }
    }

    /// All that was said in clear is forgotten (RFC 3207 §4.2).
    pub(super) fn encrypted(mut self, facts: TlsFacts) -> Self {
        let Phase::Handshaking(ready) = self.phase else { return self };
        let common = &mut self.common;
        common.tls = TlsOutcome::Established { facts, proof: record::FarProof::Unverified };
        common.unread = Vec::new();
        common.held = None;
        common.lines = smtp::line::LineReader::new(smtp::command::MAX_COMMAND_LINE);
        common.client.helo = "".into();
        common.offer = Capabilities::default();
        common.await_command();
        if common.protocol == record::Protocol::Submissions {
            return Self { phase: Phase::Quiet(ready), ..self }.greet_or_connect();
        }
        Self { phase: Phase::Idle(ready), ..self }
    }

    /// One command; it may have to wait until the replies before it are out (RFC 2920 §3.1).
    pub(super) fn command(mut self, line: Vec<u8>) -> Self {
        let command = Command::parse(&line);
        if let Phase::Naming(naming) = &self.phase
            && naming.owes_replies()
            && !matches!(command, Ok(Command::Rcpt(_)))
        {
            self.common.held = Some(line);
            return self;
        }
        self.common.await_command();
        self.common.idle_commands += 1;
        let session = match command {
            Err(CommandError::OtherProtocol) => {
                let no = No::BadCommand(CommandError::OtherProtocol);
                return self.throw_out(no, Abuse::OtherProtocol);
            }
            Err(error) => self.refuse(&No::BadCommand(error)),
            Ok(command) => self.obey(command),
        };
        session.end_if_useless()
    }

    fn end_if_useless(self) -> Self {
        let limits = &self.common.settings.limits;
        let useless = self.common.errors > limits.errors || self.common.idle_commands > IDLE_COMMANDS;
        if useless && !self.is_ended() {
            return self.throw_out(No::TooManyErrors, Abuse::TooManyErrors);
        }
        if self.common.draining && self.is_idle() && !self.is_ended() {
            return self.finish(Some(No::Draining), SessionEnd::Ended("drained".into()));
        }
        self
    }

    pub(super) fn refuse(mut self, no: &No) -> Self {
        self.common.refuse(no);
        self
    }

    fn obey(mut self, command: Command<'_>) -> Self {
        match command {
            Command::Auth { mechanism, initial } => self.authenticate(&mechanism, initial),
            Command::Bdat { size, last } => self.bdat(size, last),
            Command::Data => self.data(),
            Command::Ehlo(name) => self.hello(name, true),
            Command::Expn => self.refuse(&No::NotImplemented),
            Command::Helo(name) => self.hello(name, false),
            Command::Help => self.reply(Answer::Help),
            Command::Mail(mail) => self.mail(*mail),
            Command::Noop => self.reply(Answer::NoopOk),
            Command::Quit => {
                let hostname = self.common.settings.hostname.clone();
                self.common.answer(Answer::Bye { hostname: &hostname });
                self.finish(None, SessionEnd::Quit)
            }
            Command::Rcpt(rcpt) => self.rcpt(*rcpt),
            Command::Rset => self.reset().reply(Answer::ResetOk),
            Command::StartTls => self.start_tls(),
            Command::Vrfy => self.reply(Answer::CannotVerify),
        }
    }

    fn reply(mut self, answer: Answer<'_>) -> Self {
        self.common.answer(answer);
        self
    }

    fn hello(self, name: &str, esmtp: bool) -> Self {
        let mut session = self.reset();
        let common = &mut session.common;
        common.client.helo = name.into();
        common.client.esmtp = esmtp;
        common.offer = if esmtp { common.make_offer() } else { Capabilities::default() };
        let hostname = common.settings.hostname.clone();
        if esmtp {
            let reply = common.offer.to_ehlo_reply(&hostname);
            common.say(&reply);
        } else {
            common.answer(Answer::Hello { hostname: &hostname });
        }
        session
    }

    /// Whether a handshake would come next. Bytes behind such a line came in clear: whoever put them there means them to
    /// be taken for what comes behind the handshake (law 2), and is told so rather than ignored (law 9).
    pub(super) fn begins_tls(&self, line: &[u8]) -> bool {
        matches!(self.phase, Phase::Idle(_))
            && !self.common.is_encrypted()
            && self.common.can_encrypt()
            && line.trim_ascii_end().eq_ignore_ascii_case(b"STARTTLS")
    }

    fn start_tls(mut self) -> Self {
        if self.common.is_encrypted() {
            return self.refuse(&No::TlsAlready);
        }
        if !self.common.can_encrypt() {
            return self.refuse(&No::TlsUnavailable);
        }
        if !matches!(self.phase, Phase::Idle(_)) {
            return self.refuse(&No::BadSequence("RSET or the rest of the message"));
        }
        self.common.answer(Answer::TlsGoAhead);
        self.handshake()
    }

    /// Gives up the transaction that is open, if one is.
    fn reset(mut self) -> Self {
        let phase = std::mem::replace(&mut self.phase, Phase::Ended);
        self.phase = match phase {
            Phase::Naming(naming) => Phase::Idle(naming.reset(&mut self.common)),
            Phase::Receiving(receipt) => Phase::Idle(receipt.reset(&mut self.common)),
            other => other,
        };
        self
    }

    fn mail(mut self, mail: Mail) -> Self {
        if let Some(no) = self.common.objection_to(&mail) {
            return self.refuse(&no);
        }
        let Phase::Idle(ready) = self.phase else {
            return self.refuse(&No::BadSequence("RCPT, DATA or RSET"));
        };
        self.common.transactions += 1;
        if let Some(unwelcome) = self.common.unwelcome.clone().filter(|_| self.common.is_unwelcome()) {
            let ready = self.common.turn_down(ready.begin(mail), *unwelcome);
            return Self { phase: Phase::Idle(ready), ..self };
        }
        self.common.idle_commands = 0;
        let naming = Naming::begin(ready.begin(mail), &mut self.common);
        Self { phase: Phase::Naming(Box::new(naming)), ..self }
    }

    fn rcpt(mut self, rcpt: Rcpt) -> Self {
        let Phase::Naming(mut naming) = self.phase else {
            return self.refuse(&No::BadSequence("MAIL"));
        };
        naming.rcpt(rcpt, &mut self.common);
        Self { phase: Phase::Naming(naming), ..self }
    }

    fn data(mut self) -> Self {
        let naming = match self.phase {
            Phase::Naming(naming) if naming.is_binary() => {
                self.phase = Phase::Naming(naming);
                return self.refuse(&No::BadSequence("BDAT"));
            }
            Phase::Naming(naming) => naming,
            other => {
                self.phase = other;
                return self.refuse(&No::BadSequence("MAIL and RCPT"));
            }
        };
        match naming.receive() {
            Ok((receiving, carried)) => {
                self.common.idle_commands = 0;
                self.common.answer(Answer::GoAhead);
                let receipt = Receipt::of_data(receiving, carried, &mut self.common);
                Self { phase: Phase::Receiving(Box::new(receipt)), ..self }
            }
            Err(naming) => Self { phase: Phase::Naming(naming), ..self }.refuse(&No::NoValidRecipients),
        }
    }

    /// The octets of a chunk follow its command whatever becomes of it: where nobody wants them they are skipped.
    fn bdat(mut self, size: u64, last: bool) -> Self {
        self.common.deadline = self.common.now + delivery::timeouts::DATA_BLOCK;
        let (then, no) = match self.phase {
            Phase::Naming(naming) => match naming.receive() {
                Ok((receiving, carried)) => {
                    let mut receipt = Receipt::of_chunks(receiving, carried, &mut self.common);
                    receipt.begin_chunk(size, last);
                    return Self { phase: Phase::Receiving(Box::new(receipt)), ..self }.skip_empty_chunk();
                }
                Err(naming) => (Phase::Naming(naming), No::NoValidRecipients),
            },
            Phase::Receiving(mut receipt) => {
                receipt.begin_chunk(size, last);
                return Self { phase: Phase::Receiving(receipt), ..self }.skip_empty_chunk();
            }
            other => (other, No::BadSequence("MAIL and RCPT")),
        };
        let discarding = Discarding { decoder: ChunkDecoder::new(size), then, no };
        let session = Self { common: self.common, phase: Phase::Ended };
        if size == 0 {
            return session.discarded(discarding);
        }
        Self { phase: Phase::Discarding(Box::new(discarding)), ..session }
    }

    /// A chunk of no octets is whole at once.
    fn skip_empty_chunk(self) -> Self {
        let Phase::Receiving(receipt) = self.phase else { return self };
        Self { common: self.common, phase: Phase::Ended }.take_content(receipt, &mut &b""[..])
    }
}

impl Common {
    pub(super) fn is_unwelcome(&self) -> bool {
        self.unwelcome.as_ref().is_some_and(|unwelcome| unwelcome.applies_to(&self.client.helo))
    }

    /// MAIL of a client from which none is wanted: a transaction that is over as it begins, and told like any other.
    fn turn_down(&mut self, open: Open, unwelcome: Unwelcome) -> Ready {
        let Unwelcome { no, opinion, .. } = unwelcome;
        let reply = no.reply(open.id());
        self.say(&reply);
        self.errors += 1;
        let story = Story {
            verdict: opinion.carried_out,
            opinion: Some(Box::new(opinion)),
            reply: Some(reply),
            ..Story::without_content(open.id(), open.envelope(), &Carried::new(self.now))
        };
        self.record_transaction(&story);
        open.reset()
    }

    /// What can be offered in a reply to EHLO now (DECISIONS 2).
    fn make_offer(&self) -> Capabilities {
        let settings = &self.settings;
        let max_size = settings.limits.message_size;
        let connected =
            self.legs.first().filter(|_| self.has_sole_server()).map(|own| own.far.capabilities());
        let mut offer = match (self.far_side.capabilities().or(connected), &self.arrival) {
            (Some(server), _) => offer_of(server, max_size),
            // The server is away: what it is known to take it will take later (law 4).
            (None, Arrival::Inbound(backend)) => {
                offer_of(&backend.remembered().unwrap_or_default(), max_size)
            }
            (None, _) => settings.routing.offer(max_size),
        };
        if self.can_encrypt() && !self.is_encrypted() {
            offer.insert(Extension::StartTls);
        }
        if self.is_submission() {
            self.offer_authentication(&mut offer);
        } else {
            // Towards the world it is kept recipient by recipient: only a server that is proved and keeps it has the mail.
            let is_kept = match self.arrival {
                Arrival::Here { may_relay } => may_relay || settings.routing.keeps_requiretls(),
                Arrival::Outbound(_) => true,
                Arrival::Inbound(_) => false,
            };
            if is_kept && self.is_encrypted() {
                offer.insert(Extension::RequireTls);
            }
            offer.insert(Extension::Limits);
            offer.max_recipients = u32::try_from(settings.limits.recipients).ok();
        }
        offer
    }

    fn objection_to(&self, mail: &Mail) -> Option<No> {
        use smtp::command::BodyType;
        let plain = !self.is_encrypted();
        if self.client.helo.is_empty() {
            return Some(No::BadSequence("EHLO"));
        }
        // On the way out that is the far side's to demand.
        if self.is_submission() && !self.authenticated && !self.is_outbound() {
            return Some(if plain { No::TlsRequired } else { No::AuthRequired });
        }
        if plain && !self.is_outbound() && self.settings.inbound_plain == crate::InboundPlain::Refuse {
            return Some(No::TlsRequired);
        }
        let used = [
            (mail.body == Some(BodyType::BinaryMime), Extension::BinaryMime),
            (mail.smtputf8, Extension::SmtpUtf8),
            (mail.requiretls, Extension::RequireTls),
            (mail.ret.is_some() || mail.envid.is_some(), Extension::Dsn),
        ];
        if used.iter().any(|(used, extension)| *used && !self.offer.has(*extension)) {
            return Some(No::BadCommand(CommandError::UnknownParameter));
        }
        if !mail.smtputf8 && !mail.reverse_path.as_str().is_ascii() {
            return Some(No::BadCommand(CommandError::Address(smtp::address::AddressError::LocalPart)));
        }
        let limit = self.offer.max_size.unwrap_or(self.settings.limits.message_size);
        mail.size.is_some_and(|size| size > limit).then_some(No::TooLarge { limit })
    }
}
