//! How sessions end: politely, by a deadline, by a drain, or because the client does what no honest one does.

use record::{Abuse, SessionEnd};
use smtp::No;

use super::{Action, Phase, Session};

impl Session {
    /// Says no and closes; the client's network is remembered for it.
    pub(super) fn throw_out(mut self, no: No, abuse: Abuse) -> Self {
        self.common.act(Action::Misbehaved);
        self.finish(Some(no), SessionEnd::Abuse(abuse))
    }

    /// The session is over; `no` is the last word, if there is one.
    pub(super) fn finish(mut self, no: Option<No>, end: SessionEnd) -> Self {
        if matches!(self.phase, Phase::Ended) {
            return self;
        }
        if let Some(no) = no {
            let reply = no.reply(self.common.id);
            self.common.say(&reply);
        }
        self = self.abandon();
        self.common.end.get_or_insert(end);
        self.common.act(Action::Finish);
        Self { phase: Phase::Ended, ..self }
    }

    /// Whatever transaction is open is given up, its legs with it.
    fn abandon(mut self) -> Self {
        match std::mem::replace(&mut self.phase, Phase::Ended) {
            Phase::Discarding(discarding) => return Self { phase: discarding.then, ..self }.abandon(),
            Phase::Naming(naming) => naming.abandon(&mut self.common),
            Phase::Receiving(receipt) => receipt.abandon(&mut self.common),
            Phase::Judging(judging) => judging.abandon(&mut self.common),
            Phase::Settling(settling) => settling.abandon(&mut self.common),
            Phase::Authenticating(authenticating) => authenticating.abandon(&mut self.common),
            Phase::Connecting(_, leg) => self.common.act(Action::Close(leg, false)),
            _ => {}
        }
        self
    }

    pub(super) fn client_closed(mut self) -> Self {
        self.common.client_closed = true;
        if self.common.unread.is_empty() && self.common.held.is_none() {
            return self.end_if_idle();
        }
        self
    }

    /// A client that closed its side gets the replies that it is owed; then there is nothing left to do.
    pub(super) fn end_if_idle(self) -> Self {
        match &self.phase {
            // The message is with the servers, and its answer may still reach the client.
            Phase::Judging(_) | Phase::Settling(_) | Phase::Ended => self,
            Phase::Naming(naming) if naming.owes_replies() => self,
            _ => self.finish(None, SessionEnd::Closed),
        }
    }

    pub(super) fn deadline_came(self) -> Self {
        match self.phase {
            Phase::Quiet(_) => self.greet_or_connect(),
            Phase::Naming(ref naming) if naming.has_late_server(self.common.now) => self.naming_deadline(),
            Phase::Judging(_) => self.judging_deadline(),
            Phase::Settling(_) => self.settling_deadline(),
            Phase::Authenticating(ref one) if !one.awaits_client() => {
                self.finish(Some(No::ServerSilent), SessionEnd::Ended("the server was silent in AUTH".into()))
            }
            Phase::Ended => self,
            _ if self.common.now < self.common.deadline => self,
            _ => self.finish(Some(No::TimedOut), SessionEnd::TimedOut),
        }
    }

    pub(super) fn drain(mut self) -> Self {
        self.common.draining = true;
        if self.is_idle() {
            return self.finish(Some(No::Draining), SessionEnd::Ended("drained".into()));
        }
        self
    }
}
