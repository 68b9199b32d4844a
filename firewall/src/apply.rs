//! Puts a rule set in place, and takes it away.
//!
//! Rules and routes are not one transaction, so the order matters: routes and kernel settings first, then the rules, which
//! would otherwise divert into nothing, and forwarding last, which would otherwise forward what the rules forbid. Away in
//! the reverse order.

use std::collections::BTreeSet;
use std::net::SocketAddr;

use ipnet::IpNet;

use crate::error::FirewallError;
use crate::listing::Listing;
use crate::routes::{self, Piece};
use crate::ruleset::{RuleSet, gateway_sets};
use crate::settings::{Gateway, Mode};
use crate::state::Earlier;
use crate::sysctl::{self, Sysctl};
use crate::system::System;
use crate::table::Table;
use crate::{CLOSED, TABLE};

/// A rule set that is in place.
#[derive(Debug)]
pub struct Applied {
    rules: RuleSet,
    system: System,
}

impl RuleSet {
    /// Puts everything in place, in place of whatever an earlier rule set left, and reads it back. Bans stay, connections that
    /// are open live on.
    ///
    /// # Errors
    ///
    /// It could not be put in place, or is not there afterwards. Then everything is as it was before.
    pub fn apply(&self, system: &System) -> Result<Applied, FirewallError> {
        if let Some(Gateway { outside, inside, .. }) = self.gateway()
            && let Some(missing) = [outside, inside].into_iter().find(|name| !sysctl::has_interface(name))
        {
            return Err(FirewallError::NoInterface(missing.clone()));
        }
        let mut change = Change { system, earlier: Earlier::load(system.state())?, done: Vec::new() };
        let Err(cause) = self.put_in_place(&mut change) else {
            tracing::info!("the rule set is in place");
            return Ok(Applied { rules: self.clone(), system: system.clone() });
        };
        tracing::warn!(error = %cause, "the rule set is not in place: what was done is undone");
        Err(match change.undo() {
            Ok(()) => cause,
            Err(left) => FirewallError::NotUndone { cause: cause.into(), left: left.into() },
        })
    }

    fn put_in_place(&self, change: &mut Change<'_>) -> Result<(), FirewallError> {
        let sysctls = self.sysctls();
        let was_as_delivered = change.earlier.entries().is_empty();
        change.give_up(&sysctls)?;
        let (opening, other): (Vec<_>, Vec<_>) =
            sysctls.iter().partition(|sysctl| sysctl::opens_the_way(&sysctl.path));
        other.into_iter().try_for_each(|sysctl| change.set(sysctl))?;
        if self.diverts() {
            routes::pieces().into_iter().try_for_each(|piece| change.route(piece, true))?;
        }
        let there_were_rules = self.load(change)?;
        // Routes come with rules and kernel settings, and are the last but one to go: without both there are none.
        if !self.diverts() && (there_were_rules || !was_as_delivered) {
            routes::pieces().into_iter().rev().try_for_each(|piece| change.route(piece, false))?;
        }
        opening.into_iter().try_for_each(|sysctl| change.set(sysctl))?;
        self.verify(change.system)
    }

    /// Loads the rules: with a flowtable, or without one if the kernel has none. Says whether there were rules before.
    fn load(&self, change: &mut Change<'_>) -> Result<bool, FirewallError> {
        let there = match loaded(change.system.nft(&["-j", "list", "table", "inet", TABLE], "")) {
            Err(FirewallError::NotLoaded) => None,
            listing => Some(Listing::read(&listing?)?),
        };
        let there_were_rules = there.is_some();
        let there = there.unwrap_or_default();
        let text = |table: &Table| {
            format!("{}{}", there.without_other_flowtables(table.flowtable.as_ref()), self.text(table))
        };
        if let Some(fast) = self.fast_table() {
            match change.load(&text(&fast), there_were_rules) {
                Err(FirewallError::KernelLacks { said } | FirewallError::Refused { said, .. }) => {
                    // What else may be wrong is wrong without it, too.
                    tracing::debug!(said, "the kernel does not take a flowtable");
                }
                loaded => return loaded.map(|()| there_were_rules),
            }
        }
        change.load(&text(&self.table()), there_were_rules)?;
        Ok(there_were_rules)
    }

    /// Whether this rule set is in place, for who did not put it there.
    ///
    /// # Errors
    ///
    /// [`FirewallError::NotLoaded`], [`FirewallError::Differs`], or it cannot be read.
    pub fn adopt(&self, system: &System) -> Result<Applied, FirewallError> {
        self.verify(system)?;
        Ok(Applied { rules: self.clone(), system: system.clone() })
    }

