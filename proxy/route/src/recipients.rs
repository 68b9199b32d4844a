//! Who has a mailbox at a backend, as far as that can be told without its server.

use std::collections::HashMap;
use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use smtp::{Domain, ForwardPath, Mailbox, Reply};

use crate::known::{Count, Known};
use crate::recipient_list::RecipientList;

/// What is known of a backend's recipients.
#[derive(Clone, Debug)]
pub struct Recipients {
    backend: Box<str>,
    known: Arc<Known>,
    list: List,
}

/// What an administrator says of recipients.
#[derive(Clone, Debug, Default)]
pub enum List {
    /// Nothing: the server is asked.
    #[default]
    Ask,
    /// They are in a file, which is read again when it changes.
    File(Arc<RwLock<RecipientList>>),
    /// They are in a directory.
    Directory(Arc<dyn Directory>),
}

/// A directory of recipients that takes time to answer.
pub trait Directory: Send + Sync + fmt::Debug {
    /// What it said of a mailbox lately, if that still counts.
    fn recall(&self, mailbox: &Mailbox) -> Option<Listing>;

    /// Asks it; within its own deadline.
    fn look_up(&self, mailbox: Mailbox) -> LookingUp<'_>;

    /// How it fares, in words; empty while all is well.
    fn trouble(&self) -> Box<str>;
}

/// A question to a directory under way.
pub type LookingUp<'a> = Pin<Box<dyn Future<Output = Listing> + Send + 'a>>;

/// What a list says of a recipient.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Listing {
    /// There is no list, or it does not speak of this one: the server is asked.
    NoList,
    /// It is on the list.
    Listed,
    /// It is not.
    NotListed,
    /// The directory has to be asked.
    MustAsk,
    /// The directory does not answer: the server is asked, as if there were no list.
    Unanswered,
}

/// What can be said of a recipient while its server is away.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// The administrator's list has it.
    Listed,
    /// The server accepted it not long ago.
    Known,
    /// The server accepted it, but accepts everybody, and no message for it was ever taken: that proves nothing.
    Unproved,
    /// The server refused it lately.
    Refused,
    /// It was not seen.
    Unknown,
}

impl Standing {
    /// Whether mail for it is taken now and delivered later.
    pub fn is_good(self) -> bool {
        matches!(self, Self::Listed | Self::Known)
    }

    /// Why it is not known to be good, as part of a reply.
    pub fn words(self) -> &'static str {
        match self {
            Self::Listed | Self::Known => "this recipient is known",
            Self::Unproved => "it accepts every recipient, so that nothing proves this one",
            Self::Refused => "it refused this recipient lately",
            Self::Unknown => "this recipient was not seen before",
        }
    }
}

/// How many recipients are known, and by what list.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RecipientsState {
    /// Seen.
    pub seen: Count,
    /// `ask`, `file` or `ldap`.
    pub list: &'static str,
    /// On the list, where that can be counted.
    pub listed: Option<usize>,
    /// What is wrong with the list; empty while all is well.
    pub trouble: Box<str>,
}

impl Recipients {
    /// Of a backend with this name; `known` is shared by all of them.
    pub fn new(backend: &str, known: Arc<Known>, list: List) -> Self {
        Self { backend: backend.into(), known, list }
    }

    fn key(&self, path: &ForwardPath) -> Option<String> {
        match path {
            // Of the local parts this one is the same in any case (RFC 5321 §4.5.1).
            ForwardPath::Postmaster(_) => Some(Known::key(&self.backend, "", "postmaster")),
            ForwardPath::Mailbox(mailbox) => {
                Some(Known::key(&self.backend, mailbox.domain()?.as_str(), mailbox.local_part()))
            }
        }
    }

    /// What the list says. A postmaster is not looked for on lists (RFC 5321 §4.5.1).
    pub fn listing(&self, path: &ForwardPath) -> Listing {
        let ForwardPath::Mailbox(mailbox) = path else { return Listing::NoList };
        let said = match &self.list {
            List::Ask => return Listing::NoList,
            List::File(list) => {
                let list = list.read().unwrap_or_else(PoisonError::into_inner);
                if list.has(mailbox) { Listing::Listed } else { Listing::NotListed }
            }
            List::Directory(directory) => directory.recall(mailbox).unwrap_or(Listing::MustAsk),
        };
        let postmaster = mailbox.local_part().eq_ignore_ascii_case("postmaster");
        if postmaster && said == Listing::NotListed { Listing::NoList } else { said }
    }

    /// The directory to ask, where [`Listing::MustAsk`] was the answer.
    pub fn directory(&self) -> Option<&Arc<dyn Directory>> {
        match &self.list {
            List::Directory(directory) => Some(directory),
            _ => None,
        }
    }

