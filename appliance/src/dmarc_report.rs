//! Aggregate reports on DMARC (RFC 9990), as they are sent: from what was tallied to XML, and to a mail.

use std::io::{self, Write as _};
use std::net::IpAddr;
use std::time::Duration;

use evidence::{Asked, Published};
use flate2::Compression;
use flate2::write::GzEncoder;
use mail_builder::MessageBuilder;
use mail_builder::headers::content_type::ContentType;
use mail_builder::headers::raw::Raw;
use mail_builder::mime::{BodyPart, MimePart};
use quick_xml::Writer;
use quick_xml::events::{BytesDecl, BytesText, Event};
use serde::{Deserialize, Serialize};

use crate::tls_report::DAY;

/// The namespace of RFC 9990; older readers do not look at it.
const NAMESPACE: &str = "urn:ietf:params:xml:ns:dmarc-2.0";

/// Messages that fared alike, as they are counted.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub(crate) struct Row {
    #[serde(rename = "a")]
    pub(crate) source: IpAddr,
    #[serde(rename = "p")]
    pub(crate) disposition: Disposition,
    /// Less was done than the policy asks for.
    #[serde(rename = "o")]
    pub(crate) overridden: bool,
    /// Whether a signature of the author's domain is good.
    #[serde(rename = "k")]
    pub(crate) dkim: bool,
    /// Whether SPF allows the source for the author's domain.
    #[serde(rename = "s")]
    pub(crate) spf: bool,
    #[serde(rename = "f")]
    pub(crate) header_from: String,
    /// Empty for a null reverse-path.
    #[serde(rename = "e")]
    pub(crate) envelope_from: String,
    #[serde(rename = "g")]
    pub(crate) signatures: Vec<Signature>,
    /// The domain that SPF was asked about, and the result.
    #[serde(rename = "m")]
    pub(crate) sender: (String, String),
}

/// One signature: domain, selector, result.
pub(crate) type Signature = (String, String, String);

/// What was done.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub(crate) enum Disposition {
    #[serde(rename = "n")]
    None,
    #[serde(rename = "q")]
    Quarantine,
    #[serde(rename = "r")]
    Reject,
}

impl Disposition {
    fn name(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Quarantine => "quarantine",
            Self::Reject => "reject",
        }
    }
}

/// A report on one day.
#[derive(Clone, Debug)]
pub(crate) struct Report<'a> {
    /// Who reports.
    pub(crate) hostname: &'a str,
    /// The person to ask.
    pub(crate) contact: &'a str,
    /// On whose policy.
    pub(crate) published: &'a Published,
    /// Days since 1970, in UTC.
    pub(crate) day: u64,
    /// Tells it from others on the same day and policy.
    pub(crate) part: u32,
    /// With how many messages each is of; at least one.
    pub(crate) rows: &'a [(Row, u64)],
}

/// Writes elements.
struct Page(Writer<Vec<u8>>);

impl Page {
    fn element(&mut self, name: &str, text: &str) -> io::Result<()> {
        self.0.create_element(name).write_text_content(BytesText::new(text)).map(drop)
    }

    fn within(&mut self, name: &str, write: impl FnOnce(&mut Self) -> io::Result<()>) -> io::Result<()> {
        self.0.write_event(Event::Start(quick_xml::events::BytesStart::new(name)))?;
        write(self)?;
        self.0.write_event(Event::End(quick_xml::events::BytesEnd::new(name)))
    }
}

