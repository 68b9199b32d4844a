//! The rest of the sections; some of what they say takes effect in later versions (see `inactive`).

use std::net::{Ipv6Addr, SocketAddr};
use std::time::Duration;

use evidence::lists::{About, Code};
use smtp::Domain;
use toml::Spanned;

use super::attachments::attachments;
use super::choices::{Challenge, ExceptionTls, ListAbout, Mode, OnFailure, Source};
use super::network::{ServerAddress, domain_name};
use super::raw::{
    Raw, RawAcme, RawChallenge, RawDkim, RawDnsUpdate, RawEngine, RawHttp, RawJudge, RawLog, RawOutbound,
    RawQueue, RawReports, RawResolver, RawSenders, RawSendersAction, RawSource, RawTrace, RawTsig, Text,
    Texts,
};
use super::resolved::{
    Acme, Clamd, DkimSigning, DnsList, DnsUpdate, ExternalAccount, Http, Judge, Log, OnFailures, Outbound,
    Queue, Relay, Reports, Resolver, Rule, Senders, StoreEngine, Throttle, Trace, Tsig,
};
use super::resolver::{Reading, mail_address};

const LETS_ENCRYPT: &str = "https://acme-v02.api.letsencrypt.org/directory";
/// They report on TLS each day to whoever asks, and see mail of most domains.
const LARGE_REPORTERS: [&str; 3] = ["google.com", "microsoft.com", "comcast.net"];
const DNS: u16 = 53;
const SUBMISSION: u16 = 587;
/// RFC 5425 §4.1.
const SYSLOG: u16 = 6514;
const TSIG_ALGORITHMS: [&str; 3] = ["hmac-sha256", "hmac-sha384", "hmac-sha512"];

pub(super) struct Later {
    pub(super) outbound: Outbound,
    pub(super) acme: Acme,
    pub(super) dns_update: Option<DnsUpdate>,
    pub(super) resolver: Resolver,
    pub(super) judge: Judge,
    pub(super) reports: Reports,
    pub(super) queue: Queue,
    pub(super) trace: Trace,
    pub(super) http: Http,
    pub(super) log: Log,
    pub(super) store: StoreEngine,
}

pub(super) fn resolve(raw: &mut Raw, mode: Mode, reading: &mut Reading<'_, '_>) -> Later {
    let engine = raw.store.as_ref().and_then(|store| store.engine);
    Later {
        outbound: outbound(raw.outbound.get_or_insert_default(), mode, reading),
        acme: acme(raw.acme.get_or_insert_default(), mode, reading),
        dns_update: raw.dns_update.as_ref().and_then(|raw| dns_update(raw, reading)),
        resolver: resolver(raw.resolver.get_or_insert_default(), reading),
        judge: judge(raw.judge.get_or_insert_default(), reading),
        reports: reports(&raw.reports, reading),
        queue: queue(raw.queue.get_or_insert_default(), reading),
        trace: trace(raw.trace.get_or_insert_default(), reading),
        http: http(raw.http.as_ref(), reading),
        log: log(raw.log.get_or_insert_default(), reading),
        store: engine.map(RawEngine::chosen).unwrap_or_default(),
    }
}

fn outbound(raw: &RawOutbound, mode: Mode, reading: &mut Reading<'_, '_>) -> Outbound {
    let networks = reading.networks(&raw.networks);
    let source = raw.source.and_then(RawSource::chosen);
    let user = raw.user.clone().filter(|user| !user.is_empty());
    let password = reading.secret(&raw.password);
    let relay = reading.server(&raw.relay, SUBMISSION).map(|server| Relay { server, user, password });
    Outbound {
        networks: (!networks.is_empty()).then_some(networks),
        source: source.unwrap_or(if mode == Mode::Bridge { Source::Server } else { Source::Appliance }),
        addresses: reading.addresses(&raw.addresses),
        relay,
        relays: reading.servers(&raw.relays, SUBMISSION),
        tls: raw.tls.unwrap_or_default(),
        ca_file: reading.readable_file(&raw.ca_file),
        dane: raw.dane.unwrap_or(true),
        mta_sts: raw.mta_sts.unwrap_or(true),
        exceptions: exceptions(raw, reading),
        bypass: reading.each(&raw.bypass, "a network, an address or a domain", address_or_domain),
        hide: raw.hide.unwrap_or(true),
        on_inner_verification: raw.on_inner_verification.unwrap_or_default(),
        fix_bare_lf: reading.networks(&raw.fix_bare_lf),
        dkim: dkim(&raw.dkim, reading),
        senders: senders(&raw.senders, reading),
    }
}

