//! What is taken on its way: connections to armed servers, connections of inside servers to the world, and the replies to
//! connections that Postern opened under a client's address.
//!
//! A diverted connection is not tracked; a connection that was open before its target was armed is, and lives on by that.

use super::{MANGLE, NO_SYN, RAW, RuleSet, SYN, mark_diverted, marked};
use crate::marks;
use crate::settings::{Gateway, MAIL_PORTS};
use crate::table::{Base, Chain, Family};

impl RuleSet {
    pub(super) fn interception(&self) -> Vec<Chain> {
        let mut chains = vec![self.screen(), self.opening()];
        if self.diverts() {
            chains.push(self.ours());
        }
        if let Some(gateway) = self.gateway() {
            chains.extend([divert(gateway), taken("inbound", gateway.inbound_port)]);
            chains.push(taken("outbound", gateway.outbound_port));
        }
        if self.diverts() {
            chains.push(outgoing());
        }
        chains
    }

    /// Before connection tracking. Most packets open nothing, and come by here at no more cost than it takes to know whose they
    /// are.
    fn screen(&self) -> Chain {
        let base = Base { kind: "filter", hook: "prerouting", priority: RAW, policy: "accept" };
        let chain = Chain::new("screen", Some(base)).rule("opening", format!("{SYN} goto opening"));
        self.known(chain)
    }

    /// First packets of connections: bans, and what will be diverted.
    fn opening(&self) -> Chain {
        let from_world = match self.gateway() {
            Some(gateway) => format!("iifname \"{}\"", gateway.outside),
            None => "iifname != \"lo\"".to_owned(),
        };
        // New connections alone: the same address may be where mail of ours goes to, whose replies must come in.
        let chain = Chain::new("opening", None).both("banned", |family| {
            let set = super::ban_set(family);
            let ip = family.ip();
            format!("{from_world} {ip} saddr @{set} counter name banned drop")
        });
        let chain = self.known(chain);
        match self.gateway() {
            None => chain,
            Some(gateway) => chain
                .both("untrack inbound ", |family| format!("{} notrack", inbound(gateway, family)))
                .both("untrack outbound ", |family| format!("{} notrack", outbound(gateway, family))),
        }
    }

    /// Own packets, and what belongs to sockets of ours.
    fn known(&self, chain: Chain) -> Chain {
        if !self.diverts() {
            return chain;
        }
        // With the loopback interface or a virtual cable on the way, own packets come by here with their mark.
        chain
            .rule("own", format!("{} accept", marked(marks::OWN)))
            .rule("ours", "socket transparent 1 jump ours")
    }

    /// Packets that belong to a transparent socket: of clients and servers of diverted connections, and ICMP errors about
    /// their own packets (path MTU).
    fn ours(&self) -> Chain {
        let take = format!("{} notrack accept", mark_diverted());
        // The kernel does not say of half-open and closing sockets whether they are bound to an address. Listeners are known
        // by their ports. A first packet has no business here: the port may be used again while the old connection closes.
        let closing = match self.gateway() {
            Some(gateway) => {
                format!(
                    "tcp dport != {{ {}, {} }} {NO_SYN} {take}",
                    gateway.inbound_port, gateway.outbound_port
                )
            }
            None => format!("{NO_SYN} {take}"),
        };
        Chain::new("ours", None).rule("open", format!("socket wildcard 0 {take}")).rule("half-open", closing)
    }
}

/// After connection tracking: what is diverted.
fn divert(gateway: &Gateway) -> Chain {
    let base = Base { kind: "filter", hook: "prerouting", priority: MANGLE, policy: "accept" };
    let Gateway { outside, inside, .. } = gateway;
    // What is forwarded unread most of the time comes first.
    Chain::new("divert", Some(base))
        .rule("open before", "ct state established accept")
        .rule("known", format!("{} accept", marked(marks::DIVERT)))
        .rule("own packets", format!("{} accept", marked(marks::OWN)))
        // Link-local addresses are on both sides.
        .both("spoofed ", |family| {
            let not_local = if family == Family::V4 { "meta nfproto ipv4" } else { "ip6 saddr != fe80::/10" };
            format!(
                "iifname \"{outside}\" {not_local} fib saddr oifname \"{inside}\" counter name spoofed drop"
            )
        })
        // Not only first packets: with SYN cookies the second one is the first that a socket hears of.
        .both("inbound ", |family| format!("{} goto inbound", inbound(gateway, family)))
        .both("outbound ", |family| format!("{} goto outbound", outbound(gateway, family)))
}

/// From outside, to an armed server.
pub(super) fn inbound(gateway: &Gateway, family: Family) -> String {
    let (ip, n) = (family.ip(), if family == Family::V4 { 4 } else { 6 });
    format!("iifname \"{}\" {ip} saddr != @bypass{n} {ip} daddr . tcp dport @armed{n}", gateway.outside)
}

/// From an inside server, to a mail port outside.
fn outbound(gateway: &Gateway, family: Family) -> String {
    let (ip, n) = (family.ip(), if family == Family::V4 { 4 } else { 6 });
    let Gateway { outside, inside, .. } = gateway;
    let ports = MAIL_PORTS.map(|port| port.to_string()).join(", ");
    format!(
        "iifname \"{inside}\" tcp dport {{ {ports} }} {ip} saddr @originators{n} {ip} saddr != @bypass{n} \
         {ip} daddr != @bypass{n} fib daddr oifname \"{outside}\""
    )
}

/// To the listener; without one the connection is dropped, so that it does not go on unread.
fn taken(name: &'static str, port: u16) -> Chain {
    let mark = mark_diverted();
    Chain::new(name, None)
        .rule("to the listener", format!("meta l4proto tcp tproxy to :{port} {mark} accept"))
        .rule("nobody listens", "counter name closed drop")
}

/// What transparent sockets send is not tracked either: connection tracking would see one side of the dialogue only.
fn outgoing() -> Chain {
    let base = Base { kind: "filter", hook: "output", priority: RAW, policy: "accept" };
    Chain::new("outgoing", Some(base)).rule("transparent", "socket transparent 1 notrack")
}
