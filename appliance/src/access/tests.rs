//! Logging in as people and attackers do it.

use std::sync::atomic::Ordering;

use record::SimulatedClock;

use super::*;

const START: Duration = Duration::from_secs(1_795_288_205);
pub(super) const PASSWORD: &str = "correct horse battery";

pub(super) struct House {
    pub(super) access: Access,
    clock: SimulatedClock,
    pub(super) folder: tempfile::TempDir,
}

impl House {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let clock = SimulatedClock::starting_at(START);
        let access = Access::load(folder.path(), Arc::new(clock)).unwrap();
        Self { access, clock, folder }
    }

    /// With an administrator `ann`.
    pub(super) async fn with_ann() -> Self {
        let house = Self::new();
        let code = house.access.standing_code().unwrap();
        house.access.redeem(said("ann", PASSWORD, &code), &client(1)).await.unwrap();
        house
    }

    /// What another start finds.
    pub(super) fn again(&self) -> Access {
        Access::load(self.folder.path(), Arc::new(self.clock)).unwrap()
    }
}

pub(super) fn said(name: &str, password: &str, code: &str) -> Said {
    Said { name: name.to_owned(), password: password.to_owned().into(), code: code.to_owned() }
}

pub(super) fn client(number: u8) -> Client {
    Client { address: [192, 0, 2, number].into(), agent: "test".to_owned() }
}

#[tokio::test]
async fn the_first_code_makes_one_administrator() {
    let house = House::new();
    let code = house.access.standing_code().unwrap();
    for (name, password, typed) in [
        ("ann", PASSWORD, "0000-0000-0000-0000"),
        ("ann", "short", code.as_str()),
        ("<b>", PASSWORD, code.as_str()),
        ("annannannann", "annannannann1", code.as_str()),
    ] {
        assert!(
            house.access.redeem(said(name, password, typed), &client(1)).await.is_err(),
            "{name} {password}"
        );
    }
    let (one, two) = (client(1), client(2));
    let both = tokio::join!(
        house.access.redeem(said("ann", PASSWORD, &code), &one),
        house.access.redeem(said("bob", PASSWORD, &code.to_lowercase()), &two),
    );
    assert!(both.0.is_ok() != both.1.is_ok(), "{both:?}");
    assert_eq!(house.access.users().len(), 1);
    assert!(house.access.standing_code().is_none() && house.again().standing_code().is_none());
    let facts = std::fs::metadata(house.folder.path().join(FOLDER).join("users.json")).unwrap();
    let mode = std::os::unix::fs::PermissionsExt::mode(&facts.permissions());
    assert_eq!(mode & 0o777, 0o600);
    let text = std::fs::read_to_string(house.folder.path().join(FOLDER).join("users.json")).unwrap();
    assert!(!text.contains(PASSWORD) && !text.contains(&code));
}

#[tokio::test]
async fn a_login_outlives_a_restart_and_a_session_does_not() {
    let house = House::with_ann().await;
    let opened = house.access.log_in(said(" Ann ", PASSWORD, ""), &client(1)).await.unwrap().opened;
    let (known, session) = house.access.of_session(&opened.secret, true).unwrap();
    assert_eq!((known.name.as_str(), known.rights), ("ann", Rights::all()));
    let other = house.access.log_in(said("ann", PASSWORD, ""), &client(1)).await.unwrap().opened;
    assert_ne!(other.secret, opened.secret);
    assert_ne!(house.access.of_session(&other.secret, true).unwrap().1.token, session.token);
    let again = house.again();
    assert!(again.of_session(&opened.secret, true).is_none());
    assert!(again.log_in(said("ann", PASSWORD, ""), &client(1)).await.is_ok());
}

/// What an attacker could measure is work, and that is the same.
#[tokio::test]
async fn who_does_not_exist_costs_as_much_as_who_does() {
    let house = House::with_ann().await;
    let hashed = || house.access.hasher.hashed.load(Ordering::Relaxed);
    for name in ["ann", "nobody", "<b>", "", "invited"] {
        if name == "invited" {
            house.access.add_user(&"invited".parse().unwrap(), Role::Administrator).await.unwrap();
        }
        let before = hashed();
        let error = house.access.log_in(said(name, "wrong wrong wrong", ""), &client(3)).await.unwrap_err();
        assert_eq!(error.to_string(), AccessError::Wrong.to_string(), "{name}");
        assert_eq!(hashed() - before, 1, "{name}");
    }
}

