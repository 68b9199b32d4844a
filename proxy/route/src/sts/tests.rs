use std::sync::atomic::{AtomicUsize, Ordering};

use dns::{Addresses, Answer, DnsError, Mx, Proof, Text, Tlsa};
use record::SimulatedClock;

use super::*;

const ENFORCE: &str = "version: STSv1\nmode: enforce\nmx: mx.one.example\nmax_age: 604800\n";
const DAY: Duration = Duration::from_secs(86_400);

/// A domain's record and policy host, which a test changes.
#[derive(Default)]
struct Site {
    id: Mutex<Option<&'static str>>,
    policy: Mutex<Option<Result<Box<str>, StsFetchError>>>,
    fetched: AtomicUsize,
}

impl Site {
    fn publish(&self, id: &'static str, policy: &str) {
        *self.id.lock().unwrap() = Some(id);
        *self.policy.lock().unwrap() = Some(Ok(policy.into()));
    }

    fn fail(&self, error: StsFetchError) {
        *self.policy.lock().unwrap() = Some(Err(error));
    }

    fn fetched(&self) -> usize {
        self.fetched.load(Ordering::Relaxed)
    }
}

#[derive(Clone, Default)]
struct World(Arc<Site>);

const DENIED: DnsError = DnsError::NoSuchDomain { proof: Proof::Insecure };

fn answer<T>(record: T) -> Answer<T> {
    let ttl = Duration::from_secs(60);
    Answer { records: vec![record], proof: Proof::Insecure, ttl, canonical: None, left_out: 0 }
}

impl Lookup for World {
    async fn mx(&self, _: &Domain) -> Result<Answer<Mx>, DnsError> {
        Err(DENIED)
    }

    async fn addresses(&self, host: &Domain) -> Result<Addresses, DnsError> {
        assert_eq!(host.as_str(), "mta-sts.one.example");
        Addresses::new(Err(DENIED), Ok(answer([192, 0, 2, 1].into())))
    }

    async fn tlsa(&self, _: &Domain, _: u16) -> Result<Answer<Tlsa>, DnsError> {
        Err(DENIED)
    }

    async fn alias(&self, _: &Domain) -> Result<Proof, DnsError> {
        Err(DENIED)
    }

    async fn text(&self, name: &Domain) -> Result<Answer<Text>, DnsError> {
        assert_eq!(name.as_str(), "_mta-sts.one.example");
        let id = self.0.id.lock().unwrap().ok_or(DENIED)?;
        Ok(answer(Text(format!("v=STSv1; id={id};").into())))
    }
}

impl StsFetch for World {
    fn fetch(&self, host: Domain, _: Vec<IpAddr>) -> Fetching<'_> {
        assert_eq!(host.as_str(), "mta-sts.one.example");
        self.0.fetched.fetch_add(1, Ordering::Relaxed);
        let unreachable = || Err(StsFetchError::Unreachable("refused".into()));
        let policy = self.0.policy.lock().unwrap().clone().unwrap_or_else(unreachable);
        Box::pin(async { policy })
    }
}

struct Asked {
    world: World,
    clock: Arc<SimulatedClock>,
    sts: Sts<World>,
}

impl Asked {
    fn new() -> Self {
        Self::with(World::default(), None)
    }

    fn with(world: World, store: Option<Store>) -> Self {
        let clock = Arc::new(SimulatedClock::starting_at(Duration::from_secs(1_795_288_205)));
        let sts = Sts::new(world.clone(), Arc::new(world.clone()), store, Arc::clone(&clock) as _);
        Self { world, clock, sts }
    }

    fn site(&self) -> &Site {
        &self.world.0
    }

    async fn find(&self) -> StsFinding {
        self.sts.find(&"one.example".parse().unwrap()).await
    }

    async fn id(&self) -> Option<String> {
        self.find().await.kept.map(|kept| kept.id.to_string())
    }
}

#[tokio::test(start_paused = true)]
async fn a_policy_is_fetched_once_for_each_identifier() {
    let asked = Asked::new();
    assert_eq!(asked.find().await, StsFinding::default());
    asked.site().publish("1", ENFORCE);
    for _ in 0..3 {
        assert_eq!(asked.id().await.as_deref(), Some("1"));
    }
    assert_eq!(asked.site().fetched(), 1);
    asked.site().publish("2", &ENFORCE.replace("enforce", "testing"));
    let found = asked.find().await.kept.unwrap();
    assert_eq!((&*found.id, found.policy.mode), ("2", StsMode::Testing));
    assert_eq!(asked.site().fetched(), 2);
}

