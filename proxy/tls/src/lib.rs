//! TLS on both legs: suites, identities by SNI, and a verifier that is given its policy. No DNS, no SMTP.
//!
//! - [`Settings`] become a set of suites and groups with forward secrecy and nothing else (law 5); aws-lc-rs does the
//!   cryptography, and the process's default provider is never asked for.
//! - [`Identity`] is a certificate with its key, [`Identities`] the set of them that serves now: chosen by SNI, then by
//!   original destination, then the default; replaced without a session noticing.
//! - [`Acceptor`] is the side towards a client. No TLS 1.2 resumption, no early data. On the public web a CA that validates a name
//!   (RFC 8737) is shown one of its [`Validations`].
//! - [`Connector`] is the side towards a server, with a [`LegPolicy`]: the [`Ladder`], a name, roots, [`Pin`]s. What it
//!   established comes back as a proof, and [`LegPolicy::is_satisfied_by`] says whether that is enough.
//! - What is intercepted on its way out: [`Connector::record`] sees a far side's [`Chain`] before anybody knows which policy it
//!   must satisfy, [`Connector::judge`] says later what it proves, and [`Interception`] makes the certificate that the inner
//!   server is shown, signed by the appliance's own [`Authority`] only if the far side's was genuine.
//! - An [`Association`] is what DNS publishes of a certificate, compared with a [`Chain`]; [`Dane`] is a server's set of them as
//!   a policy (RFC 7672).
//! - [`TlsError`] tells apart who is to blame, and who could not be reached for want of forward secrecy.

mod acceptor;
mod association;
mod authority;
mod chain;
mod connector;
mod dane;
mod error;
mod facts;
mod identities;
mod identity;
mod interception;
mod leaf;
mod pin;
mod policy;
mod recent;
mod roots;
mod settings;
mod validations;
mod verifier;

pub use acceptor::Acceptor;
pub use association::Association;
pub use authority::{Authority, AuthorityError};
pub use chain::{Chain, MAX_CERTIFICATES, MAX_CHAIN, MAX_NAME_OCTETS, MAX_NAMES, SubjectName};
pub use connector::Connector;
pub use dane::Dane;
pub use error::{Fault, Missing, Objection, TlsError};
pub use identities::{Identities, Served};
pub use identity::{Identity, IdentityError};
pub use interception::Interception;
pub use pin::{NotAPin, Pin};
pub use policy::{Ladder, LegPolicy, NotAStep};
pub use roots::{Roots, RootsError};
pub use settings::{BUFFER_LIMIT, HANDSHAKE_DEADLINE, Minimum, Settings, provider};
pub use validations::Validations;
