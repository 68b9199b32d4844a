//! Tells the guard whom the gate has banned, so that the kernel turns them away.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use relay::Relay;
use sift::packet::Socket;
use tokio::time::Instant;

use super::message::Verb;

/// How often the gate's bans are looked at. Until then the gate refuses at accept.
const LOOK: Duration = Duration::from_secs(1);
/// A ban that ends so much later than was told is told again.
const LONGER: Duration = Duration::from_secs(30);

/// Tells for as long as the guard listens.
pub(super) async fn tell(relay: Arc<Relay>, guard: Arc<Socket>) {
    let mut told: HashMap<IpAddr, Instant> = HashMap::new();
    loop {
        tokio::time::sleep(LOOK).await;
        let now = Instant::now();
        told.retain(|_, until| *until > now);
        for (address, left) in relay.admission().bans(now) {
            let until = now + left;
            if told.get(&address).is_some_and(|before| *before + LONGER > until) {
                continue;
            }
            match guard.try_send(&verb(address, left).to_bytes(), &[]) {
                Ok(()) => _ = told.insert(address, until),
                // The guard takes them more slowly than they come; the rest is told at the next look.
                Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => break,
                Err(error) => {
                    tracing::error!(%error, "the guard cannot be told of bans");
                    return;
                }
            }
        }
    }
}

/// The gate counts IPv4 by address and IPv6 by /64.
fn verb(network: IpAddr, left: Duration) -> Verb {
    let network = match network {
        IpAddr::V4(v4) => IpNet::V4(Ipv4Net::from(v4)),
        IpAddr::V6(v6) => Ipv6Net::new(v6, 64).map_or_else(|_| Ipv6Net::from(v6).into(), IpNet::V6),
    };
    let seconds = u32::try_from(left.as_secs()).unwrap_or(u32::MAX).saturating_add(1);
    Verb::Ban { network, seconds }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_ban_is_told_for_the_network_that_was_counted() {
        for (address, network) in [("192.0.2.7", "192.0.2.7/32"), ("2001:db8:1:2::", "2001:db8:1:2::/64")] {
            let verb = verb(address.parse().unwrap(), Duration::from_millis(1500));
            assert_eq!(verb, Verb::Ban { network: network.parse().unwrap(), seconds: 2 });
            assert_eq!(Verb::read(&verb.to_bytes()), Ok(verb));
        }
    }
}
