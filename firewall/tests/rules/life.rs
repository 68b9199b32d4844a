//! Applying, changing and removing: what is left, and what is said.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use firewall::{FirewallError, Gateway, Mode, RuleSet, Settings};

use crate::lab::{Lab, gateway, settings};

/// Everything that a rule set changes, as text.
#[derive(Debug)]
struct Trace {
    programs: Vec<String>,
    sysctls: BTreeMap<String, String>,
    remembered: bool,
}

impl Lab {
    fn trace(&self) -> Trace {
        let listings = [("nft", "-s list ruleset"), ("ip", "-4 rule"), ("ip", "-6 rule")]
            .into_iter()
            .chain([("ip", "-4 route show table all"), ("ip", "-6 route show table all")]);
        Trace {
            programs: listings
                // A cable takes a moment to come up, and its link-local address another one to be known as nobody else's.
                .map(|(program, words)| self.appliance.output(program, words).replace(" linkdown", ""))
                .map(|listing| {
                    listing.split_inclusive('\n').filter(|line| !line.contains(" fe80::")).collect()
                })
                .collect(),
            sysctls: self.appliance.run(|| {
                let mut found = BTreeMap::new();
                read_all(Path::new("/proc/sys/net/ipv4"), &mut found);
                read_all(Path::new("/proc/sys/net/ipv6"), &mut found);
                found
            }),
            remembered: self.state_file_exists(),
        }
    }
}

/// Nothing has changed, or the test fails and says what.
#[track_caller]
fn unchanged(now: &Trace, before: &Trace) {
    assert_eq!((&now.programs, now.remembered), (&before.programs, before.remembered));
    let other: Vec<_> =
        now.sysctls.iter().filter(|(path, value)| before.sysctls.get(*path) != Some(value)).collect();
    assert!(other.is_empty() && now.sysctls.len() == before.sysctls.len(), "{other:?}");
}

fn read_all(folder: &Path, found: &mut BTreeMap<String, String>) {
    for entry in fs::read_dir(folder).unwrap().map(Result::unwrap) {
        if entry.path().is_dir() {
            read_all(&entry.path(), found);
        } else if let Ok(text) = fs::read_to_string(entry.path()) {
            // Some can only be written.
            found.insert(entry.path().display().to_string(), text);
        }
    }
}

fn front() -> Settings {
    Settings { mode: Mode::Front { transparent_source: false }, ..settings(gateway(true)) }
}

#[test]
fn what_is_removed_leaves_no_trace() {
    let Some(lab) = Lab::new() else { return };
    lab.appliance.set("ipv4/conf/outside/rp_filter", "1");
    lab.appliance.set("ipv4/conf/all/accept_redirects", "0");
    lab.appliance.set("ipv6/conf/outside/accept_ra", "1");
    let before = lab.trace();
    for rules in [settings(gateway(true)), front()] {
        for _ in 0..2 {
            lab.apply(rules.clone()).unwrap();
        }
        assert_ne!(lab.trace().programs, before.programs);
        for _ in 0..2 {
            lab.remove();
            unchanged(&lab.trace(), &before);
        }
    }
}

#[test]
fn the_mode_can_be_changed_while_it_runs() {
    let Some(lab) = Lab::new() else { return };
    let before = lab.trace();
    lab.apply(front()).unwrap();
    let as_front = lab.trace();
    lab.apply(settings(gateway(true))).unwrap();
    let as_gateway = lab.trace();
    lab.apply(front()).unwrap();
    unchanged(&lab.trace(), &as_front);
    lab.apply(settings(gateway(true))).unwrap();
    unchanged(&lab.trace(), &as_gateway);
    lab.remove();
    unchanged(&lab.trace(), &before);
}

#[test]
fn what_fails_midway_is_undone() {
    let Some(lab) = Lab::new() else { return };
    lab.apply(front()).unwrap();
    // Another kind of set under a name that a gateway needs: noticed after routes and settings are in place.
    lab.appliance.output("nft", "add set inet postern armed4 { type ifname ; }");
    let before = lab.trace();
    let error = lab.apply(settings(gateway(true))).unwrap_err();
    assert!(matches!(error, FirewallError::Refused { program: "nft", .. }), "{error}");
    unchanged(&lab.trace(), &before);
}

#[test]
fn what_is_not_as_it_was_loaded_is_undone_and_named() {
    let Some(lab) = Lab::new() else { return };
    lab.apply(front()).unwrap();
    // Nothing of ours, and nothing that loading our rules takes away.
    lab.appliance.output("nft", "add chain inet postern stranger");
    let before = lab.trace();
    let error = lab.apply(settings(gateway(true))).unwrap_err();
    assert!(error.to_string().contains("a chain `stranger` too many"), "{error}");
    unchanged(&lab.trace(), &before);
}

#[test]
fn what_others_change_is_noticed() {
    let Some(lab) = Lab::new() else { return };
    for (program, words, noticed) in [
        ("nft", "flush chain inet postern input", "chain `input` has other rules"),
        ("nft", "add rule inet postern forward accept", "chain `forward` has other rules"),
        ("nft", "chain inet postern forward { policy accept ; }", "chain `forward` has another hook"),
        ("nft", "flush set inet postern armed6", "set `armed6` has 0 elements instead of 1"),
        ("ip", "-4 rule del priority 2525", "no `ip -4 rule add priority 2525"),
        ("ip", "-6 route flush table 2525", "no `ip -6 route add local default dev lo table 2525`"),
    ] {
        let applied = lab.apply(settings(gateway(true))).unwrap();
        let (applied, as_loaded) = lab.with(applied, |applied| applied.verify());
        as_loaded.unwrap();
        lab.appliance.output(program, words);
        let error = lab.with(applied, |applied| applied.verify()).1.unwrap_err();
        assert!(matches!(error, FirewallError::Differs(_)), "{error}");
        assert!(error.to_string().contains(noticed), "{error}");
    }
    lab.appliance.set("ipv4/ip_forward", "0");
    let rules = RuleSet::new(settings(gateway(true))).unwrap();
    let system = lab.system.clone();
    let error = lab.appliance.run(move || rules.adopt(&system)).unwrap_err();
    assert!(error.to_string().contains("not `/proc/sys/net/ipv4/ip_forward = 1`"), "{error}");
}

#[test]
fn what_is_not_there_is_said() {
    let Some(lab) = Lab::new() else { return };
    let (rules, system) = (RuleSet::new(front()).unwrap(), lab.system.clone());
    let error = lab.appliance.run(move || rules.adopt(&system)).unwrap_err();
    assert!(matches!(error, FirewallError::NotLoaded), "{error}");
    let elsewhere = Gateway { outside: "elsewhere".into(), ..gateway(true) };
    let error = lab.apply(settings(elsewhere)).unwrap_err();
    assert!(error.to_string().starts_with("there is no interface `elsewhere`"), "{error}");
}
