//! ARC (RFC 8617): what those who passed a message on found when they had it, sealed one over the other. A chain that holds says that
//! nobody has changed what the sealers said; whether they are to be believed is the reader's business.

use mail_auth::{ArcOutput, AuthenticatedMessage, DkimResult};

use crate::result::Verdict;

/// Sets of a chain that are looked at; each costs a lookup and a public-key operation, the newest two. RFC 8617 §4.2.1 allows 50,
/// honest mail has seldom more than three.
pub const MAX_SETS: usize = 10;
/// Octets of what one sealer found that are looked at.
const MAX_RESULTS: usize = 4096;

/// A chain of seals.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Chain {
    /// [`Verdict::None`] without a seal, [`Verdict::Pass`] if the whole chain holds, [`Verdict::TempError`] if that could not be found
    /// out, else [`Verdict::Fail`].
    pub verdict: Verdict,
    /// Who sealed, the first one first; at most [`MAX_SETS`].
    pub seals: Vec<Seal>,
}

/// What one sealer says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Seal {
    /// The domain that sealed, in lower case.
    pub domain: Box<str>,
    /// Whether DMARC had passed when the message came to it.
    pub dmarc_passed: bool,
}

impl Chain {
    /// Without a seal, or not looked at.
    pub(crate) fn none(verdict: Verdict) -> Self {
        Self { verdict, seals: Vec::new() }
    }

    pub(crate) fn of(output: &ArcOutput<'_>) -> Self {
        let verdict = match output.result() {
            DkimResult::Pass => Verdict::Pass,
            DkimResult::None => Verdict::None,
            DkimResult::TempError(_) => Verdict::TempError,
            // A chain holds or it does not (RFC 8617 §4.4, §5.2).
            DkimResult::Fail(_) | DkimResult::PermError(_) | DkimResult::Neutral(_) => Verdict::Fail,
        };
        let seal = |set: &mail_auth::arc::Set<'_>| Seal {
            domain: set.seal.header.d.to_lowercase().into(),
            dmarc_passed: dmarc_passed(set.results.value),
        };
        Self { verdict, seals: output.sets().iter().take(MAX_SETS).map(seal).collect() }
    }

    /// The sealer by whose word DMARC had passed, if the chain holds and everybody who has had the message since is one of
    /// `trusted`: a sealer that is not could have put another message in its place.
    pub fn vouched_by(&self, trusted: impl Fn(&str) -> bool) -> Option<&str> {
        if self.verdict != Verdict::Pass {
            return None;
        }
        let latest = self.seals.iter().rev().take_while(|seal| trusted(&seal.domain));
        latest.filter(|seal| seal.dmarc_passed).last().map(|seal| &*seal.domain)
    }
}

/// Whether the fields of a chain are as RFC 8617 §4.1 wants them, as far as mail-auth does not see to it: as many of each kind, every tag
/// that has to be there once and none that must not, no signature by SHA-1, and no seal that a signature covers.
pub(crate) fn is_well_formed(message: &AuthenticatedMessage<'_>) -> bool {
    let (seals, signatures) = (&message.as_headers, &message.ams_headers);
    let number = seals.len();
    let same = signatures.len() == number && message.aar_headers.len() == number;
    let seal = |value: &[u8]| {
        tags(value).is_some_and(|tags| {
            let all =
                ["i", "a", "b", "cv", "d", "s"].iter().all(|name| tags.iter().any(|(tag, _)| tag == name));
            all && is_by_sha256(&tags) && tags.iter().all(|(tag, _)| tag != "h")
        })
    };
    let signature = |value: &[u8]| {
        tags(value).is_some_and(|tags| {
            let all = ["i", "a", "b", "bh", "d", "h", "s"]
                .iter()
                .all(|name| tags.iter().any(|(tag, _)| tag == name));
            let covered = tags.iter().find(|(tag, _)| tag == "h").map_or("", |(_, names)| names);
            let covers_a_seal = covered.split(':').any(|name| name.trim().eq_ignore_ascii_case("arc-seal"));
            all && is_by_sha256(&tags) && !covers_a_seal
        })
    };
    same && seals.iter().all(|field| seal(field.value))
        && signatures.iter().all(|field| signature(field.value))
}

fn is_by_sha256(tags: &[(String, String)]) -> bool {
    tags.iter().any(|(tag, algorithm)| tag == "a" && algorithm.to_lowercase().ends_with("-sha256"))
}

/// Names and values of a tag list (RFC 6376 §3.2); `None` of what is none, or names a tag twice.
pub fn tags(field: &[u8]) -> Option<Vec<(String, String)>> {
    let text = std::str::from_utf8(field).ok()?;
    let text = text.trim_end();
    let mut found: Vec<(String, String)> = Vec::new();
    for part in text.strip_suffix(';').unwrap_or(text).split(';') {
        let (name, value) = part.split_once('=')?;
        let name = name.trim();
        let is_name = name.starts_with(|c: char| c.is_ascii_alphabetic())
            && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_');
        if !is_name || found.iter().any(|(known, _)| known == name) {
            return None;
        }
        found.push((name.to_owned(), value.trim().to_owned()));
    }
    Some(found)
}

