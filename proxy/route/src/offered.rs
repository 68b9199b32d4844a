//! What a server offers, as a probe saw it and as it is stored for the time when the server is away.

use smtp::Capabilities;
use smtp::reply::ReplyReader;
use store::Table;

/// Where it is stored, by the server's address.
pub const SERVERS: Table = Table("servers");

/// What a server offered to a probe from Postern's own address.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Offered {
    /// Its banner, without the code.
    pub greeting: Box<str>,
    /// In clear.
    pub plain: Capabilities,
    /// After STARTTLS; `None` if there was none.
    pub encrypted: Option<Capabilities>,
    /// How the handshake went, in words; empty where none was tried.
    pub tls: Box<str>,
}

impl Offered {
    /// What counts for mail: after STARTTLS where there is one.
    pub fn effective(&self) -> &Capabilities {
        self.encrypted.as_ref().unwrap_or(&self.plain)
    }
}

impl Offered {
    /// As it is stored: four pieces, each behind its length; the capabilities as replies to EHLO.
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = Vec::new();
        let encrypted = self.encrypted.as_ref().map(ehlo).unwrap_or_default();
        for piece in [self.greeting.as_bytes(), &ehlo(&self.plain), &encrypted, self.tls.as_bytes()] {
            bytes.extend_from_slice(&u32::try_from(piece.len()).unwrap_or_default().to_be_bytes());
            bytes.extend_from_slice(piece);
        }
        bytes
    }

    /// Reads what was stored; `None` for anything else.
    pub fn from_bytes(mut bytes: &[u8]) -> Option<Self> {
        let mut piece = || {
            let (length, rest) = bytes.split_first_chunk()?;
            let (piece, rest) = rest.split_at_checked(usize::try_from(u32::from_be_bytes(*length)).ok()?)?;
            bytes = rest;
            Some(piece)
        };
        let (greeting, plain, encrypted, tls) = (piece()?, piece()?, piece()?, piece()?);
        let text = |piece: &[u8]| std::str::from_utf8(piece).ok().map(Into::into);
        if !bytes.is_empty() {
            return None;
        }
        let encrypted = if encrypted.is_empty() { None } else { Some(capabilities(encrypted)?) };
        Some(Self { greeting: text(greeting)?, plain: capabilities(plain)?, encrypted, tls: text(tls)? })
    }
}

fn ehlo(capabilities: &Capabilities) -> Vec<u8> {
    let mut reply = Vec::new();
    capabilities.to_ehlo_reply("-").write(&mut reply);
    reply
}

fn capabilities(mut reply: &[u8]) -> Option<Capabilities> {
    let reply = ReplyReader::new().read(&mut reply).ok()??;
    reply.code().is_positive().then(|| Capabilities::from_ehlo(&reply))
}

#[cfg(test)]
mod tests {
    use super::*;
    use smtp::Extension;

    #[test]
    fn what_was_stored_is_read_back_and_nothing_else_is() {
        let mut plain: Capabilities = [Extension::Pipelining, Extension::Size].into_iter().collect();
        plain.max_size = Some(10_240_000);
        let encrypted = Some([Extension::SmtpUtf8, Extension::Dsn].into_iter().collect());
        for encrypted in [encrypted, None] {
            let offered = Offered {
                greeting: "mail ESMTP".into(),
                plain: plain.clone(),
                encrypted,
                tls: "TLSv1.3".into(),
            };
            let bytes = offered.to_bytes();
            assert_eq!(Offered::from_bytes(&bytes), Some(offered));
            (0..bytes.len()).for_each(|length| assert_eq!(Offered::from_bytes(&bytes[..length]), None));
            assert_eq!(Offered::from_bytes(&[&bytes[..], b"x"].concat()), None);
        }
    }
}
