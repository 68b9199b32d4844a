//! The rule set: settings that were checked, and what follows from them.

mod interception;
mod passage;
mod reception;

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::net::IpAddr;

use ipnet::IpNet;

use crate::bans::SET_SIZE;
use crate::marks;
use crate::routes;
use crate::settings::{self, Gateway, Invalid, MAX_ENTRIES, Mode, Settings};
use crate::sysctl::{self, Sysctl};
use crate::table::{Family, Flowtable, Key, Set, Table};

/// A first packet of a connection, and no other; ECN's flags (RFC 3168 §6.1.1) may be set.
const SYN: &str = "tcp flags & (fin | syn | rst | ack) == syn";
/// Every packet but a connection's first.
const NO_SYN: &str = "tcp flags & (fin | syn | rst | ack) != syn";
/// The kernel's numbers of nftables' standard priorities: `raw` is before connection tracking (-200).
const RAW: i32 = -300;
const MANGLE: i32 = -150;
const DSTNAT: i32 = -100;
const FILTER: i32 = 0;

/// Networks that are wider than this are mistakes: with a few of them nobody could send mail any more.
const WIDEST_BAN: [u8; 2] = [8, 16];

/// A rule set: a value, from settings that were checked.
#[derive(Clone, Debug)]
pub struct RuleSet {
    settings: Settings,
}

/// Why a network should not be banned.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum WhyNot {
    /// Mail from or to there is passed on unread, because the administrator trusts it.
    #[error("{0} is to be bypassed")]
    Bypassed(IpNet),
    /// It is loopback, link-local, multicast or no address at all: routers and neighbours speak from there.
    #[error("these are no addresses of senders")]
    NoSender,
    /// Part of it is the appliance's, an administrator's or inside.
    #[error("{0} is the appliance's own, an administrator's or inside")]
    Protected(IpNet),
    /// It is most of the Internet.
    #[error("it is wider than /{0}")]
    TooWide(u8),
}

impl RuleSet {
    /// Checks the settings.
    ///
    /// # Errors
    ///
    /// The first thing that is wrong with them.
    pub fn new(settings: Settings) -> Result<Self, Invalid> {
        settings.checked().map(|settings| Self { settings })
    }

    /// The settings, with addresses in their one form and networks disjoint.
    pub fn settings(&self) -> &Settings {
        &self.settings
    }

    /// The text that `nft -f -` loads, in one transaction. Comments at its head name the routes and kernel settings that
    /// [`RuleSet::apply`] puts in place beside it. Every kernel takes it; one that has flowtables gets more by `apply`.
    pub fn render(&self) -> String {
        self.text(&self.table())
    }

    /// The same with one of the tables that will do.
    pub(crate) fn text(&self, table: &Table) -> String {
        let mut text = String::from("# Postern's rule set: one transaction for `nft -f -`.\n");
        if self.diverts() {
            text.push_str("# It needs these policy routes:\n");
            for command in routes::commands() {
                let _ = writeln!(text, "#   ip {command}");
            }
        }
        let sysctls = self.sysctls();
        if !sysctls.is_empty() {
            text.push_str("# and these kernel settings; forwarding only when the rules are there:\n");
        }
        for sysctl in &sysctls {
            let _ = writeln!(text, "#   {sysctl}");
        }
        let _ = write!(text, "\n{table}");
        text
    }

    /// Whether a network may be banned.
    ///
    /// # Errors
    ///
    /// Why it should not be: a ban would do harm.
    pub fn may_ban(&self, network: IpNet) -> Result<(), WhyNot> {
        let network = settings::canonical(&network);
        let widest = WIDEST_BAN[usize::from(matches!(network, IpNet::V6(_)))];
        if !is_a_senders(network.network()) {
            return Err(WhyNot::NoSender);
        }
        if network.prefix_len() < widest {
            return Err(WhyNot::TooWide(widest));
        }
        let touches = |other: &&IpNet| other.contains(&network) || network.contains(*other);
        if let Some(own) = self.settings.protected.iter().find(touches) {
            return Err(WhyNot::Protected(*own));
        }
        let Mode::Gateway(gateway) = &self.settings.mode else { return Ok(()) };
        let targets: Vec<_> = gateway.targets.iter().map(|target| IpNet::from(target.ip())).collect();
        if let Some(inside) = gateway.originators.iter().chain(&targets).find(touches) {
            return Err(WhyNot::Protected(*inside));
        }
        gateway.bypass.iter().find(touches).map_or(Ok(()), |trusted| Err(WhyNot::Bypassed(*trusted)))
    }

