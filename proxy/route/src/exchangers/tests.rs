use std::collections::HashMap;
use std::net::Ipv6Addr;
use std::sync::Mutex;

use super::*;
use crate::mx_set::MAX_ATTEMPTS;

/// A DNS of a few lines: what is not in it does not exist.
#[derive(Default)]
struct Fake {
    mx: HashMap<Domain, Result<Answer<Mx>, DnsError>>,
    addresses: HashMap<Domain, Result<Addresses, DnsError>>,
    asked: Mutex<Vec<Domain>>,
}

const GONE: DnsError = DnsError::NoSuchDomain { proof: Proof::Insecure };
const EMPTY: DnsError = DnsError::NoRecords { proof: Proof::Secure };

impl Lookup for Fake {
    async fn mx(&self, domain: &Domain) -> Result<Answer<Mx>, DnsError> {
        self.asked.lock().unwrap().push(domain.clone());
        self.mx.get(domain).cloned().unwrap_or(Err(GONE))
    }

    async fn addresses(&self, host: &Domain) -> Result<Addresses, DnsError> {
        self.asked.lock().unwrap().push(host.clone());
        self.addresses.get(host).cloned().unwrap_or(Err(GONE))
    }

    async fn tlsa(&self, _: &Domain, _: u16) -> Result<Answer<dns::Tlsa>, DnsError> {
        Err(GONE)
    }

    async fn alias(&self, _: &Domain) -> Result<Proof, DnsError> {
        Err(GONE)
    }

    async fn text(&self, _: &Domain) -> Result<Answer<dns::Text>, DnsError> {
        Err(GONE)
    }
}

fn name(text: &str) -> Domain {
    text.parse().unwrap()
}

fn answer<T>(records: Vec<T>, seconds: u64) -> Answer<T> {
    let ttl = Duration::from_secs(seconds);
    Answer { records, proof: Proof::Secure, ttl, canonical: None, left_out: 0 }
}

impl Fake {
    /// `example.net` with these exchangers; `.` is the null one.
    fn with_mx(records: &[(u16, &str)]) -> Self {
        let records = records
            .iter()
            .map(|(preference, host)| Mx { preference: *preference, exchange: host.parse().ok() })
            .collect();
        Self { mx: [(name("example.net"), Ok(answer(records, 600)))].into(), ..Self::default() }
    }

    fn without_mx(error: DnsError) -> Self {
        Self { mx: [(name("example.net"), Err(error))].into(), ..Self::default() }
    }

    fn host(mut self, host: &str, addresses: &[&str]) -> Self {
        let addresses: Vec<IpAddr> = addresses.iter().map(|text| text.parse().unwrap()).collect();
        let v6: Vec<Ipv6Addr> = addresses
            .iter()
            .filter_map(|ip| if let IpAddr::V6(ip) = ip { Some(*ip) } else { None })
            .collect();
        let v4: Vec<Ipv4Addr> = addresses
            .iter()
            .filter_map(|ip| if let IpAddr::V4(ip) = ip { Some(*ip) } else { None })
            .collect();
        let v6 = if v6.is_empty() { Err(EMPTY) } else { Ok(answer(v6, 300)) };
        let v4 = if v4.is_empty() { Err(EMPTY) } else { Ok(answer(v4, 300)) };
        self.addresses.insert(name(host), Addresses::new(v6, v4));
        self
    }

    fn failing(mut self, host: &str, error: DnsError) -> Self {
        self.addresses.insert(name(host), Err(error));
        self
    }
}

fn settings() -> ExchangerSettings {
    ExchangerSettings {
        own_names: [name("postern.example")].into(),
        own_addresses: ["192.0.2.99".parse().unwrap(), "2001:db8::99".parse().unwrap()].into(),
        inside: vec!["10.1.0.0/16".parse().unwrap()],
    }
}

