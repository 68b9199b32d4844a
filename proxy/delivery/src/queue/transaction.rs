//! One message over one connection, and what each of its recipients came to.

use record::Leg;
use smtp::dialogue::{OutOfStep, Sent};
use smtp::{Extension, Mail, No, Proof, RecipientSet, Reply};
use spool::{ContentReader, Entry};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::{Duration, timeout};

use crate::delivered::Delivered;
use crate::far::{Answered, Far, Proven};
use crate::notification::Speaker;
use crate::open::OpenLeg;
use crate::outgoing::{ContentWriter, Outgoing};
use crate::timeouts;

/// The replies to a whole envelope fit; more only takes another read.
const READ: usize = 16 * 1024;

/// What became of a message for those recipients that it was offered for.
#[derive(Debug, Default)]
pub(crate) struct Outcome {
    /// The server's word that it took it, and for whom.
    pub(crate) delivered: Option<Delivered>,
    /// Refused for good.
    pub(crate) refused: Vec<(usize, Reply)>,
    /// To be tried again.
    pub(crate) deferred: Vec<(usize, Reply)>,
    /// Whose words these are.
    pub(crate) server: Server,
    /// Where they were said.
    pub(crate) leg: Option<Leg>,
}

/// Who said something of a message.
#[derive(Clone, Debug, Default)]
pub(crate) enum Server {
    /// No server: Postern itself.
    #[default]
    None,
    /// A hidden one, which is not named.
    Hidden,
    /// One of the world, of this name.
    World(Box<str>),
}

impl Server {
    pub(crate) fn speaker(&self) -> Speaker<'_> {
        match self {
            Self::None => Speaker::Postern,
            Self::Hidden => Speaker::Hidden,
            Self::World(name) => Speaker::World(name),
        }
    }
}

impl Outcome {
    /// The same reply for all of these.
    pub(crate) fn of_all(recipients: &RecipientSet, reply: &Reply) -> Self {
        let mut outcome = Self::default();
        recipients.iter().for_each(|index| outcome.add(index, reply.clone()));
        outcome
    }

    fn add(&mut self, index: usize, reply: Reply) {
        if reply.code().is_permanent() {
            self.refused.push((index, reply));
        } else {
            self.deferred.push((index, reply));
        }
    }

    pub(crate) fn taken(&self) -> RecipientSet {
        self.delivered.as_ref().map(|delivered| delivered.recipients().clone()).unwrap_or_default()
    }
}

/// The connection is of no use any more.
#[derive(Debug)]
pub(crate) struct Lost {
    /// Why, in the server's words if it said any.
    pub(crate) words: Reply,
    /// The content was on its way: it may be the message that the server broke on.
    pub(crate) in_content: bool,
    /// What is known of the recipients all the same.
    pub(crate) outcome: Outcome,
}

