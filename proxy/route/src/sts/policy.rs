//! The file in which a domain says what TLS its mail must have (RFC 8461 §3.2).

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use smtp::Domain;

/// Octets of a policy that are read. RFC 8461 §3.3 suggests 64 kilobytes: whoever serves more does not decide how much is kept.
pub const MAX_POLICY: usize = 64 * 1024;
/// The longest that a policy may hold for: about a year (RFC 8461 §3.2). Longer counts as this.
pub const MAX_AGE: Duration = Duration::from_secs(31_557_600);
const VERSION: &str = "STSv1";

/// What becomes of mail whose server does not satisfy the policy.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum StsMode {
    /// It is not sent there.
    Enforce,
    /// It is sent, and reported.
    Testing,
    /// The domain has no policy, or wants to have none soon.
    None,
}

impl StsMode {
    /// As the file writes it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Enforce => "enforce",
            Self::Testing => "testing",
            Self::None => "none",
        }
    }
}

/// Which hosts an `mx` line allows.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct MxPattern {
    /// One label may stand before `name`.
    wildcard: bool,
    name: Domain,
}

impl MxPattern {
    /// Whether a host fits: by its name, or with one label before it (RFC 8461 §4.1).
    pub fn matches(&self, host: &Domain) -> bool {
        if !self.wildcard {
            return *host == self.name;
        }
        host.as_str().split_once('.').is_some_and(|(_, parent)| parent == self.name.as_str())
    }
}

impl From<Domain> for MxPattern {
    fn from(name: Domain) -> Self {
        Self { wildcard: false, name }
    }
}

impl fmt::Display for MxPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let wildcard = if self.wildcard { "*." } else { "" };
        write!(f, "{wildcard}{}", self.name)
    }
}

impl FromStr for MxPattern {
    type Err = BadStsPolicy;

    fn from_str(text: &str) -> Result<Self, BadStsPolicy> {
        let (wildcard, name) = match text.strip_prefix("*.") {
            Some(name) => (true, name),
            None => (false, text),
        };
        // A name in the file is one of DNS: A-labels (RFC 8461 §4.1).
        let name = name.is_ascii().then(|| name.parse().ok()).flatten().ok_or(BadStsPolicy::Mx)?;
        Ok(Self { wildcard, name })
    }
}

/// A domain's policy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StsPolicy {
    /// How strictly.
    pub mode: StsMode,
    /// How long it holds once it was read; whole seconds, at most [`MAX_AGE`].
    pub max_age: Duration,
    /// Which hosts may take the domain's mail; at least one, unless the mode is `none`.
    pub mx: Vec<MxPattern>,
}

impl StsPolicy {
    /// Whether a host may take the domain's mail.
    pub fn allows(&self, host: &Domain) -> bool {
        self.mx.iter().any(|pattern| pattern.matches(host))
    }

    /// Its lines, without their ends.
    pub fn lines(&self) -> Vec<String> {
        let mut lines = vec![format!("version: {VERSION}"), format!("mode: {}", self.mode.name())];
        lines.extend(self.mx.iter().map(|pattern| format!("mx: {pattern}")));
        lines.push(format!("max_age: {}", self.max_age.as_secs()));
        lines
    }
}

impl fmt::Display for StsPolicy {
    /// The file, with CRLF at the end of each line.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.lines().iter().try_for_each(|line| write!(f, "{line}\r\n"))
    }
}

/// What was given is no policy.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadStsPolicy {
    /// It is longer than [`MAX_POLICY`].
    #[error("it is longer than 64 KiB")]
    TooLong,
    /// A line without a colon.
    #[error("a line is not of the form key: value")]
    Line,
    /// `version` is missing or another.
    #[error("its version is not STSv1")]
    Version,
    /// `mode` is missing or another.
    #[error("its mode is neither enforce, testing nor none")]
    Mode,
    /// `max_age` is missing or no number of seconds.
    #[error("its max_age is no number of seconds")]
    MaxAge,
    /// `mx` is missing, or a pattern is no host name and no `*.` with one.
    #[error("an mx line is missing or names no host")]
    Mx,
}

impl FromStr for StsPolicy {
    type Err = BadStsPolicy;

