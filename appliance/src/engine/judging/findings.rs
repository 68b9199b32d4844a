//! What SPF, DKIM, DMARC, ARC and the address's name say: as checks with weights, as words for the classifier, and as the field that tells servers
//! (RFC 8601).

use std::net::IpAddr;

use evidence::{Authenticator, Authenticity, Iprev, MAX_MESSAGE, Sender, Spf, Verdict};
use judge::Check;
use tokio::time::Instant;

/// Signatures that the field names.
const MAX_TOLD: usize = 4;
/// Octets of a domain in the field; a name in the DNS is not longer.
const MAX_DOMAIN: usize = 255;

/// What was found out.
#[derive(Debug)]
pub(super) struct Findings {
    pub(super) spf: Spf,
    pub(super) authenticity: Authenticity,
    pub(super) iprev: Iprev,
    /// Whose name `iprev` is of.
    client: IpAddr,
    /// The sealer by whose word DMARC counts as passed although it failed here.
    vouched_by: Option<Box<str>>,
}

impl Findings {
    /// Asks; what is not known by the deadline is a temporary error.
    pub(super) async fn gather(
        authenticator: &Authenticator,
        sender: Sender<'_>,
        message: &[u8],
        sealers: &[String],
        deadline: Instant,
    ) -> Self {
        let by_message = async {
            let spf = authenticator.spf(sender, deadline).await;
            let message = message.get(..message.len().min(MAX_MESSAGE)).unwrap_or_default();
            let authenticity = authenticator.authenticity(sender, &spf, message, deadline).await;
            (spf, authenticity)
        };
        let ((spf, authenticity), iprev) =
            tokio::join!(by_message, authenticator.iprev(sender.client, deadline));
        let is_trusted = |domain: &str| {
            let is_below = |sealer: &String| {
                let rest = domain.strip_suffix(sealer.as_str());
                rest.is_some_and(|rest| rest.is_empty() || rest.ends_with('.'))
            };
            sealers.iter().any(is_below)
        };
        let failed = authenticity.dmarc.verdict == Verdict::Fail;
        let vouched_by = authenticity.arc.vouched_by(is_trusted).filter(|_| failed).map(Into::into);
        Self { spf, authenticity, iprev, client: sender.client, vouched_by }
    }

    /// What DMARC comes to, a trusted sealer's word included.
    fn dmarc(&self) -> Verdict {
        match &self.vouched_by {
            Some(_) => Verdict::Pass,
            None => self.authenticity.dmarc.verdict,
        }
    }

    /// Whether somebody could not be asked.
    pub(super) fn is_incomplete(&self) -> bool {
        self.spf.verdict == Verdict::TempError || self.authenticity.dmarc.verdict == Verdict::TempError
    }

    /// The domains that stand behind the message: of the reverse-path by SPF, of the author by DMARC.
    pub(super) fn authenticated_domains(&self) -> impl Iterator<Item = &str> {
        let spf = Some(&*self.spf.domain).filter(|_| self.spf.verdict == Verdict::Pass);
        let author = Some(&*self.authenticity.dmarc.domain).filter(|_| self.dmarc() == Verdict::Pass);
        spf.into_iter().chain(author)
    }

    /// The best of the signatures.
    fn dkim(&self) -> Verdict {
        let verdicts = || self.authenticity.dkim.iter().map(|one| one.verdict);
        if verdicts().any(|verdict| verdict == Verdict::Pass) {
            return Verdict::Pass;
        }
        verdicts().next().unwrap_or(Verdict::None)
    }

    pub(super) fn checks(&self) -> Vec<Check> {
        let dmarc = self.dmarc();
        let said = match &self.vouched_by {
            Some(sealer) => format!("fail here, and pass by the seal of {sealer}"),
            None => dmarc.name().to_owned(),
        };
        let weigh = |verdict, pass, fail, soft| match verdict {
            Verdict::Pass => pass,
            Verdict::Fail => fail,
            Verdict::SoftFail => soft,
            _ => 0.0,
        };
        // Light: forwarders break SPF and lists break DKIM, and spammers sign. The classifier weighs the same words by what it
        // has seen.
        vec![
            Check::weighing("spf", self.spf.verdict.name(), weigh(self.spf.verdict, -0.1, 0.8, 0.4)),
            Check::weighing("dkim", self.dkim().name(), weigh(self.dkim(), -0.2, 0.2, 0.0)),
            Check::weighing("dmarc", said, weigh(dmarc, -0.3, 1.2, 0.0)),
            // Anybody can seal, and many honest servers have no name: these are told, and the classifier weighs them.
            Check::weighing("arc", self.authenticity.arc.verdict.name(), 0.0),
            Check::weighing("iprev", self.iprev.verdict.name(), 0.0),
        ]
    }

    /// For the classifier.
    pub(super) fn words(&self) -> Vec<String> {
        vec![
            format!("spf={}", self.spf.verdict.name()),
            format!("dkim={}", self.dkim().name()),
            format!("dmarc={}", self.dmarc().name()),
            format!("arc={}", self.authenticity.arc.verdict.name()),
            format!("iprev={}", self.iprev.verdict.name()),
        ]
    }

