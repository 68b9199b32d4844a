//! The questions that routing asks of the DNS, so that they can be answered by something else than a network.

use std::future::Future;
use std::sync::Arc;

use dns::{Addresses, Answer, DnsError, Mx, Resolver};
use smtp::Domain;

/// Who answers. [`Resolver`] does; its documentation says what the answers mean.
pub trait Lookup: Send + Sync {
    /// The mail exchangers of a domain.
    fn mx(&self, domain: &Domain) -> impl Future<Output = Result<Answer<Mx>, DnsError>> + Send;

    /// The addresses of a host.
    fn addresses(&self, host: &Domain) -> impl Future<Output = Result<Addresses, DnsError>> + Send;
}

impl Lookup for Resolver {
    async fn mx(&self, domain: &Domain) -> Result<Answer<Mx>, DnsError> {
        Self::mx(self, domain).await
    }

    async fn addresses(&self, host: &Domain) -> Result<Addresses, DnsError> {
        Self::addresses(self, host).await
    }
}

impl<L: Lookup> Lookup for Arc<L> {
    async fn mx(&self, domain: &Domain) -> Result<Answer<Mx>, DnsError> {
        L::mx(self, domain).await
    }

    async fn addresses(&self, host: &Domain) -> Result<Addresses, DnsError> {
        L::addresses(self, host).await
    }
}