    /// Reads a file. Of a key that may stand once the first counts, unknown keys count for nothing (RFC 8461 §3.2).
    fn from_str(text: &str) -> Result<Self, BadStsPolicy> {
        if text.len() > MAX_POLICY {
            return Err(BadStsPolicy::TooLong);
        }
        let (mut version, mut mode, mut max_age, mut mx) = (None, None, None, Vec::new());
        for line in text.split('\n').map(str::trim_ascii).filter(|line| !line.is_empty()) {
            let (key, value) = line.split_once(':').ok_or(BadStsPolicy::Line)?;
            let value = value.trim_ascii();
            match key.trim_ascii_end() {
                "version" => drop(version.get_or_insert(value)),
                "mode" => drop(mode.get_or_insert(value)),
                "max_age" => drop(max_age.get_or_insert(value)),
                "mx" => mx.push(value.parse()?),
                _ => {}
            }
        }
        if version != Some(VERSION) {
            return Err(BadStsPolicy::Version);
        }
        let mode = [StsMode::Enforce, StsMode::Testing, StsMode::None]
            .into_iter()
            .find(|known| mode == Some(known.name()))
            .ok_or(BadStsPolicy::Mode)?;
        let max_age = seconds(max_age.unwrap_or_default()).ok_or(BadStsPolicy::MaxAge)?;
        if mx.is_empty() && mode != StsMode::None {
            return Err(BadStsPolicy::Mx);
        }
        Ok(Self { mode, max_age, mx })
    }
}

/// One to ten digits.
fn seconds(text: &str) -> Option<Duration> {
    let digits = (1..=10).contains(&text.len()) && text.bytes().all(|octet| octet.is_ascii_digit());
    let seconds = digits.then(|| text.parse().ok()).flatten()?;
    Some(Duration::from_secs(seconds).min(MAX_AGE))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(text: &str) -> Domain {
        text.parse().unwrap()
    }

    /// The example of RFC 8461 §3.2.
    const EXAMPLE: &str = "version: STSv1\nmode: enforce\nmx: mail.example.com\nmx: *.example.net\nmx: backupmx.example.com\n\
                           max_age: 604800\n";

    #[test]
    fn the_example_of_the_rfc_is_read_and_written() {
        let policy: StsPolicy = EXAMPLE.parse().unwrap();
        assert_eq!((policy.mode, policy.max_age), (StsMode::Enforce, Duration::from_secs(604_800)));
        assert_eq!(policy.to_string(), EXAMPLE.replace('\n', "\r\n"));
        assert_eq!(policy.to_string().parse(), Ok(policy));
    }

    #[test]
    fn what_is_unknown_repeated_or_spaced_does_not_matter() {
        let text = "mode:testing \r\nfuture: x\r\nversion: STSv1\r\nmax_age:  60\r\nmode: none\r\nmx:MX.example\r\n\r\n";
        let policy: StsPolicy = text.parse().unwrap();
        assert_eq!((policy.mode, policy.max_age), (StsMode::Testing, Duration::from_secs(60)));
        assert_eq!(policy.mx, [MxPattern::from(name("mx.example"))]);
        let long: StsPolicy = "version: STSv1\nmode: none\nmax_age: 9999999999".parse().unwrap();
        assert_eq!(long.max_age, MAX_AGE);
    }

    #[test]
    fn what_is_no_policy_says_why() {
        for (text, why) in [
            ("", BadStsPolicy::Version),
            ("version: STSv2\nmode: none\nmax_age: 1", BadStsPolicy::Version),
            ("<html>\n<p>", BadStsPolicy::Line),
            ("version: STSv1\nmax_age: 1\nmx: a.example", BadStsPolicy::Mode),
            ("version: STSv1\nmode: Enforce\nmax_age: 1\nmx: a.example", BadStsPolicy::Mode),
            ("version: STSv1\nmode: enforce\nmx: a.example", BadStsPolicy::MaxAge),
            ("version: STSv1\nmode: enforce\nmx: a.example\nmax_age: -1", BadStsPolicy::MaxAge),
            ("version: STSv1\nmode: enforce\nmx: a.example\nmax_age: 12345678901", BadStsPolicy::MaxAge),
            ("version: STSv1\nmode: enforce\nmax_age: 1", BadStsPolicy::Mx),
            ("version: STSv1\nmode: enforce\nmx: *\nmax_age: 1", BadStsPolicy::Mx),
            ("version: STSv1\nmode: enforce\nmx: a.*.example\nmax_age: 1", BadStsPolicy::Mx),
            ("version: STSv1\nmode: enforce\nmx: müller.example\nmax_age: 1", BadStsPolicy::Mx),
        ] {
            assert_eq!(text.parse::<StsPolicy>(), Err(why), "{text}");
        }
        let long = format!("{EXAMPLE}{}", "x: y\n".repeat(MAX_POLICY / 5));
        assert_eq!(long.parse::<StsPolicy>(), Err(BadStsPolicy::TooLong));
    }

    #[test]
    fn a_wildcard_stands_for_one_label() {
        let policy: StsPolicy = EXAMPLE.parse().unwrap();
        for (host, allowed) in [
            ("mail.example.com", true),
            ("MAIL.example.com", true),
            ("mx.example.net", true),
            ("example.net", false),
            ("a.mx.example.net", false),
            ("mx.badexample.net", false),
            ("example.com", false),
        ] {
            assert_eq!(policy.allows(&name(host)), allowed, "{host}");
        }
    }
}
