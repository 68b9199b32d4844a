//! Ceremonies as they go, and as somebody would like them to go.

use std::time::Duration;

use crate::soft::Soft;
use crate::{Answer, Asked, Ceremonies, Claim, Credential, Handle, Holder, LIFE, MAX_ANSWER, Refusal, Site};

const NOW: Duration = Duration::from_secs(1_795_288_205);
const ORIGIN: &str = "https://mx1.example.net:8443";
const ANN: Holder<'_> = Holder { name: "ann", session: "0c" };

fn site() -> Site {
    Site::new("mx1.example.net", ORIGIN).unwrap()
}

struct House {
    ceremonies: Ceremonies,
    soft: Soft,
    handle: Handle,
    kept: Credential,
}

fn taken(ceremonies: &Ceremonies, soft: &mut Soft, handle: Handle) -> Claim {
    let asked = ceremonies.ask_for_passkey(&site(), ANN, handle, [].into_iter(), NOW).unwrap();
    let answer = soft.make(&asked.options, ORIGIN).to_string();
    ceremonies.take(&site(), &asked.ticket, ANN, &answer, NOW).unwrap()
}

impl House {
    fn new(mut soft: Soft) -> Self {
        let (ceremonies, handle) = (Ceremonies::default(), Handle::new());
        let claim = taken(&ceremonies, &mut soft, handle);
        ceremonies.spend(&claim, NOW).unwrap();
        assert!(claim.handle == handle);
        Self { ceremonies, soft, handle, kept: claim.credential }
    }

    fn asked(&self) -> Asked {
        self.ceremonies.ask_for_login(&site(), NOW).unwrap()
    }

    fn look_at(&self, asked: &Asked, answer: &str, now: Duration) -> Result<Claim, Refusal> {
        let answer = Answer::read(answer)?;
        self.ceremonies.look_at(&site(), &asked.ticket, &answer, (self.handle, &self.kept), now)
    }

    fn answer(&mut self, asked: &Asked) -> String {
        self.soft.log_in(&asked.options, ORIGIN).to_string()
    }
}

#[test]
fn what_is_asked_says_what_is_wanted() {
    let house = House::new(Soft::with_p256(1));
    let options = house.asked().options;
    assert_eq!(options["rpId"], "mx1.example.net");
    assert_eq!(options["userVerification"], "required");
    assert_eq!(options["allowCredentials"].as_array().map(Vec::len), Some(0), "whoever it is");
    assert_eq!(options["timeout"], u64::try_from(LIFE.as_millis()).unwrap());
    let have = std::iter::once(&house.kept);
    let asked = house.ceremonies.ask_for_passkey(&site(), ANN, house.handle, have, NOW).unwrap();
    assert_eq!(asked.options["authenticatorSelection"]["residentKey"], "required");
    assert_eq!(asked.options["authenticatorSelection"]["userVerification"], "required");
    assert_eq!(asked.options["attestation"], "none");
    assert_eq!(asked.options["user"]["name"], "ann");
    assert_eq!(asked.options["excludeCredentials"][0]["id"], house.kept.id());
    assert_ne!(house.asked().options["challenge"], house.asked().options["challenge"]);
}

#[test]
fn a_passkey_of_either_kind_lets_in_as_often_as_one_likes_and_each_answer_once() {
    for soft in [Soft::with_p256(1), Soft::with_ed25519(2)] {
        let mut house = House::new(soft);
        let text = serde_json::to_string(&house.kept).unwrap();
        assert_eq!(serde_json::from_str::<Credential>(&text).unwrap(), house.kept, "{text}");
        for _ in 0..3 {
            let asked = house.asked();
            let answer = house.answer(&asked);
            let claim = house.look_at(&asked, &answer, NOW).unwrap();
            let second = house.look_at(&asked, &answer, NOW).unwrap();
            assert_eq!(house.ceremonies.spend(&claim, NOW), Ok(()));
            assert_eq!(house.ceremonies.spend(&second, NOW), Err(Refusal::Spent), "both came at once");
            assert_eq!(house.look_at(&asked, &answer, NOW).unwrap_err(), Refusal::Spent);
            assert_ne!(claim.credential, house.kept, "it was counted");
            house.kept = claim.credential;
        }
    }
}

