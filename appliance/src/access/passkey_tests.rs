//! Passkeys of users, as they use them, lose them, and as others try to.

use ::passkeys::{Asked, Refusal, Site};

use super::passkeys::{Brought, MAX_OF_USER};
use super::sessions::Session;
use super::soft::Soft;
use super::tests::{House, PASSWORD, client, said};
use super::*;

const ORIGIN: &str = "https://mx1.example.net:8443";

fn site() -> Site {
    Site::new("mx1.example.net", ORIGIN).unwrap()
}

fn name(text: &str) -> UserName {
    text.parse().unwrap()
}

impl House {
    async fn session(&self, name: &str) -> Session {
        let opened = self.access.log_in(said(name, PASSWORD, ""), &client(1)).await.unwrap().opened;
        self.access.of_session(&opened.secret, true).unwrap().1
    }

    /// Another user, with a password.
    async fn with(&self, name: &str) {
        let (code, _) = self.access.add_user(&name.parse().unwrap(), Role::Administrator).await.unwrap();
        self.access.redeem(said(name, PASSWORD, &code), &client(1)).await.unwrap();
    }

    async fn add(&self, session: &Session, soft: &mut Soft) -> Result<String, AccessError> {
        let asked = self.access.ask_for_passkey(session, &site())?;
        let answer = soft.make(&asked.options, ORIGIN).to_string();
        let brought = Brought { ticket: &asked.ticket, answer: &answer };
        self.access.take_passkey(session, &site(), " Ann's\u{7} key ", brought).await
    }

    async fn enter(&self, soft: &mut Soft) -> Result<LoggedIn, AccessError> {
        enter(&self.access, soft, 7).await
    }
}

async fn enter(access: &Access, soft: &mut Soft, from: u8) -> Result<LoggedIn, AccessError> {
    let asked = access.ask_for_login(&site()).unwrap();
    let answer = soft.log_in(&asked.options, ORIGIN).to_string();
    bring(access, &asked, &answer, from).await
}

async fn bring(access: &Access, asked: &Asked, answer: &str, from: u8) -> Result<LoggedIn, AccessError> {
    let brought = Brought { ticket: &asked.ticket, answer };
    access.log_in_with_passkey(&site(), brought, &client(from)).await
}

