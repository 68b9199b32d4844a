//! The same session without Postern and through it, seen from both ends: what differs is the list in docs/gateway.md.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::net::{IpAddr, SocketAddr};
use std::path::Path;
use std::sync::Arc;

use postern_tests::certificate::{Authority, Certificate};
use postern_tests::gateway::{self, both_families, names, smtp};
use postern_tests::lab::{HIDDEN, Host, LAB, Lab, OUTSIDE, WORLD};
use postern_tests::nameserver::KNOT;
use postern_tests::needs;
use postern_tests::needs::Need;
use postern_tests::scripted::Tls;
use postern_tests::witness::{Points, Server, Session, differences, send};
use rustls::ServerConfig;

const OPENSSL: &[Need] = &[Need::Program("openssl")];

/// What servers do to each other every day: a field of the hop before, a signature over others, forged fields, dots, a long
/// line, octets above 127, blanks at the end.
const CONTENT: &str = "Received: from desk.hidden.test ([10.0.0.7])\r\n\tby server.test; Sat, 21 Nov 2026 19:10:05 +0000\r\n\
From: <a@hidden.test>\r\nTo: <b@v4.test>\r\nSubject:  spaced   out \r\n\tand folded\r\n\
X-Spam-Flag: YES\r\nX-Postern-Verdict: ham\r\nAuthentication-Results: mx.postern.test; dkim=pass\r\n\
MIME-Version: 1.0\r\nContent-Transfer-Encoding: 8bit\r\n\r\n\
..a dot, and gr\u{fc}n \r\n..\r\n\r\nlast\r\n.\r\n";

fn content() -> Vec<u8> {
    let long = format!("last\r\n{}\r\n", "long ".repeat(300));
    CONTENT.replace("last\r\n", &long).chars().map(|c| u8::try_from(u32::from(c)).unwrap_or(b'?')).collect()
}

pub(super) fn server_tls(certificate: &Certificate) -> Arc<ServerConfig> {
    let Tls::Server(config) = certificate.server_tls() else { unreachable!("it was asked for") };
    config
}

/// One session from a client to a server.
struct Way<'a> {
    client: &'a Host,
    server: &'a Server,
    address: SocketAddr,
    sender: &'static str,
    recipients: [&'static str; 2],
}

impl Way<'_> {
    /// What the client saw, and what the server did.
    fn go(&self) -> [Points; 2] {
        let (address, sender, recipients) = (self.address, self.sender, self.recipients);
        let mut client = self.client.run(move || {
            let content = content();
            send(address, Session { sender, recipients, content: &content })
        });
        let mut server = self.server.saw();
        // A port is as good as any other; whether both see the same one is what tells.
        let same = client.remove("own port") == server.remove("client's port");
        server.insert("client's port", if same { "the client's" } else { "another" }.into());
        [client, server]
    }
}

/// What the page says under a heading: the points in the first column of the table there.
fn documented(heading: &str) -> BTreeSet<String> {
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/gateway.md");
    let page = fs::read_to_string(&page).expect("docs/gateway.md");
    let section = page.split_once(&format!("**{heading}**")).expect("that heading").1;
    let rows = section.lines().skip_while(|line| !line.starts_with("| --- ")).skip(1);
    let points = rows.take_while(|line| line.starts_with("| "));
    points.filter_map(|row| row.split('|').nth(1)).map(|point| point.trim().to_owned()).collect()
}

type Differences = BTreeMap<&'static str, (String, String)>;

fn expect_documented(heading: &str, found: &Differences) {
    let points: BTreeSet<String> = found.keys().map(|&point| point.to_owned()).collect();
    assert_eq!(points, documented(heading), "docs/gateway.md, {heading}; found:\n{found:#?}");
}

/// The lines of an offer behind the first.
fn keywords(offer: &str) -> BTreeSet<&str> {
    offer.lines().skip(1).filter_map(|line| line.get(4..)).collect()
}

/// A reply is the other one with a trace identifier in brackets.
fn expect_traced((direct, through): &(String, String)) {
    let (direct, through) = (direct.trim_end(), through.trim_end());
    let identifier = through.strip_prefix(direct).and_then(|rest| rest.strip_prefix(" ("));
    assert!(identifier.is_some_and(|rest| rest.ends_with(')')), "{direct:?} became {through:?}");
}

fn in_order<'a>(way: &'a Differences, points: &[&str]) -> Vec<&'a (String, String)> {
    points.iter().map(|&point| &way[point]).collect()
}

/// The field on top that Postern added, and what follows.
fn top_field(content: &str) -> (&str, &str) {
    let end = content.match_indices("\r\n").find(|(at, _)| !content[at + 2..].starts_with(['\t', ' ']));
    content.split_at(end.map_or(0, |(at, _)| at + 2))
}

