//! A session's connections between transactions, and to whom what they say belongs.

use std::sync::Arc;

use delivery::{Far, OpenRequest, Proven, TlsWish};
use record::SessionEnd;
use route::Backend;
use smtp::{Extension, No};
use tokio::time::Instant;

use super::{Action, Arrival, Common, LegId, Phase, Session};

/// A connection that is this client's own: its facts were told on it, or it authenticated on it.
#[derive(Debug)]
pub(super) struct OwnLeg {
    pub(super) id: LegId,
    pub(super) far: Box<Far<Proven>>,
    pub(super) idle_since: Instant,
}

impl Session {
    pub(super) fn leg_opened(mut self, leg: LegId, far: Far<Proven>) -> Self {
        match self.phase {
            Phase::Connecting(ready, awaited) if awaited == leg => {
                self.common.keep_leg(leg, far);
                Self { common: self.common, phase: Phase::Idle(ready) }.greet()
            }
            Phase::Authenticating(_) => self.authentication_leg(leg, far),
            Phase::Naming(mut naming) => {
                naming.opened(leg, far, &mut self.common);
                Self { phase: Phase::Naming(naming), ..self }
            }
            Phase::Receiving(mut receipt) => {
                receipt.opened(leg, far, &mut self.common);
                Self { phase: Phase::Receiving(receipt), ..self }
            }
            Phase::Judging(mut judging) => {
                judging.opened(leg, far, &mut self.common);
                Self { phase: Phase::Judging(judging), ..self }
            }
            Phase::Settling(mut settling) => {
                settling.opened(leg, far, &mut self.common);
                Self { common: self.common, phase: Phase::Settling(settling) }.conclude()
            }
            _ => {
                self.common.act(Action::Release(leg, Box::new(far)));
                self
            }
        }
    }

    /// A connection could not be had, or is gone.
    pub(super) fn leg_failed(mut self, leg: LegId, no: No) -> Self {
        if self.common.far_side.is_on(leg) {
            return self.far_side_spoke();
        }
        if let Some(at) = self.common.legs.iter().position(|own| own.id == leg) {
            self.common.legs.swap_remove(at);
            self.common.act(Action::Close(leg, false));
            // Between transactions a lost leg is opened again when it is needed; one that authenticated is not.
            if self.common.is_submission() && self.is_idle() {
                return self.finish(Some(no), SessionEnd::Ended("the server closed the session".into()));
            }
            return self;
        }
        match self.phase {
            Phase::Connecting(ready, awaited) if awaited == leg && self.common.can_do_without(&no) => {
                // Greeting and offers come from memory; the recipients' server is looked for again at each RCPT.
                Self { common: self.common, phase: Phase::Idle(ready) }.greet()
            }
            Phase::Connecting(_, awaited) if awaited == leg => {
                let end = SessionEnd::Ended("no server".into());
                self.phase = Phase::Idle(smtp::Ready::new(self.common.id));
                let last_word = match no {
                    No::ServerUnreachable(why) if self.common.is_outbound() => No::FarUnreachable(why),
                    _ => No::ServerUnavailable,
                };
                self.finish(Some(last_word), end)
            }
            Phase::Authenticating(ref one) if one.leg() == Some(leg) => {
                self.finish(Some(No::ServerUnavailable), SessionEnd::Ended("no server for AUTH".into()))
            }
            Phase::Naming(mut naming) => {
                naming.lost(leg, no, &mut self.common);
                Self { phase: Phase::Naming(naming), ..self }.end_refused_mail()
            }
            Phase::Receiving(mut receipt) => {
                receipt.lost(leg, &mut self.common);
                Self { phase: Phase::Receiving(receipt), ..self }
            }
            Phase::Judging(mut judging) => {
                judging.lost(leg, &mut self.common);
                Self { phase: Phase::Judging(judging), ..self }
            }
            Phase::Settling(mut settling) => {
                settling.lost(leg, no, &mut self.common);
                Self { common: self.common, phase: Phase::Settling(settling) }.conclude()
            }
            _ => self,
        }
    }