impl Report<'_> {
    fn domain(&self) -> &str {
        &self.published.domain
    }

    fn id(&self) -> String {
        format!("{}-{:08x}-{}@{}", self.day, self.part, self.domain(), self.hostname)
    }

    fn span(&self) -> (u64, u64) {
        (self.day * DAY, (self.day + 1) * DAY - 1)
    }

    /// The report itself (RFC 9990 §3.1).
    pub(crate) fn xml(&self) -> io::Result<Vec<u8>> {
        let mut page = Page(Writer::new_with_indent(Vec::new(), b' ', 1));
        page.0.write_event(Event::Decl(BytesDecl::new("1.0", Some("UTF-8"), None)))?;
        let feedback = quick_xml::events::BytesStart::new("feedback").with_attributes([("xmlns", NAMESPACE)]);
        page.0.write_event(Event::Start(feedback))?;
        page.element("version", "1.0")?;
        page.within("report_metadata", |page| self.metadata(page))?;
        page.within("policy_published", |page| self.policy(page))?;
        for (row, messages) in self.rows {
            page.within("record", |page| record(page, row, *messages))?;
        }
        page.0.write_event(Event::End(quick_xml::events::BytesEnd::new("feedback")))?;
        Ok(page.0.into_inner())
    }

    fn metadata(&self, page: &mut Page) -> io::Result<()> {
        let (begin, end) = self.span();
        page.element("org_name", self.hostname)?;
        page.element("email", self.contact)?;
        page.element("report_id", &self.id())?;
        page.within("date_range", |page| {
            page.element("begin", &begin.to_string())?;
            page.element("end", &end.to_string())
        })?;
        page.element("generator", concat!("Postern ", env!("CARGO_PKG_VERSION")))
    }

    fn policy(&self, page: &mut Page) -> io::Result<()> {
        let Published { policy, subdomains, missing, strict_dkim, strict_spf, testing, .. } = self.published;
        page.element("domain", self.domain())?;
        page.element("p", policy.unwrap_or(Asked::None).name())?;
        for (name, asked) in [("sp", subdomains), ("np", missing)] {
            if let Some(asked) = asked {
                page.element(name, asked.name())?;
            }
        }
        for (name, strict) in [("adkim", strict_dkim), ("aspf", strict_spf)] {
            page.element(name, if *strict { "s" } else { "r" })?;
        }
        page.element("discovery_method", "treewalk")?;
        page.element("testing", if *testing { "y" } else { "n" })
    }

    /// Packed by gzip.
    pub(crate) fn compressed(&self) -> io::Result<Vec<u8>> {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
        encoder.write_all(&self.xml()?)?;
        encoder.finish()
    }

    /// The mail that carries it (RFC 9990 §3.5), unsigned; `packed` is what [`compressed`](Self::compressed) gave.
    pub(crate) fn mail(&self, to: &[String], packed: Vec<u8>, now: Duration) -> Vec<u8> {
        let (hostname, domain, (begin, end)) = (self.hostname, self.domain(), self.span());
        let file = format!("{hostname}!{domain}!{begin}!{end}.xml.gz");
        let words = format!(
            "This is a report on the mail in the name of {domain} that {hostname} received.\r\n\
             It is meant for programs (RFC 9990). Questions: {}\r\n",
            self.contact
        );
        let parts = vec![
            MimePart::new(ContentType::new("text/plain").attribute("charset", "utf-8"), words),
            MimePart::new(ContentType::new("application/gzip"), BodyPart::Binary(packed.into()))
                .attachment(file),
        ];
        let to = to.iter().map(|to| format!("<{to}>")).collect::<Vec<_>>().join(", ");
        let message = MessageBuilder::new()
            .header("From", Raw::new(format!("DMARC reports of {hostname} <{}>", self.contact)))
            .header("To", Raw::new(to))
            .header(
                "Subject",
                Raw::new(format!("Report Domain: {domain} Submitter: {hostname} Report-ID: <{}>", self.id())),
            )
            .header("Date", Raw::new(record::rfc5322_date(now)))
            .header("Message-ID", Raw::new(format!("<dmarc-report-{}>", self.id())))
            .header("Auto-Submitted", Raw::new("auto-generated"))
            .body(MimePart::new(ContentType::new("multipart/mixed"), BodyPart::Multipart(parts)));
        let mut content = Vec::new();
        message.serialize(&mut content);
        content
    }
}