/// Whether an `ARC-Authentication-Results` field says that DMARC passed (RFC 8601 §2.2). Exactly one word about DMARC counts: of two
/// nobody knows which is meant.
pub fn dmarc_passed(field: &[u8]) -> bool {
    let text = String::from_utf8_lossy(field.get(..field.len().min(MAX_RESULTS)).unwrap_or_default());
    let plain = without_comments(&text);
    let results = plain.split(';').filter_map(|part| {
        let (method, rest) = part.trim().split_once('=')?;
        // A version may follow: `dmarc/1=pass`.
        let name = method.split('/').next()?.trim();
        name.eq_ignore_ascii_case("dmarc")
            .then(|| rest.split_whitespace().next().unwrap_or_default().to_owned())
    });
    let found: Vec<String> = results.collect();
    matches!(&found[..], [one] if one.eq_ignore_ascii_case("pass"))
}

/// The text without what stands in brackets (RFC 5322 §3.2.2) or is quoted: neither can be a result.
fn without_comments(text: &str) -> String {
    let (mut depth, mut is_quoted, mut is_escaped) = (0_usize, false, false);
    let mut plain = String::with_capacity(text.len());
    for c in text.chars() {
        if is_escaped {
            is_escaped = false;
            continue;
        }
        match c {
            '\\' if depth > 0 || is_quoted => is_escaped = true,
            '"' if depth == 0 => is_quoted = !is_quoted,
            '(' if !is_quoted => depth += 1,
            ')' if !is_quoted => depth = depth.saturating_sub(1),
            _ if depth == 0 && !is_quoted => plain.push(c),
            _ => {}
        }
    }
    plain
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_sealer_found_is_read_and_nothing_that_only_looks_so() {
        for (field, passed) in [
            (
                "i=1; lists.example; spf=pass smtp.mfrom=a@x.example; dmarc=pass (p=reject) header.from=x.example",
                true,
            ),
            ("i=1; lists.example;\r\n\tDMARC = Pass", true),
            ("i=1; lists.example; dmarc/1=pass", true),
            ("i=1; lists.example; dmarc=fail", false),
            ("i=1; lists.example; dmarc=passed", false),
            ("i=1; lists.example; spf=fail (dmarc=pass; dmarc=pass)", false),
            ("i=1; lists.example; spf=fail smtp.helo=\"; dmarc=pass\"", false),
            ("i=1; lists.example; spf=fail smtp.helo=\"\\\"; dmarc=pass;\"", false),
            ("i=1; lists.example; dmarc=fail; dmarc=pass", false),
            ("i=1; lists.example; x-dmarc=pass", false),
            ("", false),
        ] {
            assert_eq!(dmarc_passed(field.as_bytes()), passed, "{field}");
        }
    }

    #[test]
    fn a_tag_list_names_each_tag_once() {
        let names = |text: &str| {
            tags(text.as_bytes()).map(|tags| tags.into_iter().map(|(name, _)| name).collect::<Vec<_>>())
        };
        assert_eq!(names(" i=1; a = rsa-sha256;\r\n\tb=x=="), Some(vec!["i".into(), "a".into(), "b".into()]));
        assert_eq!(names("i=1;\r\n"), Some(vec!["i".into()]));
        for wrong in ["i=1;; a=b", "i=1; i=1", "1=i", "i", "", "i-=1", "=1"] {
            assert_eq!(names(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn who_vouches_must_be_trusted_and_so_must_all_who_had_it_since() {
        let chain = |seals: &[(&str, bool)]| Chain {
            verdict: Verdict::Pass,
            seals: seals
                .iter()
                .map(|(domain, passed)| Seal { domain: (*domain).into(), dmarc_passed: *passed })
                .collect(),
        };
        let trusted = |domain: &str| domain != "stranger.example";
        let vouched = |seals: &[(&str, bool)]| chain(seals).vouched_by(trusted).map(str::to_owned);
        assert_eq!(vouched(&[("a.example", true)]), Some("a.example".into()));
        assert_eq!(vouched(&[("a.example", true), ("b.example", false)]), Some("a.example".into()));
        assert_eq!(vouched(&[("a.example", true), ("stranger.example", true)]), None);
        assert_eq!(vouched(&[("stranger.example", true), ("b.example", false)]), None);
        assert_eq!(vouched(&[("stranger.example", false), ("b.example", true)]), Some("b.example".into()));
        assert_eq!(vouched(&[]), None);
        let broken = Chain { verdict: Verdict::Fail, ..chain(&[("a.example", true)]) };
        assert_eq!(broken.vouched_by(trusted), None);
    }
}
