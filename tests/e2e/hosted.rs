//! What domains behind publish by themselves where the config allows it: the id of their MTA-STS policy and their DKIM keys, at a
//! real name server; and the policy as a sender's program reads it that knows nothing of Postern.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use postern_tests::child;
use postern_tests::nameserver::{KEY, KNOT, NameServer, Signing, Zone};
use postern_tests::needs;
use postern_tests::needs::Need;
use postern_tests::pebble::{self, PEBBLE, Pebble};
use postern_tests::ports;
use postern_tests::postern::{Options, Postern, backend};
use postern_tests::scratch::Scratch;
use postern_tests::sink::Sink;
use serde_json::Value;

pub(super) const SINK: &[Need] = &[Need::Program("smtp-sink")];
/// Debian's postfix-mta-sts-resolver.
const RESOLVER: &[Need] = &[Need::Program("mta-sts-query")];
const LIMIT: Duration = Duration::from_secs(90);

pub(super) const BENCH: &str = "
@        MX 10 mx.postern.test.
@        MX 20 backup
backup   A  127.0.0.1
mta-sts  A  127.0.0.1
";

/// mta-sts-query has its name servers, its port and its authorities from the machine: here they are a test's.
const QUERY: &str = r#"
import asyncio, functools, socket, ssl, sys
import aiodns, aiohttp
from postfix_mta_sts_resolver import resolver

domain, dns_port, https_port, authority = sys.argv[1:]
at = {"nameservers": ["127.0.0.1"], "udp_port": int(dns_port), "tcp_port": int(dns_port)}
resolver.aiodns.DNSResolver = functools.partial(aiodns.DNSResolver, **at)

class Here(aiohttp.abc.AbstractResolver):
    async def resolve(self, host, port=0, family=socket.AF_INET):
        return [{"hostname": host, "host": "127.0.0.1", "port": int(https_port), "family": socket.AF_INET,
                 "proto": 0, "flags": socket.AI_NUMERICHOST}]
    async def close(self):
        pass

Session = aiohttp.ClientSession
def session(**settings):
    context = ssl.create_default_context(cafile=authority)
    return Session(connector=aiohttp.TCPConnector(resolver=Here(), ssl=context), **settings)
resolver.aiohttp.ClientSession = session

async def main():
    print(await resolver.STSResolver(loop=asyncio.get_running_loop()).resolve(domain))
asyncio.run(main())
"#;

fn query(scratch: &Scratch, names: &NameServer, pebble: &Pebble, root: &Path) -> String {
    let script = scratch.write("query.py", QUERY);
    let mut python = Command::new("/usr/bin/python3");
    python.arg(script).arg("bench.test").arg(names.address().port().to_string());
    python.arg(pebble.tls().port().to_string()).arg(root);
    child::run(&python, LIMIT).output
}

/// The resolver, and where records may be written.
pub(super) fn settings(names: &NameServer) -> String {
    format!(
        "[resolver]\nservers = [\"{}\"]\ndnssec_trust_anchor = {:?}\n[dns_update]\nserver = \"{}\"\n\
         tsig = {{ name = \"{}\", secret = \"{}\" }}\n",
        names.address(),
        names.anchor(),
        names.address(),
        KEY.0,
        KEY.1
    )
}

fn start(names: &NameServer, pebble: &Pebble, sink: &Sink, mode: &str) -> Postern {
    let more = format!("mta_sts = \"{mode}\"\n{}", settings(names));
    let config = backend(&["bench.test"], sink.address(), &more);
    let acme = pebble.acme("http-01", "");
    Postern::start(&Options { config, acme, http: pebble.http(), ..Options::default() })
}

fn world() -> (NameServer, Pebble, Sink) {
    let names = NameServer::start(&[
        Zone { name: "postern.test", signing: Signing::Nsec, records: "mx A 127.0.0.1\n" },
        Zone { name: "bench.test", signing: Signing::Unsigned, records: BENCH },
    ]);
    (names, Pebble::start(&pebble::Options::default()), Sink::start(&[]))
}

/// What is found of a domain's records of one kind: name and state.
pub(super) fn found(postern: &Postern, purpose: &str) -> Vec<(String, String)> {
    let ended = postern.ask_within(&["--json", "dns", "bench.test", "--verify"], LIMIT);
    let report: Value = serde_json::from_str(&ended.output).unwrap_or_default();
    let records = report["zones"][0]["records"].as_array().cloned().unwrap_or_default();
    let of = |record: &&Value| record["purpose"] == purpose;
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    records.iter().filter(of).map(|record| (text(&record["name"]), text(&record["found"]["state"]))).collect()
}

