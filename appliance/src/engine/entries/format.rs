//! How entries are written: by people, and in the store. Whatever is read here may end in a log, on a page or in an SMTP command: nothing
//! but addresses and domains of the mail grammar comes out, folded so that two ways to write one are one.

use smtp::{Domain, Mailbox};

/// Octets of an entry, as a person writes it, and of where an alias leads.
pub(super) const MAX_ENTRY: usize = 320;
/// Octets of the name of whoever added an entry; longer ones are cut.
pub(super) const MAX_NAME: usize = 80;

/// A sender: an address, or a domain with what is below it.
pub(super) fn sender(text: &str) -> Option<String> {
    let text = text.trim();
    if text.contains('@') {
        return recipient(text).map(|(address, _)| address);
    }
    let domain = text.parse::<Domain>().ok().filter(|_| text.len() <= MAX_ENTRY)?;
    domain.as_str().contains('.').then(|| domain.as_str().to_owned())
}

/// An address in a domain, folded, and its domain. Quotes are for local parts that nobody gives to people.
pub(super) fn recipient(text: &str) -> Option<(String, Domain)> {
    let mailbox = plain(text)?;
    let address = folded(&mailbox);
    // A few letters of other scripts are longer in lower case.
    let again: Mailbox = address.parse().ok().filter(|_| address.len() <= MAX_ENTRY)?;
    (folded(&again) == address).then(|| Some((address, mailbox.domain()?.clone())))?
}

/// Where an alias leads: kept in the case it is written in, for its server may tell cases apart. It can be named to every server, and
/// routes nowhere by itself.
pub(super) fn target(text: &str) -> Option<Mailbox> {
    let mailbox = plain(text)?;
    let local_part = mailbox.local_part();
    if !local_part.is_ascii() || mailbox.has_routing_local_part() {
        return None;
    }
    format!("{local_part}@{}", mailbox.domain()?).parse().ok()
}

fn plain(text: &str) -> Option<Mailbox> {
    let text = text.trim();
    let mailbox: Mailbox = text.parse().ok().filter(|_| text.len() <= MAX_ENTRY)?;
    let is_named = mailbox.domain().is_some_and(|domain| domain.as_str().contains('.'));
    (is_named && !text.starts_with('"')).then_some(mailbox)
}

/// One address, one text: in lower case, its domain in A-labels, and without quotes (RFC 5321 §4.1.2 has them mean nothing).
pub(super) fn folded(mailbox: &Mailbox) -> String {
    let written = mailbox.local_part();
    let local_part = match written.strip_prefix('"').and_then(|rest| rest.strip_suffix('"')) {
        Some(quoted) => {
            let mut escaped = false;
            let kept = |c: &char| {
                escaped = *c == '\\' && !escaped;
                !escaped
            };
            quoted.chars().filter(kept).collect()
        }
        None => written.to_owned(),
    };
    let host = written.len() + 1;
    let domain = match mailbox.domain() {
        Some(domain) => domain.as_str(),
        None => mailbox.as_str().get(host..).unwrap_or_default(),
    };
    format!("{}@{domain}", local_part.to_lowercase())
}

/// An address that somebody else wrote, and that need not be one.
pub(super) fn folded_text(text: &str) -> String {
    text.parse().map_or_else(|_| text.to_lowercase(), |mailbox: Mailbox| folded(&mailbox))
}

/// What an address can be listed as: itself, its domain, and what that is below of.
pub(super) fn names_of(address: &str) -> impl Iterator<Item = &str> {
    let domain = address.rsplit_once('@').map(|(_, domain)| domain);
    let above = std::iter::successors(domain, |domain| domain.split_once('.').map(|(_, above)| above));
    std::iter::once(address).chain(above)
}

/// What is known of an entry beside its name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Fact {
    /// Since when, in seconds since 1970.
    pub(super) since: u64,
    /// Who added it.
    pub(super) by: String,
    /// Where an alias leads.
    pub(super) target: Option<Mailbox>,
}

impl Fact {
    /// As it is stored: the time (8 octets), how long the name is (one), the name, and the target in the rest.
    pub(super) fn to_bytes(&self) -> Vec<u8> {
        let by = self.by.get(..self.by.floor_char_boundary(MAX_NAME)).unwrap_or_default();
        let target = self.target.as_ref().map_or("", Mailbox::as_str);
        let length = u8::try_from(by.len()).unwrap_or_default();
        [&self.since.to_be_bytes()[..], &[length], by.as_bytes(), target.as_bytes()].concat()
    }

    /// `None` for anything that is none.
    pub(super) fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let (since, rest) = bytes.split_first_chunk::<8>()?;
        let (length, rest) = rest.split_first()?;
        let (by, to) = rest.split_at_checked(usize::from(*length).min(MAX_NAME))?;
        let (by, to) = (std::str::from_utf8(by).ok()?, std::str::from_utf8(to).ok()?);
        let target = match to {
            "" => None,
            to => Some(target(to).filter(|target| target.as_str() == to)?),
        };
        Some(Self { since: u64::from_be_bytes(*since), by: by.to_owned(), target })
    }
}

/// Under which an entry is stored: no domain, and no address, has a NUL in it.
pub(super) fn key(domain: &str, kind: u8, entry: &str) -> Vec<u8> {
    [domain.as_bytes(), &[0, kind, 0], entry.as_bytes()].concat()
}

/// Its domain, kind and name.
pub(super) fn read_key(key: &[u8]) -> Option<(&str, u8, &str)> {
    let text = std::str::from_utf8(key).ok()?;
    let mut parts = text.splitn(3, '\0');
    let (domain, kind, entry) = (parts.next()?, parts.next()?, parts.next()?);
    let [kind] = *kind.as_bytes() else { return None };
    let is_domain = domain.parse::<Domain>().is_ok_and(|parsed| parsed.as_str() == domain);
    // What is stored was folded before.
    (is_domain && sender(entry).as_deref() == Some(entry)).then_some((domain, kind, entry))
}
