//! Where a domain wants reports on TLS (RFC 8460 §3): the addresses of its record, and the `https` ones.

/// Where a domain wants reports.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Wanted {
    /// By mail.
    pub addresses: Vec<String>,
    /// By HTTPS; URLs as they are written.
    pub sites: Vec<String>,
}

/// Addresses and sites of one record that are heard.
const MAX_WANTED: usize = 5;

impl Wanted {
    /// Reads the texts at `_smtp._tls.DOMAIN`; `None` where there is no record, or more than one.
    pub fn read<'a>(texts: impl Iterator<Item = &'a str>) -> Option<Self> {
        let mut records = texts.filter(|text| text.starts_with("v=TLSRPTv1;") || *text == "v=TLSRPTv1");
        let record = records.next().filter(|_| records.next().is_none())?;
        let tags = record.split(';').filter_map(|tag| tag.split_once('='));
        let rua = tags.filter(|(name, _)| name.trim() == "rua").map(|(_, value)| value).next()?;
        let mut wanted = Self::default();
        for uri in rua.split(',').map(str::trim).take(MAX_WANTED) {
            match uri.split_once(':') {
                Some((scheme, address)) if scheme.eq_ignore_ascii_case("mailto") => {
                    // What follows a question mark asks for fields that nobody owes.
                    let address = address.split('?').next().unwrap_or_default();
                    // Decoded, it may hold anything: line ends would make fields and recipients of their own.
                    let mailbox = percent_decoded(address).parse::<smtp::Mailbox>().ok();
                    wanted.addresses.extend(mailbox.map(|mailbox| mailbox.to_string()));
                }
                Some((scheme, _)) if scheme.eq_ignore_ascii_case("https") => {
                    wanted.sites.push(uri.to_owned())
                }
                _ => {}
            }
        }
        Some(wanted).filter(|wanted| !wanted.addresses.is_empty() || !wanted.sites.is_empty())
    }
}

/// RFC 3986 §2.1, as far as it is UTF-8.
fn percent_decoded(text: &str) -> String {
    let mut octets = Vec::new();
    let mut rest = text.as_bytes();
    while let Some((&first, behind)) = rest.split_first() {
        let hexadecimal = (first == b'%')
            .then(|| behind.get(..2).and_then(|two| std::str::from_utf8(two).ok()))
            .flatten()
            .and_then(|two| u8::from_str_radix(two, 16).ok());
        match hexadecimal {
            Some(octet) => {
                octets.push(octet);
                rest = behind.get(2..).unwrap_or_default();
            }
            None => {
                octets.push(first);
                rest = behind;
            }
        }
    }
    String::from_utf8(octets).unwrap_or_else(|_| text.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn where_reports_go_is_read_from_exactly_one_record() {
        let read = |texts: &[&str]| Wanted::read(texts.iter().copied());
        assert_eq!(
            read(&["v=spf1 -all", "v=TLSRPTv1; rua=mailto:a%2Bb@x.test?subject=z, https://x.test/tls"]),
            Some(Wanted { addresses: vec!["a+b@x.test".into()], sites: vec!["https://x.test/tls".into()] })
        );
        for none in [
            &["v=TLSRPTv1"][..],
            &[],
            &["v=TLSRPTv1; rua=ftp:x"],
            &["v=TLSRPTv1; rua=mailto:a@b", "v=TLSRPTv1; rua=mailto:c@d"],
        ] {
            assert_eq!(read(none), None, "{none:?}");
        }
        assert_eq!(percent_decoded("a%ZZ%4"), "a%ZZ%4");
    }

    #[test]
    fn a_record_adds_no_field_and_no_recipient_to_its_report() {
        for address in [
            "a@x.test%0D%0ABcc:%20b@y.test",
            "a@x.test%3E%0D%0ARCPT%20TO:%3Cb@y.test",
            "a@x.test%00",
            "a",
            "",
        ] {
            let record = format!("v=TLSRPTv1; rua=mailto:{address}");
            assert_eq!(Wanted::read([&*record].into_iter()), None, "{address}");
        }
    }
}
