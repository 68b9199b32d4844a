//! Features in the form that the members count: hashes.

use std::borrow::Cow;

use xxhash_rust::xxh3::{xxh3_64, xxh3_64_with_seed};

use crate::disguise;
use crate::features::{Digest, Piece};
use crate::language::{Guess, Language};
use crate::words::{Hearer, Space, tell};

/// Words of a message that the chains read: beyond, they hardly change their mind.
pub(crate) const MAX_SEQUENCE: usize = 600;
/// Words of the body whose pairs are counted.
const MAX_BODY_WORDS: usize = 1_500;
/// Octets of text whose letters are looked at.
const MAX_LETTERS: usize = 6 << 10;
/// How far apart the two words of a pair stand, at most.
const WINDOW: usize = 4;
/// Octets that a word has at most, when it is made lower case on the stack.
const SHORT: usize = 64;

/// Features in the form that the members count.
#[derive(Clone, Debug)]
pub(crate) struct Prepared {
    pub(crate) digest: Digest,
    pub(crate) body_hash: u64,
    pub(crate) language: Language,
    /// Words and pairs, each once: what Bayes counts, and what the regression on phrases weighs.
    pub(crate) clues: Vec<u64>,
    /// Words in their order: what the chains read.
    pub(crate) sequence: Vec<u64>,
    /// Four octets each, once: what the regression on letters weighs.
    pub(crate) letters: Vec<u64>,
}

impl Prepared {
    pub(crate) fn of(pieces: &[Piece]) -> Self {
        let mut gathering = Gathering::default();
        tell(pieces, &mut gathering);
        gathering.pause();
        let letters = letters(pieces);
        let Gathering { guess, clues, sequence, lowest, .. } = gathering;
        Self {
            digest: digest(pieces),
            body_hash: lowest,
            language: guess.language(),
            clues: once(clues),
            sequence,
            letters,
        }
    }
}

fn digest(pieces: &[Piece]) -> Digest {
    let mut hash = blake3::Hasher::new();
    for piece in pieces {
        hash.update(&[piece.kind as u8]);
        hash.update(piece.text.as_bytes());
    }
    let whole = hash.finalize();
    std::array::from_fn(|place| whole.as_bytes()[place])
}

/// The hash of a word, whatever its case.
pub(crate) fn word_hash(tag: &str, word: &str) -> u64 {
    let seed = if tag.is_empty() { 0 } else { xxh3_64(tag.as_bytes()) };
    let mut short = [0; SHORT];
    match short.get_mut(..word.len()) {
        Some(lower) if word.is_ascii() => {
            lower.copy_from_slice(word.as_bytes());
            lower.make_ascii_lowercase();
            xxh3_64_with_seed(lower, seed)
        }
        _ => xxh3_64_with_seed(word.to_lowercase().as_bytes(), seed),
    }
}

/// The hash of two words in this order and at this distance.
pub(crate) fn pair_hash(first: u64, second: u64, distance: usize) -> u64 {
    const ODD: [u64; WINDOW + 1] = [
        0x9E37_79B9_7F4A_7C15,
        0xC2B2_AE3D_27D4_EB4F,
        0x1656_67B1_9E37_79F9,
        0xD6E8_FEB8_6659_FD93,
        0xA076_1D64_78BD_642F,
    ];
    let mixed = (first ^ ODD[distance]).wrapping_mul(0x9FB2_1C65_1E98_DF25);
    (mixed ^ (mixed >> 31)).wrapping_add(second).wrapping_mul(0xE703_7ED1_A0B4_28DB)
}

#[derive(Default)]
struct Gathering {
    guess: Guess,
    clues: Vec<u64>,
    sequence: Vec<u64>,
    /// The last words, the newest first.
    window: Vec<u64>,
    body_words: usize,
    lowest: u64,
    /// Single letters in a row: the first ones of a word that was pulled apart.
    apart: String,
}

