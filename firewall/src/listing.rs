//! What the kernel says that it has, compared with what it should have.

use std::collections::{BTreeMap, BTreeSet, HashSet};

use nftables::schema::{
    Chain as ListedChain, NfListObject, Rule, Set as ListedSet, SetFlag, SetType, SetTypeValue,
};
use nftables::types::{NfChainPolicy, NfChainType, NfHook};
use serde_json::Value;

use crate::error::FirewallError;
use crate::table::{Base, Family, Key, Set, Table};

/// A listing by `nft -j list`.
#[derive(Debug, Default)]
pub(crate) struct Listing {
    pub(crate) sets: Vec<ListedSet<'static>>,
    chains: Vec<ListedChain<'static>>,
    rules: Vec<Rule<'static>>,
}

impl Listing {
    /// Reads it. What rules say is left out: versions of `nft` write the same rule in different ways. Their comments are not.
    pub(crate) fn read(text: &str) -> Result<Self, FirewallError> {
        let mut whole: Value = serde_json::from_str(text).map_err(unreadable)?;
        let Value::Array(objects) = whole["nftables"].take() else {
            return Err(FirewallError::Unreadable { program: "nft", said: "no list of objects".into() });
        };
        let mut listing = Self::default();
        for mut object in objects {
            if let Some(expression) = object.pointer_mut("/rule/expr") {
                *expression = Value::Array(Vec::new());
            }
            // Among other kinds, such as the greeting, are ones that a newer version may write differently.
            if !["rule", "set", "chain"].iter().any(|kind| object.get(kind).is_some()) {
                continue;
            }
            match serde_json::from_value(object).map_err(unreadable)? {
                NfListObject::Chain(chain) => listing.chains.push(chain),
                NfListObject::Rule(rule) => listing.rules.push(rule),
                NfListObject::Set(set) => listing.sets.push(*set),
                _ => {}
            }
        }
        Ok(listing)
    }

    /// What is different from the table as it should be; for people.
    pub(crate) fn differences(&self, table: &Table) -> Vec<String> {
        let mut found = Vec::new();
        let names = |names: &mut dyn Iterator<Item = &str>| names.map(str::to_owned).collect::<BTreeSet<_>>();
        let there = names(&mut self.chains.iter().map(|chain| chain.name.as_ref()));
        let wanted = names(&mut table.chains.iter().map(|chain| chain.name));
        let strangers = there.difference(&wanted).map(|name| format!("a chain `{name}` too many"));
        found.extend(strangers);
        let sets = names(&mut self.sets.iter().map(|set| set.name.as_ref()));
        let wanted_sets = names(&mut table.sets.iter().map(|set| set.name));
        found.extend(sets.difference(&wanted_sets).map(|name| format!("a set `{name}` too many")));
        found.extend(table.sets.iter().filter_map(|set| self.set_differs(set)));
        let mut tags: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
        for rule in &self.rules {
            tags.entry(rule.chain.as_ref()).or_default().push(rule.comment.as_deref().unwrap_or_default());
        }
        for chain in &table.chains {
            match self.chains.iter().find(|listed| listed.name == chain.name) {
                None => found.push(format!("no chain `{}`", chain.name)),
                Some(listed) if !is_hooked(listed, chain.base) => {
                    found.push(format!("chain `{}` has another hook, priority or policy", chain.name));
                }
                Some(_) => {}
            }
            let wanted: Vec<&str> = chain.rules.iter().map(|rule| rule.tag.as_str()).collect();
            if tags.get(chain.name).map(Vec::as_slice).unwrap_or_default() != wanted {
                found.push(format!("chain `{}` has other rules", chain.name));
            }
        }
        found
    }

    fn set_differs(&self, set: &Set) -> Option<String> {
        let Some(listed) = self.sets.iter().find(|listed| listed.name == set.name) else {
            return Some(format!("no set `{}`", set.name));
        };
        let (kind, flags) = kind(set.key);
        if listed.set_type != kind || listed.flags.clone().unwrap_or_default() != flags {
            return Some(format!("set `{}` is of another kind", set.name));
        }
        let count = listed.elem.as_ref().map_or(0, |elements| elements.len());
        let wanted = set.elements.as_ref()?.len();
        (count != wanted).then(|| format!("set `{}` has {count} elements instead of {wanted}", set.name))
    }
}

fn unreadable(error: serde_json::Error) -> FirewallError {
    FirewallError::Unreadable { program: "nft", said: error.to_string() }
}

fn kind(key: Key) -> (SetTypeValue<'static>, HashSet<SetFlag>) {
    let address = |family| match family {
        Family::V4 => SetType::Ipv4Addr,
        Family::V6 => SetType::Ipv6Addr,
    };
    match key {
        Key::Endpoints(family) => {
            let parts = vec![address(family), SetType::InetService];
            (SetTypeValue::Concatenated(parts.into()), HashSet::new())
        }
        Key::Networks(family) => (SetTypeValue::Single(address(family)), HashSet::from([SetFlag::Interval])),
        Key::Bans(family) => {
            let flags = HashSet::from([SetFlag::Interval, SetFlag::Timeout]);
            (SetTypeValue::Single(address(family)), flags)
        }
    }
}

fn is_hooked(listed: &ListedChain<'_>, base: Option<Base>) -> bool {
    let Some(base) = base else { return listed.hook.is_none() };
    let hook = match listed.hook {
        Some(NfHook::Prerouting) => "prerouting",
        Some(NfHook::Input) => "input",
        Some(NfHook::Forward) => "forward",
        Some(NfHook::Output) => "output",
        _ => return false,
    };
    let kind = match listed._type {
        Some(NfChainType::Filter) => "filter",
        Some(NfChainType::NAT) => "nat",
        _ => return false,
    };
    let policy = match listed.policy {
        Some(NfChainPolicy::Drop) => "drop",
        _ => "accept",
    };
    Some(base.priority) == listed.prio && Base { kind, hook, priority: base.priority, policy } == base
}
