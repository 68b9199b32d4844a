//! What SPF, DKIM and DMARC say: as checks with weights, as words for the classifier, and as the field that tells servers
//! (RFC 8601).

use evidence::{Authenticator, Authenticity, MAX_MESSAGE, Sender, Spf, Verdict};
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
}

impl Findings {
    /// Asks; what is not known by the deadline is a temporary error.
    pub(super) async fn gather(
        authenticator: &Authenticator,
        sender: Sender<'_>,
        message: &[u8],
        deadline: Instant,
    ) -> Self {
        let spf = authenticator.spf(sender, deadline).await;
        let message = message.get(..message.len().min(MAX_MESSAGE)).unwrap_or_default();
        let authenticity = authenticator.authenticity(sender, &spf, message, deadline).await;
        Self { spf, authenticity }
    }

    /// Whether somebody could not be asked.
    pub(super) fn is_incomplete(&self) -> bool {
        self.spf.verdict == Verdict::TempError || self.authenticity.dmarc.verdict == Verdict::TempError
    }

    /// The domains that stand behind the message: of the reverse-path by SPF, of the author by DMARC.
    pub(super) fn authenticated_domains(&self) -> impl Iterator<Item = &str> {
        let spf = Some(&*self.spf.domain).filter(|_| self.spf.verdict == Verdict::Pass);
        let dmarc = &self.authenticity.dmarc;
        spf.into_iter().chain(Some(&*dmarc.domain).filter(|_| dmarc.verdict == Verdict::Pass))
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
        let dmarc = self.authenticity.dmarc.verdict;
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
            Check::weighing("dmarc", dmarc.name(), weigh(dmarc, -0.3, 1.2, 0.0)),
        ]
    }

    /// For the classifier.
    pub(super) fn words(&self) -> Vec<String> {
        let dmarc = self.authenticity.dmarc.verdict;
        vec![
            format!("spf={}", self.spf.verdict.name()),
            format!("dkim={}", self.dkim().name()),
            format!("dmarc={}", dmarc.name()),
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
        add("dmarc", self.authenticity.dmarc.verdict, "header.from", &self.authenticity.dmarc.domain);
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
mod tests {
    use evidence::{Dkim, Dmarc};

    use super::*;

    fn findings(verdict: Verdict, domain: &str) -> Findings {
        let dkim = vec![Dkim { verdict, domain: domain.into(), reason: None }];
        let dmarc = Dmarc { verdict, domain: domain.into() };
        Findings { spf: Spf { verdict, domain: domain.into() }, authenticity: Authenticity { dkim, dmarc } }
    }

    #[test]
    fn the_field_names_what_was_found_and_nothing_that_a_sender_can_break_out_of() {
        let field = findings(Verdict::Pass, "x.example").field("mx.example.net", false);
        assert_eq!(
            field,
            "Authentication-Results: mx.example.net;\r\n\tspf=pass smtp.mailfrom=x.example;\r\n\t\
             dkim=pass header.d=x.example;\r\n\tdmarc=pass header.from=x.example\r\n"
        );
        let field = findings(Verdict::Fail, "x\r\nSubject: y").field("mx.example.net", true);
        assert_eq!(
            field,
            "Authentication-Results: mx.example.net;\r\n\tspf=fail;\r\n\tdkim=fail;\r\n\tdmarc=fail\r\n"
        );
    }

    #[test]
    fn only_what_passed_stands_behind_a_message() {
        assert_eq!(findings(Verdict::Pass, "x.example").authenticated_domains().count(), 2);
        assert_eq!(findings(Verdict::SoftFail, "x.example").authenticated_domains().count(), 0);
    }
}
