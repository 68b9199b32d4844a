//! What is shown, written down with a bound, and where plain and HTML of an alternative part ways.

use memchr::memmem;

use super::{html, links};
use crate::content::{self, Content, Text};
use crate::cut::{cut, cut_owned};

/// The test that every spam filter has to notice (SpamAssassin's GTUBE); in two pieces, so that this file is none.
const GTUBE: &str = concat!("XJS*C4JDBQADN1.NSBN3*2IDNEN*", "GTUBE-STANDARD-ANTI-UBE-TEST-EMAIL*C.34X");

/// The share of its words, one in so many, that plain text may have alone before it counts as another text than its HTML:
/// an address or a greeting is often only in one of them.
const ALIKE: usize = 4;

/// Text of a part, in Unicode.
#[derive(Debug)]
pub(super) struct Shown {
    pub(super) text: String,
    pub(super) is_html: bool,
    /// It is an attachment: what is shown of itself comes first.
    pub(super) attached: bool,
    /// The `multipart/alternative` that it lies in.
    pub(super) group: Option<u32>,
}

/// Writes all texts into the content.
pub(super) fn compose(mut texts: Vec<Shown>, content: &mut Content) {
    texts.sort_by_key(|text| text.attached);
    content.oddities.gtube =
        texts.iter().any(|one| memmem::find(one.text.as_bytes(), GTUBE.as_bytes()).is_some());
    let rich: Vec<u32> = texts.iter().filter(|text| text.is_html).filter_map(|text| text.group).collect();
    let mut visible = Writer::new(content::MAX_START, content::MAX_END);
    let mut alternative = Writer::new(content::MAX_START, 0);
    let mut hidden = Writer::new(content::MAX_HIDDEN, 0);
    for one in texts {
        if one.is_html {
            html::read(&one.text, content, &mut visible, &mut hidden);
        } else if one.group.is_some_and(|group| rich.contains(&group)) {
            alternative.plain(&one.text);
        } else {
            content.markup.zero_width = content.markup.zero_width.saturating_add(visible.plain(&one.text));
            links::scan(&one.text, content);
        }
        visible.gap(Gap::Line);
    }
    content.text = visible.into_text();
    let hidden = hidden.into_text();
    content.markup.hidden_octets = hidden.octets;
    content.hidden = hidden.start;
    let alternative = alternative.into_text().start;
    if differs(&alternative, &content.text) {
        content.alternative = alternative;
    }
}

/// What has to stand between two words.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Gap {
    #[default]
    None,
    Space,
    Line,
}

/// Takes words, keeps the beginning and the end.
#[derive(Debug)]
pub(super) struct Writer {
    text: Text,
    most: usize,
    most_end: usize,
    gap: Gap,
}

impl Writer {
    pub(super) fn new(most: usize, most_end: usize) -> Self {
        Self { text: Text::default(), most, most_end, gap: Gap::None }
    }

    /// The next word does not follow the last one directly.
    pub(super) fn gap(&mut self, gap: Gap) {
        self.gap = self.gap.max(gap);
    }

    /// A run of text whose blanks and line ends mean no more than a space. Returns how many characters without width
    /// were left out.
    pub(super) fn run(&mut self, run: &str) -> u32 {
        let mut left_out = 0;
        if run.starts_with(char::is_whitespace) {
            self.gap(Gap::Space);
        }
        for word in run.split_whitespace() {
            left_out += self.word(word);
            self.gap(Gap::Space);
        }
        if !run.ends_with(char::is_whitespace) && self.gap == Gap::Space && !run.is_empty() {
            self.gap = Gap::None;
        }
        left_out
    }

    /// Lines of text. Returns as [`Writer::run`].
    pub(super) fn plain(&mut self, text: &str) -> u32 {
        let mut left_out = 0;
        for line in text.split('\n') {
            left_out += self.run(line);
            self.gap(Gap::Line);
        }
        left_out
    }

    pub(super) fn into_text(mut self) -> Text {
        if self.text.end.len() > self.most_end {
            let from = self.text.end.ceil_char_boundary(self.text.end.len() - self.most_end);
            self.text.end.drain(..from);
        }
        self.text
    }

    fn word(&mut self, word: &str) -> u32 {
        if word.is_ascii() {
            self.write(word);
            return 0;
        }
        let mut left_out = 0;
        let mut last = 'a';
        let kept: String = word
            .chars()
            .filter(|character| {
                let empty = has_no_width(*character, last);
                left_out += u32::from(empty);
                last = *character;
                !empty
            })
            .collect();
        if !kept.is_empty() {
            self.write(&kept);
        }
        left_out
    }

