//! Whether a message pretends to be somebody else's: what it shows and where it leads, whose names it uses, where answers go.

use std::net::IpAddr;

use sift::Content;
use sift::content::{Address, Link, Purpose};

use crate::looks::{Likeness, deception, likeness};
use crate::verdict::Check;

/// Where anybody has an address for nothing: an answer that turns from a company to one of these goes to somebody else.
const FREE_MAIL: &[&str] = &[
    "gmail.com",
    "googlemail.com",
    "outlook.com",
    "hotmail.com",
    "live.com",
    "yahoo.com",
    "ymail.com",
    "aol.com",
    "icloud.com",
    "gmx.com",
    "gmx.de",
    "gmx.net",
    "web.de",
    "mail.com",
    "mail.ru",
    "yandex.com",
    "yandex.ru",
    "proton.me",
    "protonmail.com",
    "zoho.com",
    "163.com",
    "qq.com",
];
/// Links that are compared; a message whose first ones are honest may lie with the last.
const MAX_LINKS: usize = 200;

/// Whom a message could pretend to come from.
#[derive(Clone, Copy, Debug)]
pub struct Known<'a> {
    /// Domains of the backends, as somebody registered them.
    pub own: &'a [String],
    /// SPF, DKIM or DMARC stands behind some domain of the sender.
    pub is_authentic: bool,
}

/// One check for each kind of pretence that was found, in words for whoever runs this.
pub fn checks(content: &Content, known: &Known<'_>) -> Vec<Check> {
    let from = content.from.first();
    let author = from.map_or("", |from| registered(domain(from)));
    let found = [
        look_alike(content, author, known),
        mixed_script(content, author),
        link_text(&content.links, author, known),
        from.and_then(|from| display_name(from, author, known)),
        own_domain(author, known),
        reply_to(content, author, known),
    ];
    found.into_iter().flatten().collect()
}

fn look_alike(content: &Content, author: &str, known: &Known<'_>) -> Option<Check> {
    let answers = content.reply_to.iter().map(|address| (registered(domain(address)), 3.5, 1.5));
    let links = followed(&content.links).map(|link| (registered(&link.host), 2.5, 1.0));
    let named = std::iter::once((author, 3.5, 1.5)).chain(answers).chain(links);
    let likenesses = named.flat_map(|(domain, same, near)| {
        known.own.iter().filter_map(move |own| match likeness(domain, own)? {
            Likeness::Same => Some((format!("{domain} looks like {own}"), same)),
            Likeness::Near => Some((format!("{domain} is one letter away from {own}"), near)),
        })
    });
    // What is one's own is none that looks like another of one's own.
    let likenesses =
        likenesses.filter(|(words, _)| !known.own.iter().any(|own| words.starts_with(&format!("{own} "))));
    let (words, weight) = likenesses.max_by(|(_, a), (_, b)| f64::total_cmp(a, b))?;
    Some(Check::weighing("look-alike", words, weight))
}

fn mixed_script(content: &Content, author: &str) -> Option<Check> {
    let links = followed(&content.links).map(|link| link.host.as_str());
    let words = std::iter::once(author).chain(links).find_map(deception)?;
    Some(Check::weighing("mixed-script", words, 2.5))
}

/// A link that shows one site and leads to another. Newsletters count clicks so: it weighs little unless it shows one's own.
fn link_text(links: &[Link], author: &str, known: &Known<'_>) -> Option<Check> {
    let lies = followed(links).filter_map(|link| {
        let shown = shown_host(&link.text)?;
        let (shown, target) = (registered(&shown).to_owned(), registered(&link.host));
        if shown == target || target == author {
            return None;
        }
        let weight = if known.own.contains(&shown) { 2.5 } else { 0.7 };
        Some((format!("shows {shown}, leads to {target}"), weight))
    });
    let (words, weight) = lies.max_by(|(_, a), (_, b)| f64::total_cmp(a, b))?;
    Some(Check::weighing("link-text", words, weight))
}

/// A display name that is another address, or another domain's.
fn display_name(from: &Address, author: &str, known: &Known<'_>) -> Option<Check> {
    let named = from.name.split([' ', '<', '>', '(', ')', '"', '\'', ',', ';']).find_map(|word| {
        let host = word.rsplit_once('@').map_or(word, |(_, host)| host).trim_matches('.').to_lowercase();
        is_host(&host).then(|| registered(&host).to_owned())
    })?;
    if named == author || author.is_empty() {
        return None;
    }
    let is_own = known.own.contains(&named);
    let is_address = from.name.contains('@');
    let weight = match (is_own, is_address) {
        (true, _) => 3.0,
        (false, true) => 2.0,
        // Shops call themselves after their site and send by another.
        (false, false) => 0.5,
    };
    Some(Check::weighing("display-name", format!("says {named}, is of {author}"), weight))
}

/// Mail from outside that says it comes from inside, and nobody stands behind it. Lists and forms of web sites do so, too.
fn own_domain(author: &str, known: &Known<'_>) -> Option<Check> {
    let pretends = !known.is_authentic && known.own.iter().any(|own| own == author);
    pretends.then(|| {
        Check::weighing("own-domain", format!("says it is from {author}, and is not authentic"), 1.5)
    })
}

