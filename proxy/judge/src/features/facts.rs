//! Facts that are counted like words: structure, links, transport.

use std::fmt::Write;

use sift::Content;
use sift::content::{Address, Link, Part, Purpose};

use super::{Client, Kind, MAX_FACTS, MAX_FINDINGS, Piece, Transport, cut, domain};

/// Octets of a link's path that are looked at.
const MAX_PATH: usize = 96;
/// Octets of a fact.
const MAX_FACT: usize = 128;
/// Parts whose types are looked at.
const MAX_PARTS: usize = 16;

/// What a link says: `purpose host path`, and whether it shows another host than it leads to.
pub(super) fn link(link: &Link) -> String {
    let purpose = match link.purpose {
        Purpose::Follow => "a",
        Purpose::Picture => "img",
        Purpose::Form => "form",
        Purpose::Load => "load",
    };
    let (host, path) = match link.target.split_once("://") {
        Some((_, rest)) => (link.host.as_str(), rest.split_once('/').map_or("", |(_, path)| path)),
        None => (link.host.as_str(), link.target.as_str()),
    };
    let turned = if shows_another_host(link) { " turned" } else { "" };
    format!("{purpose} {host} {}{turned}", cut(path, MAX_PATH))
}

fn shows_another_host(link: &Link) -> bool {
    let shown = link.text.trim().trim_start_matches("https://").trim_start_matches("http://");
    let shown = shown.split(['/', ' ', '?']).next().unwrap_or_default().to_ascii_lowercase();
    let looks_like_a_host = shown.contains('.') && !shown.contains('@') && shown.len() > 3;
    looks_like_a_host && !link.host.is_empty() && registered(&shown) != registered(&link.host)
}

/// The domain that somebody registered to have this host, or the host itself.
pub(crate) fn registered(host: &str) -> &str {
    psl::domain_str(host).unwrap_or(host)
}

pub(super) fn collect(content: &Content, transport: &Transport<'_>, pieces: &mut Vec<Piece>) {
    let mut facts = Facts { left: MAX_FACTS, pieces };
    transport_facts(content, transport, &mut facts);
    addresses(content, &mut facts);
    markup(content, &mut facts);
    oddities(content, &mut facts);
    structure(&content.parts, &mut facts);
    trace(content, &mut facts);
}

struct Facts<'a> {
    left: usize,
    pieces: &'a mut Vec<Piece>,
}

impl Facts<'_> {
    fn add(&mut self, text: &str) {
        let text = cut(text, MAX_FACT);
        if text.len() <= self.left {
            self.left -= text.len();
            self.pieces.push(Piece { kind: Kind::Fact, text: text.to_owned() });
        }
    }

    fn add_if(&mut self, holds: bool, text: &str) {
        if holds {
            self.add(text);
        }
    }

    /// A number by its order of magnitude: 0, 1, 2-3, 4-7, ...
    fn magnitude(&mut self, name: &str, number: u64) {
        if number > 0 {
            self.add(&format!("{name}~{}", u64::BITS - number.leading_zeros()));
        }
    }
}

fn transport_facts(content: &Content, transport: &Transport<'_>, facts: &mut Facts<'_>) {
    let client = match transport.client {
        Client::Unknown => "",
        Client::Inside => "client=inside",
        Client::Named => "client=named",
        Client::Dynamic => "client=dynamic",
        Client::Nameless => "client=nameless",
    };
    facts.add_if(!client.is_empty(), client);
    if !transport.helo.is_empty() {
        let helo = transport.helo.to_ascii_lowercase();
        let form = match () {
            () if helo.starts_with('[') => "literal",
            () if !helo.contains('.') => "bare",
            () if helo.bytes().all(|octet| octet.is_ascii_digit() || octet == b'.') => "address",
            () => "name",
        };
        facts.add(&format!("helo-form={form}"));
        facts.add(&format!("helo={}", registered(&helo)));
    }
    facts.add_if(!transport.client_name.is_empty(), &format!("ptr={}", registered(transport.client_name)));
    let path = transport.reverse_path.to_ascii_lowercase();
    if transport.envelope {
        facts.add_if(path.is_empty(), "reverse-path=null");
        if let Some((_, sender)) = path.rsplit_once('@') {
            facts.add(&format!("reverse-path={}", registered(sender)));
            let from = content.from.first().map_or("", domain);
            facts.add_if(registered(from) != registered(sender), "reverse-path=other-than-from");
        }
    }
    for finding in transport.findings.iter().take(MAX_FINDINGS) {
        facts.add(finding);
    }
}