/// Before somebody asks for it: that there is nothing is remembered, too.
fn is_written(postern: &Postern, owner: &str) {
    let line = format!("TXT records were written owner={owner} ");
    let written = || postern.log().contains(&line).then_some(());
    assert!(ports::wait_until(LIMIT, written).is_some(), "{owner}\n{}", postern.log());
}

fn all_right(postern: &Postern, purpose: &str) -> Option<()> {
    let found = found(postern, purpose);
    (!found.is_empty() && found.iter().all(|(_, state)| state == "right")).then_some(())
}

#[test]
fn a_sender_finds_the_policy_and_each_mode_of_it_under_an_id_of_its_own() {
    needs!(SINK, KNOT, PEBBLE, RESOLVER);
    let (names, pebble, sink) = world();
    let postern = start(&names, &pebble, &sink, "testing");
    let (root, scratch) = (pebble.root(), Scratch::new("query"));
    let mut ids = Vec::new();
    for mode in ["testing", "enforce", "off"] {
        let text = fs::read_to_string(postern.config()).unwrap();
        let last =
            ["testing", "enforce", "off"].iter().find(|mode| text.contains(&format!("mta_sts = \"{mode}\"")));
        let last = format!("mta_sts = \"{}\"", last.unwrap());
        fs::write(postern.config(), text.replace(&last, &format!("mta_sts = \"{mode}\""))).unwrap();
        postern.reload();
        let told = if mode == "off" { "none" } else { mode };
        let wanted = format!("'mode': '{told}'");
        let id_in = |said: &str| said.split('\'').nth(1).unwrap_or_default().to_owned();
        // The file changes before the record that tells of it does.
        let is_new = |said: &String| said.contains(&wanted) && !ids.contains(&id_in(said));
        let asked = || Some(query(&scratch, &names, &pebble, &root)).filter(is_new);
        let said = ports::wait_until(LIMIT, asked);
        let said =
            said.unwrap_or_else(|| panic!("{}\n{}", query(&scratch, &names, &pebble, &root), postern.log()));
        assert!(said.contains("STSFetchResult.VALID"), "{said}");
        // The domain's own exchangers, whichever they are.
        if mode != "off" {
            assert!(said.contains("'mx': ['backup.bench.test', 'mx.postern.test']"), "{said}");
        }
        let id = id_in(&said);
        assert_eq!(id.len(), 16, "{said}");
        ids.push(id);
    }
}

#[test]
fn records_of_policies_and_dkim_keys_are_written_and_follow_what_they_are_of() {
    needs!(SINK, KNOT, PEBBLE);
    let (names, pebble, sink) = world();
    let postern = start(&names, &pebble, &sink, "testing");
    is_written(&postern, "_mta-sts.bench.test");
    for purpose in ["dkim", "mta-sts"] {
        let right = ports::wait_until(LIMIT, || all_right(&postern, purpose));
        assert!(right.is_some(), "{:?}\n{}", found(&postern, purpose), postern.log());
    }
    let before = found(&postern, "dkim");
    assert_eq!(before.len(), 2);
    let replaced = postern.ask_within(&["dns", "--replace-dkim", "bench.test"], LIMIT);
    assert!(
        replaced.success && replaced.output.contains("signs once all of its records are seen"),
        "{}",
        replaced.output
    );
    // They are written, seen, and sign.
    let signs = || {
        let said = postern.ask_within(&["dns", "bench.test"], LIMIT).output;
        said.contains(": was replaced, and is kept for mail under way").then_some(())
    };
    assert!(ports::wait_until(LIMIT, signs).is_some(), "{}\n{}", postern.ask(&["dns"]).output, postern.log());
    assert_eq!(found(&postern, "dkim").len(), 4);
    assert!(all_right(&postern, "dkim").is_some(), "{:?}", found(&postern, "dkim"));
    let unknown = postern.ask_within(&["dns", "--replace-dkim", "nowhere.test"], LIMIT);
    assert_eq!(unknown.code, Some(2), "{}", unknown.output);
}

#[test]
fn check_online_tells_what_the_world_finds() {
    needs!(SINK, KNOT, PEBBLE);
    let (names, pebble, sink) = world();
    let postern = start(&names, &pebble, &sink, "testing");
    is_written(&postern, "_mta-sts.bench.test");
    let check = postern.ask_within(&["check", "--online"], LIMIT).output;
    for line in [
        format!("ok web server at {}: ", pebble.plain()),
        format!("ok web server at {}: ", pebble.tls()),
        "ok MX bench.test: ".to_owned(),
        "ok TXT _mta-sts.bench.test: ".to_owned(),
        "ok CNAME mta-sts.bench.test: ".to_owned(),
        "ok TLSA _25._tcp.mx.postern.test: ".to_owned(),
        "/dir: it answers".to_owned(),
    ] {
        assert!(check.contains(&line), "{line}\n{check}");
    }
}