    fn write(&mut self, word: &str) {
        let between = match std::mem::take(&mut self.gap) {
            _ if self.text.octets == 0 => "",
            Gap::None => "",
            Gap::Space => " ",
            Gap::Line => "\n",
        };
        self.push(between);
        self.push(word);
    }

    fn push(&mut self, piece: &str) {
        self.text.octets += piece.len() as u64;
        let fits = match self.text.end.is_empty() {
            true => cut(piece, self.most.saturating_sub(self.text.start.len())),
            false => "",
        };
        self.text.start.push_str(fits);
        let rest = piece.get(fits.len()..).unwrap_or_default();
        if rest.is_empty() || self.most_end == 0 {
            return;
        }
        self.text.end.push_str(rest);
        if self.text.end.len() > self.most_end * 4 {
            let from = self.text.end.ceil_char_boundary(self.text.end.len() - self.most_end);
            self.text.end.drain(..from);
        }
    }
}

/// Characters that are put into words so that a filter does not know them. The joiners have a meaning in scripts that
/// join, not behind a letter of ASCII.
fn has_no_width(character: char, before: char) -> bool {
    match character {
        '\u{ad}' | '\u{34f}' | '\u{180e}' | '\u{200b}' | '\u{2060}'..='\u{2064}' | '\u{feff}' => true,
        '\u{e0000}'..='\u{e007f}' => true,
        '\u{200c}' | '\u{200d}' => before.is_ascii(),
        _ => false,
    }
}

/// Whether a good part of plain text is not in the other.
fn differs(plain: &str, shown: &Text) -> bool {
    // As many bits as the words of a long mail fill by an eighth.
    const BITS: usize = 1 << 15;
    let mut seen = vec![0_u64; BITS / 64];
    let place = |word: &str| {
        let hash =
            word.chars().flat_map(char::to_lowercase).fold(0xcbf2_9ce4_8422_2325_u64, |hash, character| {
                (hash ^ u64::from(u32::from(character))).wrapping_mul(0x100_0000_01b3)
            });
        // The upper half of the product is the well mixed one.
        let bit = usize::try_from(hash >> 32).unwrap_or_default() % BITS;
        (bit / 64, 1_u64 << (bit % 64))
    };
    for word in words(&shown.start).chain(words(&shown.end)) {
        let (at, bit) = place(word);
        seen.iter_mut().skip(at).take(1).for_each(|bits| *bits |= bit);
    }
    let (mut all, mut alone) = (0, 0);
    // The beginning that is kept of the one may be shorter in the other, by its mark-up.
    for word in words(cut(plain, content::MAX_START / 2)) {
        let (at, bit) = place(word);
        all += 1;
        alone += usize::from(seen.get(at).is_none_or(|bits| bits & bit == 0));
    }
    alone * ALIKE > all
}

/// Words of three letters and more, links left out: HTML does not show where they lead.
fn words(text: &str) -> impl Iterator<Item = &str> {
    let tokens = text.split_whitespace().filter(|token| !token.contains("://"));
    tokens.flat_map(|token| token.split(|c: char| !c.is_alphanumeric())).filter(|word| word.len() > 2)
}

/// A text that is collected with a bound, such as what a link shows.
#[derive(Debug, Default)]
pub(super) struct Label(String);

impl Label {
    /// As [`Writer::run`], without the count.
    pub(super) fn run(&mut self, run: &str) {
        for word in run.split_whitespace() {
            if self.0.len() > content::MAX_LINK {
                return;
            }
            if !self.0.is_empty() {
                self.0.push(' ');
            }
            self.0.push_str(cut(word, content::MAX_LINK));
        }
    }

    pub(super) fn take(&mut self) -> String {
        cut_owned(std::mem::take(&mut self.0), content::MAX_LINK)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn beginning_and_end_are_kept_and_all_is_counted() {
        let mut writer = Writer::new(10, 5);
        writer.plain("one two\r\n three four  five\n\nsix seven");
        let text = writer.into_text();
        assert_eq!((text.start.as_str(), text.end.as_str(), text.octets), ("one two\nth", "seven", 33));
    }

    #[test]
    fn words_are_put_together_again() {
        let mut writer = Writer::new(100, 0);
        assert_eq!(writer.run("V\u{200b}ia\u{ad}g\u{200d}ra "), 3);
        assert_eq!(writer.run("نمی\u{200c}شود"), 0);
        assert_eq!(writer.into_text().start, "Viagra نمی\u{200c}شود");
    }

    #[test]
    fn another_text_in_the_alternative_is_noticed() {
        let text = |start: &str| Text { start: start.to_owned(), ..Text::default() };
        assert!(!differs(
            "Dear Bob, your order has been shipped",
            &text("Dear BOB your order has been shipped today")
        ));
        assert!(differs("Meeting notes from the committee", &text("Cheap pills online, order today")));
        assert!(!differs("", &text("x")));
    }
}
