//! By what an entry is found: three octets of a text at a time.

/// Which text of an entry: its number is part of every key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Field(pub u8);

/// Octets of one text that can be found; what is behind them cannot.
const MOST_OF_A_TEXT: usize = 512;
/// Keys of one entry: some twenty texts of average length. What is over them cannot be found by them.
const MOST_KEYS: usize = 4096;
/// What has fewer octets has no key, and is found by looking at every entry.
const GRAM: usize = 3;

/// The keys of one entry, gathered.
#[derive(Debug, Default)]
pub struct Terms {
    keys: Vec<u32>,
}

impl Terms {
    /// The entry can be found by any part of this text; case does not matter.
    pub fn text(&mut self, field: Field, text: &str) {
        let lower = lower(text);
        let end = lower.len().min(MOST_OF_A_TEXT);
        self.extend(lower[..end].windows(GRAM).map(|three| key(field, three)));
    }

    /// The entry can be found by the whole of this text alone; case does not matter.
    pub fn exactly(&mut self, field: Field, text: &str) {
        self.extend(std::iter::once(whole(field, text)));
    }

    fn extend(&mut self, keys: impl Iterator<Item = u32>) {
        let room = MOST_KEYS.saturating_sub(self.keys.len());
        self.keys.extend(keys.take(room));
    }

    /// Each key once.
    pub(crate) fn keys(&mut self) -> &[u32] {
        self.keys.sort_unstable();
        self.keys.dedup();
        &self.keys
    }

    pub(crate) fn clear(&mut self) {
        self.keys.clear();
    }
}

/// What an entry has to have: all of this. It narrows a search down; what is found is looked at in any case.
#[derive(Clone, Debug, Default)]
pub struct Wanted {
    /// In each, one alternative has to be met; an alternative is keys that all have to be there.
    pub(crate) clauses: Vec<Vec<Vec<u32>>>,
}

impl Wanted {
    /// The field contains this text.
    #[must_use]
    pub fn contains(self, field: Field, text: &str) -> Self {
        self.contains_in(&[field], text)
    }

    /// One of the fields contains this text.
    #[must_use]
    pub fn contains_in(self, fields: &[Field], text: &str) -> Self {
        self.contains_any(fields.iter().map(|field| (*field, text)))
    }

    /// One of the fields contains its text.
    #[must_use]
    pub fn contains_any<'a>(mut self, parts: impl IntoIterator<Item = (Field, &'a str)>) -> Self {
        let keys = |(field, text): (Field, &str)| -> Vec<u32> {
            let lower = lower(text);
            let end = lower.len().min(MOST_OF_A_TEXT / 2);
            lower[..end].windows(GRAM).map(|three| key(field, three)).collect()
        };
        let alternatives: Vec<_> = parts.into_iter().map(keys).collect();
        // One without a key may be met by any entry.
        if alternatives.iter().all(|keys| !keys.is_empty()) {
            self.clauses.push(alternatives);
        }
        self
    }

    /// The field is this text.
    #[must_use]
    pub fn is(mut self, field: Field, text: &str) -> Self {
        self.clauses.push(vec![vec![whole(field, text)]]);
        self
    }
}

fn lower(text: &str) -> Vec<u8> {
    match text.is_ascii() {
        true => text.to_ascii_lowercase().into_bytes(),
        false => text.to_lowercase().into_bytes(),
    }
}

fn key(field: Field, three: &[u8]) -> u32 {
    let octets = three.iter().fold(0, |key, octet| key << 8 | u32::from(*octet));
    u32::from(field.0) << 24 | octets
}

fn whole(field: Field, text: &str) -> u32 {
    u32::from(field.0) << 24 | (crc32fast::hash(&lower(text)) & 0xFF_FFFF)
}