impl Hearer for Gathering {
    fn word(&mut self, space: Space, tag: &str, text: &str) {
        let hash = word_hash(tag, text);
        match space {
            Space::Body => self.body_word(hash, text),
            Space::Field => {
                self.clues.push(hash);
                self.pairs(hash, 2);
                self.read(hash);
            }
            Space::Hidden => self.clues.push(hash),
            Space::Link | Space::Fact => {
                self.clues.push(hash);
                self.read(hash);
            }
        }
    }

    fn pause(&mut self) {
        self.window.clear();
        self.join();
    }
}

impl Gathering {
    fn body_word(&mut self, hash: u64, text: &str) {
        self.body_words += 1;
        if self.body_words > MAX_BODY_WORDS {
            return;
        }
        self.guess.word(text);
        self.clues.push(hash);
        if let Some(former) = self.window.first() {
            let shingle = pair_hash(*former, hash, 0);
            self.lowest = if self.lowest == 0 { shingle } else { self.lowest.min(shingle) };
        }
        self.pairs(hash, WINDOW);
        self.read(hash);
        self.undisguise(text);
    }

    fn pairs(&mut self, hash: u64, window: usize) {
        for (place, former) in self.window.iter().enumerate().take(window) {
            self.clues.push(pair_hash(*former, hash, place + 1));
        }
        self.window.truncate(WINDOW - 1);
        self.window.insert(0, hash);
    }

    fn read(&mut self, hash: u64) {
        if self.sequence.len() < MAX_SEQUENCE {
            self.sequence.push(hash);
        }
    }

    /// The plain form of a word that is written in disguise counts beside the word itself.
    fn undisguise(&mut self, text: &str) {
        let mut characters = text.chars();
        match (characters.next(), characters.next()) {
            (Some(letter), None) if letter.is_alphabetic() => self.apart.push(letter),
            _ => self.join(),
        }
        if let Some(plain) = disguise::plain(text) {
            self.clues.push(word_hash("", &plain));
            self.clues.push(word_hash("disguised", ""));
        }
    }

    fn join(&mut self) {
        if self.apart.chars().count() >= disguise::PULLED_APART {
            self.clues.push(word_hash("", &self.apart));
            self.clues.push(word_hash("pulled", "apart"));
        }
        self.apart.clear();
    }
}

/// Each of them once, in no order that matters.
fn once(mut hashes: Vec<u64>) -> Vec<u64> {
    let mut seen = vec![0_u64; (hashes.len() * 2).next_power_of_two().max(16)];
    let mask = seen.len() - 1;
    hashes.retain(|hash| {
        // 0 marks a free place.
        let hash = (*hash).max(1);
        let mut place = usize::try_from(hash >> 32).unwrap_or_default() & mask;
        while seen[place] != 0 && seen[place] != hash {
            place = (place + 1) & mask;
        }
        let new = seen[place] == 0;
        seen[place] = hash;
        new
    });
    hashes
}

/// Sequences of four octets, of the header and the beginning of the text, as they stand.
fn letters(pieces: &[Piece]) -> Vec<u64> {
    let mut text = Vec::with_capacity(MAX_LETTERS + 256);
    for piece in pieces {
        if text.len() >= MAX_LETTERS {
            break;
        }
        text.push(piece.kind as u8);
        text.extend_from_slice(squeezed(&piece.text).as_bytes());
    }
    text.truncate(MAX_LETTERS);
    let grams = text.windows(4).map(|gram| {
        let number = gram.iter().fold(0_u32, |number, octet| (number << 8) | u32::from(*octet));
        u64::from(number).wrapping_mul(0x9E37_79B9_7F4A_7C15)
    });
    once(grams.collect())
}

/// A text whose runs of white space are one space: how lines are filled tells of the program, not of the message.
fn squeezed(text: &str) -> Cow<'_, str> {
    if !text.as_bytes().windows(2).any(|two| two[0].is_ascii_whitespace() && two[1].is_ascii_whitespace()) {
        return Cow::Borrowed(text);
    }
    let mut squeezed = String::with_capacity(text.len());
    let mut gap = false;
    for character in text.chars() {
        let white = character.is_ascii_whitespace();
        if !(white && gap) {
            squeezed.push(if white { ' ' } else { character });
        }
        gap = white;
    }
    Cow::Owned(squeezed)
}
