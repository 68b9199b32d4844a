//! From what was found to whether a server is armed, and the sentence that says why.

use std::net::SocketAddr;

use dns::{Answer, DnsError, Proof, Tlsa};
use tls::{Association, Chain};

/// A name under which the world reaches a server.
#[derive(Debug)]
pub(super) struct Name {
    pub(super) host: String,
    /// Every certificate that is shown to whoever asks for it leads to a root that the world trusts.
    pub(super) trusted: bool,
    pub(super) published: Published,
}

/// What a name has published of certificates, beside those that would be shown.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in super::super) enum Published {
    /// Nothing, or nothing that anybody who sends mail would look at.
    Nothing,
    /// All certificates are among it.
    Matches,
    /// A certificate is not.
    Differs,
    /// It cannot be told now.
    Unclear(String),
}

impl Published {
    pub(in super::super) fn compare(answer: &Result<Answer<Tlsa>, DnsError>, shown: &[Chain]) -> Self {
        let answer = match answer {
            // Without a proof nobody looks at them (RFC 7672 §2.1).
            Ok(answer) if answer.proof == Proof::Secure => answer,
            Ok(_) => return Self::Nothing,
            Err(error) if error.is_temporary() => return Self::Unclear(error.to_string()),
            Err(_) => return Self::Nothing,
        };
        let associations: Vec<_> = answer.records.iter().map(association).collect();
        if !associations.iter().any(Association::is_usable) {
            return Self::Nothing;
        }
        let has = |chain: &Chain| associations.iter().any(|association| association.is_in(chain));
        if !shown.is_empty() && shown.iter().all(has) { Self::Matches } else { Self::Differs }
    }
}

fn association(record: &Tlsa) -> Association {
    Association {
        usage: record.usage,
        selector: record.selector,
        matching: record.matching,
        data: record.data.clone(),
    }
}

/// Whether it is armed, each with a sentence on why and, where it is not, on what to do.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// It is.
    Arm(String),
    /// It is not.
    Leave(String),
    /// It stays as it was.
    Unclear(String),
}

/// `unclear` is why there may be names that are not among these.
pub(super) fn verdict(server: SocketAddr, names: &[Name], unclear: Option<&str>) -> Verdict {
    if let Some(name) = names.iter().find(|name| !name.trusted) {
        return Verdict::Leave(format!(
            "There is no certificate for {} that the world trusts. Name one in [tls] certificates.",
            name.host
        ));
    }
    if let Some(name) = names.iter().find(|name| name.published == Published::Differs) {
        return Verdict::Leave(format!(
            "The certificate for {host} is none of those in the TLSA records of _{port}._tcp.{host}. Publish a record for it \
             beside the old ones and wait until those have expired everywhere, or give Postern the server's own key.",
            host = name.host,
            port = server.port()
        ));
    }
    if let Some(why) = unclear {
        return Verdict::Unclear(why.to_owned());
    }
    let open = names.iter().find_map(|name| match &name.published {
        Published::Unclear(why) => Some((&name.host, why)),
        Published::Nothing | Published::Matches | Published::Differs => None,
    });
    if let Some((host, why)) = open {
        return Verdict::Unclear(format!("The TLSA records of {host} cannot be looked up now: {why}."));
    }
    if names.is_empty() {
        let by = if server.port() == 25 { "MX record" } else { "certificate and MX record" };
        return Verdict::Leave(format!(
            "No {by} of the backend's domains leads to {}: it is not known which certificate is needed there. Say arm = \
             \"now\" if any will do.",
            server.ip()
        ));
    }
    let hosts = names.iter().map(|name| name.host.as_str()).collect::<Vec<_>>().join(", ");
    let published = match names.iter().any(|name| name.published == Published::Matches) {
        true => "and matches what is published",
        false => "and nothing else is published",
    };
    Verdict::Arm(format!("There is a certificate for {hosts}, {published}."))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    const SERVER: &str = "198.51.100.25:25";

    fn name(trusted: bool, published: Published) -> Name {
        Name { host: "mx.example.net".to_owned(), trusted, published }
    }

    fn of(names: &[Name], unclear: Option<&str>) -> Verdict {
        verdict(SERVER.parse().unwrap(), names, unclear)
    }

    #[test]
    fn a_trusted_certificate_that_nothing_contradicts_arms() {
        for published in [Published::Nothing, Published::Matches] {
            assert!(matches!(of(&[name(true, published)], None), Verdict::Arm(_)));
        }
    }

    #[test]
    fn one_name_without_certificate_or_with_another_in_dns_is_enough_to_leave_it() {
        for bad in [
            name(false, Published::Nothing),
            name(false, Published::Matches),
            name(true, Published::Differs),
            name(false, Published::Unclear("x".to_owned())),
        ] {
            let names = [name(true, Published::Matches), bad];
            assert!(matches!(of(&names, None), Verdict::Leave(_)), "{names:?}");
            assert!(matches!(of(&names, Some("x")), Verdict::Leave(_)), "what is known is enough");
        }
        assert!(matches!(of(&[], None), Verdict::Leave(_)));
    }

    #[test]
    fn what_cannot_be_told_changes_nothing() {
        let open = Published::Unclear("timed out".to_owned());
        assert!(matches!(of(&[name(true, open)], None), Verdict::Unclear(_)));
        assert!(matches!(of(&[name(true, Published::Matches)], Some("x")), Verdict::Unclear(_)));
        assert!(matches!(of(&[], Some("x")), Verdict::Unclear(_)));
    }

    fn answer(proof: Proof, records: Vec<Tlsa>) -> Result<Answer<Tlsa>, DnsError> {
        Ok(Answer { records, proof, ttl: Duration::from_secs(60), canonical: None, left_out: 0 })
    }

    #[test]
    fn records_count_where_they_are_proved_and_mean_something() {
        let own =
            tls::Identity::self_signed(&["mx.example.net"], Duration::from_secs(1_795_288_205)).unwrap();
        let other = tls::Identity::self_signed(&["b.example"], Duration::from_secs(1_795_288_205)).unwrap();
        let chain = |identity: &tls::Identity| Chain::new(identity.chain());
        let record = |usage, identity: &tls::Identity| Tlsa {
            usage,
            selector: 0,
            matching: 0,
            data: identity.chain()[0].to_vec().into(),
        };
        let compare = |proof, records| Published::compare(&answer(proof, records), &[chain(&own)]);
        assert_eq!(compare(Proof::Secure, vec![record(3, &other), record(3, &own)]), Published::Matches);
        assert_eq!(compare(Proof::Secure, vec![record(3, &other)]), Published::Differs);
        assert_eq!(compare(Proof::Insecure, vec![record(3, &other)]), Published::Nothing);
        assert_eq!(compare(Proof::Secure, vec![record(1, &other)]), Published::Nothing, "not for SMTP");
        let both = [chain(&own), chain(&other)];
        let one_published = answer(Proof::Secure, vec![record(3, &own)]);
        assert_eq!(Published::compare(&one_published, &both), Published::Differs, "each may be shown");
        let gone = Err(DnsError::NoRecords { proof: Proof::Secure });
        assert_eq!(Published::compare(&gone, &both), Published::Nothing);
        assert!(matches!(Published::compare(&Err(DnsError::Bogus), &both), Published::Unclear(_)));
    }
}
