//! `[judge] attachments`: which attachments are not wanted, by what they are.

use super::raw::{RawAttachments, Texts};
use super::resolver::Reading;

/// What an attachment, or a member of an attached archive, can be. One can be several of these.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Attachment {
    /// A program, by its octets or its name.
    Program,
    /// A script that Windows runs when somebody opens it, by its name.
    Script,
    /// A file that starts another: .lnk, .url, .desktop.
    Shortcut,
    /// An image of a disk: what is in it comes without the mark of the web.
    DiskImage,
    /// An archive that is not opened here: rar, 7z, cab and others.
    Archive,
    /// An archive or document that wants a password.
    Encrypted,
    /// An Office document with macros, or with something else that acts when opened.
    Macros,
    /// A web page with scripts.
    ActivePage,
    /// One whose name hides what it is: `invoice.pdf.exe`, letters that turn the direction, a long gap.
    Disguised,
    /// One with this extension, in lower case, without its dot.
    Extension(String),
}

/// The words, but for extensions, which begin with a dot.
const WORDS: [(&str, Attachment); 9] = [
    ("program", Attachment::Program),
    ("script", Attachment::Script),
    ("shortcut", Attachment::Shortcut),
    ("disk-image", Attachment::DiskImage),
    ("archive", Attachment::Archive),
    ("encrypted", Attachment::Encrypted),
    ("macros", Attachment::Macros),
    ("active-page", Attachment::ActivePage),
    ("disguised", Attachment::Disguised),
];

impl Attachment {
    fn read(text: &str) -> Option<Self> {
        if let Some(extension) = text.strip_prefix('.') {
            let sound =
                !extension.is_empty() && !extension.contains(['.', '/', '\\']) && extension.len() <= 32;
            return sound.then(|| Self::Extension(extension.to_lowercase()));
        }
        WORDS.iter().find(|(word, _)| *word == text).map(|(_, attachment)| attachment.clone())
    }

    /// As the config writes it.
    pub fn name(&self) -> String {
        match self {
            Self::Extension(extension) => format!(".{extension}"),
            other => {
                let word = WORDS.iter().find(|(_, attachment)| attachment == other);
                word.map_or("", |(word, _)| word).to_owned()
            }
        }
    }
}

/// What becomes of mail with such attachments.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Attachments {
    /// It is refused.
    pub refuse: Vec<Attachment>,
    /// It is held.
    pub quarantine: Vec<Attachment>,
    /// It is tagged.
    pub tag: Vec<Attachment>,
}

impl Default for Attachments {
    /// What hardly any honest mail has today, and its sender is told; what some has is held for a person.
    fn default() -> Self {
        Self {
            refuse: vec![Attachment::Program, Attachment::Script, Attachment::Disguised],
            quarantine: vec![Attachment::Shortcut, Attachment::DiskImage],
            tag: Vec::new(),
        }
    }
}

pub(super) fn attachments(raw: &RawAttachments, reading: &mut Reading<'_, '_>) -> Attachments {
    let plain = Attachments::default();
    let mut list = |texts: &Texts, default| match texts {
        Some(_) => reading.each(texts, EXPECTED, Attachment::read),
        None => default,
    };
    let refuse = list(&raw.refuse, plain.refuse);
    let quarantine = list(&raw.quarantine, plain.quarantine);
    let tag = list(&raw.tag, plain.tag);
    Attachments { refuse, quarantine, tag }
}

const EXPECTED: &str = "`program`, `script`, `shortcut`, `disk-image`, `archive`, `encrypted`, `macros`, `active-page`, \
                        `disguised` or an extension such as `.exe`";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_word_is_read_as_it_is_written() {
        for (word, attachment) in &WORDS {
            assert_eq!(Attachment::read(word).as_ref(), Some(attachment));
            assert_eq!(attachment.name(), *word);
            assert!(EXPECTED.contains(&format!("`{word}`")));
        }
        assert_eq!(Attachment::read(".EXE"), Some(Attachment::Extension("exe".into())));
        assert_eq!(Attachment::Extension("exe".into()).name(), ".exe");
        for wrong in ["", ".", "exe", ".tar.gz", "./x", "Program"] {
            assert_eq!(Attachment::read(wrong), None, "{wrong}");
        }
    }
}