    /// `Authentication-Results`, with its CRLF.
    pub(super) fn field(&self, hostname: &str, null_sender: bool) -> String {
        let mut field = format!("Authentication-Results: {hostname}");
        let mut add = |method: &str, verdict: Verdict, property: &str, domain: &str| {
            field.push_str(&format!(";\r\n\t{method}={}", verdict.name()));
            if let Some(domain) = told(domain) {
                field.push_str(&format!(" {property}={domain}"));
            }
        };
        let identity = if null_sender { "smtp.helo" } else { "smtp.mailfrom" };
        add("spf", self.spf.verdict, identity, &self.spf.domain);
        if self.authenticity.dkim.is_empty() {
            add("dkim", Verdict::None, "header.d", "");
        }
        for signature in self.authenticity.dkim.iter().take(MAX_TOLD) {
            add("dkim", signature.verdict, "header.d", &signature.domain);
        }
        let author = &self.authenticity.dmarc.domain;
        match self.vouched_by.as_deref().and_then(told) {
            None => add("dmarc", self.authenticity.dmarc.verdict, "header.from", author),
            Some(sealer) => {
                field.push_str(&format!(";\r\n\tdmarc=pass reason=\"by the ARC seal of {sealer}\""));
                if let Some(author) = told(author) {
                    field.push_str(&format!(" header.from={author}"));
                }
            }
        }
        field.push_str(&format!(";\r\n\tarc={}", self.authenticity.arc.verdict.name()));
        let address = match self.client.to_canonical() {
            IpAddr::V4(address) => address.to_string(),
            IpAddr::V6(address) => format!("\"{address}\""),
        };
        field.push_str(&format!(";\r\n\tiprev={} policy.iprev={address}", self.iprev.verdict.name()));
        if let Some(name) = told(&self.iprev.name) {
            field.push_str(&format!(" ({name})"));
        }
        field.push_str("\r\n");
        field
    }
}

/// A domain as a field may carry it: what a sender writes there must not make a field of its own.
fn told(domain: &str) -> Option<&str> {
    let sound = |b: u8| b.is_ascii_alphanumeric() || b"-._".contains(&b);
    let fits = !domain.is_empty() && domain.len() <= MAX_DOMAIN && domain.bytes().all(sound);
    fits.then_some(domain)
}

#[cfg(test)]
impl Findings {
    /// Of SPF alone.
    pub(super) fn by_spf(verdict: Verdict, domain: &str) -> Self {
        let none = Verdict::None;
        let dmarc = evidence::Dmarc::new(none, "");
        let arc = evidence::Chain { verdict: none, seals: Vec::new() };
        Self {
            spf: Spf { verdict, domain: domain.into() },
            authenticity: Authenticity { dkim: Vec::new(), dmarc, arc },
            iprev: Iprev { verdict: none, name: "".into() },
            client: IpAddr::from([192, 0, 2, 1]),
            vouched_by: None,
        }
    }
}

#[cfg(test)]
mod tests {
    use evidence::{Dkim, Dmarc};

    use super::*;

    fn findings(verdict: Verdict, domain: &str) -> Findings {
        let dkim = vec![Dkim { verdict, domain: domain.into(), selector: "s".into(), reason: None }];
        let dmarc = Dmarc::new(verdict, domain);
        let arc = evidence::Chain { verdict, seals: Vec::new() };
        Findings {
            spf: Spf { verdict, domain: domain.into() },
            authenticity: Authenticity { dkim, dmarc, arc },
            iprev: Iprev { verdict, name: domain.into() },
            client: "192.0.2.1".parse().unwrap(),
            vouched_by: None,
        }
    }

    #[test]
    fn the_field_names_what_was_found_and_nothing_that_a_sender_can_break_out_of() {
        let field = findings(Verdict::Pass, "x.example").field("mx.example.net", false);
        assert_eq!(
            field,
            "Authentication-Results: mx.example.net;\r\n\tspf=pass smtp.mailfrom=x.example;\r\n\t\
             dkim=pass header.d=x.example;\r\n\tdmarc=pass header.from=x.example;\r\n\tarc=pass;\r\n\tiprev=pass policy.iprev=192.0.2.1 (x.example)\r\n"
        );
        let field = findings(Verdict::Fail, "x\r\nSubject: y").field("mx.example.net", true);
        assert_eq!(
            field,
            "Authentication-Results: mx.example.net;\r\n\tspf=fail;\r\n\tdkim=fail;\r\n\tdmarc=fail;\r\n\tarc=fail;\r\n\t\
             iprev=fail policy.iprev=192.0.2.1\r\n"
        );
    }

    #[test]
    fn a_trusted_sealer_vouches_for_the_author() {
        let mut findings = findings(Verdict::Fail, "x.example");
        findings.vouched_by = Some("lists.example".into());
        findings.client = "2001:db8::1".parse().unwrap();
        let field = findings.field("mx.example.net", false);
        let told = "dmarc=pass reason=\"by the ARC seal of lists.example\" header.from=x.example";
        assert!(field.contains(told) && field.contains("policy.iprev=\"2001:db8::1\""), "{field}");
        assert_eq!(findings.authenticated_domains().collect::<Vec<_>>(), ["x.example"]);
        let dmarc = findings.checks().into_iter().find(|check| check.name == "dmarc").unwrap();
        assert!(dmarc.weight < 0.0 && dmarc.result.contains("lists.example"), "{dmarc:?}");
    }

    #[test]
    fn only_what_passed_stands_behind_a_message() {
        assert_eq!(findings(Verdict::Pass, "x.example").authenticated_domains().count(), 2);
        assert_eq!(findings(Verdict::SoftFail, "x.example").authenticated_domains().count(), 0);
    }
}