/// Recipients within an hour or a day, at most.
const MOST_RECIPIENTS: i64 = 1_000_000;

fn senders(raw: &RawSenders, reading: &mut Reading<'_, '_>) -> Senders {
    // A user is whatever a server calls one: a word without an `@` may be a name, too.
    let named = |text: &str| peer(text).or_else(|| user_name(text));
    Senders {
        watch: raw.watch.unwrap_or(true),
        action: raw.action.and_then(RawSendersAction::chosen),
        per_hour: reading.number(&raw.per_hour, 300, 0..=MOST_RECIPIENTS),
        per_day: reading.number(&raw.per_day, 1500, 0..=MOST_RECIPIENTS),
        exempt: reading.each(
            &raw.exempt,
            "a user, a mail address, a domain, a network or an IP address",
            named,
        ),
    }
}

fn user_name(text: &str) -> Option<String> {
    let sound = !text.is_empty()
        && text.len() <= 320
        && text.chars().all(|c| c.is_alphanumeric() || "._-+\\".contains(c));
    sound.then(|| text.to_owned())
}

fn exceptions(raw: &RawOutbound, reading: &mut Reading<'_, '_>) -> Vec<(Domain, ExceptionTls)> {
    let mut exceptions: Vec<(Domain, ExceptionTls)> = Vec::new();
    for (at, exception) in raw.exceptions.iter().flatten().enumerate() {
        let Some(domain) = reading.domain(&Some(exception.domain.clone())) else { continue };
        if exceptions.iter().any(|(known, _)| *known == domain) {
            let place = exception.domain.span();
            reading.problems.add(&place, format!("{domain} has an exception already"), "each domain once");
        }
        let key = format!("outbound.exceptions[{at}].tls");
        match exception.tls {
            Some(tls) => exceptions.push((domain, tls)),
            // A word that there is not was left out of what is read, and told.
            None if reading.problems.mentions(&key) => {}
            None => reading.problems.add_missing(&exception.domain.span(), &key, "`tls = \"encrypt\"`"),
        }
    }
    exceptions
}

fn dkim(raw: &RawDkim, reading: &mut Reading<'_, '_>) -> DkimSigning {
    let label = |text: &str| domain_name(text).map(|_| text.to_owned());
    let prefix = reading.one(&raw.selector_prefix, "letters, digits and hyphens", label);
    DkimSigning {
        enabled: raw.enabled.unwrap_or(true),
        selector_prefix: prefix.unwrap_or_else(|| "postern".to_owned()),
        domains: reading.domains(&raw.domains),
    }
}

fn acme(raw: &RawAcme, mode: Mode, reading: &mut Reading<'_, '_>) -> Acme {
    let directory = reading.one(&raw.directory, "an https address", https);
    let eab = raw.eab.as_ref().and_then(|eab| {
        let (kid, hmac) = (eab.kid.as_ref().map(|kid| kid.get_ref().clone()), reading.secret(&eab.hmac));
        match (kid.filter(|kid| !kid.is_empty()), hmac) {
            (Some(kid), Some(hmac)) => {
                let place = eab.hmac.as_ref().map(Spanned::span).unwrap_or_default();
                reading.base64(&hmac, &place);
                Some(ExternalAccount { kid, hmac })
            }
            (None, None) => None,
            _ => {
                let place =
                    eab.kid.as_ref().map(Spanned::span).or_else(|| eab.hmac.as_ref().map(Spanned::span));
                let place = place.unwrap_or_default();
                reading.problems.add_missing(&place, "acme.eab", "`kid` and a readable `hmac` together");
                None
            }
        }
    });
    let by_mode = if mode == Mode::Front { Challenge::Http01 } else { Challenge::Dns01 };
    Acme {
        enabled: raw.enabled.unwrap_or(true),
        directory: directory.unwrap_or_else(|| LETS_ENCRYPT.to_owned()),
        contact: reading.each(&raw.contact, "a mail address", mail_address),
        challenge: raw.challenge.and_then(RawChallenge::chosen).unwrap_or(by_mode),
        names: reading.domains(&raw.names),
        profile: raw.profile.clone().unwrap_or_default(),
        rsa: raw.rsa.unwrap_or(false),
        eab,
        ca_file: reading.readable_file(&raw.ca_file),
    }
}

