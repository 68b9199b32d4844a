//! Passkeys (WebAuthn): adding one, and logging in with it.
//!
//! Both are ceremonies of two steps: [`Ceremonies`] makes what a browser is asked ([`Asked`]), and looks at what comes back. Nothing is
//! remembered of a ceremony that has begun: what there is to remember goes to the browser and comes back with its answer, sealed with
//! a key of this process. Strangers can begin as many as they like and fill nothing by it, nor push out anybody else's.
//!
//! [`Credential`] and [`Handle`] are what is kept of a passkey: a public key and two identifiers, no secret. [`Site`] is the name and
//! the origin that a passkey is for. What the W3C asks of a server (Web Authentication Level 3, §7) is looked at by `webauthn_rp`;
//! that a user is known, and has this passkey, is the caller's to find.

mod ceremonies;
mod credential;
mod refusal;
mod seal;
mod site;
#[cfg(test)]
mod soft;
#[cfg(test)]
mod tests;

pub use ceremonies::{Answer, Asked, Ceremonies, Claim, Holder, LIFE, MAX_ANSWER};
pub use credential::{Credential, Handle};
pub use refusal::Refusal;
pub use site::Site;