    /// A server answered RCPT with this; `now` is the time since 1970 here and below. Answers that are not final, and
    /// refusals that speak of something else than the mailbox, say nothing of it.
    pub fn answered(&self, path: &ForwardPath, reply: &Reply, now: Duration) {
        let positive = reply.code().is_positive();
        if (positive || denies_mailbox(reply))
            && let Some(key) = self.key(path)
        {
            match positive {
                true => self.known.accepted(&key, now),
                false => self.known.refused(&key, now),
            }
        }
    }

    /// A server took a message for it.
    pub fn delivered(&self, path: &ForwardPath, now: Duration) {
        if let Some(key) = self.key(path) {
            self.known.delivered(&key, now);
        }
    }

    /// What can be said of it while the server is away. The last word of the server counts most, then the list, then
    /// memory; where the server accepts everybody, only a delivery makes its acceptance worth anything: the server will take such a message
    /// again, and does with it what it would have done if it were up.
    pub fn standing(&self, path: &ForwardPath, now: Duration) -> Standing {
        let Some(key) = self.key(path) else { return Standing::Unknown };
        if self.known.was_refused(&key, now) {
            return Standing::Refused;
        }
        if self.listing(path) == Listing::Listed {
            return Standing::Listed;
        }
        let everything = path.domain().is_some_and(|domain| self.accepts_everything(domain) == Some(true));
        match self.known.fact(&key, now) {
            Some(fact) if everything && !fact.delivered => Standing::Unproved,
            Some(_) => Standing::Known,
            None => Standing::Unknown,
        }
    }

    /// Whether nothing is known of anybody, so that no mail at all could be taken without the server.
    pub fn are_unknown(&self) -> bool {
        !self.has_list() && self.known.knows_nobody(&self.backend)
    }

    /// A recipient that cannot exist was accepted in this domain, or was refused (DECISIONS 31). Whether that is news.
    pub fn found(&self, domain: &Domain, everything: bool, now: Duration) -> bool {
        let before = self.accepts_everything(domain);
        self.known.domain_found(&self.backend, domain.as_str(), everything, now);
        before != Some(everything)
    }

    /// Whether every recipient of a domain is accepted; `None` where that was not found out yet.
    pub fn accepts_everything(&self, domain: &Domain) -> Option<bool> {
        self.known.accepts_everything(&self.backend, domain.as_str())
    }

    /// Whether the administrator says who exists.
    pub fn has_list(&self) -> bool {
        !matches!(self.list, List::Ask)
    }

    /// By backend and domain, of all backends: to how many addresses its server took a message, as far as that is remembered. Goes through
    /// all that is known: to be asked seldom.
    pub fn mailboxes(&self) -> HashMap<(Box<str>, Box<str>), usize> {
        self.known.mailboxes()
    }

    /// For the page.
    pub fn state(&self) -> RecipientsState {
        let (list, listed, trouble) = match &self.list {
            List::Ask => ("ask", None, "".into()),
            List::File(list) => {
                ("file", Some(list.read().unwrap_or_else(PoisonError::into_inner).len()), "".into())
            }
            List::Directory(directory) => ("ldap", None, directory.trouble()),
        };
        RecipientsState { seen: self.known.count(&self.backend), list, listed, trouble }
    }
}

