//! What a session knows of signing: what is to be signed, and who does it. How, and in whose name, is no business of this crate.

use std::future::Future;
use std::net::IpAddr;
use std::pin::Pin;
use std::time::Duration;

use smtp::TransactionId;

use crate::judging::HeldBody;

/// For the signatures of one message. Signing 50 MiB takes a quarter of a second; only a disk that hangs takes so long, and then
/// the message goes as it is rather than not at all.
pub const SIGNING: Duration = Duration::from_secs(30);

/// A message on its way to the world.
#[derive(Debug)]
pub struct Unsigned {
    /// The transaction.
    pub transaction: TransactionId,
    /// Who sends it.
    pub client: IpAddr,
    /// The content as it came.
    pub body: HeldBody,
}

/// What [`Signer::sign`] returns: whole fields for the top of the message, each with its CRLF. Nothing, where it is not signed.
pub type Signed = Pin<Box<dyn Future<Output = Box<str>> + Send>>;

/// Signs mail. What fails in it is its own to tell; the message goes without.
pub trait Signer: Send + Sync + 'static {
    /// Signs a message. Dropped when nobody waits any more.
    fn sign(&self, message: Unsigned) -> Signed;
}