async fn find(fake: Fake, seed: u64) -> Result<MxSet, NoRoute> {
    Exchangers::new(fake, settings()).targets(&Host::Name(name("example.net")), seed).await
}

fn addresses(set: &MxSet) -> Vec<String> {
    set.targets.iter().map(|target| target.address.ip().to_string()).collect()
}

#[tokio::test]
async fn the_preferred_host_comes_first_with_its_families_in_turns() {
    let fake = Fake::with_mx(&[(20, "b.example"), (10, "a.example")])
        .host("a.example", &["192.0.2.1", "2001:db8::1"])
        .host("b.example", &["192.0.2.2"]);
    let set = find(fake, 7).await.unwrap();
    assert_eq!(addresses(&set), ["2001:db8::1", "192.0.2.1", "192.0.2.2"]);
    assert_eq!(set.published, Published::Mx);
    assert_eq!(set.ttl, Duration::from_secs(300));
    assert!(set.notes.is_empty(), "{:?}", set.notes);
    let first = &set.targets[0];
    assert_eq!(first.host, Some(name("a.example")));
    assert_eq!((first.address.port(), first.preference), (25, 10));
    assert_eq!((first.mx_proof, first.address_proof), (Proof::Secure, Proof::Secure));
}

#[tokio::test]
async fn equals_are_shuffled_by_the_seed_and_the_others_are_not() {
    let mut orders = HashSet::new();
    for seed in 0..50 {
        let fake =
            Fake::with_mx(&[(10, "a.example"), (10, "b.example"), (10, "c.example"), (20, "d.example")])
                .host("a.example", &["192.0.2.1"])
                .host("b.example", &["192.0.2.2"])
                .host("c.example", &["192.0.2.3"])
                .host("d.example", &["192.0.2.4"]);
        let order = addresses(&find(fake, seed).await.unwrap());
        assert_eq!(order[3], "192.0.2.4");
        orders.insert(order);
    }
    assert_eq!(orders.len(), 6, "every order of three comes up");
    let fake =
        || Fake::with_mx(&[(10, "a.example")]).host("a.example", &["192.0.2.1", "192.0.2.2", "192.0.2.3"]);
    assert_eq!(find(fake(), 3).await, find(fake(), 3).await, "one seed, one order");
}

#[tokio::test]
async fn a_domain_without_mx_takes_its_mail_itself() {
    let set = find(Fake::without_mx(EMPTY).host("example.net", &["192.0.2.1"]), 0).await.unwrap();
    assert_eq!(set.published, Published::Implicit);
    assert_eq!(set.targets[0].host, Some(name("example.net")));
    assert_eq!(set.targets[0].mx_proof, Proof::Secure, "it is proved that there is none");
    assert_eq!(find(Fake::without_mx(EMPTY).failing("example.net", EMPTY), 0).await, Err(NoRoute::NoServer));
}

#[tokio::test]
async fn what_cannot_be_looked_up_now_is_not_taken_for_missing() {
    for error in [DnsError::TimedOut, DnsError::Bogus, DnsError::ServerFailure("SERVFAIL".into())] {
        let unknown = Err(NoRoute::Unknown(error.clone()));
        assert_eq!(find(Fake::without_mx(error.clone()), 0).await, unknown);
        let implicit = Fake::without_mx(EMPTY).failing("example.net", error.clone());
        assert_eq!(find(implicit, 0).await, unknown);
        // Nothing is known of the one host, so that nothing final can be said of all.
        let fake =
            Fake::with_mx(&[(10, "a.example"), (20, "gone.example")]).failing("a.example", error.clone());
        assert_eq!(find(fake, 0).await, unknown);
        // The next one is there; mail goes to it meanwhile.
        let fake = Fake::with_mx(&[(10, "a.example"), (20, "b.example")])
            .failing("a.example", error.clone())
            .host("b.example", &["192.0.2.2"]);
        let set = find(fake, 0).await.unwrap();
        assert_eq!(addresses(&set), ["192.0.2.2"]);
        assert_eq!(set.notes, [Note::Unresolved { host: name("a.example"), error }]);
    }
}