fn record(page: &mut Page, row: &Row, messages: u64) -> io::Result<()> {
    let result = |passes| if passes { "pass" } else { "fail" };
    page.within("row", |page| {
        page.element("source_ip", &row.source.to_string())?;
        page.element("count", &messages.to_string())?;
        page.within("policy_evaluated", |page| {
            page.element("disposition", row.disposition.name())?;
            page.element("dkim", result(row.dkim))?;
            page.element("spf", result(row.spf))?;
            match row.overridden {
                true => page.within("reason", |page| page.element("type", "local_policy")),
                false => Ok(()),
            }
        })
    })?;
    page.within("identifiers", |page| {
        page.element("header_from", &row.header_from)?;
        page.element("envelope_from", &row.envelope_from)
    })?;
    page.within("auth_results", |page| {
        for (domain, selector, result) in &row.signatures {
            page.within("dkim", |page| {
                page.element("domain", domain)?;
                page.element("selector", selector)?;
                page.element("result", result)
            })?;
        }
        let (domain, result) = &row.sender;
        page.within("spf", |page| {
            page.element("domain", domain)?;
            // Of HELO nothing is said (RFC 9990 §3.1.1.12).
            if !row.envelope_from.is_empty() {
                page.element("scope", "mfrom")?;
            }
            page.element("result", result)
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn published() -> Published {
        Published {
            domain: "world.test".into(),
            policy: Some(Asked::Reject),
            subdomains: None,
            missing: Some(Asked::Quarantine),
            strict_dkim: true,
            strict_spf: false,
            testing: false,
            addresses: Vec::new(),
        }
    }

    fn row() -> Row {
        Row {
            source: [192, 0, 2, 1].into(),
            disposition: Disposition::None,
            overridden: true,
            dkim: false,
            spf: false,
            header_from: "news.world.test".into(),
            envelope_from: "<&\">".into(),
            signatures: vec![("list.test".into(), "a".into(), "pass".into())],
            sender: ("list.test".into(), "softfail".into()),
        }
    }

    fn report<'a>(published: &'a Published, rows: &'a [(Row, u64)]) -> Report<'a> {
        Report {
            hostname: "mx.corp.test",
            contact: "postmaster@corp.test",
            published,
            day: 20_778,
            part: 7,
            rows,
        }
    }

    #[test]
    fn a_report_has_what_the_rfc_lists_and_reads_back() {
        let (published, rows) = (published(), [(row(), 7)]);
        let xml = report(&published, &rows).xml().unwrap();
        let message = [b"Content-Type: text/xml; name=\"a!b!1!2.xml\"\r\n\r\n", &xml[..]].concat();
        let content = sift::read(&message, &sift::Bounds::default());
        let Some(sift::report::Report::Dmarc(read)) = content.report else { panic!("{:?}", content.report) };
        assert_eq!((read.reporter.begin, read.reporter.end), (1_795_219_200, 1_795_305_599));
        assert_eq!((&*read.domain, &*read.policy, read.rows[0].messages), ("world.test", "reject", 7));
        assert_eq!(&*read.rows[0].overridden, "local_policy");
        let text = String::from_utf8(xml).unwrap();
        for part in [
            "<np>quarantine</np>",
            "<adkim>s</adkim>",
            "<envelope_from>&lt;&amp;",
            "<scope>mfrom</scope>",
            "<selector>a</selector>",
        ] {
            assert!(text.contains(part), "{part}: {text}");
        }
        assert!(!text.contains("<sp>"));
    }

    #[test]
    fn its_mail_is_called_as_the_rfc_has_it() {
        let (published, rows) = (published(), [(row(), 7)]);
        let report = report(&published, &rows);
        let packed = report.compressed().unwrap();
        let mail = report.mail(&["a@world.test".into()], packed, Duration::from_secs(1_795_288_205));
        let content = sift::read(&mail, &sift::Bounds::default());
        assert!(matches!(content.report, Some(sift::report::Report::Dmarc(_))), "{:?}", content.report);
        let name = "mx.corp.test!world.test!1795219200!1795305599.xml.gz";
        assert!(content.parts.iter().any(|part| part.name == name), "{:?}", content.parts);
        let id = "20778-00000007-world.test@mx.corp.test";
        assert_eq!(
            content.subject,
            format!("Report Domain: world.test Submitter: mx.corp.test Report-ID: <{id}>")
        );
        assert!(!String::from_utf8(mail).unwrap().replace("\r\n", "").contains(['\r', '\n']));
    }

    #[test]
    fn a_row_is_short_enough_to_be_counted() {
        let text = serde_json::to_string(&row()).unwrap();
        assert!(text.len() < 250, "{text}");
        assert_eq!(serde_json::from_str::<Row>(&text).unwrap(), row());
    }
}