#[test]
fn an_answer_that_is_late_or_to_something_else_counts_for_nothing() {
    let mut house = House::new(Soft::with_p256(1));
    let asked = house.asked();
    let answer = house.answer(&asked);
    assert_eq!(house.look_at(&asked, &answer, NOW + LIFE).unwrap_err(), Refusal::Late);
    let other = house.asked();
    assert!(matches!(house.look_at(&other, &answer, NOW), Err(Refusal::Invalid(_))), "another challenge");
    let again = Ceremonies::default().ask_for_login(&site(), NOW).unwrap();
    assert_eq!(house.look_at(&again, &answer, NOW).unwrap_err(), Refusal::Other, "of another process");
    let local = Site::new("localhost", "http://localhost:8080").unwrap();
    let elsewhere = house.ceremonies.ask_for_login(&local, NOW).unwrap();
    assert_eq!(house.look_at(&elsewhere, &answer, NOW).unwrap_err(), Refusal::Other, "of another site");
    let passkey = house.ceremonies.ask_for_passkey(&site(), ANN, house.handle, [].into_iter(), NOW).unwrap();
    assert_eq!(house.look_at(&passkey, &answer, NOW).unwrap_err(), Refusal::Other, "of another ceremony");
    assert!(house.look_at(&asked, &answer, NOW + LIFE - Duration::from_secs(1)).is_ok());
}

#[test]
fn whoever_is_not_verified_or_comes_from_elsewhere_is_not_let_in() {
    let mut house = House::new(Soft::with_p256(1));
    let invalid = |house: &mut House, origin: &str, words: &str| {
        let asked = house.asked();
        let answer = house.soft.log_in(&asked.options, origin).to_string();
        match house.look_at(&asked, &answer, NOW) {
            Err(Refusal::Invalid(why)) => assert!(why.contains(words), "{why}"),
            other => panic!("{origin}: {other:?}"),
        }
    };
    for origin in [
        "https://mx1.example.net",
        "https://mx1.example.net:8444",
        "http://mx1.example.net:8443",
        "https://mx1.example.net:8443.evil.example",
        "https://evil.example:8443",
        "null",
    ] {
        invalid(&mut house, origin, "origin");
    }
    house.soft.verifies = false;
    invalid(&mut house, ORIGIN, "verified");
    house.soft.verifies = true;
    house.soft.name = Some("localhost".to_owned());
    invalid(&mut house, ORIGIN, "");
    house.soft.name = None;
    // Somebody else's key.
    let (id, handle) = (house.soft.id.clone(), house.soft.handle.clone());
    house.soft = Soft::with_p256(1);
    (house.soft.id, house.soft.handle) = (id, handle);
    invalid(&mut house, ORIGIN, "");
    // Somebody else's handle.
    house.soft.handle = String::from(Handle::new());
    invalid(&mut house, ORIGIN, "");
}

#[test]
fn a_counter_that_goes_back_is_a_copy_and_one_that_stays_zero_is_none() {
    let mut house = House::new(Soft::with_p256(1));
    house.soft.counter = 7;
    let asked = house.asked();
    let answer = house.answer(&asked);
    house.kept = house.look_at(&asked, &answer, NOW).unwrap().credential;
    for counter in [7, 3, 0] {
        house.soft.counter = counter;
        let asked = house.asked();
        let answer = house.answer(&asked);
        assert_eq!(house.look_at(&asked, &answer, NOW).unwrap_err(), Refusal::Counter, "{counter}");
    }
    let mut house = House::new(Soft::with_p256(2).counting_from(0));
    for _ in 0..2 {
        house.soft.counter = 0;
        let asked = house.asked();
        let answer = house.answer(&asked);
        house.kept = house.look_at(&asked, &answer, NOW).unwrap().credential;
    }
}

