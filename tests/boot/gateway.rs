//! The booted appliance in the path: two interfaces, a real Postfix on either side, mail in and out.

use std::net::IpAddr;
use std::time::Duration;

use postern_tests::certificate::Authority;
use postern_tests::gateway::{smtp, submit, without_dns};
use postern_tests::lab::{HIDDEN, INSIDE, LAB, Lab, OUTSIDE, WORLD};
use postern_tests::machine::{
    BOOT_LIMIT, Firmware, HARDWARE, MACHINE, Machine, Medium, Network, Setup, disk, seed,
};
use postern_tests::mail::Mail;
use postern_tests::needs;
use postern_tests::needs::POSTFIX;
use postern_tests::ports;
use postern_tests::postfix::{self, Postfix};
use postern_tests::scratch::Scratch;

use crate::{META_DATA, WORKS, first_line};

/// For one mail through an emulated machine.
const LIMIT: Duration = Duration::from_secs(200);
const TAPS: [&str; 2] = ["tap-outside", "tap-inside"];

/// Puts the appliance in the place of the lab's own gateway: a bridge joins each of its two cables to a tap device.
fn plug_in(lab: &Lab) {
    for (cable, tap) in ["outside", "inside"].into_iter().zip(TAPS) {
        lab.postern.ip(&format!("address flush dev {cable}"));
        lab.postern.ip(&format!("link add bridge-{cable} type bridge"));
        lab.postern.ip(&format!("tuntap add {tap} mode tap"));
        for device in [cable, tap] {
            lab.postern.ip(&format!("link set {device} master bridge-{cable}"));
            lab.postern.ip(&format!("link set {device} up"));
        }
        lab.postern.ip(&format!("link set bridge-{cable} up"));
    }
}

/// Its addresses are those that the lab's gateway had.
fn network_config() -> String {
    let mut text = "version: 2\nethernets:\n".to_owned();
    for ((name, own), hardware) in [("outside", OUTSIDE), ("inside", INSIDE)].into_iter().zip(HARDWARE) {
        text.push_str(&format!(
            "  {name}:\n    match: {{macaddress: \"{hardware}\"}}\n    set-name: {name}\n    \
             addresses: [{}/24, \"{}/64\"]\n",
            own.v4, own.v6
        ));
    }
    text
}

fn config() -> String {
    format!(
        "hostname = \"mx.postern.test\"\n[network]\nmode = \"gateway\"\noutside = \"outside\"\ninside = \"inside\"\n\
         [[backend]]\nname = \"hidden\"\ndomains = [\"hidden.test\"]\nservers = [\"{}\", \"{}\"]\narm = \"now\"\n\
         [acme]\nenabled = false\n[judge]\nenabled = false\n[http]\nplain = \"\"\ntls = \"\"\n",
        smtp(HIDDEN.v4),
        smtp(HIDDEN.v6)
    )
}

/// What a server is like that stores mail for everybody, also for its own address in brackets.
fn storing(address: IpAddr, authority: &Authority, name: &str) -> postfix::Options {
    let lines = ["smtpd_peername_lookup = no", "local_recipient_maps =", "local_transport = virtual"];
    postfix::Options {
        address: Some(smtp(address)),
        certificate: Some(authority.certify(&[name])),
        extra: lines.map(str::to_owned).to_vec(),
        ..Default::default()
    }
}

/// What a server is like that passes everything on to that address, encrypted where it can.
fn relaying(address: IpAddr) -> postfix::Options {
    let lines = ["smtp_dns_support_level = disabled", "smtpd_peername_lookup = no"];
    postfix::Options {
        next_hop: Some(smtp(address)),
        next_hop_tls: Some(("may", std::path::PathBuf::new())),
        extra: lines.map(str::to_owned).to_vec(),
        ..Default::default()
    }
}

/// A lab with the machine in its middle, which takes mail.
struct Path {
    lab: Lab,
    machine: Machine,
    hidden: [Postfix; 2],
    world: [Postfix; 2],
    _scratch: Scratch,
}

