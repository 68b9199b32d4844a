//! A [`Content`] as octets, for the way from a worker to the gate (postcard's format, which needs nothing but the octets).
//!
//! The gate believes none of it: whatever is longer than the bounds of [`crate::content`] allow is no content.

use crate::content::{self, Address, Content, Field, Link, Part};
use crate::report::Report;

/// The most octets that a content within its bounds takes: what the largest one comes to, with room for its lengths.
pub const MAX_CONTENT: usize = 2 << 20;

/// Why octets are no content.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ContentError {
    /// They are not of this format, or something follows.
    #[error("it cannot be decoded")]
    Format,
    /// A list or a text is longer than it may be.
    #[error("it is beyond its bounds")]
    Bounds,
}

/// As it is sent.
///
/// # Errors
///
/// [`ContentError::Bounds`] for what no reader makes.
pub fn encode(content: &Content) -> Result<Vec<u8>, ContentError> {
    if !is_within_bounds(content) {
        return Err(ContentError::Bounds);
    }
    let octets = postcard::to_allocvec(content).map_err(|_| ContentError::Format)?;
    if octets.len() <= MAX_CONTENT { Ok(octets) } else { Err(ContentError::Bounds) }
}

/// Reads exactly one, within its bounds.
///
/// # Errors
///
/// [`ContentError`].
pub fn decode(octets: &[u8]) -> Result<Content, ContentError> {
    if octets.len() > MAX_CONTENT {
        return Err(ContentError::Bounds);
    }
    let (content, rest) = postcard::take_from_bytes(octets).map_err(|_| ContentError::Format)?;
    if !rest.is_empty() {
        return Err(ContentError::Format);
    }
    if is_within_bounds(&content) { Ok(content) } else { Err(ContentError::Bounds) }
}

fn is_within_bounds(content: &Content) -> bool {
    let Content {
        fields,
        from,
        reply_to,
        to,
        subject,
        message_id,
        text,
        alternative,
        hidden,
        links,
        parts,
        report,
        ..
    } = content;
    let fit =
        |addresses: &[Address]| addresses.len() <= content::MAX_ADDRESSES && addresses.iter().all(is_address);
    fields.len() <= content::MAX_FIELDS
        && fields.iter().all(is_field)
        && [from, reply_to, to].into_iter().all(|addresses| fit(addresses))
        && subject.len() <= content::MAX_FIELD
        && message_id.len() <= content::MAX_FIELD
        && text.start.len() <= content::MAX_START
        && text.end.len() <= content::MAX_END
        && alternative.len() <= content::MAX_START
        && hidden.len() <= content::MAX_HIDDEN
        && links.len() <= content::MAX_LINKS
        && links.iter().all(is_link)
        && parts.len() <= content::MAX_PARTS
        && parts.iter().all(is_part)
        && report.as_ref().is_none_or(Report::is_within_bounds)
}

fn is_field(field: &Field) -> bool {
    field.name.len() <= content::MAX_NAME && field.value.len() <= content::MAX_FIELD
}

fn is_address(address: &Address) -> bool {
    address.name.len() <= content::MAX_NAME && address.mailbox.len() <= content::MAX_LINK
}

fn is_link(link: &Link) -> bool {
    let texts = link.target.len().max(link.text.len());
    texts <= content::MAX_LINK && link.host.len() <= content::MAX_NAME
}

