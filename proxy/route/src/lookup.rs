//! The questions that routing asks of the DNS, so that they can be answered by something else than a network.

use std::future::Future;
use std::sync::Arc;

use dns::{Addresses, Answer, DnsError, Mx, Proof, Resolver, Text, Tlsa};
use smtp::Domain;

/// Who answers. [`Resolver`] does; its documentation says what the answers mean.
pub trait Lookup: Send + Sync {
    /// The mail exchangers of a domain.
    fn mx(&self, domain: &Domain) -> impl Future<Output = Result<Answer<Mx>, DnsError>> + Send;

    /// The addresses of a host.
    fn addresses(&self, host: &Domain) -> impl Future<Output = Result<Addresses, DnsError>> + Send;

    /// What certificates are published for a TCP port of a host.
    fn tlsa(&self, host: &Domain, port: u16) -> impl Future<Output = Result<Answer<Tlsa>, DnsError>> + Send;

    /// What DNSSEC says of the alias at a name itself.
    fn alias(&self, name: &Domain) -> impl Future<Output = Result<Proof, DnsError>> + Send;

    /// Texts.
    fn text(&self, name: &Domain) -> impl Future<Output = Result<Answer<Text>, DnsError>> + Send;
}

impl Lookup for Resolver {
    async fn mx(&self, domain: &Domain) -> Result<Answer<Mx>, DnsError> {
        Self::mx(self, domain).await
    }

    async fn addresses(&self, host: &Domain) -> Result<Addresses, DnsError> {
        Self::addresses(self, host).await
    }

    async fn tlsa(&self, host: &Domain, port: u16) -> Result<Answer<Tlsa>, DnsError> {
        Self::tlsa(self, host, port).await
    }

    async fn alias(&self, name: &Domain) -> Result<Proof, DnsError> {
        Self::alias(self, name).await
    }

    async fn text(&self, name: &Domain) -> Result<Answer<Text>, DnsError> {
        Self::text(self, name).await
    }
}

impl<L: Lookup> Lookup for Arc<L> {
    async fn mx(&self, domain: &Domain) -> Result<Answer<Mx>, DnsError> {
        L::mx(self, domain).await
    }

    async fn addresses(&self, host: &Domain) -> Result<Addresses, DnsError> {
        L::addresses(self, host).await
    }

    async fn tlsa(&self, host: &Domain, port: u16) -> Result<Answer<Tlsa>, DnsError> {
        L::tlsa(self, host, port).await
    }

    async fn alias(&self, name: &Domain) -> Result<Proof, DnsError> {
        L::alias(self, name).await
    }

    async fn text(&self, name: &Domain) -> Result<Answer<Text>, DnsError> {
        L::text(self, name).await
    }
}
