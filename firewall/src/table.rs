//! An nftables table as a value, and its text. What its rules say is text; what is around them is typed, because it is what a
//! listing is compared with.

use std::collections::BTreeSet;
use std::fmt::{self, Write as _};

use crate::TABLE;

/// A whole table, and how to get there from an earlier version of it.
#[derive(Clone, Debug, Default)]
pub(crate) struct Table {
    pub(crate) counters: Vec<&'static str>,
    pub(crate) sets: Vec<Set>,
    /// Through which open connections are forwarded faster, where the kernel can.
    pub(crate) flowtable: Option<Flowtable>,
    pub(crate) chains: Vec<Chain>,
    /// Chains that other modes have and this one has not.
    pub(crate) foreign_chains: Vec<&'static str>,
    /// Sets that other modes have and this one has not.
    pub(crate) foreign_sets: Vec<Set>,
}

/// Connections whose packets go from one interface to another without coming by the chains.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Flowtable {
    pub(crate) name: &'static str,
    /// Whose packets are looked up in it.
    pub(crate) devices: BTreeSet<String>,
}

/// A named set.
#[derive(Clone, Debug)]
pub(crate) struct Set {
    pub(crate) name: &'static str,
    pub(crate) key: Key,
    /// The most elements; an interval may count as two.
    pub(crate) size: usize,
    /// `None`: filled while it runs, and kept when the table is loaded again.
    pub(crate) elements: Option<Vec<String>>,
}

/// What a set consists of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Key {
    /// An address and a port.
    Endpoints(Family),
    /// Networks.
    Networks(Family),
    /// Networks, each for a time.
    Bans(Family),
}

/// An address family.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Family {
    V4,
    V6,
}

impl Family {
    pub(crate) const BOTH: [Self; 2] = [Self::V4, Self::V6];

    /// The protocol's name in rules.
    pub(crate) fn ip(self) -> &'static str {
        match self {
            Self::V4 => "ip",
            Self::V6 => "ip6",
        }
    }

    fn address(self) -> &'static str {
        match self {
            Self::V4 => "ipv4_addr",
            Self::V6 => "ipv6_addr",
        }
    }
}

/// A chain and its rules, in order.
#[derive(Clone, Debug)]
pub(crate) struct Chain {
    pub(crate) name: &'static str,
    /// `None`: only jumped to.
    pub(crate) base: Option<Base>,
    pub(crate) rules: Vec<Rule>,
}

/// Where packets enter a chain.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Base {
    pub(crate) kind: &'static str,
    pub(crate) hook: &'static str,
    /// Lower ones come first.
    pub(crate) priority: i32,
    /// What becomes of packets that no rule decides about.
    pub(crate) policy: &'static str,
}

/// A rule, and the name by which a listing is compared.
#[derive(Clone, Debug)]
pub(crate) struct Rule {
    pub(crate) tag: String,
    pub(crate) text: String,
}

impl Chain {
    pub(crate) fn new(name: &'static str, base: Option<Base>) -> Self {
        Self { name, base, rules: Vec::new() }
    }

    /// The chain with one rule more, at its end.
    pub(crate) fn rule(mut self, tag: impl Into<String>, text: impl Into<String>) -> Self {
        self.rules.push(Rule { tag: tag.into(), text: text.into() });
        self
    }

    /// The chain with one rule more for each family.
    pub(crate) fn both(self, tag: &str, text: impl Fn(Family) -> String) -> Self {
        let number = |family| if family == Family::V4 { 4 } else { 6 };
        Family::BOTH
            .into_iter()
            .fold(self, |chain, family| chain.rule(format!("{tag}{}", number(family)), text(family)))
    }
}

impl Set {
    /// The commands that give it new elements.
    pub(crate) fn refill(&self) -> String {
        let mut text = format!("flush set inet {TABLE} {}\n", self.name);
        if let Some(elements) = self.elements.as_ref().filter(|elements| !elements.is_empty()) {
            let _ = writeln!(text, "add element inet {TABLE} {} {{ {} }}", self.name, elements.join(", "));
        }
        text
    }
}

impl fmt::Display for Flowtable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let devices: Vec<_> = self.devices.iter().map(|device| format!("\"{device}\"")).collect();
        let devices = devices.join(", ");
        writeln!(f, "    flowtable {} {{ hook ingress priority 0; devices = {{ {devices} }}; }}", self.name)
    }
}

impl fmt::Display for Set {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind = match self.key {
            Key::Endpoints(family) => format!("type {} . inet_service", family.address()),
            Key::Networks(family) => format!("type {}; flags interval", family.address()),
            Key::Bans(family) => format!("type {}; flags interval, timeout", family.address()),
        };
        writeln!(f, "    set {} {{ {kind}; size {}; }}", self.name, self.size)
    }
}

impl fmt::Display for Table {
    /// One transaction. What is there already is emptied rather than deleted: a chain that was deleted and made anew would for a
    /// moment have its policy and no rules.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "# What there is, made where it is missing.\ntable inet {TABLE} {{")?;
        for counter in &self.counters {
            writeln!(f, "    counter {counter} {{ }}")?;
        }
        self.sets.iter().try_for_each(|set| write!(f, "{set}"))?;
        self.flowtable.iter().try_for_each(|flowtable| write!(f, "{flowtable}"))?;
        for Chain { name, base, .. } in &self.chains {
            match base {
                None => writeln!(f, "    chain {name} {{ }}")?,
                Some(Base { kind, hook, priority, policy }) => writeln!(
                    f,
                    "    chain {name} {{ type {kind} hook {hook} priority {priority}; policy {policy}; }}"
                )?,
            }
        }
        writeln!(f, "}}\n\n# Earlier rules, and what only other modes have.")?;
        for Chain { name, .. } in &self.chains {
            writeln!(f, "flush chain inet {TABLE} {name}")?;
        }
        for chain in &self.foreign_chains {
            writeln!(f, "add chain inet {TABLE} {chain}\nflush chain inet {TABLE} {chain}")?;
        }
        for chain in &self.foreign_chains {
            writeln!(f, "delete chain inet {TABLE} {chain}")?;
        }
        for set in &self.foreign_sets {
            write!(f, "table inet {TABLE} {{\n{set}}}\ndelete set inet {TABLE} {}\n", set.name)?;
        }
        self.write_contents(f)
    }
}

impl Table {
    fn write_contents(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut filled = self.sets.iter().filter(|set| set.elements.is_some()).peekable();
        if filled.peek().is_some() {
            writeln!(f, "\n# The sets. Bans stay as they are.")?;
        }
        filled.try_for_each(|set| f.write_str(&set.refill()))?;
        writeln!(f, "\n# The rules.\ntable inet {TABLE} {{")?;
        for Chain { name, rules, .. } in &self.chains {
            writeln!(f, "    chain {name} {{")?;
            for Rule { tag, text } in rules {
                writeln!(f, "        {text} comment \"{tag}\"")?;
            }
            writeln!(f, "    }}")?;
        }
        writeln!(f, "}}")
    }
}
