//! What joins the log, the trace, the proofs and the text of a reply: identifiers of sessions and transactions, and the
//! set of a transaction's recipients.

use std::fmt;
use std::str::FromStr;

/// Crockford's base 32: no letter that is misread on the telephone.
const ALPHABET: &[u8; 32] = b"0123456789ABCDEFGHJKMNPQRSTVWXYZ";
/// 64 bits in groups of five.
const LENGTH: usize = 13;

/// The identifier of one session; its transactions are numbered under it. Sorts by the time it was made.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TraceId(u64);

impl TraceId {
    /// From milliseconds since 1970 (42 bits: until 2109) and 22 bits that make it unique within the millisecond.
    pub fn new(milliseconds: u64, unique: u32) -> Self {
        Self(milliseconds << 22 | u64::from(unique & 0x3F_FFFF))
    }

    /// Its letters and digits.
    pub fn letters(self) -> [u8; LENGTH] {
        let mut text = [0; LENGTH];
        let mut rest = self.0;
        for slot in text.iter_mut().rev() {
            *slot = ALPHABET[(rest & 31) as usize];
            rest >>= 5;
        }
        text
    }

    /// The number behind it, for storage.
    pub fn to_bits(self) -> u64 {
        self.0
    }

    /// The inverse of [`TraceId::to_bits`].
    pub fn from_bits(bits: u64) -> Self {
        Self(bits)
    }
}

impl fmt::Display for TraceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(std::str::from_utf8(&self.letters()).unwrap_or_default())
    }
}

impl fmt::Debug for TraceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "TraceId({self})")
    }
}

/// What was given is no trace identifier.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a trace identifier: expected 13 letters and digits, and for a transaction a dot and its number")]
pub struct NotATraceId;

impl FromStr for TraceId {
    type Err = NotATraceId;

    /// Reads the letters in either case, and takes `I`, `L` and `O` for what they look like.
    fn from_str(text: &str) -> Result<Self, NotATraceId> {
        if text.len() != LENGTH {
            return Err(NotATraceId);
        }
        let mut bits: u64 = 0;
        for letter in text.bytes() {
            let letter = match letter.to_ascii_uppercase() {
                b'I' | b'L' => b'1',
                b'O' => b'0',
                other => other,
            };
            let digit = ALPHABET.iter().position(|&a| a == letter).ok_or(NotATraceId)?;
            if bits >> 59 != 0 {
                return Err(NotATraceId);
            }
            bits = bits << 5 | digit as u64;
        }
        Ok(Self(bits))
    }
}

/// One mail transaction: the session and the transaction's number in it, from 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TransactionId {
    /// The session.
    pub session: TraceId,
    /// From 1.
    pub number: u32,
}

impl fmt::Display for TransactionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.session, self.number)
    }
}

impl FromStr for TransactionId {
    type Err = NotATraceId;

    fn from_str(text: &str) -> Result<Self, NotATraceId> {
        let (session, number) = text.split_once('.').ok_or(NotATraceId)?;
        Ok(Self { session: session.parse()?, number: number.parse().map_err(|_| NotATraceId)? })
    }
}

/// Some of a transaction's recipients, by their index in the order in which the client named them.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct RecipientSet {
    words: Vec<u64>,
}

impl RecipientSet {
    /// No recipient.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds the recipient with this index.
    pub fn insert(&mut self, index: usize) {
        let word = index / 64;
        if self.words.len() <= word {
            self.words.resize(word + 1, 0);
        }
        self.words[word] |= 1 << (index % 64);
    }

    /// Takes the recipient with this index out.
    pub fn remove(&mut self, index: usize) {
        if let Some(word) = self.words.get_mut(index / 64) {
            *word &= !(1 << (index % 64));
        }
    }

    /// Whether the recipient with this index is in.
    pub fn contains(&self, index: usize) -> bool {
        self.words.get(index / 64).is_some_and(|word| word >> (index % 64) & 1 == 1)
    }

    /// How many.
    pub fn len(&self) -> usize {
        self.words.iter().map(|word| word.count_ones() as usize).sum()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.words.iter().all(|&word| word == 0)
    }

    /// Whether every recipient of `other` is in.
    pub fn covers(&self, other: &Self) -> bool {
        other.iter().all(|index| self.contains(index))
    }

    /// Adds all of `other`.
    pub fn extend(&mut self, other: &Self) {
        for index in other.iter() {
            self.insert(index);
        }
    }

    /// The indexes, ascending.
    pub fn iter(&self) -> impl Iterator<Item = usize> + '_ {
        self.words.iter().enumerate().flat_map(|(at, &word)| {
            (0..64).filter(move |bit| word >> bit & 1 == 1).map(move |bit| at * 64 + bit)
        })
    }
}

impl FromIterator<usize> for RecipientSet {
    fn from_iter<I: IntoIterator<Item = usize>>(indexes: I) -> Self {
        let mut set = Self::new();
        for index in indexes {
            set.insert(index);
        }
        set
    }
}

impl fmt::Debug for RecipientSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.iter()).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_identifier_reads_back_as_written() {
        for bits in [0, 1, 31, 32, u64::MAX, 0x0123_4567_89AB_CDEF] {
            let id = TraceId::from_bits(bits);
            assert_eq!(id.to_string().parse(), Ok(id));
            assert_eq!(id.to_string().to_lowercase().parse(), Ok(id));
        }
        let transaction = TransactionId { session: TraceId::new(1_800_000_000_000, 7), number: 3 };
        assert_eq!(transaction.to_string().parse(), Ok(transaction));
    }

    #[test]
    fn what_is_no_identifier_is_refused() {
        for text in ["", "ABC", "ABCDEFGHJKMNPQ", "ABCDEFGHJKMN!", "ZZZZZZZZZZZZZ"] {
            assert!(text.parse::<TraceId>().is_err(), "{text}");
        }
        assert!("0000000000000".parse::<TransactionId>().is_err());
    }

    #[test]
    fn later_identifiers_sort_later() {
        assert!(TraceId::new(2, 0) > TraceId::new(1, u32::MAX));
        assert!(TraceId::new(2, 0).to_string() > TraceId::new(1, 0x3F_FFFF).to_string());
    }

    #[test]
    fn a_set_covers_only_what_is_in_it() {
        let some: RecipientSet = [0, 63, 64, 200].into_iter().collect();
        let fewer: RecipientSet = [63, 200].into_iter().collect();
        assert!(some.covers(&fewer) && !fewer.covers(&some));
        assert_eq!(some.len(), 4);
        assert_eq!(some.iter().collect::<Vec<_>>(), [0, 63, 64, 200]);
        let mut some = some;
        some.remove(200);
        assert!(!some.covers(&fewer));
    }
}