#[tokio::test(start_paused = true)]
async fn a_policy_outlives_its_record_and_its_host_but_not_its_time() {
    let asked = Asked::new();
    asked.site().publish("1", ENFORCE);
    asked.find().await;
    *asked.site().id.lock().unwrap() = None;
    tokio::time::advance(DAY * 6).await;
    assert_eq!(asked.id().await.as_deref(), Some("1"), "the record is gone");
    *asked.site().id.lock().unwrap() = Some("2");
    asked.site().fail(StsFetchError::Unreachable("refused".into()));
    let found = asked.find().await;
    assert_eq!(found.kept.map(|kept| kept.id.to_string()).as_deref(), Some("1"), "the host is gone");
    assert_eq!(found.trouble.map(|(failure, _)| failure), Some(TlsFailure::StsPolicyFetchError));
    tokio::time::advance(DAY).await;
    assert_eq!(asked.id().await, None, "its time is over");
}

#[tokio::test(start_paused = true)]
async fn a_policy_is_fetched_again_before_its_time_is_over() {
    let asked = Asked::new();
    asked.site().publish("1", ENFORCE);
    asked.find().await;
    tokio::time::advance(DAY + Duration::from_secs(1)).await;
    let fetched = asked.find().await.kept.unwrap().fetched;
    assert_eq!((asked.site().fetched(), fetched), (2, asked.clock.now().as_secs()));
    // One that lasts for an hour, in the middle of it.
    asked.site().publish("2", &ENFORCE.replace("604800", "3600"));
    asked.find().await;
    tokio::time::advance(Duration::from_secs(1801)).await;
    asked.find().await;
    assert_eq!(asked.site().fetched(), 4);
}

#[tokio::test(start_paused = true)]
async fn who_does_not_give_its_policy_is_left_alone_for_a_while() {
    let asked = Asked::new();
    asked.site().publish("1", ENFORCE);
    for (error, failure) in [
        (StsFetchError::Unreachable("x".into()), TlsFailure::StsPolicyFetchError),
        (StsFetchError::Answer("404".into()), TlsFailure::StsPolicyFetchError),
        (StsFetchError::Certificate("x".into()), TlsFailure::StsWebpkiInvalid),
    ] {
        asked.site().fail(error);
        let before = asked.site().fetched();
        for _ in 0..3 {
            let found = asked.find().await;
            assert_eq!((found.kept, found.trouble.unwrap().0), (None, failure));
        }
        assert_eq!(asked.site().fetched(), before + 1);
        tokio::time::advance(PAUSE).await;
    }
    asked.site().publish("1", "version: STSv1\nmode: enforce\nmax_age: 1\n");
    assert_eq!(asked.find().await.trouble.unwrap().0, TlsFailure::StsPolicyInvalid);
    // What is published anew is asked for at once.
    asked.site().publish("2", ENFORCE);
    assert_eq!(asked.id().await.as_deref(), Some("2"));
}

#[tokio::test]
async fn a_policy_is_known_after_a_restart() {
    let world = World::default();
    let folder = std::env::temp_dir();
    let clock = Arc::new(SimulatedClock::starting_at(Duration::from_secs(1_795_288_205)));
    let engine = |_: &std::path::Path| -> Result<Box<dyn store::Engine>, StoreError> {
        Ok(Box::new(store::Memory::default()))
    };
    let store = Store::with_engine(folder, clock, engine).unwrap();
    let asked = Asked::with(world.clone(), Some(store.clone()));
    asked.site().publish("1", ENFORCE);
    asked.find().await;
    let again = Asked::with(world, Some(store.clone()));
    *again.site().id.lock().unwrap() = None;
    assert_eq!(again.id().await.as_deref(), Some("1"));
    let now = asked.clock.now();
    forget_old_policies(&store, now).await.unwrap();
    assert!(store.get(POLICIES, b"one.example").await.unwrap().is_some());
    forget_old_policies(&store, now + DAY * 7).await.unwrap();
    assert!(store.get(POLICIES, b"one.example").await.unwrap().is_none());
}

#[test]
fn what_is_stored_is_read_again_and_anything_else_is_nothing() {
    let kept = StsKept { id: "1".into(), policy: ENFORCE.parse().unwrap(), fetched: 5 };
    assert_eq!(StsKept::from_bytes(&kept.to_bytes()), Some(kept));
    for wrong in [&b""[..], b"1\n2", b"1\nx\n", b"1\n2\nversion: STSv1", b"\xff"] {
        assert_eq!(StsKept::from_bytes(wrong), None);
    }
}