    /// Whether packets for foreign addresses are brought to sockets of the appliance's.
    pub(crate) fn diverts(&self) -> bool {
        match &self.settings.mode {
            Mode::Front { transparent_source } => *transparent_source,
            Mode::Gateway(_) | Mode::Bridge => true,
        }
    }

    pub(crate) fn gateway(&self) -> Option<&Gateway> {
        match &self.settings.mode {
            Mode::Gateway(gateway) => Some(gateway),
            Mode::Front { .. } | Mode::Bridge => None,
        }
    }

    pub(crate) fn sysctls(&self) -> Vec<Sysctl> {
        let interfaces = self.gateway().map(|gateway| (gateway.outside.as_str(), gateway.inside.as_str()));
        if self.diverts() { sysctl::needed(interfaces) } else { Vec::new() }
    }

    /// What every kernel takes.
    pub(crate) fn table(&self) -> Table {
        self.table_with(None)
    }

    /// For a kernel that has flowtables: what is forwarded and open goes by a shorter way. `None` where nothing is forwarded.
    pub(crate) fn fast_table(&self) -> Option<Table> {
        let Gateway { outside, inside, .. } = self.gateway()?;
        let devices = BTreeSet::from([outside.clone(), inside.clone()]);
        Some(self.table_with(Some(Flowtable { name: FLOWTABLE, devices })))
    }

    fn table_with(&self, flowtable: Option<Flowtable>) -> Table {
        let mut table = Table { counters: COUNTERS.to_vec(), ..Table::default() };
        table.sets.extend(ban_sets());
        let chains = [self.interception(), self.passage(flowtable.is_some()), self.reception()].concat();
        table.flowtable = flowtable;
        match self.gateway() {
            Some(gateway) => table.sets.extend(gateway_sets(gateway)),
            None => table.foreign_sets = gateway_sets(&nowhere()),
        }
        table.foreign_chains = CHAINS.to_vec();
        table.foreign_chains.retain(|name| chains.iter().all(|chain| chain.name != *name));
        table.chains = chains;
        table
    }
}

/// What open connections are kept in that the kernel forwards by itself.
pub(crate) const FLOWTABLE: &str = "passing";

/// What is dropped, by reason.
const COUNTERS: [&str; 9] = [
    "banned",
    "spoofed",
    "closed",
    "undelivered",
    "midstream",
    "strangers",
    "not_forwarded",
    "noise",
    "not_offered",
];

/// The chains of all modes.
const CHAINS: [&str; 10] = [
    "screen",
    "opening",
    "ours",
    "divert",
    "inbound",
    "outbound",
    "outgoing",
    "forward",
    "input",
    "translate",
];

/// Whether mail can come from there.
fn is_a_senders(address: IpAddr) -> bool {
    let local = match address {
        IpAddr::V4(v4) => v4.is_link_local() || v4.is_broadcast() || v4.octets()[0] == 0,
        IpAddr::V6(v6) => v6.is_unicast_link_local(),
    };
    !(local || address.is_loopback() || address.is_multicast() || address.is_unspecified())
}

/// The sets that `ban` fills.
fn ban_sets() -> [Set; 2] {
    Family::BOTH.map(|family| Set {
        name: ban_set(family),
        key: Key::Bans(family),
        size: SET_SIZE,
        elements: None,
    })
}

pub(crate) fn ban_set(family: Family) -> &'static str {
    match family {
        Family::V4 => "banned4",
        Family::V6 => "banned6",
    }
}

/// The sets of gateway mode, with what is in them.
pub(crate) fn gateway_sets(gateway: &Gateway) -> Vec<Set> {
    let mut sets = Vec::new();
    for (family, names) in Family::BOTH.into_iter().zip([
        ["targets4", "armed4", "originators4", "bypass4"],
        ["targets6", "armed6", "originators6", "bypass6"],
    ]) {
        let [targets, armed, originators, bypass] = names;
        let is_v4 = family == Family::V4;
        for (name, endpoints) in [(targets, &gateway.targets), (armed, &gateway.armed)] {
            let of_family = endpoints.iter().filter(|endpoint| endpoint.is_ipv4() == is_v4);
            let elements = of_family.map(|endpoint| format!("{} . {}", endpoint.ip(), endpoint.port()));
            let elements = Some(elements.collect());
            sets.push(Set { name, key: Key::Endpoints(family), size: MAX_ENTRIES, elements });
        }
        for (name, networks) in [(originators, &gateway.originators), (bypass, &gateway.bypass)] {
            let of_family = networks.iter().filter(|network| matches!(network, IpNet::V4(_)) == is_v4);
            let elements = Some(of_family.map(element).collect());
            // An interval counts as two.
            sets.push(Set { name, key: Key::Networks(family), size: 2 * MAX_ENTRIES + 2, elements });
        }
    }
    sets
}

