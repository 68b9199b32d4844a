//! AUTH on the submission ports, relayed: the exchange is between the client and its server, Postern only carries it
//! (RFC 4954, DECISIONS 9). What passes is never logged.

use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use delivery::{Answered, Far, Proven, TlsWish, timeouts};
use record::SessionEnd;
use route::Backend;
use smtp::dialogue::Sent;
use smtp::receiver::Ready;
use smtp::reply::ReplyCode;
use smtp::{Capabilities, Domain, Extension, No, Reply};
use tokio::time::Instant;

use super::legs::OwnLeg;
use super::{Action, Common, LegId, Phase, Session};

/// Octets of a user name that are kept: no mail address is longer (RFC 5321 §4.5.3.1).
const MAX_USER: usize = 320;

/// AUTH under way.
#[derive(Debug)]
pub(super) struct Authenticating {
    ready: Ready,
    mechanism: Box<str>,
    said: Said,
    stage: Stage,
    deadline: Instant,
}

/// What the client has said of itself. Only its first message is looked at: a later one may be a password.
#[derive(Debug)]
enum Said {
    Nothing,
    Something { user: Option<Box<str>> },
}

impl Said {
    /// The same with one more message.
    fn with(self, mechanism: &str, message: &str) -> Self {
        match self {
            Self::Nothing => {
                let user = user_name(mechanism, message).map(|user| bounded(&user));
                Self::Something { user }
            }
            something @ Self::Something { .. } => something,
        }
    }

    fn user(self) -> Option<Box<str>> {
        match self {
            Self::Something { user } => user,
            Self::Nothing => None,
        }
    }
}

/// In lower case.
fn bounded(user: &str) -> Box<str> {
    user.get(..user.floor_char_boundary(MAX_USER)).unwrap_or_default().to_lowercase().into()
}

#[derive(Debug)]
enum Stage {
    /// Which server is meant is told by the client's first message.
    FirstMessage,
    /// A connection to that server is being opened; the client's message waits.
    Opening(LegId, String),
    /// The server was given something.
    Server(OwnLeg),
    /// The client was given a challenge.
    Client(OwnLeg),
}

impl Authenticating {
    pub(super) fn awaits_client(&self) -> bool {
        matches!(self.stage, Stage::FirstMessage | Stage::Client(_))
    }

    pub(super) fn deadline(&self, client: Instant) -> Instant {
        if self.awaits_client() { client } else { self.deadline }
    }

    pub(super) fn leg(&self) -> Option<LegId> {
        match &self.stage {
            Stage::FirstMessage => None,
            Stage::Opening(leg, _) => Some(*leg),
            Stage::Server(own) | Stage::Client(own) => Some(own.id),
        }
    }

    pub(super) fn abandon(&self, common: &mut Common) {
        if let Some(leg) = self.leg() {
            common.act(Action::Close(leg, false));
        }
    }
}

impl Session {
    pub(super) fn authenticate(mut self, mechanism: &str, initial: Option<&str>) -> Self {
        if !self.common.offer.has(Extension::Auth) {
            return self.refuse(&No::AuthNotOffered);
        }
        if self.common.authenticated {
            return self.refuse(&No::AuthOutOfPlace);
        }
        if !self.common.offer.mechanisms.iter().any(|offered| &**offered == mechanism) {
            return self.refuse(&No::AuthUnknownMechanism);
        }
        if initial.is_some_and(|response| response != "=" && !is_base64(response)) {
            return self.refuse(&No::AuthMalformed);
        }
        let Phase::Idle(ready) = self.phase else { return self.refuse(&No::AuthOutOfPlace) };
        self.common.idle_commands = 0;
        let mut one = Authenticating {
            ready,
            mechanism: mechanism.into(),
            said: Said::Nothing,
            stage: Stage::FirstMessage,
            deadline: self.common.now + timeouts::ENVELOPE,
        };
        if let Some(initial) = initial {
            one.said = one.said.with(mechanism, initial);
        }
        if !self.common.legs.is_empty() {
            let own = self.common.legs.swap_remove(0);
            let line =
                initial.map_or_else(|| format!("AUTH {mechanism}"), |i| format!("AUTH {mechanism} {i}"));
            one.stage = Stage::Server(self.common.say_to_server(own, &line));
            return Self { phase: Phase::Authenticating(Box::new(one)), ..self };
        }
        if let Some(initial) = initial {
            return Self { common: self.common, phase: Phase::Ended }.first_message(one, initial);
        }
        // What a server would ask at this point: LOGIN for the user name, the others for the client's first message.
        let challenge = if mechanism == "LOGIN" { "VXNlcm5hbWU6" } else { "" };
        self.common.say(&Reply::new(ReplyCode::CHALLENGE, None, challenge));
        Self { phase: Phase::Authenticating(Box::new(one)), ..self }
    }