fn dns_update(raw: &RawDnsUpdate, reading: &mut Reading<'_, '_>) -> Option<DnsUpdate> {
    let tsig = raw.tsig.as_ref().and_then(|raw| tsig(raw, reading));
    let server = reading.server(&raw.server, DNS)?;
    Some(DnsUpdate { server, tsig })
}

fn tsig(raw: &RawTsig, reading: &mut Reading<'_, '_>) -> Option<Tsig> {
    let known = |text: &str| TSIG_ALGORITHMS.contains(&text).then(|| text.to_owned());
    let expected = format!("one of `{}`", TSIG_ALGORITHMS.join("`, `"));
    let algorithm = reading.one(&raw.algorithm, &expected, known).unwrap_or_else(|| "hmac-sha256".to_owned());
    let (name, secret) = (reading.domain(&raw.name), reading.secret(&raw.secret));
    let written = raw.name.as_ref().map(Spanned::span).or_else(|| raw.secret.as_ref().map(Spanned::span));
    match (name, secret) {
        (Some(name), Some(secret)) => {
            let place = raw.secret.as_ref().map(Spanned::span).unwrap_or_default();
            reading.base64(&secret, &place);
            Some(Tsig { name, algorithm, secret })
        }
        (None, None) => None,
        _ => {
            let place = written.unwrap_or_default();
            reading.problems.add_missing(
                &place,
                "dns_update.tsig",
                "`name` and a readable `secret` together",
            );
            None
        }
    }
}

fn resolver(raw: &RawResolver, reading: &mut Reading<'_, '_>) -> Resolver {
    let read = |text: &str| {
        let with_port = text.parse::<SocketAddr>();
        with_port.or_else(|_| text.parse().map(|address| SocketAddr::new(address, DNS))).ok()
    };
    Resolver {
        servers: reading.each(&raw.servers, "an IP address, with a port if it is not 53", read),
        dnssec_trust_anchor: reading.readable_file(&raw.dnssec_trust_anchor),
    }
}

fn judge(raw: &RawJudge, reading: &mut Reading<'_, '_>) -> Judge {
    let (tag, quarantine) =
        (probability(&raw.tag, 0.80, reading), probability(&raw.quarantine, 0.95, reading));
    let reject = probability(&raw.reject, 0.999, reading);
    let written = raw.reject.as_ref().or(raw.quarantine.as_ref()).or(raw.tag.as_ref());
    in_order((tag, quarantine, reject), written.map(Spanned::span), reading);
    let failure = &raw.on_failure;
    Judge {
        enabled: raw.enabled.unwrap_or(true),
        tag,
        quarantine,
        reject,
        on_failure: OnFailures {
            auth: failure.auth.unwrap_or(OnFailure::Pass),
            virus: failure.virus.unwrap_or(OnFailure::Defer),
            content: failure.content.unwrap_or(OnFailure::Pass),
        },
        budget: reading.duration(&raw.budget, Duration::from_secs(20)),
        action: raw.action.unwrap_or_default(),
        clamd: reading.one(&raw.clamd, "`unix:/path` or `tcp:host:3310`", clamd),
        dnsbl: lists(raw, reading),
        attachments: attachments(&raw.attachments, reading),
        greylist: reading.duration(&raw.greylist, Duration::ZERO),
        traps: reading.each(&raw.traps, "a mail address", mail_address),
        allow: reading.each(&raw.allow, A_PEER, peer),
        block: reading.each(&raw.block, A_PEER, peer),
        report_spam: report_address(&raw.report_spam, "spam@{hostname}", reading),
        report_ham: report_address(&raw.report_ham, "ham@{hostname}", reading),
        quarantine_for: reading.duration(&raw.quarantine_for, Duration::from_secs(30 * 86_400)),
        trusted_sealers: reading.domains(&raw.trusted_sealers),
        seal: raw.seal.unwrap_or(false),
        rules: rules(raw, (tag, quarantine, reject), reading),
    }
}

/// Tag, quarantine and reject.
type Probabilities = (f64, f64, f64);

fn in_order(
    (tag, quarantine, reject): Probabilities,
    written: Option<std::ops::Range<usize>>,
    reading: &mut Reading<'_, '_>,
) {
    if !(tag <= quarantine && quarantine <= reject) {
        let wrong = format!("tag {tag}, quarantine {quarantine} and reject {reject} are out of order");
        reading.problems.add(&written.unwrap_or_default(), wrong, "tag <= quarantine <= reject");
    }
}