/// A network as an element of a set.
pub(crate) fn element(network: &IpNet) -> String {
    match network.prefix_len() == network.max_prefix_len() {
        true => network.addr().to_string(),
        false => network.to_string(),
    }
}

fn nowhere() -> Gateway {
    Gateway {
        outside: String::new(),
        inside: String::new(),
        inbound_port: 0,
        outbound_port: 0,
        targets: Default::default(),
        armed: Default::default(),
        originators: Vec::new(),
        bypass: Vec::new(),
        forward: Vec::new(),
    }
}

/// Matches packets that have the mark.
fn marked(mark: u32) -> String {
    format!("meta mark & {mark:#010x} == {mark:#010x}")
}

/// Sets the mark beside those that a packet has.
fn mark_diverted() -> String {
    format!("meta mark set meta mark | {:#010x}", marks::DIVERT)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rules() -> RuleSet {
        let gateway = Gateway {
            outside: "eth0".into(),
            inside: "eth1".into(),
            inbound_port: 20025,
            outbound_port: 20026,
            targets: BTreeSet::from(["198.51.100.25:25".parse().unwrap()]),
            originators: vec!["2001:db8:2::/64".parse().unwrap()],
            bypass: vec!["203.0.113.0/26".parse().unwrap()],
            ..nowhere()
        };
        let protected = vec!["192.0.2.1/32".parse().unwrap()];
        let mode = Mode::Gateway(gateway);
        RuleSet::new(Settings { mode, services: Vec::new(), redirects: Vec::new(), protected }).unwrap()
    }

    #[test]
    fn own_inside_trusted_and_strange_addresses_may_not_be_banned() {
        let protected = |text: &str| WhyNot::Protected(text.parse().unwrap());
        for (network, why_not) in [
            ("192.0.2.1/32", protected("192.0.2.1/32")),
            ("192.0.2.0/24", protected("192.0.2.1/32")),
            ("::ffff:192.0.2.1/128", protected("192.0.2.1/32")),
            ("198.51.100.25/32", protected("198.51.100.25/32")),
            ("2001:db8:2::7/128", protected("2001:db8:2::/64")),
            ("2001:db8::/32", protected("2001:db8:2::/64")),
            ("203.0.113.9/32", WhyNot::Bypassed("203.0.113.0/26".parse().unwrap())),
            ("127.0.0.1/32", WhyNot::NoSender),
            ("fe80::1/128", WhyNot::NoSender),
            ("224.0.0.0/8", WhyNot::NoSender),
            ("0.0.0.0/0", WhyNot::NoSender),
            ("::/0", WhyNot::NoSender),
            ("128.0.0.0/1", WhyNot::TooWide(8)),
            ("2000::/3", WhyNot::TooWide(16)),
        ] {
            assert_eq!(rules().may_ban(network.parse().unwrap()), Err(why_not), "{network}");
        }
        for network in ["192.0.2.2/32", "203.0.113.64/26", "2001:db8:3::/64"] {
            assert_eq!(rules().may_ban(network.parse().unwrap()), Ok(()), "{network}");
        }
    }

    #[test]
    fn settings_that_cannot_be_are_refused() {
        type Change = fn(&mut Gateway);
        let changes: [(Change, &str); 8] = [
            (|g| g.outside = "eth*".into(), "`eth*` cannot be an interface"),
            (|g| g.outside = "a\" accept".into(), "cannot be an interface"),
            (|g| g.outside = "../../proc".into(), "cannot be an interface"),
            (|g| g.inside = "eth0".into(), "outside and inside"),
            (|g| g.outbound_port = 20025, "listening port 20025"),
            (|g| g.inbound_port = 0, "`tcp/0` is no port"),
            (|g| g.armed = BTreeSet::from(["198.51.100.25:26".parse().unwrap()]), "no server of a backend"),
            (|g| g.targets = BTreeSet::from(["[::]:25".parse().unwrap()]), "not the address of a server"),
        ];
        for (change, expected) in changes {
            let mut settings = rules().settings;
            let Mode::Gateway(gateway) = &mut settings.mode else { panic!("{settings:?}") };
            change(gateway);
            let error = RuleSet::new(settings).unwrap_err();
            assert!(error.to_string().contains(expected), "{error}");
        }
        let bridge = Settings { mode: Mode::Bridge, ..rules().settings };
        assert_eq!(RuleSet::new(bridge).unwrap_err(), Invalid::Bridge);
    }
}
