//! What comes to the appliance itself: refused unless it is named here.

use ipnet::IpNet;

use super::passage::LOGGED;
use super::{DSTNAT, FILTER, RuleSet, marked};
use crate::marks;
use crate::settings::{Redirect, Service};
use crate::table::{Base, Chain};

impl RuleSet {
    pub(super) fn reception(&self) -> Vec<Chain> {
        let mut chains = vec![self.input()];
        if !self.settings.redirects.is_empty() {
            chains.push(translate(&self.settings.redirects));
        }
        chains
    }

    fn input(&self) -> Chain {
        let base = Base { kind: "filter", hook: "input", priority: FILTER, policy: "drop" };
        let mut chain = Chain::new("input", Some(base)).rule("loopback", "iifname \"lo\" accept");
        if self.diverts() {
            chain = chain.rule("diverted", format!("{} accept", marked(marks::DIVERT)));
        }
        chain = necessary(chain.rule("open", "ct state established,related accept"));
        for service in &self.settings.services {
            chain = offer(chain, service);
        }
        for Redirect { listening, at, public } in &self.settings.redirects {
            let at = at.map(IpNet::from).map(|at| of("daddr", &at)).unwrap_or_default();
            let rule =
                format!("{at}ct status dnat tcp dport {listening} ct original proto-dst {public} accept");
            chain = chain.rule(format!("redirected {public}"), rule);
        }
        chain
            // What every network is full of would fill the log.
            .rule("noise", "meta pkttype { broadcast, multicast } counter name noise drop")
            .rule("log", format!("{LOGGED} \"postern: not offered: \" level info"))
            .rule("rest", "counter name not_offered drop")
    }
}

/// Without these there is no network: RFC 4890 §4.4 for ICMPv6, path MTU, addresses by DHCP.
fn necessary(chain: Chain) -> Chain {
    const NEIGHBOURS: &str = "nd-router-advert, nd-neighbor-solicit, nd-neighbor-advert, mld-listener-query";
    const ERRORS: &str = "destination-unreachable, time-exceeded, parameter-problem";
    const ECHO: &str = "echo-request limit rate 10/second burst 20 packets accept";
    chain
        .rule("neighbours", format!("icmpv6 type {{ {NEIGHBOURS} }} accept"))
        .rule("errors 4", format!("icmp type {{ {ERRORS} }} accept"))
        .rule("errors 6", format!("icmpv6 type {{ {ERRORS}, packet-too-big }} accept"))
        .rule("echo 4", format!("icmp type {ECHO}"))
        .rule("echo 6", format!("icmpv6 type {ECHO}"))
        .rule("dhcp 4", "meta nfproto ipv4 udp sport 67 udp dport 68 accept")
        .rule("dhcp 6", "ip6 saddr fe80::/10 udp sport 547 udp dport 546 accept")
}

/// One rule, or one for each network that may use the service.
fn offer(chain: Chain, service: &Service) -> Chain {
    let at = service.at.map(IpNet::from).map(|at| of("daddr", &at)).unwrap_or_default();
    let port = service.port;
    let open = format!("{} dport {} accept", port.transport.name(), port.number);
    if service.from.is_empty() {
        return chain.rule(format!("service {port}"), format!("{at}{open}"));
    }
    let fitting = service.from.iter().filter(|from| {
        // A network of one family never speaks to an address of the other.
        service.at.is_none_or(|at| at.is_ipv4() == matches!(from, IpNet::V4(_)))
    });
    fitting.fold(chain, |chain, from| {
        chain.rule(format!("service {port} for {from}"), format!("{}{at}{open}", of("saddr", from)))
    })
}

/// A match of an address, with a space behind it.
fn of(field: &str, network: &IpNet) -> String {
    let ip = if matches!(network, IpNet::V4(_)) { "ip" } else { "ip6" };
    format!("{ip} {field} {} ", super::element(network))
}

/// Connections to public ports end at listeners on others. The original destination can be asked of the kernel.
fn translate(redirects: &[Redirect]) -> Chain {
    let base = Base { kind: "nat", hook: "prerouting", priority: DSTNAT, policy: "accept" };
    redirects.iter().fold(Chain::new("translate", Some(base)), |chain, redirect| {
        let Redirect { public, listening, .. } = redirect;
        let rule = match redirect.at {
            None => format!("fib daddr type local tcp dport {public} redirect to :{listening}"),
            // A redirect would lead to the interface's first address, where nobody may listen.
            Some(at) => {
                let ip = if at.is_ipv4() { "ip" } else { "ip6" };
                let to = std::net::SocketAddr::new(at, *listening);
                format!("{}tcp dport {public} dnat {ip} to {to}", of("daddr", &IpNet::from(at)))
            }
        };
        chain.rule(format!("redirect {public}"), rule)
    })
}
