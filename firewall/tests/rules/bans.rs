//! Bans in the kernel.

use std::time::Duration;

use firewall::{Ban, FirewallError};

use crate::lab::{INBOUND, Lab, accept, at, gateway, settings, speak};

fn ban(network: &str, seconds: u64) -> Ban {
    Ban { network: network.parse().unwrap(), remaining: Duration::from_secs(seconds) }
}

impl Lab {
    fn ban(&self, bans: Vec<Ban>) {
        let system = self.system.clone();
        self.appliance.run(move || firewall::ban(&system, &bans)).unwrap();
    }

    fn unban(&self, network: &str) -> usize {
        let (system, network) = (self.system.clone(), network.parse().unwrap());
        self.appliance.run(move || firewall::unban(&system, &[network])).unwrap()
    }

    fn banned(&self) -> Vec<String> {
        let system = self.system.clone();
        let bans = self.appliance.run(move || firewall::bans(&system)).unwrap();
        bans.iter().map(|ban| ban.network.to_string()).collect()
    }
}

#[test]
fn a_banned_address_gets_nowhere_until_it_is_unbanned_and_others_do() {
    let Some(lab) = Lab::new() else { return };
    let listener = lab.appliance.listen_transparent(INBOUND);
    let target = at("198.51.100.25", 25);
    lab.apply(settings(gateway(true))).unwrap();
    lab.ban(vec![ban("192.0.2.66/32", 3600)]);
    lab.client.cannot_reach(Some("192.0.2.66"), target);
    assert!(lab.dropped("banned") > 0);
    speak(&lab.client.connect_from("192.0.2.9", target), &accept(&listener).0);
    assert_eq!(lab.unban("192.0.2.66/32"), 1);
    speak(&lab.client.connect_from("192.0.2.66", target), &accept(&listener).0);
}

#[test]
fn mail_can_be_sent_to_who_is_banned_and_what_is_open_stays_open() {
    let Some(lab) = Lab::new() else { return };
    let (listener, world) = (lab.appliance.listen_transparent(INBOUND), lab.client.listen(25));
    lab.apply(settings(gateway(true))).unwrap();
    let client = lab.client.connect_from("192.0.2.66", at("198.51.100.25", 25));
    let at_gate = accept(&listener).0;
    lab.ban(vec![ban("192.0.2.66/32", 3600)]);
    let leg = lab.appliance.connect(at("192.0.2.66", 25));
    speak(&leg, &accept(&world).0);
    speak(&client, &at_gate);
}

#[test]
fn a_ban_ends_by_itself_and_can_be_set_again() {
    let Some(lab) = Lab::new() else { return };
    let listener = lab.appliance.listen_transparent(INBOUND);
    lab.apply(settings(gateway(true))).unwrap();
    for _ in 0..2 {
        lab.ban(vec![ban("192.0.2.66/32", 2), ban("2001:db8:1::/64", 2)]);
        // The kernel of the client tries again until the ban is over.
        let client = lab.client.connect_from("192.0.2.66", at("198.51.100.25", 25));
        speak(&client, &accept(&listener).0);
        let client = lab.client.connect(at("2001:db8:2::25", 25));
        speak(&client, &accept(&listener).0);
        assert_eq!(lab.banned(), Vec::<String>::new());
    }
    assert!(lab.dropped("banned") > 0);
}

#[test]
fn bans_are_listed_do_not_overlap_and_outlive_a_new_rule_set() {
    let Some(lab) = Lab::new() else { return };
    let _applied = lab.apply(settings(gateway(true))).unwrap();
    lab.ban(vec![ban("192.0.2.66/32", 3600), ban("203.0.113.7/32", 3600), ban("2001:db8:7::/64", 3600)]);
    lab.ban(vec![ban("203.0.113.0/24", 60), ban("203.0.113.9/32", 60)]);
    let expected = ["192.0.2.66/32", "203.0.113.0/24", "2001:db8:7::/64"];
    assert_eq!(lab.banned(), expected);
    lab.apply(settings(gateway(false))).unwrap();
    assert_eq!(lab.banned(), expected);
    assert_eq!(lab.unban("203.0.113.9/32"), 0);
    assert_eq!(lab.unban("192.0.0.0/16") + lab.unban("2001:db8::/32"), 2);
    assert_eq!(lab.banned(), ["203.0.113.0/24"]);
}

#[test]
fn many_bans_are_one_change_and_too_many_push_out_the_shortest() {
    let Some(lab) = Lab::new() else { return };
    lab.apply(settings(gateway(true))).unwrap();
    let many = |first: u32, seconds| {
        let one = move |n: u32| ban(&format!("{}/32", std::net::Ipv4Addr::from(0x0a00_0000 + n)), seconds);
        (first..first + 8192).map(one).collect::<Vec<_>>()
    };
    lab.ban(many(0, 3600));
    lab.ban(many(8192, 7200));
    assert_eq!(lab.banned().len(), firewall::MAX_BANS);
    lab.ban(vec![ban("203.0.113.7/32", 60), ban("203.0.113.8/32", 86_400)]);
    let banned = lab.banned();
    assert_eq!(banned.len(), firewall::MAX_BANS);
    assert!(banned.contains(&"203.0.113.8/32".to_owned()));
    assert!(!banned.contains(&"203.0.113.7/32".to_owned()));
}

#[test]
fn without_a_rule_set_there_are_no_bans() {
    let Some(lab) = Lab::new() else { return };
    let system = lab.system.clone();
    let error = lab.appliance.run(move || firewall::ban(&system, &[ban("192.0.2.66/32", 60)])).unwrap_err();
    assert!(matches!(error, FirewallError::NotLoaded), "{error}");
}
