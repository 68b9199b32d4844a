//! What a stranger sends to log in with a passkey, and a user to add one: nothing of it lets anybody in who has no key, and what is
//! taken as a passkey is kept and read back the same.
//!
//! `CHALLENGE` in an input stands for the one that was asked with, so that the fuzzer reaches what is behind it.
#![no_main]

use std::sync::LazyLock;
use std::time::Duration;

use data_encoding::BASE64URL_NOPAD;
use libfuzzer_sys::fuzz_target;
use passkeys::{Answer, Asked, Ceremonies, Credential, Handle, Holder, MAX_ANSWER, Site};
use serde_json::json;

const NOW: Duration = Duration::from_secs(1_795_288_205);
const ORIGIN: &str = "https://mx1.example.net";
const ANN: Holder<'_> = Holder { name: "ann", session: "0c" };

struct House {
    ceremonies: Ceremonies,
    site: Site,
    handle: Handle,
    /// Of an authenticator that is nowhere.
    known: Credential,
    login: Asked,
    passkey: Asked,
}

static HOUSE: LazyLock<House> = LazyLock::new(|| match house() {
    Some(house) => house,
    None => panic!("nothing can be asked"),
});

/// The generator of P-256 as SEC 1 has it, compressed.
const POINT: &str = "A2sX0fLhLEJH-Lzm5WOkQPJ3A32BLeszoPShOUXYmMKW";
const ID: &[u8; 16] = b"sixteen octets..";

fn house() -> Option<House> {
    let (ceremonies, handle) = (Ceremonies::default(), Handle::new());
    let site = Site::new("mx1.example.net", ORIGIN)?;
    let id = BASE64URL_NOPAD.encode(ID);
    let known =
        json!({ "id": id, "algorithm": "ES256", "public_key": POINT, "counter": 0, "copies": "never" });
    let known = serde_json::from_value(known).ok()?;
    let login = ceremonies.ask_for_login(&site, NOW).ok()?;
    let passkey = ceremonies.ask_for_passkey(&site, ANN, handle, [].into_iter(), NOW).ok()?;
    Some(House { ceremonies, site, handle, known, login, passkey })
}

/// With what was asked in its place.
fn completed(part: &[u8], asked: &Asked) -> Vec<u8> {
    let challenge = asked.options["challenge"].as_str().unwrap_or_default();
    String::from_utf8_lossy(part).replace("CHALLENGE", challenge).into_bytes()
}

fn look_at(json: &str) {
    let house = &*HOUSE;
    let Ok(answer) = Answer::read(json) else { return };
    assert!(json.len() <= MAX_ANSWER);
    let claim = house.ceremonies.look_at(
        &house.site,
        &house.login.ticket,
        &answer,
        (house.handle, &house.known),
        NOW,
    );
    assert!(claim.is_err(), "somebody was let in: {json}");
}

fn take(json: &str) {
    let house = &*HOUSE;
    let taken = house.ceremonies.take(&house.site, &house.passkey.ticket, ANN, json, NOW);
    let Ok(claim) = taken else { return };
    assert!(claim.handle == house.handle);
    let text = match serde_json::to_string(&claim.credential) {
        Ok(text) => text,
        Err(error) => panic!("cannot be kept: {error}"),
    };
    assert_eq!(serde_json::from_str::<Credential>(&text).ok().as_ref(), Some(&claim.credential), "{text}");
}

fuzz_target!(|input: &[u8]| {
    let text = String::from_utf8_lossy(input);
    look_at(&text);
    take(&text);
    // Its parts, in JSON that is as it should be.
    let Some((lengths, parts)) = input.split_first_chunk::<2>() else { return };
    let (client, rest) = parts.split_at(usize::from(lengths[0]).min(parts.len()));
    let (data, signature) = rest.split_at(usize::from(lengths[1]).min(rest.len()));
    let encoded = |octets: &[u8]| BASE64URL_NOPAD.encode(octets);
    let id = encoded(ID);
    let answer = json!({
        "id": id, "rawId": id, "type": "public-key", "clientExtensionResults": {},
        "response": {
            "clientDataJSON": encoded(&completed(client, &HOUSE.login)),
            "authenticatorData": encoded(data),
            "signature": encoded(signature),
            "userHandle": String::from(HOUSE.handle),
        },
    });
    look_at(&answer.to_string());
    let answer = json!({
        "type": "public-key", "clientExtensionResults": {},
        "response": {
            "clientDataJSON": encoded(&completed(client, &HOUSE.passkey)),
            "attestationObject": encoded(rest),
        },
    });
    take(&answer.to_string());
});
