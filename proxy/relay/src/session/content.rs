//! After DATA or BDAT: content arrives, is looked at as it passes, and is kept in memory or on disk.

use record::{Abuse, Verdict};
use smtp::command::BodyType;
use smtp::content::{ChunkDecoder, DataDecoder, LineCheck, LineMender};
use smtp::fields::FieldScanner;
use smtp::receiver::{Awaiting, Ready, Receiving};
use smtp::{Answer, No};
use spool::{Recalled, ReceiptKey};
use tokio::time::{Duration, Instant};
use xxhash_rust::xxh3::Xxh3;

use super::carried::Carried;
use super::judge::{Cuts, Whole};
use super::story::Story;
use super::{Action, Arrival, Common, LegId, Phase, Session};
use crate::body::Body;
use crate::budget::Share;
use crate::kept::Kept;
use crate::received;

/// For the next piece of content (RFC 5321 §4.5.3.2.5).
const PIECE: Duration = delivery::timeouts::DATA_BLOCK;
/// From this long on, content must have come at [`SLOWEST`] on average: whoever sends a byte a minute holds a session,
/// a connection to a server and memory for nothing.
const PATIENCE: Duration = Duration::from_secs(10 * 60);
/// Octets a second; a modem from 1985 is faster.
const SLOWEST: u64 = 100;

/// A message that is being received.
#[derive(Debug)]
pub(super) struct Receipt {
    receiving: Receiving,
    carried: Carried,
    framing: Framing,
    content: Content,
    began: Instant,
}

/// How the client marks where content ends.
#[derive(Debug)]
enum Framing {
    Data(DataDecoder),
    Chunk {
        decoder: ChunkDecoder,
        size: u64,
        last: bool,
    },
    /// The next command is BDAT, or gives the message up.
    BetweenChunks,
}

/// The content and what was learnt while it passed.
#[derive(Debug)]
struct Content {
    body: Body,
    /// For a machine inside that ends lines with LF.
    mender: Option<LineMender>,
    check: LineCheck,
    scanner: FieldScanner,
    digest: Digest,
    share: Share,
    /// Lines may hold anything (RFC 3030 §3).
    binary: bool,
    limit: u64,
    length: u64,
    /// Why the rest is not kept.
    refusal: Option<No>,
}

impl Common {
    /// By which the client's next try will be known, and the evidence that this is one.
    fn receipt_of(
        &self,
        digest: &[u8; 32],
        awaiting: &Awaiting<Kept>,
    ) -> (Option<ReceiptKey>, Option<Recalled>) {
        let Some(receipts) = &self.receipts else { return (None, None) };
        let (envelope, accepted) = (awaiting.envelope(), awaiting.accepted());
        let recalled = receipts.recall(digest, envelope, awaiting.id(), accepted);
        (Some(ReceiptKey::new(digest, envelope, accepted)), recalled)
    }

    /// Only for who sends out from inside: whatever comes from the world stays as it is (law 2).
    fn mends_lines(&self) -> bool {
        let from_inside = match self.arrival {
            Arrival::Here { may_relay } => may_relay || self.authenticated,
            Arrival::Outbound(_) => true,
            Arrival::Inbound(_) => false,
        };
        from_inside && self.settings.mends_lines_of.contains(self.client.address.ip())
    }
}

/// By which the same content is known again. Not a cryptographic one: whoever makes two messages collide, and breaks off
/// at the right moment, keeps his own second message from being delivered.
#[derive(Default)]
struct Digest(Box<Xxh3>);

impl std::fmt::Debug for Digest {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Digest")
    }
}

impl Digest {
    fn finish(&self) -> [u8; 32] {
        let mut digest = [0; 32];
        digest[..16].copy_from_slice(&self.0.digest128().to_be_bytes());
        digest
    }
}

impl Content {
    fn new(receiving: &Receiving, common: &Common) -> Self {
        let mail = &receiving.envelope().mail;
        let mut body = Body::default();
        mail.size.iter().for_each(|&size| body.expect(size));
        Self {
            body,
            mender: common.mends_lines().then(LineMender::default),
            check: LineCheck::default(),
            scanner: FieldScanner::new(&common.settings.hostname),
            digest: Digest::default(),
            share: Share::none(&common.budget),
            binary: mail.body == Some(BodyType::BinaryMime),
            limit: common.offer.max_size.unwrap_or(common.settings.limits.message_size),
            length: 0,
            refusal: None,
        }
    }