impl Path {
    fn start() -> Self {
        let lab = Lab::new();
        without_dns(&lab);
        plug_in(&lab);
        let authority = Authority::new();
        let hidden = HIDDEN.both().map(|address| {
            let options = storing(address, &authority, "mail.hidden.test");
            lab.inside.run(move || Postfix::start(&options))
        });
        let world = WORLD.both().map(|address| {
            let options = storing(address, &authority, "mx.world.test");
            lab.world.run(move || Postfix::start(&options))
        });
        let scratch = Scratch::new("in-path");
        let files =
            [("user-data", &*config()), ("meta-data", META_DATA), ("network-config", &*network_config())];
        let (volume, medium) = (seed(&scratch, &files), Medium::Disk(disk(&scratch, "disk.qcow2")));
        let (machine, scratch) = lab.postern.run(move || {
            let setup = Setup {
                firmware: Firmware::Bios,
                medium: &medium,
                second_disk: None,
                seed: Some(&volume),
                network: Network::Taps(&TAPS),
                tpm: None,
                system: None,
            };
            (setup.start(&scratch), scratch)
        });
        let mut path = Self { lab, machine, hidden, world, _scratch: scratch };
        path.expect_armed();
        path
    }

    /// Waits until mail gets through to the hidden server: nothing does while the appliance is closed.
    fn expect_armed(&mut self) {
        let left = BOOT_LIMIT.saturating_sub(self.machine.age());
        let greets = ports::wait_until(left, || {
            std::thread::sleep(Duration::from_secs(1));
            self.lab.world.run(|| first_line(smtp(HIDDEN.v4), Duration::from_secs(10)))
        });
        assert!(greets.is_some_and(|line| line.starts_with("220 ")), "{}", self.machine.serial());
        self.machine.expect(&[WORKS]);
    }

    fn inward(&self, family: usize) {
        let (address, client) = (HIDDEN.both()[family], WORLD.both()[family]);
        let options = relaying(address);
        let sender = self.lab.world.run(move || Postfix::start(&options));
        let mail = Mail::new("a@world.test", &["b@hidden.test"], "a line\n.a dot\n..\n\nthe end\n");
        let handed = submit(&self.lab.world, sender.address(), &mail);
        assert!(handed.accepted, "{}", handed.output);
        self.expect_sent(&sender, &mail);
        let server = &self.hidden[family];
        let stored = server.mailbox().wait_for_message(mail.message_id());
        assert!(stored.added.contains(&client.to_string()), "{}", stored.added);
        assert!(server.log().contains(&client.to_string()), "{}", server.log());
        for own in OUTSIDE.both().into_iter().chain(INSIDE.both()) {
            // It asks the server what it offers by itself, but hands over nobody's mail so.
            let handed_over = server.log().contains(&format!("client=unknown[{own}]"));
            assert!(!handed_over, "{own} is seen:\n{}", server.log());
        }
        let (of_postern, _) = stored.one_hop_before();
        assert!(of_postern.contains(&client.to_string()), "{of_postern}");
        assert!(of_postern.contains("using TLSv1.3"), "{of_postern}");
    }

    fn outward(&self, family: usize, recipient: &str) {
        let (address, own) = (WORLD.both()[family], OUTSIDE.both()[family]);
        let options = relaying(address);
        let sender = self.lab.inside.run(move || Postfix::start(&options));
        let mail = Mail::new("a@hidden.test", &[recipient], "a line\n.a dot\n..\n\nthe end\n");
        let handed = submit(&self.lab.inside, sender.address(), &mail);
        assert!(handed.accepted, "{}", handed.output);
        self.expect_sent(&sender, &mail);
        let server = &self.world[family];
        let stored = server.mailbox().wait_for_message(mail.message_id());
        assert!(stored.added.contains(&own.to_string()), "{}", stored.added);
        assert!(stored.added.contains("mx.postern.test"), "{}", stored.added);
        let (of_postern, _) = stored.one_hop_before();
        assert!(of_postern.starts_with("Received: by mx.postern.test (Postern) with "), "{of_postern}");
        for inside in HIDDEN.both() {
            assert!(!server.log().contains(&inside.to_string()), "{inside} is seen:\n{}", server.log());
        }
    }

    fn expect_sent(&self, sender: &Postfix, mail: &Mail) {
        let lines = sender.outcome(mail.message_id(), 1, LIMIT);
        assert!(lines[0].contains("status=sent"), "{lines:#?}\n{}", self.machine.serial());
    }
}

#[test]
fn mail_goes_through_the_booted_appliance_both_ways_and_the_clients_address_is_kept() {
    needs!(MACHINE, LAB, POSTFIX);
    let path = Path::start();
    path.inward(0);
    path.inward(1);
    // Addresses in brackets need no DNS, which this world has not.
    path.outward(0, &format!("b@[{}]", WORLD.v4));
    path.outward(1, &format!("b@[IPv6:{}]", WORLD.v6));
}
