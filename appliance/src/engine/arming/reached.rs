//! Under which names the world reaches a server.

use std::net::{IpAddr, SocketAddr};

use delivery::ProbeRequest;
use dns::DnsError;
use relay::Serving;
use route::Lookup as _;
use smtp::{Domain, TraceId};
use tls::SubjectName;

use super::super::outbound::Names;
use crate::config::Backend;

/// Names that are looked at for one server; a certificate can carry 250, and each costs two lookups.
const MAX_NAMES: usize = 32;

/// What was found out.
#[derive(Debug, Default)]
pub(super) struct Reached {
    /// Host names whose addresses are the server's.
    pub(super) names: Vec<Domain>,
    /// Why there may be more, as a sentence.
    pub(super) unclear: Option<String>,
}

impl Reached {
    fn add(&mut self, name: Domain) {
        if self.names.len() < MAX_NAMES && !self.names.contains(&name) {
            self.names.push(name);
        }
    }

    fn cannot_tell(&mut self, name: &Domain, error: &DnsError) {
        if error.is_temporary() && self.unclear.is_none() {
            self.unclear = Some(format!("{name} cannot be looked up now: {error}."));
        }
    }
}

/// Port 25 is reached by the MX records of the backend's domains. The others are reached by whatever name users were told: the
/// names in the certificate that the server shows there now, or the mail exchangers', where it shows none.
pub(super) async fn names_of(
    names: &Names,
    serving: &Serving,
    backend: &Backend,
    server: SocketAddr,
) -> Reached {
    let mut reached = Reached::default();
    if server.port() != 25 {
        for host in certified(serving, server).await {
            keep_if_here(names, host, server.ip(), &mut reached).await;
        }
        if !reached.names.is_empty() {
            return reached;
        }
    }
    for domain in &backend.domains {
        for host in exchangers(names, domain, &mut reached).await {
            keep_if_here(names, host, server.ip(), &mut reached).await;
        }
    }
    reached
}

/// The hosts that take a domain's mail; without MX records itself (RFC 5321 §5.1).
async fn exchangers(names: &Names, domain: &Domain, reached: &mut Reached) -> Vec<Domain> {
    match names.mx(domain).await {
        Ok(answer) => answer.records.into_iter().filter_map(|mx| mx.exchange).collect(),
        Err(DnsError::NoRecords { .. }) => vec![domain.clone()],
        Err(error) => {
            reached.cannot_tell(domain, &error);
            Vec::new()
        }
    }
}

async fn keep_if_here(names: &Names, host: Domain, address: IpAddr, reached: &mut Reached) {
    match names.addresses(&host).await {
        Ok(addresses) if addresses.iter().any(|(one, _)| one == address) => reached.add(host),
        Ok(_) => {}
        Err(error) => reached.cannot_tell(&host, &error),
    }
}

/// The host names in the certificate that a server shows. One that does not answer shows none.
async fn certified(serving: &Serving, server: SocketAddr) -> Vec<Domain> {
    let opener = &serving.driver.opener;
    let Some(intercepting) = &serving.driver.interception else { return Vec::new() };
    let request = ProbeRequest {
        // It belongs to no session, and nothing is recorded of it.
        session: TraceId::from_bits(0),
        destination: server,
        client: server,
        helo: "".into(),
        implicit_tls: server.port() == 465,
    };
    let side = delivery::FarSide { transparent: false, ..intercepting.far_side.clone() };
    let Ok(open) = opener.look_at_far(&request, &side).await else { return Vec::new() };
    let delivery::Shown::Certificates { chain, .. } = open.probed.shown() else { return Vec::new() };
    let hosts = chain.names().into_iter().filter_map(|name| match name {
        // A wildcard is nobody's address.
        SubjectName::Host(host) => host.parse().ok(),
        SubjectName::Address(_) => None,
    });
    hosts.take(MAX_NAMES).collect()
}
