//! A list of recipients in a file: an address or `@domain` on a line, `#` begins a comment.

use std::collections::HashSet;

use smtp::{Domain, Mailbox};

/// Octets of a list: a million addresses.
pub const MAX_LIST: usize = 64 << 20;
/// Mistakes that are told at once.
const MAX_TOLD: usize = 10;

/// Who is on a list. The domain counts in any case, and so does the local part: a list is written by people, and whoever is on
/// it is asked of the server all the same.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RecipientList {
    addresses: HashSet<Box<str>>,
    domains: HashSet<Domain>,
}

/// A line that is neither an address nor a domain.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("line {line} is neither an address nor `@domain`: {text}")]
pub struct BadLine {
    /// From 1.
    pub line: usize,
    /// The line, shortened.
    pub text: String,
}

impl RecipientList {
    /// Reads a list; lines that are wrong are left out and told, the first ten of them.
    pub fn read(text: &str) -> (Self, Vec<BadLine>) {
        let (mut list, mut bad) = (Self::default(), Vec::new());
        for (number, whole) in text.lines().enumerate() {
            let line = whole.split('#').next().unwrap_or_default().trim();
            if !line.is_empty() && !list.add(line) && bad.len() < MAX_TOLD {
                let text = line.chars().take(80).flat_map(char::escape_debug).collect();
                bad.push(BadLine { line: number + 1, text });
            }
        }
        (list, bad)
    }

    fn add(&mut self, line: &str) -> bool {
        if let Some(domain) = line.strip_prefix('@') {
            let Ok(domain) = domain.parse() else { return false };
            self.domains.insert(domain);
            return true;
        }
        let Ok(mailbox) = line.parse::<Mailbox>() else { return false };
        self.addresses.insert(folded(&mailbox));
        true
    }

    /// Whether a mailbox is on it, by itself or with its domain.
    pub fn has(&self, mailbox: &Mailbox) -> bool {
        mailbox.domain().is_some_and(|domain| self.domains.contains(domain))
            || self.addresses.contains(&folded(mailbox))
    }

    /// How many addresses and domains.
    pub fn len(&self) -> usize {
        self.addresses.len() + self.domains.len()
    }

    /// Whether nobody is on it.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// In lower case, the domain in A-labels.
fn folded(mailbox: &Mailbox) -> Box<str> {
    let local = mailbox.local_part().to_lowercase();
    match mailbox.domain() {
        Some(domain) => format!("{local}@{domain}").into(),
        None => mailbox.as_str().to_lowercase().into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn has(list: &RecipientList, address: &str) -> bool {
        list.has(&address.parse().unwrap())
    }

    #[test]
    fn addresses_domains_and_comments_are_told_apart() {
        let text =
            "# staff\nAnna@One.Example # the boss\n\n@two.example\r\n  bj\u{f6}rn@b\u{fc}cher.example\n";
        let (list, bad) = RecipientList::read(text);
        assert_eq!((list.len(), bad.as_slice()), (3, &[][..]));
        assert!(has(&list, "anna@one.example") && has(&list, "ANNA@ONE.EXAMPLE"));
        assert!(has(&list, "whoever@two.example") && has(&list, "bj\u{f6}rn@xn--bcher-kva.example"));
        assert!(!has(&list, "bob@one.example") && !has(&list, "anna@sub.two.example"));
    }

    #[test]
    fn lines_that_are_wrong_are_named_and_the_others_count() {
        let (list, bad) = RecipientList::read("anna@one.example\nno address\n@\nbob@one.example");
        assert_eq!(list.len(), 2);
        assert_eq!(bad.iter().map(|line| line.line).collect::<Vec<_>>(), [2, 3]);
        assert_eq!(bad[0].to_string(), "line 2 is neither an address nor `@domain`: no address");
        let (_, bad) = RecipientList::read(&"x\n".repeat(1000));
        assert_eq!(bad.len(), MAX_TOLD);
    }
}