/// What went wrong with the connection.
#[derive(Debug, thiserror::Error)]
enum Broken {
    #[error("the server closed the connection")]
    Closed,
    #[error("the connection broke: {0}")]
    Io(#[from] std::io::Error),
    #[error("{0}")]
    OutOfStep(#[from] OutOfStep),
    #[error("the server did not answer in time")]
    Silent,
    #[error("the spool cannot be read: {0}")]
    Spool(#[from] spool::SpoolError),
}

impl Broken {
    fn words(self, entry: &Entry) -> Reply {
        match self {
            Self::OutOfStep(OutOfStep::Closing(reply)) => reply,
            other => No::ServerLost(other.to_string().into()).reply(entry.transaction),
        }
    }
}

/// Offers the message to the server. The connection can be used again unless it was lost.
///
/// # Errors
///
/// The connection is lost.
pub(crate) async fn offer(
    leg: &mut OpenLeg,
    entry: &Entry,
    content: ContentReader,
) -> Result<Outcome, Box<Lost>> {
    if let Some(no) = lacking(&entry.envelope.mail, &leg.far) {
        return Ok(Outcome::of_all(&entry.recipients, &no.reply(entry.transaction)));
    }
    let mut talk = Talk { leg, input: Vec::new(), in_content: false, outcome: Outcome::default() };
    match talk.offer(entry, content).await {
        Ok(()) => Ok(talk.outcome),
        Err(broken) => {
            let Talk { in_content, mut outcome, .. } = talk;
            let words = broken.words(entry);
            let taken = outcome.taken();
            let known = |index: &usize| {
                let told =
                    || outcome.refused.iter().chain(&outcome.deferred).any(|(known, _)| known == index);
                taken.contains(*index) || told()
            };
            let unknown: Vec<usize> = entry.recipients.iter().filter(|index| !known(index)).collect();
            // Whoever was refused by name stays refused; the others wait.
            outcome.deferred.extend(unknown.into_iter().map(|index| (index, words.clone())));
            Err(Box::new(Lost { words, in_content, outcome }))
        }
    }
}

/// What the message cannot be without, and the server does not have (DECISIONS 2).
fn lacking(mail: &Mail, far: &Far<Proven>) -> Option<No> {
    use smtp::command::BodyType;
    let needs = [
        (mail.body == Some(BodyType::BinaryMime), Extension::BinaryMime),
        (mail.body == Some(BodyType::EightBitMime), Extension::EightBitMime),
        (mail.smtputf8, Extension::SmtpUtf8),
        (mail.requiretls, Extension::RequireTls),
    ];
    let offered = far.capabilities();
    if let Some((_, lacks)) = needs.iter().find(|(needed, extension)| *needed && !offered.has(*extension)) {
        return Some(No::LacksExtension(*lacks));
    }
    (mail.requiretls && !far.is_proved()).then_some(No::LacksExtension(Extension::RequireTls))
}

struct Talk<'a> {
    leg: &'a mut OpenLeg,
    /// What was read and is not understood yet.
    input: Vec<u8>,
    in_content: bool,
    outcome: Outcome,
}

impl Talk<'_> {
    async fn offer(&mut self, entry: &Entry, content: ContentReader) -> Result<(), Broken> {
        if self.name_recipients(entry).await? {
            self.send_content(entry, content).await?;
        }
        // What nobody asked for answers something that is never asked.
        if self.input.is_empty() { Ok(()) } else { Err(Broken::Silent) }
    }

    /// MAIL and the RCPTs that remain; whether anybody is left to send content for.
    async fn name_recipients(&mut self, entry: &Entry) -> Result<bool, Broken> {
        let envelope = &entry.envelope;
        let size = envelope.mail.size.map(|size| size.saturating_add(route::ADDED_FIELDS));
        let mut out = Vec::new();
        self.leg.far.mail(&envelope.mail, size, &mut out);
        for index in entry.recipients.iter() {
            if let Some(rcpt) = envelope.recipients.get(index) {
                self.leg.far.rcpt(index, rcpt, &mut out);
            }
        }
        self.write(&out).await?;
        let mut mail_refused = None;
        while !self.leg.far.is_settled() {
            let Answered::Reply(sent, reply) = self.answer(timeouts::ENVELOPE).await? else { continue };
            match sent {
                _ if reply.code().is_positive() => {}
                Sent::Mail => mail_refused = Some(reply),
                Sent::Rcpt(index) => self.outcome.add(index, mail_refused.clone().unwrap_or(reply)),
                _ => {}
            }
        }
        Ok(!self.leg.far.accepted().is_empty())
    }

    async fn send_content(&mut self, entry: &Entry, mut content: ContentReader) -> Result<(), Broken> {
        let outgoing = Outgoing { length: content.length(), ..Outgoing::default() };
        let mut out = Vec::new();
        let mut writer = if self.leg.far.capabilities().has(Extension::Chunking) {
            self.leg.far.chunk(outgoing.size(), entry.transaction, &mut out);
            ContentWriter::for_chunk(&outgoing, &mut out)
        } else {
            self.leg.far.data(&mut out);
            self.write(&out).await?;
            out.clear();
            match self.answer(timeouts::DATA_START).await? {
                Answered::Reply(Sent::Data, reply) if reply.code().is_intermediate() => {}
                Answered::Reply(_, reply) => {
                    self.refuse_the_accepted(&reply);
                    return Ok(());
                }
                _ => return Err(Broken::Silent),
            }
            self.leg.far.begin_content(entry.transaction);
            ContentWriter::for_data(&outgoing, &mut out)
        };
        self.in_content = true;
        while let Some(piece) = content.next().await? {
            writer.write(&outgoing, &piece, &mut out);
            if let Err(broken) = self.write(&out).await {
                return Err(self.broken_in_content(broken).await);
            }
            out.clear();
        }
        writer.finish(&mut out);
        self.leg.far.finish_content();
        self.write(&out).await?;
        match self.answer(timeouts::DATA_END).await? {
            Answered::Delivered(delivered) => self.outcome.delivered = Some(delivered),
            Answered::Undelivered(reply) | Answered::Reply(_, reply) => self.refuse_the_accepted(&reply),
        }
        Ok(())
    }

    /// Those whom it took by name do not get the message after all.
    fn refuse_the_accepted(&mut self, reply: &Reply) {
        let accepted: Vec<usize> = self.leg.far.accepted().iter().collect();
        accepted.into_iter().for_each(|index| self.outcome.add(index, reply.clone()));
    }

    async fn write(&mut self, bytes: &[u8]) -> Result<(), Broken> {
        if bytes.is_empty() {
            return Ok(());
        }
        let stream = &mut self.leg.stream;
        let written = async {
            stream.write_all(bytes).await?;
            stream.flush().await
        };
        timeout(timeouts::DATA_BLOCK, written).await.map_err(|_| Broken::Silent)??;
        Ok(())
    }

    /// The next answer; commands that waited for one are sent.
    async fn answer(&mut self, patience: Duration) -> Result<Answered, Broken> {
        timeout(patience, self.read_answer()).await.map_err(|_| Broken::Silent)?
    }

    /// A server that refuses in the middle of content and closes has said why.
    async fn broken_in_content(&mut self, broken: Broken) -> Broken {
        if let Ok(Answered::Undelivered(reply)) = self.answer(timeouts::LAST_WORDS).await {
            self.refuse_the_accepted(&reply);
            return Broken::Closed;
        }
        broken
    }

    async fn read_answer(&mut self) -> Result<Answered, Broken> {
        loop {
            let (mut rest, mut out) = (&self.input[..], Vec::new());
            let answered = if rest.is_empty() { None } else { self.leg.far.read(&mut rest, &mut out)? };
            let understood = self.input.len() - rest.len();
            self.input.drain(..understood);
            self.write(&out).await?;
            if let Some(answered) = answered {
                return Ok(answered);
            }
            let mut buffer = [0; READ];
            let length = self.leg.stream.read(&mut buffer).await?;
            if length == 0 {
                return Err(Broken::Closed);
            }
            self.input.extend_from_slice(&buffer[..length]);
        }
    }
}
