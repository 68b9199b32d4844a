//! Messages that are judged without being sent, and messages that somebody hands in to be learnt.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::{Arc, PoisonError};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use delivery::Client;
use judge::{Class, Features, Source, Transport, Whom};
use record::{Direction, Protocol, TlsOutcome};
use relay::{Case, HeldBody};
use smtp::{Envelope, TraceId, TransactionId};
use tokio::time::{Duration, Instant};

use super::Court;
use super::acquaintance::Note;
use super::case_body::MAX_LOOKED_AT;
use super::learning::verdict_field;
use super::sitting::Rules;
use crate::report::{LearnOrder, Lesson, NotJudging, ScanOrder, Scanned};

/// How long one message may take, whatever the budget is: somebody waits for the answer.
const PATIENCE: Duration = Duration::from_secs(30);

impl Court {
    /// By these rules messages are judged that somebody hands in.
    pub(super) fn rules_are(&self, rules: &Arc<Rules>) {
        *self.rules.lock().unwrap_or_else(PoisonError::into_inner) = Some(Arc::clone(rules));
    }

    /// Judges a message as if it came in now; nothing of it is kept, and nobody learns from it.
    pub(in crate::engine) async fn scan(self: Arc<Self>, order: ScanOrder) -> Result<Scanned, NotJudging> {
        let rules = self.rules.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let rules = rules.ok_or(NotJudging::Off)?;
        let case = self.case(&order)?;
        let deadline = Instant::now() + PATIENCE.min(rules.budget);
        let (found, mut checks, scored, mut weighed) = rules.deliberate(&case, deadline).await;
        if let Some(wish) = rules.wishes(&case, &found).for_all(&case) {
            checks = wish.among(&checks);
            weighed = judge::judge(scored.as_ref().map(|(_, score)| score), &checks, &rules.thresholds);
        }
        let why = match (&scored, order.explain) {
            (Some((features, _)), true) => Some(rules.explain(features, &case, &checks)),
            _ => None,
        };
        Ok(Scanned::of(&weighed, found.troubles(), why))
    }

    fn case(&self, order: &ScanOrder) -> Result<Case, NotJudging> {
        let envelope = envelope(order)?;
        let now = self.clock.now();
        let session = TraceId::new(u64::try_from(now.as_millis()).unwrap_or_default(), rand::random());
        // Nobody has no address: who may send is not asked then.
        let nobody = IpAddr::V4(Ipv4Addr::UNSPECIFIED);
        let client = Client {
            address: SocketAddr::new(order.ip.unwrap_or(nobody), 0),
            destination: SocketAddr::new(nobody, 25),
            helo: order.helo.as_str().into(),
            esmtp: true,
        };
        let message = decoded(&order.message)?;
        Ok(Case {
            transaction: TransactionId { session, number: 1 },
            direction: Direction::Inbound,
            client,
            protocol: Protocol::Smtp,
            tls: TlsOutcome::Plain,
            authenticated: false,
            user: None,
            recipients: (0..envelope.recipients.len()).collect(),
            envelope,
            trapped: false,
            received: now,
            body: HeldBody { file: None, stored: 0, tail: message.into() },
        })
    }

    /// Learns a message that somebody hands in. One that came through here is known by its field and learnt as it came; any
    /// other as it is.
    pub(in crate::engine) async fn learn_message(
        self: Arc<Self>,
        class: Class,
        order: LearnOrder,
    ) -> Result<Lesson, NotJudging> {
        let message = decoded(&order.message)?;
        let known = verdict_field(&message);
        let features = match known {
            Some(transaction) => self.kept.features(transaction).await,
            None => None,
        };
        let is_known = features.is_some();
        let features = match features {
            Some(features) => features,
            None => self.features_of(&message).await?,
        };
        let learnt = self.learn_features(features, class, (Source::Administrator, 1.0), ("", "")).await;
        if let Some(transaction) = known.filter(|_| is_known) {
            self.acquaintances.note(Note::Said { transaction, is_spam: class == Class::Spam });
            self.was_decided(transaction, class).await;
        }
        let learnt =
            learnt.ok_or_else(|| NotJudging::Failed("the lesson is not on disk: see the log".into()))?;
        Ok(learnt.into())
    }

    async fn features_of(&self, message: &[u8]) -> Result<Features, NotJudging> {
        let failed = |why: String| NotJudging::Failed(why);
        let workers = self.roles.workers().ok_or_else(|| failed("no worker reads mail yet".into()))?;
        let body = sift::Body::from_bytes(message).map_err(|error| failed(error.to_string()))?;
        let read = tokio::time::timeout(PATIENCE, workers.read(&body)).await;
        let read = read.map_err(|_| failed("the message was not read in time".into()))?;
        let sifted = read.map_err(|error| failed(error.to_string()))?;
        Ok(Features::of(&sifted.content, &Transport::default()))
    }
}

impl Rules {
    fn explain(&self, features: &Features, case: &Case, checks: &[judge::Check]) -> judge::Explanation {
        let (domain, user) = super::sitting::whom(case);
        let whom = Whom { domain: &domain, user: &user };
        self.court.model.explain(features, whom, checks, &self.thresholds, case.received)
    }
}

fn envelope(order: &ScanOrder) -> Result<Envelope, NotJudging> {
    let mut text = format!("MAIL FROM:<{}> SMTPUTF8\r\n", order.from);
    for to in &order.to {
        text.push_str(&format!("RCPT TO:<{to}>\r\n"));
    }
    let is_a_line = |path: &String| !path.contains(['\r', '\n', '<', '>']);
    if !is_a_line(&order.from) || !order.to.iter().all(is_a_line) {
        return Err(NotJudging::Wrong("an address has brackets or line ends in it"));
    }
    Envelope::read(text.as_bytes()).map_err(|_| NotJudging::Wrong("an address is none (RFC 5321, 4.1.2)"))
}

fn decoded(message: &str) -> Result<Vec<u8>, NotJudging> {
    let mut message =
        STANDARD.decode(message).map_err(|_| NotJudging::Wrong("the message is not in base64"))?;
    message.truncate(usize::try_from(MAX_LOOKED_AT).unwrap_or(usize::MAX));
    Ok(message)
}