    pub(super) fn leg_spoke(mut self, leg: LegId, bytes: &[u8]) -> Self {
        let mut input = bytes;
        if self.common.far_side.is_on(leg) {
            return self.far_side_spoke();
        }
        if let Some(own) = self.common.legs.iter_mut().find(|own| own.id == leg) {
            let mut out = Vec::new();
            // An idle server has nothing to say but that it closes, or the answer to a RSET.
            let read = drain_replies(&mut own.far, &mut input, &mut out);
            if !out.is_empty() {
                self.common.act(Action::Write(leg, out));
            }
            return match read {
                Ok(()) => self,
                Err(reason) => self.leg_failed(leg, No::ServerLost(reason)),
            };
        }
        match self.phase {
            Phase::Authenticating(_) => self.authentication_reply(leg, input),
            Phase::Naming(mut naming) => {
                naming.spoke(leg, input, &mut self.common);
                Self { phase: Phase::Naming(naming), ..self }.end_refused_mail()
            }
            Phase::Receiving(mut receipt) => {
                receipt.spoke(leg, input, &mut self.common);
                Self { phase: Phase::Receiving(receipt), ..self }
            }
            Phase::Judging(mut judging) => {
                judging.spoke(leg, input, &mut self.common);
                Self { phase: Phase::Judging(judging), ..self }
            }
            Phase::Settling(mut settling) => {
                settling.spoke(leg, input, &mut self.common);
                Self { common: self.common, phase: Phase::Settling(settling) }.conclude()
            }
            _ => self,
        }
    }
}

/// Reads the answers that nobody waits for.
pub(super) fn drain_replies(
    far: &mut Far<Proven>,
    input: &mut &[u8],
    out: &mut Vec<u8>,
) -> Result<(), Box<str>> {
    loop {
        match far.read(input, out) {
            Ok(Some(_)) => {}
            Ok(None) => return Ok(()),
            Err(error) => return Err(error.to_string().into()),
        }
    }
}

impl Common {
    pub(super) fn new_leg(&mut self) -> LegId {
        self.next_leg += 1;
        LegId(self.next_leg)
    }

    /// Asks for a connection to a backend.
    pub(super) fn open_leg(
        &mut self,
        backend: &Arc<Backend>,
        submission: bool,
        may_be_pooled: bool,
        tls: TlsWish,
    ) -> LegId {
        let leg = self.new_leg();
        let request = OpenRequest {
            session: self.id,
            backend: Arc::clone(backend),
            submission,
            client: Some(self.client.clone()),
            may_be_pooled,
            tls,
        };
        self.act(Action::Open(leg, Box::new(request)));
        leg
    }

    /// A connection is done with for now: it goes to the pool, or waits for this client's next transaction.
    pub(super) fn give_back(&mut self, id: LegId, mut far: Box<Far<Proven>>) {
        if far.is_reusable() && !self.is_submission() {
            self.act(Action::Release(id, far));
            return;
        }
        // It was for the one message that wanted it.
        if far.is_regardless() {
            self.act(Action::Close(id, true));
            return;
        }
        let mut out = Vec::new();
        far.reset(&mut out);
        if !out.is_empty() {
            self.act(Action::Write(id, out));
        }
        self.legs.push(OwnLeg { id, far, idle_since: self.now });
    }

    /// This client's own connection to a backend, if there is one that is not stale.
    pub(super) fn take_leg(&mut self, backend: &Arc<Backend>, wish: TlsWish) -> Option<OwnLeg> {
        let does = |own: &OwnLeg| {
            let far = &own.far;
            wish != TlsWish::Required || (far.is_proved() && far.capabilities().has(Extension::RequireTls))
        };
        let mut legs = self.legs.iter();
        let at = legs.position(|own| Arc::ptr_eq(own.far.backend(), backend) && does(own))?;
        let own = self.legs.swap_remove(at);
        let stale = self.now.saturating_duration_since(own.idle_since) > delivery::timeouts::STALE;
        if stale && !self.is_submission() {
            self.act(Action::Close(own.id, true));
            return None;
        }
        Some(own)
    }

    /// A server went in the middle of a transaction. A connection that had waited in the pool may have been closed for that
    /// alone.
    pub(super) fn doubt(&mut self, far: &Far<Proven>, no: &No) {
        let reason = match no {
            No::ServerLost(reason) => reason.clone(),
            No::ServerSilent => "it did not answer in time".into(),
            _ => return,
        };
        if !far.leg().reused {
            let (backend, server) = (Arc::clone(far.backend()), far.leg().server);
            self.act(Action::Doubt { backend, server, reason });
        }
    }

    /// Whether a session on its way in can go on without its server: it is away, not unwilling, and something is known of
    /// its recipients.
    fn can_do_without(&self, no: &No) -> bool {
        let Arrival::Inbound(backend) = &self.arrival else { return false };
        let known = backend.recipients().is_some_and(|recipients| !recipients.are_unknown());
        known && !self.is_submission() && matches!(no, No::ServerUnreachable(_))
    }

    fn keep_leg(&mut self, id: LegId, far: Far<Proven>) {
        self.legs.push(OwnLeg { id, far: Box::new(far), idle_since: self.now });
    }

    pub(super) fn close_legs(&mut self) {
        self.leave_far_side();
        for own in std::mem::take(&mut self.legs) {
            self.act(Action::Close(own.id, true));
        }
    }
}