fn why(entered: Result<LoggedIn, AccessError>) -> Refusal {
    match entered {
        Err(error @ AccessError::Passkey { .. }) => {
            assert!(error.to_string().starts_with("this passkey does not let you in"), "the same for all");
            let AccessError::Passkey { why, .. } = error else { unreachable!() };
            why
        }
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn a_passkey_lets_in_without_password_and_code_and_outlives_a_restart() {
    let house = House::with_ann().await;
    let session = house.session("ann").await;
    let mut soft = Soft::with_p256(1);
    assert_eq!(house.add(&session, &mut soft).await.unwrap(), "Ann's key");
    let list = house.access.passkeys_of(&name("ann"));
    assert_eq!((list.len(), list[0].site.as_str(), list[0].last_use), (1, "mx1.example.net", None));
    let entered = house.enter(&mut soft).await.unwrap();
    assert_eq!(entered.name, name("ann"));
    let (known, session) = house.access.of_session(&entered.opened.secret, true).unwrap();
    assert_eq!((known.rights, session.user), (Rights::all(), name("ann")));
    assert!(house.access.passkeys_of(&name("ann"))[0].last_use.is_some());
    let again = house.again();
    assert_eq!(enter(&again, &mut soft, 7).await.unwrap().name, name("ann"));
    assert_eq!(again.users()[0].passkeys, 1);
    let text = std::fs::read_to_string(house.folder.path().join(FOLDER).join("users.json")).unwrap();
    assert!(text.contains("\"ES256\"") && text.contains(&soft.handle), "{text}");
}

#[tokio::test]
async fn a_file_without_passkeys_is_as_it_was_before_there_were_any() {
    let house = House::with_ann().await;
    let text = std::fs::read_to_string(house.folder.path().join(FOLDER).join("users.json")).unwrap();
    assert!(!text.contains("passkeys") && !text.contains("handle"), "{text}");
}

#[tokio::test]
async fn each_answer_counts_once_and_for_this_process() {
    let house = House::with_ann().await;
    let mut soft = Soft::with_ed25519(1).counting_from(0);
    house.add(&house.session("ann").await, &mut soft).await.unwrap();
    soft.counter = 0;
    let asked = house.access.ask_for_login(&site()).unwrap();
    let answer = soft.log_in(&asked.options, ORIGIN).to_string();
    let both =
        tokio::join!(bring(&house.access, &asked, &answer, 1), bring(&house.access, &asked, &answer, 2));
    assert!(both.0.is_ok() != both.1.is_ok(), "{both:?}");
    assert_eq!(why(bring(&house.access, &asked, &answer, 7).await), Refusal::Spent);
    let asked = house.access.ask_for_login(&site()).unwrap();
    soft.counter = 0;
    let answer = soft.log_in(&asked.options, ORIGIN).to_string();
    assert_eq!(why(bring(&house.again(), &asked, &answer, 7).await), Refusal::Other, "after a restart");
    assert!(bring(&house.access, &asked, &answer, 7).await.is_ok());
}

#[tokio::test]
async fn what_is_not_known_not_true_or_somebody_elses_lets_nobody_in() {
    let house = House::with_ann().await;
    house.with("bob").await;
    let (mut anns, mut bobs) = (Soft::with_p256(1), Soft::with_p256(2));
    house.add(&house.session("ann").await, &mut anns).await.unwrap();
    house.add(&house.session("bob").await, &mut bobs).await.unwrap();
    assert_ne!(anns.handle, bobs.handle);
    // Bob's key in Ann's name, and the other way round.
    std::mem::swap(&mut anns.handle, &mut bobs.handle);
    assert_eq!(why(house.enter(&mut anns).await), Refusal::Unknown);
    assert_eq!(why(house.enter(&mut bobs).await), Refusal::Unknown);
    std::mem::swap(&mut anns.handle, &mut bobs.handle);
    // Another key in the name of Ann's.
    let mut forged = Soft::with_p256(1);
    forged.handle = anns.handle.clone();
    assert!(matches!(why(house.enter(&mut forged).await), Refusal::Invalid(_)));
    // A passkey that nobody has, of nobody.
    forged.handle = String::from(::passkeys::Handle::new());
    assert_eq!(why(house.enter(&mut forged).await), Refusal::Unknown);
    anns.verifies = false;
    assert!(matches!(why(house.enter(&mut anns).await), Refusal::Invalid(_)));
    anns.verifies = true;
    anns.counter = 0;
    house.enter(&mut bobs).await.unwrap();
    assert_eq!(why(house.enter(&mut anns).await), Refusal::Counter);
    // One that is for the same user under another name of the page.
    let local = Site::new("localhost", "http://localhost:8080").unwrap();
    let asked = house.access.ask_for_login(&local).unwrap();
    let answer = bobs.log_in(&asked.options, "http://localhost:8080").to_string();
    let brought = Brought { ticket: &asked.ticket, answer: &answer };
    assert_eq!(why(house.access.log_in_with_passkey(&local, brought, &client(7)).await), Refusal::Unknown);
}

#[tokio::test]
async fn a_network_that_tries_waits_and_nobody_else_does() {
    let house = House::with_ann().await;
    let mut soft = Soft::with_p256(1);
    house.add(&house.session("ann").await, &mut soft).await.unwrap();
    let asked = house.access.ask_for_login(&site()).unwrap();
    let mut waits = 0;
    for _ in 0..30 {
        waits +=
            usize::from(matches!(bring(&house.access, &asked, "{}", 9).await, Err(AccessError::Wait(_))));
    }
    assert_eq!(waits, 10);
    assert!(house.enter(&mut soft).await.is_ok());
    for _ in 0..30 {
        assert!(house.enter(&mut soft).await.is_ok(), "what works is no guess");
    }
}

#[tokio::test]
async fn there_are_eight_and_none_is_taken_twice_or_in_another_session() {
    let house = House::with_ann().await;
    house.with("bob").await;
    let (ann, bob) = (house.session("ann").await, house.session("bob").await);
    let mut soft = Soft::with_p256(0);
    house.add(&ann, &mut soft).await.unwrap();
    assert!(matches!(house.add(&ann, &mut soft).await, Err(AccessError::NotTaken)), "twice");
    assert!(matches!(house.add(&bob, &mut soft).await, Err(AccessError::NotTaken)), "somebody else's");
    let asked = house.access.ask_for_passkey(&ann, &site()).unwrap();
    let answer = Soft::with_p256(99).make(&asked.options, ORIGIN).to_string();
    for session in [&bob, &house.session("ann").await] {
        let brought = Brought { ticket: &asked.ticket, answer: &answer };
        let taken = house.access.take_passkey(session, &site(), "", brought).await;
        assert!(matches!(taken, Err(AccessError::NotTaken)), "{taken:?}");
    }
    for number in 1..8 {
        house.add(&ann, &mut Soft::with_p256(number)).await.unwrap();
    }
    assert_eq!(house.access.passkeys_of(&name("ann")).len(), MAX_OF_USER);
    assert!(matches!(house.add(&ann, &mut Soft::with_p256(9)).await, Err(AccessError::TooMany)));
    let id = house.access.passkeys_of(&name("ann"))[0].id.clone();
    assert!(matches!(house.access.remove_passkey(&name("bob"), &id).await, Err(AccessError::UnknownPasskey)));
    assert_eq!(house.access.remove_passkey(&name("ann"), &id).await.unwrap(), "Ann's key");
    assert_eq!(why(house.enter(&mut soft).await), Refusal::Unknown);
    house.add(&ann, &mut Soft::with_p256(9)).await.unwrap();
}

/// Whoever had got hold of a login may have left a passkey: neither a code nor an administrator leaves it there.
#[tokio::test]
async fn a_code_for_a_new_password_and_an_administrator_take_all_passkeys_away() {
    let house = House::with_ann().await;
    house.with("bob").await;
    let mut soft = Soft::with_p256(1);
    house.add(&house.session("bob").await, &mut soft).await.unwrap();
    let within = house.access.within(&Sight::All);
    let (code, _) = within.invite(&name("bob")).await.unwrap();
    assert!(house.enter(&mut soft).await.is_ok(), "as the password does, until then");
    let redeemed = house.access.redeem(said("bob", PASSWORD, &code), &client(1)).await.unwrap();
    assert_eq!(redeemed.passkeys, 1);
    assert_eq!(why(house.enter(&mut soft).await), Refusal::Unknown);

    let session = house.session("bob").await;
    house.add(&session, &mut soft).await.unwrap();
    house.enter(&mut soft).await.unwrap();
    let own = Sight::of(&["example.net".to_owned()]).unwrap();
    let refused = house.access.within(&own).remove_passkeys(&name("bob"), None).await;
    assert!(matches!(refused, Err(AccessError::UnknownUser)), "not within those domains");
    within.remove_passkeys(&name("bob"), Some(&session.id)).await.unwrap();
    assert_eq!(why(house.enter(&mut soft).await), Refusal::Unknown);
    let left = house.access.sessions_of(&name("bob"));
    assert!(left.len() == 1 && left[0].id == session.id, "{left:?}");
}
