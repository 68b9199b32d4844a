//! Whether a client's address has a name that has the address (RFC 8601 §3).

use std::net::IpAddr;

use crate::result::Verdict;
use crate::spf::{Unknown, Zone};

/// Names of one address that are asked about: an address has one, and some have very many.
const MAX_NAMES: usize = 3;

/// The answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Iprev {
    /// [`Verdict::Pass`], [`Verdict::Fail`] if no name leads back, [`Verdict::PermError`] without a name, [`Verdict::TempError`] if that
    /// could not be found out.
    pub verdict: Verdict,
    /// The name that leads back; empty if there is none.
    pub name: Box<str>,
}

impl Iprev {
    pub(crate) fn of(verdict: Verdict) -> Self {
        Self { verdict, name: "".into() }
    }
}

/// Asks for the names of an address, and for their addresses.
pub async fn iprev(zone: &impl Zone, client: IpAddr) -> Iprev {
    let client = client.to_canonical();
    match ask(zone, client).await {
        Ok(found) => found,
        Err(Unknown) => Iprev::of(Verdict::TempError),
    }
}

async fn ask(zone: &impl Zone, client: IpAddr) -> Result<Iprev, Unknown> {
    let names = zone.ptr(client).await?;
    if names.is_empty() {
        return Ok(Iprev::of(Verdict::PermError));
    }
    let mut is_known = true;
    for name in names.into_iter().take(MAX_NAMES) {
        match zone.addresses(&name, client.is_ipv4()).await {
            Ok(addresses) if addresses.iter().any(|address| address.to_canonical() == client) => {
                return Ok(Iprev { verdict: Verdict::Pass, name: name.to_lowercase().into() });
            }
            Ok(_) => {}
            Err(Unknown) => is_known = false,
        }
    }
    if is_known { Ok(Iprev::of(Verdict::Fail)) } else { Err(Unknown) }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Every address has these names, and each name this address; a name that begins with `?` nobody answers for.
    struct Told(&'static [&'static str], &'static str);

    impl Zone for Told {
        async fn txt(&self, _: &str) -> Result<Vec<Vec<u8>>, Unknown> {
            Err(Unknown)
        }

        async fn addresses(&self, name: &str, _: bool) -> Result<Vec<IpAddr>, Unknown> {
            if name.starts_with('?') { Err(Unknown) } else { Ok(self.1.parse().into_iter().collect()) }
        }

        async fn mx(&self, _: &str) -> Result<Vec<String>, Unknown> {
            Err(Unknown)
        }

        async fn ptr(&self, _: IpAddr) -> Result<Vec<String>, Unknown> {
            Ok(self.0.iter().map(|name| (*name).to_owned()).collect())
        }
    }

    #[tokio::test]
    async fn a_name_has_to_lead_back() {
        for (names, address, verdict) in [
            (&["Mail.x.test"][..], "192.0.2.1", Verdict::Pass),
            (&["mail.x.test"], "192.0.2.2", Verdict::Fail),
            (&[], "192.0.2.1", Verdict::PermError),
            (&["?", "mail.x.test"], "192.0.2.1", Verdict::Pass),
            (&["?", "mail.x.test"], "192.0.2.2", Verdict::TempError),
            (&["a", "b", "c", "mail.x.test"], "", Verdict::Fail),
        ] {
            let found = iprev(&Told(names, address), "::ffff:192.0.2.1".parse().unwrap()).await;
            assert_eq!(found.verdict, verdict, "{names:?} {address}");
            assert_eq!(&*found.name == "mail.x.test", verdict == Verdict::Pass);
        }
    }
}