    fn verify(&self, system: &System) -> Result<(), FirewallError> {
        let listing = loaded(system.nft(&["-j", "list", "table", "inet", TABLE], ""))?;
        let listing = Listing::read(&listing)?;
        // Either will do; the one that it is nearer to is the one that it should be.
        let fast = self.fast_table().filter(|_| listing.has_flowtable());
        let mut found = listing.differences(&fast.unwrap_or_else(|| self.table()));
        if self.diverts() {
            for piece in routes::pieces() {
                if !piece.is_there(system)? {
                    found.push(format!("no `{}`", piece.name()));
                }
            }
        }
        for sysctl in self.sysctls() {
            let value = sysctl::read(&sysctl.path)?;
            let as_wanted = match sysctl.where_it_is {
                Some(not) => value.as_deref() != Some(not),
                None => value.as_deref().is_none_or(|value| value == sysctl.value),
            };
            if !as_wanted {
                found.push(format!("not `{sysctl}`"));
            }
        }
        if found.is_empty() { Ok(()) } else { Err(FirewallError::Differs(found)) }
    }
}

impl Applied {
    /// The rule set that is in place.
    pub fn rules(&self) -> &RuleSet {
        &self.rules
    }

    /// Reads it back again.
    ///
    /// # Errors
    ///
    /// [`FirewallError::Differs`] if it is not in place any more, or it cannot be read.
    pub fn verify(&self) -> Result<(), FirewallError> {
        self.rules.verify(&self.system)
    }

    /// From now on connections to these servers are intercepted, and new ones to others are spliced. All at once; connections
    /// that are open stay what they are. Without effect in front mode.
    ///
    /// # Errors
    ///
    /// One of them is no target, or the kernel refuses. Then nothing has changed.
    pub fn set_armed(&mut self, armed: &BTreeSet<SocketAddr>) -> Result<(), FirewallError> {
        self.change(|gateway| gateway.armed = armed.clone())
    }

    /// From now on mail of these hosts to the world is intercepted, and mail of and to `bypass` is not. All at once; connections
    /// that are open stay what they are. Without effect in front mode.
    ///
    /// # Errors
    ///
    /// They are too many, or the kernel refuses. Then nothing has changed.
    pub fn set_originators(&mut self, originators: &[IpNet], bypass: &[IpNet]) -> Result<(), FirewallError> {
        self.change(|gateway| {
            gateway.originators = originators.to_vec();
            gateway.bypass = bypass.to_vec();
        })
    }

    fn change(&mut self, change: impl FnOnce(&mut Gateway)) -> Result<(), FirewallError> {
        let mut settings = self.rules.settings().clone();
        let Mode::Gateway(gateway) = &mut settings.mode else { return Ok(()) };
        change(gateway);
        let rules = RuleSet::new(settings)?;
        let refilled: String = rules
            .gateway()
            .iter()
            .flat_map(|gateway| gateway_sets(gateway))
            .map(|set| set.refill())
            .collect();
        loaded(self.system.nft(&["-f", "-"], &refilled))?;
        self.rules = rules;
        Ok(())
    }
}

/// Takes away rules, routes and kernel settings of whichever rule set is there. With none there, nothing happens.
///
/// # Errors
///
/// Something could not be taken away; called again, it goes on from there.
pub fn remove(system: &System) -> Result<(), FirewallError> {
    let mut earlier = Earlier::load(system.state())?;
    put_back(&mut earlier, system, sysctl::opens_the_way)?;
    // Made first so that it can be deleted in any case.
    system.nft(&["-f", "-"], &format!("table inet {TABLE} {{ }}\ndelete table inet {TABLE}\n"))?;
    for piece in routes::pieces().into_iter().rev() {
        if piece.is_there(system)? {
            piece.delete(system)?;
        }
    }
    put_back(&mut earlier, system, |_| true)?;
    tracing::info!("the rule set is removed");
    Ok(())
}

/// Takes away [`CLOSED`](crate::CLOSED), if it is there.
///
/// # Errors
///
/// The kernel refuses.
pub fn open(system: &System) -> Result<(), FirewallError> {
    // Made first so that it can be deleted in any case.
    system.nft(&["-f", "-"], &format!("table inet {CLOSED} {{ }}\ndelete table inet {CLOSED}\n")).map(drop)
}

