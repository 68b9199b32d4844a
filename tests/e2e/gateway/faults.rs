//! What goes wrong around a gateway while mail is on its way: servers that restart, rules that are loaded anew, paths that
//! turn out to be narrow.

use std::collections::HashMap;
use std::fs;
use std::net::{IpAddr, SocketAddr};

use postern_tests::gateway::{self, LIMIT, both_families, names, smtp, submit, without_dns};
use postern_tests::lab::{DEEP, HIDDEN, Host, LAB, Lab, NARROW, REMOTE, WORLD};
use postern_tests::mail::{Mail, dot_stuffed};
use postern_tests::mailbox::Maildir;
use postern_tests::nameserver::KNOT;
use postern_tests::needs;
use postern_tests::needs::POSTFIX;
use postern_tests::ports;
use postern_tests::postern::program;
use postern_tests::postfix::{self, Postfix};
use postern_tests::scripted::{Client as Scripted, Step, say};
use postern_tests::steady::Load;

/// How often each Message-ID is in a mailbox.
fn copies(mailbox: &Maildir) -> HashMap<String, usize> {
    let mut copies = HashMap::new();
    for stored in mailbox.read() {
        let text = String::from_utf8_lossy(&stored.whole).into_owned();
        let id = text.lines().find_map(|line| line.strip_prefix("Message-ID: ")).unwrap_or_default();
        *copies.entry(id.to_owned()).or_default() += 1;
    }
    copies
}

#[test]
fn a_server_that_restarts_under_load_has_each_accepted_mail_once_and_the_rest_may_come_again() {
    needs!(LAB, POSTFIX);
    let lab = Lab::new();
    without_dns(&lab);
    let postern = gateway::start(&lab, "");
    let address = smtp(HIDDEN.v4);
    let options = postfix::Options {
        address: Some(address),
        extra: vec!["smtpd_peername_lookup = no".into()],
        ..Default::default()
    };
    let mut server = lab.inside.run(move || Postfix::start(&options));
    let load = Load::start(&lab.world, address, "b@hidden.test");
    load.go_on();
    for _ in 0..2 {
        server = lab.inside.run(move || {
            server.stop();
            server.start_again();
            server
        });
        load.go_on();
    }
    let all = load.end();
    let accepted: Vec<_> = all.iter().filter(|(_, said)| said.is_ok()).map(|(mail, _)| mail).collect();
    // What came while the server was away waits in the queue for up to a minute.
    let all_there = || Some(()).filter(|()| server.mailbox().read().len() >= accepted.len());
    assert!(ports::wait_until(LIMIT * 2, all_there).is_some(), "{}", postern.log());
    let copies = copies(&server.mailbox());
    for mail in accepted {
        assert_eq!(copies.get(mail.message_id()), Some(&1), "{}\n{}", mail.message_id(), postern.log());
    }
    for (_, refused) in all {
        let Err(said) = refused else { continue };
        let refusal = said.lines().rfind(|line| !line.starts_with("C: ") && !line.starts_with("221 "));
        assert!(
            refusal.is_some_and(|line| line.starts_with('4')),
            "a mail that may come again is told so: {said}\n{}",
            postern.log()
        );
    }
}

/// A mail of which the first half is on its way.
struct Half {
    client: Scripted,
    rest: Vec<u8>,
    mail: Mail,
}

impl Half {
    fn begin(host: &Host, address: SocketAddr, recipient: &'static str) -> Self {
        let mut client = host.run(move || Scripted::connect(address, None));
        let mail = Mail::large("a@source.test", &[recipient], 200_000);
        let mut content = dot_stuffed(&mail.content);
        let rest = content.split_off(content.len() / 2);
        client.run(&[Step::Expect("220"), say("HELO client.test\r\n"), Step::Expect("250")]);
        client.run(&[say("MAIL FROM:<a@source.test>\r\n"), Step::Expect("250")]);
        client.run(&[Step::Say(format!("RCPT TO:<{recipient}>\r\nDATA\r\n").into_bytes())]);
        client.run(&[Step::Expect("250"), Step::Expect("354"), Step::Say(content)]);
        Self { client, rest, mail }
    }

    fn end(mut self) -> Mail {
        self.client.run(&[Step::Say(self.rest), Step::Expect("250"), say("QUIT\r\n"), Step::Expect("221")]);
        self.mail
    }
}