#[test]
fn a_passkey_is_taken_in_the_session_that_asked_for_it_and_from_a_verified_user() {
    let (ceremonies, mut soft, handle) = (Ceremonies::default(), Soft::with_p256(1), Handle::new());
    let asked = ceremonies.ask_for_passkey(&site(), ANN, handle, [].into_iter(), NOW).unwrap();
    let answer = soft.make(&asked.options, ORIGIN).to_string();
    let take = |holder: Holder<'_>, answer: &str, now| {
        ceremonies.take(&site(), &asked.ticket, holder, answer, now).map(|_| ())
    };
    for other in [Holder { session: "0d", ..ANN }, Holder { name: "bob", ..ANN }] {
        assert_eq!(take(other, &answer, NOW), Err(Refusal::Other));
    }
    assert_eq!(take(ANN, &answer, NOW + LIFE), Err(Refusal::Late));
    let foreign = soft.make(&asked.options, "https://evil.example").to_string();
    assert!(matches!(take(ANN, &foreign, NOW), Err(Refusal::Invalid(_))));
    soft.verifies = false;
    let unverified = soft.make(&asked.options, ORIGIN).to_string();
    assert!(matches!(take(ANN, &unverified, NOW), Err(Refusal::Invalid(_))));
    assert_eq!(take(ANN, &answer, NOW), Ok(()));
    let claim = ceremonies.take(&site(), &asked.ticket, ANN, &answer, NOW).unwrap();
    ceremonies.spend(&claim, NOW).unwrap();
    assert_eq!(take(ANN, &answer, NOW), Err(Refusal::Spent));
}

#[test]
fn what_cannot_be_read_is_refused_and_so_is_what_is_too_long() {
    let mut house = House::new(Soft::with_p256(1));
    let asked = house.asked();
    let answer = house.answer(&asked);
    let spaces = " ".repeat(MAX_ANSWER);
    for text in ["", "{", "null", "[]", "{}", "{\"id\":1}", &format!("{answer}{spaces}"), &answer[1..]] {
        assert_eq!(Answer::read(text).err(), Some(Refusal::Unreadable), "{text:.60}");
        let taken = house.ceremonies.take(&site(), &asked.ticket, ANN, text, NOW);
        assert!(taken.is_err());
    }
    // A handle that is none of ours.
    let short = answer.replace(&house.soft.handle, "AAAA");
    assert_eq!(Answer::read(&short).err(), Some(Refusal::Unreadable));
}

#[test]
fn what_is_remembered_has_a_bound_and_is_forgotten() {
    let mut house = House::new(Soft::with_ed25519(1).counting_from(0));
    let mut claims = || {
        house.soft.counter = 0;
        let asked = house.asked();
        let answer = house.answer(&asked);
        house.look_at(&asked, &answer, NOW).unwrap()
    };
    let (mut one, last) = (claims(), claims());
    // One was spent for adding the passkey.
    for number in 1..super::ceremonies::MAX_SPENT as u128 {
        one.challenge_is(number);
        house.ceremonies.spend(&one, NOW).unwrap();
    }
    assert_eq!(house.ceremonies.spend(&last, NOW), Err(Refusal::Busy));
    assert_eq!(house.ceremonies.spend(&last, NOW + LIFE), Ok(()));
}

#[test]
fn addresses_are_no_names() {
    for name in ["192.0.2.1", "::1", "[2001:db8::1]", "", ".", "bücher.example"] {
        assert!(Site::new(name, "https://x").is_none(), "{name}");
    }
    for name in ["localhost", "MX1.example.net", "xn--bcher-kva.example"] {
        assert_eq!(Site::new(name, "https://x").unwrap().name(), name.to_lowercase());
    }
}
