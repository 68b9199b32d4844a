//! Seals what came in (RFC 8617 §5.1): whoever believes this domain sees what was found when the message had its first form, whatever
//! becomes of it further on. Relaxed for fields and body, RSA with SHA-256, which is what everybody verifies.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use mail_auth::common::crypto::{HashContext as _, HashImpl as _, Sha256};
use mail_auth::common::headers::{Writable, Writer};

use crate::authenticator::MAX_HEADER;
use crate::chain::{Chain, MAX_SETS};
use crate::error::EvidenceError;
use crate::result::Verdict;
use crate::signing::{DkimKey, RelaxedBody};

/// Fields that a seal covers, each as often as it is there; what sites on the way add (`Received`, results) is not among them.
const COVERED: [&str; 20] = [
    "From",
    "Reply-To",
    "Subject",
    "Date",
    "To",
    "Cc",
    "Sender",
    "Message-ID",
    "In-Reply-To",
    "References",
    "MIME-Version",
    "Content-Type",
    "Content-Transfer-Encoding",
    "DKIM-Signature",
    "List-Id",
    "List-Help",
    "List-Post",
    "List-Subscribe",
    "List-Unsubscribe",
    "List-Unsubscribe-Post",
];
/// The three fields of a set, in the order in which they are sealed.
const SET: [&str; 3] = ["ARC-Authentication-Results", "ARC-Message-Signature", "ARC-Seal"];

/// Who seals.
#[derive(Clone, Copy, Debug)]
pub struct Sealer<'a> {
    /// An RSA key.
    pub key: &'a DkimKey,
    /// The domain that has it.
    pub domain: &'a str,
    /// Seconds since 1970.
    pub now: u64,
}

/// A field as it stands in the header: its name, and all of it without the last line end.
type Raw<'a> = (&'a str, &'a str);

impl Sealer<'_> {
    /// The three fields for the top of a message, each with its CRLF; empty where none may be put there: the chain does not hold, or is
    /// as long as anybody looks at.
    ///
    /// `results` is what was found, as `Authentication-Results` has it behind its colon; `chain` what was found of earlier seals.
    ///
    /// # Errors
    ///
    /// A piece cannot be had, or the cryptography fails.
    pub fn seal<P: AsRef<[u8]>>(
        &self,
        (header, chain, results): (&[u8], &Chain, &str),
        pieces: impl Iterator<Item = std::io::Result<P>>,
    ) -> Result<String, EvidenceError> {
        let cv = match chain.verdict {
            Verdict::None => "none",
            Verdict::Pass => "pass",
            _ => return Ok(String::new()),
        };
        let Ok(text) = std::str::from_utf8(header) else { return Ok(String::new()) };
        let fields = fields(text);
        let earlier = sets(&fields);
        // Of a message that was too large to be looked at nothing is known of its chain.
        let is_sealed = fields.iter().any(|(name, _)| SET.iter().any(|own| own.eq_ignore_ascii_case(name)));
        if cv == "none" && is_sealed {
            return Ok(String::new());
        }
        let instance = earlier.len() + 1;
        if header.len() > MAX_HEADER || instance > MAX_SETS || (cv == "pass" && earlier.is_empty()) {
            return Ok(String::new());
        }
        let found = format!("{}: i={instance}; {}", SET[0], results.trim());
        let signature = self.signature(instance, &fields, &body_hash(header.len(), pieces)?)?;
        let tags = format!(
            "{}: i={instance}; a=rsa-sha256; cv={cv}; d={}; s={};\r\n\tt={}; b=",
            SET[2],
            self.domain,
            self.key.selector(),
            self.now
        );
        let before = earlier.iter().flatten();
        let covered = before.map(|(_, field)| *field).chain([&*found, &*signature]);
        let mut sealed: String = covered.map(|field| relaxed(field) + "\r\n").collect();
        sealed.push_str(&relaxed(&tags));
        let seal = tags + &folded(&self.key.sign_octets(Octets(sealed.as_bytes()))?);
        Ok(format!("{seal}\r\n{signature}\r\n{found}\r\n"))
    }

    /// `ARC-Message-Signature`: a signature as DKIM's, with the number of its set (RFC 8617 §4.1.2).
    fn signature(&self, instance: usize, fields: &[Raw<'_>], hash: &str) -> Result<String, EvidenceError> {
        let mut names = Vec::new();
        let mut covered = String::new();
        for name in COVERED {
            // Those that stand twice are named twice, and taken from below (RFC 6376 §5.4.2).
            for (_, field) in fields.iter().rev().filter(|(own, _)| own.eq_ignore_ascii_case(name)) {
                names.push(name);
                covered.push_str(&relaxed(field));
                covered.push_str("\r\n");
            }
        }
        let tags = format!(
            "{}: i={instance}; a=rsa-sha256; c=relaxed/relaxed; d={}; s={};\r\n\tt={}; h={};\r\n\tbh={hash}; b=",
            SET[1],
            self.domain,
            self.key.selector(),
            self.now,
            names.join(":\r\n\t "),
        );
        covered.push_str(&relaxed(&tags));
        Ok(tags + &folded(&self.key.sign_octets(Octets(covered.as_bytes()))?))
    }
}

/// What is signed.
pub(crate) struct Octets<'a>(pub(crate) &'a [u8]);

impl Writable for Octets<'_> {
    fn write(self, writer: &mut impl Writer) {
        writer.write(self.0);
    }
}

/// The fields of a header section, from the top.
fn fields(header: &str) -> Vec<Raw<'_>> {
    let mut fields = Vec::new();
    let mut rest = header;
    while !rest.is_empty() && !rest.starts_with("\r\n") {
        let end =
            rest.match_indices("\r\n").map(|(at, _)| at).find(|at| !rest[at + 2..].starts_with([' ', '\t']));
        let (field, behind) = match end {
            Some(at) => (&rest[..at], &rest[at + 2..]),
            None => (rest.trim_end_matches("\r\n"), ""),
        };
        if let Some((name, _)) = field.split_once(':') {
            fields.push((name.trim_end(), field));
        }
        rest = behind;
    }
    fields
}