#[tokio::test]
async fn guessing_gets_slower_and_stops_nobody_else() {
    let house = House::with_ann().await;
    let guess = async |name: &str, from: u8| {
        house.access.log_in(said(name, "wrong wrong wrong", ""), &client(from)).await.unwrap_err()
    };
    let mut waits = 0;
    for _ in 0..8 {
        waits += usize::from(matches!(guess("ann", 9).await, AccessError::Wait(_)));
    }
    assert_eq!(waits, 3);
    let hashed = house.access.hasher.hashed.load(Ordering::Relaxed);
    let right = house.access.log_in(said("ann", PASSWORD, ""), &client(1)).await;
    assert!(matches!(right, Err(AccessError::Wait(wait)) if wait <= Duration::from_secs(60)), "{right:?}");
    assert_eq!(house.access.hasher.hashed.load(Ordering::Relaxed), hashed, "no work while waiting");
    // A name that is not there is told the same.
    for _ in 0..5 {
        guess("nobody", 8).await;
    }
    assert!(matches!(guess("nobody", 8).await, AccessError::Wait(_)));
    assert!(matches!(guess("bob", 7).await, AccessError::Wrong));
}

#[tokio::test]
async fn many_at_once_do_not_get_around_it_and_do_not_take_all_the_memory() {
    let house = Arc::new(House::with_ann().await);
    let mut all = tokio::task::JoinSet::new();
    for number in 0..60_u8 {
        let house = Arc::clone(&house);
        all.spawn(
            async move { house.access.log_in(said("ann", "wrong wrong wrong", ""), &client(number)).await },
        );
    }
    let (mut looked_at, mut told_to_wait) = (0, 0);
    while let Some(done) = all.join_next().await {
        match done.unwrap() {
            Err(AccessError::Wrong) => looked_at += 1,
            Err(AccessError::Wait(_)) => told_to_wait += 1,
            other => panic!("{other:?}"),
        }
    }
    assert_eq!((looked_at, told_to_wait), (5, 55));
    let mut all = tokio::task::JoinSet::new();
    for number in 0..60_u8 {
        let house = Arc::clone(&house);
        all.spawn(async move {
            let name = format!("name{number}");
            house.access.log_in(said(&name, "wrong wrong wrong", ""), &client(100 + number)).await
        });
    }
    let mut busy = 0;
    while let Some(done) = all.join_next().await {
        busy += usize::from(matches!(done.unwrap(), Err(AccessError::Busy)));
    }
    assert!(busy >= 60 - 18 - 10, "no more wait than there are places for: {busy}");
}

#[tokio::test]
async fn a_second_factor_is_asked_for_and_its_codes_count_once() {
    let house = House::with_ann().await;
    let ann: UserName = "ann".parse().unwrap();
    let opened = house.access.log_in(said("ann", PASSWORD, ""), &client(1)).await.unwrap().opened;
    let session = || house.access.of_session(&opened.secret, true).unwrap().1;
    assert!(house.access.offered(&session(), "mx1.example.net").is_none());
    house.access.offer_totp(&session(), "mx1.example.net");
    let enrolment = house.access.offered(&session(), "mx1.example.net").unwrap();
    assert!(house.access.enrol(&session(), &enrolment, "000000").await.is_err());
    let code = shown(enrolment.secret(), house.access.now());
    let recovery = house.access.enrol(&session(), &enrolment, &code).await.unwrap();
    assert!(house.access.offered(&session(), "mx1.example.net").is_none());
    assert_eq!(recovery.len(), 10);
    let log_in = async |access: &Access, code: &str| {
        access.log_in(said("ann", PASSWORD, code), &client(1)).await.is_ok()
    };
    assert!(!log_in(&house.access, "").await, "without");
    assert!(!log_in(&house.access, &code).await, "it was used already, to enrol");
    let next = shown(enrolment.secret(), house.access.now() + Duration::from_secs(30));
    let both = tokio::join!(log_in(&house.access, &next), log_in(&house.access, &next));
    assert!(both.0 != both.1, "the same code twice");
    assert!(!log_in(&house.again(), &next).await, "nor after a restart");
    assert!(log_in(&house.access, &recovery[3].to_lowercase()).await);
    assert!(!log_in(&house.access, &recovery[3]).await);
    assert_eq!(house.access.user(&ann).unwrap().recovery_codes, 9);
    let text = std::fs::read_to_string(house.folder.path().join(FOLDER).join("users.json")).unwrap();
    assert!(!text.contains(&recovery[4]));
    // A code for a new password is none for the second factor.
    let (invitation, _) = house.access.within(&Sight::All).invite(&ann).await.unwrap();
    let redeemed =
        house.access.redeem(said("ann", "another long password", &invitation), &client(2)).await.unwrap();
    assert!(redeemed.opened.is_none());
    house.access.within(&Sight::All).remove_totp(&ann).await.unwrap();
    assert!(house.access.log_in(said("ann", "another long password", ""), &client(2)).await.is_ok());
}