fn addresses(content: &Content, facts: &mut Facts<'_>) {
    let Some(from) = content.from.first() else {
        return;
    };
    facts.add(&format!("from-domain={}", registered(domain(from))));
    facts.add(&format!("from={}", from.mailbox.to_lowercase()));
    facts.add_if(content.from.len() > 1, "from=several");
    facts.add_if(from.name.is_empty(), "from=nameless");
    facts.add_if(from.name.contains('@'), "from=address-as-name");
    facts.add_if(
        from.name.contains('@') && !from.name.to_lowercase().contains(domain(from)),
        "from=foreign-name",
    );
    if let Some(reply) = content.reply_to.first() {
        let same = registered(domain(reply)) == registered(domain(from));
        facts.add(if same { "reply-to=same" } else { "reply-to=turned" });
    }
    recipients(&content.to, facts);
    facts.add_if(!content.to.iter().any(|to| to.mailbox.contains('@')), "to=nobody");
    facts.add_if(
        content.to.iter().any(|to| to.mailbox == from.mailbox && !to.mailbox.is_empty()),
        "to=sender",
    );
}

fn recipients(to: &[Address], facts: &mut Facts<'_>) {
    facts.magnitude("to", u64::try_from(to.len()).unwrap_or(u64::MAX));
    facts.add_if(to.iter().any(|to| !to.name.is_empty()), "to=named");
    let greeted = to.iter().any(|to| {
        to.mailbox
            .split_once('@')
            .is_some_and(|(local, _)| !local.is_empty() && to.name.eq_ignore_ascii_case(local))
    });
    facts.add_if(greeted, "to=local-part-as-name");
}

fn markup(content: &Content, facts: &mut Facts<'_>) {
    let markup = &content.markup;
    facts.magnitude("elements", markup.elements.into());
    facts.magnitude("pictures", markup.pictures.into());
    facts.magnitude("hidden", markup.hidden_octets);
    facts.add_if(markup.forms > 0, "html=form");
    facts.add_if(markup.passwords > 0, "html=password");
    facts.add_if(markup.scripts > 0, "html=script");
    facts.add_if(markup.frames > 0, "html=frame");
    facts.add_if(markup.beacons > 0, "html=beacon");
    facts.magnitude("links", u64::try_from(content.links.len()).unwrap_or(u64::MAX));
    facts.magnitude("text", content.text.octets);
    facts.add_if(!content.alternative.is_empty(), "alternative=differs");
}

fn oddities(content: &Content, facts: &mut Facts<'_>) {
    let oddities = &content.oddities;
    for (holds, name) in [
        (oddities.left_out > 0, "odd=left-out"),
        (oddities.too_deep, "odd=too-deep"),
        (oddities.archive_bound, "odd=archive-bound"),
        (oddities.archive_broken, "odd=archive-broken"),
        (oddities.charset, "odd=charset"),
        (oddities.encoding, "odd=encoding"),
        (oddities.boundary, "odd=boundary"),
        (oddities.doubled_fields, "odd=doubled-fields"),
        (oddities.missing_fields, "odd=missing-fields"),
        (oddities.broken_header, "odd=broken-header"),
    ] {
        facts.add_if(holds, name);
    }
}

fn structure(parts: &[Part], facts: &mut Facts<'_>) {
    let mut tree = String::from("mime=");
    for part in parts.iter().take(MAX_PARTS) {
        let _ = write!(tree, "{}{}", ">".repeat(usize::from(part.depth.min(4))), part.media_type);
        facts.add(&format!("part={}:{:?}", part.media_type, part.kind));
        facts.add_if(part.encrypted, "part=encrypted");
        facts.add_if(part.active, "part=active");
        facts.add_if(part.in_archive, "part=in-archive");
        if part.attached {
            facts.magnitude("attached", part.size);
        }
        if let Some((_, ending)) = part.name.rsplit_once('.') {
            facts.add(&format!("ending={}", ending.to_lowercase()));
        }
    }
    facts.add(&tree);
}

/// What the trace and identifiers look like; never their words.
fn trace(content: &Content, facts: &mut Facts<'_>) {
    let received = content.fields.iter().filter(|field| field.name == "received").count();
    facts.magnitude("received", u64::try_from(received).unwrap_or(u64::MAX));
    let has = |name: &str| content.fields.iter().any(|field| field.name == name);
    facts.add_if(has("references") || has("in-reply-to"), "answers=yes");
    facts.add_if(has("dkim-signature"), "signed=dkim");
    match content.message_id.rsplit_once('@') {
        _ if content.fields.is_empty() => {}
        None => facts.add("message-id=odd"),
        Some((_, host)) => {
            let from = content.from.first().map_or("", domain);
            let same = registered(&host.to_ascii_lowercase()) == registered(from);
            facts.add(if same { "message-id=sender's" } else { "message-id=other's" });
        }
    }
}
