//! Logging in at a relay: AUTH PLAIN (RFC 4616), or LOGIN where that is all there is, behind TLS only.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use route::Login;
use smtp::Extension;
use smtp::dialogue::Sent;

use super::client_facts::ask;
use super::{OpenError, OpenLeg};

/// Authenticates, or fails with the relay's own words.
pub(super) async fn authenticate(mut leg: OpenLeg, login: &Login) -> Result<OpenLeg, OpenError> {
    let offers = leg.far.capabilities();
    let knows = |mechanism: &str| offers.mechanisms.iter().any(|offered| &**offered == mechanism);
    if leg.far.tls().facts().is_none() || !offers.has(Extension::Auth) {
        return Err(OpenError::NoMechanism);
    }
    let lines = if knows("PLAIN") {
        let response = format!("\0{}\0{}", login.user, login.password);
        vec![format!("AUTH PLAIN {}", STANDARD.encode(response))]
    } else if knows("LOGIN") {
        vec!["AUTH LOGIN".to_owned(), STANDARD.encode(&*login.user), STANDARD.encode(&*login.password)]
    } else {
        return Err(OpenError::NoMechanism);
    };
    let last = lines.len() - 1;
    for (number, line) in lines.iter().enumerate() {
        let reply = ask(&mut leg.far, &mut leg.stream, Sent::Auth, line).await?;
        let expected =
            if number == last { reply.code().is_positive() } else { reply.code().is_intermediate() };
        if !expected {
            return Err(OpenError::LoginRefused(reply));
        }
    }
    Ok(leg)
}