    /// Keeps a piece, unless there is a reason not to; what is returned is to be stored.
    fn take(&mut self, piece: &[u8]) -> Option<Vec<u8>> {
        match &mut self.mender {
            Some(mender) if !self.binary => {
                let mended = mender.mend(piece);
                self.keep(&mended)
            }
            _ => self.keep(piece),
        }
    }

    fn keep(&mut self, piece: &[u8]) -> Option<Vec<u8>> {
        self.length += piece.len() as u64;
        if self.refusal.is_none() && self.length > self.limit {
            self.refuse(No::TooLarge { limit: self.limit });
        }
        if self.refusal.is_none() && !self.share.grow_to(self.length) {
            self.refuse(No::NoRoom);
        }
        if self.refusal.is_some() {
            return None;
        }
        if !self.binary {
            self.check.check(piece);
        }
        self.scanner.scan(piece);
        self.digest.0.update(piece);
        self.body.push(piece)
    }

    /// What is there is of no more use.
    fn refuse(&mut self, no: No) {
        self.refusal = Some(no);
        self.body = Body::default();
    }
}

impl Receipt {
    pub(super) fn of_data(receiving: Receiving, carried: Carried, common: &mut Common) -> Self {
        Self::new(receiving, carried, Framing::Data(DataDecoder::new()), common)
    }

    pub(super) fn of_chunks(receiving: Receiving, carried: Carried, common: &mut Common) -> Self {
        Self::new(receiving, carried, Framing::BetweenChunks, common)
    }

    fn new(receiving: Receiving, carried: Carried, framing: Framing, common: &mut Common) -> Self {
        common.deadline = common.now + PIECE;
        common.idle_commands = 0;
        let content = Content::new(&receiving, common);
        Self { receiving, carried, framing, content, began: common.now }
    }

    pub(super) fn begin_chunk(&mut self, size: u64, last: bool) {
        self.framing = Framing::Chunk { decoder: ChunkDecoder::new(size), size, last };
        // A chunk that cannot fit is known not to before its first octet.
        if self.content.refusal.is_none() && self.content.length.saturating_add(size) > self.content.limit {
            self.content.refuse(No::TooLarge { limit: self.content.limit });
        }
    }

    pub(super) fn takes_octets(&self) -> bool {
        !matches!(self.framing, Framing::BetweenChunks)
    }

    pub(super) fn lost(&mut self, leg: LegId, common: &mut Common) {
        self.carried.lost(leg, self.receiving.envelope(), common);
    }

    pub(super) fn spoke(&mut self, leg: LegId, input: &[u8], common: &mut Common) {
        self.carried.spoke(leg, input, self.receiving.envelope(), common);
    }

    pub(super) fn opened(&mut self, leg: LegId, far: delivery::Far<delivery::Proven>, common: &mut Common) {
        self.carried.opened(leg, far, self.receiving.envelope(), common);
    }

    /// RSET or EHLO between chunks.
    pub(super) fn reset(self: Box<Self>, common: &mut Common) -> Ready {
        let Self { receiving, carried, .. } = *self;
        common.act(Action::Forget);
        common.record_transaction(&Story::without_content(receiving.id(), receiving.envelope(), &carried));
        carried.give_back(common);
        receiving.reset()
    }

    pub(super) fn abandon(self: Box<Self>, common: &mut Common) {
        self.reset(common);
    }
}

impl Session {
    /// Takes content from the front of `input`, as far as it goes.
    pub(super) fn take_content(mut self, mut receipt: Box<Receipt>, input: &mut &[u8]) -> Self {
        let common = &mut self.common;
        common.deadline = common.now + PIECE;
        let Receipt { framing, content, .. } = &mut *receipt;
        let mut stores = Vec::new();
        let mut keep = |piece: &[u8]| stores.extend(content.take(piece));
        let whole = match framing {
            Framing::Data(decoder) => decoder.decode(input, &mut keep),
            Framing::Chunk { decoder, .. } => decoder.decode(input, &mut keep),
            Framing::BetweenChunks => false,
        };
        for piece in stores {
            common.stores += 1;
            common.act(Action::Store(piece));
        }
        if !whole {
            return self.go_on_receiving(receipt);
        }
        match receipt.framing {
            Framing::Chunk { size, last: false, .. } => self.chunk_ended(receipt, size),
            _ => self.content_ended(*receipt),
        }
    }

    fn go_on_receiving(self, receipt: Box<Receipt>) -> Self {
        let spent = self.common.now.saturating_duration_since(receipt.began);
        let slow = spent > PATIENCE && receipt.content.length / spent.as_secs().max(1) < SLOWEST;
        let session = Self { phase: Phase::Receiving(receipt), ..self };
        if slow { session.throw_out(No::TooSlow, Abuse::TooSlow) } else { session }
    }

