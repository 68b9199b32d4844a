//! A password or key from the config, which nothing prints (law 10).

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD_NO_PAD;

/// Held in memory only; `Debug` shows that there is one, not what it is.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(Box<str>);

impl Secret {
    pub(super) fn new(text: &str) -> Self {
        Self(text.into())
    }

    /// The same without what some write before it.
    pub(super) fn without(&self, prefix: &str) -> Self {
        let text = self.0.trim();
        Self(text.strip_prefix(prefix).unwrap_or(text).into())
    }

    /// What it is the base64 of, with either alphabet (RFC 4648 §4, §5), padded or not; `None`: of nothing.
    pub fn decoded(&self) -> Option<Vec<u8>> {
        let text = self.0.trim().trim_end_matches('=').replace('-', "+").replace('_', "/");
        STANDARD_NO_PAD.decode(text).ok().filter(|octets| !octets.is_empty())
    }

    /// The secret itself, for whoever must send it or compute with it.
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(...)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_read_in_either_alphabet() {
        for text in ["+/8=", "-_8=", "-_8", " +/8=\n"] {
            assert_eq!(Secret::new(text).decoded(), Some(vec![0xFB, 0xFF]), "{text}");
        }
        assert_eq!(Secret::new("no base64!").decoded(), None);
    }

    #[test]
    fn a_secret_is_never_printed() {
        assert_eq!(format!("{:?}", Some(Secret::new("hunter2"))), "Some(Secret(...))");
    }
}