#[tokio::test]
async fn there_is_always_an_administrator_and_who_is_removed_is_out_at_once() {
    let house = House::with_ann().await;
    let (ann, bob): (UserName, UserName) = ("ann".parse().unwrap(), "bob".parse().unwrap());
    let viewer = Role::of("viewer", &[]).unwrap();
    assert!(matches!(
        house.access.within(&Sight::All).give_role(&ann, viewer.clone()).await,
        Err(AccessError::LastAdministrator)
    ));
    let (code, _) = house.access.add_user(&bob, Role::Administrator).await.unwrap();
    assert!(
        matches!(house.access.within(&Sight::All).remove(&ann).await, Err(AccessError::LastAdministrator)),
        "bob has no password"
    );
    assert!(
        house.access.redeem(said("ann", PASSWORD, &code), &client(2)).await.is_err(),
        "somebody else's code"
    );
    let opened = house.access.redeem(said("bob", PASSWORD, &code), &client(2)).await.unwrap().opened.unwrap();
    assert!(house.access.redeem(said("bob", PASSWORD, &code), &client(2)).await.is_err(), "again");
    let new = |owner: &UserName| NewToken {
        name: "scraper".parse().unwrap(),
        scopes: [Scope::Administer].into(),
        sight: Sight::All,
        life: None,
        owner: Some(owner.clone()),
    };
    let (secret, _) = house.access.add_token(new(&bob)).await.unwrap();
    assert_eq!(house.access.of_token(&secret).await.unwrap().rights, Rights::all());
    house.access.within(&Sight::All).give_role(&bob, viewer).await.unwrap();
    assert!(house.access.of_token(&secret).await.is_none(), "its maker is no administrator any more");
    assert!(!house.access.of_session(&opened.secret, true).unwrap().0.rights.suffice(Needs::Act), "at once");
    house.access.within(&Sight::All).remove(&bob).await.unwrap();
    assert!(house.access.of_session(&opened.secret, true).is_none() && house.access.tokens().is_empty());
}

#[tokio::test]
async fn a_token_counts_until_its_day_and_is_not_kept_in_the_clear() {
    let house = House::with_ann().await;
    let new = NewToken {
        name: "grafana".parse().unwrap(),
        scopes: [Scope::Metrics].into(),
        sight: Sight::All,
        life: Some(Duration::from_secs(86_400)),
        owner: None,
    };
    let (secret, token) = house.access.add_token(new).await.unwrap();
    assert!(secret.starts_with("postern_") && secret.len() > 40);
    let text = std::fs::read_to_string(house.folder.path().join(FOLDER).join("users.json")).unwrap();
    assert!(!text.contains(&secret));
    let known = house.again().of_token(&secret).await.unwrap();
    assert!(known.rights.suffice(Needs::Metrics) && !known.rights.suffice(Needs::See));
    assert!(house.again().tokens()[0].last_use.is_some());
    assert!(house.access.of_token(&secret[..secret.len() - 1]).await.is_none());
    let later = SimulatedClock::starting_at(START + Duration::from_secs(90_000));
    assert!(Access::load(house.folder.path(), Arc::new(later)).unwrap().of_token(&secret).await.is_none());
    house.access.remove_token(&token.id).await.unwrap();
    assert!(house.access.of_token(&secret).await.is_none());
}

#[tokio::test]
async fn a_register_that_cannot_be_read_lets_nobody_in_and_is_kept() {
    let house = House::with_ann().await;
    let path = house.folder.path().join(FOLDER).join("users.json");
    for text in
        ["{", "{\"format\":2,\"users\":[],\"tokens\":[]}", "{\"format\":1,\"users\":[{}],\"tokens\":[]}"]
    {
        std::fs::write(&path, text).unwrap();
        let access = house.again();
        assert!(!access.has_users() && access.standing_code().is_some());
        assert!(!path.exists());
    }
    let aside = std::fs::read_dir(path.parent().unwrap()).unwrap();
    assert!(
        aside.filter(|file| file.as_ref().unwrap().file_name().to_string_lossy().contains("damaged")).count()
            >= 1
    );
}
