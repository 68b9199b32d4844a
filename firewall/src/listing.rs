//! What the kernel says that it has, compared with what it should have.

use std::collections::{BTreeMap, BTreeSet, HashSet};

use nftables::schema::{
    Chain as ListedChain, NfListObject, Rule, Set as ListedSet, SetFlag, SetType, SetTypeValue,
};
use nftables::types::{NfChainPolicy, NfChainType, NfHook};
use serde_json::Value;

use crate::TABLE;
use crate::error::FirewallError;
use crate::table::{Base, Family, Flowtable, Key, Set, Table};

/// A listing by `nft -j list`.
#[derive(Debug, Default)]
pub(crate) struct Listing {
    pub(crate) sets: Vec<ListedSet<'static>>,
    chains: Vec<ListedChain<'static>>,
    rules: Vec<Rule<'static>>,
    /// By name, with the names of its interfaces.
    flowtables: BTreeMap<String, BTreeSet<String>>,
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
            if let Some(flowtable) = object.get("flowtable") {
                let name = flowtable["name"].as_str().unwrap_or_default().to_owned();
                listing.flowtables.insert(name, devices(&flowtable["dev"]));
                continue;
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

    /// Whether there is any.
    pub(crate) fn has_flowtable(&self) -> bool {
        !self.flowtables.is_empty()
    }

    /// The commands that take away flowtables which are not this one: it cannot be told to look at other interfaces.
    pub(crate) fn without_other_flowtables(&self, wanted: Option<&Flowtable>) -> String {
        let is_wanted = |(name, devices): &(&String, &BTreeSet<String>)| {
            wanted.is_some_and(|wanted| wanted.name == *name && wanted.devices == **devices)
        };
        let others = self.flowtables.iter().filter(|other| !is_wanted(other));
        others
            .map(|(name, _)| {
                format!("flush chain inet {TABLE} forward\ndelete flowtable inet {TABLE} {name}\n")
            })
            .collect()
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
        found.extend(self.flowtable_differs(table.flowtable.as_ref()));
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

    fn flowtable_differs(&self, wanted: Option<&Flowtable>) -> Option<String> {
        let wanted: BTreeMap<_, _> =
            wanted.iter().map(|flowtable| (flowtable.name.to_owned(), flowtable.devices.clone())).collect();
        (self.flowtables != wanted).then(|| {
            let of = |flowtables: &BTreeMap<String, BTreeSet<String>>| {
                let interfaces: Vec<_> = flowtables.values().flatten().map(String::as_str).collect();
                if interfaces.is_empty() { "none".to_owned() } else { interfaces.join(" and ") }
            };
            format!("flowtables of {} instead of {}", of(&self.flowtables), of(&wanted))
        })
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

/// One is written as a string, several as a list, none not at all.
fn devices(listed: &Value) -> BTreeSet<String> {
    let several = listed.as_array().map(Vec::as_slice).unwrap_or_default();
    several.iter().chain([listed]).filter_map(Value::as_str).map(str::to_owned).collect()
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

#[cfg(test)]
mod tests {
    use super::*;

    fn listing(devices: &str) -> Listing {
        let flowtable = format!(
            r#"{{"flowtable": {{"family": "inet", "name": "passing", "table": "postern",
            "handle": 3, "hook": "ingress", "prio": 0{devices}}}}}"#
        );
        Listing::read(&format!(r#"{{"nftables": [{{"metainfo": {{"version": "1"}}}}, {flowtable}]}}"#))
            .unwrap()
    }

    #[test]
    fn a_flowtable_of_other_interfaces_is_noticed_and_goes_before_the_right_one_comes() {
        let wanted = Flowtable { name: "passing", devices: ["in".to_owned(), "out".to_owned()].into() };
        let right = listing(r#", "dev": ["out", "in"]"#);
        assert_eq!(right.flowtable_differs(Some(&wanted)), None);
        assert_eq!(right.without_other_flowtables(Some(&wanted)), "");
        assert_eq!(Listing::default().without_other_flowtables(Some(&wanted)), "");
        for other in ["", r#", "dev": "out""#, r#", "dev": ["out", "in", "third"]"#] {
            let other = listing(other);
            assert!(other.flowtable_differs(Some(&wanted)).is_some(), "{other:?}");
            assert!(
                other
                    .without_other_flowtables(Some(&wanted))
                    .ends_with("delete flowtable inet postern passing\n")
            );
        }
        assert_eq!(right.flowtable_differs(None).unwrap(), "flowtables of in and out instead of none");
        assert!(!right.without_other_flowtables(None).is_empty(), "another mode has none");
    }
}