#[test]
fn what_either_side_can_see_of_postern_is_what_the_page_says() {
    needs!(LAB, KNOT, OPENSSL);
    let lab = Lab::new();
    let authority = Authority::new();
    let hidden_tls = server_tls(&authority.certify(&["mail.hidden.test"]));
    let world_tls = server_tls(&authority.certify(&["mx.v4.test", "mx.v6.test"]));
    let (inside, world) = HIDDEN
        .both()
        .into_iter()
        .zip(WORLD.both())
        .map(|(hidden, far)| {
            let (hidden_tls, world_tls) = (Arc::clone(&hidden_tls), Arc::clone(&world_tls));
            let inside = lab.inside.run(move || Server::start(smtp(hidden), &hidden_tls));
            (inside, lab.world.run(move || Server::start(smtp(far), &world_tls)))
        })
        .unzip::<_, _, Vec<_>, Vec<_>>();
    let recipients = [["<b@v4.test>", "<nobody@v4.test>"], ["<b@v6.test>", "<nobody@v6.test>"]];
    let mut ways = Vec::new();
    for family in 0..2 {
        ways.push((
            family,
            Way {
                client: &lab.world,
                server: &inside[family],
                address: smtp(HIDDEN.both()[family]),
                sender: "<a@world.test> BODY=8BITMIME",
                recipients: ["<b@hidden.test>", "<nobody@hidden.test>"],
            },
            Way {
                client: &lab.inside,
                server: &world[family],
                address: smtp(WORLD.both()[family]),
                sender: "<a@hidden.test> BODY=8BITMIME",
                recipients: recipients[family],
            },
        ));
    }
    forward(&lab.postern);
    let direct: Vec<_> = ways.iter().map(|(_, inward, outward)| (inward.go(), outward.go())).collect();
    let (_names, resolver) = names(&lab, &both_families());
    let _postern = gateway::start(&lab, &format!("{resolver}[outbound]\nca_file = {:?}\n", authority.file()));
    for ((family, inward, outward), (direct_in, direct_out)) in ways.iter().zip(direct) {
        expect_inward(&direct_in, &inward.go());
        expect_outward(&direct_out, &outward.go(), OUTSIDE.both()[*family]);
    }
}

/// As a plain router does.
pub(super) fn forward(host: &Host) {
    for switch in ["ipv4/ip_forward", "ipv6/conf/all/forwarding"] {
        let file = format!("/proc/sys/net/{switch}");
        host.run(move || fs::write(file, "1").expect("a namespace of one's own"));
    }
}

fn expect_inward([client, server]: &[Points; 2], [client_through, server_through]: &[Points; 2]) {
    let sender = differences(client, client_through);
    expect_documented("Inbound, what the sender sees", &sender);
    let (direct, through) = &sender["offer behind TLS"];
    let gone: Vec<_> = keywords(direct).difference(&keywords(through)).copied().collect();
    let new: Vec<_> = keywords(through).difference(&keywords(direct)).copied().collect();
    assert_eq!(
        (gone, new),
        (vec!["ETRN", "SIZE 10485760", "VRFY"], vec!["LIMITS RCPTMAX=1000", "SIZE 10477568"])
    );
    for traced in in_order(&sender, &["reply to RCPT that is refused", "reply to the message"]) {
        expect_traced(traced);
    }
    let hidden = differences(server, server_through);
    expect_documented("Inbound, what the hidden server sees", &hidden);
    let (direct, through) = &hidden["content"];
    let (field, rest) = top_field(through);
    assert!(field.starts_with("Received: from client.test (["), "{field}");
    let forged = "X-Spam-Flag: YES\r\nX-Postern-Verdict: ham\r\nAuthentication-Results: mx.postern.test; dkim=pass\r\n";
    assert_eq!(rest, direct.replace(forged, ""));
}

fn expect_outward(
    [client, server]: &[Points; 2],
    [client_through, server_through]: &[Points; 2],
    own: IpAddr,
) {
    let hidden = differences(client, client_through);
    expect_documented("Outbound, what the hidden server sees", &hidden);
    for traced in in_order(&hidden, &["reply to RCPT that is refused", "reply to the message"]) {
        expect_traced(traced);
    }
    assert!(hidden["certificate: issuer"].1.contains("Postern"), "{:?}", hidden["certificate: issuer"]);
    let world = differences(server, server_through);
    expect_documented("Outbound, what the world sees", &world);
    assert_eq!(world["client's address"].1, own.to_string());
    assert_eq!(world["EHLO behind TLS"].1, "EHLO mx.postern.test\r\n");
    let (direct, through) = &world["content"];
    let (rsa, through) = top_field(through);
    let (ed25519, through) = top_field(through);
    for (signature, algorithm) in [(rsa, "rsa"), (ed25519, "ed25519")] {
        let begins = format!("DKIM-Signature: v=1; a={algorithm}-sha256; s=postern-");
        assert!(signature.starts_with(&begins), "{signature}");
        assert!(signature.contains("; d=hidden.test; c=relaxed/relaxed;"), "{signature}");
    }
    let (field, rest) = top_field(through);
    assert!(field.starts_with("Received: by mx.postern.test (Postern) with ESMTPS id "), "{field}");
    let (_, direct) = top_field(direct);
    let forged = "X-Spam-Flag: YES\r\nX-Postern-Verdict: ham\r\nAuthentication-Results: mx.postern.test; dkim=pass\r\n";
    assert_eq!(rest, direct.replace(forged, ""));
}