#[tokio::test]
async fn one_family_serves_while_the_other_cannot_be_looked_up() {
    let mut fake = Fake::with_mx(&[(10, "a.example")]);
    let v4 = Ok(answer(vec![Ipv4Addr::new(192, 0, 2, 1)], 60));
    fake.addresses.insert(name("a.example"), Addresses::new(Err(DnsError::TimedOut), v4));
    let set = find(fake, 0).await.unwrap();
    assert_eq!(addresses(&set), ["192.0.2.1"]);
    assert_eq!(set.notes, [Note::Unresolved { host: name("a.example"), error: DnsError::TimedOut }]);
}

#[tokio::test]
async fn what_does_not_exist_is_refused_for_good() {
    assert_eq!(find(Fake::default(), 0).await, Err(NoRoute::NoSuchDomain));
    assert_eq!(find(Fake::without_mx(DnsError::NotAName), 0).await, Err(NoRoute::NoSuchDomain));
    assert_eq!(find(Fake::without_mx(DnsError::Malformed), 0).await, Err(NoRoute::NoServer));
    assert_eq!(find(Fake::with_mx(&[(10, "gone.example")]), 0).await, Err(NoRoute::NoServer));
}

#[tokio::test]
async fn a_null_mx_alone_means_no_mail() {
    assert_eq!(find(Fake::with_mx(&[(0, ".")]), 0).await, Err(NoRoute::NullMx));
    assert_eq!(find(Fake::with_mx(&[(0, "."), (10, ".")]), 0).await, Err(NoRoute::NullMx));
    let set = find(Fake::with_mx(&[(0, "."), (10, "a.example")]).host("a.example", &["192.0.2.1"]), 0)
        .await
        .unwrap();
    assert_eq!(addresses(&set), ["192.0.2.1"]);
    assert_eq!(set.notes, [Note::NullAmongOthers]);
}

#[tokio::test]
async fn a_host_that_is_this_machine_ends_the_list() {
    for own in [
        Fake::default().host("own.example", &["192.0.2.99"]),
        Fake::default().host("own.example", &["192.0.2.50", "2001:db8::99"]),
        Fake::default().host("own.example", &["::ffff:192.0.2.99"]),
    ] {
        let records = [(10, "a.example"), (20, "own.example"), (20, "b.example"), (30, "c.example")];
        let mut fake = Fake::with_mx(&records)
            .host("a.example", &["192.0.2.1"])
            .host("b.example", &["192.0.2.2"])
            .host("c.example", &["192.0.2.3"]);
        fake.addresses.extend(own.addresses);
        for seed in 0..4 {
            let copy = Fake { mx: fake.mx.clone(), addresses: fake.addresses.clone(), ..Fake::default() };
            let set = find(copy, seed).await.unwrap();
            assert_eq!(addresses(&set), ["192.0.2.1"], "equals and less preferred ones are left out");
            assert_eq!(set.notes, [Note::Own(name("own.example"))]);
        }
    }
}

#[tokio::test]
async fn a_host_with_this_machines_name_is_this_machine_wherever_it_is() {
    let fake = Fake::with_mx(&[(10, "a.example"), (20, "Postern.Example."), (30, "c.example")])
        .host("a.example", &["192.0.2.1"])
        .host("postern.example", &["192.0.2.7"])
        .host("c.example", &["192.0.2.3"]);
    assert_eq!(addresses(&find(fake, 0).await.unwrap()), ["192.0.2.1"]);
}

