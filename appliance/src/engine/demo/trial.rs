//! One sample: sent, and what came of it compared with what must come of it, at the client, in the trace and in the
//! inbox of the server behind.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use record::{FarProof, TlsOutcome, Transaction};
use smtp::content::DataEncoder;
use smtp::dialogue::Sent;
use smtp::{Reply, TransactionId};
use tls::Connector;
use tokio::time::{Instant, sleep};

use super::inbox::Inbox;
use super::samples::{Form, SMUGGLED, Sample};
use super::sender::{SendError, Sender};
use super::told::{Refused, Told};
use crate::recorder::Recording;

/// A transaction is in the trace when its event has gone through the queue: milliseconds, but on a busy machine.
const TRACE_PATIENCE: Duration = Duration::from_secs(10);

/// What a trial needs.
pub(super) struct Bench {
    /// Where the gate is.
    pub(super) gate: SocketAddr,
    /// The gate's name, to be verified.
    pub(super) gate_name: &'static str,
    /// TLS that verifies it.
    pub(super) connector: Connector,
    /// What the server behind has taken.
    pub(super) inbox: Arc<Inbox>,
    /// What the gate remembers.
    pub(super) recording: Arc<Recording>,
}

/// What the client was told.
struct Answers {
    recipients: Vec<Reply>,
    last: Reply,
    tls: TlsOutcome,
}

impl Bench {
    pub(super) async fn try_out(&self, sample: &Sample) -> Told {
        match self.send(sample).await {
            Ok(answers) => self.judge(sample, &answers).await,
            Err(error) => Told {
                name: sample.name,
                as_it_should: false,
                problem: error.to_string(),
                code: 0,
                reply: String::new(),
                refused: Vec::new(),
                verdict: "-".into(),
                id: "-".into(),
                tls_in: (&TlsOutcome::Plain).into(),
                tls_on: None,
            },
        }
    }

    async fn send(&self, sample: &Sample) -> Result<Answers, SendError> {
        let mut sender = Sender::connect(self.gate, sample.helo).await?;
        if let Form::BehindStartTls(bytes) = sample.form {
            let last = sender.ask(Sent::StartTls, bytes).await?;
            return Ok(Answers { recipients: Vec::new(), last, tls: TlsOutcome::Plain });
        }
        if sample.encrypted {
            sender = sender.encrypt(&self.connector, self.gate_name, sample.helo).await?;
        }
        let tls = match sender.tls() {
            Some(facts) => TlsOutcome::Established { facts: facts.clone(), proof: FarProof::Verified },
            None => TlsOutcome::Plain,
        };
        let mut recipients = sender.pipeline(&envelope(sample)).await?;
        let mail = recipients.remove(0);
        let taken = mail.code().is_positive() && recipients.iter().any(|reply| reply.code().is_positive());
        let last = match taken {
            true => send_content(&mut sender, &sample.form).await?,
            false => recipients.last().cloned().unwrap_or(mail),
        };
        // Nobody waits for the answer's words, but the session has then ended in order.
        sender.ask(Sent::Quit, b"QUIT\r\n").await?;
        Ok(Answers { recipients, last, tls })
    }

    async fn judge(&self, sample: &Sample, answers: &Answers) -> Told {
        let id = trace_id(&answers.last).unwrap_or_default();
        let traced = self.traced(&id).await;
        let problem = self.problem(sample, answers, traced.as_deref());
        let refusals = sample.recipients.iter().zip(&answers.recipients);
        let refusals = refusals.filter(|(_, reply)| !reply.code().is_positive());
        let leg = traced.as_ref().and_then(|traced| traced.groups.iter().find_map(leg_of));
        Told {
            name: sample.name,
            as_it_should: problem.is_none(),
            problem: problem.unwrap_or_default(),
            code: answers.last.code().get(),
            reply: answers.last.to_string(),
            refused: refusals
                .map(|((address, _), reply)| Refused { address: (*address).into(), reply: reply.to_string() })
                .collect(),
            // A session that ended before MAIL has no transaction to be judged.
            verdict: traced.as_ref().map_or("refused", |traced| traced.verdict.name()).into(),
            id,
            tls_in: (&answers.tls).into(),
            tls_on: leg.map(|leg| (&leg.tls).into()),
        }
    }

    /// The transaction, as soon as the trace has it.
    async fn traced(&self, id: &str) -> Option<Arc<Transaction>> {
        let id: TransactionId = id.parse().ok()?;
        let end = Instant::now() + TRACE_PATIENCE;
        loop {
            let found = self.recording.kept().memory.transaction(id);
            if found.is_some() || Instant::now() > end {
                return found;
            }
            sleep(Duration::from_millis(5)).await;
        }
    }

