//! The name and the origin that a passkey is for.

use webauthn_rp::request::{AsciiDomain, RpId};

/// A page that is reached by a name: over TLS, or on the machine itself.
#[derive(Clone, Debug)]
pub struct Site {
    pub(crate) id: RpId,
    pub(crate) origin: String,
}

impl Site {
    /// `name` is what the passkeys are for, the host name as the browser has it; `origin` is where the page is, as the browser says it
    /// (`https://mx1.example.net:8443`): scheme, host and port have to be the same to the letter.
    ///
    /// `None` where it is no domain name. An address is none to a browser (§5.1.3).
    pub fn new(name: &str, origin: &str) -> Option<Self> {
        let is_address = name.trim_matches(['[', ']']).parse::<std::net::IpAddr>().is_ok();
        let domain = AsciiDomain::try_from(name.to_ascii_lowercase()).ok().filter(|_| !is_address)?;
        Some(Self { id: RpId::Domain(domain), origin: origin.to_owned() })
    }

    /// Where the page is.
    pub fn origin(&self) -> &str {
        &self.origin
    }

    /// The name, in lower case.
    pub fn name(&self) -> &str {
        self.id.as_ref()
    }
}