/// Puts back the kernel settings that are chosen, the last first.
fn put_back(
    earlier: &mut Earlier,
    system: &System,
    chosen: impl Fn(&str) -> bool,
) -> Result<(), FirewallError> {
    for (path, value) in earlier.clone().entries().iter().rev().filter(|(path, _)| chosen(path)) {
        // Its interface may be gone.
        if sysctl::read(path)?.is_some_and(|now| now != *value) {
            sysctl::write(path, value)?;
        }
        earlier.forget(path);
    }
    earlier.save(system.state())
}

/// What `nft` said, where "no such table" has a meaning.
pub(crate) fn loaded(answer: Result<String, FirewallError>) -> Result<String, FirewallError> {
    match answer {
        Err(FirewallError::Refused { said, .. }) if said.contains("No such file or directory") => {
            Err(FirewallError::NotLoaded)
        }
        answer => answer,
    }
}

/// What has been changed so far, to be undone if the rest fails.
struct Change<'a> {
    system: &'a System,
    earlier: Earlier,
    done: Vec<Done>,
}

enum Done {
    /// A kernel setting, which was this.
    Sysctl(String, String),
    /// What is remembered of them, which was this.
    Remembered(Earlier),
    /// A piece of the policy route was added, or taken away.
    Route(Piece, bool),
    /// The table, which was this text, or was not there.
    Table(Option<String>),
}

impl Change<'_> {
    /// Puts back the settings that only an earlier rule set needed.
    fn give_up(&mut self, needed: &[Sysctl]) -> Result<(), FirewallError> {
        let earlier = self.earlier.clone();
        let unneeded =
            |path: &str| needed.iter().all(|sysctl| sysctl.path != path && sysctl.drags != Some(path));
        for (path, value) in earlier.entries().iter().rev().filter(|(path, _)| unneeded(path)) {
            if let Some(now) = sysctl::read(path)?.filter(|now| now != value) {
                sysctl::write(path, value)?;
                self.done.push(Done::Sysctl(path.clone(), now));
            }
            self.remember(|earlier| earlier.forget(path))?;
        }
        Ok(())
    }

    fn set(&mut self, sysctl: &Sysctl) -> Result<(), FirewallError> {
        let Some(now) = sysctl::read(&sysctl.path)? else { return Ok(()) };
        if now == sysctl.value || sysctl.where_it_is.is_some_and(|only| now != only) {
            return Ok(());
        }
        // Put back in the reverse order, so after what drags it along.
        if let Some(dragged) = sysctl.drags
            && let Some(now) = sysctl::read(dragged)?
        {
            self.remember(|earlier| earlier.remember(dragged, &now))?;
            self.done.push(Done::Sysctl(dragged.to_owned(), now));
        }
        // Remembered before it is changed: who dies between the two must not forget.
        self.remember(|earlier| earlier.remember(&sysctl.path, &now))?;
        sysctl::write(&sysctl.path, sysctl.value)?;
        self.done.push(Done::Sysctl(sysctl.path.clone(), now));
        Ok(())
    }

    fn remember(&mut self, change: impl FnOnce(&mut Earlier)) -> Result<(), FirewallError> {
        let before = self.earlier.clone();
        change(&mut self.earlier);
        if self.earlier != before {
            self.earlier.save(self.system.state())?;
            self.done.push(Done::Remembered(before));
        }
        Ok(())
    }

    fn route(&mut self, piece: Piece, wanted: bool) -> Result<(), FirewallError> {
        if piece.is_there(self.system)? == wanted {
            return Ok(());
        }
        if wanted {
            piece.add(self.system)?
        } else {
            piece.delete(self.system)?
        }
        self.done.push(Done::Route(piece, wanted));
        Ok(())
    }

    fn load(&mut self, text: &str, there_were_rules: bool) -> Result<(), FirewallError> {
        let list = || self.system.nft(&["list", "table", "inet", TABLE], "");
        let before = there_were_rules.then(list).transpose()?;
        self.system.nft(&["-f", "-"], text)?;
        self.done.push(Done::Table(before));
        Ok(())
    }

    fn undo(self) -> Result<(), FirewallError> {
        for done in self.done.into_iter().rev() {
            match done {
                Done::Sysctl(path, value) => sysctl::write(&path, &value)?,
                Done::Remembered(earlier) => earlier.save(self.system.state())?,
                Done::Route(piece, true) => piece.delete(self.system)?,
                Done::Route(piece, false) => piece.add(self.system)?,
                Done::Table(before) => {
                    let before = before.unwrap_or_default();
                    let text = format!("table inet {TABLE} {{ }}\ndelete table inet {TABLE}\n{before}");
                    self.system.nft(&["-f", "-"], &text)?;
                }
            }
        }
        Ok(())
    }
}