#[tokio::test]
async fn mail_that_would_come_back_here_goes_nowhere() {
    let by_name =
        Fake::with_mx(&[(10, "postern.example"), (20, "b.example")]).host("b.example", &["192.0.2.2"]);
    assert_eq!(find(by_name, 0).await, Err(NoRoute::LoopsBack));
    let implicit = Fake::without_mx(EMPTY).host("example.net", &["192.0.2.99"]);
    assert_eq!(find(implicit, 0).await, Err(NoRoute::LoopsBack));
    // The host that is preferred to us cannot be found now: it may be back later.
    let fake =
        Fake::with_mx(&[(10, "a.example"), (20, "postern.example")]).failing("a.example", DnsError::TimedOut);
    assert_eq!(find(fake, 0).await, Err(NoRoute::Unknown(DnsError::TimedOut)));
}

#[tokio::test]
async fn nobodys_dns_leads_into_the_inside() {
    for closed in
        ["127.0.0.1", "10.0.0.1", "192.168.1.1", "169.254.169.254", "0.0.0.0", "::1", "fd00::1", "fe80::1"]
    {
        let alone = Fake::with_mx(&[(10, "a.example")]).host("a.example", &[closed]);
        assert_eq!(find(alone, 0).await, Err(NoRoute::Closed), "{closed}");
        let beside = Fake::with_mx(&[(10, "a.example")]).host("a.example", &[closed, "192.0.2.1"]);
        let set = find(beside, 0).await.unwrap();
        assert_eq!(addresses(&set), ["192.0.2.1"], "{closed}");
        let note = Note::Closed { host: Some(name("a.example")), address: closed.parse().unwrap() };
        assert_eq!(set.notes, [note]);
    }
    let listed = Fake::with_mx(&[(10, "a.example")]).host("a.example", &["10.1.2.3"]);
    assert_eq!(addresses(&find(listed, 0).await.unwrap()), ["10.1.2.3"]);
}

#[tokio::test]
async fn an_address_for_a_name_and_an_alias_are_used_and_noted() {
    let mut fake =
        Fake::with_mx(&[(10, "192.0.2.1"), (20, "alias.example")]).host("alias.example", &["192.0.2.2"]);
    if let Some(Ok(Addresses { v4: Ok(v4), .. })) = fake.addresses.get_mut(&name("alias.example")) {
        v4.canonical = Some(name("real.example"));
    }
    let set = find(fake, 0).await.unwrap();
    assert_eq!(
        set.notes,
        [Note::AddressForName("192.0.2.1".parse().unwrap()), Note::Alias(name("alias.example"))]
    );
    assert_eq!(set.targets[0].host, None, "an address proves no name");
    assert_eq!(set.targets[0].address.to_string(), "192.0.2.1:25");
    assert_eq!(set.targets[1].host, Some(name("alias.example")));
    assert_eq!(set.targets[1].canonical, Some(name("real.example")));
    let closed = Fake::with_mx(&[(10, "127.0.0.1")]);
    assert_eq!(find(closed, 0).await, Err(NoRoute::Closed));
    let own = Fake::with_mx(&[(10, "192.0.2.99")]);
    assert_eq!(find(own, 0).await, Err(NoRoute::LoopsBack));
}

#[tokio::test]
async fn a_host_that_is_named_twice_counts_once() {
    let fake = Fake::with_mx(&[(20, "a.example"), (10, "A.example."), (15, "b.example")])
        .host("a.example", &["192.0.2.1"])
        .host("b.example", &["192.0.2.2"]);
    assert_eq!(addresses(&find(fake, 0).await.unwrap()), ["192.0.2.1", "192.0.2.2"]);
}