    /// The user name in the client's first message says which server is meant.
    fn first_message(mut self, mut one: Authenticating, message: &str) -> Self {
        let backend = user_name(&one.mechanism, message)
            .and_then(|user| user.rsplit_once('@')?.1.parse::<Domain>().ok())
            .and_then(|domain| self.common.settings.routing.backend_of(&domain))
            .filter(|backend| !backend.submission().is_empty());
        let Some(backend) = backend.or_else(|| self.common.submission_backends().next()).cloned() else {
            return self.finish(Some(No::ServerUnavailable), SessionEnd::Ended("no server for AUTH".into()));
        };
        let leg = self.common.open_leg(&backend, true, false, TlsWish::AsPolicySays);
        one.deadline = self.common.now + timeouts::ALL_SERVERS * 2;
        one.stage = Stage::Opening(leg, format!("AUTH {} {message}", one.mechanism));
        Self { phase: Phase::Authenticating(Box::new(one)), ..self }
    }

    pub(super) fn authentication_leg(mut self, leg: LegId, far: Far<Proven>) -> Self {
        let Phase::Authenticating(mut one) = self.phase else { return self };
        let Stage::Opening(awaited, line) = &one.stage else {
            return Self { phase: Phase::Authenticating(one), ..self };
        };
        if *awaited != leg {
            self.common.act(Action::Close(leg, true));
            return Self { phase: Phase::Authenticating(one), ..self };
        }
        let own = OwnLeg { id: leg, far: Box::new(far), idle_since: self.common.now };
        one.deadline = self.common.now + timeouts::ENVELOPE;
        one.stage = Stage::Server(self.common.say_to_server(own, line));
        Self { phase: Phase::Authenticating(one), ..self }
    }

    /// A line of the client's: a response, or `*` to give up (RFC 4954 §4).
    pub(super) fn authentication_response(mut self, line: Vec<u8>) -> Self {
        self.common.await_command();
        let phase = std::mem::replace(&mut self.phase, Phase::Ended);
        let Phase::Authenticating(one) = phase else { return Self { phase, ..self } };
        let Authenticating { ready, mechanism, said, stage, deadline } = *one;
        let response = String::from_utf8(line).unwrap_or_default();
        let sound = response == "*" || is_base64(&response);
        let said = said.with(&mechanism, &response);
        match stage {
            Stage::FirstMessage if response == "*" || !sound => {
                let no = if sound { No::AuthCancelled } else { No::AuthMalformed };
                Self { phase: Phase::Idle(ready), ..self }.refuse(&no)
            }
            Stage::FirstMessage => {
                let one = Authenticating { ready, mechanism, said, stage: Stage::FirstMessage, deadline };
                self.first_message(one, &response)
            }
            Stage::Client(own) => {
                // What is no base64 is passed on as a cancellation: the server waits for something.
                let response = if sound { &response } else { "*" };
                let deadline = self.common.now + timeouts::ENVELOPE;
                let stage = Stage::Server(self.common.say_to_server(own, response));
                let one = Authenticating { ready, mechanism, said, stage, deadline };
                Self { phase: Phase::Authenticating(Box::new(one)), ..self }
            }
            stage => {
                let one = Authenticating { ready, mechanism, said, stage, deadline };
                Self { phase: Phase::Authenticating(Box::new(one)), ..self }
            }
        }
    }

