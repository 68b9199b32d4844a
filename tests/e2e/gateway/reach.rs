//! What is reached from outside: what the page on the firewall says, and the hidden server through Postern alone. And what
//! Postern leaves alone is not touched.

use std::fs;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener};
use std::path::Path;
use std::sync::Arc;

use postern_tests::certificate::Authority;
use postern_tests::gateway::{self, LIMIT, both_families, names, smtp};
use postern_tests::lab::{HIDDEN, Host, LAB, Lab, OUTSIDE, WORLD};
use postern_tests::nameserver::KNOT;
use postern_tests::needs;
use postern_tests::needs::Need;
use postern_tests::ports;
use postern_tests::scan::scan;
use postern_tests::scratch::Scratch;
use postern_tests::witness::{Points, Server, Session, differences, look, send};

use super::difference::{forward, server_tls};

const OPENSSL: &[Need] = &[Need::Program("openssl")];
/// What the appliance offers by default, and what an armed server with one address takes: mail, and nothing else.
const MAIL: [u16; 3] = [25, 465, 587];
/// Over IPv6 not all, since the rules are the same ones: what anybody listens on by habit, and what Postern listens on.
const OTHERS: [u16; 9] = [2525, 3306, 5432, 8025, 8080, 8443, 9100, 20025, 20026];
/// A second address of the hidden server, of a network that does not lead through Postern.
const AROUND: Ipv4Addr = Ipv4Addr::new(10, 9, 9, 25);

/// Listens on a machine until the test ends.
fn listen(host: &Host, addresses: [IpAddr; 2], open: &[u16]) {
    for address in addresses {
        for &port in open {
            host.run(move || {
                let listener = TcpListener::bind((address, port)).expect("a port of one's own");
                std::thread::spawn(move || listener.incoming().for_each(drop));
            });
        }
    }
}

#[test]
fn a_scan_from_outside_finds_the_mail_ports_and_nothing_else() {
    needs!(LAB, KNOT);
    let lab = Lab::new();
    let (_names, resolver) = names(&lab, &[]);
    // Each has something to hide: a shell, a page, a database, a port of its own choice.
    listen(&lab.inside, HIDDEN.both(), &[22, 25, 80, 443, 5432, 34567]);
    listen(&lab.postern, OUTSIDE.both(), &[22, 80, 5432, 34567]);
    let postern = gateway::start(&lab, &resolver);
    // Where mail is submitted is the first server's host, if nothing else is said: the one with the IPv4 address.
    let expected = [(OUTSIDE.v4.into(), &MAIL[..]), (OUTSIDE.v6.into(), &MAIL)]
        .into_iter()
        .chain([(HIDDEN.v4.into(), &MAIL[..]), (HIDDEN.v6.into(), &[25])]);
    for (address, open) in expected {
        let found = lab.world.run(move || match address {
            IpAddr::V4(_) => scan(address, 1..=u16::MAX),
            IpAddr::V6(_) => scan(address, (1..=1024).chain(OTHERS).chain([34567])),
        });
        assert!(
            found.open.is_subset(&open.iter().copied().collect()),
            "{address}: {found:?}\n{}",
            postern.log()
        );
        assert!(found.refused.is_empty(), "{address}: {found:?}");
        for &port in open {
            let answers = lab.world.run(move || ports::wait(SocketAddr::new(address, port), LIMIT));
            assert!(answers, "{address}: {port}\n{}", postern.log());
        }
    }
}

/// Whether whoever connects there ends at the server itself: what speaks for it is not the appliance's certificate.
fn is_reached_around(lab: &Lab, address: SocketAddr) -> bool {
    let reached = lab.world.run(move || {
        let refused = std::net::TcpStream::connect_timeout(&address, ports::START_LIMIT / 10).is_err();
        (!refused).then(|| look(address))
    });
    reached.is_some_and(|seen: Points| !seen["certificate: subject"].contains("mx.postern.test"))
}

/// The rules that the page tells to load on a server with a second path.
fn documented_rules(path_to_postern: &str) -> String {
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/firewall.md");
    let page = fs::read_to_string(&page).expect("docs/firewall.md");
    let section = page.split_once("## A second path").expect("that section").1;
    let rules = section.split("```").nth(1).expect("rules");
    rules.trim().replace("eth0", path_to_postern)
}