fn is_part(part: &Part) -> bool {
    part.media_type.len().max(part.name.len()) <= content::MAX_NAME
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::content::Text;
    use crate::report::{self, Checked, DmarcReport, Reporter, Row, TlsFailure, TlsPolicy, TlsReport};
    use crate::{Bounds, read};

    fn text(octets: usize) -> String {
        "x".repeat(octets)
    }

    #[test]
    fn what_was_read_is_the_same_on_the_other_side() {
        let message = b"From: A <a@b.example>\r\nSubject: x\r\nContent-Type: text/html\r\n\r\n<a href='http://c.example'>d</a>";
        let content = read(message, &Bounds::default());
        assert_eq!(content.links.len(), 1);
        let octets = encode(&content).unwrap();
        assert_eq!(decode(&octets), Ok(content));
        for cut in 0..octets.len() {
            assert!(decode(&octets[..cut]).is_err(), "cut to {cut}");
        }
        assert_eq!(decode(&[&octets[..], b"x"].concat()), Err(ContentError::Format));
    }

    fn largest_report() -> Report {
        let word = || text(report::MAX_WORD);
        let checked = Checked { domain: word(), result: word() };
        let row = Row {
            source: [0xffff; 8].into(),
            messages: u64::MAX,
            disposition: report::Disposition::Reject,
            dkim: true,
            spf: true,
            header_from: word(),
            overridden: word(),
            signatures: vec![checked.clone(); report::MAX_SIGNATURES],
            sender: checked,
        };
        let reporter =
            Reporter { organization: word(), contact: word(), id: word(), begin: u64::MAX, end: u64::MAX };
        Report::Dmarc(DmarcReport {
            reporter,
            domain: word(),
            policy: word(),
            rows: vec![row; report::MAX_ROWS],
            left_out: u32::MAX,
            left_out_messages: u64::MAX,
        })
    }

    #[test]
    fn the_largest_content_fits_and_nothing_larger_is_believed() {
        let address = Address { name: text(content::MAX_NAME), mailbox: text(content::MAX_LINK) };
        let link = Link {
            target: text(content::MAX_LINK),
            host: text(content::MAX_NAME),
            text: text(content::MAX_LINK),
            ..Link::default()
        };
        let field = Field { name: text(content::MAX_NAME), value: text(content::MAX_FIELD) };
        let part = Part {
            media_type: text(content::MAX_NAME),
            name: text(content::MAX_NAME),
            size: u64::MAX,
            ..Part::default()
        };
        let full = Content {
            fields: vec![field; content::MAX_FIELDS],
            from: vec![address.clone(); content::MAX_ADDRESSES],
            reply_to: vec![address.clone(); content::MAX_ADDRESSES],
            to: vec![address; content::MAX_ADDRESSES],
            subject: text(content::MAX_FIELD),
            message_id: text(content::MAX_FIELD),
            text: Text { start: text(content::MAX_START), end: text(content::MAX_END), octets: u64::MAX },
            alternative: text(content::MAX_START),
            hidden: text(content::MAX_HIDDEN),
            links: vec![link; content::MAX_LINKS],
            parts: vec![part; content::MAX_PARTS],
            report: Some(largest_report()),
            ..Content::default()
        };
        let octets = encode(&full).unwrap();
        assert!(octets.len() > MAX_CONTENT / 2, "{}", octets.len());
        assert_eq!(decode(&octets).as_ref(), Ok(&full));
        type Grow = fn(&mut Content);
        let grown: [Grow; 11] = [
            |it| it.fields.push(Field::default()),
            |it| it.to[3].mailbox.push('x'),
            |it| it.text.start.push('x'),
            |it| it.hidden.push('x'),
            |it| it.links[0].host.push('x'),
            |it| it.links.push(Link::default()),
            |it| it.parts.push(Part::default()),
            |it| it.parts[7].name.push('x'),
            |it| it.report = Some(Report::Unreadable(text(report::MAX_WORD + 1))),
            |it| {
                if let Some(Report::Dmarc(report)) = &mut it.report {
                    report.rows.push(report.rows[0].clone());
                }
            },
            |it| {
                let failures = vec![TlsFailure::default(); report::MAX_FAILURES + 1];
                let policies = vec![TlsPolicy { failures, ..TlsPolicy::default() }];
                it.report = Some(Report::Tls(TlsReport { policies, ..TlsReport::default() }));
            },
        ];
        for grow in grown {
            let mut larger = full.clone();
            grow(&mut larger);
            let octets = postcard::to_allocvec(&larger).unwrap();
            assert_eq!(decode(&octets), Err(ContentError::Bounds));
            assert_eq!(encode(&larger), Err(ContentError::Bounds));
        }
        assert_eq!(decode(&vec![0; MAX_CONTENT + 1]), Err(ContentError::Bounds));
    }
}
