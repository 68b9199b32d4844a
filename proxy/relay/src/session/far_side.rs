//! On the way out: the far side that an intercepted client was on its way to is met before the client is greeted, and
//! proven once it is known for whom the mail is (DECISIONS 15 to 17).

use std::sync::Arc;

use delivery::{NotProven, ProbeRequest, Probed, Proved, Shown, TlsWish, timeouts};
use record::SessionEnd;
use route::Backend;
use smtp::address::Host;
use smtp::{Capabilities, No};
use tokio::time::Instant;

use super::legs::OwnLeg;
use super::{Action, Arrival, Common, LegId, Phase, Session};

/// Hosts of one session whose servers are remembered; a client that names more has them looked up again.
const REMEMBERED: usize = 100;

/// What was met on the way out, and what was found out about recipients' domains.
#[derive(Debug, Default)]
pub(super) struct FarSide {
    /// The far side, until it is proven or of no use.
    unproven: Option<Unproven>,
    banner: Option<Box<str>>,
    /// What it offered, which outlives it: the client's next EHLO gets the same answer.
    capabilities: Option<Capabilities>,
    shown: Option<Shown>,
    located: Vec<(Host, Arc<Backend>)>,
    /// Hosts that are being looked up.
    asked: Vec<Host>,
}

#[derive(Debug)]
struct Unproven {
    id: LegId,
    probed: Probed,
    met: Instant,
}

impl FarSide {
    /// What it greeted with.
    pub(super) fn banner(&self) -> Option<&str> {
        self.banner.as_deref()
    }

    pub(super) fn is_met(&self) -> bool {
        self.capabilities.is_some()
    }

    pub(super) fn capabilities(&self) -> Option<&Capabilities> {
        self.capabilities.as_ref()
    }

    pub(super) fn shown(&self) -> Option<&Shown> {
        self.shown.as_ref()
    }

    pub(super) fn is_on(&self, leg: LegId) -> bool {
        self.unproven.as_ref().is_some_and(|unproven| unproven.id == leg)
    }
}

impl Common {
    pub(super) fn is_outbound(&self) -> bool {
        matches!(self.arrival, Arrival::Outbound(_))
    }

    /// Whether STARTTLS can be offered: on the way out only where the far side has it, so that nobody takes a leg for
    /// safe that goes on in clear (law 5).
    pub(super) fn can_encrypt(&self) -> bool {
        match self.arrival {
            Arrival::Outbound(_) => matches!(self.far_side.shown, Some(Shown::Certificates { .. })),
            _ => self.settings.offers_tls,
        }
    }

    /// Meets the far side.
    pub(super) fn probe(&mut self) -> LegId {
        let leg = self.new_leg();
        let request = ProbeRequest {
            session: self.id,
            destination: self.client.destination,
            client: self.client.address,
            helo: self.client.helo.clone(),
            implicit_tls: self.protocol == record::Protocol::Submissions,
        };
        self.act(Action::Probe(leg, Box::new(request)));
        leg
    }

    /// The far side, if it is one of this backend's servers and safe enough for it. One that is not safe enough is left:
    /// the domain's own servers are asked by name.
    pub(super) fn prove_far_side(&mut self, backend: &Arc<Backend>, wish: TlsWish) -> Option<OwnLeg> {
        let Unproven { id, probed, met } = self.far_side.unproven.take()?;
        if self.now.saturating_duration_since(met) > timeouts::STALE {
            self.act(Action::Close(id, true));
            return None;
        }
        match probed.prove(backend, wish).map_err(|why| *why) {
            Ok(Proved { far, sessions }) => {
                if !sessions.is_empty() {
                    self.act(Action::Tell(sessions));
                }
                Some(OwnLeg { id, far: Box::new(far), idle_since: self.now })
            }
            // It may be the server of a domain that is named later.
            Err((probed, NotProven::Elsewhere)) => {
                self.far_side.unproven = Some(Unproven { id, probed, met });
                None
            }
            Err((_, NotProven::TooWeak)) => {
                self.act(Action::Close(id, true));
                None
            }
        }
    }

    /// The servers of a domain, if they are known; else they are looked up.
    pub(super) fn locate(&mut self, host: &Host) -> Option<Arc<Backend>> {
        let known = self.far_side.located.iter().find(|(known, _)| known == host);
        if let Some((_, backend)) = known {
            return Some(Arc::clone(backend));
        }
        if !self.far_side.asked.contains(host) {
            self.far_side.asked.push(host.clone());
            self.act(Action::Locate(host.clone()));
        }
        None
    }

    /// What the far side says unasked: that it closes.
    pub(super) fn leave_far_side(&mut self) {
        if let Some(unproven) = self.far_side.unproven.take() {
            self.act(Action::Close(unproven.id, false));
        }
    }
}

impl Session {
    /// The far side is there: the client is shown what it showed.
    pub(super) fn far_side_met(mut self, leg: LegId, probed: Probed) -> Self {
        let ready = match self.phase {
            Phase::Connecting(ready, awaited) if awaited == leg => ready,
            phase => {
                self.common.act(Action::Close(leg, true));
                return Self { phase, ..self };
            }
        };
        let common = &mut self.common;
        common.far_side.capabilities = Some(probed.capabilities().clone());
        common.far_side.shown = Some(probed.shown().clone());
        common.far_side.banner = probed.greeting().map(|banner| banner.words().into());
        let sole = match &common.arrival {
            Arrival::Outbound(Some(backend)) => Some(Arc::clone(backend)),
            _ => None,
        };
        common.far_side.unproven = Some(Unproven { id: leg, probed, met: common.now });
        let phase = Phase::Idle(ready);
        let mut session = Self { common: self.common, phase };
        if let Some(backend) = sole {
            match session.common.prove_far_side(&backend, TlsWish::AsPolicySays) {
                Some(own) => session.common.legs.push(own),
                None => {
                    let what =
                        format!("TLS is weaker than the policy {} demands", backend.tls().ladder.name());
                    let end = SessionEnd::Ended("the far side is not safe enough".into());
                    return session.finish(Some(No::FarUnreachable(what.into())), end);
                }
            }
        }
        match session.common.protocol {
            record::Protocol::Submissions => session.handshake(),
            _ => session.greet(),
        }
    }

    /// Where a domain's mail goes is known.
    pub(super) fn located(mut self, host: &Host, found: Result<Arc<Backend>, No>) -> Self {
        let side = &mut self.common.far_side;
        side.asked.retain(|asked| asked != host);
        if let Ok(backend) = &found {
            if side.located.len() == REMEMBERED {
                side.located.remove(0);
            }
            side.located.push((host.clone(), Arc::clone(backend)));
        }
        self.behind_discarding(|mut session| {
            if let Phase::Naming(naming) = &mut session.phase {
                naming.located(host, &found, &mut session.common);
            }
            session
        })
    }

    /// A far side that is not proven yet closed, or said something nobody asked for.
    pub(super) fn far_side_spoke(mut self) -> Self {
        self.common.leave_far_side();
        self
    }
}