#[test]
fn rules_and_config_are_loaded_anew_under_load_and_no_session_notices() {
    needs!(LAB, KNOT, POSTFIX);
    let lab = Lab::new();
    without_dns(&lab);
    let (_names, resolver) = names(&lab, &both_families());
    let postern = gateway::start(&lab, &resolver);
    let storing = |address: IpAddr| {
        move || {
            Postfix::start(&postfix::Options {
                address: Some(smtp(address)),
                extra: vec!["smtpd_peername_lookup = no".into()],
                ..Default::default()
            })
        }
    };
    let hidden = lab.inside.run(storing(HIDDEN.v4.into()));
    let world = lab.world.run(storing(WORLD.v4.into()));
    let ways = [
        (&lab.world, smtp(HIDDEN.v4), "b@hidden.test", &hidden),
        (&lab.inside, smtp(WORLD.v4), "b@v4.test", &world),
    ];
    let halves = ways.map(|(host, address, recipient, _)| Half::begin(host, address, recipient));
    let loads = ways.map(|(host, address, recipient, _)| Load::start(host, address, recipient));
    loads.iter().for_each(Load::go_on);
    let (program, config) = (program().display().to_string(), postern.config().display().to_string());
    for round in 1..=3 {
        lab.postern.command(&program, &["--config", &config, "firewall", "apply"]);
        postern.reload();
        let reloaded = || (postern.log().matches("reloaded;").count() >= round).then_some(());
        assert!(ports::wait_until(LIMIT, reloaded).is_some(), "{}", postern.log());
    }
    loads.iter().for_each(Load::go_on);
    for ((load, half), (.., server)) in loads.into_iter().zip(halves).zip(ways) {
        let half = half.end();
        server.mailbox().wait_for_message(half.message_id());
        let all = load.end();
        let copies = {
            server.mailbox().wait_for(all.len() + 1);
            copies(&server.mailbox())
        };
        for (mail, said) in all {
            assert!(said.is_ok(), "{said:?}\n{}", postern.log());
            assert_eq!(copies.get(mail.message_id()), Some(&1));
        }
    }
}

/// Packets that a router sent back because they were too large: over IPv4 and over IPv6.
fn sent_back(router: &Host) -> [u64; 2] {
    let read = |file: &'static str| router.run(move || fs::read_to_string(file).unwrap_or_default());
    let v4 = read("/proc/thread-self/net/snmp");
    let mut rows = v4.lines().filter_map(|line| line.strip_prefix("Icmp: "));
    let (names, values) = (rows.next().unwrap_or_default(), rows.next().unwrap_or_default());
    let at = names.split(' ').position(|name| name == "OutDestUnreachs").unwrap_or(usize::MAX);
    let v4 = values.split(' ').nth(at).and_then(|value| value.parse().ok()).unwrap_or(0);
    let v6 = read("/proc/thread-self/net/snmp6");
    let v6 = v6.lines().find_map(|line| line.strip_prefix("Icmp6OutPktTooBigs"));
    [v4, v6.and_then(|value| value.trim().parse().ok()).unwrap_or(0)]
}

#[test]
fn large_mail_gets_through_where_packets_may_not_be_large() {
    needs!(LAB, KNOT, POSTFIX);
    let lab = Lab::new();
    let (remote, deep) = (lab.remote(), lab.deep());
    without_dns(&lab);
    let (_names, resolver) = names(
        &lab,
        &[
            ("v4.test", format!("@ MX 10 mx\nmx A {}\n", REMOTE.v4)),
            ("v6.test", format!("@ MX 10 mx\nmx AAAA {}\n", REMOTE.v6)),
        ],
    );
    let config = format!(
        "[[backend]]\ndomains = [\"hidden.test\"]\nservers = [\"{}\", \"{}\"]\narm = \"now\"\n{resolver}",
        smtp(DEEP.v4),
        smtp(DEEP.v6),
    );
    let postern = gateway::start_with(&lab, config);
    let ways: [(&Host, &Host, IpAddr, &str); 4] = [
        (&remote, &deep, DEEP.v4.into(), "b@hidden.test"),
        (&remote, &deep, DEEP.v6.into(), "b@hidden.test"),
        (&deep, &remote, REMOTE.v4.into(), "b@v4.test"),
        (&deep, &remote, REMOTE.v6.into(), "b@v6.test"),
    ];
    for (from, to, address, recipient) in ways {
        let server = to.run(move || {
            Postfix::start(&postfix::Options {
                address: Some(smtp(address)),
                extra: vec!["smtpd_peername_lookup = no".into()],
                ..Default::default()
            })
        });
        let mail = Mail::large("a@source.test", &[recipient], 2_000_000);
        let result = submit(from, smtp(address), &mail);
        assert!(result.accepted, "{address}: {}\n{}", result.output, postern.log());
        let stored = server.mailbox().wait_for_message(mail.message_id());
        assert!(stored.one_hop_before().1 == mail.content, "{address}: the message was changed");
        // It was told, and did not have to find out by time-outs.
        let route = lab.postern.command("ip", &["route", "get", &address.to_string()]);
        assert!(route.contains(&format!("mtu {NARROW}")), "{address}: {route}");
    }
    for router in [&lab.world, &lab.inside] {
        assert!(sent_back(router).iter().all(|&packets| packets > 0), "{:?}", sent_back(router));
    }
}
