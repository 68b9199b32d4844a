//! Codes of the moment (RFC 6238): HMAC-SHA-1, six digits, steps of 30 s, as authenticator apps have them.
//!
//! The secret is on disk as it is, in a file for Postern's user alone: a key to encrypt it with would lie beside it. Backups are
//! encrypted.

use std::time::Duration;

use aws_lc_rs::constant_time::verify_slices_are_equal;
use aws_lc_rs::hmac;
use data_encoding::BASE32_NOPAD;
use maud::{Markup, html};
use qrcode::{Color, EcLevel, QrCode};
use serde::{Deserialize, Serialize};

use super::UserName;

/// RFC 6238 §4.
const STEP: u64 = 30;
const DIGITS: u32 = 6;
/// RFC 4226 §4 recommends 160 bits.
const SECRET: usize = 20;
/// Steps before and after that are taken, too: clocks of telephones (RFC 6238 §5.2).
const SLACK: u64 = 1;
/// Codes for the day when the telephone is gone.
pub(super) const RECOVERY_CODES: usize = 10;
/// Modules of white around a QR code (ISO/IEC 18004).
const QUIET: usize = 4;

/// A second factor.
#[derive(Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Totp {
    secret: String,
    /// The step of the last code that was taken: neither it nor an earlier one counts again (RFC 6238 §5.2).
    last: u64,
}

impl std::fmt::Debug for Totp {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Totp(..)")
    }
}

impl Totp {
    /// Whether this is a code of now that was not taken before; it is taken then.
    pub(super) fn takes(&mut self, typed: &str, now: Duration) -> bool {
        let Ok(secret) = BASE32_NOPAD.decode(self.secret.as_bytes()) else { return false };
        let step = now.as_secs() / STEP;
        let mut taken = None;
        for step in step.saturating_sub(SLACK)..=step + SLACK {
            let is_it = verify_slices_are_equal(code(&secret, step).as_bytes(), typed.as_bytes()).is_ok();
            if is_it && step > self.last {
                taken = Some(step);
            }
        }
        taken.inspect(|step| self.last = *step).is_some()
    }
}

fn code(secret: &[u8], step: u64) -> String {
    let key = hmac::Key::new(hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY, secret);
    let tag = hmac::sign(&key, &step.to_be_bytes());
    let octets = tag.as_ref();
    // RFC 4226 §5.3.
    let offset = usize::from(octets.last().copied().unwrap_or_default() & 0xf);
    let chosen = octets.get(offset..offset + 4).and_then(|chosen| chosen.try_into().ok());
    let number = u32::from_be_bytes(chosen.unwrap_or_default()) & 0x7fff_ffff;
    format!("{:0width$}", number % 10_u32.pow(DIGITS), width = DIGITS as usize)
}

/// A second factor that is offered, until a code of it proves that it arrived.
#[derive(Clone)]
pub(crate) struct Enrolment {
    secret: String,
    user: String,
    hostname: String,
}

impl Enrolment {
    pub(super) fn new(user: &UserName, hostname: &str) -> Self {
        let secret = BASE32_NOPAD.encode(&rand::random::<[u8; SECRET]>());
        Self { secret, user: user.to_string(), hostname: hostname.to_owned() }
    }

    /// From what a session remembers.
    pub(super) fn again(secret: &str, user: &UserName, hostname: &str) -> Option<Self> {
        let is_secret = BASE32_NOPAD.decode(secret.as_bytes()).is_ok_and(|octets| octets.len() == SECRET);
        is_secret.then(|| Self {
            secret: secret.to_owned(),
            user: user.to_string(),
            hostname: hostname.to_owned(),
        })
    }

    pub(super) fn totp(&self) -> Totp {
        Totp { secret: self.secret.clone(), last: 0 }
    }

    /// As it is typed where no camera is.
    pub(crate) fn secret(&self) -> &str {
        &self.secret
    }

    /// What authenticator apps read.
    pub(crate) fn uri(&self) -> String {
        let encoded = crate::client::encoded;
        format!(
            "otpauth://totp/Postern%20{host}:{user}?secret={secret}&issuer=Postern%20{host}&algorithm=SHA1&digits={DIGITS}&period={STEP}",
            host = encoded(&self.hostname),
            user = encoded(&self.user),
            secret = self.secret,
        )
    }

    /// The same as a drawing. Nothing if it is too long for one, which no name is.
    pub(crate) fn drawing(&self) -> Markup {
        let Ok(code) = QrCode::with_error_correction_level(self.uri(), EcLevel::M) else { return html! {} };
        let width = code.width();
        let whole = width + 2 * QUIET;
        let dark = code.to_colors().into_iter().enumerate().filter(|(_, color)| *color == Color::Dark);
        let path: String =
            dark.map(|(at, _)| format!("M{} {}h1v1h-1z", at % width + QUIET, at / width + QUIET)).collect();
        html! {
            svg.qr viewBox=(format!("0 0 {whole} {whole}")) role="img" aria-label="QR code for an authenticator app" {
                rect width=(whole) height=(whole) fill="#fff" {}
                path d=(path) fill="#000" {}
            }
        }
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// The code that an app shows.
    pub(crate) fn shown(secret: &str, now: Duration) -> String {
        code(&BASE32_NOPAD.decode(secret.as_bytes()).unwrap(), now.as_secs() / STEP)
    }

    #[test]
    fn codes_are_those_of_the_rfc() {
        // RFC 6238, appendix B; the last six of eight digits.
        let secret = b"12345678901234567890";
        for (seconds, expected) in
            [(59, "287082"), (1_111_111_109, "081804"), (1_234_567_890, "005924"), (20_000_000_000, "353130")]
        {
            assert_eq!(code(secret, seconds / STEP), expected, "{seconds}");
        }
    }

    #[test]
    fn a_code_counts_once_and_only_for_a_while() {
        let enrolment = Enrolment::new(&"ann".parse().unwrap(), "mx1.example.net");
        let mut totp = enrolment.totp();
        let now = Duration::from_secs(1_795_288_215);
        let code = shown(enrolment.secret(), now);
        assert!(!totp.clone().takes(&code, now + Duration::from_secs(2 * STEP)), "too late");
        assert!(!totp.takes("", now) && !totp.takes(&code[1..], now));
        assert!(totp.takes(&code, now + Duration::from_secs(STEP)), "a slow clock");
        assert!(!totp.takes(&code, now), "again");
        let before = shown(enrolment.secret(), now - Duration::from_secs(STEP));
        assert!(!totp.takes(&before, now), "one from before");
    }

    #[test]
    fn the_drawing_says_what_the_text_says() {
        let enrolment = Enrolment::new(&"ann@example.net".parse().unwrap(), "mx1.example.net");
        let uri = enrolment.uri();
        assert!(
            uri.starts_with("otpauth://totp/Postern%20mx1.example.net:ann%40example.net?secret="),
            "{uri}"
        );
        let drawn = enrolment.drawing().into_string();
        assert!(drawn.contains("<path") && !drawn.contains("style="), "{drawn}");
        assert!(Enrolment::again(enrolment.secret(), &"ann".parse().unwrap(), "x").is_some());
        assert!(Enrolment::again("AAAA", &"ann".parse().unwrap(), "x").is_none());
    }
}