fn reply_to(content: &Content, author: &str, known: &Known<'_>) -> Option<Check> {
    let answers = content.reply_to.iter().map(|address| registered(domain(address)));
    let turned = answers.into_iter().find(|domain| {
        !domain.is_empty()
            && !author.is_empty()
            && *domain != author
            && !known.own.iter().any(|own| own == domain)
    })?;
    let to_anybody = FREE_MAIL.contains(&turned) && !FREE_MAIL.contains(&author);
    let weight = if to_anybody { 1.5 } else { 0.4 };
    Some(Check::weighing("reply-to", format!("from {author}, answers go to {turned}"), weight))
}

fn followed(links: &[Link]) -> impl Iterator<Item = &Link> {
    let links = links.iter().take(MAX_LINKS);
    links.filter(|link| matches!(link.purpose, Purpose::Follow | Purpose::Form) && !link.host.is_empty())
}

/// The host that a text shows, if it is an address of the web and nothing else.
fn shown_host(text: &str) -> Option<String> {
    let text = text.trim();
    let rest = text.strip_prefix("https://").or_else(|| text.strip_prefix("http://")).unwrap_or(text);
    let host = rest.split(['/', '?', '#', ':']).next()?.to_lowercase();
    is_host(&host).then_some(host)
}

/// A name below a public suffix that there is; `e.g.` and `3.5` are none.
fn is_host(text: &str) -> bool {
    let sound = text.len() <= 253 && text.chars().all(|c| c.is_alphanumeric() || c == '-' || c == '.');
    sound
        && text.contains('.')
        && psl::domain(text.as_bytes()).is_some_and(|domain| domain.suffix().is_known())
}

fn domain(address: &Address) -> &str {
    address.mailbox.rsplit_once('@').map_or("", |(_, domain)| domain)
}

/// The domain that somebody registered to have this one, or itself; an address is nobody's part.
pub fn registered(host: &str) -> &str {
    if host.parse::<IpAddr>().is_ok() {
        return host;
    }
    psl::domain_str(host).unwrap_or(host)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(name: &str, mailbox: &str) -> Address {
        Address { name: name.into(), mailbox: mailbox.into() }
    }

    fn link(text: &str, host: &str) -> Link {
        Link {
            text: text.into(),
            host: host.into(),
            target: format!("https://{host}/x"),
            purpose: Purpose::Follow,
        }
    }

    /// What is found, as `name: words (weight)`.
    fn found(content: &Content, is_authentic: bool) -> Vec<String> {
        let own = ["example-bank.com".to_owned(), "example.org".to_owned()];
        let all = checks(content, &Known { own: &own, is_authentic });
        all.iter().map(|check| format!("{}: {} ({})", check.name, check.result, check.weight)).collect()
    }

    fn from(name: &str, mailbox: &str) -> Content {
        Content { from: vec![address(name, mailbox)], ..Content::default() }
    }

    #[test]
    fn who_looks_like_ones_own_is_named() {
        let content = from("", "ceo@mail.examp1e-bank.com");
        assert_eq!(found(&content, true), ["look-alike: examp1e-bank.com looks like example-bank.com (3.5)"]);
        let mut content = from("", "a@shop.com");
        content.links = vec![link("", "login.example-banks.com"), link("", "www.example-bank.com")];
        assert_eq!(
            found(&content, true),
            ["look-alike: example-banks.com is one letter away from example-bank.com (1)"]
        );
    }

    #[test]
    fn a_link_that_shows_another_site_weighs_by_whose_it_shows() {
        let mut content = from("", "a@shop.com");
        content.links = vec![
            link("https://www.other.com/offer", "click.counter.net"),
            link("www.shop.com", "click.shop.com"),
            link("see section 3.5", "click.counter.net"),
            link("192.0.2.1", "click.counter.net"),
        ];
        assert_eq!(found(&content, true), ["link-text: shows other.com, leads to counter.net (0.7)"]);
        content.links.push(link("https://www.example-bank.com/login", "evil.net"));
        assert_eq!(found(&content, true), ["link-text: shows example-bank.com, leads to evil.net (2.5)"]);
    }

    #[test]
    fn names_that_are_others_addresses_and_answers_that_turn_are_named() {
        let content = from("Support <help@example-bank.com>", "x@evil.net");
        assert_eq!(found(&content, true), ["display-name: says example-bank.com, is of evil.net (3)"]);
        let content = from("Amazon.com", "orders@mail.amazon.com");
        assert!(found(&content, true).is_empty());
        let mut content = from("Dr. E.g. Miller Inc.", "m@miller-inc.com");
        content.reply_to = vec![address("", "m.miller@gmail.com")];
        assert_eq!(found(&content, true), ["reply-to: from miller-inc.com, answers go to gmail.com (1.5)"]);
        content.reply_to = vec![address("", "office@answers.miller-inc.com")];
        assert!(found(&content, true).is_empty());
    }

    #[test]
    fn ones_own_domain_from_outside_wants_proof() {
        let content = from("", "boss@example.org");
        assert_eq!(
            found(&content, false),
            ["own-domain: says it is from example.org, and is not authentic (1.5)"]
        );
        assert!(found(&content, true).is_empty());
        assert!(found(&Content::default(), false).is_empty());
    }
}