    /// The server's challenge or verdict, passed on in its own words.
    pub(super) fn authentication_reply(mut self, leg: LegId, mut input: &[u8]) -> Self {
        let phase = std::mem::replace(&mut self.phase, Phase::Ended);
        let Phase::Authenticating(one) = phase else { return Self { phase, ..self } };
        let Authenticating { ready, mechanism, said, stage, deadline } = *one;
        let mut out = Vec::new();
        let (answered, stage) = match stage {
            Stage::Server(mut own) => (own.far.read(&mut input, &mut out), Stage::Server(own)),
            // Whatever it says now, nobody asked for it.
            Stage::Client(mut own) => (own.far.read(&mut input, &mut out), Stage::Client(own)),
            stage => (Ok(None), stage),
        };
        match (answered, stage) {
            (Ok(None), stage) => {
                let one = Authenticating { ready, mechanism, said, stage, deadline };
                Self { phase: Phase::Authenticating(Box::new(one)), ..self }
            }
            (Ok(Some(Answered::Reply(Sent::Auth, reply))), Stage::Server(own)) => {
                let one = Authenticating { ready, mechanism, said, stage: Stage::FirstMessage, deadline };
                self.authentication_answer(one, own, &reply)
            }
            _ => {
                self.common.act(Action::Close(leg, false));
                self.phase = Phase::Idle(ready);
                self.finish(Some(No::ServerUnavailable), SessionEnd::Ended("out of step in AUTH".into()))
            }
        }
    }

    fn authentication_answer(mut self, one: Authenticating, own: OwnLeg, reply: &Reply) -> Self {
        let common = &mut self.common;
        common.await_command();
        common.say(reply);
        if reply.code().is_intermediate() {
            let one = Authenticating { stage: Stage::Client(own), ..one };
            return Self { phase: Phase::Authenticating(Box::new(one)), ..self };
        }
        if reply.code().is_positive() {
            common.authenticated = true;
            common.user = one.said.user();
        } else {
            common.errors += 1;
        }
        // A server of several that refused is asked anew by the next attempt, for another user perhaps.
        if reply.code().is_positive() || common.sole_submission_backend().is_some() {
            common.legs.push(OwnLeg { idle_since: common.now, ..own });
        } else {
            common.act(Action::Close(own.id, true));
        }
        Self { phase: Phase::Idle(one.ready), ..self }
    }
}

impl Common {
    fn say_to_server(&mut self, mut own: OwnLeg, line: &str) -> OwnLeg {
        let mut out = Vec::new();
        own.far.say(Sent::Auth, line, &mut out);
        self.act(Action::Write(own.id, out));
        own
    }

    /// AUTH is offered behind TLS only: with the mechanisms of the server that is connected, or those that all have.
    pub(super) fn offer_authentication(&self, offer: &mut Capabilities) {
        if !self.is_encrypted() || self.authenticated {
            return;
        }
        offer.mechanisms = match self.legs.first() {
            Some(own) => own.far.capabilities().relayable_mechanisms(),
            None => self.shared_mechanisms(),
        };
        if !offer.mechanisms.is_empty() {
            offer.insert(Extension::Auth);
        }
    }

    fn shared_mechanisms(&self) -> Vec<Box<str>> {
        let backends = self.settings.routing.backends();
        let known =
            backends.iter().flat_map(|backend| backend.submission()).filter_map(|server| server.offered());
        let mut offers = known.map(|offered| offered.effective().relayable_mechanisms());
        let first = offers.next().unwrap_or_default();
        offers.fold(first, |mut shared, mechanisms| {
            shared.retain(|mechanism| mechanisms.contains(mechanism));
            shared
        })
    }

