//! `[[backend]]`: the servers behind, and what must agree between them.

use std::collections::HashMap;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use smtp::Domain;
use toml::Spanned;

use super::choices::{Banner, ClientAddress, Mode, TlsPolicy};
use super::network::{Host, ServerAddress, domain_name};
use super::raw::{RawBackend, RawBanner};
use super::recipients::recipients;
use super::resolved::Backend;
use super::resolver::Reading;

const SMTP: u16 = 25;
const SUBMISSION: u16 = 587;

pub(super) fn backends(
    raw: Option<&[Spanned<RawBackend>]>,
    mode: Mode,
    reading: &mut Reading<'_, '_>,
) -> Vec<Backend> {
    let tables = raw.unwrap_or_default();
    if tables.is_empty() {
        let expected = "at least one `[[backend]]` with `domains` and `servers`";
        reading.problems.add_missing(&(0..0), "backend", expected);
    }
    let backends = tables
        .iter()
        .enumerate()
        .filter_map(|(at, table)| backend(at, table, mode, reading))
        .collect::<Vec<_>>();
    names_differ(tables, reading);
    domains_differ(tables, reading);
    backends
}

fn backend(
    at: usize,
    table: &Spanned<RawBackend>,
    mode: Mode,
    reading: &mut Reading<'_, '_>,
) -> Option<Backend> {
    let raw = table.get_ref();
    let domains = reading.domains(&raw.domains);
    let servers = reading.servers(&raw.servers, SMTP);
    for (name, list, example) in [
        ("domains", &raw.domains, "`domains = [\"example.net\"]`"),
        ("servers", &raw.servers, "`servers = [\"10.0.0.10\"]`"),
    ] {
        if list.as_ref().is_none_or(Vec::is_empty) {
            reading.problems.add_missing(&table.span(), &format!("backend[{at}].{name}"), example);
        }
    }
    let submission = reading.server(&raw.submission, SUBMISSION);
    let tls = raw.tls.as_ref().map(|tls| *tls.get_ref()).unwrap_or_default();
    let tls_name = reading.domain(&raw.tls_name);
    let pins = reading.each(&raw.pins, "`sha256/` and 44 characters of base64", pin);
    let ca_file = reading.readable_file(&raw.ca_file);
    let recipients = recipients(&raw.recipients, reading);
    verifiable(raw, &servers, submission.as_ref(), reading);
    let first = servers.first()?.clone();
    let banner = raw.banner.and_then(RawBanner::chosen);
    Some(Backend {
        name: name(raw, &first),
        domains,
        submission_is_named: submission.is_some(),
        submission: submission
            .unwrap_or_else(|| ServerAddress { host: first.host.clone(), port: SUBMISSION }),
        servers,
        tls,
        tls_name,
        ca_file,
        pins,
        client_address: match raw.client_address.unwrap_or_default() {
            // A gateway routes, so that replies to any address come back to it.
            ClientAddress::Auto if mode != Mode::Front => ClientAddress::Transparent,
            method => method,
        },
        banner: banner.unwrap_or(if mode == Mode::Front { Banner::Postern } else { Banner::Server }),
        arm: raw.arm.unwrap_or_default(),
        mta_sts: raw.mta_sts.unwrap_or_default(),
        recipients,
        lifetime: raw.lifetime.as_ref().map(|_| reading.duration(&raw.lifetime, Duration::ZERO)),
    })
}

/// Its own, or its first server as people write it: without the port that goes without saying.
fn name(raw: &RawBackend, first: &ServerAddress) -> String {
    match (raw.name.as_ref().filter(|name| !name.get_ref().is_empty()), &first.host) {
        (Some(name), _) => name.get_ref().clone(),
        (None, Host::Address(address)) if first.port == SMTP => address.to_string(),
        (None, Host::Name(name)) if first.port == SMTP => name.to_string(),
        (None, _) => first.to_string(),
    }
}

/// A digest of a SubjectPublicKeyInfo, as `sha256/BASE64`.
fn pin(text: &str) -> Option<[u8; 32]> {
    STANDARD.decode(text.strip_prefix("sha256/")?).ok()?.try_into().ok()
}

/// `verify` needs something to verify: a name, or a pin.
fn verifiable(
    raw: &RawBackend,
    servers: &[ServerAddress],
    submission: Option<&ServerAddress>,
    reading: &mut Reading<'_, '_>,
) {
    let pinned = raw.pins.as_ref().is_some_and(|pins| !pins.is_empty());
    let Some(tls) = raw.tls.as_ref() else { return };
    if *tls.get_ref() == TlsPolicy::Off && pinned {
        reading.problems.add(
            &tls.span(),
            "`off` and `pins` exclude each other",
            "`verify` where there are pins",
        );
    }
    let named = raw.tls_name.as_ref().is_some_and(|name| !name.get_ref().is_empty());
    if *tls.get_ref() != TlsPolicy::Verify || named || pinned {
        return;
    }
    let nameless = servers.iter().chain(submission).find(|server| matches!(server.host, Host::Address(_)));
    if let Some(server) = nameless {
        let wrong = format!("`verify` has no name to verify: server {server} is an address");
        let expected = "`tls_name = \"mail.example.net\"`, `pins`, or the server by name";
        reading.problems.add(&tls.span(), wrong, expected);
    }
}

fn names_differ(tables: &[Spanned<RawBackend>], reading: &mut Reading<'_, '_>) {
    let mut seen: HashMap<&str, usize> = HashMap::new();
    for (at, table) in tables.iter().enumerate() {
        let Some(name) = table.get_ref().name.as_ref().filter(|name| !name.get_ref().is_empty()) else {
            continue;
        };
        if let Some(other) = seen.insert(name.get_ref(), at) {
            let wrong = format!("is the name of backend[{other}] too");
            reading.problems.add(&name.span(), wrong, "a name that no other backend has");
        }
    }
}

/// A recipient's domain must lead to one backend.
fn domains_differ(tables: &[Spanned<RawBackend>], reading: &mut Reading<'_, '_>) {
    let mut seen: HashMap<Domain, String> = HashMap::new();
    for text in tables.iter().flat_map(|table| table.get_ref().domains.iter().flatten()) {
        let Some(domain) = domain_name(text.get_ref()) else { continue };
        let here = reading.problems.key_at(&text.span());
        if let Some(other) = seen.insert(domain, here) {
            let wrong = format!("`{}` stands at {other} already", text.get_ref());
            reading.problems.add(&text.span(), wrong, "each domain once, in one backend");
        }
    }
}
