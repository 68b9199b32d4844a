//! Numbers, texts and the values of `smtp` as octets and back. Numbers are little-endian; what has a length carries it in
//! front, as 32 bits. Reading never trusts a length beyond the octets that are there.

use std::time::Duration;

use smtp::{EnhancedCode, RecipientSet, Reply, ReplyCode};

use crate::entry::EntryId;

/// Far over what a session accepts; stops a damaged length from asking for memory.
const MAX_RECIPIENT_INDEX: usize = 1 << 17;

/// Appends values to a buffer.
#[derive(Debug, Default)]
pub(crate) struct Encoder(pub(crate) Vec<u8>);

impl Encoder {
    pub(crate) fn u8(&mut self, value: u8) {
        self.0.push(value);
    }

    pub(crate) fn u16(&mut self, value: u16) {
        self.0.extend_from_slice(&value.to_le_bytes());
    }

    pub(crate) fn u32(&mut self, value: u32) {
        self.0.extend_from_slice(&value.to_le_bytes());
    }

    pub(crate) fn u64(&mut self, value: u64) {
        self.0.extend_from_slice(&value.to_le_bytes());
    }

    /// At most `u32::MAX` octets: the caller's bound on a whole record is far lower.
    pub(crate) fn bytes(&mut self, value: &[u8]) {
        let value = &value[..value.len().min(u32::MAX as usize)];
        self.u32(u32::try_from(value.len()).unwrap_or(u32::MAX));
        self.0.extend_from_slice(value);
    }

    pub(crate) fn duration(&mut self, value: Duration) {
        self.u64(value.as_secs());
        self.u32(value.subsec_nanos());
    }

    pub(crate) fn recipients(&mut self, set: &RecipientSet) {
        let mut bits = Vec::new();
        for index in set.iter() {
            bits.resize(index / 8 + 1, 0_u8);
            bits[index / 8] |= 1 << (index % 8);
        }
        self.bytes(&bits);
    }

    pub(crate) fn own_words(&mut self, words: &[(usize, Reply)]) {
        let words = &words[..words.len().min(MAX_OWN_WORDS)];
        self.u32(u32::try_from(words.len()).unwrap_or_default());
        for (index, reply) in words {
            self.u32(u32::try_from(*index).unwrap_or(u32::MAX));
            self.reply(reply);
        }
    }

    pub(crate) fn reply(&mut self, reply: &Reply) {
        self.u16(reply.code().get());
        let EnhancedCode(class, subject, detail) = reply.enhanced().unwrap_or(EnhancedCode(0, 0, 0));
        self.u8(class);
        self.u16(subject);
        self.u16(detail);
        self.bytes(&text_of(reply));
    }
}

/// Takes values from the front of a buffer; `None` where they are not there or make no sense.
#[derive(Debug)]
pub(crate) struct Decoder<'a>(pub(crate) &'a [u8]);

impl<'a> Decoder<'a> {
    fn take<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (head, rest) = self.0.split_first_chunk()?;
        self.0 = rest;
        Some(*head)
    }

    pub(crate) fn u8(&mut self) -> Option<u8> {
        self.take::<1>().map(|[octet]| octet)
    }

    pub(crate) fn u16(&mut self) -> Option<u16> {
        self.take().map(u16::from_le_bytes)
    }

    pub(crate) fn u32(&mut self) -> Option<u32> {
        self.take().map(u32::from_le_bytes)
    }

    pub(crate) fn u64(&mut self) -> Option<u64> {
        self.take().map(u64::from_le_bytes)
    }

    /// The greatest number is no identifier: it has no successor, and no record of ours has it.
    pub(crate) fn entry_id(&mut self) -> Option<EntryId> {
        self.u64().filter(|&bits| bits < u64::MAX).map(EntryId::from_bits)
    }

    pub(crate) fn array(&mut self) -> Option<[u8; 32]> {
        self.take()
    }

    pub(crate) fn bytes(&mut self) -> Option<&'a [u8]> {
        let length = usize::try_from(self.u32()?).ok()?;
        let (head, rest) = self.0.split_at_checked(length)?;
        self.0 = rest;
        Some(head)
    }

    pub(crate) fn text(&mut self) -> Option<Box<str>> {
        std::str::from_utf8(self.bytes()?).ok().map(Into::into)
    }

    pub(crate) fn duration(&mut self) -> Option<Duration> {
        let (seconds, nanoseconds) = (self.u64()?, self.u32()?);
        (nanoseconds < 1_000_000_000).then(|| Duration::new(seconds, nanoseconds))
    }

    pub(crate) fn recipients(&mut self) -> Option<RecipientSet> {
        let bits = self.bytes()?;
        let fits = bits.len() * 8 <= MAX_RECIPIENT_INDEX;
        fits.then(|| (0..bits.len() * 8).filter(|i| bits[i / 8] >> (i % 8) & 1 == 1).collect())
    }

    pub(crate) fn own_words(&mut self) -> Option<Box<[(usize, Reply)]>> {
        let count = usize::try_from(self.u32()?).ok().filter(|&count| count <= MAX_OWN_WORDS)?;
        (0..count).map(|_| Some((usize::try_from(self.u32()?).ok()?, self.reply()?))).collect()
    }

    pub(crate) fn reply(&mut self) -> Option<Reply> {
        let code = ReplyCode::new(self.u16()?)?;
        let (class, subject, detail) = (self.u8()?, self.u16()?, self.u16()?);
        let enhanced = (class != 0).then_some(EnhancedCode(class, subject, detail));
        Some(Reply::new(code, enhanced, self.bytes()?))
    }
}

fn text_of(reply: &Reply) -> Vec<u8> {
    reply.lines().collect::<Vec<_>>().join(&b'\n')
}

/// Of a message with more recipients than this, that each got words of their own, the others show the message's.
pub(crate) const MAX_OWN_WORDS: usize = 100;
/// What is kept of a single recipient's words, for each message that waits.
const MAX_OWN: usize = 256;

/// A server may answer half a mebibyte; of the words that are kept with every message that waits, this much is enough.
const MAX_WORDS: usize = 1024;

/// The reply, its text cut to [`MAX_WORDS`] octets.
pub(crate) fn bounded(reply: Reply) -> Reply {
    cut(reply, MAX_WORDS)
}

/// What was said of single recipients, as far as it is kept.
pub(crate) fn bounded_own(words: Vec<(usize, Reply)>) -> Box<[(usize, Reply)]> {
    words.into_iter().take(MAX_OWN_WORDS).map(|(index, reply)| (index, cut(reply, MAX_OWN))).collect()
}

fn cut(reply: Reply, length: usize) -> Reply {
    let mut text = text_of(&reply);
    if text.len() <= length {
        return reply;
    }
    text.truncate(length);
    Reply::new(reply.code(), reply.enhanced(), text)
}