/// Whether a refusal says that there is no such mailbox (RFC 3463 §3.2, and 2.1 for one that is disabled), rather than
/// that this client or this message is not wanted. Without an enhanced code 550, 551 and 553 say so (RFC 5321 §4.2.3).
pub fn denies_mailbox(reply: &Reply) -> bool {
    if !reply.code().is_permanent() {
        return false;
    }
    match reply.enhanced() {
        Some(enhanced) => matches!((enhanced.1, enhanced.2), (1, 1 | 2 | 3 | 6 | 10) | (2, 1)),
        None => matches!(reply.code().get(), 550 | 551 | 553),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Duration = Duration::from_secs(1_795_288_205);

    fn path(address: &str) -> ForwardPath {
        ForwardPath::Mailbox(address.parse().unwrap())
    }

    fn reply(text: &str) -> Reply {
        let mut reader = smtp::reply::ReplyReader::default();
        reader.read(&mut format!("{text}\r\n").as_bytes()).unwrap().unwrap()
    }

    fn ask() -> Recipients {
        Recipients::new("b", Arc::default(), List::Ask)
    }

    fn listed(text: &str) -> Recipients {
        let (list, _) = RecipientList::read(text);
        Recipients::new("b", Arc::default(), List::File(Arc::new(RwLock::new(list))))
    }

    #[test]
    fn only_final_answers_about_the_mailbox_are_remembered() {
        let cases = [
            ("250 2.1.5 ok", Standing::Known),
            ("550 5.1.1 unknown", Standing::Refused),
            ("550 no such user", Standing::Refused),
            ("550 5.1.10 RESOLVER.ADR.RecipientNotFound", Standing::Refused),
            ("550 5.7.1 your address is on a list", Standing::Unknown),
            ("552 5.2.2 mailbox full", Standing::Unknown),
            ("554 no", Standing::Unknown),
            ("450 4.2.0 greylisted", Standing::Unknown),
            ("451 4.3.0 try later", Standing::Unknown),
        ];
        for (said, expected) in cases {
            let recipients = ask();
            recipients.answered(&path("anna@one.example"), &reply(said), NOW);
            assert_eq!(recipients.standing(&path("anna@one.example"), NOW), expected, "{said}");
        }
    }

    #[test]
    fn a_refusal_of_the_client_leaves_a_known_mailbox_known() {
        let recipients = ask();
        let anna = path("anna@one.example");
        recipients.answered(&anna, &reply("250 ok"), NOW);
        recipients.answered(&anna, &reply("550 5.7.1 not from there"), NOW);
        assert_eq!(recipients.standing(&anna, NOW), Standing::Known);
        recipients.answered(&anna, &reply("550 5.1.1 gone"), NOW);
        assert_eq!(recipients.standing(&anna, NOW), Standing::Refused);
    }

    #[test]
    fn domains_count_in_any_case_and_local_parts_as_they_are() {
        let recipients = ask();
        recipients.answered(&path("Anna@One.Example"), &reply("250 ok"), NOW);
        assert_eq!(recipients.standing(&path("Anna@ONE.example"), NOW), Standing::Known);
        assert_eq!(recipients.standing(&path("anna@one.example"), NOW), Standing::Unknown);
    }

    #[test]
    fn mailboxes_are_counted_by_domain_once_a_message_was_taken() {
        let known = Arc::new(Known::default());
        let one = Recipients::new("one", Arc::clone(&known), List::Ask);
        let other = Recipients::new("other", known, List::Ask);
        for address in
            ["anna@one.example", "Anna@One.example", "ANNA@one.example", "Bob@one.example", "c@two.example"]
        {
            one.delivered(&path(address), NOW);
        }
        one.answered(&path("asked@one.example"), &reply("250 ok"), NOW);
        one.delivered(&ForwardPath::Postmaster("postmaster".into()), NOW);
        other.delivered(&path("x@three.example"), NOW);
        let counted = one.mailboxes();
        let of = |backend: &str, domain: &str| {
            let key: (Box<str>, Box<str>) = (backend.into(), domain.into());
            counted.get(&key).copied()
        };
        assert_eq!((of("one", "one.example"), of("one", "two.example")), (Some(2), Some(1)));
        assert_eq!((of("other", "three.example"), counted.len()), (Some(1), 3));
    }

    #[test]
    fn where_everybody_is_accepted_only_a_delivery_counts() {
        let recipients = ask();
        let (anna, bob) = (path("anna@one.example"), path("bob@one.example"));
        for one in [&anna, &bob] {
            recipients.answered(one, &reply("250 ok"), NOW);
        }
        recipients.delivered(&anna, NOW);
        assert!(recipients.found(&"one.example".parse().unwrap(), true, NOW), "that is news");
        assert!(!recipients.found(&"one.example".parse().unwrap(), true, NOW), "and then it is not");
        assert_eq!(recipients.standing(&anna, NOW), Standing::Known);
        assert_eq!(recipients.standing(&bob, NOW), Standing::Unproved);
        assert!(recipients.found(&"one.example".parse().unwrap(), false, NOW));
        assert_eq!(recipients.standing(&bob, NOW), Standing::Known);
    }

    #[test]
    fn a_list_is_asked_first_and_the_servers_last_word_counts_more() {
        let recipients = listed("anna@one.example");
        let (anna, eve) = (path("anna@one.example"), path("eve@one.example"));
        assert_eq!(
            (recipients.listing(&anna), recipients.listing(&eve)),
            (Listing::Listed, Listing::NotListed)
        );
        assert_eq!(recipients.listing(&path("postmaster@one.example")), Listing::NoList);
        assert_eq!(recipients.standing(&anna, NOW), Standing::Listed);
        assert_eq!(recipients.standing(&eve, NOW), Standing::Unknown);
        recipients.answered(&anna, &reply("550 5.1.1 unknown"), NOW);
        assert_eq!(recipients.standing(&anna, NOW), Standing::Refused);
    }

    #[test]
    fn backends_do_not_know_each_others_recipients() {
        let known = Arc::new(Known::default());
        let one = Recipients::new("one", Arc::clone(&known), List::Ask);
        let other = Recipients::new("other", known, List::Ask);
        one.answered(&path("anna@one.example"), &reply("250 ok"), NOW);
        assert_eq!(other.standing(&path("anna@one.example"), NOW), Standing::Unknown);
        assert!(!one.are_unknown() && other.are_unknown());
        assert!(!listed("").are_unknown(), "a list may get longer");
    }
}