/// The sets that are there, the first instance first: each has its three fields, or there are none.
fn sets<'a>(fields: &[Raw<'a>]) -> Vec<[Raw<'a>; 3]> {
    let of = |instance: usize, name: &str| {
        let mut own = fields.iter().filter(|(own, _)| own.eq_ignore_ascii_case(name));
        own.find(|(_, field)| instance_of(field) == Some(instance)).copied()
    };
    let set = |instance| Some([of(instance, SET[0])?, of(instance, SET[1])?, of(instance, SET[2])?]);
    (1..=MAX_SETS + 1).map_while(set).collect()
}

/// The number of the set that a field belongs to.
fn instance_of(field: &str) -> Option<usize> {
    let (_, value) = field.split_once(':')?;
    let mut tags = value.split(';').filter_map(|tag| tag.split_once('='));
    tags.find(|(name, _)| name.trim() == "i").and_then(|(_, number)| number.trim().parse().ok())
}

/// RFC 6376 §3.4.2, without the line end behind it.
fn relaxed(field: &str) -> String {
    let (name, value) = field.split_once(':').unwrap_or((field, ""));
    let words: Vec<_> = value.split([' ', '\t', '\r', '\n']).filter(|word| !word.is_empty()).collect();
    format!("{}:{}", name.trim_end().to_ascii_lowercase(), words.join(" "))
}

fn body_hash<P: AsRef<[u8]>>(
    mut header: usize,
    pieces: impl Iterator<Item = std::io::Result<P>>,
) -> Result<String, EvidenceError> {
    let (mut hasher, mut body, mut is_empty) = (Sha256::hasher(), RelaxedBody::default(), true);
    for piece in pieces {
        let piece = piece.map_err(EvidenceError::Content)?;
        let piece = piece.as_ref();
        let (of_header, of_body) = piece.split_at(header.min(piece.len()));
        header -= of_header.len();
        body.write(of_body, &mut |octets: &[u8]| {
            is_empty = false;
            hasher.write(octets);
        });
    }
    if !is_empty {
        hasher.write(b"\r\n");
    }
    Ok(STANDARD.encode(hasher.complete().as_ref()))
}

/// Base64 in lines that no relay folds anew.
fn folded(signature: &[u8]) -> String {
    let text = STANDARD.encode(signature);
    let lines: Vec<_> = text.as_bytes().chunks(72).map(|line| String::from_utf8_lossy(line)).collect();
    lines.join("\r\n\t ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::chain::Seal;
    use crate::signing::Algorithm;

    const MESSAGE: &str = "Received: from x\r\n\tby y\r\nFrom: a@x.test\r\nSubject:  two\r\n  lines \r\n\r\nHello  there \r\n\r\n";

    fn header(message: &str) -> &[u8] {
        &message.as_bytes()[..message.find("\r\n\r\n").unwrap() + 4]
    }

    fn seal(key: &DkimKey, message: &str, verdict: Verdict) -> String {
        let seal = Seal { domain: "other.test".into(), dmarc_passed: true };
        let chain = Chain { verdict, seals: vec![seal] };
        let sealer = Sealer { key, domain: "corp.test", now: 1_795_288_205 };
        let pieces = message.as_bytes().chunks(7).map(Ok);
        sealer.seal((header(message), &chain, " mx.corp.test;\r\n\tspf=pass\r\n"), pieces).unwrap()
    }

    #[test]
    fn a_set_is_on_top_of_the_sets_before_it() {
        let key = DkimKey::from_pem("s", &DkimKey::generate(Algorithm::Rsa2048).unwrap()).unwrap();
        let first = seal(&key, MESSAGE, Verdict::None);
        let names: Vec<_> = fields(&first).iter().map(|(name, _)| *name).collect();
        assert_eq!(names, [SET[2], SET[1], SET[0]]);
        assert!(
            first.contains("cv=none;") && first.contains("i=1; mx.corp.test;\r\n\tspf=pass\r\n"),
            "{first}"
        );
        assert!(first.contains("h=From:\r\n\t Subject;"), "{first}");
        let second = seal(&key, &format!("{first}{MESSAGE}"), Verdict::Pass);
        assert!(second.contains("ARC-Seal: i=2;") && second.contains("cv=pass;"), "{second}");
        let long = (1..MAX_SETS)
            .fold(format!("{first}{MESSAGE}"), |message, _| seal(&key, &message, Verdict::Pass) + &message);
        assert_eq!(seal(&key, &long, Verdict::Pass), "", "longer than anybody looks at");
        for verdict in [Verdict::Fail, Verdict::TempError] {
            assert_eq!(seal(&key, &long, verdict), "", "nothing can be said of it");
        }
        assert_eq!(seal(&key, MESSAGE, Verdict::Pass), "", "there is no chain");
        assert_eq!(seal(&key, &format!("{first}{MESSAGE}"), Verdict::None), "", "it was not looked at");
    }

    #[test]
    fn fields_are_taken_whole_and_relaxed() {
        let all = fields("A: b\r\n c\r\nd :e\r\nno field\r\n\r\nF: g");
        assert_eq!(all, [("A", "A: b\r\n c"), ("d", "d :e")]);
        assert_eq!(relaxed("SubJect :  a\r\n\t b "), "subject:a b");
        assert_eq!(instance_of("ARC-Seal: a=x; i= 12 ; b="), Some(12));
        assert_eq!(instance_of("ARC-Seal"), None);
    }
}