#[test]
fn a_second_path_to_the_hidden_server_shows_from_outside_and_the_documented_rules_close_it() {
    needs!(LAB, KNOT, OPENSSL);
    let lab = Lab::new();
    let authority = Authority::new();
    let tls = server_tls(&authority.certify(&["mail.hidden.test"]));
    let any = smtp(Ipv4Addr::UNSPECIFIED);
    let server = lab.inside.run(move || Server::start(any, &tls));
    let (_names, resolver) = names(&lab, &[]);
    let own = authority.certify(&["mx.postern.test"]);
    let certificates =
        format!("[tls]\ncertificates = [{{ chain = {:?}, key = {:?} }}]\n", own.chain, own.key);
    let postern = gateway::start(&lab, &format!("{resolver}{certificates}"));
    let (through, around) = (smtp(HIDDEN.v4), smtp(AROUND));
    assert!(!is_reached_around(&lab, through), "{}", postern.log());
    lab.second_path("10.9.9.9", &AROUND.to_string());
    assert!(is_reached_around(&lab, around), "the second path is there");

    let rules = documented_rules("cable");
    let scratch = Scratch::new("rules");
    let file = scratch.write("rules.nft", rules).display().to_string();
    lab.inside.command("nft", &["-f", &file]);
    assert!(!is_reached_around(&lab, around), "the rules close it");
    // What comes through Postern has the client's address as before.
    let seen = lab.world.run(move || {
        let content = b"Subject: through\r\n\r\nx\r\n.\r\n";
        let recipients = ["<b@hidden.test>", "<nobody@hidden.test>"];
        send(through, Session { sender: "<a@world.test>", recipients, content })
    });
    assert!(seen["reply to the message"].starts_with("250 "), "{seen:#?}");
    assert_eq!(server.saw()["client's address"], WORLD.v4.to_string());
}

/// A session in each direction: what its client saw and what its server did, ports included.
fn both_ways(lab: &Lab, inside: &Server, world: &Server, family: usize) -> Vec<Points> {
    let (hidden, far) = (smtp(HIDDEN.both()[family]), smtp(WORLD.both()[family]));
    let mut all = Vec::new();
    for (host, server, address) in [(&lab.world, inside, hidden), (&lab.inside, world, far)] {
        let mut client = host.run(move || {
            let content = b"X-Postern-Verdict: forged\r\nSubject: by the way\r\n\r\nx\r\n.\r\n";
            let recipients = ["<b@v4.test>", "<nobody@v4.test>"];
            send(address, Session { sender: "<a@any.test>", recipients, content })
        });
        let mut seen = server.saw();
        assert_eq!(client.remove("own port"), seen.remove("client's port"), "one connection from end to end");
        all.extend([client, seen]);
    }
    all
}

/// What is spliced is, to either end, what a plain router passes on.
fn expect_untouched(config: &str) {
    let lab = Lab::new();
    let authority = Authority::new();
    let (hidden_tls, world_tls) = (
        server_tls(&authority.certify(&["mail.hidden.test"])),
        server_tls(&authority.certify(&["mx.v4.test"])),
    );
    let servers = [0, 1].map(|family| {
        let (hidden, far) = (smtp(HIDDEN.both()[family]), smtp(WORLD.both()[family]));
        let (hidden_tls, world_tls) = (Arc::clone(&hidden_tls), Arc::clone(&world_tls));
        let inside = lab.inside.run(move || Server::start(hidden, &hidden_tls));
        (inside, lab.world.run(move || Server::start(far, &world_tls)))
    });
    forward(&lab.postern);
    let all = || [0, 1].map(|family| both_ways(&lab, &servers[family].0, &servers[family].1, family));
    let direct = all();
    let (_names, resolver) = names(&lab, &both_families());
    let config = config.replace("RESOLVER", &resolver);
    let postern = gateway::start_with(&lab, config);
    for (direct, passed) in direct.iter().flatten().zip(all().iter().flatten()) {
        let seen = differences(direct, passed);
        assert!(seen.is_empty(), "{seen:#?}\n{}", postern.log());
    }
    let session = postern.log().lines().find(|line| line.contains("helo=\"client.test\"")).map(str::to_owned);
    assert_eq!(session, None, "Postern has not seen any of it");
}

#[test]
fn mail_of_a_server_that_is_not_armed_passes_unread() {
    needs!(LAB, KNOT, OPENSSL);
    let servers = format!("servers = [\"{}\", \"{}\"]", smtp(HIDDEN.v4), smtp(HIDDEN.v6));
    expect_untouched(&format!(
        "[[backend]]\ndomains = [\"hidden.test\"]\n{servers}\narm = \"never\"\nRESOLVER"
    ));
}

#[test]
fn mail_of_networks_that_are_bypassed_passes_unread() {
    needs!(LAB, KNOT, OPENSSL);
    let servers = format!("servers = [\"{}\", \"{}\"]", smtp(HIDDEN.v4), smtp(HIDDEN.v6));
    let bypass = format!("bypass = [\"{}/32\", \"{}\"]", WORLD.v4, WORLD.v6);
    expect_untouched(&format!(
        "[[backend]]\ndomains = [\"hidden.test\"]\n{servers}\narm = \"now\"\nRESOLVER[outbound]\n{bypass}\n"
    ));
}
