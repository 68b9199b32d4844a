//! How the world sees the addresses that mail leaves from: by what name, and whether they are on a block list.

use std::net::IpAddr;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::state::{Level, Problem};

/// All of them.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct AddressesState {
    /// The name in the greeting, which they have to have.
    pub hostname: String,
    /// Public ones; none where mail leaves by a relay, or where they are not known.
    pub addresses: Vec<AddressState>,
}

/// One of the addresses that mail leaves from, as it was seen last.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct AddressState {
    /// The address.
    pub address: IpAddr,
    /// Names that its PTR records give it; none where there are none, or where it is not known yet.
    pub names: Vec<String>,
    /// What is to be said of them.
    pub name: NameState,
    /// Block lists of the config (`judge.dnsbl`) that it is on.
    pub lists: Vec<ListedOn>,
    /// When it was looked at, in seconds since 1970.
    pub looked: u64,
}

/// What is to be said of an address' names.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum NameState {
    /// It is called by the name in the greeting, which leads back to it (forward-confirmed).
    Right,
    /// It has no name.
    Missing,
    /// It is called something else.
    Other,
    /// It has the right name, which does not lead back to it.
    Unconfirmed,
    /// The DNS does not answer.
    Unknown,
}

/// A list that an address is on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ListedOn {
    /// The list.
    pub list: String,
    /// Why, in the list's own words; empty if it gives none.
    pub reason: String,
}

/// What wants to be looked after of them.
pub(super) fn problems(state: &AddressesState) -> Vec<Problem> {
    let hostname = &state.hostname;
    let mut problems = Vec::new();
    for one in &state.addresses {
        let address = one.address;
        for blocked in &one.lists {
            let said = if blocked.reason.is_empty() { "It gives no reason" } else { &blocked.reason };
            problems.push(Problem {
                key: format!("listed {address} {}", blocked.list),
                level: Level::Attention,
                sentence: format!(
                    "{address}, which mail leaves from, is on the block list {}: {said}.",
                    blocked.list
                ),
                advice: "Find out first what was sent: see Senders and the queue for who sends much, and what servers answer. \
                         Then ask the list to take the address off, on its web site."
                    .to_owned(),
            });
        }
        let called = one.names.join(", ");
        let reverse = format!(
            "Have whoever gave you the address name it {hostname} in the reverse zone; `postern dns` has the record."
        );
        let (sentence, advice) = match one.name {
            NameState::Right | NameState::Unknown => continue,
            NameState::Missing => (
                format!(
                    "{address}, which mail leaves from, has no name (PTR): many servers take no mail from it."
                ),
                reverse,
            ),
            NameState::Other => (
                format!("{address}, which mail leaves from, is called {called} (PTR), not {hostname}."),
                reverse,
            ),
            NameState::Unconfirmed => (
                format!(
                    "{address}, which mail leaves from, is called {hostname} (PTR), which has other addresses."
                ),
                format!("Publish {address} as an address (A or AAAA) of {hostname}."),
            ),
        };
        let key = format!("ptr {address}");
        problems.push(Problem { key, level: Level::Attention, sentence, advice });
    }
    problems
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_fault_is_told_by_itself_with_what_to_do() {
        let address = |name, names: &[&str], lists: &[&str]| AddressState {
            address: "192.0.2.7".parse().unwrap(),
            names: names.iter().map(|name| (*name).to_owned()).collect(),
            name,
            lists: lists
                .iter()
                .map(|list| ListedOn { list: (*list).to_owned(), reason: "spam was seen".to_owned() })
                .collect(),
            looked: 0,
        };
        let told = |state: AddressState| {
            let state = AddressesState { hostname: "mx.test".to_owned(), addresses: vec![state] };
            let problems = problems(&state);
            assert!(problems.iter().all(|one| !one.advice.is_empty() && one.level == Level::Attention));
            problems.into_iter().map(|one| one.sentence).collect::<Vec<_>>()
        };
        assert!(told(address(NameState::Right, &["mx.test"], &[])).is_empty());
        assert!(
            told(address(NameState::Unknown, &[], &[])).is_empty(),
            "not on account of silent name servers"
        );
        let said = told(address(NameState::Other, &["host7.isp.test"], &["bl.test", "other.test"]));
        assert_eq!(said.len(), 3);
        assert!(said[0].contains("on the block list bl.test: spam was seen."), "{said:?}");
        assert!(said[2].contains("is called host7.isp.test (PTR), not mx.test."), "{said:?}");
        assert!(told(address(NameState::Missing, &[], &[]))[0].contains("has no name"));
        assert!(told(address(NameState::Unconfirmed, &["mx.test"], &[]))[0].contains("has other addresses"));
    }
}