    /// What is not as it should be.
    fn problem(&self, sample: &Sample, answers: &Answers, traced: Option<&Transaction>) -> Option<String> {
        for ((address, expected), reply) in sample.recipients.iter().zip(&answers.recipients) {
            if reply.code().get() != *expected {
                return Some(format!("{address} should have got {expected}, not {reply}"));
            }
        }
        if answers.last.code().get() != sample.expected {
            return Some(format!(
                "the last reply should have been {}, not {}",
                sample.expected, answers.last
            ));
        }
        if sample.expected != 250 {
            let nothing = [sample.from, SMUGGLED].iter().all(|sender| self.inbox.from(sender).is_empty());
            return (!nothing).then(|| "the server behind got a mail that was refused".into());
        }
        if traced.is_none() {
            return Some("the trace does not know it".into());
        }
        self.arrived(sample)
    }

    /// Whether it arrived once, whole, for those whom it was accepted for, over TLS.
    fn arrived(&self, sample: &Sample) -> Option<String> {
        let received = self.inbox.from(sample.from);
        let [received] = &received[..] else {
            return Some(format!("the server behind got it {} times", received.len()));
        };
        let wanted = sample.recipients.iter().filter(|(_, code)| *code == 250).map(|(address, _)| *address);
        let named = received.envelope.recipients.iter().map(|rcpt| rcpt.forward_path.as_str());
        if !named.eq(wanted) {
            return Some("the server behind got other recipients than were accepted".into());
        }
        if !received.content.ends_with(sample.form.content()) {
            return Some("the server behind got another content than was sent".into());
        }
        (!received.encrypted).then(|| "the server behind got it without TLS".into())
    }
}

/// MAIL and all RCPTs, for one segment.
fn envelope(sample: &Sample) -> Vec<(Sent, Vec<u8>)> {
    let mail = format!("MAIL FROM:<{}>{}\r\n", sample.from, sample.parameters);
    let rcpt = |(index, (address, _)): (usize, &(&str, u16))| {
        (Sent::Rcpt(index), format!("RCPT TO:<{address}>\r\n").into_bytes())
    };
    let rcpts = sample.recipients.iter().enumerate().map(rcpt);
    [(Sent::Mail, mail.into_bytes())].into_iter().chain(rcpts).collect()
}

async fn send_content(sender: &mut Sender, form: &Form) -> Result<Reply, SendError> {
    let octets = match form {
        Form::Data(content) => {
            let (mut encoder, mut octets) = (DataEncoder::new(), Vec::new());
            encoder.encode(content, &mut octets);
            encoder.finish(&mut octets);
            octets
        }
        Form::Raw(octets) => octets.to_vec(),
        Form::Chunks(content, size) => return send_chunks(sender, content, *size).await,
        Form::Nothing | Form::BehindStartTls(_) => return Err(SendError::Closed),
    };
    let go_ahead = sender.ask(Sent::Data, b"DATA\r\n").await?;
    match go_ahead.code().is_intermediate() {
        true => sender.ask(Sent::Content, &octets).await,
        false => Ok(go_ahead),
    }
}

async fn send_chunks(sender: &mut Sender, content: &[u8], size: usize) -> Result<Reply, SendError> {
    let count = content.len().div_ceil(size);
    let chunk = |(index, octets): (usize, &[u8])| {
        let (sent, last) = if index + 1 == count { (Sent::Content, " LAST") } else { (Sent::Chunk, "") };
        let command = format!("BDAT {}{last}\r\n", octets.len());
        (sent, [command.as_bytes(), octets].concat())
    };
    let commands: Vec<_> = content.chunks(size).enumerate().map(chunk).collect();
    sender.pipeline(&commands).await?.pop().ok_or(SendError::Closed)
}

/// What stands in brackets at the end of every reply of Postern's (law 9).
fn trace_id(reply: &Reply) -> Option<String> {
    let words = reply.words();
    let (_, id) = words.trim_end().strip_suffix(')')?.rsplit_once('(')?;
    Some(id.to_owned())
}

fn leg_of(group: &record::GroupOutcome) -> Option<&record::Leg> {
    match group {
        record::GroupOutcome::Delivered { leg, .. } => Some(leg),
        record::GroupOutcome::Refused { leg, .. } => leg.as_ref(),
        record::GroupOutcome::Spooled { .. } => None,
    }
}