/// What a rule does not say is as in [judge]. Whom two rules name nobody could tell apart.
fn rules(raw: &RawJudge, of_all: Probabilities, reading: &mut Reading<'_, '_>) -> Vec<Rule> {
    let mut rules: Vec<Rule> = Vec::new();
    for one in raw.rules.iter().flatten() {
        let (place, one) = (one.span(), one.get_ref());
        let tag = probability(&one.tag, of_all.0, reading);
        let quarantine = probability(&one.quarantine, of_all.1, reading);
        let reject = probability(&one.reject, of_all.2, reading);
        in_order((tag, quarantine, reject), Some(place.clone()), reading);
        let domains = reading.domains(&one.domains);
        let recipients = reading.each(&one.recipients, "a mail address", mail_address);
        if domains.is_empty() && recipients.is_empty() {
            reading.problems.add(&place, "is for nobody", "`domains` or `recipients`");
        }
        let known = |rule: &Rule| {
            let same_domain = domains.iter().any(|domain| rule.domains.contains(domain));
            same_domain
                || recipients
                    .iter()
                    .any(|one| rule.recipients.iter().any(|other| other.eq_ignore_ascii_case(one)))
        };
        if rules.iter().any(known) {
            reading.problems.add(&place, "names somebody whom another rule names", "one rule for each");
        }
        let action = one.action.or(raw.action).unwrap_or_default();
        rules.push(Rule { domains, recipients, tag, quarantine, reject, action });
    }
    rules
}

const A_PEER: &str = "a mail address, a domain, a network or an IP address";

fn probability(value: &Option<Spanned<f64>>, default: f64, reading: &mut Reading<'_, '_>) -> f64 {
    let Some(value) = value else { return default };
    if (0.0..=1.0).contains(value.get_ref()) {
        return *value.get_ref();
    }
    reading.problems.add(&value.span(), format!("cannot be {}", value.get_ref()), "a number from 0.0 to 1.0");
    default
}

fn lists(raw: &RawJudge, reading: &mut Reading<'_, '_>) -> Vec<DnsList> {
    let mut lists = Vec::new();
    for list in raw.dnsbl.iter().flatten() {
        let zone = reading.domain(&Some(list.zone.clone()));
        let weight = log_odds(&list.weight, reading);
        let mut codes = Vec::new();
        for (code, weight) in list.codes.iter().flatten() {
            let expected = "an answer such as `127.0.0.4`, or bits of its last octet such as `&8`";
            let code = reading.value(code, expected, |text| text.parse::<Code>().ok());
            let weight = log_odds(weight, reading);
            codes.extend(code.map(|code| (code, weight)));
        }
        let about = match list.about.unwrap_or_default() {
            ListAbout::Addresses => About::Addresses,
            ListAbout::Domains => About::Domains,
        };
        let refuse = list.refuse.as_ref().is_some_and(|refuse| *refuse.get_ref());
        if refuse && about == About::Domains {
            let place = list.refuse.as_ref().map(Spanned::span).unwrap_or_default();
            reading.problems.add(
                &place,
                "domains are known only when the mail is there",
                "a list of addresses",
            );
        }
        lists.extend(zone.map(|zone| DnsList { zone, about, weight, codes, refuse }));
    }
    let place = raw.dnsbl.iter().flatten().nth(MOST_LISTS).map(|list| list.zone.span());
    if let Some(place) = place {
        reading.problems.add(&place, "is one list too many", format!("at most {MOST_LISTS}"));
    }
    lists
}

/// Lists that a message is looked up in; each is a check of its own.
const MOST_LISTS: usize = 16;

/// Beyond it a weight is certainty, which is a demand's to say (judge's own bound).
const MOST_LOG_ODDS: f64 = 12.0;

fn log_odds(weight: &Spanned<f64>, reading: &mut Reading<'_, '_>) -> f64 {
    let most = MOST_LOG_ODDS;
    if (-most..=most).contains(weight.get_ref()) {
        return *weight.get_ref();
    }
    let wrong = format!("cannot be {}", weight.get_ref());
    reading.problems.add(&weight.span(), wrong, format!("log-odds from -{most} to {most}"));
    0.0
}

fn report_address(text: &Text, default: &str, reading: &mut Reading<'_, '_>) -> String {
    let read =
        |text: &str| mail_address(&text.replace("{hostname}", "host.invalid")).map(|_| text.to_owned());
    reading
        .one(text, "a mail address; `{hostname}` stands for the hostname", read)
        .unwrap_or_else(|| default.to_owned())
}