    /// The backend that a submission session is for, if that can be told before AUTH: the only one, or the one whose
    /// domain the client named in its TLS handshake.
    pub(super) fn sole_submission_backend(&self) -> Option<&Arc<Backend>> {
        let mut candidates = self.submission_backends();
        let (first, second) = (candidates.next()?, candidates.next());
        if second.is_none() {
            return Some(first);
        }
        let name = self.tls.facts()?.server_name.as_deref()?;
        self.submission_backends()
            .find(|backend| backend.domains().iter().any(|domain| is_within(name, domain.as_str())))
    }

    fn submission_backends(&self) -> impl Iterator<Item = &Arc<Backend>> + '_ {
        self.settings.routing.backends().iter().filter(|backend| !backend.submission().is_empty())
    }
}

/// Whether a host name is a domain or below it.
fn is_within(name: &str, domain: &str) -> bool {
    name.strip_suffix(domain).is_some_and(|rest| rest.is_empty() || rest.ends_with('.'))
}

fn is_base64(text: &str) -> bool {
    STANDARD.decode(text).is_ok()
}

/// The user in the first message of a mechanism; `None` if it has none or cannot be read.
fn user_name(mechanism: &str, message: &str) -> Option<String> {
    let message = String::from_utf8(STANDARD.decode(message).ok()?).ok()?;
    let user = match mechanism {
        "LOGIN" => message.as_str(),
        "PLAIN" => message.split('\0').nth(1)?,
        "XOAUTH2" => message.split('\x01').find_map(|part| part.strip_prefix("user="))?,
        // RFC 7628 §3.1, RFC 5802 §7: a GS2 header or SCRAM's first message.
        "OAUTHBEARER" => message.split(',').find_map(|part| part.strip_prefix("a="))?,
        scram if scram.starts_with("SCRAM-") => {
            message.split(',').find_map(|part| part.strip_prefix("n="))?
        }
        // RFC 2195 §2: the name, a space, and the digest.
        "CRAM-MD5" => message.rsplit_once(' ')?.0,
        _ => return None,
    };
    (!user.is_empty()).then(|| user.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_user_is_found_in_every_mechanisms_first_message() {
        for (mechanism, message) in [
            ("LOGIN", "ann@a.example"),
            ("PLAIN", "\0ann@a.example\0secret"),
            ("PLAIN", "other\0ann@a.example\0secret"),
            ("XOAUTH2", "user=ann@a.example\x01auth=Bearer x\x01\x01"),
            ("OAUTHBEARER", "n,a=ann@a.example,\x01auth=Bearer x\x01\x01"),
            ("SCRAM-SHA-256", "n,,n=ann@a.example,r=abc"),
            ("CRAM-MD5", "ann@a.example b913a602c7eda7a495b4e6e7334d3890"),
        ] {
            let user = user_name(mechanism, &STANDARD.encode(message));
            assert_eq!(user.as_deref(), Some("ann@a.example"), "{mechanism}");
        }
        assert_eq!(user_name("PLAIN", "!"), None);
        assert_eq!(user_name("GSSAPI", "YQ=="), None);
    }

    #[test]
    fn only_the_first_message_tells_the_user_and_never_a_password() {
        let say = |said: Said, message: &str| said.with("LOGIN", &STANDARD.encode(message));
        let both = say(say(Said::Nothing, "Ann@a.example"), "secret");
        assert_eq!(both.user().as_deref(), Some("ann@a.example"));
        assert_eq!(say(say(Said::Nothing, ""), "secret").user(), None);
        let long = say(Said::Nothing, &"a".repeat(2 * MAX_USER)).user().unwrap();
        assert_eq!(long.len(), MAX_USER);
    }

    #[test]
    fn names_are_within_whole_labels() {
        assert!(is_within("mail.a.example", "a.example") && is_within("a.example", "a.example"));
        assert!(!is_within("mail.aa.example", "a.example"));
    }
}
