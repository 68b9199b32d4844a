//! What gate and worker say to each other: a request and an answer, each of one fixed size, numbers in little-endian. Behind
//! the answer comes the content, as octets of the length that it says, in records of [`RECORD`] octets but for the last. Who
//! reads any of this expects anything: the worker may have been taken over by what it read.

use crate::encoded::MAX_CONTENT;
use crate::facts::Facts;

/// Octets of a [`Request`].
pub const REQUEST: usize = 24;
/// Octets of an [`Answer`].
pub const ANSWER: usize = 80;
/// Octets of each record of an answer but the last: the content of most mail is in the first.
pub const RECORD: usize = 64 << 10;

const REQUEST_MARK: [u8; 8] = *b"siftQ\0\0\x01";
const ANSWER_MARK: [u8; 7] = *b"siftA\0\x02";
const SIFTED: u8 = 0;
const UNREADABLE: u8 = 1;
/// Set in the status of a worker's last answer.
const LAST: u8 = 0x80;

/// A body to look at; its descriptor comes along.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Request {
    /// Comes back with the answer.
    pub id: u64,
    /// How many octets the body has.
    pub length: u64,
}

/// What became of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Answer {
    /// The request's.
    pub id: u64,
    /// The facts; `None` if the body could not be read.
    pub facts: Option<Facts>,
    /// Octets of the content behind this; 0 if the body could not be read.
    pub content: u32,
    /// The worker has used up its time and makes room for a fresh one: it answers no more.
    pub last: bool,
}

/// Why octets are no frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FrameError {
    /// It claims what cannot be, such as more lines than octets.
    #[error("it contradicts itself")]
    Contradiction,
    /// Its first octets are those of something else.
    #[error("it is of another kind or version")]
    Kind,
    /// It is not as long as it must be.
    #[error("it has the wrong length")]
    Length,
}

impl Request {
    /// As it is sent.
    pub fn to_bytes(self) -> [u8; REQUEST] {
        let mut bytes = [0; REQUEST];
        write(&mut bytes, [&REQUEST_MARK, &self.id.to_le_bytes(), &self.length.to_le_bytes()]);
        bytes
    }

    /// Reads exactly one.
    ///
    /// # Errors
    ///
    /// [`FrameError`].
    pub fn read(bytes: &[u8]) -> Result<Self, FrameError> {
        let bytes: &[u8; REQUEST] = bytes.try_into().map_err(|_| FrameError::Length)?;
        let rest = bytes.strip_prefix(&REQUEST_MARK).ok_or(FrameError::Kind)?;
        let [id, length] = numbers(rest)?;
        Ok(Self { id, length })
    }
}

impl Answer {
    /// As it is sent.
    pub fn to_bytes(self) -> [u8; ANSWER] {
        let (status, facts, content) = match self.facts {
            Some(facts) => (SIFTED, facts, self.content),
            None => (UNREADABLE, Facts::default(), 0),
        };
        let status = if self.last { status | LAST } else { status };
        let mut bytes = [0; ANSWER];
        let numbers = facts.to_numbers().map(u64::to_le_bytes);
        let content = u64::from(content).to_le_bytes();
        write(
            &mut bytes,
            [&ANSWER_MARK, &[status], &self.id.to_le_bytes(), numbers.as_flattened(), &content],
        );
        bytes
    }

    /// Reads exactly one, and refuses facts that cannot be true together, and a content that cannot be as long.
    ///
    /// # Errors
    ///
    /// [`FrameError`].
    pub fn read(bytes: &[u8]) -> Result<Self, FrameError> {
        let bytes: &[u8; ANSWER] = bytes.try_into().map_err(|_| FrameError::Length)?;
        let rest = bytes.strip_prefix(&ANSWER_MARK).ok_or(FrameError::Kind)?;
        let (&status, rest) = rest.split_first().ok_or(FrameError::Length)?;
        let [id, facts @ .., content]: [u64; 9] = numbers(rest)?;
        let facts = Facts::from_numbers(facts);
        let content = u32::try_from(content).map_err(|_| FrameError::Contradiction)?;
        let fits = usize::try_from(content).is_ok_and(|content| (1..=MAX_CONTENT).contains(&content));
        let last = status & LAST != 0;
        match status & !LAST {
            SIFTED if facts.is_possible() && fits => Ok(Self { id, facts: Some(facts), content, last }),
            UNREADABLE if facts == Facts::default() && content == 0 => {
                Ok(Self { id, facts: None, content, last })
            }
            SIFTED | UNREADABLE => Err(FrameError::Contradiction),
            _ => Err(FrameError::Kind),
        }
    }
}

