//! What a gateway forwards: a closed list.

use super::interception::inbound;
use super::{FILTER, FLOWTABLE, NO_SYN, RuleSet, marked};
use crate::marks;
use crate::settings::Gateway;
use crate::table::{Base, Chain, Family};

/// Dropped packets are logged, but not so many that the log becomes the damage.
pub(super) const LOGGED: &str = "limit rate 10/minute burst 20 packets log prefix";

impl RuleSet {
    pub(super) fn passage(&self, has_flowtable: bool) -> Vec<Chain> {
        self.gateway().map(|gateway| forward(gateway, has_flowtable)).into_iter().collect()
    }
}

fn forward(gateway: &Gateway, has_flowtable: bool) -> Chain {
    let base = Base { kind: "filter", hook: "forward", priority: FILTER, policy: "drop" };
    let Gateway { outside, inside, .. } = gateway;
    let inward = format!("iifname \"{outside}\" oifname \"{inside}\"");
    let outward = format!("iifname \"{inside}\" oifname \"{outside}\"");
    let mut chain = Chain::new("forward", Some(base));
    if has_flowtable {
        // First and last packets come by here all the same.
        let add = format!("meta l4proto tcp ct state established flow add @{FLOWTABLE}");
        chain = chain.rule("passing", add);
    }
    let mut chain = chain
        // What is diverted is not tracked, and so never open.
        .rule("open", "ct state established accept")
        // It gets here only if the policy route is gone.
        .rule("no policy route", format!("{} counter name undelivered drop", marked(marks::DIVERT)))
        .rule("errors", "ct state related meta l4proto { icmp, ipv6-icmp } accept")
        .rule("no connection", "ct state != new counter name midstream drop")
        // Otherwise what a server sends to a client whose diverted connection is gone would open a way around Postern.
        .rule("midstream", format!("meta l4proto tcp {NO_SYN} counter name midstream drop"))
        .rule("within", format!("iifname \"{inside}\" oifname \"{inside}\" accept"))
        // All of these should have been diverted.
        .both("around ", |family| format!("{} counter name undelivered drop", inbound(gateway, family)))
        .both("spliced ", |family| {
            let (ip, n) = (family.ip(), number(family));
            format!("{inward} {ip} daddr . tcp dport @targets{n} accept")
        });
    for port in &gateway.forward {
        let rule = format!("{inward} {} dport {} accept", port.transport.name(), port.number);
        chain = chain.rule(format!("config {port}"), rule);
    }
    chain
        .both("trusted source ", |family| {
            format!("{outward} tcp dport 25 {} saddr @bypass{} accept", family.ip(), number(family))
        })
        .both("trusted peer ", |family| {
            let (ip, n) = (family.ip(), number(family));
            format!("{outward} tcp dport 25 {ip} saddr @originators{n} {ip} daddr @bypass{n} accept")
        })
        .rule("mail of strangers", format!("{outward} tcp dport 25 counter name strangers drop"))
        .rule("outward", format!("{outward} accept"))
        .rule("log", format!("{LOGGED} \"postern: not forwarded: \" level info"))
        .rule("rest", "counter name not_forwarded drop")
}

fn number(family: Family) -> u8 {
    if family == Family::V4 { 4 } else { 6 }
}