    /// Each chunk has a reply of its own (RFC 3030 §2). A message that was refused is over with the chunk.
    fn chunk_ended(mut self, mut receipt: Box<Receipt>, size: u64) -> Self {
        self.common.await_command();
        if receipt.content.refusal.is_some() {
            return self.content_ended(*receipt);
        }
        receipt.framing = Framing::BetweenChunks;
        self.common.answer(Answer::ChunkOk { size });
        Self { phase: Phase::Receiving(receipt), ..self }
    }

    /// The content is whole: it is refused for what it is, or goes on to its servers.
    fn content_ended(mut self, receipt: Receipt) -> Self {
        let Receipt { receiving, carried, content, .. } = receipt;
        let Content { body, check, scanner, share, refusal, length, digest, .. } = content;
        let settings = self.common.settings.clone();
        let fields = scanner.finish();
        let awaiting = receiving.finish();
        let looping =
            || received::loops(&settings.loop_key, &fields, awaiting.envelope(), awaiting.accepted());
        let no = refusal
            .or_else(|| check.finish().map(No::Content))
            .or_else(|| fields.too_many_cuts.then_some(No::ForgedFields))
            .or_else(|| (fields.received >= received::MAX_HOPS).then_some(No::TooManyHops))
            .or_else(|| looping().then_some(No::Loop));
        // REQUIRETLS in the envelope goes before it (RFC 8689 §4.1).
        let goes_regardless = fields.tls_not_required && !awaiting.envelope().mail.requiretls;
        let cuts = Cuts { hiding: fields.cuts_hiding_inside(), always: fields.cuts };
        let ended = self.common.now;
        let Some(no) = no else {
            let (key, recalled) = self.common.receipt_of(&digest.finish(), &awaiting);
            return self.whole(Whole {
                awaiting,
                carried,
                body,
                share,
                cuts,
                signatures: "".into(),
                key,
                recalled,
                ended,
                goes_regardless,
            });
        };
        if matches!(no, No::Content(_)) {
            self.common.act(Action::Misbehaved);
        }
        self.common.errors += 1;
        // Of content that was refused for its size nothing is left but its length.
        let body = Body::of_length(length);
        let whole = Whole {
            awaiting,
            carried,
            body,
            share,
            cuts,
            signatures: "".into(),
            key: None,
            recalled: None,
            ended,
            goes_regardless,
        };
        self.refuse_whole(whole, &no, Verdict::Refused, None)
    }

    pub(super) fn stored(mut self) -> Self {
        self.common.stores = self.common.stores.saturating_sub(1);
        self
    }

    pub(super) fn store_failed(mut self) -> Self {
        self.common.stores = self.common.stores.saturating_sub(1);
        match &mut self.phase {
            Phase::Receiving(receipt) => receipt.content.refuse(No::StorageFailed),
            Phase::Settling(settling) => settling.storage_failed(&mut self.common),
            _ => {}
        }
        self
    }
}

/// The octets of a chunk that nobody wants, and the reply that they get.
#[derive(Debug)]
pub(super) struct Discarding {
    pub(super) decoder: ChunkDecoder,
    pub(super) then: Phase,
    pub(super) no: No,
}

impl Session {
    pub(super) fn discard(mut self, mut discarding: Discarding, input: &mut &[u8]) -> Self {
        self.common.deadline = self.common.now + PIECE;
        if discarding.decoder.decode(input, |_| {}) {
            return self.discarded(discarding);
        }
        Self { phase: Phase::Discarding(Box::new(discarding)), ..self }
    }

    /// What servers do while octets are skipped concerns the state that comes after them.
    pub(super) fn behind_discarding(self, act: impl FnOnce(Self) -> Self) -> Self {
        let mut discarding = match self.phase {
            Phase::Discarding(discarding) => discarding,
            phase => return act(Self { phase, ..self }),
        };
        let then = std::mem::replace(&mut discarding.then, Phase::Ended);
        let Self { common, phase } = act(Self { phase: then, ..self });
        if matches!(phase, Phase::Ended) {
            return Self { common, phase };
        }
        discarding.then = phase;
        Self { common, phase: Phase::Discarding(discarding) }
    }

    pub(super) fn discarded(self, discarding: Discarding) -> Self {
        let mut session = Self { phase: discarding.then, ..self };
        session.common.await_command();
        session.refuse(&discarding.no)
    }
}