fn write<const N: usize>(bytes: &mut [u8], parts: [&[u8]; N]) {
    let source = parts.into_iter().flatten();
    bytes.iter_mut().zip(source).for_each(|(to, from)| *to = *from);
}

fn numbers<const N: usize>(bytes: &[u8]) -> Result<[u64; N], FrameError> {
    let (parts, rest) = bytes.as_chunks::<8>();
    let parts: &[[u8; 8]; N] = parts.try_into().map_err(|_| FrameError::Length)?;
    if rest.is_empty() { Ok(parts.map(u64::from_le_bytes)) } else { Err(FrameError::Length) }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FACTS: Facts = Facts {
        octets: 100,
        lines: 5,
        longest_line: 40,
        nuls: 1,
        eight_bit: 2,
        header_octets: 60,
        header_fields: 3,
    };

    #[test]
    fn what_is_written_is_read_back() {
        let request = Request { id: u64::MAX, length: 1 << 40 };
        assert_eq!(Request::read(&request.to_bytes()), Ok(request));
        for facts in [Some(FACTS), Some(Facts::default()), None] {
            for last in [false, true] {
                let content = if facts.is_some() { 1 } else { 0 };
                let answer = Answer { id: 7, facts, content, last };
                assert_eq!(Answer::read(&answer.to_bytes()), Ok(answer));
            }
        }
    }

    #[test]
    fn a_frame_of_another_length_kind_or_version_is_none() {
        let request = Request { id: 1, length: 2 }.to_bytes();
        let answer = Answer { id: 1, facts: Some(FACTS), content: 5, last: false }.to_bytes();
        for cut in 0..REQUEST {
            assert_eq!(Request::read(&request[..cut]), Err(FrameError::Length));
        }
        assert_eq!(Request::read(&answer), Err(FrameError::Length));
        for place in 0..8 {
            let mut wrong = (request, answer);
            wrong.0[place] ^= 0x40;
            wrong.1[place] ^= 0x40;
            assert_eq!(Request::read(&wrong.0), Err(FrameError::Kind));
            assert_eq!(Answer::read(&wrong.1), Err(FrameError::Kind));
        }
    }

    #[test]
    fn facts_that_contradict_each_other_are_refused() {
        let wrong = [
            Facts { lines: 101, ..FACTS },
            Facts { longest_line: 101, ..FACTS },
            Facts { nuls: 99, eight_bit: 2, ..FACTS },
            Facts { header_octets: 101, ..FACTS },
            Facts { header_fields: 61, ..FACTS },
            Facts { lines: 0, ..FACTS },
        ];
        for facts in wrong {
            let bytes = Answer { id: 1, facts: Some(facts), content: 5, last: false }.to_bytes();
            assert_eq!(Answer::read(&bytes), Err(FrameError::Contradiction), "{facts:?}");
        }
        for place in [ANSWER - 9, ANSWER - 1, ANSWER - 8] {
            let mut unreadable = Answer { id: 1, facts: None, content: 0, last: false }.to_bytes();
            unreadable[place] = 1;
            assert_eq!(Answer::read(&unreadable), Err(FrameError::Contradiction));
        }
        let longest = u32::try_from(MAX_CONTENT).unwrap();
        for (content, is_one) in [(0, false), (1, true), (longest, true), (longest + 1, false)] {
            let answer = Answer { id: 1, facts: Some(FACTS), content, last: false };
            assert_eq!(Answer::read(&answer.to_bytes()).is_ok(), is_one, "{content}");
        }
    }
}