#[tokio::test]
async fn no_domain_makes_many_lookups_or_attempts() {
    let hosts: Vec<String> = (0..100).map(|number| format!("mx{number}.example")).collect();
    let records: Vec<(u16, &str)> = (0..).zip(hosts.iter().map(String::as_str)).collect();
    let mut fake = Fake::with_mx(&records);
    for (number, host) in hosts.iter().enumerate() {
        let many: Vec<String> =
            (0..16).map(|low| format!("198.51.100.{}", (number % 10) * 16 + low)).collect();
        fake = fake.host(host, &many.iter().map(String::as_str).collect::<Vec<_>>());
    }
    let exchangers = Exchangers::new(fake, settings());
    let set = exchangers.targets(&Host::Name(name("example.net")), 0).await.unwrap();
    assert_eq!(exchangers.lookup.asked.lock().unwrap().len(), 1 + MAX_HOSTS);
    assert_eq!(set.notes, [Note::TooMany(100 - MAX_HOSTS)]);
    let attempts: Vec<_> = set.attempts().collect();
    assert_eq!(attempts.len(), MAX_ATTEMPTS);
    let tried: HashSet<_> = attempts.iter().map(|target| target.host.clone()).collect();
    assert_eq!(tried.len(), 3, "a host with many addresses leaves room for the next");
    assert!(set.at("198.51.100.150".parse().unwrap()).is_some(), "what is not tried is known all the same");
    assert!(set.at("198.51.100.200".parse().unwrap()).is_none());
}

#[tokio::test]
async fn a_single_host_may_use_all_attempts() {
    let many: Vec<String> = (1..=16).map(|low| format!("192.0.2.{low}")).collect();
    let many: Vec<&str> = many.iter().map(String::as_str).collect();
    let set = find(Fake::with_mx(&[(10, "a.example")]).host("a.example", &many), 0).await.unwrap();
    assert_eq!(set.attempts().count(), MAX_ATTEMPTS);
}

#[tokio::test]
async fn an_address_literal_is_its_own_target() {
    let exchangers = Exchangers::new(Fake::default(), settings());
    let find = |text: &str| {
        let (literal, exchangers) = (Host::Literal(text.parse().unwrap()), &exchangers);
        async move { exchangers.targets(&literal, 0).await }
    };
    let set = find("192.0.2.1").await.unwrap();
    assert_eq!((set.published, set.targets.len()), (Published::Literal, 1));
    assert_eq!(set.targets[0].address.to_string(), "192.0.2.1:25");
    assert_eq!(set.targets[0].host, None);
    assert_eq!(find("::ffff:192.0.2.1").await, find("192.0.2.1").await);
    assert_eq!(find("192.0.2.99").await, Err(NoRoute::LoopsBack));
    assert_eq!(find("127.0.0.1").await, Err(NoRoute::Closed));
    assert_eq!(find("::ffff:10.0.0.1").await, Err(NoRoute::Closed));
    assert!(find("10.1.0.1").await.is_ok());
}

#[tokio::test]
async fn names_that_are_nobodys_are_not_even_asked_for() {
    let exchangers = Exchangers::new(Fake::default(), settings());
    for text in ["localhost", "a.localhost", "nothing.invalid", "hidden.onion"] {
        assert_eq!(exchangers.targets(&Host::Name(name(text)), 0).await, Err(NoRoute::NoSuchDomain));
    }
    assert!(exchangers.lookup.asked.lock().unwrap().is_empty());
}

#[tokio::test]
async fn a_relay_is_where_the_administrator_says() {
    let fake = Fake::default().host("relay.example", &["10.9.9.9", "2001:db8::5"]);
    let exchangers = Exchangers::new(fake, settings());
    let set = exchangers.relay(&Host::Name(name("relay.example")), 587, 0).await.unwrap();
    let found: Vec<_> = set.targets.iter().map(|target| target.address.to_string()).collect();
    assert_eq!(found, ["[2001:db8::5]:587", "10.9.9.9:587"]);
    assert_eq!(set.targets[0].host, Some(name("relay.example")));
    let set = exchangers.relay(&Host::Literal("127.0.0.1".parse().unwrap()), 2525, 0).await.unwrap();
    assert_eq!(set.targets[0].address.to_string(), "127.0.0.1:2525");
    let missing = exchangers.relay(&Host::Name(name("gone.example")), 587, 0).await;
    assert_eq!(missing, Err(NoRoute::NoSuchDomain));
}
