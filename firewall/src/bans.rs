//! Networks from which no new TCP connection gets in for a time. The kernel forgets them by itself. What is open stays
//! open, and connections to there can be made.

use std::net::IpAddr;
use std::time::Duration;

use ipnet::IpNet;
use nftables::expr::{Elem, Expression, NamedExpression};

use crate::TABLE;
use crate::apply::loaded;
use crate::error::FirewallError;
use crate::listing::Listing;
use crate::ruleset::{ban_set, element};
use crate::settings::canonical;
use crate::system::System;
use crate::table::Family;

/// Bans at once, in both families together. With more, those that would end first end now.
pub const MAX_BANS: usize = 16_384;
/// The sets' own bound. Kernels before 6.17 count the two ends of a network one by one, and an element that is replaced
/// counts twice for a moment.
pub(crate) const SET_SIZE: usize = 4 * MAX_BANS;
/// A ban is at least this long: shorter ones would be over before they are listed.
const SHORTEST: Duration = Duration::from_secs(1);
/// And at most this long.
const LONGEST: Duration = Duration::from_secs(366 * 86_400);
/// A ban that ends between listing and changing makes the change fail. So does another program that bans at the same time.
const TRIES: usize = 4;

/// A banned network.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ban {
    /// The network.
    pub network: IpNet,
    /// For how long from now, in whole seconds; from a second to a year.
    pub remaining: Duration,
}

/// The bans there are, in order of their networks.
///
/// # Errors
///
/// The rule set is not loaded, or cannot be read.
pub fn bans(system: &System) -> Result<Vec<Ban>, FirewallError> {
    let mut found = Vec::new();
    for family in Family::BOTH {
        let listing = loaded(system.nft(&["-j", "list", "set", "inet", TABLE, ban_set(family)], ""))?;
        for set in Listing::read(&listing)?.sets {
            found.extend(set.elem.iter().flat_map(|elements| elements.iter()).filter_map(listed));
        }
    }
    found.sort_by_key(|ban| ban.network);
    Ok(found)
}

fn listed(expression: &Expression<'_>) -> Option<Ban> {
    let Expression::Named(NamedExpression::Elem(Elem { val, expires, .. })) = expression else { return None };
    let address = |expression: &Expression<'_>| match expression {
        Expression::String(text) => text.parse::<IpAddr>().ok(),
        _ => None,
    };
    let network = match val.as_ref() {
        Expression::Named(NamedExpression::Prefix(prefix)) => {
            IpNet::new(address(&prefix.addr)?, u8::try_from(prefix.len).ok()?).ok()?
        }
        other => IpNet::from(address(other)?),
    };
    Some(Ban { network, remaining: Duration::from_secs(expires.unwrap_or_default().into()) })
}

/// Adds bans, all at once. A network that is banned already is banned for the longer of both times. One inside a wider ban
/// stays as it is, and a wider one takes the place of those inside it.
///
/// # Errors
///
/// The rule set is not loaded, or the kernel refuses. Then no ban was added.
pub fn ban(system: &System, new: &[Ban]) -> Result<(), FirewallError> {
    if new.is_empty() {
        return Ok(());
    }
    change(system, |mut bans| {
        new.iter().for_each(|ban| add(&mut bans, *ban));
        if bans.len() > MAX_BANS {
            bans.sort_by_key(|ban| std::cmp::Reverse(ban.remaining));
            bans.truncate(MAX_BANS);
        }
        bans
    })
    .map(drop)
}

/// Ends the bans of these networks and of networks inside them. Says how many that were.
///
/// # Errors
///
/// The rule set is not loaded, or the kernel refuses. Then no ban was ended.
pub fn unban(system: &System, networks: &[IpNet]) -> Result<usize, FirewallError> {
    let networks: Vec<_> = networks.iter().map(canonical).collect();
    change(system, |mut bans| {
        bans.retain(|ban| !networks.iter().any(|network| network.contains(&ban.network)));
        bans
    })
}

/// How many bans ended or were replaced.
fn change(system: &System, next: impl Fn(Vec<Ban>) -> Vec<Ban>) -> Result<usize, FirewallError> {
    let mut tries = TRIES;
    loop {
        let before = bans(system)?;
        let after = next(before.clone());
        let gone: Vec<_> = before.iter().filter(|ban| !after.contains(ban)).copied().collect();
        let come: Vec<_> = after.into_iter().filter(|ban| !before.contains(ban)).collect();
        if gone.is_empty() && come.is_empty() {
            return Ok(0);
        }
        tries -= 1;
        match system.nft(&["-f", "-"], &transaction(&gone, &come)) {
            Err(FirewallError::Refused { .. } | FirewallError::KernelLacks { .. }) if tries > 0 => {}
            answer => return answer.map(|_| gone.len()),
        }
    }
}

fn add(bans: &mut Vec<Ban>, new: Ban) {
    let network = canonical(&new.network);
    let remaining = Duration::from_secs(new.remaining.clamp(SHORTEST, LONGEST).as_secs());
    let outlasts = |ban: &Ban| ban.network != network || ban.remaining >= remaining;
    if bans.iter().any(|ban| ban.network.contains(&network) && outlasts(ban)) {
        return;
    }
    bans.retain(|ban| !network.contains(&ban.network));
    bans.push(Ban { network, remaining });
}

fn transaction(gone: &[Ban], come: &[Ban]) -> String {
    let mut text = String::new();
    for (verb, bans) in [("delete", gone), ("add", come)] {
        for family in Family::BOTH {
            let of_family =
                bans.iter().filter(|ban| matches!(ban.network, IpNet::V4(_)) == (family == Family::V4));
            let elements: Vec<_> = of_family
                .map(|ban| match verb {
                    "add" => format!("{} timeout {}s", element(&ban.network), ban.remaining.as_secs()),
                    _ => element(&ban.network),
                })
                .collect();
            if !elements.is_empty() {
                let set = ban_set(family);
                text.push_str(&format!("{verb} element inet {TABLE} {set} {{ {} }}\n", elements.join(", ")));
            }
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ban(network: &str, seconds: u64) -> Ban {
        Ban { network: network.parse().unwrap(), remaining: Duration::from_secs(seconds) }
    }

    #[test]
    fn bans_never_overlap() {
        let mut bans = Vec::new();
        add(&mut bans, ban("192.0.2.7/32", 60));
        add(&mut bans, ban("192.0.2.7/32", 30));
        assert_eq!(bans, [ban("192.0.2.7/32", 60)]);
        add(&mut bans, ban("192.0.2.7/32", 90));
        assert_eq!(bans, [ban("192.0.2.7/32", 90)]);
        add(&mut bans, ban("192.0.2.99/24", 30));
        assert_eq!(bans, [ban("192.0.2.0/24", 30)]);
        add(&mut bans, ban("192.0.2.8/32", 600));
        add(&mut bans, ban("::ffff:192.0.2.9/128", 600));
        assert_eq!(bans, [ban("192.0.2.0/24", 30)]);
        add(&mut bans, ban("2001:db8::1/64", 0));
        assert_eq!(bans[1..], [ban("2001:db8::/64", 1)]);
    }

    #[test]
    fn a_change_is_one_transaction() {
        let text =
            transaction(&[ban("192.0.2.7/32", 1)], &[ban("192.0.2.0/24", 60), ban("2001:db8::/64", 9)]);
        assert_eq!(
            text,
            "delete element inet postern banned4 { 192.0.2.7 }\n\
             add element inet postern banned4 { 192.0.2.0/24 timeout 60s }\n\
             add element inet postern banned6 { 2001:db8::/64 timeout 9s }\n"
        );
    }
}