fn reports(raw: &RawReports, reading: &mut Reading<'_, '_>) -> Reports {
    Reports {
        address: report_address(&raw.address, "reports@{hostname}", reading),
        tls: raw.tls.unwrap_or(true),
        dmarc: raw.dmarc.unwrap_or(true),
        trusted: match raw.trusted {
            None => LARGE_REPORTERS.iter().filter_map(|name| domain_name(name)).collect(),
            Some(_) => reading.domains(&raw.trusted),
        },
    }
}

fn queue(raw: &RawQueue, reading: &mut Reading<'_, '_>) -> Queue {
    Queue {
        lifetime: reading.duration(&raw.lifetime, Duration::from_secs(5 * 86_400)),
        max_size: reading.size(&raw.max_size, 10 << 30, 1 << 20..=1 << 50),
        tell_after: reading.duration(&raw.tell_after, Duration::from_secs(4 * 3600)),
        keep_expired: reading.duration(&raw.keep_expired, Duration::from_secs(30 * 86_400)),
        throttles: throttles(raw, reading),
    }
}

fn trace(raw: &RawTrace, reading: &mut Reading<'_, '_>) -> Trace {
    Trace {
        keep: reading.duration(&raw.keep, Duration::from_secs(30 * 86_400)),
        max_size: reading.size(&raw.max_size, 2 << 30, 64 << 20..=1 << 50),
        subjects: raw.subjects.as_ref().is_none_or(|subjects| *subjects.get_ref()),
    }
}

/// The most connections to one destination, throttled or not.
const MOST_CONNECTIONS: i64 = 20;

fn throttles(raw: &RawQueue, reading: &mut Reading<'_, '_>) -> Vec<Throttle> {
    let mut throttles = Vec::new();
    for throttle in raw.throttles.iter().flatten() {
        let domain = reading.domain(&Some(throttle.domain.clone()));
        let connections = reading.number(&throttle.connections, 20, 1..=MOST_CONNECTIONS);
        let per_minute = reading.number(&throttle.per_minute, 0, 0..=600_000);
        throttles.extend(domain.map(|domain| Throttle { domain, connections, per_minute }));
    }
    throttles
}

fn http(written: Option<&RawHttp>, reading: &mut Reading<'_, '_>) -> Http {
    let defaults = RawHttp::default();
    let raw = written.unwrap_or(&defaults);
    let mut address = |text: &Text, port: u16| match text {
        None => Some((Ipv6Addr::UNSPECIFIED, port).into()),
        Some(_) => reading.socket_address(text),
    };
    Http { plain: address(&raw.plain, 80), tls: address(&raw.tls, 443), is_written: written.is_some() }
}

fn log(raw: &RawLog, reading: &mut Reading<'_, '_>) -> Log {
    let syslog = |text: &str| match text {
        "" => Some(None),
        text => {
            ServerAddress::new(text.strip_prefix("tls://")?, SYSLOG).map(|server| Some(server.to_string()))
        }
    };
    Log {
        syslog: reading.one(&raw.syslog, "`tls://host:6514`", syslog).flatten(),
        syslog_ca_file: reading.readable_file(&raw.syslog_ca_file),
        alerts: alerts(&raw.alerts, reading),
    }
}

fn alerts(texts: &Texts, reading: &mut Reading<'_, '_>) -> Vec<String> {
    reading
        .each(texts, "a mail address or an https address", |text| https(text).or_else(|| mail_address(text)))
}

fn https(text: &str) -> Option<String> {
    let rest = text.strip_prefix("https://")?;
    (!rest.is_empty() && rest.bytes().all(|b| b.is_ascii_graphic())).then(|| text.to_owned())
}

fn clamd(text: &str) -> Option<Clamd> {
    if let Some(path) = text.strip_prefix("unix:") {
        return path.starts_with('/').then(|| Clamd::Unix(path.into()));
    }
    ServerAddress::new(text.strip_prefix("tcp:")?, 3310).map(Clamd::Tcp)
}

fn address_or_domain(text: &str) -> Option<String> {
    let address = text.parse::<ipnet::IpNet>().is_ok() || text.parse::<std::net::IpAddr>().is_ok();
    (address || domain_name(text).is_some()).then(|| text.to_owned())
}

fn peer(text: &str) -> Option<String> {
    address_or_domain(text).or_else(|| mail_address(text))
}
